/*
 * mbx-run: a bundle from the command line. Every line on stdout is a JSON object with an "event"; a run is complete exactly if its last
 * line is {"event": "end", "ok": true}. Exit status: 0, 1 for a failure (with "error" in the last line), 2 for wrong arguments.
 */
#define _POSIX_C_SOURCE 200809L
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bundle.h"
#include "mobiprox.h"
#include "opencl.h"
#include "reader.h"
#include "runner.h"
#include "walker.h"

static const char USAGE[] =
    "usage: mbx-run COMMAND [options]\n"
    "  --devices                         what can run here\n"
    "  --info BUNDLE                     opens a bundle and says what it holds and what it runs on\n"
    "  --infer BUNDLE INPUTS OUTPUTS     raw float32 files; every batch at each of --levels (default: all) or under --variants;\n"
    "                                    outputs stand in that order: level by level, batch by batch\n"
    "  --profile BUNDLE                  latency of every level in interleaved rounds, and of a switch of levels\n"
    "  --operators BUNDLE                latency of every operator under every variant; --only 3,5: of these operators\n"
    "  --trace BUNDLE INPUTS             the strategy over a file of inputs: level, label, confidence of every step\n"
    "  --serve BUNDLE                    reads commands from stdin, one JSON object a line, and answers each; see the package's README\n"
    "  --check                           reads folders from stdin, one a line, and checks the bundles in them; no device takes part\n"
    "  --steps                           reads traces from stdin, one JSON object a line: strategy, options, calibration and\n"
    "                                    trace [[label, confidence, {battery, ...}], ...]; answers with the levels walked\n"
    "options: --device NAME|INDEX  --library FILE  --cache FOLDER  --threads N  --skip-digests  --copy-memory  --levels 0,2,..  --variants 0,1,..\n"
    "         --strategy NAME|none  --strategy-options JSON  --seconds S  --rounds N (at least)  --inputs FILE (for --profile)\n";

typedef struct arguments {
    const char *command, *places[3];
    int place_count;
    const char *levels, *variants, *only, *strategy, *strategy_options, *inputs;
    double seconds;
    int rounds;
    mbx_options open;
} arguments;

/* ------------------------------------------------------------------------------------------------------------------------- output */

static void put_text(const char *text) {
    if (!text) {
        (void)fputs("null", stdout);
        return;
    }
    (void)putchar('"');
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            (void)printf("\\%c", *c);
        else if (*c < 0x20 || *c == 0x7f)
            (void)printf("\\u%04x", *c);
        else
            (void)putchar(*c);
    }
    (void)putchar('"');
}

static void put_number(double value) {
    if (isfinite(value))
        (void)printf("%.17g", value);
    else
        (void)fputs("null", stdout);
}

static void key(const char *name) { (void)printf(", \"%s\": ", name); }
static void put_key_text(const char *name, const char *text) { key(name), put_text(text); }
static void put_key_number(const char *name, double value) { key(name), put_number(value); }
static void put_key_bool(const char *name, int value) { key(name), (void)fputs(value ? "true" : "false", stdout); }
static void begin(const char *event) { (void)printf("{\"event\": \"%s\"", event); }
static void finish(void) {
    (void)puts("}");
    (void)fflush(stdout);
}

static int end(const char *error) {
    begin("end");
    put_key_bool("ok", !error);
    if (error) put_key_text("error", error);
    finish();
    return error ? 1 : 0;
}

static void put_tensor(const mbx_tensor *tensor) {
    (void)fputs("{\"name\": ", stdout);
    put_text(tensor->name);
    key("shape");
    for (int i = 0; i < tensor->rank; i++) (void)printf("%s%d", i ? ", " : "[", (int)tensor->shape[i]);
    (void)printf("%s]}", tensor->rank ? "" : "[");
}

/* ----------------------------------------------------------------------------------------------------------------------- arguments */

