/* A bundle's plan on a device: one arena, one table of rows, and per inference a copy in, a launch and a copy out. */
#ifndef MBX_RUNNER_H
#define MBX_RUNNER_H

#include "bundle.h"
#include "opencl.h"
#include "program.h"

/* Memory that the device sees; the host too where it is shared. */
typedef struct memory {
    unsigned char *shared; /* NULL: `buffer` is copied from and to */
    cl_mem buffer;
    size_t bytes;
} memory;

/* An input or output as the host sees it: its elements within the arena, or within a copy of that part. */
typedef struct window {
    const slot *slot;
    float *base; /* element `slot->offset` of the arena */
    size_t span; /* floats from the first to the last element */
} window;

/* Entries of the table of programs: rows to run, in order. */
typedef struct list {
    int32_t start, count;
} list;

typedef struct runner {
    const opencl *cl;
    const bundle *bundle;
    device device;
    int by_operator, threads, cached_program;
    cl_context context;
    cl_command_queue queue;
    cl_program program;
    cl_kernel network[2]; /* one per epoch */
    cl_kernel *functions; /* kernels of single functions, where launches are by operator */
    memory arena, rows, programs, counters;
    int32_t *program_rows; /* the host's copy of `programs` */
    list *levels;
    int32_t free_start, capacity; /* where other lists than levels go, and how long one may be */
    window *inputs, *outputs, *labelled;
    int epoch;
    list current;
} runner;

/* Everything is built, allocated and warmed. On failure runner_close is still to be called. */
int runner_open(runner *runner, const opencl *cl, const bundle *bundle, const device *device, int threads, int by_operator,
                const char *cache_folder, pool *pool, fault *fault);
void runner_close(runner *runner);

void runner_set_level(runner *runner, int level);
/* Any list of rows; it must stay within the capacity. */
int runner_set_rows(runner *runner, const int32_t *rows, int32_t count, int times, fault *fault);
int runner_write(runner *runner, const float *const *inputs, fault *fault);
int runner_execute(runner *runner, fault *fault);
int runner_read(runner *runner, float *const *outputs, fault *fault);
/* Label, confidence and scores that the plan computed; it must do so. */
int runner_read_labelled(runner *runner, float *into, fault *fault);
/* Any slot of the plan, dense, as the last run left it. */
int runner_read_slot(runner *runner, const slot *slot, float *into, fault *fault);

double clock_ms(void);

#endif
