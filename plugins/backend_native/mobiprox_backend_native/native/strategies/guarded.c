/*
 * A cascade whose thresholds keep a stated bound on the loss, and audits that notice when the world has changed. Twin of the plugin
 * strategy_guarded; the sources of its bounds are named there, in bounds.py.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mobiprox_strategy.h"

enum { NO_AUDIT = -1 };

static const double CONFIDENCE = 0.9, AUDIT = 0.05, GAIN = 0.005, E = 2.718281828459045;

/* bound: 0..1, of the mean loss. doubt: how often a probable promise may fail. levels: among how many the cheapest is chosen afterwards. */
typedef struct promise {
    double bound, doubt, levels;
    int expected, by_group;
} promise;

/* first: where inputs begin. limit: the threshold from which so many inputs would run twice that the exact network alone is cheaper. */
typedef struct guarded {
    double bound, audit, gain, limit;
    int first;
    double thresholds[];
} guarded;

/* threshold: least confidence with which any cheap answer stands, besides its own level's. audited: the cheap answer asked about. */
typedef struct guarded_state {
    double threshold;
    int audited;
    uint64_t draws;
} guarded_state;

/* Chance of a mean as small as this or smaller among units that lose 1 with probability `risk`. */
static double binomial_tail(double mean, double units, double risk) {
    double lost = nearbyint(units * mean), total = 0;
    double log_odds = log(risk) - log1p(-risk), log_term = units * log1p(-risk);
    for (double k = 0; k <= lost; k++) {
        total += exp(log_term);
        log_term += k < units ? log(units - k) - log(k + 1) + log_odds : 0;
    }
    return total < 1 ? total : 1;
}

/* A bound on the chance of a mean as small as this among units with losses in [0, 1] whose expectation is above `risk`. */
static double hoeffding_bentkus(double mean, double units, double risk) {
    if (mean >= risk) return 1;
    double nats = (mean > 0 ? mean * log(mean / risk) : 0) + (1 - mean) * log((1 - mean) / (1 - risk));
    double hoeffding = exp(-units * nats), bentkus = E * binomial_tail(ceil(units * mean - 1e-9) / units, units, risk);
    double least = hoeffding < bentkus ? hoeffding : bentkus;
    return least < 1 ? least : 1;
}

/* Whether units with the mean loss at a threshold allow the promise. */
static int admits(const mbx_agreement *agreement, int k, const void *with) {
    const promise *asked = with;
    int grouped = asked->by_group && agreement->groups > 0;
    double mean = grouped ? agreement->group_differing[k] : agreement->differing[k];
    double units = grouped ? agreement->groups : agreement->samples;
    if (asked->expected) return (units * mean + 1) / (units + 1) <= asked->bound / asked->levels;
    double chance = grouped ? hoeffding_bentkus(mean, units, asked->bound) : binomial_tail(mean, units, asked->bound);
    return chance <= asked->doubt / asked->levels;
}

/* The least bound that the units of an agreement could promise, had none of them lost anything. */
static double smallest(const promise *asked, const mbx_agreement *known) {
    double units = asked->by_group && known->groups > 0 ? known->groups : known->samples;
    return asked->expected ? asked->levels / (units + 1) : 1 - exp(log(asked->doubt / asked->levels) / units);
}

/* The highest threshold with which a level saves anything: it must accept a larger share of inputs than one run of it costs. */
static double limit_of(const mbx_level_calibration *level) {
    double limit = 1;
    int found = 0;
    for (int k = 0; level->agreement && k < level->agreement->count; k++)
        if (level->agreement->accepted[k] > level->relative_cost) limit = found++ ? fmax(limit, level->agreement->thresholds[k]) : level->agreement->thresholds[k];
    return limit;
}

