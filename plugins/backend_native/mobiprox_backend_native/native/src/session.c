/* The public functions: a bundle, a runner and a strategy together. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bundle.h"
#include "mobiprox.h"
#include "reader.h"
#include "runner.h"
#include "walker.h"

struct mbx_session {
    fault fault;
    pool pool;
    opencl cl;
    bundle bundle;
    runner runner;
    walker walker;
    mbx_info info;
    mbx_tensor *inputs, *outputs, *tensors;
    float **results; /* where outputs go that nobody asked for, but a prediction needs */
    float *labelled; /* label, confidence and scores, where the plan computes them */
    int level;       /* -1 after mbx_select */
    mbx_prediction last;
    int has_last, rerun_promised;
    int32_t *chosen;   /* rows of any choice of variants, or of some operators */
    int32_t *selected; /* variants that mbx_select chose */
};

static _Thread_local fault open_fault;

const char *mbx_last_error(const mbx_session *session) { return session ? session->fault.text : open_fault.text; }

/* --------------------------------------------------------------------------------------------------------------------- devices */

static int supports(const char *isa) {
    if (!strcmp(isa, "generic")) return 1;
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
    if (!strcmp(isa, "avx2")) return 1;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq");
#else
    return 0;
#endif
}

/* Whether kernels may use what a plan names beyond the instruction set. */
static int has(const device *device, const char *feature) {
    if (!strcmp(feature, "cl_khr_integer_dot_product")) return device->dot_product;
#if defined(__x86_64__) && defined(__GNUC__)
    if (!strcmp(feature, "avx512_vnni")) return !!__builtin_cpu_supports("avx512vnni");
    if (!strcmp(feature, "avx512_bf16")) return !!__builtin_cpu_supports("avx512bf16");
#endif
    return 0;
}

static int contains(const char *text, const char *part) {
    size_t length = strlen(part);
    for (; *text; text++) {
        size_t i = 0;
        for (; i < length; i++) {
            char a = text[i], b = part[i];
            if (a >= 'A' && a <= 'Z') a = (char)(a - 'A' + 'a');
            if (b >= 'A' && b <= 'Z') b = (char)(b - 'A' + 'a');
            if (a != b) break;
        }
        if (i == length) return 1;
    }
    return !length;
}

static int is_wanted(const device *found, int index, const char *wanted) {
    char *end = NULL;
    long number = strtol(wanted, &end, 10);
    return end > wanted && !*end ? number == index : contains(found->name, wanted) || contains(found->runtime, wanted);
}

/*
 * The device to run on. By itself it takes the kind that the bundle was made for, and of CPUs the one-thread device exactly for one
 * thread (PoCL has both). A device asked for by name may be a CPU for a GPU's bundle, never the other way round.
 */
static int choose_device(const opencl *cl, const bundle *bundle, const char *wanted, int threads, device *into, fault *fault) {
    device found[MOST_DEVICES];
    int count = opencl_devices(cl, found, fault), best = -1, best_score = -1;
    if (count < 0) return -1;
    char listing[1024] = "";
    for (int i = 0; i < count; i++) {
        size_t used = strlen(listing);
        (void)snprintf(listing + used, sizeof listing - used, "%s%d: %s (%s)", i ? "; " : "", i, found[i].name, found[i].runtime);
        int right_kind = found[i].is_cpu != bundle->is_gpu;
        int fits = wanted ? is_wanted(&found[i], i, wanted) && (right_kind || found[i].is_cpu) : right_kind;
        int score = 2 * right_kind + ((found[i].compute_units == 1) == (threads == 1));
        if (fits && score > best_score) best = i, best_score = score;
    }
    if (best < 0)
        return fault_set(fault, "no OpenCL device %s%s%s runs this bundle, which is for a %s (%s); there are: %s", wanted ? "called '" : "of that kind",
                         wanted ? wanted : "", wanted ? "'" : "", bundle->is_gpu ? "gpu" : "cpu", bundle->device_name,
                         count ? listing : "none");
    *into = found[best];
    if (!supports(bundle->isa)) return fault_set(fault, "the bundle uses %s instructions, which this processor has not", bundle->isa);
    for (int i = 0; i < bundle->feature_count; i++)
        if (!has(into, bundle->features[i]))
            return fault_set(fault, "the bundle uses %s, which '%s' has not", bundle->features[i], into->name);
    if (into->is_cpu && threads > into->compute_units)
        return fault_set(fault, "'%s' has %d thread(s), not %d", into->name, into->compute_units, threads);
    return 0;
}

