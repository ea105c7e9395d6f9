#include "bundle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reader.h"
#include "setting.h"
#include "sha256.h"
#include "weights.h"

enum { SCHEMA = 1, ALIGNMENT = 64, LARGEST_TEXT = 1 << 30, MOST_FUNCTIONS = 4096 };

static const int32_t LARGEST = INT32_MAX;
static const int64_t MOST_COUNTED = INT64_C(1) << 53; /* what a double counts exactly */

/* What the reading functions share. Documents are deleted by bundle_read. */
typedef struct documents {
    cJSON *index, *plan, *header;
} documents;

/* ------------------------------------------------------------------------------------------------------------------ calibration */

static mbx_class_confidence read_confidence(const node *at) {
    node_only(at, "correct_count", "wrong_count", "correct_mean", "wrong_mean", (char *)NULL);
    double counts[2], means[2];
    static const char *const COUNTS[] = {"correct_count", "wrong_count"}, *const MEANS[] = {"correct_mean", "wrong_mean"};
    for (int side = 0; side < 2; side++) {
        node count = node_at(at, COUNTS[side]), mean = node_at(at, MEANS[side]);
        counts[side] = (double)node_whole(&count, 0, MOST_COUNTED);
        if ((counts[side] <= 0) != (node_is_null(&mean) != 0)) node_fail(&mean, "a mean is there exactly where the count is not 0");
        means[side] = node_is_null(&mean) ? (double)NAN : node_within(&mean, 0, 1);
    }
    return (mbx_class_confidence){counts[0], counts[1], means[0], means[1]};
}

static mbx_agreement *read_agreement(const node *at) {
    if (node_is_null(at)) return NULL;
    node_only(at, "samples", "groups", "thresholds", "accepted", "differing", "group_differing", (char *)NULL);
    static const char *const CURVES[] = {"thresholds", "accepted", "differing", "group_differing"};
    node samples = node_at(at, "samples"), groups = node_at(at, "groups");
    mbx_agreement *into = reader_take(at->reader, 1, sizeof *into);
    double *curves[4];
    for (int i = 0; i < 4; i++) {
        node curve = node_at(at, CURVES[i]);
        int count = node_length(&curve);
        if (!count || (i && count != into->count)) node_fail(&curve, "not a list with one number per threshold");
        into->count = count;
        double *values = curves[i] = reader_take(at->reader, (size_t)count, sizeof *values);
        EACH(entry, &curve) {
            values[entry.index] = node_within(&entry, 0, 1);
            double step = entry.index ? values[entry.index] - values[entry.index - 1] : 0;
            if (entry.index && (i ? step > 0 : step <= 0)) node_fail(&curve, "out of order");
        }
    }
    *into = (mbx_agreement){into->count, curves[0], curves[1], curves[2], curves[3], (double)node_whole(&samples, 0, MOST_COUNTED),
                            (double)node_whole(&groups, 0, MOST_COUNTED)};
    return into;
}

static mbx_level_calibration *read_calibration(const node *at, int *level_count, int *class_count) {
    *level_count = node_length(at);
    if (!*level_count) node_fail(at, "not a list of levels");
    mbx_level_calibration *levels = reader_take(at->reader, (size_t)*level_count, sizeof *levels);
    EACH(level, at) {
        node_only(&level, "relative_cost", "accuracy", "temperature", "overall", "classes", "agreement", (char *)NULL);
        node cost = node_at(&level, "relative_cost"), accuracy = node_at(&level, "accuracy"), temperature = node_at(&level, "temperature");
        node overall = node_at(&level, "overall"), classes = node_at(&level, "classes"), agreement = node_at(&level, "agreement");
        int count = node_length(&classes);
        if (!count) node_fail(&classes, "not a list of classes");
        if (level.index && count != *class_count) node_fail(at, "levels differ in how many classes they have");
        *class_count = count;
        mbx_class_confidence *confidences = reader_take(at->reader, (size_t)count, sizeof *confidences);
        EACH(class, &classes) confidences[class.index] = read_confidence(&class);
        levels[level.index] = (mbx_level_calibration){
            .relative_cost = node_within(&cost, 1, HUGE_VAL),
            .accuracy = node_is_null(&accuracy) ? (double)NAN : node_within(&accuracy, 0, 1),
            .temperature = node_within(&temperature, 1, HUGE_VAL),
            .overall = read_confidence(&overall),
            .classes = confidences,
            .agreement = read_agreement(&agreement),
        };
    }
    return levels;
}