static int parse(int count, char **words, arguments *into) {
    static const char *const COMMANDS[] = {"--devices", "--info", "--infer", "--profile", "--operators", "--trace", "--check", "--steps", "--serve"};
    static const int PLACES[] = {0, 1, 3, 1, 1, 2, 0, 0, 1};
    *into = (arguments){.rounds = 5, .seconds = 1};
    int wanted = -1;
    for (size_t i = 0; count > 1 && i < sizeof COMMANDS / sizeof *COMMANDS; i++)
        if (!strcmp(words[1], COMMANDS[i])) wanted = PLACES[i], into->command = COMMANDS[i] + 2;
    for (int i = 2; i < count; i++) {
        const char *word = words[i], *value = i + 1 < count ? words[i + 1] : NULL;
        const struct {
            const char *name;
            const char **to;
        } texts[] = {{"--device", &into->open.device}, {"--library", &into->open.library}, {"--cache", &into->open.cache_folder},
                     {"--levels", &into->levels},      {"--variants", &into->variants},   {"--only", &into->only},
                     {"--strategy", &into->strategy},  {"--strategy-options", &into->strategy_options}, {"--inputs", &into->inputs}};
        int known = 0;
        for (size_t t = 0; value && t < sizeof texts / sizeof *texts; t++)
            if (!strcmp(word, texts[t].name)) *texts[t].to = value, known = 1;
        char *stop = NULL;
        double number = value ? strtod(value, &stop) : -1;
        int is_number = value && stop > value && !*stop && number >= 0 && number < 1e9;
        if (is_number && !strcmp(word, "--threads")) into->open.threads = (int)number, known = 1;
        if (is_number && !strcmp(word, "--rounds")) into->rounds = (int)number, known = 1;
        if (is_number && !strcmp(word, "--seconds")) into->seconds = number, known = 1;
        if (!strcmp(word, "--skip-digests")) {
            into->open.skip_digests = 1;
        } else if (!strcmp(word, "--copy-memory")) {
            into->open.copy_memory = 1;
        } else if (known) {
            i++;
        } else if (strncmp(word, "--", 2) && into->place_count < 3) {
            into->places[into->place_count++] = word;
        } else {
            return -1;
        }
    }
    return wanted >= 0 && into->place_count == wanted ? 0 : -1;
}

/* "1,2,3" as numbers: how many, or -1. */
static int parse_list(const char *text, int *into, int most) {
    int count = 0;
    for (const char *at = text; *at;) {
        char *stop = NULL;
        long number = strtol(at, &stop, 10);
        if (stop == at || number < 0 || number > 1 << 30 || count == most || (*stop && (*stop != ',' || !stop[1]))) return -1;
        into[count++] = (int)number;
        at = *stop ? stop + 1 : stop;
    }
    return count;
}

/* ------------------------------------------------------------------------------------------------------------------------- sessions */

/* Buffers for one batch, and the file it comes from. */
typedef struct stream {
    FILE *file; /* NULL: the buffers keep what they hold */
    float **inputs, **outputs;
    pool pool;
} stream;

static mbx_session *open_session(const arguments *given) {
    mbx_options options = given->open;
    int replaced = given->strategy != NULL;
    options.no_strategy = replaced || strcmp(given->command, "trace");
    mbx_session *session = mbx_open(given->places[0], &options);
    if (!session) (void)end(mbx_last_error(NULL));
    if (session && replaced && strcmp(given->strategy, "none") && mbx_set_strategy(session, given->strategy, given->strategy_options)) {
        (void)end(mbx_last_error(session));
        mbx_close(session);
        return NULL;
    }
    return session;
}

static float **take_buffers(stream *stream, const mbx_session *session, const mbx_tensor *(*tensor)(const mbx_session *, int), int count) {
    float **buffers = pool_take(&stream->pool, (size_t)count, sizeof *buffers);
    for (int i = 0; buffers && i < count; i++)
        if (!(buffers[i] = pool_take(&stream->pool, (size_t)tensor(session, i)->elements, sizeof(float)))) return NULL;
    return buffers;
}

/* Without a file the inputs are noise between -1 and 1, always the same. */
static int stream_open(stream *stream, const mbx_session *session, const char *path) {
    *stream = (struct stream){NULL, NULL, NULL, {NULL}};
    stream->inputs = take_buffers(stream, session, mbx_input, mbx_get_info(session)->inputs);
    stream->outputs = take_buffers(stream, session, mbx_output, mbx_get_info(session)->outputs);
    if (!stream->inputs || !stream->outputs) return end("no memory for inputs and outputs");
    uint32_t seed = 1;
    for (int i = 0; i < mbx_get_info(session)->inputs; i++)
        for (int64_t k = 0; k < mbx_input(session, i)->elements; k++) {
            seed = seed * 1664525u + 1013904223u;
            stream->inputs[i][k] = (float)(seed >> 8) / (float)(1 << 23) - 1;
        }
    if (path && !(stream->file = fopen(path, "rb"))) return end("the file of inputs cannot be read");
    return 0;
}

/* 1: a batch was read; 0: the file has ended; -1: it ends within a batch. */
static int stream_next(stream *stream, const mbx_session *session) {
    for (int i = 0; i < mbx_get_info(session)->inputs; i++) {
        size_t wanted = (size_t)mbx_input(session, i)->elements, got = fread(stream->inputs[i], sizeof(float), wanted, stream->file);
        if (!got && !i && feof(stream->file)) return 0;
        if (got != wanted) return -1;
    }
    return 1;
}

