#include "pool.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"

struct pool_block {
    struct pool_block *next;
    max_align_t data[];
};

void *pool_take(pool *pool, size_t count, size_t size) {
    if (size && count > (SIZE_MAX - sizeof(struct pool_block) - 1) / size) return NULL;
    struct pool_block *block = calloc(1, sizeof *block + count * size + 1);
    if (!block) return NULL;
    block->next = pool->blocks;
    pool->blocks = block;
    return block->data;
}

char *pool_text(pool *pool, const char *text) {
    size_t bytes = strlen(text) + 1;
    char *copy = pool_take(pool, bytes, 1);
    if (copy) memcpy(copy, text, bytes);
    return copy;
}

void pool_free(pool *pool) {
    for (struct pool_block *block = pool->blocks, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    pool->blocks = NULL;
}

int fault_set(fault *fault, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(fault->text, sizeof fault->text, format, arguments);
    va_end(arguments);
    return -1;
}
