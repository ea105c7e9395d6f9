/* A prediction like the previous one asks for a cheaper level, any other one for a dearer. Twin of the plugin strategy_naive. */
#include <stdio.h>
#include <stdlib.h>

#include "mobiprox_strategy.h"

enum { NOTHING_YET = -1 };

typedef struct naive_state {
    mbx_place place;
    int last;
} naive_state;

static void *create(const mbx_setup *setup, char *error, size_t error_bytes) {
    mbx_step_rule *rule = malloc(sizeof *rule);
    if (rule && !mbx_step_rule_of(setup->options, setup->level_count, rule)) return rule;
    (void)snprintf(error, error_bytes, rule ? "option 'increase' is neither linear nor exponential" : "no memory");
    free(rule);
    return NULL;
}

static void start(const void *self, void *state) {
    (void)self;
    *(naive_state *)state = (naive_state){{0, 1}, NOTHING_YET};
}

static mbx_choice step(const void *self, void *state, const mbx_observation *seen) {
    naive_state *now = state;
    if (now->last == seen->label)
        now->place = mbx_more(self, now->place);
    else if (now->last != NOTHING_YET)
        now->place = mbx_less(now->place);
    now->last = seen->label;
    return (mbx_choice){now->place.level, 0};
}

extern const mbx_strategy mbx_strategy_naive;
const mbx_strategy mbx_strategy_naive = {"naive", sizeof(naive_state), create, start, step};