static void stream_close(stream *stream) {
    if (stream->file) (void)fclose(stream->file);
    pool_free(&stream->pool);
}

static int infer(mbx_session *session, stream *stream, mbx_prediction *prediction) {
    return mbx_infer(session, (const float *const *)stream->inputs, stream->outputs, prediction);
}

static void put_info(const mbx_session *session) {
    const mbx_info *info = mbx_get_info(session);
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    begin("info");
    put_key_number("schema", 1);
    put_key_text("name", info->name);
    put_key_text("device", info->device);
    put_key_text("driver", info->driver);
    put_key_text("runtime", info->runtime);
    put_key_text("library", info->library);
    put_key_text("kind", info->kind);
    put_key_text("isa", info->isa);
    put_key_text("launch", info->launch);
    put_key_text("strategy", info->strategy);
    put_key_number("threads", info->threads);
    put_key_bool("shared_memory", info->shared_memory);
    put_key_bool("cached_program", info->cached_program);
    put_key_number("batch", info->batch);
    put_key_number("levels", info->levels);
    put_key_number("classes", info->classes);
    put_key_number("arena_bytes", (double)info->arena_bytes);
    put_key_number("open_ms", info->open_ms);
    put_key_number("peak_memory_bytes", 1024.0 * (double)usage.ru_maxrss);
    key("inputs");
    for (int i = 0; i < info->inputs; i++) (void)fputs(i ? ", " : "[", stdout), put_tensor(mbx_input(session, i));
    (void)fputs("]", stdout);
    key("outputs");
    for (int i = 0; i < info->outputs; i++) (void)fputs(i ? ", " : "[", stdout), put_tensor(mbx_output(session, i));
    (void)fputs("]", stdout);
    finish();
}

/* ------------------------------------------------------------------------------------------------------------------------- commands */

/* Instruction sets that kernels can be compiled for, best first, as `mobiprox_core.isa` names them. */
static void put_isas(int is_cpu) {
    key("isas");
    (void)fputs("[", stdout);
#if defined(__x86_64__) || defined(__i386__)
    __builtin_cpu_init();
    int avx2 = is_cpu && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    int avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512dq");
    if (avx512) (void)fputs("\"avx512\", ", stdout);
    if (avx2) (void)fputs("\"avx2\", ", stdout);
#else
    (void)is_cpu;
#endif
    (void)fputs("\"generic\"]", stdout);
}

/* What kernels may use beyond an instruction set, as `mobiprox_core.isa` names it. */
static void put_features(const device *found) {
    key("features");
    const char *separator = "";
    (void)fputs("[", stdout);
#if defined(__x86_64__) || defined(__i386__)
    __builtin_cpu_init();
    if (found->is_cpu && __builtin_cpu_supports("avx512bf16")) (void)fputs("\"avx512_bf16\"", stdout), separator = ", ";
    if (found->is_cpu && __builtin_cpu_supports("avx512vnni")) (void)printf("%s\"avx512_vnni\"", separator), separator = ", ";
#endif
    if (found->dot_product) (void)printf("%s\"cl_khr_integer_dot_product\"", separator);
    (void)fputs("]", stdout);
}

static int run_devices(const arguments *given) {
    opencl cl;
    fault fault;
    device found[MOST_DEVICES];
    if (opencl_load(&cl, given->open.library, &fault)) return end(fault.text);
    int count = opencl_devices(&cl, found, &fault);
    for (int i = 0; i < count; i++) {
        begin("device");
        put_key_number("index", i);
        put_key_text("name", found[i].name);
        put_key_text("driver", found[i].driver);
        put_key_text("runtime", found[i].runtime);
        put_key_text("kind", found[i].is_cpu ? "cpu" : "gpu");
        put_key_number("compute_units", found[i].compute_units);
        put_key_bool("fp16", found[i].fp16);
        put_key_bool("shared_memory", found[i].shared_memory);
        put_key_number("max_alloc_bytes", (double)found[i].max_alloc_bytes);
        put_isas(found[i].is_cpu);
        put_features(&found[i]);
        finish();
    }
    return end(count < 0 ? fault.text : NULL);
}