mbx_level_calibration *calibration_read(const cJSON *value, int *levels, int *classes, pool *pool, fault *fault) {
    reader reader = {.fault = fault, .pool = pool};
    if (setjmp(reader.escape)) return NULL;
    node root = {value, &reader, NULL, "calibration", 0};
    return read_calibration(&root, levels, classes);
}

/* ------------------------------------------------------------------------------------------------------------------------- plan */

static void read_functions(const node *at, bundle *into) {
    int count = node_length(at);
    if (count > MOST_FUNCTIONS) node_fail(at, "%d functions; at most %d are read", count, MOST_FUNCTIONS);
    into->functions = reader_take(at->reader, (size_t)count, sizeof *into->functions);
    EACH(entry, at) {
        const char *name = node_text(&entry);
        size_t length = strlen(name);
        int ok = length >= 1 && length <= 201 && !(name[0] >= '0' && name[0] <= '9');
        for (const char *c = name; *c; c++)
            ok &= *c == '_' || (*c >= '0' && *c <= '9') || (*c >= 'A' && *c <= 'Z') || (*c >= 'a' && *c <= 'z');
        if (!ok) node_fail(&entry, "'%.40s' is no function name", name);
        for (int before = 0; before < entry.index; before++)
            if (!strcmp(name, into->functions[before])) node_fail(at, "'%.40s' stands there twice", name);
        into->functions[entry.index] = name;
    }
    into->function_count = count;
}

/* How many launches all operators have together; lists are checked on the way. */
static int64_t count_launches(const node *at) {
    int64_t total = 0;
    (void)node_length(at);
    EACH(operator, at) {
        node_only(&operator, "name", "kind", "variants", (char *)NULL);
        node variants = node_at(&operator, "variants");
        (void)node_length(&variants);
        EACH(variant, &variants) {
            node_only(&variant, "setting", "launches", (char *)NULL);
            node launches = node_at(&variant, "launches");
            total += node_length(&launches);
        }
    }
    return total;
}

static void read_launch(const node *at, const bundle *into, int32_t *row) {
    node_only(at, "function", "units", "row", (char *)NULL);
    node function = node_at(at, "function"), units = node_at(at, "units"), values = node_at(at, "row");
    row[0] = node_int(&function, 0, into->function_count - 1);
    row[1] = node_int(&units, 0, LARGEST);
    (void)node_ints(&values, INT32_MIN, LARGEST, 0, ROW_INTS, row + 2);
}

static int by_operator_name(const void *a, const void *b) {
    return strcmp((*(const operator_variants *const *)a)->name, (*(const operator_variants *const *)b)->name);
}

/* Pointers to the operators, in the order of their names. */
static const operator_variants **sorted_operators(const node *at, const bundle *into) {
    size_t count = (size_t)into->operator_count;
    const operator_variants **sorted = reader_take(at->reader, count, sizeof *sorted);
    for (size_t i = 0; i < count; i++) sorted[i] = &into->operators[i];
    if (count) qsort(sorted, count, sizeof *sorted, by_operator_name);
    for (size_t i = 1; i < count; i++)
        if (!strcmp(sorted[i]->name, sorted[i - 1]->name)) node_fail(at, "two operators are called '%.80s'", sorted[i]->name);
    return sorted;
}

