// Depthwise convolution by the same tables: a tap is a vector of channels instead of one element.
// Macros as in convolution.cl (NAME, MR); LOAD_V(p) gives VL stored input elements as ACC.
// descriptor as there, but: 5 taps, 18 how many, 19 weights [vector][T][VL], 20 input block stride.
// Unit: a run of tiles of one channel vector.
UNIT void NAME(global uchar *arena, global const int *descriptor, int unit) {
    int v = unit / descriptor[2], first = (unit % descriptor[2]) * descriptor[1];
    int last = first + descriptor[1] < descriptor[0] ? first + descriptor[1] : descriptor[0];
    int block = v * VL / BLOCK, lane = v * VL % BLOCK, length = descriptor[4], count = descriptor[18];
    global const int *pixels = INTS(descriptor[3]), *taps = INTS(descriptor[5]);
    global const W_TYPE *weights = (global const W_TYPE *)INTS(descriptor[19]) + v * count * VL;
    global const X_TYPE *input = (global const X_TYPE *)INTS(descriptor[8]) + block * descriptor[20] + lane;
    EPILOGUE;
    for (int tile = first; tile < last; tile++) {
        global const int *pixel = pixels + tile * MR;
#define POINT(m) global const X_TYPE *a##m = input + pixel[m]; ACC c##m = 0;
        EACH_PIXEL(POINT)
        for (int k = 0; k < count; k++) {
            int o = taps[k];
            WEIGHTS w = LOAD_W(weights + k * VL);
#define MULTIPLY_ADD(m) c##m = LOAD_V(a##m + o) * w + c##m;
            EACH_PIXEL(MULTIPLY_ADD)
        }
#define FINISH(m) STORE(TO_VEC(c##m), v, pixel[length + m], pixel[2 * length + m])
        EACH_PIXEL(FINISH)
    }
}
#undef POINT
#undef MULTIPLY_ADD
#undef FINISH
