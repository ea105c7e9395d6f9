/*
 * The last predictions vote: all equal is a vote for cheaper, otherwise one for dearer; enough votes in a row move the level.
 * Twin of the plugin strategy_state.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "mobiprox_strategy.h"

enum { NOTHING_YET = -1, MEMORY = 3, VOTES = 2 };

typedef struct state_driven {
    mbx_step_rule rule;
    int memory, votes;
} state_driven;

/* votes: positive for cheaper. run: how many of the latest predictions equal `last`; it and `seen` count up to the memory. */
typedef struct state_driven_state {
    mbx_place place;
    int votes, seen, run, last;
} state_driven_state;

static int count_option(mbx_strategy_options *options, const char *name, int otherwise) {
    double value = mbx_option_number(options, name, otherwise);
    return value >= 1 && value <= INT_MAX && (double)(int)value >= value ? (int)value : 0;
}

static void *create(const mbx_setup *setup, char *error, size_t error_bytes) {
    state_driven *self = malloc(sizeof *self);
    if (!self) {
        (void)snprintf(error, error_bytes, "no memory");
        return NULL;
    }
    self->memory = count_option(setup->options, "memory", MEMORY);
    self->votes = count_option(setup->options, "votes", VOTES);
    const char *wrong = NULL;
    if (mbx_step_rule_of(setup->options, setup->level_count, &self->rule)) wrong = "option 'increase' is neither linear nor exponential";
    if (!self->memory || !self->votes) wrong = "options 'memory' and 'votes' are whole numbers from 1";
    if (!wrong) return self;
    (void)snprintf(error, error_bytes, "%s", wrong);
    free(self);
    return NULL;
}

static void start(const void *self, void *state) {
    (void)self;
    *(state_driven_state *)state = (state_driven_state){{0, 1}, 0, 0, 0, NOTHING_YET};
}

static mbx_choice step(const void *of, void *state, const mbx_observation *seen) {
    const state_driven *self = of;
    state_driven_state *now = state;
    if (now->seen < self->memory) now->seen++;
    now->run = seen->label != now->last ? 1 : now->run < self->memory ? now->run + 1 : self->memory;
    if (now->seen == self->memory) {
        if (now->run == self->memory)
            now->votes = (now->votes > 0 ? now->votes : 0) + 1;
        else
            now->votes = (now->votes < 0 ? now->votes : 0) - 1;
    }
    if (now->votes >= self->votes) {
        now->place = mbx_more(&self->rule, now->place);
        now->votes = 0;
    } else if (now->votes <= -self->votes) {
        now->place = mbx_less(now->place);
        now->votes = 0;
    }
    now->last = seen->label;
    return (mbx_choice){now->place.level, 0};
}

extern const mbx_strategy mbx_strategy_state;
const mbx_strategy mbx_strategy_state = {"state", sizeof(state_driven_state), create, start, step};