static void read_operators(const node *at, bundle *into) {
    int64_t total = count_launches(at);
    if (total > LARGEST / ROW_STRIDE) node_fail(at, "%lld launches are too many", (long long)total);
    into->rows = reader_take(at->reader, (size_t)total * ROW_STRIDE, sizeof *into->rows);
    into->operator_count = node_length(at);
    into->operators = reader_take(at->reader, (size_t)into->operator_count, sizeof *into->operators);
    EACH(entry, at) {
        operator_variants *operator = &into->operators[entry.index];
        node name = node_at(&entry, "name"), kind = node_at(&entry, "kind"), variants = node_at(&entry, "variants");
        operator->name = node_text(&name);
        (void)node_text(&kind);
        operator->count = node_length(&variants);
        operator->variants = reader_take(at->reader, (size_t)operator->count, sizeof *operator->variants);
        EACH(choice, &variants) {
            node setting = node_at(&choice, "setting"), launches = node_at(&choice, "launches");
            variant *variant = &operator->variants[choice.index];
            *variant = (struct variant){setting_canonical(&setting), into->row_count, node_length(&launches)};
            EACH(launch, &launches) read_launch(&launch, into, into->rows + (size_t)into->row_count++ * ROW_STRIDE);
        }
        if (!operator->count || operator->variants[0].setting[0]) node_fail(&variants, "variant 0 is not the exact one");
    }
}

static void read_levels(const node *at, bundle *into) {
    into->level_count = node_length(at);
    if (!into->level_count) node_fail(at, "level 0 is not the exact one");
    if ((int64_t)into->level_count * into->operator_count > LARGEST) node_fail(at, "%d levels are too many", into->level_count);
    into->levels = reader_take(at->reader, (size_t)into->level_count * (size_t)into->operator_count, sizeof *into->levels);
    EACH(entry, at) {
        int32_t *variants = into->levels + (size_t)entry.index * (size_t)into->operator_count;
        (void)node_ints(&entry, 0, LARGEST, into->operator_count, into->operator_count, variants);
        int64_t launches = 0;
        for (int o = 0; o < into->operator_count; o++) {
            const operator_variants *operator = &into->operators[o];
            if (variants[o] >= operator->count)
                node_fail(&entry, "wants variant %d of '%.80s', which has %d", variants[o], operator->name, operator->count);
            if (!entry.index && variants[o]) node_fail(at, "level 0 is not the exact one");
            launches += operator->variants[variants[o]].count;
        }
        if (launches > LARGEST) node_fail(&entry, "%lld launches are too many", (long long)launches);
    }
}

/* The product, or LARGEST + 1 where it is larger. */
static int64_t product(const int32_t *factors, int count) {
    int64_t result = 1;
    for (int i = 0; i < count; i++) {
        result *= factors[i];
        if (result > LARGEST) result = (int64_t)LARGEST + 1; /* factors may still be 0 */
    }
    return result;
}

static void read_slot(const node *at, int32_t arena, slot *into) {
    node_only(at, "name", "shape", "extent", "offset", "strides", "block", (char *)NULL);
    node name = node_at(at, "name"), shape = node_at(at, "shape"), extent = node_at(at, "extent"), offset = node_at(at, "offset");
    node strides = node_at(at, "strides"), block = node_at(at, "block");
    into->name = node_text(&name);
    into->rank = node_ints(&shape, 1, LARGEST, 0, MBX_MAX_RANK, into->shape);
    (void)node_ints(&extent, 1, LARGEST, 4, 4, into->extent);
    into->offset = node_int(&offset, 0, LARGEST);
    (void)node_ints(&strides, 0, LARGEST, 4, 4, into->strides);
    into->block = node_int(&block, 1, 1024);
    int64_t elements = product(into->shape, into->rank);
    if (elements > LARGEST) node_fail(&shape, "the tensor is too large");
    if (elements != product(into->extent, 4)) node_fail(&extent, "is not as large as the shape");
    into->elements = (int32_t)elements;
    const int32_t c = into->extent[1];
    const int64_t steps[] = {into->extent[0] - 1, (c - 1) / into->block, into->extent[2] - 1, into->extent[3] - 1};
    int64_t last = (int64_t)into->offset + (c < into->block ? c : into->block) - 1;
    for (int i = 0; i < 4; i++) {
        last += steps[i] * into->strides[i]; /* both below 2^31, and last stays below 2^33 */
        if (last >= arena) node_fail(at, "ends at element %lld or later, outside the arena of %d", (long long)last, arena);
    }
    if (last >= arena) node_fail(at, "ends at element %lld, outside the arena of %d", (long long)last, arena);
    into->last = (int32_t)last;
}

