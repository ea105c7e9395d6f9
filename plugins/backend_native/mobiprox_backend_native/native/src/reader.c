#include "reader.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { PLACE_BYTES = 512 };

void reader_fail(reader *reader, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(reader->fault->text, sizeof reader->fault->text, format, arguments);
    va_end(arguments);
    longjmp(reader->escape, 1);
}

static size_t place(const node *at, char *into, size_t used) {
    if (at->parent) used = place(at->parent, into, used);
    if (used + 1 >= PLACE_BYTES) return used;
    char *to = into + used;
    size_t room = PLACE_BYTES - used;
    int wanted = !at->key ? snprintf(to, room, "[%d]", at->index)
                 : !at->parent ? snprintf(to, room, "%s", at->key)
                                 : snprintf(to, room, "%s%s", at->parent->parent ? "." : ": ", at->key);
    size_t length = wanted < 0 ? 0 : (size_t)wanted;
    return used + (length < room ? length : room - 1);
}

void node_fail(const node *at, const char *format, ...) {
    char where[PLACE_BYTES] = "", what[FAULT_BYTES / 2];
    (void)place(at, where, 0);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    reader_fail(at->reader, "%s: %s", where, what);
}

void *reader_take(reader *reader, size_t count, size_t size) {
    void *taken = pool_take(reader->pool, count, size);
    if (!taken) reader_fail(reader, "no memory for %zu times %zu bytes", count, size);
    return taken;
}

int is_utf8(const unsigned char *data, size_t bytes) {
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    for (size_t i = 0; i < bytes;) {
        unsigned char first = data[i++];
        if (first < 0x80) continue;
        size_t more = first >= 0xf0 && first < 0xf8 ? 3 : first >= 0xe0 && first < 0xf0 ? 2 : first >= 0xc0 && first < 0xe0 ? 1 : 0;
        if (!more || bytes - i < more) return 0;
        uint32_t code = first & (0x3fu >> more);
        for (size_t k = 0; k < more; k++, i++) {
            if ((data[i] & 0xc0) != 0x80) return 0;
            code = code << 6 | (data[i] & 0x3f);
        }
        if (code < least[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return 0;
    }
    return 1;
}

static size_t digits_end(const unsigned char *data, size_t bytes, size_t at) {
    while (at < bytes && data[at] >= '0' && data[at] <= '9') at++;
    return at;
}

/* Where the number at `begin` ends; `begin` itself if it is none of JSON's. */
static size_t number_end(const unsigned char *data, size_t bytes, size_t begin) {
    size_t first = begin + (data[begin] == '-'), at = digits_end(data, bytes, first);
    if (at == first || (data[first] == '0' && at > first + 1)) return begin;
    if (at < bytes && data[at] == '.') {
        first = at + 1;
        if ((at = digits_end(data, bytes, first)) == first) return begin;
    }
    if (at < bytes && (data[at] == 'e' || data[at] == 'E')) {
        first = at + 1;
        if (first < bytes && (data[first] == '+' || data[first] == '-')) first++;
        if ((at = digits_end(data, bytes, first)) == first) return begin;
    }
    return at;
}

/* cJSON takes any control character for a space, numbers like 01 and 1., and cuts texts at \u0000. The place of the first such, else `bytes`. */
static size_t first_lenience(const unsigned char *data, size_t bytes) {
    int in_text = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] < ' ' && (in_text || (data[i] != '\t' && data[i] != '\n' && data[i] != '\r'))) return i;
        if (in_text && data[i] == '\\') {
            if (bytes - i > 5 && !memcmp(data + i + 1, "u0000", 5)) return i;
            i++;
        } else if (data[i] == '"') {
            in_text = !in_text;
        } else if (!in_text && (data[i] == '-' || (data[i] >= '0' && data[i] <= '9'))) {
            size_t end = number_end(data, bytes, i);
            if (end == i) return i;
            i = end - 1;
        }
    }
    return bytes;
}

