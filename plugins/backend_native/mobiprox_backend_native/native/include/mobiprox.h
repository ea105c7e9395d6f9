/*
 * Mobiprox: a network that glides between accuracy and cost, from C.
 *
 *     mbx_session *session = mbx_open("bundle", NULL);
 *     if (!session) fputs(mbx_last_error(NULL), stderr);
 *     mbx_prediction seen;
 *     while (next_input(x)) {
 *         if (mbx_infer(session, inputs, outputs, &seen)) fputs(mbx_last_error(session), stderr);
 *         mbx_observe(session, NULL, NULL);            // the bundle's strategy chooses the level of the next inference
 *     }
 *     mbx_close(session);
 *
 * A function that can fail returns 0 for success and -1 for failure, and mbx_last_error says why. A session is used by one thread at
 * a time; different sessions are independent. Inferences allocate and compile nothing, whatever level is chosen.
 */
#ifndef MOBIPROX_H
#define MOBIPROX_H

#include <stdint.h>

#include "mobiprox_strategy.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define MBX_API __attribute__((visibility("default")))
#else
#define MBX_API
#endif

/* A bundle opened on a device. */
typedef struct mbx_session mbx_session;

/* How to open a bundle; all zeros (or no options at all) is right for most. */
typedef struct mbx_options {
    const char *device;       /* NULL: the first that fits the bundle; else its index, or a part of its name */
    const char *library;      /* the OpenCL library; NULL: the environment's MOBIPROX_OPENCL_LIBRARY, else the system's places */
    const char *cache_folder; /* keeps compiled kernels between starts; must exist; NULL: compile at every start */
    int threads;              /* CPUs: threads of one inference; 0: as the bundle says, else all */
    int no_strategy;          /* 1: levels are set by hand, even if the bundle names a strategy */
    int copy_memory;          /* 1: copy inputs and outputs even where memory could be shared, for drivers that share it badly */
    int skip_digests;         /* 1: do not compare files with their SHA-256 (for bundles inside a signed package) */
} mbx_options;

enum { MBX_MAX_RANK = 8 };

/* An input or output: dense float32 of this shape, batch axis first. */
typedef struct mbx_tensor {
    const char *name;
    int rank;
    int32_t shape[MBX_MAX_RANK];
    int64_t elements;
} mbx_tensor;

/* What is open, and what it really runs on. Texts live as long as the session. */
typedef struct mbx_info {
    const char *name;           /* of the network */
    const char *device, *driver, *runtime, *library;
    const char *kind;           /* "cpu" or "gpu" */
    const char *isa;            /* instruction set that the kernels are compiled for */
    const char *launch;         /* "network": one launch per inference; "operators": one per operator */
    const char *strategy;       /* the bundle's, or NULL */
    int threads;                /* that work on one inference */
    int shared_memory;          /* 1: host and device see the same memory; 0: inputs and outputs are copied */
    int cached_program;         /* 1: kernels came from the cache folder */
    int batch, levels, classes, operators, inputs, outputs;
    int64_t arena_bytes;        /* memory of the network on the device */
    double open_ms;             /* what mbx_open took */
} mbx_info;

/* What the bundle says of a level. qos_loss: in the unit of the bundle's measure, percentage points of accuracy unless it says otherwise. energy_mj is NaN where it was not measured. */
typedef struct mbx_level_info {
    double qos_loss, latency_ms, energy_mj;
} mbx_level_info;

/* One inference: index of the class, calibrated confidence (0..1), level that ran, time from input to output. */
typedef struct mbx_prediction {
    int label, level;
    double confidence, latency_ms;
} mbx_prediction;

/* What the phone knows of itself. Unknown: NaN, NULL, or -1 for charging. */
typedef struct mbx_sensors {
    double battery;       /* 0..1 */
    int charging;         /* 0 or 1 */
    double temperature_c;
    double deadline_ms;   /* time until the answer is due */
    double hour;          /* 0 <= hour < 24, local time */
    const char *purpose;  /* what the application is doing, in its own words */
} mbx_sensors;