static slot *read_slots(const node *plan, const char *key, int32_t arena, int least, int *count) {
    node list = node_at(plan, key);
    *count = node_length(&list);
    if (*count < least) node_fail(&list, "there is none");
    slot *slots = reader_take(plan->reader, (size_t)*count, sizeof *slots);
    EACH(entry, &list) read_slot(&entry, arena, &slots[entry.index]);
    return slots;
}

static slot *read_labelled(const node *at, const bundle *read) {
    slot *labelled = reader_take(at->reader, 1, sizeof *labelled);
    read_slot(at, read->arena_elements, labelled);
    const slot *scores = &read->outputs[0];
    int32_t images = scores->shape[0];
    if (labelled->rank != 2 || labelled->shape[0] != images || (int64_t)labelled->shape[1] != 2 + (int64_t)scores->elements / images)
        node_fail(at, "label, confidence and the scores of '%.80s' do not fit its shape", scores->name);
    return labelled;
}

static void read_device(const node *at, bundle *into) {
    node_only(at, "name", "driver", "runtime", "kind", "isa", "features", "block", "vector", "threads", "fp16", "max_alloc_bytes", (char *)NULL);
    static const char *const ISAS[] = {"generic", "avx2", "avx512"};
    node name = node_at(at, "name"), driver = node_at(at, "driver"), runtime = node_at(at, "runtime"), kind = node_at(at, "kind");
    node isa = node_at(at, "isa"), block = node_at(at, "block"), vector = node_at(at, "vector"), threads = node_at(at, "threads");
    node features = node_at(at, "features"), fp16 = node_at(at, "fp16"), most = node_at(at, "max_alloc_bytes");
    into->device_name = node_text(&name);
    (void)node_text(&driver);
    (void)node_text(&runtime);
    into->is_gpu = node_one_of(&kind, "cpu", "gpu", (char *)NULL);
    into->isa = ISAS[node_one_of(&isa, ISAS[0], ISAS[1], ISAS[2], (char *)NULL)];
    into->feature_count = node_length(&features);
    into->features = reader_take(at->reader, (size_t)into->feature_count, sizeof *into->features);
    EACH(entry, &features) into->features[entry.index] = node_text(&entry);
    into->block = node_int(&block, 1, 1024);
    into->vector = node_int(&vector, 1, 1024);
    into->threads = node_int(&threads, 1, LARGEST);
    (void)node_boolean(&fp16);
    (void)node_whole(&most, 1, INT64_C(1) << 62);
}

static void read_constants(const node *at, const cJSON *header, span weights, bundle *into) {
    into->constant_count = node_length(at);
    into->constants = reader_take(at->reader, (size_t)into->constant_count, sizeof *into->constants);
    const stored_tensor *stored = weights_read(at->reader, header, weights, into->constant_count);
    EACH(entry, at) {
        node_only(&entry, "name", "offset", "dtype", "shape", (char *)NULL);
        node name = node_at(&entry, "name"), offset = node_at(&entry, "offset"), dtype = node_at(&entry, "dtype");
        node shape = node_at(&entry, "shape");
        const stored_tensor *tensor = &stored[entry.index];
        int32_t dimensions[MBX_MAX_RANK];
        (void)node_text(&name);
        int rank = node_ints(&shape, 0, LARGEST, 0, MBX_MAX_RANK, dimensions);
        int type = weights_type(&dtype), is_half = weights_is_half(type, tensor->type);
        if (type != tensor->type && !is_half) node_fail(&dtype, "the stored tensor is of another type");
        int64_t item = weights_item_bytes(tensor->type), size = product(dimensions, rank), bytes = size * weights_item_bytes(type);
        if (size > LARGEST || size > tensor->elements || tensor->elements >= size + ALIGNMENT / item)
            node_fail(&shape, "%lld element(s); %lld are stored", (long long)size, (long long)tensor->elements);
        int64_t start = 4 * (int64_t)node_int(&offset, 0, LARGEST);
        if (start % ALIGNMENT) node_fail(&offset, "not aligned to %d bytes", ALIGNMENT);
        if (start + bytes > 4 * (int64_t)into->arena_elements)
            node_fail(&offset, "the constant ends outside the arena of %d elements", into->arena_elements);
        into->constants[entry.index] = (constant){(size_t)start, (size_t)bytes, tensor->values, is_half};
    }
}

