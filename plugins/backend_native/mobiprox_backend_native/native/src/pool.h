/* Memory that is given back all at once. Zeroed. */
#ifndef MBX_POOL_H
#define MBX_POOL_H

#include <stddef.h>

typedef struct pool {
    struct pool_block *blocks;
} pool;

/* `count` items of `size` bytes, or NULL. Never NULL for 0 items. */
void *pool_take(pool *pool, size_t count, size_t size);
char *pool_text(pool *pool, const char *text);
void pool_free(pool *pool);

#endif