/* ------------------------------------------------------------------------------------------------------------------------- open */

static int describe_tensors(mbx_session *session, const slot *slots, int count, mbx_tensor **into) {
    *into = pool_take(&session->pool, (size_t)count, sizeof **into);
    if (!*into) return fault_set(&session->fault, "no memory for %d tensors", count);
    for (int i = 0; i < count; i++) {
        (*into)[i] = (mbx_tensor){.name = slots[i].name, .rank = slots[i].rank, .elements = slots[i].elements};
        memcpy((*into)[i].shape, slots[i].shape, sizeof slots[i].shape);
    }
    return 0;
}

static int take_scratch(mbx_session *session) {
    const bundle *bundle = &session->bundle;
    size_t outputs = (size_t)bundle->output_count;
    session->results = pool_take(&session->pool, outputs, sizeof *session->results);
    session->chosen = pool_take(&session->pool, (size_t)session->runner.capacity, sizeof *session->chosen);
    session->selected = pool_take(&session->pool, (size_t)bundle->operator_count, sizeof *session->selected);
    int ok = session->results && session->chosen && session->selected;
    if (ok && bundle->labelled) ok = (session->labelled = pool_take(&session->pool, (size_t)bundle->labelled->elements, sizeof(float))) != NULL;
    for (size_t i = 0; ok && i < outputs; i++) {
        session->results[i] = pool_take(&session->pool, (size_t)bundle->outputs[i].elements, sizeof(float));
        ok = session->results[i] != NULL;
    }
    return ok ? 0 : fault_set(&session->fault, "no memory for outputs");
}

static void describe(mbx_session *session, double begin) {
    const bundle *bundle = &session->bundle;
    const runner *runner = &session->runner;
    session->info = (mbx_info){
        .name = bundle->name,
        .device = runner->device.name,
        .driver = runner->device.driver,
        .runtime = runner->device.runtime,
        .library = session->cl.library,
        .kind = bundle->is_gpu ? "gpu" : "cpu",
        .isa = bundle->isa,
        .launch = runner->by_operator ? "operators" : "network",
        .strategy = session->walker.strategy ? session->walker.strategy->name : NULL,
        .threads = runner->threads,
        .shared_memory = runner->device.shared_memory,
        .cached_program = runner->cached_program,
        .batch = bundle->batch,
        .levels = bundle->level_count,
        .classes = bundle->class_count,
        .operators = bundle->operator_count,
        .inputs = bundle->input_count,
        .outputs = bundle->output_count,
        .arena_bytes = 4 * (int64_t)bundle->arena_elements,
        .open_ms = clock_ms() - begin,
    };
}

static int open_runner(mbx_session *session, const mbx_options *options) {
    const bundle *bundle = &session->bundle;
    device device;
    int threads = options->threads > 0 ? options->threads : bundle->wanted_threads;
    if (opencl_load(&session->cl, options->library, &session->fault)) return -1;
    if (choose_device(&session->cl, bundle, options->device, threads, &device, &session->fault)) return -1;
    if (options->copy_memory) device.shared_memory = 0;
    int by_operator = bundle->is_gpu || bundle->launch_by_operator;
    if (!threads || !device.is_cpu) threads = device.compute_units;
    return runner_open(&session->runner, &session->cl, bundle, &device, threads, by_operator, options->cache_folder, &session->pool,
                       &session->fault);
}

static int can_predict(const mbx_session *session) {
    return session->bundle.batch == 1 && session->bundle.outputs[0].elements == session->bundle.class_count;
}

static int open_session(mbx_session *session, const char *folder, const mbx_options *options, bundle_files *files) {
    double begin = clock_ms();
    bundle *bundle = &session->bundle;
    if (bundle_files_open(files, folder, &session->fault)) return -1;
    if (bundle_read(bundle, files->files, options->skip_digests, &session->pool, &session->fault)) return -1;
    if (open_runner(session, options) || take_scratch(session)) return -1;
    if (describe_tensors(session, bundle->inputs, bundle->input_count, &session->inputs)) return -1;
    if (describe_tensors(session, bundle->outputs, bundle->output_count, &session->outputs)) return -1;
    if (describe_tensors(session, bundle->tensors, bundle->tensor_count, &session->tensors)) return -1;
    if (bundle->strategy && !options->no_strategy && mbx_set_strategy(session, bundle->strategy, bundle->strategy_options)) return -1;
    describe(session, begin);
    return 0;
}

