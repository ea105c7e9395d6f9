// The same product for few pixels: one pixel at a time, the sum over taps split over MR accumulators so that multiply-adds overlap.
// Macros, descriptor and tables as in convolution.cl with NR = 1 and one pixel a tile; a panel's taps are padded to a multiple of MR
// (zero weights).
UNIT void NAME(global uchar *arena, global const int *descriptor, int unit) {
    int panel = unit / descriptor[2], first = (unit % descriptor[2]) * descriptor[1];
    int last = first + descriptor[1] < descriptor[0] ? first + descriptor[1] : descriptor[0];
    global const int *pixels = INTS(descriptor[3]);
    int length = descriptor[4];
    global const int *entry = INTS(descriptor[5]) + 3 * panel;
    global const int *taps = INTS(entry[0]);
    int count = entry[1];
    global const W_TYPE *weights = (global const W_TYPE *)INTS(entry[2]);
    EPILOGUE;
    for (int pixel = first; pixel < last; pixel++) {
        global const X_TYPE *a = (global const X_TYPE *)INTS(descriptor[8]) + pixels[pixel];
#define CLEAR(m) ACC c##m = 0;
        EACH_PIXEL(CLEAR)
        global const W_TYPE *w = weights;
        for (int k = 0; k < count; k += MR) {
#define MULTIPLY_ADD(m) { SCALAR x = LOAD_X(a + taps[k + m]); WEIGHTS v = LOAD_W(w + m * VL); c##m = ACCUMULATE(c##m, x, v); }
            EACH_PIXEL(MULTIPLY_ADD)
            w += MR * VL;
        }
        VEC sum = 0;
#define SUM(m) sum = sum + TO_VEC(c##m);
        EACH_PIXEL(SUM)
        STORE(sum, panel, pixels[length + pixel], pixels[2 * length + pixel])
    }
}
#undef CLEAR
#undef MULTIPLY_ADD
#undef SUM
