/* A scalar Kalman filter of "same class as before" decides whether predictions are steady enough. Twin of the plugin strategy_kalman. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mobiprox_strategy.h"

enum { NOTHING_YET = -1 };

static const double PROCESS_NOISE = 0.1, MEASUREMENT_NOISE = 1, LESS = 0.5, MORE = 0.95;

typedef struct kalman {
    mbx_step_rule rule;
    double process_noise, measurement_noise, less, more;
} kalman;

/* steadiness: the estimate; variance: how little is known of it (100: nothing). */
typedef struct kalman_state {
    mbx_place place;
    double steadiness, variance;
    int last;
} kalman_state;

static void *create(const mbx_setup *setup, char *error, size_t error_bytes) {
    const char *increase = mbx_option_text(setup->options, "increase", "exponential"), *wrong = NULL;
    int linear = !strcmp(increase, "linear");
    kalman made = {
        .rule = {setup->level_count, linear ? 1 : 2},
        .process_noise = mbx_option_number(setup->options, "process_noise", PROCESS_NOISE),
        .measurement_noise = mbx_option_number(setup->options, "measurement_noise", MEASUREMENT_NOISE),
        .less = mbx_option_number(setup->options, "less", LESS),
        .more = mbx_option_number(setup->options, "more", MORE),
    };
    if (!linear && strcmp(increase, "exponential")) wrong = "option 'increase' is neither linear nor exponential";
    if (!(made.less >= 0 && made.less <= made.more && made.more <= 1)) wrong = "options 'less' and 'more' must be 0 <= less <= more <= 1";
    if (!(made.process_noise > 0 && made.process_noise < HUGE_VAL)) wrong = "option 'process_noise' is a number above 0";
    if (!(made.measurement_noise > 0 && made.measurement_noise < HUGE_VAL)) wrong = "option 'measurement_noise' is a number above 0";
    kalman *self = wrong ? NULL : malloc(sizeof *self);
    if (self)
        *self = made;
    else
        (void)snprintf(error, error_bytes, "%s", wrong ? wrong : "no memory");
    return self;
}

static void start(const void *self, void *state) {
    (void)self;
    *(kalman_state *)state = (kalman_state){{0, 1}, 1, 100, NOTHING_YET};
}

/* The first prediction counts as a repeated one. */
static mbx_choice step(const void *of, void *state, const mbx_observation *seen) {
    const kalman *self = of;
    kalman_state *now = state;
    double same = now->last == NOTHING_YET || now->last == seen->label;
    double gain = now->variance / (now->variance + self->measurement_noise);
    now->steadiness += gain * (same - now->steadiness);
    now->variance = (1 - gain) * now->variance + self->process_noise;
    if (now->steadiness < self->less)
        now->place = mbx_less(now->place);
    else if (now->steadiness > self->more)
        now->place = mbx_more(&self->rule, now->place);
    now->last = seen->label;
    return (mbx_choice){now->place.level, 0};
}

extern const mbx_strategy mbx_strategy_kalman;
const mbx_strategy mbx_strategy_kalman = {"kalman", sizeof(kalman_state), create, start, step};
