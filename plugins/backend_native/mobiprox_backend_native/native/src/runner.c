#define _POSIX_C_SOURCE 200809L
#include "runner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "weights.h"

enum {
    CAPACITY = 1 << 14, /* launches that one call of the network kernel holds at least */
    WORK_GROUP = 64,    /* work-items of a group on GPUs */
    ZERO_BYTES = 1 << 16
};

double clock_ms(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

static int failed(const runner *runner, const char *doing, cl_int code, fault *fault) {
    return fault_set(fault, "'%s' failed while %s: %s (%d)", runner->device.name, doing, opencl_error(code), code);
}

/* ----------------------------------------------------------------------------------------------------------------------- memory */

static int memory_write(const runner *runner, const memory *memory, size_t offset, const void *from, size_t bytes, fault *fault) {
    if (!bytes) return 0;
    if (memory->shared) {
        memcpy(memory->shared + offset, from, bytes);
        return 0;
    }
    cl_int code = runner->cl->clEnqueueWriteBuffer(runner->queue, memory->buffer, 1, offset, bytes, from, 0, NULL, NULL);
    return code ? failed(runner, "copying to it", code, fault) : 0;
}

static int memory_read(const runner *runner, const memory *memory, size_t offset, void *into, size_t bytes, fault *fault) {
    cl_int code = runner->cl->clEnqueueReadBuffer(runner->queue, memory->buffer, 1, offset, bytes, into, 0, NULL, NULL);
    return code ? failed(runner, "copying from it", code, fault) : 0;
}

/* Zeroed memory for `elements` times 4 bytes. */
static int memory_open(const runner *runner, memory *memory, int64_t elements, fault *fault) {
    static const unsigned char zeros[ZERO_BYTES];
    uint64_t bytes = 4 * (uint64_t)(elements > 0 ? elements : 1);
    if (bytes > runner->device.max_alloc_bytes || bytes > SIZE_MAX / 2)
        return fault_set(fault, "'%s' gives at most %.1f MB at once, the bundle needs %.1f MB", runner->device.name,
                         (double)runner->device.max_alloc_bytes / 1e6, (double)bytes / 1e6);
    memory->bytes = (size_t)bytes;
    cl_int code = CL_SUCCESS;
    if (runner->device.shared_memory) {
        memory->shared = runner->cl->clSVMAlloc(runner->context, CL_MEM_READ_WRITE | CL_MEM_SVM_FINE_GRAIN_BUFFER, memory->bytes, 64);
        if (!memory->shared) return fault_set(fault, "'%s' has no memory for %.1f MB", runner->device.name, (double)bytes / 1e6);
        memset(memory->shared, 0, memory->bytes);
        return 0;
    }
    memory->buffer = runner->cl->clCreateBuffer(runner->context, CL_MEM_READ_WRITE, memory->bytes, NULL, &code);
    if (code) return failed(runner, "allocating memory", code, fault);
    for (size_t at = 0; at < memory->bytes; at += ZERO_BYTES) {
        size_t part = memory->bytes - at < ZERO_BYTES ? memory->bytes - at : ZERO_BYTES;
        if (memory_write(runner, memory, at, zeros, part, fault)) return -1;
    }
    return 0;
}

static void memory_close(const runner *runner, memory *memory) {
    if (memory->shared) runner->cl->clSVMFree(runner->context, memory->shared);
    if (memory->buffer) runner->cl->clReleaseMemObject(memory->buffer);
    *memory = (struct memory){NULL, NULL, 0};
}

static cl_int set_memory(const runner *runner, cl_kernel kernel, cl_uint position, const memory *memory) {
    if (memory->shared) return runner->cl->clSetKernelArgSVMPointer(kernel, position, memory->shared);
    return runner->cl->clSetKernelArg(kernel, position, sizeof memory->buffer, &memory->buffer);
}

static cl_int set_int(const runner *runner, cl_kernel kernel, cl_uint position, int32_t value) {
    return runner->cl->clSetKernelArg(kernel, position, sizeof value, &value);
}

/* ----------------------------------------------------------------------------------------------------------------------- set-up */

static int open_windows(runner *runner, const slot *slots, int count, window **into, pool *pool, fault *fault) {
    *into = pool_take(pool, (size_t)count, sizeof **into);
    if (!*into) return fault_set(fault, "no memory for inputs and outputs");
    for (int i = 0; i < count; i++) {
        window *window = &(*into)[i];
        window->slot = &slots[i];
        window->span = (size_t)(slots[i].last - slots[i].offset) + 1;
        size_t start = sizeof(float) * (size_t)slots[i].offset;
        if (runner->arena.shared) {
            window->base = (float *)(void *)(runner->arena.shared + start);
            continue;
        }
        window->base = pool_take(pool, window->span, sizeof(float));
        if (!window->base) return fault_set(fault, "no memory for inputs and outputs");
        /* what lies between the elements of an input is written with it, and must stay what it is */
        if (memory_read(runner, &runner->arena, start, window->base, window->span * sizeof(float), fault)) return -1;
    }
    return 0;
}

/* The rows of one level from `to` on (nowhere if it is NULL); how many. */
static int64_t level_rows(const bundle *bundle, int level, int32_t *to) {
    const int32_t *variants = bundle->levels + (size_t)level * (size_t)bundle->operator_count;
    int64_t count = 0;
    for (int o = 0; o < bundle->operator_count; o++) {
        const variant *variant = &bundle->operators[o].variants[variants[o]];
        for (int32_t i = 0; to && i < variant->count; i++) to[count + i] = variant->first + i;
        count += variant->count;
    }
    return count;
}

/* The rows of the levels, one list after another, then room for one more list: any choice of variants, or an operator repeated. */
static int open_programs(runner *runner, pool *pool, fault *fault) {
    const bundle *bundle = runner->bundle;
    int64_t total = 0, longest = 0;
    for (int level = 0; level < bundle->level_count; level++) total += level_rows(bundle, level, NULL);
    for (int o = 0; o < bundle->operator_count; o++) {
        int32_t most = 0;
        for (int v = 0; v < bundle->operators[o].count; v++)
            if (bundle->operators[o].variants[v].count > most) most = bundle->operators[o].variants[v].count;
        longest += most;
    }
    if (total > INT32_MAX / 8 || longest > INT32_MAX / 8) return fault_set(fault, "the levels have too many launches");
    runner->capacity = longest > CAPACITY ? (int32_t)longest : CAPACITY;
    runner->free_start = (int32_t)total;
    runner->levels = pool_take(pool, (size_t)bundle->level_count, sizeof *runner->levels);
    runner->program_rows = pool_take(pool, (size_t)(total + runner->capacity), sizeof *runner->program_rows);
    if (!runner->levels || !runner->program_rows) return fault_set(fault, "no memory for %lld launches", (long long)total);
    int32_t start = 0;
    for (int level = 0; level < bundle->level_count; level++) {
        int32_t count = (int32_t)level_rows(bundle, level, runner->program_rows + start);
        runner->levels[level] = (list){start, count};
        start += count;
    }
    if (memory_open(runner, &runner->programs, total + runner->capacity, fault)) return -1;
    return memory_write(runner, &runner->programs, 0, runner->program_rows, (size_t)total * sizeof(int32_t), fault);
}

static int write_constant(const runner *runner, const constant *constant, fault *fault) {
    if (!constant->is_half) return memory_write(runner, &runner->arena, constant->offset_bytes, constant->values, constant->bytes, fault);
    enum { PART = 1024 };
    float part[PART];
    for (size_t at = 0, count = constant->bytes / sizeof *part; at < count; at += PART) {
        size_t own = count - at < PART ? count - at : PART;
        weights_widen(constant->values + 2 * at, own, part);
        if (memory_write(runner, &runner->arena, constant->offset_bytes + at * sizeof *part, part, own * sizeof *part, fault)) return -1;
    }
    return 0;
}

static int open_memory(runner *runner, pool *pool, fault *fault) {
    const bundle *bundle = runner->bundle;
    int64_t row_ints = (int64_t)bundle->row_count * ROW_STRIDE;
    if (memory_open(runner, &runner->arena, bundle->arena_elements, fault)) return -1;
    for (int i = 0; i < bundle->constant_count; i++) {
        const constant *constant = &bundle->constants[i];
        if (write_constant(runner, constant, fault)) return -1;
    }
    if (memory_open(runner, &runner->rows, row_ints, fault)) return -1;
    if (memory_write(runner, &runner->rows, 0, bundle->rows, (size_t)row_ints * sizeof(int32_t), fault)) return -1;
    if (open_programs(runner, pool, fault)) return -1;
    int64_t counters = 2 * (1 + ((int64_t)runner->threads + 1) * runner->capacity);
    if (!runner->by_operator && memory_open(runner, &runner->counters, counters, fault)) return -1;
    if (open_windows(runner, bundle->inputs, bundle->input_count, &runner->inputs, pool, fault)) return -1;
    if (open_windows(runner, bundle->outputs, bundle->output_count, &runner->outputs, pool, fault)) return -1;
    return bundle->labelled ? open_windows(runner, bundle->labelled, 1, &runner->labelled, pool, fault) : 0;
}

static int open_kernels(runner *runner, pool *pool, fault *fault) {
    const bundle *bundle = runner->bundle;
    cl_int code = CL_SUCCESS;
    if (!runner->by_operator) {
        const memory *const fixed[] = {&runner->arena, &runner->rows, &runner->programs, &runner->counters};
        for (int epoch = 0; epoch < 2; epoch++) {
            cl_kernel kernel = runner->network[epoch] = runner->cl->clCreateKernel(runner->program, "network", &code);
            for (cl_uint i = 0; !code && i < 4; i++) code = set_memory(runner, kernel, i, fixed[i]);
            if (!code) code = set_int(runner, kernel, 4, runner->capacity);
            if (!code) code = set_int(runner, kernel, 5, epoch);
            if (code) return failed(runner, "preparing the kernel 'network'", code, fault);
        }
        return 0;
    }
    runner->functions = pool_take(pool, (size_t)bundle->function_count, sizeof *runner->functions);
    if (!runner->functions) return fault_set(fault, "no memory for %d kernels", bundle->function_count);
    for (int f = 0; f < bundle->function_count; f++) {
        char name[256];
        (void)snprintf(name, sizeof name, "run_%s", bundle->functions[f]);
        runner->functions[f] = runner->cl->clCreateKernel(runner->program, name, &code);
        if (!code) code = set_memory(runner, runner->functions[f], 0, &runner->arena);
        if (!code) code = set_memory(runner, runner->functions[f], 1, &runner->rows);
        if (code) return fault_set(fault, "'%s' failed while preparing the kernel '%s': %s (%d)", runner->device.name, name, opencl_error(code), code);
    }
    return 0;
}

static int enqueue_row(runner *runner, int32_t row, fault *fault) {
    const int32_t *entry = runner->bundle->rows + (size_t)row * ROW_STRIDE;
    size_t units = (size_t)entry[1], group = runner->bundle->is_gpu ? WORK_GROUP : 1;
    if (!units) return 0;
    size_t size = (units + group - 1) / group * group;
    cl_kernel kernel = runner->functions[entry[0]];
    cl_int code = set_int(runner, kernel, 2, row);
    if (!code) code = runner->cl->clEnqueueNDRangeKernel(runner->queue, kernel, 1, NULL, &size, &group, 0, NULL, NULL);
    return code ? failed(runner, "launching an operator", code, fault) : 0;
}

/* Runs level 0 and every function once, so that nothing is compiled later. */
static int warm(runner *runner, fault *fault) {
    const bundle *bundle = runner->bundle;
    runner_set_level(runner, 0);
    if (runner_execute(runner, fault)) return -1;
    for (int f = 0; runner->by_operator && f < bundle->function_count; f++) {
        int32_t row = 0;
        while (row < bundle->row_count && (bundle->rows[(size_t)row * ROW_STRIDE] != f || !bundle->rows[(size_t)row * ROW_STRIDE + 1])) row++;
        if (row < bundle->row_count && enqueue_row(runner, row, fault)) return -1;
    }
    return runner_execute(runner, fault);
}

int runner_open(runner *runner, const opencl *cl, const bundle *bundle, const device *device, int threads, int by_operator,
                const char *cache_folder, pool *pool, fault *fault) {
    memset(runner, 0, sizeof *runner);
    runner->cl = cl;
    runner->bundle = bundle;
    runner->device = *device;
    runner->threads = threads;
    runner->by_operator = by_operator;
    cl_int code = CL_SUCCESS;
    runner->context = cl->clCreateContext(NULL, 1, &device->handle, NULL, NULL, &code);
    if (code) return failed(runner, "opening it", code, fault);
    runner->queue = cl->clCreateCommandQueue(runner->context, device->handle, 0, &code);
    if (code) return failed(runner, "opening a queue", code, fault);
    built_program built;
    if (program_build(cl, runner->context, device, bundle->source, cache_folder, &built, fault)) return -1;
    runner->program = built.handle;
    runner->cached_program = built.cached;
    if (open_memory(runner, pool, fault) || open_kernels(runner, pool, fault) || warm(runner, fault)) return -1;
    if (cache_folder && !built.cached) program_keep(cl, runner->program, device, bundle->source, cache_folder);
    return 0;
}

void runner_close(runner *runner) {
    const opencl *cl = runner->cl;
    if (!cl) return;
    if (runner->queue) cl->clFinish(runner->queue);
    for (int f = 0; runner->functions && f < runner->bundle->function_count; f++)
        if (runner->functions[f]) cl->clReleaseKernel(runner->functions[f]);
    for (int epoch = 0; epoch < 2; epoch++)
        if (runner->network[epoch]) cl->clReleaseKernel(runner->network[epoch]);
    if (runner->program) cl->clReleaseProgram(runner->program);
    memory_close(runner, &runner->arena);
    memory_close(runner, &runner->rows);
    memory_close(runner, &runner->programs);
    memory_close(runner, &runner->counters);
    if (runner->queue) cl->clReleaseCommandQueue(runner->queue);
    if (runner->context) cl->clReleaseContext(runner->context);
    memset(runner, 0, sizeof *runner);
}

/* ---------------------------------------------------------------------------------------------------------------------- running */

void runner_set_level(runner *runner, int level) { runner->current = runner->levels[level]; }

int runner_set_rows(runner *runner, const int32_t *rows, int32_t count, int times, fault *fault) {
    if (count && times > runner->capacity / count) return fault_set(fault, "%d launches are more than the %d that fit", count, runner->capacity);
    int32_t *to = runner->program_rows + runner->free_start;
    for (int i = 0; i < times; i++) memcpy(to + (size_t)i * (size_t)count, rows, (size_t)count * sizeof *rows);
    runner->current = (list){runner->free_start, count * times};
    return memory_write(runner, &runner->programs, (size_t)runner->free_start * sizeof *to, to, (size_t)count * (size_t)times * sizeof *to, fault);
}

int runner_execute(runner *runner, fault *fault) {
    const opencl *cl = runner->cl;
    cl_int code = CL_SUCCESS;
    if (runner->by_operator) {
        for (int32_t i = 0; i < runner->current.count; i++)
            if (enqueue_row(runner, runner->program_rows[runner->current.start + i], fault)) return -1;
    } else if (runner->current.count) {
        cl_kernel kernel = runner->network[runner->epoch];
        size_t size = (size_t)runner->threads, group = 1;
        code = set_int(runner, kernel, 6, runner->current.start);
        if (!code) code = set_int(runner, kernel, 7, runner->current.count);
        if (!code) code = cl->clEnqueueNDRangeKernel(runner->queue, kernel, 1, NULL, &size, &group, 0, NULL, NULL);
        if (!code) runner->epoch = 1 - runner->epoch;
    }
    if (!code) code = cl->clFinish(runner->queue);
    return code ? failed(runner, "running", code, fault) : 0;
}

static int is_dense(const slot *slot) {
    const int64_t plane = (int64_t)slot->extent[2] * slot->extent[3];
    return slot->block == 1 && slot->strides[3] == 1 && slot->strides[2] == slot->extent[3] && slot->strides[1] == plane &&
           slot->strides[0] == plane * slot->extent[1];
}

/* Copies a dense tensor into the window, or out of it. */
static void transfer(const window *window, const float *from, float *to) {
    const slot *slot = window->slot;
    if (is_dense(slot)) {
        memcpy(from ? window->base : to, from ? from : window->base, (size_t)slot->elements * sizeof(float));
        return;
    }
    size_t dense = 0;
    for (int32_t n = 0; n < slot->extent[0]; n++)
        for (int32_t c = 0; c < slot->extent[1]; c++)
            for (int32_t h = 0; h < slot->extent[2]; h++) {
                size_t at = (size_t)n * (size_t)slot->strides[0] + (size_t)(c / slot->block) * (size_t)slot->strides[1] +
                            (size_t)h * (size_t)slot->strides[2] + (size_t)(c % slot->block);
                for (int32_t w = 0; w < slot->extent[3]; w++, dense++, at += (size_t)slot->strides[3]) {
                    if (from)
                        window->base[at] = from[dense];
                    else
                        to[dense] = window->base[at];
                }
            }
}

int runner_write(runner *runner, const float *const *inputs, fault *fault) {
    for (int i = 0; i < runner->bundle->input_count; i++) {
        const window *window = &runner->inputs[i];
        transfer(window, inputs[i], NULL);
        size_t start = sizeof(float) * (size_t)window->slot->offset;
        if (!runner->arena.shared && memory_write(runner, &runner->arena, start, window->base, window->span * sizeof(float), fault)) return -1;
    }
    return 0;
}

static int read_window(runner *runner, const window *window, float *into, fault *fault) {
    size_t start = sizeof(float) * (size_t)window->slot->offset;
    if (!runner->arena.shared && memory_read(runner, &runner->arena, start, window->base, window->span * sizeof(float), fault)) return -1;
    transfer(window, NULL, into);
    return 0;
}

int runner_read(runner *runner, float *const *outputs, fault *fault) {
    for (int i = 0; i < runner->bundle->output_count; i++)
        if (read_window(runner, &runner->outputs[i], outputs[i], fault)) return -1;
    return 0;
}

int runner_read_labelled(runner *runner, float *into, fault *fault) { return read_window(runner, runner->labelled, into, fault); }

int runner_read_slot(runner *runner, const slot *slot, float *into, fault *fault) {
    window window = {.slot = slot, .span = (size_t)(slot->last - slot->offset) + 1};
    size_t start = sizeof(float) * (size_t)slot->offset;
    float *copied = runner->arena.shared ? NULL : malloc(window.span * sizeof(float));
    if (!runner->arena.shared && !copied) return fault_set(fault, "no memory for '%.80s'", slot->name);
    window.base = copied ? copied : (float *)(void *)(runner->arena.shared + start);
    int failed = copied ? memory_read(runner, &runner->arena, start, copied, window.span * sizeof(float), fault) : 0;
    if (!failed) transfer(&window, NULL, into);
    free(copied);
    return failed;
}