static void read_plan(const node *at, const cJSON *header, span weights, bundle *into) {
    node_only(at, "schema", "name", "batch", "device", "arena_elements", "functions", "inputs", "outputs", "tensors", "labelled", "levels",
              "operators", "constants", "notes", (char *)NULL);
    node schema = node_at(at, "schema"), name = node_at(at, "name"), batch = node_at(at, "batch"), device = node_at(at, "device");
    node arena = node_at(at, "arena_elements"), functions = node_at(at, "functions"), levels = node_at(at, "levels");
    node operators = node_at(at, "operators"), constants = node_at(at, "constants"), notes = node_at(at, "notes");
    node labelled = node_at(at, "labelled");
    if (node_int(&schema, 0, LARGEST) != SCHEMA) node_fail(&schema, "not %d", SCHEMA);
    into->name = node_text(&name);
    into->batch = node_int(&batch, 1, LARGEST);
    read_device(&device, into);
    into->arena_elements = node_int(&arena, 1, LARGEST);
    read_functions(&functions, into);
    read_operators(&operators, into);
    (void)sorted_operators(&operators, into);
    read_levels(&levels, into);
    into->inputs = read_slots(at, "inputs", into->arena_elements, 1, &into->input_count);
    into->outputs = read_slots(at, "outputs", into->arena_elements, 1, &into->output_count);
    into->tensors = read_slots(at, "tensors", into->arena_elements, 0, &into->tensor_count);
    if (!node_is_null(&labelled)) into->labelled = read_labelled(&labelled, into);
    read_constants(&constants, header, weights, into);
    if (!cJSON_IsObject(notes.value)) node_fail(&notes, "not an object");
}

/* ------------------------------------------------------------------------------------------------------------------------ index */

static void verify(const node *at, const char *key, span content, int skip_digests) {
    node entry = node_at(at, key);
    node_only(&entry, "size_bytes", "sha256", (char *)NULL);
    node size = node_at(&entry, "size_bytes"), digest = node_at(&entry, "sha256");
    int64_t wanted = node_whole(&size, 0, INT64_C(1) << 40);
    if ((uint64_t)wanted != content.bytes) node_fail(&entry, "%zu bytes long; %lld were written", content.bytes, (long long)wanted);
    const char *spelt = node_text(&digest);
    char found[SHA256_HEX];
    if (skip_digests) return;
    sha256_hex(content.data, content.bytes, found);
    if (strcmp(found, spelt)) node_fail(&entry, "its SHA-256 is not the one in bundle.json");
}

