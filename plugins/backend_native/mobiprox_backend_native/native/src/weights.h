/* weights.safetensors: constants by their index in the plan. */
#ifndef MBX_WEIGHTS_H
#define MBX_WEIGHTS_H

#include <stdint.h>

#include "bundle.h"
#include "reader.h"

typedef struct stored_tensor {
    int type;
    int64_t elements;
    int64_t begin, end; /* bytes in the data */
    const unsigned char *values;
} stored_tensor;

/* The JSON in front of the data. */
span weights_header(reader *reader, span content);

/* `count` tensors called "0", "1", ...; together they cover the data without gap or overlap. */
const stored_tensor *weights_read(reader *reader, const cJSON *header, span content, int count);

/* The type that a text names as numpy does, and the bytes of an element. */
int weights_type(const node *at);
int64_t weights_item_bytes(int type);

/* Whether values of a type may be stored as halves, which they are then to the last bit; and such values as floats. */
int weights_is_half(int type, int stored);
void weights_widen(const unsigned char *halves, size_t count, float *into);

#endif