/* Reads and checks a bundle's folder, compiles, allocates and warms up. NULL on failure: mbx_last_error(NULL) says why. */
MBX_API mbx_session *mbx_open(const char *folder, const mbx_options *options);

/* Gives everything back. NULL is allowed. */
MBX_API void mbx_close(mbx_session *session);

/* Why the last call on the session failed; with NULL, why this thread's last mbx_open or mbx_check failed. Never NULL. */
MBX_API const char *mbx_last_error(const mbx_session *session);

/* Reads and checks a bundle without a device. */
MBX_API int mbx_check(const char *folder, int skip_digests);

MBX_API const mbx_info *mbx_get_info(const mbx_session *session);

/* NULL where there is no such input, output, level, operator or class. */
MBX_API const mbx_tensor *mbx_input(const mbx_session *session, int index);
MBX_API const mbx_tensor *mbx_output(const mbx_session *session, int index);
MBX_API const mbx_level_info *mbx_level(const mbx_session *session, int level);
MBX_API const char *mbx_operator_name(const mbx_session *session, int index);
MBX_API const char *mbx_setting(const mbx_session *session, int index, int variant);
MBX_API const char *mbx_class_name(const mbx_session *session, int label);

/* Variants of an operator, 0 being exact; 0 where there is no such operator. */
MBX_API int mbx_variants(const mbx_session *session, int index);

/* The variant of an operator at a level, or -1. */
MBX_API int mbx_variant_of_level(const mbx_session *session, int level, int index);

/*
 * One batch at the current level: inputs[i] and outputs[i] point to mbx_input(i)->elements and mbx_output(i)->elements floats.
 * outputs may be NULL, and prediction too. A prediction needs a batch of 1 and a first output with one score per class.
 */
MBX_API int mbx_infer(mbx_session *session, const float *const *inputs, float *const *outputs, mbx_prediction *prediction);

/* The level of the next inference, 0 being exact. No OpenCL call is made: it costs nanoseconds. The strategy goes on from its own. */
MBX_API int mbx_set_level(mbx_session *session, int level);

/* The level of the next inference; -1 after mbx_select. */
MBX_API int mbx_get_level(const mbx_session *session);

/*
 * Shows the last inference to the strategy, which chooses the level of the next one. Returns that level, or -1: there is no strategy,
 * or no prediction was made. sensors: NULL where nothing is known. *rerun: whether the strategy wants the *same* input run again, at
 * that (dearer) level: call mbx_infer with it and mbx_observe once more. NULL declines.
 */
MBX_API int mbx_observe(mbx_session *session, const mbx_sensors *sensors, int *rerun);

/* Replaces the strategy, by name; options: a JSON object, or NULL for defaults. name NULL: none. */
MBX_API int mbx_set_strategy(mbx_session *session, const char *name, const char *options);

/* Any configuration: one variant per operator. For profiling; apps choose levels. */
MBX_API int mbx_select(mbx_session *session, const int *variants);

/* Runs from an operator to the end, on the activations that earlier runs left (the bundle's plan must keep them). */
MBX_API int mbx_resume(mbx_session *session, int index, float *const *outputs);

/* Activations that the plan keeps, by name; NULL where there is none. mbx_read_tensor copies what the last run left, dense. */
MBX_API const mbx_tensor *mbx_find_tensor(const mbx_session *session, const char *name);
MBX_API int mbx_read_tensor(mbx_session *session, const char *name, float *into);

/*
 * Times `count` operators, one after another, under `variants` (one per operator of the plan), on whatever activations the last
 * inference left: `samples` times, in milliseconds, into `ms`. What the next inference runs stays as it was.
 * *repeats: how often one sample repeats them, so that the launch itself does not show; 0: find out, and leave it there for next time.
 */
MBX_API int mbx_time_operators(mbx_session *session, const int *operators, int count, const int *variants, int samples, int *repeats,
                               double *ms);

#ifdef __cplusplus
}
#endif

#endif