mbx_session *mbx_open(const char *folder, const mbx_options *options) {
    static const mbx_options defaults;
    bundle_files files = {0};
    open_fault.text[0] = 0;
    mbx_session *session = calloc(1, sizeof *session);
    if (!session || !folder) {
        fault_set(&open_fault, folder ? "no memory for a session" : "no folder is given");
        free(session);
        return NULL;
    }
    int failed = open_session(session, folder, options ? options : &defaults, &files);
    bundle_files_close(&files); /* constants are on the device now, and the source is compiled */
    session->bundle.constants = NULL;
    session->bundle.constant_count = 0;
    session->bundle.source = (span){NULL, 0};
    if (!failed) return session;
    open_fault = session->fault;
    mbx_close(session);
    return NULL;
}

void mbx_close(mbx_session *session) {
    if (!session) return;
    runner_close(&session->runner);
    walker_close(&session->walker);
    pool_free(&session->pool);
    free(session);
}

int mbx_check(const char *folder, int skip_digests) {
    bundle_files files = {0};
    bundle bundle;
    pool pool = {NULL};
    open_fault.text[0] = 0;
    int failed = bundle_files_open(&files, folder, &open_fault) || bundle_read(&bundle, files.files, skip_digests, &pool, &open_fault);
    bundle_files_close(&files);
    pool_free(&pool);
    return failed ? -1 : 0;
}

/* ------------------------------------------------------------------------------------------------------------------------ asking */

const mbx_info *mbx_get_info(const mbx_session *session) { return &session->info; }

static int within(int index, int count) { return index >= 0 && index < count; }

const mbx_tensor *mbx_input(const mbx_session *session, int index) {
    return within(index, session->bundle.input_count) ? &session->inputs[index] : NULL;
}

const mbx_tensor *mbx_output(const mbx_session *session, int index) {
    return within(index, session->bundle.output_count) ? &session->outputs[index] : NULL;
}

const mbx_level_info *mbx_level(const mbx_session *session, int level) {
    return within(level, session->bundle.level_count) ? &session->bundle.points[level] : NULL;
}

const char *mbx_operator_name(const mbx_session *session, int index) {
    return within(index, session->bundle.operator_count) ? session->bundle.operators[index].name : NULL;
}

int mbx_variants(const mbx_session *session, int index) {
    return within(index, session->bundle.operator_count) ? session->bundle.operators[index].count : 0;
}

const char *mbx_setting(const mbx_session *session, int index, int variant) {
    if (!within(variant, mbx_variants(session, index))) return NULL;
    const char *setting = session->bundle.operators[index].variants[variant].setting;
    return setting[0] ? setting : "exact";
}

int mbx_variant_of_level(const mbx_session *session, int level, int index) {
    if (!within(level, session->bundle.level_count) || !within(index, session->bundle.operator_count)) return -1;
    return session->bundle.levels[(size_t)level * (size_t)session->bundle.operator_count + (size_t)index];
}

const char *mbx_class_name(const mbx_session *session, int label) {
    return session->bundle.class_names && within(label, session->bundle.class_count) ? session->bundle.class_names[label] : NULL;
}

/* ----------------------------------------------------------------------------------------------------------------------- running */

/* The largest score, the first of equal ones, and its softmax at the level's temperature. As mobiprox_core.adaptation. */
static void predict(const mbx_session *session, const float *scores, int count, mbx_prediction *into) {
    int best = 0;
    for (int i = 1; i < count && !isnan(scores[best]); i++)
        if (scores[i] > scores[best] || isnan(scores[i])) best = i;
    double temperature = session->bundle.calibration[session->level < 0 ? 0 : session->level].temperature, sum = 0, top = -HUGE_VAL;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < count; i++) {
            double score = (double)scores[i];
            if (session->bundle.already_softmax) score = log(score > (double)FLT_MIN ? score : (double)FLT_MIN);
            score /= temperature;
            if (pass) sum += exp(score - top);
            if (!pass && score > top) top = score;
        }
    }
    into->label = best;
    into->level = session->level;
    into->confidence = isnan(scores[best]) ? (double)NAN : 1 / sum; /* the largest score's exponential is 1 */
}

/* What the plan computed of it. A label that is none could only come from a plan that somebody made up. */
static int read_prediction(mbx_session *session, mbx_prediction *into) {
    if (runner_read_labelled(&session->runner, session->labelled, &session->fault)) return -1;
    float label = session->labelled[0];
    if (!(label >= 0 && label < (float)session->bundle.class_count))
        return fault_set(&session->fault, "the plan computed the label %g; there are %d classes", (double)label, session->bundle.class_count);
    *into = (mbx_prediction){.label = (int)label, .level = session->level, .confidence = (double)session->labelled[1]};
    return 0;
}

