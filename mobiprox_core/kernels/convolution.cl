// Offset-table convolution: an indirect GEMM over two integer tables. Instantiated per tile (MR pixels x NR vectors) and storage:
//   NAME, MR, NR        function name and register tile
//   X_TYPE, LOAD_X(p)   stored type of an input element; *p as SCALAR
//   W_TYPE, LOAD_W(p)   stored type of a weight; VL weights at p as WEIGHTS
//   SCALAR, ACC         types of a product's factors and of an accumulator; TO_VEC(acc) gives the accumulator as VEC
//   ACCUMULATE(c, x, w) accumulator c, an input element (or granule of them) x and VL weights w: c plus the products
//   Y_TYPE, WRITE_Y     the form of the output; S_TYPE, READ_S: of the residual
//
// descriptor: 0 tiles, 1 tiles per unit, 2 units per panel, 3 pixel table, 4 its length, 5 panel table, 6 bias, 7 scale or -1,
//   8 input, 9 output, 10 output block stride, 11 residual or -1, 12 residual block stride, 13-17 activation, 40-43 and 44-47 parameters of
//   the output's and the residual's form
// pixel table: int[3][length]: first tap (counted in X_TYPE), output position, residual position of each computed pixel
// panel table: int[panels][3]: taps, how many, weights. taps: int[T], offset from the pixel's first tap.
// weights: [T][NR][VL], scaled sums get bias[panel][NR][VL].
//
// Unit: a run of tiles of one panel. Neighbouring units share a panel, so its weights stay in the cache. While a tile is multiplied, what the
// next one reads is fetched, a line per pixel and 16 taps: another core may have written it, and that one may be far away. Tiles of one vector
// do without: they are limited by what they load.
#define FETCHES (MR <= 4 ? 4 : 8)
UNIT void NAME(global uchar *arena, global const int *descriptor, int unit) {
    int panel = unit / descriptor[2], first = (unit % descriptor[2]) * descriptor[1];
    int last = first + descriptor[1] < descriptor[0] ? first + descriptor[1] : descriptor[0];
    global const int *pixels = INTS(descriptor[3]);
    int length = descriptor[4];
    global const int *entry = INTS(descriptor[5]) + 3 * panel;
    global const int *taps = INTS(entry[0]);
    int count = entry[1];
    global const W_TYPE *weights = (global const W_TYPE *)INTS(entry[2]);
    global const X_TYPE *input = (global const X_TYPE *)INTS(descriptor[8]);
    EPILOGUE;
    for (int tile = first; tile < last; tile++) {
        global const int *pixel = pixels + tile * MR;
#define POINT(m) global const X_TYPE *a##m = input + pixel[m];
        EACH_PIXEL(POINT)
#define CLEAR(m, j) ACC c##m##_##j = 0;
        EACH(CLEAR)
        global const W_TYPE *w = weights;
        global const X_TYPE *coming = input + pixel[MR];
        int apart = pixel[MR + 1] - pixel[MR];
        for (int k = 0; k < count; k++) {
            int o = taps[k];
#if NR > 1
            if (k % (16 / FETCHES) == 0) PREFETCH(coming + o + k / (16 / FETCHES) % FETCHES * apart);
#endif
#define WEIGHT(j) WEIGHTS w##j = LOAD_W(w + j * VL);
            EACH_VECTOR(WEIGHT)
#define SPLAT(m) SCALAR x##m = LOAD_X(a##m + o);
            EACH_PIXEL(SPLAT)
#define MULTIPLY_ADD(m, j) c##m##_##j = ACCUMULATE(c##m##_##j, x##m, w##j);
            EACH(MULTIPLY_ADD)
            w += NR * VL;
        }
#define FINISH(m, j) STORE(TO_VEC(c##m##_##j), panel * NR + j, pixel[length + m], pixel[2 * length + m])
        EACH(FINISH)
    }
}
#undef POINT
#undef CLEAR
#undef WEIGHT
#undef SPLAT
#undef MULTIPLY_ADD
#undef FINISH
#undef FETCHES
