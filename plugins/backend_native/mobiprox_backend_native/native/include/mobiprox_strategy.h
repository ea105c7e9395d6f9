/*
 * Strategies: what chooses the next level. Each is the twin of a Python plugin and walks the same levels.
 *
 * To bring your own, write one C file that defines `const mbx_strategy mbx_strategy_NAME`, and build with
 * -DMOBIPROX_STRATEGIES="NAME=path/to/file.c" (a semicolon-separated list, beside those of this runtime).
 */
#ifndef MOBIPROX_STRATEGY_H
#define MOBIPROX_STRATEGY_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Mean calibrated confidence of right and of wrong predictions on tuning data; a mean is NaN where its count is 0. */
typedef struct mbx_class_confidence {
    double correct_count, wrong_count;
    double correct_mean, wrong_mean;
} mbx_class_confidence;

/*
 * How far a level may be trusted to predict what level 0 predicts, by its own confidence. Curves have one value per threshold:
 * thresholds ascend from 0; accepted: share of samples at least that sure; differing: share of samples that are accepted and predicted
 * otherwise than by level 0; group_differing: the same within each group, averaged over groups (0 groups: unknown).
 */
typedef struct mbx_agreement {
    int count;
    const double *thresholds, *accepted, *differing, *group_differing;
    double samples, groups;
} mbx_agreement;

/* What a strategy may know of one level. accuracy is NaN where there were no labels. */
typedef struct mbx_level_calibration {
    double relative_cost; /* level 0 is 1 */
    double accuracy;
    double temperature;
    mbx_class_confidence overall;
    const mbx_class_confidence *classes; /* per predicted class */
    const mbx_agreement *agreement;      /* with level 0; NULL where nobody compared */
} mbx_level_calibration;

/*
 * After one inference. `level` is the level that ran; what is unknown is NaN, NULL, or -1 for charging. rerun: the strategy asked for
 * it, the same input as before at a dearer level.
 */
typedef struct mbx_observation {
    int label;
    double confidence;
    int level;
    double battery;
    int charging;
    double temperature_c;
    double deadline_ms;
    double hour;         /* 0 <= hour < 24, local time */
    const char *purpose; /* what the application is doing, in its own words */
    int rerun;
} mbx_observation;

/* The level of the next inference; rerun: of the same input, at once, at a dearer (lower) level. Whoever runs the strategy may decline. */
typedef struct mbx_choice {
    int level, rerun;
} mbx_choice;

/* The options of the bundle or of mbx_set_strategy; unknown names are refused after `create` returned. */
typedef struct mbx_strategy_options mbx_strategy_options;
double mbx_option_number(mbx_strategy_options *options, const char *name, double otherwise);
const char *mbx_option_text(mbx_strategy_options *options, const char *name, const char *otherwise);
/* Of an option that is a list of objects, the options in the one after `previous` (NULL: the first); NULL at the end. */
mbx_strategy_options *mbx_option_entry(mbx_strategy_options *options, const char *name, mbx_strategy_options *previous);

/* How the levels are walked, as mobiprox_core.stepping: two integers are all the memory it needs, and the step begins at 1. */
typedef struct mbx_step_rule {
    int levels, factor;
} mbx_step_rule;

typedef struct mbx_place {
    int level, step;
} mbx_place;

/* The rule that the option `increase` names: 0, or -1 for another word. */
int mbx_step_rule_of(mbx_strategy_options *options, int levels, mbx_step_rule *rule);
mbx_place mbx_more(const mbx_step_rule *rule, mbx_place place);
mbx_place mbx_less(mbx_place place);

/*
 * Gates, as mobiprox_core.gating: a cheap level's answer stands where it is at least as sure as its threshold; otherwise the same input
 * runs again at level `again`. admits: whether the k-th threshold of an agreement keeps what was promised; `with` is handed on to it.
 */
#define MBX_CLOSED HUGE_VAL /* the threshold of a level whose answers never stand */
typedef int (*mbx_admits)(const mbx_agreement *agreement, int k, const void *with);

/* The least threshold that keeps the promise. */
double mbx_gate(const mbx_agreement *agreement, mbx_admits admits, const void *with);

/*
 * The level to begin with: that of least cost to expect, `again` where no gate saves anything. Levels above `again` whose thresholds are
 * not closed must have an agreement.
 */
int mbx_cheapest(const mbx_level_calibration *levels, int level_count, const double *thresholds, int again);

typedef struct mbx_setup {
    mbx_strategy_options *options;
    const mbx_level_calibration *levels;
    int level_count, class_count;
} mbx_setup;

/*
 * Another strategy, which the option `name` chooses: NAME or {NAME: {option: value}}. 0, with *inner NULL where none is chosen; -1 with
 * the reason in `error`. It lives as long as the strategy that asked, and keeps its state itself.
 */
typedef struct mbx_inner mbx_inner;
int mbx_option_strategy(const mbx_setup *setup, const char *name, mbx_inner **inner, char *error, size_t error_bytes);
void mbx_inner_start(mbx_inner *inner);
mbx_choice mbx_inner_step(mbx_inner *inner, const mbx_observation *seen);

/*
 * create: what the strategy computes once, allocated with malloc (released with free), or NULL with the reason in `error`.
 * start: writes the first state, `state_bytes` of plain data. step: changes nothing but *state.
 */
typedef struct mbx_strategy {
    const char *name;
    size_t state_bytes;
    void *(*create)(const mbx_setup *setup, char *error, size_t error_bytes);
    void (*start)(const void *self, void *state);
    mbx_choice (*step)(const void *self, void *state, const mbx_observation *seen);
} mbx_strategy;

/* The strategy of that name, or NULL. */
const mbx_strategy *mbx_find_strategy(const char *name);

#ifdef __cplusplus
}
#endif

#endif
