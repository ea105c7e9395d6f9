/*
 * A prediction surer than its class usually is when right asks for cheaper; one that looks like a mistake asks for dearer.
 * Twin of the plugin strategy_confidence.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "mobiprox_strategy.h"

static const double LOW = 0.5, HIGH = 0.75, SHRINKAGE = 5;

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

/* The mean of `count` samples and `shrinkage` more that are as those of the whole level. */
static double shrunk(double count, double mean, double overall, double shrinkage) {
    return isnan(mean) ? overall : (count * mean + shrinkage * overall) / (count + shrinkage);
}

/*
 * One band per class, between its mean confidences when wrong and when right, each drawn to the level's where samples are few. A level
 * that was never wrong gets the confidence of a blind guess as the mean of its mistakes; one whose mistakes are as sure as its hits
 * is left for a dearer one.
 */
static void fill_bands(const mbx_level_calibration *level, int classes, double low, double high, double shrinkage, band *bands) {
    const mbx_class_confidence *all = &level->overall;
    band fallback = {HUGE_VAL, HUGE_VAL};
    double right = all->correct_mean, wrong = isnan(all->wrong_mean) ? 1.0 / classes : all->wrong_mean;
    (void)between(wrong, right, low, high, &fallback);
    for (int c = 0; c < classes; c++) {
        const mbx_class_confidence *own = &level->classes[c];
        double low_end = shrunk((double)own->wrong_count, own->wrong_mean, wrong, shrinkage);
        double high_end = shrunk((double)own->correct_count, own->correct_mean, right, shrinkage);
        if (isnan(right) || !between(low_end, high_end, low, high, &bands[c])) bands[c] = fallback;
    }
}

static void *create(const mbx_setup *setup, char *error, size_t error_bytes) {
    double low = mbx_option_number(setup->options, "low", LOW), high = mbx_option_number(setup->options, "high", HIGH);
    double shrinkage = mbx_option_number(setup->options, "shrinkage", SHRINKAGE);
    mbx_step_rule rule;
    const char *wrong = NULL;
    if (mbx_step_rule_of(setup->options, setup->level_count, &rule)) wrong = "option 'increase' is neither linear nor exponential";
    if (!(low >= 0 && low <= high && high <= 1)) wrong = "options 'low' and 'high' must be 0 <= low <= high <= 1";
    if (!(shrinkage >= 0 && shrinkage < HUGE_VAL)) wrong = "option 'shrinkage' is a number from 0";
    size_t levels = (size_t)setup->level_count, classes = (size_t)setup->class_count;
    if (!wrong && classes && levels > SIZE_MAX / 2 / sizeof(band) / classes) wrong = "no memory";
    confidence *self = wrong ? NULL : malloc(sizeof *self + levels * classes * sizeof(band));
    if (!self) {
        (void)snprintf(error, error_bytes, "%s", wrong ? wrong : "no memory");
        return NULL;
    }
    *self = (confidence){.rule = rule, .levels = setup->level_count, .classes = setup->class_count};
    for (size_t level = 0; level < levels; level++)
        fill_bands(&setup->levels[level], setup->class_count, low, high, shrinkage, self->bands + level * classes);
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