static void read_point(const node *at, const bundle *read, const operator_variants **sorted, mbx_level_info *into) {
    node_only(at, "level", "qos_loss", "qos_loss_upper", "latency_ms", "energy_mj", "settings", (char *)NULL);
    node level = node_at(at, "level"), loss = node_at(at, "qos_loss"), upper = node_at(at, "qos_loss_upper"), latency = node_at(at, "latency_ms");
    node energy = node_at(at, "energy_mj"), settings = node_at(at, "settings");
    if (node_int(&level, INT32_MIN, LARGEST) != at->index) node_fail(&level, "levels stand in order; wanted is %d", at->index);
    if (!node_is_null(&upper)) node_number(&upper);
    *into = (mbx_level_info){node_number(&loss), node_number(&latency), node_is_null(&energy) ? (double)NAN : node_number(&energy)};
    if (!cJSON_IsObject(settings.value)) node_fail(&settings, "not an object");
    const char **wanted = reader_take(at->reader, (size_t)read->operator_count, sizeof *wanted);
    EACH(entry, &settings) {
        const operator_variants named = {.name = entry.key}, *key = &named;
        const operator_variants **found =
            read->operator_count ? bsearch(&key, sorted, (size_t)read->operator_count, sizeof *sorted, by_operator_name) : NULL;
        if (!found) node_fail(&settings, "the plan has no operator called '%.80s'", entry.key);
        const char **spelt = &wanted[*found - read->operators];
        if (*spelt) node_fail(&settings, "'%.80s' stands there twice", entry.key);
        *spelt = setting_canonical(&entry);
    }
    const int32_t *variants = read->levels + (size_t)at->index * (size_t)read->operator_count;
    for (int o = 0; o < read->operator_count; o++) {
        const char *runs = read->operators[o].variants[variants[o]].setting;
        if (strcmp(runs, wanted[o] ? wanted[o] : ""))
            node_fail(&settings, "'%.80s' runs as '%.200s' in the plan", read->operators[o].name, runs[0] ? runs : "exact");
    }
}

/* Name and options of a backend or strategy; options are an object. */
static const char *read_choice(const node *at, const cJSON **options) {
    node_only(at, "name", "options", (char *)NULL);
    node name = node_at(at, "name"), chosen = node_at(at, "options");
    if (!cJSON_IsObject(chosen.value)) node_fail(&chosen, "not an object");
    *options = chosen.value;
    return node_text(&name);
}

static void read_backend(const node *at, bundle *into) {
    const cJSON *options;
    (void)read_choice(at, &options);
    const cJSON *threads = cJSON_GetObjectItemCaseSensitive(options, "threads"), *launch = cJSON_GetObjectItemCaseSensitive(options, "launch");
    node at_threads = {threads, at->reader, at, "options.threads", 0};
    if (threads && !cJSON_IsNull(threads)) into->wanted_threads = node_int(&at_threads, 1, LARGEST);
    into->launch_by_operator = cJSON_IsString(launch) && !strcmp(launch->valuestring, "operators");
}

static void read_strategy(const node *at, bundle *into) {
    if (node_is_null(at)) return;
    const cJSON *options;
    into->strategy = read_choice(at, &options);
    char *spelt = cJSON_PrintUnformatted(options);
    if (!spelt) reader_fail(at->reader, "no memory for the strategy's options");
    into->strategy_options = pool_text(at->reader->pool, spelt);
    cJSON_free(spelt);
    if (!into->strategy_options) reader_fail(at->reader, "no memory for the strategy's options");
}

