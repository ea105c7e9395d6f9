// Functions on tensors in blocked layout, row by row. Unit: one row (all its pixels) of one channel block of one image.
// A tensor is given by 4 ints: origin, image stride, block stride, row stride (in elements). The destination may have another form.
// descriptor: 0-3 source, 4-7 destination, 8 blocks, 9 rows, 10 row length in elements, 11-15 activation, 16 constants or -1,
//   17-20 second source, 40-43 parameters of the destination's form
#define UNIT_ROW(T, i) ((global T *)FLOATS(descriptor[i]) + image * descriptor[(i) + 1] + block * descriptor[(i) + 2] + row * descriptor[(i) + 3])
#define PLACE \
    int row = unit % descriptor[9], block = unit / descriptor[9] % descriptor[8], image = unit / descriptor[9] / descriptor[8], length = descriptor[10]; \
    global float *source = UNIT_ROW(float, 0); \
    global Y_TYPE *destination = UNIT_ROW(Y_TYPE, 4); \
    FORMS

UNIT void MEMBER(activation)(global uchar *arena, global const int *descriptor, int unit) {
    PLACE;
    for (int i = 0; i < length; i += VL) {
        VEC y = ACTIVATE(VECTOR(source + i), 11);
        WRITE_Y(destination + i, y, ya, yb, yc, yd);
    }
}

// scale[channel] * x + shift[channel]; constants: float[blocks][2][BLOCK]
UNIT void MEMBER(affine)(global uchar *arena, global const int *descriptor, int unit) {
    PLACE;
    global const float *constants = FLOATS(descriptor[16]) + block * 2 * BLOCK;
    for (int i = 0; i < length; i += VL) {
        VEC y = VECTOR(source + i) * VECTOR(constants + i % BLOCK) + VECTOR(constants + BLOCK + i % BLOCK);
        y = ACTIVATE(y, 11);
        WRITE_Y(destination + i, y, ya, yb, yc, yd);
    }
}

#define DEFINE_BINARY(FUNCTION, OPERATION) \
    UNIT void MEMBER(FUNCTION)(global uchar *arena, global const int *descriptor, int unit) { \
        PLACE; \
        global float *second = UNIT_ROW(float, 17); \
        for (int i = 0; i < length; i += VL) { \
            VEC y = VECTOR(source + i) OPERATION VECTOR(second + i); \
            y = ACTIVATE(y, 11); \
            WRITE_Y(destination + i, y, ya, yb, yc, yd); \
        } \
    }
DEFINE_BINARY(add, +)
DEFINE_BINARY(subtract, -)
DEFINE_BINARY(multiply, *)
DEFINE_BINARY(divide, /)
#undef UNIT_ROW
#undef PLACE
#undef DEFINE_BINARY