static int run_infer(mbx_session *session, const arguments *given, stream *stream) {
    const mbx_info *info = mbx_get_info(session);
    int *chosen = pool_take(&stream->pool, (size_t)info->levels + (size_t)info->operators, sizeof *chosen), count = info->levels;
    if (!chosen) return end("no memory for levels");
    for (int i = 0; i < count; i++) chosen[i] = i;
    if (given->levels && (count = parse_list(given->levels, chosen, info->levels)) < 0) return end("--levels is not a list of levels");
    if (given->variants && parse_list(given->variants, chosen, info->operators) != info->operators)
        return end("--variants takes one variant per operator");
    FILE *file = fopen(given->places[2], "wb");
    if (!file) return end("the file of outputs cannot be written");
    int64_t batches = 0;
    const char *error = NULL;
    for (int i = 0; !error && i < (given->variants ? 1 : count); i++) {
        if (given->variants ? mbx_select(session, chosen) : mbx_set_level(session, chosen[i])) error = mbx_last_error(session);
        rewind(stream->file);
        int more = 0;
        while (!error && (more = stream_next(stream, session)) > 0) {
            if (infer(session, stream, NULL)) error = mbx_last_error(session);
            for (int o = 0; !error && o < info->outputs; o++) {
                size_t elements = (size_t)mbx_output(session, o)->elements;
                if (fwrite(stream->outputs[o], sizeof(float), elements, file) != elements) error = "the file of outputs cannot be written";
            }
            batches++;
        }
        if (more < 0) error = "the file of inputs ends within a batch";
    }
    if (fclose(file) && !error) error = "the file of outputs cannot be written";
    begin("inferred");
    put_key_number("batches", (double)batches);
    finish();
    return end(error);
}

/* Nanoseconds of mbx_set_level, by many switches through all levels. */
static int time_switch(mbx_session *session, double *ns) {
    enum { SWITCHES = 1 << 20 };
    int levels = mbx_get_info(session)->levels;
    double start = clock_ms();
    for (int i = 0; i < SWITCHES; i++)
        if (mbx_set_level(session, i % levels)) return -1;
    *ns = 1e6 * (clock_ms() - start) / SWITCHES;
    return 0;
}

static int run_profile(mbx_session *session, const arguments *given, stream *stream) {
    enum { TIMED = 3, MOST_ROUNDS = 1000 };
    int levels = mbx_get_info(session)->levels;
    double ns, (*ms)[TIMED] = pool_take(&stream->pool, (size_t)levels, sizeof *ms), stop = clock_ms() + 1e3 * given->seconds;
    if (!ms) return end("no memory for times");
    if (stream->file && stream_next(stream, session) <= 0) return end("the file of inputs holds no batch");
    for (int round = 0; round < given->rounds || (round < MOST_ROUNDS && clock_ms() < stop); round++) {
        for (int level = 0; level < levels; level++) {
            if (mbx_set_level(session, level) || infer(session, stream, NULL)) return end(mbx_last_error(session)); /* brings weights into caches */
            for (int i = 0; i < TIMED; i++) {
                double start = clock_ms();
                if (infer(session, stream, NULL)) return end(mbx_last_error(session));
                ms[level][i] = clock_ms() - start;
            }
        }
        begin("round");
        put_key_number("round", round);
        key("level_ms");
        for (int level = 0; level < levels; level++) {
            (void)fputs(level ? ", [" : "[[", stdout);
            for (int i = 0; i < TIMED; i++) (void)printf("%s%.6f", i ? ", " : "", ms[level][i]);
            (void)fputs("]", stdout);
        }
        (void)fputs("]", stdout);
        finish();
    }
    if (time_switch(session, &ns)) return end(mbx_last_error(session));
    begin("switch");
    put_key_number("ns", ns);
    finish();
    return end(NULL);
}

/* One operator: its variants in interleaved rounds. */
static int profile_operator(mbx_session *session, int index, const arguments *given, double seconds) {
    enum { MOST_ROUNDS = 4096 };
    int variants = mbx_variants(session, index), rounds = 0;
    pool pool = {NULL};
    int *repeats = pool_take(&pool, (size_t)variants, sizeof *repeats);
    int *chosen = pool_take(&pool, (size_t)mbx_get_info(session)->operators, sizeof *chosen);
    double (*ms)[MOST_ROUNDS] = pool_take(&pool, (size_t)variants, sizeof *ms), stop = clock_ms() + 1e3 * seconds * variants;
    int failed = !repeats || !chosen || !ms;
    for (; !failed && rounds < MOST_ROUNDS && (rounds < given->rounds || clock_ms() < stop); rounds++)
        for (int v = 0; !failed && v < variants; v++) {
            chosen[index] = v;
            failed = mbx_time_operators(session, &index, 1, chosen, 1, &repeats[v], &ms[v][rounds]);
        }
    for (int v = 0; !failed && v < variants; v++) {
        begin("operator");
        put_key_number("index", index);
        put_key_text("name", mbx_operator_name(session, index));
        put_key_number("variant", v);
        put_key_text("setting", mbx_setting(session, index, v));
        key("ms");
        for (int r = 0; r < rounds; r++) (void)printf("%s%.6f", r ? ", " : "[", ms[v][r]);
        (void)fputs(rounds ? "]" : "[]", stdout);
        finish();
    }
    pool_free(&pool);
    return failed;
}