static void read_index(const node *at, const node *plan, const cJSON *header, const span files[FILE_COUNT], int skip_digests,
                       bundle *into) {
    if (!cJSON_IsObject(at->value)) node_fail(at, "not an object");
    node schema = node_at(at, "schema");
    int32_t number = node_int(&schema, INT32_MIN, LARGEST);
    if (number != SCHEMA) node_fail(&schema, "this version reads schema %d, not %d", SCHEMA, number);
    node_only(at, "schema", "name", "backend", "classes", "already_softmax", "qos", "levels", "calibration", "strategy", "provenance",
              "files", (char *)NULL);
    node listed = node_at(at, "files"), levels = node_at(at, "levels"), calibration = node_at(at, "calibration");
    node classes = node_at(at, "classes"), softmax = node_at(at, "already_softmax"), provenance = node_at(at, "provenance");
    node backend = node_at(at, "backend"), strategy = node_at(at, "strategy");
    node_only(&listed, BUNDLE_FILES[FILE_PLAN], BUNDLE_FILES[FILE_WEIGHTS], BUNDLE_FILES[FILE_PROGRAM], (char *)NULL);
    for (int i = FILE_PLAN; i < FILE_COUNT; i++) verify(&listed, BUNDLE_FILES[i], files[i], skip_digests);

    read_plan(plan, header, files[FILE_WEIGHTS], into);
    int count = node_length(&levels);
    if (count != into->level_count) node_fail(&levels, "%d level(s); the plan has %d", count, into->level_count);
    into->points = reader_take(at->reader, (size_t)count, sizeof *into->points);
    const operator_variants **sorted = sorted_operators(plan, into);
    EACH(level, &levels) read_point(&level, into, sorted, &into->points[level.index]);
    into->calibration = read_calibration(&calibration, &count, &into->class_count);
    if (count != into->level_count) node_fail(&calibration, "%d level(s); the plan has %d", count, into->level_count);
    count = node_length(&classes);
    if (count && count != into->class_count) node_fail(&classes, "%d name(s) for %d class(es)", count, into->class_count);
    into->class_names = count ? reader_take(at->reader, (size_t)count, sizeof *into->class_names) : NULL;
    EACH(name, &classes) into->class_names[name.index] = node_text(&name);
    into->already_softmax = node_boolean(&softmax);
    node qos = node_at(at, "qos");
    node_only(&qos, "name", "unit", "higher_is_better", "classifies", (char *)NULL);
    node name = node_at(&qos, "name"), unit = node_at(&qos, "unit");
    node better = node_at(&qos, "higher_is_better"), classifies = node_at(&qos, "classifies");
    node_text(&name);
    node_text(&unit);
    node_boolean(&better);
    node_boolean(&classifies);
    if (!cJSON_IsObject(provenance.value)) node_fail(&provenance, "not an object");
    read_backend(&backend, into);
    read_strategy(&strategy, into);
}

/* Everything that may escape; what it leaves in `documents` is deleted by the caller. */
static int read_all(bundle *into, const span files[FILE_COUNT], int skip_digests, documents *documents, reader *reader) {
    if (setjmp(reader->escape)) return -1;
    for (int i = 0; i < FILE_COUNT; i++)
        if (i != FILE_WEIGHTS && files[i].bytes > LARGEST_TEXT) reader_fail(reader, "%s: larger than 1 GiB", BUNDLE_FILES[i]);
    documents->index = json_parse(files[FILE_INDEX].data, files[FILE_INDEX].bytes, BUNDLE_FILES[FILE_INDEX], reader->fault);
    if (!documents->index) return -1;
    documents->plan = json_parse(files[FILE_PLAN].data, files[FILE_PLAN].bytes, BUNDLE_FILES[FILE_PLAN], reader->fault);
    if (!documents->plan) return -1;
    span header = weights_header(reader, files[FILE_WEIGHTS]);
    documents->header = json_parse(header.data, header.bytes, BUNDLE_FILES[FILE_WEIGHTS], reader->fault);
    if (!documents->header) return -1;
    if (!is_utf8(files[FILE_PROGRAM].data, files[FILE_PROGRAM].bytes)) reader_fail(reader, "%s: is not UTF-8 text", BUNDLE_FILES[FILE_PROGRAM]);
    into->source = files[FILE_PROGRAM];
    node index = {documents->index, reader, NULL, BUNDLE_FILES[FILE_INDEX], 0};
    node plan = {documents->plan, reader, NULL, BUNDLE_FILES[FILE_PLAN], 0};
    read_index(&index, &plan, documents->header, files, skip_digests, into);
    return 0;
}

int bundle_read(bundle *into, const span files[FILE_COUNT], int skip_digests, pool *pool, fault *fault) {
    memset(into, 0, sizeof *into);
    documents documents = {NULL, NULL, NULL};
    reader reader = {.fault = fault, .pool = pool};
    int failed = read_all(into, files, skip_digests, &documents, &reader);
    cJSON_Delete(documents.index);
    cJSON_Delete(documents.plan);
    cJSON_Delete(documents.header);
    return failed;
}
