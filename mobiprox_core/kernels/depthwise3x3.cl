// Depthwise 3x3 convolution along whole rows: four neighbouring columns at a time share their inputs and the nine weights, in registers.
// Macros as in depthwise.cl; STEP is the column stride, 1 or 2.
// descriptor as there, but: 0 rows (of all images), 1 rows per unit, 2 units per channel vector, 18 columns (at least 4), 21 input row
//   stride; of the pixel table only each row's first entry is read. The last four columns may overlap those before.
// Unit: a run of rows of one channel vector.
UNIT void NAME(global uchar *arena, global const int *descriptor, int unit) {
    int v = unit / descriptor[2], first = (unit % descriptor[2]) * descriptor[1];
    int last = first + descriptor[1] < descriptor[0] ? first + descriptor[1] : descriptor[0];
    int columns = descriptor[18], length = descriptor[4], line = descriptor[21];
    global const int *pixels = INTS(descriptor[3]);
    global const W_TYPE *weights = (global const W_TYPE *)INTS(descriptor[19]) + v * 9 * VL;
    global const X_TYPE *input = (global const X_TYPE *)INTS(descriptor[8]) + v * VL / BLOCK * descriptor[20] + v * VL % BLOCK;
#define WEIGHT(i, j) WEIGHTS w##i##j = LOAD_W(weights + (3 * i + j) * VL);
    WEIGHT(0, 0) WEIGHT(0, 1) WEIGHT(0, 2) WEIGHT(1, 0) WEIGHT(1, 1) WEIGHT(1, 2) WEIGHT(2, 0) WEIGHT(2, 1) WEIGHT(2, 2)
    EPILOGUE;
    for (int row = first; row < last; row++) {
        global const int *pixel = pixels + row * columns;
        for (int column = 0; column < columns; column += 4) {
            int q = column < columns - 4 ? column : columns - 4;
            global const X_TYPE *a = input + pixel[0] + q * STEP * BLOCK;
            ACC c0 = 0, c1 = 0, c2 = 0, c3 = 0;
#define INPUT(j) ACC x##j = LOAD_V(r + j * BLOCK);
#define ADD(m, i, p, q, s) c##m = x##p * w##i##0 + c##m; c##m = x##q * w##i##1 + c##m; c##m = x##s * w##i##2 + c##m;
#if STEP == 1
#define LINE(i) { \
                global const X_TYPE *r = a + i * line; \
                INPUT(0) INPUT(1) INPUT(2) INPUT(3) INPUT(4) INPUT(5) \
                ADD(0, i, 0, 1, 2) ADD(1, i, 1, 2, 3) ADD(2, i, 2, 3, 4) ADD(3, i, 3, 4, 5) \
            }
#else
#define LINE(i) { \
                global const X_TYPE *r = a + i * line; \
                INPUT(0) INPUT(1) INPUT(2) INPUT(3) INPUT(4) INPUT(5) INPUT(6) INPUT(7) INPUT(8) \
                ADD(0, i, 0, 1, 2) ADD(1, i, 2, 3, 4) ADD(2, i, 4, 5, 6) ADD(3, i, 6, 7, 8) \
            }
#endif
            LINE(0) LINE(1) LINE(2)
#define FINISH(m) STORE(TO_VEC(c##m), v, pixel[length] + (q + m) * BLOCK, pixel[2 * length] + (q + m) * BLOCK)
            FINISH(0) FINISH(1) FINISH(2) FINISH(3)
        }
    }
}
#undef WEIGHT
#undef INPUT
#undef ADD
#undef LINE
#undef FINISH