static int run_operators(mbx_session *session, const arguments *given, stream *stream) {
    int operators = mbx_get_info(session)->operators, pairs = 0, *chosen = pool_take(&stream->pool, (size_t)operators, sizeof *chosen);
    int count = operators;
    if (!chosen) return end("no memory for operators");
    for (int o = 0; o < operators; o++) chosen[o] = o;
    if (given->only && (count = parse_list(given->only, chosen, operators)) < 0) return end("--only is not a list of operators");
    for (int i = 0; i < count; i++) {
        if (chosen[i] >= operators) return end("--only names an operator that is not there");
        pairs += mbx_variants(session, chosen[i]);
    }
    if (stream->file && stream_next(stream, session) <= 0) return end("the file of inputs holds no batch");
    if (infer(session, stream, NULL)) return end(mbx_last_error(session));
    for (int i = 0; i < count; i++)
        if (profile_operator(session, chosen[i], given, given->seconds / pairs)) return end(mbx_last_error(session));
    return end(NULL);
}

static int run_trace(mbx_session *session, const arguments *given, stream *stream) {
    mbx_prediction seen;
    int more = 1, rerun = 0;
    (void)given;
    for (int step = -1; rerun || (more = stream_next(stream, session)) > 0;) {
        step += !rerun;
        if (infer(session, stream, &seen)) return end(mbx_last_error(session));
        begin("step");
        put_key_number("step", step);
        put_key_number("level", seen.level);
        put_key_number("label", seen.label);
        if (mbx_class_name(session, seen.label)) put_key_text("class", mbx_class_name(session, seen.label));
        put_key_number("confidence", seen.confidence);
        put_key_number("latency_ms", seen.latency_ms);
        put_key_bool("rerun", rerun);
        finish();
        if (mbx_get_info(session)->strategy && mbx_observe(session, NULL, &rerun) < 0) return end(mbx_last_error(session));
    }
    return end(more < 0 ? "the file of inputs ends within a batch" : NULL);
}

/* ------------------------------------------------------------------------------------------------------------------------- serving */

/* What `--serve` works with: one variant per operator, and a text for a failure of its own. */
typedef struct service {
    mbx_session *session;
    stream *stream;
    int *variants, *operators;
    const char *error;
    char *received; /* what came with a command */
    size_t bytes, room;
} service;

static int refuse(service *service, const char *error) {
    service->error = error;
    return -1;
}

/* A list of `least` to `most` whole numbers: how many, or -1. */
static int numbers_of(const cJSON *list, int *into, int least, int most) {
    int count = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : -1, index = 0;
    if (count < least || count > most) return -1;
    for (const cJSON *item = list->child; item; item = item->next) {
        if (!cJSON_IsNumber(item)) return -1;
        into[index++] = item->valueint;
    }
    return count;
}

static int write_floats(FILE *file, const float *values, int64_t count) {
    return fwrite(values, sizeof(float), (size_t)count, file) == (size_t)count ? 0 : -1;
}

static int write_outputs(service *service, FILE *file) {
    for (int o = 0; o < mbx_get_info(service->session)->outputs; o++)
        if (write_floats(file, service->stream->outputs[o], mbx_output(service->session, o)->elements))
            return refuse(service, "the file of outputs cannot be written");
    return 0;
}

/* Every batch of a file. The last one stays in the buffers, for timing. */
static int serve_batches(service *service, FILE *inputs, FILE *outputs, int *batches) {
    stream *stream = service->stream;
    int more, failed = 0;
    stream->file = inputs;
    while (!failed && (more = stream_next(stream, service->session)) != 0) {
        if (more < 0)
            failed = refuse(service, "the inputs end within a batch");
        else
            failed = infer(service->session, stream, NULL) || write_outputs(service, outputs);
        *batches += !failed;
    }
    stream->file = NULL;
    return failed;
}

