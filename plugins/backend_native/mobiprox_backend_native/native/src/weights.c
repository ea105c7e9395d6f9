#include "weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

int weights_type(const node *at) {
    return node_one_of(at, "float32", "int32", "float16", "int16", "uint16", "int8", "uint8", (char *)NULL);
}

static int stored_type(const node *at) { return node_one_of(at, "F32", "I32", "F16", "I16", "U16", "I8", "U8", (char *)NULL); }

int64_t weights_item_bytes(int type) { return type < 2 ? 4 : type < 5 ? 2 : 1; }

int weights_is_half(int type, int stored) { return type == 0 && stored == 2; }

void weights_widen(const unsigned char *halves, size_t count, float *into) {
    for (size_t i = 0; i < count; i++) {
        uint32_t half = halves[2 * i] | (uint32_t)halves[2 * i + 1] << 8, bits, sign = (half & 0x8000) << 16;
        uint32_t exponent = half >> 10 & 31, fraction = half & 0x3ff;
        if (exponent) {
            bits = (exponent == 31 ? 255u : exponent + 112) << 23 | fraction << 13;
        } else {
            float small = (float)fraction * 0x1p-24f;
            memcpy(&bits, &small, sizeof bits);
        }
        bits |= sign;
        memcpy(&into[i], &bits, sizeof bits);
    }
}

span weights_header(reader *reader, span content) {
    const char *name = BUNDLE_FILES[FILE_WEIGHTS];
    if (content.bytes < 8) reader_fail(reader, "%s: is no safetensors file: too short", name);
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--) length = length << 8 | content.data[i];
    if (length > content.bytes - 8) reader_fail(reader, "%s: is no safetensors file: its header ends outside it", name);
    if ((8 + length) % ALIGNMENT) reader_fail(reader, "%s: its data is not aligned to %d bytes", name, ALIGNMENT);
    return (span){content.data + 8, (size_t)length};
}

static int by_begin(const void *a, const void *b) {
    const stored_tensor *one = *(const stored_tensor *const *)a, *two = *(const stored_tensor *const *)b;
    return one->begin != two->begin ? (one->begin < two->begin ? -1 : 1) : (one->end > two->end) - (one->end < two->end);
}

/* The tensor's number, as its name spells it; `count` for any other name. */
static int number_of(const char *name, int count) {
    int number = 0;
    for (const char *c = name; *c; c++) {
        if (*c < '0' || *c > '9' || number > (INT32_MAX - 9) / 10 || (c > name && !number)) return count;
        number = 10 * number + (*c - '0');
    }
    return *name && number < count ? number : count;
}

static void read_metadata(const node *at) {
    if (!cJSON_IsObject(at->value)) node_fail(at, "not an object");
    EACH(entry, at) if (!cJSON_IsString(entry.value)) node_fail(&entry, "not text");
}

static void read_tensor(const node *at, span data, stored_tensor *into) {
    node_only(at, "dtype", "shape", "data_offsets", (char *)NULL);
    node dtype = node_at(at, "dtype"), shape = node_at(at, "shape"), offsets = node_at(at, "data_offsets");
    int64_t limits[2] = {0, 0};
    into->type = stored_type(&dtype);
    if (node_length(&shape) != 1) node_fail(&shape, "is not flat");
    EACH(size, &shape) into->elements = node_whole(&size, 0, INT64_C(1) << 48);
    if (node_length(&offsets) != 2) node_fail(&offsets, "wanted are begin and end");
    EACH(limit, &offsets) limits[limit.index] = node_whole(&limit, limit.index ? limits[0] : 0, (int64_t)data.bytes);
    if (limits[1] - limits[0] != into->elements * weights_item_bytes(into->type)) node_fail(&offsets, "do not fit shape and type");
    into->begin = limits[0];
    into->end = limits[1];
    into->values = data.data + limits[0];
}

const stored_tensor *weights_read(reader *reader, const cJSON *header, span content, int count) {
    node root = {header, reader, NULL, BUNDLE_FILES[FILE_WEIGHTS], 0};
    span json = weights_header(reader, content);
    span data = {json.data + json.bytes, content.bytes - 8 - json.bytes};
    if (!cJSON_IsObject(header)) node_fail(&root, "is no safetensors file: its header is not an object");
    stored_tensor *tensors = reader_take(reader, (size_t)count, sizeof *tensors);
    const stored_tensor **sorted = reader_take(reader, (size_t)count, sizeof *sorted);
    int found = 0, metadata = 0;
    EACH(entry, &root) {
        if (!strcmp(entry.key, "__metadata__")) {
            if (metadata++) node_fail(&entry, "stands there twice");
            read_metadata(&entry);
            continue;
        }
        int number = number_of(entry.key, count);
        if (number == count) node_fail(&root, "the plan has no constant '%.20s'", entry.key);
        if (tensors[number].values) node_fail(&entry, "stands there twice");
        read_tensor(&entry, data, &tensors[number]);
        sorted[found++] = &tensors[number];
    }
    if (found != count) node_fail(&root, "%d tensor(s) for %d constant(s)", found, count);
    if (count) qsort(sorted, (size_t)count, sizeof *sorted, by_begin);
    int64_t covered = 0;
    for (int i = 0; i < count; i++) {
        if (sorted[i]->begin != covered) node_fail(&root, "tensors overlap, or leave a gap");
        covered = sorted[i]->end;
    }
    if ((uint64_t)covered != data.bytes) node_fail(&root, "bytes are left that belong to no tensor");
    return tensors;
}
