/* A bundle in memory, every index and offset checked. mobiprox_core/bundle.py is the specification. */
#ifndef MBX_BUNDLE_H
#define MBX_BUNDLE_H

#include <cjson/cJSON.h>
#include <stddef.h>
#include <stdint.h>

#include "fault.h"
#include "mobiprox.h"
#include "pool.h"

enum {
    ROW_INTS = 48,            /* a descriptor row, padded with zeros */
    ROW_STRIDE = ROW_INTS + 2 /* with function and units before it, as kernels see it */
};

typedef struct span {
    const unsigned char *data;
    size_t bytes;
} span;

/* Element (n, c, h, w) lies at offset + n*strides[0] + (c/block)*strides[1] + h*strides[2] + w*strides[3] + c%block. */
typedef struct slot {
    const char *name;
    int rank;
    int32_t shape[MBX_MAX_RANK];
    int32_t extent[4];
    int32_t offset;
    int32_t strides[4];
    int32_t block;
    int32_t elements; /* all of them, dense */
    int32_t last;     /* the furthest element in the arena */
} slot;

/* Rows first .. first + count - 1 of the table are its launches. */
typedef struct variant {
    const char *setting;
    int32_t first, count;
} variant;

typedef struct operator_variants {
    const char *name;
    variant *variants;
    int count;
} operator_variants;

typedef struct constant {
    size_t offset_bytes, bytes; /* in the arena */
    const unsigned char *values; /* in the weights */
    int is_half;                 /* float32 values that are stored as float16 */
} constant;

typedef struct bundle {
    const char *name;
    int batch;
    /* what the plan was made for */
    const char *device_name, *isa;
    const char **features; /* beyond the instruction set: CPU flags and OpenCL extensions */
    int feature_count;
    int is_gpu, block, vector, threads;
    span source;
    const char **functions;
    int function_count;
    int32_t arena_elements;
    slot *inputs, *outputs, *tensors; /* tensors: activations that can be read after a run */
    int input_count, output_count, tensor_count;
    slot *labelled; /* label, confidence and scores of every image, computed by the plan; NULL where it does not */
    operator_variants *operators;
    int operator_count;
    int32_t *rows; /* int32[row_count][ROW_STRIDE] */
    int32_t row_count;
    int32_t *levels; /* int32[level_count][operator_count]: variants */
    int level_count;
    constant *constants;
    int constant_count;
    mbx_level_info *points;
    mbx_level_calibration *calibration;
    int class_count;
    const char **class_names; /* NULL where there are none */
    int already_softmax;
    int wanted_threads;         /* of the backend's options; 0: all */
    int launch_by_operator;     /* of the backend's options */
    const char *strategy;       /* NULL: levels are set by hand */
    const char *strategy_options; /* JSON object */
} bundle;

enum { FILE_INDEX, FILE_PLAN, FILE_WEIGHTS, FILE_PROGRAM, FILE_COUNT };
extern const char *const BUNDLE_FILES[FILE_COUNT];

/* The files of a folder, mapped or read. */
typedef struct bundle_files {
    span files[FILE_COUNT];
    int mapped[FILE_COUNT];
} bundle_files;

int bundle_files_open(bundle_files *files, const char *folder, fault *fault);
void bundle_files_close(bundle_files *files);

/* Texts and tables are copied into the pool; `source` and the values of constants point into the files. */
int bundle_read(bundle *bundle, const span files[FILE_COUNT], int skip_digests, pool *pool, fault *fault);

/* The calibration of a bundle alone: mbx_level_calibration[*levels]. NULL on failure. */
mbx_level_calibration *calibration_read(const cJSON *value, int *levels, int *classes, pool *pool, fault *fault);

#endif