/* The inputs of a run: a file, or bytes that follow the command on stdin. They are read even if the command is refused later. */
static int serve_run(service *service, const cJSON *command, FILE *outputs, int *batches) {
    const cJSON *inputs = cJSON_GetObjectItemCaseSensitive(command, "inputs");
    FILE *file = NULL;
    if (service->bytes)
        file = fmemopen(service->received, service->bytes, "rb");
    else if (cJSON_IsString(inputs))
        file = fopen(inputs->valuestring, "rb");
    else
        return refuse(service, "lacks 'inputs', the name of a file, or 'bytes'");
    if (!file) return refuse(service, "the file of inputs cannot be read");
    int failed = serve_batches(service, file, outputs, batches);
    (void)fclose(file);
    return failed;
}

static int serve_tensor(service *service, const cJSON *command, FILE *outputs) {
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(command, "name");
    const mbx_tensor *tensor = cJSON_IsString(name) ? mbx_find_tensor(service->session, name->valuestring) : NULL;
    float *values = tensor ? malloc((size_t)tensor->elements * sizeof *values) : NULL;
    int failed = values ? mbx_read_tensor(service->session, name->valuestring, values) || write_floats(outputs, values, tensor->elements)
                        : refuse(service, "the plan keeps no such activation");
    free(values);
    return failed;
}

/* Batches of inputs, the rest of a run, or an activation: to the file `outputs`, or as bytes after the answer. */
static int serve_outputs(service *service, const char *what, const cJSON *command) {
    const cJSON *outputs = cJSON_GetObjectItemCaseSensitive(command, "outputs"), *index = cJSON_GetObjectItemCaseSensitive(command, "operator");
    int batches = 0, failed;
    char *content = NULL;
    size_t bytes = 0;
    if (outputs && !cJSON_IsString(outputs)) return refuse(service, "'outputs' is not the name of a file");
    FILE *file = outputs ? fopen(outputs->valuestring, "wb") : open_memstream(&content, &bytes);
    if (!file) return refuse(service, "the file of outputs cannot be written");
    if (!strcmp(what, "run"))
        failed = serve_run(service, command, file, &batches);
    else if (!strcmp(what, "resume"))
        failed = cJSON_IsNumber(index) ? mbx_resume(service->session, index->valueint, service->stream->outputs) || write_outputs(service, file)
                                       : refuse(service, "lacks 'operator'");
    else
        failed = serve_tensor(service, command, file);
    if (fclose(file) && !failed) failed = refuse(service, "the file of outputs cannot be written");
    if (!failed) {
        begin("done");
        if (batches) put_key_number("batches", batches);
        if (!outputs) put_key_number("bytes", (double)bytes);
        finish();
        if (!outputs) (void)fwrite(content, 1, bytes, stdout), (void)fflush(stdout);
    }
    free(content);
    return failed ? -1 : 0;
}

typedef struct series {
    double *ms;
    int count, room, repeats;
} series;

static int keep_sample(series *kept, double ms) {
    if (kept->count == kept->room) {
        int room = kept->room ? 2 * kept->room : 64;
        double *larger = realloc(kept->ms, (size_t)room * sizeof *larger);
        if (!larger) return -1;
        kept->ms = larger;
        kept->room = room;
    }
    kept->ms[kept->count++] = ms;
    return 0;
}

/* One round of one choice of variants: some operators, or (operators < 0) whole inferences. */
static int time_choice(service *service, const cJSON *variants, int operators, series *kept) {
    int count = mbx_get_info(service->session)->operators;
    double ms;
    if (numbers_of(variants, service->variants, count, count) < 0) return refuse(service, "'variants' are lists of one number per operator");
    if (operators >= 0) {
        if (mbx_time_operators(service->session, service->operators, operators, service->variants, 1, &kept->repeats, &ms)) return -1;
        return keep_sample(kept, ms) ? refuse(service, "no memory for times") : 0;
    }
    if (mbx_select(service->session, service->variants) || infer(service->session, service->stream, NULL)) return -1; /* weights into caches */
    for (int i = 0; i < 3; i++) {
        double start = clock_ms();
        if (infer(service->session, service->stream, NULL)) return -1;
        if (keep_sample(kept, clock_ms() - start)) return refuse(service, "no memory for times");
    }
    return 0;
}

