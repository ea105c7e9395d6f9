/*
 * A prediction surer than its class usually is when right asks for cheaper; one that looks like a mistake asks for dearer.
 * Twin of the plugin strategy_confidence.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "mobiprox_strategy.h"

static const double LOW = 0.5, HIGH = 0.75, MIN_COUNT = 5;

/* Confidences below `low` ask for a dearer level, above `high` for a cheaper one; between, the level is held. */
typedef struct band {
    double low, high;
} band;

typedef struct confidence {
    mbx_step_rule rule;
    int levels, classes;
    band bands[]; /* [levels][classes] */
} confidence;

/* 0 where the band would be empty or upside down, or a mean is not there (a comparison with NaN is false). */
static int between(double wrong, double right, double low, double high, band *into) {
    if (!(right > wrong)) return 0;
    *into = (band){wrong + low * (right - wrong), wrong + high * (right - wrong)};
    return 1;
}

/*
 * One band per class: its own means where they are known well enough, else the level's. A level that was never wrong gets the
 * confidence of a blind guess as the mean of its mistakes; one whose mistakes are as sure as its hits is left for a dearer one.
 */
static void fill_bands(const mbx_level_calibration *level, int classes, double low, double high, double min_count, band *bands) {
    const mbx_class_confidence *all = &level->overall;
    band fallback = {HUGE_VAL, HUGE_VAL};
    double wrong = isnan(all->wrong_mean) && !isnan(all->correct_mean) ? 1.0 / classes : all->wrong_mean;
    (void)between(wrong, all->correct_mean, low, high, &fallback);
    for (int c = 0; c < classes; c++) {
        const mbx_class_confidence *own = &level->classes[c];
        int known = own->correct_count >= min_count && own->wrong_count >= min_count;
        if (!known || !between(own->wrong_mean, own->correct_mean, low, high, &bands[c])) bands[c] = fallback;
    }
}

static void *create(const mbx_setup *setup, char *error, size_t error_bytes) {
    double low = mbx_option_number(setup->options, "low", LOW), high = mbx_option_number(setup->options, "high", HIGH);
    double min_count = mbx_option_number(setup->options, "min_count", MIN_COUNT);
    mbx_step_rule rule;
    const char *wrong = NULL;
    if (mbx_step_rule_of(setup->options, setup->level_count, &rule)) wrong = "option 'increase' is neither linear nor exponential";
    if (!(low >= 0 && low <= high && high <= 1)) wrong = "options 'low' and 'high' must be 0 <= low <= high <= 1";
    if (!(min_count >= 1 && min_count <= 1e9 && min_count <= floor(min_count))) wrong = "option 'min_count' is a whole number from 1";
    size_t levels = (size_t)setup->level_count, classes = (size_t)setup->class_count;
    if (!wrong && classes && levels > SIZE_MAX / 2 / sizeof(band) / classes) wrong = "no memory";
    confidence *self = wrong ? NULL : malloc(sizeof *self + levels * classes * sizeof(band));
    if (!self) {
        (void)snprintf(error, error_bytes, "%s", wrong ? wrong : "no memory");
        return NULL;
    }
    *self = (confidence){.rule = rule, .levels = setup->level_count, .classes = setup->class_count};
    for (size_t level = 0; level < levels; level++)
        fill_bands(&setup->levels[level], setup->class_count, low, high, min_count, self->bands + level * classes);
    return self;
}

static void start(const void *self, void *state) {
    (void)self;
    *(mbx_place *)state = (mbx_place){0, 1};
}

static mbx_choice step(const void *of, void *state, const mbx_observation *seen) {
    const confidence *self = of;
    mbx_place *now = state;
    const band *asked = &self->bands[(size_t)seen->level * (size_t)self->classes + (size_t)seen->label];
    if (seen->confidence < asked->low)
        *now = mbx_less(*now);
    else if (seen->confidence > asked->high)
        *now = mbx_more(&self->rule, *now);
    return (mbx_choice){now->level, 0};
}

extern const mbx_strategy mbx_strategy_confidence;
const mbx_strategy mbx_strategy_confidence = {"confidence", sizeof(mbx_place), create, start, step};
