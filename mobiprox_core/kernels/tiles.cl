// Loops over a register tile, unrolled by the preprocessor, so that accumulators are named scalars:
// EACH_PIXEL(F) expands F(0) .. F(MR-1); EACH_VECTOR(F) expands F(0) .. F(NR-1); EACH(F) expands F(m, j) for all of both.
#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define REPEAT_1(F) F(0)
#define REPEAT_2(F) REPEAT_1(F) F(1)
#define REPEAT_3(F) REPEAT_2(F) F(2)
#define REPEAT_4(F) REPEAT_3(F) F(3)
#define REPEAT_5(F) REPEAT_4(F) F(4)
#define REPEAT_6(F) REPEAT_5(F) F(5)
#define REPEAT_7(F) REPEAT_6(F) F(6)
#define REPEAT_8(F) REPEAT_7(F) F(7)
#define ROW_1(F, m) F(m, 0)
#define ROW_2(F, m) ROW_1(F, m) F(m, 1)
#define ROW_3(F, m) ROW_2(F, m) F(m, 2)
#define ROW_4(F, m) ROW_3(F, m) F(m, 3)
#define TILE_1(F) CAT(ROW_, NR)(F, 0)
#define TILE_2(F) TILE_1(F) CAT(ROW_, NR)(F, 1)
#define TILE_3(F) TILE_2(F) CAT(ROW_, NR)(F, 2)
#define TILE_4(F) TILE_3(F) CAT(ROW_, NR)(F, 3)
#define TILE_5(F) TILE_4(F) CAT(ROW_, NR)(F, 4)
#define TILE_6(F) TILE_5(F) CAT(ROW_, NR)(F, 5)
#define TILE_7(F) TILE_6(F) CAT(ROW_, NR)(F, 6)
#define TILE_8(F) TILE_7(F) CAT(ROW_, NR)(F, 7)

// What follows the sum. The descriptor is read once: stores into the arena may alias it, so the compiler would read it again and again.
#define EPILOGUE \
    const int scaled = descriptor[7] >= 0, added = descriptor[11] >= 0, code = descriptor[13]; \
    const int output_block = descriptor[10], residual_block = descriptor[12]; \
    const float alpha = BITS(14), beta = BITS(15), low = BITS(16), high = BITS(17); \
    global const float *biases = FLOATS(descriptor[6]), *scales = FLOATS(descriptor[7]); \
    global const S_TYPE *residual = (global const S_TYPE *)FLOATS(descriptor[11]); \
    global Y_TYPE *output = (global Y_TYPE *)FLOATS(descriptor[9]); \
    FORMS
// Finish and store vector v of the pixel at positions `place` of the output and `other` of the residual.
#define STORE(sum, v, place, other) { \
        VEC y = sum; \
        if (scaled) y = y * VECTOR(scales + (v) * VL); \
        y = y + VECTOR(biases + (v) * VL); \
        if (added) y = y + READ_S(residual + (other) + (v) * VL / BLOCK * residual_block + (v) * VL % BLOCK, sa, sb, sc, sd); \
        y = activate(y, code, alpha, beta, low, high); \
        WRITE_Y(output + (place) + (v) * VL / BLOCK * output_block + (v) * VL % BLOCK, y, ya, yb, yc, yd); \
    }
#define EACH_PIXEL(F) CAT(REPEAT_, MR)(F)
#define EACH_VECTOR(F) CAT(REPEAT_, NR)(F)
#define EACH(F) CAT(TILE_, MR)(F)
