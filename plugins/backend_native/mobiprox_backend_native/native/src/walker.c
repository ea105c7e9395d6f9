#include "walker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const mbx_strategy *const mbx_strategies[]; /* written by the build, NULL at the end */

enum { MOST_NAMES = 16, DEEPEST = 8 /* strategies in strategies */ };

struct mbx_inner {
    walker walker;
    struct mbx_inner *next;
};

struct mbx_strategy_options {
    const cJSON *object; /* or NULL */
    const char *asked[MOST_NAMES];
    int count;
    const char *wrong; /* the first option of the wrong type */
    int depth;         /* of the strategy that asks */
    struct mbx_inner *inner;
    mbx_strategy_options *entries, *next; /* of lists among the options, in their order */
};

static const cJSON *option(mbx_strategy_options *options, const char *name) {
    int known = 0;
    for (int i = 0; i < options->count; i++) known |= !strcmp(options->asked[i], name);
    if (!known && options->count < MOST_NAMES) options->asked[options->count++] = name;
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

mbx_strategy_options *mbx_option_entry(mbx_strategy_options *options, const char *name, mbx_strategy_options *previous) {
    const cJSON *value = option(options, name), *entry = previous ? previous->object->next : cJSON_IsArray(value) ? value->child : NULL;
    mbx_strategy_options **place = previous ? &previous->next : &options->entries, *found = *place;
    if (((value && !cJSON_IsArray(value)) || (entry && !cJSON_IsObject(entry))) && !options->wrong) options->wrong = name;
    while (found && found->object != entry) found = found->next; /* given out before */
    if (found || !cJSON_IsObject(entry)) return found;
    if (!(found = calloc(1, sizeof *found))) {
        options->wrong = name; /* no memory: better refused than cut off */
        return NULL;
    }
    found->object = entry;
    found->next = *place;
    return *place = found;
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

/* The name of an option that the strategy never asked for, in lists too, or NULL. */
static const char *unknown_option(const mbx_strategy_options *options) {
    for (const cJSON *entry = options->object ? options->object->child : NULL; entry; entry = entry->next) {
        int known = 0;
        for (int i = 0; i < options->count; i++) known |= !strcmp(options->asked[i], entry->string);
        if (!known) return entry->string;
    }
    for (const mbx_strategy_options *entry = options->entries; entry; entry = entry->next)
        if (unknown_option(entry)) return unknown_option(entry);
    return NULL;
}

static const char *wrong_option(const mbx_strategy_options *options) {
    for (const mbx_strategy_options *entry = options->entries; entry; entry = entry->next)
        if (entry->wrong) return entry->wrong;
    return options->wrong;
}

static int open_at(walker *walker, const char *name, const cJSON *options, const mbx_level_calibration *levels, int level_count, int class_count,
                   int depth, fault *fault) {
    *walker = (struct walker){.strategy = mbx_find_strategy(name), .levels = level_count, .classes = class_count};
    char reason[512] = "";
    struct mbx_strategy_options asked = {.object = options, .depth = depth};
    mbx_setup setup = {&asked, levels, level_count, class_count};
    if (!walker->strategy) return fault_set(fault, "strategy '%.80s' is not part of this runtime; build it with MOBIPROX_STRATEGIES", name);
    walker->self = walker->strategy->create(&setup, reason, sizeof reason);
    walker->inner = asked.inner;
    const char *unknown = unknown_option(&asked), *wrong = wrong_option(&asked);
    for (mbx_strategy_options *entry = asked.entries, *next; entry; entry = next) next = entry->next, free(entry);
    int result = 0;
    if (wrong)
        result = fault_set(fault, "strategy %s: option '%s' is of the wrong type", name, wrong);
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

int walker_open(walker *walker, const char *name, const cJSON *options, const mbx_level_calibration *levels, int level_count, int class_count,
                fault *fault) {
    return open_at(walker, name, options, levels, level_count, class_count, 0, fault);
}

int mbx_option_strategy(const mbx_setup *setup, const char *name, mbx_inner **inner, char *error, size_t error_bytes) {
    mbx_strategy_options *options = setup->options;
    const cJSON *value = option(options, name), *named = cJSON_IsObject(value) && cJSON_GetArraySize(value) == 1 ? value->child : NULL;
    const char *chosen = cJSON_IsString(value) ? value->valuestring : named ? named->string : NULL;
    const cJSON *own = cJSON_IsObject(named) ? named : NULL;
    fault fault = {""};
    *inner = NULL;
    if (!value || cJSON_IsNull(value)) return 0;
    if (!chosen || (named && !own && !cJSON_IsNull(named))) {
        (void)snprintf(error, error_bytes, "option '%s' is a strategy's name, or {NAME: {option: value}}", name);
        return -1;
    }
    struct mbx_inner *made = options->depth < DEEPEST ? calloc(1, sizeof *made) : NULL;
    if (!made || open_at(&made->walker, chosen, own, setup->levels, setup->level_count, setup->class_count, options->depth + 1, &fault)) {
        (void)snprintf(error, error_bytes, "%s: %s", name, fault.text[0] ? fault.text : made ? "no memory" : "more than 8 strategies in each other");
        free(made);
        return -1;
    }
    made->next = options->inner;
    options->inner = *inner = made;
    return 0;
}

void mbx_inner_start(mbx_inner *inner) { walker_restart(&inner->walker); }

mbx_choice mbx_inner_step(mbx_inner *inner, const mbx_observation *seen) {
    return inner->walker.strategy->step(inner->walker.self, inner->walker.state, seen);
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
    for (struct mbx_inner *inner = walker->inner, *next; inner; inner = next) {
        next = inner->next;
        walker_close(&inner->walker);
        free(inner);
    }
    *walker = (struct walker){.strategy = NULL};
}