int mbx_infer(mbx_session *session, const float *const *inputs, float *const *outputs, mbx_prediction *prediction) {
    double begin = clock_ms();
    session->has_last = 0;
    if (prediction && !can_predict(session))
        return fault_set(&session->fault, "a prediction needs a batch of 1 and one score per class; run without one");
    if (runner_write(&session->runner, inputs, &session->fault) || runner_execute(&session->runner, &session->fault)) return -1;
    float *const *results = outputs ? outputs : session->bundle.labelled ? NULL : session->results;
    if (results && runner_read(&session->runner, results, &session->fault)) return -1;
    if (can_predict(session)) {
        if (!session->bundle.labelled)
            predict(session, results[0], session->bundle.class_count, &session->last);
        else if (read_prediction(session, &session->last))
            return -1;
        session->last.latency_ms = clock_ms() - begin;
        session->has_last = session->level >= 0;
        if (prediction) *prediction = session->last;
    }
    return 0;
}

int mbx_set_level(mbx_session *session, int level) {
    if (!within(level, session->bundle.level_count))
        return fault_set(&session->fault, "there is no level %d; levels go from 0 (exact) to %d", level, session->bundle.level_count - 1);
    session->level = level;
    runner_set_level(&session->runner, level);
    return 0;
}

int mbx_get_level(const mbx_session *session) { return session->level; }

int mbx_observe(mbx_session *session, const mbx_sensors *sensors, int *rerun) {
    if (!session->walker.strategy) return fault_set(&session->fault, "there is no strategy; set one with mbx_set_strategy");
    if (!session->has_last) return fault_set(&session->fault, "there is no prediction to observe; run mbx_infer first");
    mbx_observation seen = {
        .label = session->last.label,
        .confidence = session->last.confidence,
        .level = session->last.level,
        .battery = sensors ? sensors->battery : (double)NAN,
        .charging = sensors ? sensors->charging : -1,
        .temperature_c = sensors ? sensors->temperature_c : (double)NAN,
        .deadline_ms = sensors ? sensors->deadline_ms : (double)NAN,
        .hour = sensors ? sensors->hour : (double)NAN,
        .purpose = sensors ? sensors->purpose : NULL,
        .rerun = session->rerun_promised,
    };
    mbx_choice choice;
    session->has_last = 0; /* one inference is one step */
    if (walker_step(&session->walker, &seen, &choice, &session->fault) || mbx_set_level(session, choice.level)) return -1;
    session->rerun_promised = choice.rerun && rerun;
    if (rerun) *rerun = choice.rerun;
    return choice.level;
}

int mbx_set_strategy(mbx_session *session, const char *name, const char *options) {
    walker fresh = {.strategy = NULL};
    cJSON *parsed = NULL;
    if (name) {
        if (!can_predict(session))
            return fault_set(&session->fault, "a strategy needs a batch of 1 and one score per class; open the bundle without a strategy");
        if (options && !(parsed = json_parse((const unsigned char *)options, strlen(options), "strategy's options", &session->fault))) return -1;
        int failed = parsed && !cJSON_IsObject(parsed) ? fault_set(&session->fault, "a strategy's options are a JSON object")
                                                       : walker_open(&fresh, name, parsed, session->bundle.calibration,
                                                                     session->bundle.level_count, session->bundle.class_count, &session->fault);
        cJSON_Delete(parsed);
        if (failed) return -1;
    }
    walker_close(&session->walker);
    session->walker = fresh;
    session->rerun_promised = 0;
    session->info.strategy = fresh.strategy ? fresh.strategy->name : NULL;
    return 0;
}

static int check_variants(mbx_session *session, const int *variants) {
    for (int o = 0; o < session->bundle.operator_count; o++) {
        const operator_variants *operator = &session->bundle.operators[o];
        if (!within(variants[o], operator->count))
            return fault_set(&session->fault, "'%.80s' has no variant %d; they go from 0 to %d", operator->name, variants[o], operator->count - 1);
    }
    return 0;
}

/* Appends the rows of an operator to `chosen`; the new count. */
static int32_t choose_rows(mbx_session *session, int index, int32_t variant, int32_t count) {
    const struct variant *of = &session->bundle.operators[index].variants[variant];
    for (int32_t i = 0; i < of->count; i++) session->chosen[count++] = of->first + i;
    return count;
}