cJSON *json_parse(const unsigned char *data, size_t bytes, const char *name, fault *fault) {
    if (!bytes || !is_utf8(data, bytes) || data[0] == 0xef) { /* 0xef: a byte order mark, which JSON has not */
        fault_set(fault, "%s: is not JSON: %s", name, bytes ? "not UTF-8 text" : "empty");
        return NULL;
    }
    size_t wrong = first_lenience(data, bytes);
    if (wrong < bytes) {
        fault_set(fault, "%s: is not JSON: fault at byte %zu of %zu", name, wrong, bytes);
        return NULL;
    }
    const char *end = NULL;
    cJSON *root = cJSON_ParseWithLengthOpts((const char *)data, bytes, &end, 0);
    size_t at = end ? (size_t)(end - (const char *)data) : 0;
    size_t rest = at;
    while (root && rest < bytes && strchr(" \t\r\n", data[rest]) && data[rest]) rest++;
    if (!root || rest < bytes) {
        cJSON_Delete(root);
        fault_set(fault, "%s: is not JSON: fault at byte %zu of %zu", name, at, bytes);
        return NULL;
    }
    return root;
}

node node_at(const node *object, const char *key) {
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object->value, key);
    if (!value) node_fail(object, "lacks '%s'", key);
    return (node){value, object->reader, object, key, 0};
}

node node_child(const node *parent, const cJSON *child, int index) {
    return (node){child, parent->reader, parent, child ? child->string : NULL, index};
}

void node_only(const node *at, ...) {
    if (!cJSON_IsObject(at->value)) node_fail(at, "not an object");
    int count = 0;
    va_list keys;
    va_start(keys, at);
    for (const char *key = va_arg(keys, const char *); key; key = va_arg(keys, const char *), count++) {
        if (!cJSON_GetObjectItemCaseSensitive(at->value, key)) {
            va_end(keys);
            node_fail(at, "lacks '%s'", key);
        }
    }
    va_end(keys);
    if (cJSON_GetArraySize(at->value) != count) node_fail(at, "has keys that do not belong there, or one of them twice");
}

void node_object(const node *at) {
    if (!cJSON_IsObject(at->value)) node_fail(at, "not an object");
    EACH(entry, at) {
        if (cJSON_GetObjectItemCaseSensitive(at->value, entry.key) != entry.value) node_fail(at, "'%s' stands there twice", entry.key);
    }
}

int node_length(const node *at) {
    if (!cJSON_IsArray(at->value)) node_fail(at, "not a list");
    return cJSON_GetArraySize(at->value);
}

int64_t node_whole(const node *at, int64_t low, int64_t high) {
    double value = at->value->valuedouble;
    if (!cJSON_IsNumber(at->value) || !isfinite(value) || value != nearbyint(value)) node_fail(at, "not a whole number");
    if (!(value >= (double)low && value <= (double)high)) node_fail(at, "%.0f is not between %lld and %lld", value, (long long)low, (long long)high);
    return (int64_t)value;
}

int32_t node_int(const node *at, int32_t low, int32_t high) { return (int32_t)node_whole(at, low, high); }

int node_ints(const node *at, int32_t low, int32_t high, int least, int most, int32_t *into) {
    int count = node_length(at);
    if (count < least || count > most) {
        if (least == most) node_fail(at, "%d number(s); wanted are %d", count, most);
        node_fail(at, "%d numbers; at most %d fit", count, most);
    }
    EACH(entry, at) into[entry.index] = node_int(&entry, low, high);
    return count;
}

double node_number(const node *at) {
    if (!cJSON_IsNumber(at->value) || !isfinite(at->value->valuedouble)) node_fail(at, "not a finite number");
    return at->value->valuedouble;
}

double node_within(const node *at, int positive, double most) {
    double value = node_number(at);
    if (value < 0 || value > most || (positive && value <= 0)) node_fail(at, "%g is out of range", value);
    return value;
}

int node_boolean(const node *at) {
    if (!cJSON_IsBool(at->value)) node_fail(at, "neither true nor false");
    return cJSON_IsTrue(at->value) ? 1 : 0;
}

int node_is_null(const node *at) { return cJSON_IsNull(at->value) ? 1 : 0; }

const char *node_text(const node *at) {
    if (!cJSON_IsString(at->value)) node_fail(at, "not text");
    char *copy = pool_text(at->reader->pool, at->value->valuestring);
    if (!copy) reader_fail(at->reader, "no memory for a text");
    return copy;
}

int node_one_of(const node *at, ...) {
    if (!cJSON_IsString(at->value)) node_fail(at, "not text");
    va_list words;
    va_start(words, at);
    int found = -1, index = 0;
    for (const char *word = va_arg(words, const char *); word; word = va_arg(words, const char *), index++)
        if (!strcmp(word, at->value->valuestring)) found = index;
    va_end(words);
    if (found < 0) node_fail(at, "'%.40s' is none of those known here", at->value->valuestring);
    return found;
}
