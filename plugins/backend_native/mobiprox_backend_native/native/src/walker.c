#include "walker.h"

#include <stdlib.h>
#include <string.h>

extern const mbx_strategy *const mbx_strategies[]; /* written by the build, NULL at the end */

enum { MOST_NAMES = 16 };

struct mbx_strategy_options {
    const cJSON *object; /* or NULL */
    const char *asked[MOST_NAMES];
    int count;
    const char *wrong; /* the first option of the wrong type */
};

static const cJSON *option(mbx_strategy_options *options, const char *name) {
    if (options->count < MOST_NAMES) options->asked[options->count++] = name;
    return options->object ? cJSON_GetObjectItemCaseSensitive(options->object, name) : NULL;
}

double mbx_option_number(mbx_strategy_options *options, const char *name, double otherwise) {
    const cJSON *value = option(options, name);
    if (value && !cJSON_IsNumber(value) && !cJSON_IsNull(value) && !options->wrong) options->wrong = name;
    return value && cJSON_IsNumber(value) ? value->valuedouble : otherwise;
}

const char *mbx_option_text(mbx_strategy_options *options, const char *name, const char *otherwise) {
    const cJSON *value = option(options, name);
    if (value && !cJSON_IsString(value) && !options->wrong) options->wrong = name;
    return value && cJSON_IsString(value) ? value->valuestring : otherwise;
}

int mbx_step_rule_of(mbx_strategy_options *options, int levels, mbx_step_rule *rule) {
    const char *increase = mbx_option_text(options, "increase", "linear");
    *rule = (mbx_step_rule){levels, !strcmp(increase, "exponential") ? 2 : 1};
    return rule->factor == 2 || !strcmp(increase, "linear") ? 0 : -1;
}

/* Both saturate, the level at the last and the step at the number of levels, without overflow on the way. */
mbx_place mbx_more(const mbx_step_rule *rule, mbx_place place) {
    int level = place.step < rule->levels - 1 - place.level ? place.level + place.step : rule->levels - 1;
    int step = place.step <= rule->levels / rule->factor ? place.step * rule->factor : rule->levels;
    return (mbx_place){level, step};
}

mbx_place mbx_less(mbx_place place) { return (mbx_place){place.level / 2, 1}; }

double mbx_gate(const mbx_agreement *agreement, mbx_admits admits, const void *with) {
    for (int k = 0; k < agreement->count; k++)
        if (admits(agreement, k, with)) return agreement->thresholds[k];
    return MBX_CLOSED;
}

/* Share of calibration samples at least that sure; between two thresholds of the grid, that of the higher. */
static double accepted(const mbx_agreement *agreement, double threshold) {
    for (int k = 0; k < agreement->count; k++)
        if (agreement->thresholds[k] >= threshold) return agreement->accepted[k];
    return 0;
}

int mbx_cheapest(const mbx_level_calibration *levels, int level_count, const double *thresholds, int again) {
    double least = levels[again].relative_cost;
    int first = again;
    for (int level = again + 1; level < level_count; level++) {
        if (!(thresholds[level] < MBX_CLOSED)) continue;
        double rejected = 1 - accepted(levels[level].agreement, thresholds[level]);
        double cost = levels[level].relative_cost + rejected * levels[again].relative_cost;
        if (cost < least) least = cost, first = level;
    }
    return first;
}

const mbx_strategy *mbx_find_strategy(const char *name) {
    for (const mbx_strategy *const *at = mbx_strategies; *at; at++)
        if (!strcmp((*at)->name, name)) return *at;
    return NULL;
}

/* The name of an option that the strategy never asked for, or NULL. */
static const char *unknown_option(const mbx_strategy_options *options) {
    for (const cJSON *entry = options->object ? options->object->child : NULL; entry; entry = entry->next) {
        int known = 0;
        for (int i = 0; i < options->count; i++) known |= !strcmp(options->asked[i], entry->string);
        if (!known) return entry->string;
    }
    return NULL;
}

int walker_open(walker *walker, const char *name, const cJSON *options, const mbx_level_calibration *levels, int level_count, int class_count,
                fault *fault) {
    *walker = (struct walker){mbx_find_strategy(name), NULL, NULL, level_count, class_count};
    char reason[512] = "";
    struct mbx_strategy_options asked = {.object = options};
    mbx_setup setup = {&asked, levels, level_count, class_count};
    if (!walker->strategy) return fault_set(fault, "strategy '%.80s' is not part of this runtime; build it with MOBIPROX_STRATEGIES", name);
    walker->self = walker->strategy->create(&setup, reason, sizeof reason);
    const char *unknown = unknown_option(&asked);
    int result = 0;
    if (asked.wrong)
        result = fault_set(fault, "strategy %s: option '%s' is of the wrong type", name, asked.wrong);
    else if (!walker->self)
        result = fault_set(fault, "strategy %s: %s", name, reason);
    else if (unknown)
        result = fault_set(fault, "strategy %s: no option is called '%.80s'", name, unknown);
    else if (!(walker->state = calloc(1, walker->strategy->state_bytes + 1)))
        result = fault_set(fault, "no memory for a strategy");
    else
        walker_restart(walker);
    if (result) walker_close(walker);
    return result;
}

void walker_restart(walker *walker) { walker->strategy->start(walker->self, walker->state); }

int walker_step(walker *walker, const mbx_observation *seen, mbx_choice *choice, fault *fault) {
    if (seen->label < 0 || seen->label >= walker->classes || seen->level < 0 || seen->level >= walker->levels)
        return fault_set(fault, "class %d at level %d: there are %d classes and %d levels", seen->label, seen->level, walker->classes,
                         walker->levels);
    *choice = walker->strategy->step(walker->self, walker->state, seen);
    if (choice->level < 0 || choice->level >= walker->levels)
        return fault_set(fault, "strategy %s chose level %d of %d", walker->strategy->name, choice->level, walker->levels);
    if (choice->rerun && choice->level >= seen->level)
        return fault_set(fault, "strategy %s wants an input run again at level %d, which is not dearer than level %d", walker->strategy->name,
                         choice->level, seen->level);
    return 0;
}

void walker_close(walker *walker) {
    free(walker->self);
    free(walker->state);
    *walker = (struct walker){NULL, NULL, NULL, 0, 0};
}