/* Makes `selected` what the next inference runs. */
static int load_selected(mbx_session *session) {
    int32_t count = 0;
    for (int o = 0; o < session->bundle.operator_count; o++) count = choose_rows(session, o, session->selected[o], count);
    return runner_set_rows(&session->runner, session->chosen, count, 1, &session->fault);
}

int mbx_select(mbx_session *session, const int *variants) {
    if (check_variants(session, variants)) return -1;
    for (int o = 0; o < session->bundle.operator_count; o++) session->selected[o] = variants[o];
    session->level = -1;
    session->has_last = 0;
    return load_selected(session);
}

int mbx_resume(mbx_session *session, int index, float *const *outputs) {
    const bundle *bundle = &session->bundle;
    if (!within(index, bundle->operator_count)) return fault_set(&session->fault, "there is no operator %d", index);
    const list whole = session->runner.current;
    const int32_t *variants =
        session->level < 0 ? session->selected : bundle->levels + (size_t)session->level * (size_t)bundle->operator_count;
    int32_t skipped = 0;
    for (int o = 0; o < index; o++) skipped += bundle->operators[o].variants[variants[o]].count;
    session->has_last = 0;
    session->runner.current = (list){whole.start + skipped, whole.count - skipped};
    int failed = runner_execute(&session->runner, &session->fault);
    session->runner.current = whole;
    return failed ? -1 : runner_read(&session->runner, outputs, &session->fault);
}

static int find_tensor(const mbx_session *session, const char *name) {
    for (int i = 0; i < session->bundle.tensor_count; i++)
        if (!strcmp(session->tensors[i].name, name)) return i;
    return -1;
}

const mbx_tensor *mbx_find_tensor(const mbx_session *session, const char *name) {
    int index = find_tensor(session, name);
    return index < 0 ? NULL : &session->tensors[index];
}

int mbx_read_tensor(mbx_session *session, const char *name, float *into) {
    int index = find_tensor(session, name);
    if (index < 0) return fault_set(&session->fault, "the plan keeps no activation called '%.80s'", name);
    return runner_read_slot(&session->runner, &session->bundle.tensors[index], into, &session->fault);
}

/* Milliseconds of one execution of the chosen rows when `times` of them are launched together. */
static int time_rows(mbx_session *session, int32_t count, int times, double *ms) {
    if (runner_set_rows(&session->runner, session->chosen, count, times, &session->fault)) return -1;
    double begin = clock_ms();
    if (runner_execute(&session->runner, &session->fault)) return -1;
    *ms = (clock_ms() - begin) / times;
    return 0;
}

static const double TIMED_CALL_MS = 1.0; /* one sample repeats its operators for about this long */

static int time_samples(mbx_session *session, int32_t count, int samples, int *repeats, double *ms) {
    double once, again;
    if (!*repeats) {
        if (time_rows(session, count, 1, &once) || time_rows(session, count, 1, &once) || time_rows(session, count, 1, &again)) return -1;
        if (again < once) once = again;
        double wanted = TIMED_CALL_MS / (once > 1e-4 ? once : 1e-4), most = session->runner.capacity / count;
        *repeats = wanted < 1 ? 1 : (int)(wanted < most ? wanted : most);
    }
    for (int i = 0; i < samples; i++)
        if (time_rows(session, count, *repeats, &ms[i])) return -1;
    return 0;
}

int mbx_time_operators(mbx_session *session, const int *operators, int count, const int *variants, int samples, int *repeats, double *ms) {
    if (samples < 0 || *repeats < 0 || count < 0) return fault_set(&session->fault, "counts, samples and repeats are not negative");
    if (check_variants(session, variants)) return -1;
    int32_t rows = 0;
    for (int i = 0; i < count; i++) {
        if (!within(operators[i], session->bundle.operator_count)) return fault_set(&session->fault, "there is no operator %d", operators[i]);
        if (i && operators[i] <= operators[i - 1]) return fault_set(&session->fault, "operators are timed in the order of the plan, each once");
        rows = choose_rows(session, operators[i], variants[operators[i]], rows);
    }
    for (int i = 0; i < samples; i++) ms[i] = 0; /* views cost nothing */
    if (!rows) return 0;
    const list before = session->runner.current;
    int failed = time_samples(session, rows, samples, repeats, ms);
    session->runner.current = before;
    if (session->level < 0 && load_selected(session)) return -1; /* its rows were overwritten */
    return failed;
}
