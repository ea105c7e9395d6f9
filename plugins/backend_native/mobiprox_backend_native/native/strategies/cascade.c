/* A cheap level first; where it is unsure, the same input again at a dearer one. Twin of the plugin strategy_cascade. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "mobiprox_strategy.h"

static const double MAX_DISAGREEMENT_PP = 1;
enum { NONE = -1 };

/*
 * first: where every input begins; again: where the unsure ones run again. thresholds: per level, the least confidence that stands.
 * change: how much of what is missing to 1 is added to the threshold of a label that differs from the one before.
 */
typedef struct cascade {
    int first, again;
    double change;
    double thresholds[];
} cascade;

static int whole(double value) { return value >= 0 && value <= INT32_MAX && (double)(int)value >= value; }

/* No more of all samples differ from the exact network's answer than allowed. */
static int admits(const mbx_agreement *agreement, int k, const void *allowed) { return agreement->differing[k] <= *(const double *)allowed; }

static void *refused(const char *why, char *error, size_t error_bytes) {
    (void)snprintf(error, error_bytes, "%s", why);
    return NULL;
}

static void *create(const mbx_setup *setup, char *error, size_t error_bytes) {
    double number = mbx_option_number(setup->options, "again", 0), level = mbx_option_number(setup->options, "level", -1);
    double given = mbx_option_number(setup->options, "threshold", -1), most = mbx_option_number(setup->options, "max_disagreement_pp", -1);
    double change = mbx_option_number(setup->options, "change", 0);
    int count = setup->level_count;
    if (!(change >= 0 && change <= 1)) return refused("option 'change' is a number from 0 to 1", error, error_bytes);
    if (!whole(number) || number >= count) return refused("there is no level of the number in option 'again'", error, error_bytes);
    int again = (int)number, fitted = given < 0, begins = level >= 0 || level < -1;
    if (begins && (!whole(level) || level >= count)) return refused("there is no level of the number in option 'level'", error, error_bytes);
    if (begins && (int)level <= again) return refused("option 'level' must be above 'again': it is no cheaper", error, error_bytes);
    if (given > 1 || (given < 0 && given > -1) || given < -1) return refused("option 'threshold' is a number from 0 to 1", error, error_bytes);
    if (most > 100 || (most < 0 && most > -1) || most < -1) return refused("option 'max_disagreement_pp' is a number from 0 to 100", error, error_bytes);
    if (!fitted && most >= 0) return refused("the threshold is given and to be fitted; leave out one", error, error_bytes);
    for (int n = 0; n < count; n++)
        if (!setup->levels[n].agreement && (n > again || (n == again && again && fitted)) && (fitted || !begins))
            return refused("the calibration does not tell how levels agree with the exact network", error, error_bytes);
    if ((size_t)count > SIZE_MAX / 2 / sizeof(double)) return refused("no memory", error, error_bytes);
    cascade *self = malloc(sizeof *self + (size_t)count * sizeof(double));
    if (!self) return refused("no memory", error, error_bytes);
    double allowed = (most < 0 ? MAX_DISAGREEMENT_PP : most) / 100;
    if (fitted && again) allowed -= setup->levels[again].agreement->differing[0]; /* what the first level keeps comes on top */
    for (int n = 0; n < count; n++) self->thresholds[n] = n <= again ? 0 : fitted ? mbx_gate(setup->levels[n].agreement, admits, &allowed) : given;
    self->again = again;
    self->change = change;
    if (begins)
        self->first = self->thresholds[(int)level] < MBX_CLOSED ? (int)level : again;
    else
        self->first = mbx_cheapest(setup->levels, count, self->thresholds, again);
    return self;
}

/* The state: the label that stood for the input before. */
static void start(const void *self, void *state) { (void)self, *(int *)state = NONE; }

static mbx_choice step(const void *of, void *state, const mbx_observation *seen) {
    const cascade *self = of;
    double threshold = self->thresholds[seen->level];
    int *last = state;
    if (threshold < MBX_CLOSED && *last != NONE && *last != seen->label) threshold += self->change * (1 - threshold);
    *last = seen->label;
    if (seen->level > self->again && seen->confidence < threshold) return (mbx_choice){self->again, 1};
    return (mbx_choice){self->first, 0};
}

extern const mbx_strategy mbx_strategy_cascade;
const mbx_strategy mbx_strategy_cascade = {"cascade", sizeof(int), create, start, step};