static int serve_time(service *service, const cJSON *command) {
    enum { LEAST_ROUNDS = 5, MOST_CHOICES = 4096 };
    const cJSON *variants = cJSON_GetObjectItemCaseSensitive(command, "variants"), *seconds = cJSON_GetObjectItemCaseSensitive(command, "seconds");
    const cJSON *operators = cJSON_GetObjectItemCaseSensitive(command, "operators");
    int choices = cJSON_IsArray(variants) ? cJSON_GetArraySize(variants) : 0, timed = -1, failed = 0;
    if (choices < 1 || choices > MOST_CHOICES || !cJSON_IsNumber(seconds)) return refuse(service, "lacks 'variants', a list of lists, or 'seconds'");
    if (operators && !cJSON_IsNull(operators) &&
        (timed = numbers_of(operators, service->operators, 0, mbx_get_info(service->session)->operators)) < 0)
        return refuse(service, "'operators' is not a list of operators");
    series *kept = calloc((size_t)choices, sizeof *kept);
    double stop = clock_ms() + 1e3 * seconds->valuedouble;
    if (!kept) return refuse(service, "no memory for times");
    for (int round = 0; !failed && (round < LEAST_ROUNDS || clock_ms() < stop); round++) {
        int choice = 0;
        for (const cJSON *item = variants->child; item && !failed; item = item->next) failed = time_choice(service, item, timed, &kept[choice++]);
    }
    if (!failed) {
        begin("done");
        key("ms");
        for (int c = 0; c < choices; c++) {
            (void)fputs(c ? ", [" : "[[", stdout);
            for (int i = 0; i < kept[c].count; i++) (void)printf("%s%.6f", i ? ", " : "", kept[c].ms[i]);
            (void)fputs("]", stdout);
        }
        (void)fputs("]", stdout);
        finish();
    }
    for (int c = 0; c < choices; c++) free(kept[c].ms);
    free(kept);
    return failed;
}

/* The `bytes` that follow a command. */
static int receive(service *service, const cJSON *command) {
    const cJSON *bytes = cJSON_GetObjectItemCaseSensitive(command, "bytes");
    service->bytes = 0;
    if (!bytes) return 0;
    if (!cJSON_IsNumber(bytes) || !(bytes->valuedouble >= 1 && bytes->valuedouble <= 1 << 30)) return refuse(service, "'bytes' is no number of bytes");
    size_t wanted = (size_t)bytes->valuedouble;
    if (wanted > service->room) {
        char *larger = realloc(service->received, wanted);
        if (!larger) return refuse(service, "no memory for the inputs");
        service->received = larger;
        service->room = wanted;
    }
    service->bytes = fread(service->received, 1, wanted, stdin);
    return service->bytes == wanted ? 0 : refuse(service, "stdin ends within the inputs");
}

static int serve(service *service, const cJSON *command) {
    if (receive(service, command)) return -1;
    const cJSON *what = cJSON_GetObjectItemCaseSensitive(command, "do"), *level = cJSON_GetObjectItemCaseSensitive(command, "level");
    int operators = mbx_get_info(service->session)->operators, failed;
    const char *word = cJSON_IsString(what) ? what->valuestring : "";
    if (!strcmp(word, "time")) return serve_time(service, command);
    if (!strcmp(word, "run") || !strcmp(word, "resume") || !strcmp(word, "tensor")) return serve_outputs(service, word, command);
    if (!strcmp(word, "level")) {
        failed = cJSON_IsNumber(level) ? mbx_set_level(service->session, level->valueint) : refuse(service, "lacks 'level'");
    } else if (!strcmp(word, "select")) {
        int count = numbers_of(cJSON_GetObjectItemCaseSensitive(command, "variants"), service->variants, operators, operators);
        failed = count < 0 ? refuse(service, "'variants' is one number per operator") : mbx_select(service->session, service->variants);
    } else {
        return refuse(service, "'do' is one of level, select, run, resume, tensor, time");
    }
    if (failed) return -1;
    begin("done");
    finish();
    return 0;
}

static int run_serve(mbx_session *session, const arguments *given, stream *stream) {
    size_t operators = (size_t)mbx_get_info(session)->operators, room = 0;
    service service = {.session = session, .stream = stream};
    service.variants = pool_take(&stream->pool, operators, sizeof(int));
    service.operators = pool_take(&stream->pool, operators, sizeof(int));
    char *line = NULL;
    ssize_t length;
    (void)given;
    if (!service.variants || !service.operators) return end("no memory for variants");
    while ((length = getline(&line, &room, stdin)) > 0) {
        fault fault = {""};
        cJSON *command = json_parse((const unsigned char *)line, (size_t)length, "stdin", &fault);
        service.error = fault.text;
        if (command) service.error = NULL;
        if (!command || serve(&service, command)) {
            begin("failed");
            put_key_text("error", service.error ? service.error : mbx_last_error(session));
            finish();
        }
        cJSON_Delete(command);
    }
    free(service.received);
    free(line);
    return end(NULL);
}

static int with_session(const arguments *given, int (*run)(mbx_session *, const arguments *, stream *), const char *inputs) {
    mbx_session *session = open_session(given);
    if (!session) return 1;
    stream stream;
    put_info(session);
    int status = stream_open(&stream, session, inputs) ? 1 : run ? run(session, given, &stream) : end(NULL);
    stream_close(&stream);
    mbx_close(session);
    return status;
}

