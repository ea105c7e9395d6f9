/* A strategy with its options, its state and the calibration that it walks. */
#ifndef MBX_WALKER_H
#define MBX_WALKER_H

#include <cjson/cJSON.h>

#include "fault.h"
#include "mobiprox_strategy.h"

typedef struct walker {
    const mbx_strategy *strategy; /* NULL: none */
    void *self, *state;
    int levels, classes;
    struct mbx_inner *inner; /* strategies that it chose, or NULL */
} walker;

/* options: a JSON object, or NULL for defaults. On failure the walker has no strategy. */
int walker_open(walker *walker, const char *name, const cJSON *options, const mbx_level_calibration *levels, int level_count, int class_count,
                fault *fault);
void walker_restart(walker *walker);
/* 0, or -1 for an observation or a choice outside the levels or classes. */
int walker_step(walker *walker, const mbx_observation *seen, mbx_choice *choice, fault *fault);
void walker_close(walker *walker);

#endif
