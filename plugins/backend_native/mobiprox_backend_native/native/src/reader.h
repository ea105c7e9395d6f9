/*
 * Reading JSON with questions that must be answered: each leaves through `escape` with a reason and the place for the wrong answer.
 *
 * The one function that calls setjmp frees everything; between setjmp and a failing question only pool memory may be taken.
 */
#ifndef MBX_READER_H
#define MBX_READER_H

#include <cjson/cJSON.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

#include "fault.h"
#include "pool.h"

typedef struct reader {
    jmp_buf escape;
    fault *fault;
    pool *pool;
} reader;

/* A value and where it stands: `key` of its parent, or its `index` where key is NULL. The root's key is the file's name. */
typedef struct node {
    const cJSON *value;
    reader *reader;
    const struct node *parent;
    const char *key;
    int index;
} node;

#if defined(__GNUC__)
#define NO_RETURN __attribute__((noreturn))
#else
#define NO_RETURN
#endif

NO_RETURN void reader_fail(reader *reader, const char *format, ...) PRINTF_LIKE(2, 3);
NO_RETURN void node_fail(const node *at, const char *format, ...) PRINTF_LIKE(2, 3);

/* `count` items of `size` bytes from the pool. */
void *reader_take(reader *reader, size_t count, size_t size);

/* NULL, with the reason in `fault`, for text that is not JSON. Delete with cJSON_Delete. */
cJSON *json_parse(const unsigned char *data, size_t bytes, const char *name, fault *fault);
int is_utf8(const unsigned char *data, size_t bytes);

/* The member `key` of an object that was checked with node_only. */
node node_at(const node *object, const char *key);
node node_child(const node *parent, const cJSON *child, int index);

/* Exactly these keys, each once; the last argument is NULL. */
void node_only(const node *at, ...);
/* An object whatever its keys, each once. */
void node_object(const node *at);
/* The length of a list. */
int node_length(const node *at);
int64_t node_whole(const node *at, int64_t low, int64_t high);
int32_t node_int(const node *at, int32_t low, int32_t high);
/* A list of `least` to `most` whole numbers; how many. */
int node_ints(const node *at, int32_t low, int32_t high, int least, int most, int32_t *into);
double node_number(const node *at);
/* A number from 0 (above it, if `positive`) to `most`. */
double node_within(const node *at, int positive, double most);
int node_boolean(const node *at);
int node_is_null(const node *at);
/* Text, copied into the pool. */
const char *node_text(const node *at);
/* The index of the text among these; the last argument is NULL. */
int node_one_of(const node *at, ...);

/* Walks a list or object that was checked: EACH(child, &parent) { ... }. */
#define EACH(name, list) \
    for (node name = node_child(list, (list)->value->child, 0); name.value; name = node_child(list, name.value->next, name.index + 1))

#endif