static int run_check(const arguments *given) {
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, stdin) > 0) {
        line[strcspn(line, "\r\n")] = 0;
        int failed = mbx_check(line, given->open.skip_digests);
        begin("checked");
        put_key_bool("ok", !failed);
        if (failed) put_key_text("error", mbx_last_error(NULL));
        finish();
    }
    free(line);
    return end(NULL);
}

/* A number of a step's surroundings; otherwise where it is not told. */
static double around(const cJSON *entry, const char *name, double otherwise) {
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(entry, name);
    return cJSON_IsBool(value) ? cJSON_IsTrue(value) : cJSON_IsNumber(value) ? value->valuedouble : otherwise;
}

/* Walks one trace; 0, or -1. */
static int walk(const cJSON *line, fault *fault) {
    pool pool = {NULL};
    walker walker = {.strategy = NULL};
    int levels = 0, classes = 0, first = 1;
    mbx_choice choice = {0, 0};
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(line, "strategy"), *options = cJSON_GetObjectItemCaseSensitive(line, "options");
    const cJSON *trace = cJSON_GetObjectItemCaseSensitive(line, "trace"), *calibration = cJSON_GetObjectItemCaseSensitive(line, "calibration");
    if (!cJSON_IsString(name) || !cJSON_IsArray(trace) || !calibration || (options && !cJSON_IsObject(options)))
        return fault_set(fault, "wanted are strategy, options, calibration and trace");
    const mbx_level_calibration *known = calibration_read(calibration, &levels, &classes, &pool, fault);
    int failed = !known || walker_open(&walker, name->valuestring, options, known, levels, classes, fault);
    if (!failed) {
        begin("walked");
        key("levels");
        (void)fputs("[", stdout);
        for (const cJSON *entry = trace->child; entry && !failed; entry = entry->next, first = 0) {
            const cJSON *label = cJSON_GetArrayItem(entry, 0), *confidence = cJSON_GetArrayItem(entry, 1);
            if (!cJSON_IsNumber(label) || !cJSON_IsNumber(confidence)) {
                failed = fault_set(fault, "an observation is [label, confidence]");
                break;
            }
            const cJSON *told = cJSON_GetArrayItem(entry, 2);
            mbx_observation seen = {.label = label->valueint,
                                    .confidence = confidence->valuedouble,
                                    .level = choice.level,
                                    .battery = around(told, "battery", (double)NAN),
                                    .charging = (int)around(told, "charging", -1),
                                    .temperature_c = around(told, "temperature_c", (double)NAN),
                                    .deadline_ms = around(told, "deadline_ms", (double)NAN),
                                    .hour = around(told, "hour", (double)NAN),
                                    .purpose = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(told, "purpose")),
                                    .rerun = choice.rerun};
            failed = walker_step(&walker, &seen, &choice, fault);
            if (!failed) (void)printf("%s%d", first ? "" : ", ", choice.level);
        }
        (void)fputs("]", stdout);
        finish();
    }
    walker_close(&walker);
    pool_free(&pool);
    return failed;
}

static int run_steps(void) {
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    fault first = {""};
    while ((length = getline(&line, &room, stdin)) > 0) {
        fault fault = {""};
        cJSON *parsed = json_parse((const unsigned char *)line, (size_t)length, "stdin", &fault);
        if (!parsed || walk(parsed, &fault)) {
            begin("refused");
            put_key_text("error", fault.text);
            finish();
            if (!first.text[0]) first = fault;
        }
        cJSON_Delete(parsed);
    }
    free(line);
    return end(first.text[0] ? first.text : NULL);
}

int main(int count, char **words) {
    arguments given;
    if (parse(count, words, &given)) {
        (void)fputs(USAGE, stderr);
        return 2;
    }
    if (!strcmp(given.command, "devices")) return run_devices(&given);
    if (!strcmp(given.command, "check")) return run_check(&given);
    if (!strcmp(given.command, "steps")) return run_steps();
    if (!strcmp(given.command, "info")) return with_session(&given, NULL, NULL);
    if (!strcmp(given.command, "infer")) return with_session(&given, run_infer, given.places[1]);
    if (!strcmp(given.command, "profile")) return with_session(&given, run_profile, given.inputs);
    if (!strcmp(given.command, "operators")) return with_session(&given, run_operators, given.inputs);
    if (!strcmp(given.command, "serve")) return with_session(&given, run_serve, NULL);
    return with_session(&given, run_trace, given.places[1]);
}
