// Functions on tensors in blocked layout, row by row. Unit: one row (all its pixels) of one channel block of one image.
// A tensor is given by 4 ints: origin, image stride, block stride, row stride (in elements).
// descriptor: 0-3 source, 4-7 destination, 8 blocks, 9 rows, 10 row length in elements, 11-15 activation, 16 constants or -1,
//   17-20 second source
#define UNIT_ROW(i) (descriptor[i] + image * descriptor[(i) + 1] + block * descriptor[(i) + 2] + row * descriptor[(i) + 3])
#define PLACE \
    int row = unit % descriptor[9], block = unit / descriptor[9] % descriptor[8], image = unit / descriptor[9] / descriptor[8], length = descriptor[10]; \
    global float *source = FLOATS(UNIT_ROW(0)), *destination = FLOATS(UNIT_ROW(4))

UNIT void activation(global uchar *arena, global const int *descriptor, int unit) {
    PLACE;
    for (int i = 0; i < length; i += VL) VECTOR(destination + i) = ACTIVATE(VECTOR(source + i), 11);
}

// scale[channel] * x + shift[channel]; constants: float[blocks][2][BLOCK]
UNIT void affine(global uchar *arena, global const int *descriptor, int unit) {
    PLACE;
    global const float *constants = FLOATS(descriptor[16]) + block * 2 * BLOCK;
    for (int i = 0; i < length; i += VL) {
        VEC y = VECTOR(source + i) * VECTOR(constants + i % BLOCK) + VECTOR(constants + BLOCK + i % BLOCK);
        VECTOR(destination + i) = ACTIVATE(y, 11);
    }
}

#define DEFINE_BINARY(NAME, OPERATION) \
    UNIT void NAME(global uchar *arena, global const int *descriptor, int unit) { \
        PLACE; \
        global float *second = FLOATS(UNIT_ROW(17)); \
        for (int i = 0; i < length; i += VL) \
            VECTOR(destination + i) = ACTIVATE(VECTOR(source + i) OPERATION VECTOR(second + i), 11); \
    }
DEFINE_BINARY(add, +)
DEFINE_BINARY(subtract, -)
DEFINE_BINARY(multiply, *)
DEFINE_BINARY(divide, /)

// Copies or combines single elements through tables, for any layout and broadcasting.
// descriptor: 0 count, 1 elements per unit, 2 destinations, 3 sources, 4 second sources (tables of element offsets), 5-9 activation
#define EACH_ELEMENT \
    int first = unit * descriptor[1], last = first + descriptor[1] < descriptor[0] ? first + descriptor[1] : descriptor[0]; \
    global const int *to = INTS(descriptor[2]), *from = INTS(descriptor[3]); \
    for (int i = first; i < last; i++)

UNIT void gather(global uchar *arena, global const int *descriptor, int unit) {
    EACH_ELEMENT *FLOATS(to[i]) = *FLOATS(from[i]);
}

#define DEFINE_TABLE_BINARY(NAME, OPERATION) \
    UNIT void NAME(global uchar *arena, global const int *descriptor, int unit) { \
        global const int *second = INTS(descriptor[4]); \
        EACH_ELEMENT { \
            VEC y = (VEC)(*FLOATS(from[i]) OPERATION *FLOATS(second[i])); \
            y = ACTIVATE(y, 5); \
            *FLOATS(to[i]) = y.s0; \
        } \
    }
DEFINE_TABLE_BINARY(table_add, +)
DEFINE_TABLE_BINARY(table_subtract, -)
DEFINE_TABLE_BINARY(table_multiply, *)
DEFINE_TABLE_BINARY(table_divide, /)