/* What is wrong with the options, or NULL. level: -1 where none is given. */
static const char *read_options(const mbx_setup *setup, promise *asked, guarded *self, double *level) {
    const char *kind = mbx_option_text(setup->options, "promise", "probable"), *unit = mbx_option_text(setup->options, "unit", "group");
    double loss = mbx_option_number(setup->options, "max_loss_pp", -1), sure = mbx_option_number(setup->options, "confidence", CONFIDENCE);
    *level = mbx_option_number(setup->options, "level", -1);
    *self = (guarded){
        .bound = loss / 100,
        .audit = mbx_option_number(setup->options, "audit", AUDIT),
        .gain = mbx_option_number(setup->options, "gain", GAIN),
        .limit = 1,
    };
    *asked = (promise){loss / 100, 1 - sure, *level < 0 ? setup->level_count - 1 : 1, !strcmp(kind, "expected"), !strcmp(unit, "group")};
    if (!(loss > 0 && loss < 100)) return "option 'max_loss_pp' must be given, above 0 and below 100";
    if (!asked->expected && strcmp(kind, "probable")) return "option 'promise' is neither probable nor expected";
    if (!asked->by_group && strcmp(unit, "sample")) return "option 'unit' is neither group nor sample";
    if (!(sure > 0 && sure < 1)) return "option 'confidence' is a number above 0 and below 1";
    if (!(self->audit >= 0 && self->audit <= 1)) return "option 'audit' is a number from 0 to 1";
    if (!(self->gain > 0 && self->gain <= 1)) return "option 'gain' is a number above 0, up to 1";
    int given = *level > -1 || *level < -1;
    if (given && (*level < 0 || *level >= setup->level_count || floor(*level) < *level)) return "there is no level of the number in option 'level'";
    for (int n = 1; n < setup->level_count; n++)
        if (!setup->levels[n].agreement) return "the calibration does not tell how levels agree with the exact network";
    if (setup->level_count > 1 && asked->bound < smallest(asked, setup->levels[1].agreement))
        return "there are too few calibration data for so small a bound; state a larger max_loss_pp, or 'promise: expected', or 'unit: sample'";
    return NULL;
}

static void *create(const mbx_setup *setup, char *error, size_t error_bytes) {
    promise asked;
    guarded made;
    double level;
    size_t count = (size_t)setup->level_count;
    const char *wrong = read_options(setup, &asked, &made, &level);
    guarded *self = wrong || count > SIZE_MAX / 2 / sizeof(double) ? NULL : malloc(sizeof *self + count * sizeof(double));
    if (!self) {
        (void)snprintf(error, error_bytes, "%s", wrong ? wrong : "no memory");
        return NULL;
    }
    *self = made;
    self->thresholds[0] = 0;
    for (int n = 1; n < setup->level_count; n++) {
        int may = level < 0 || n == (int)level;
        self->thresholds[n] = may ? mbx_gate(setup->levels[n].agreement, admits, &asked) : MBX_CLOSED;
    }
    self->first = mbx_cheapest(setup->levels, setup->level_count, self->thresholds, 0);
    if (count > 1) self->limit = limit_of(&setup->levels[self->first]);
    return self;
}

/* The count-th number of a sequence that looks uniform in [0, 1): SplitMix64. */
static double drawn(uint64_t count) {
    uint64_t z = (count + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (double)((z ^ z >> 31) >> 11) / 9007199254740992.0;
}

static void start(const void *of, void *state) {
    const guarded *self = of;
    *(guarded_state *)state = (guarded_state){self->thresholds[self->first], NO_AUDIT, 0};
}

/* After an input is done with: loss is an unbiased estimate of the one that it would have had without audits. */
static mbx_choice next(const guarded *self, guarded_state *now, double loss) {
    if (self->audit > 0 && self->first)
        now->threshold = fmax(now->threshold + self->gain * (loss - self->bound), self->thresholds[self->first]);
    now->audited = NO_AUDIT;
    return (mbx_choice){now->threshold <= self->limit ? self->first : 0, 0};
}

static mbx_choice step(const void *of, void *state, const mbx_observation *seen) {
    const guarded *self = of;
    guarded_state *now = state;
    if (seen->rerun) return next(self, now, now->audited != NO_AUDIT && now->audited != seen->label ? 1 / self->audit : 0);
    if (seen->level == 0) return next(self, now, 0);
    if (seen->confidence < fmax(now->threshold, self->thresholds[seen->level])) {
        now->audited = NO_AUDIT;
        return (mbx_choice){0, 1};
    }
    if (drawn(now->draws++) < self->audit) {
        now->audited = seen->label;
        return (mbx_choice){0, 1};
    }
    return next(self, now, 0);
}

extern const mbx_strategy mbx_strategy_guarded;
const mbx_strategy mbx_strategy_guarded = {"guarded", sizeof(guarded_state), create, start, step};
