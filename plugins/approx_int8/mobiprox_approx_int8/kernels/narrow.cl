// Weights in few bits, widened to floats as they are read.
#ifdef __clang__
#define WIDENED(x, T) __builtin_convertvector(x, T)
#else
#define WIDENED(x, T) CAT(convert_, T)(x)
#endif
#define SIGNED_BYTES(p) WIDENED(*(global const CAT(char, VL) *)(p), VEC)

// Two weights of neighbouring filter elements in a byte, the first in the lower half, each from -7 to 7.
#define NIBBLES(p) WIDENED(*(global const CAT(char, VL) *)(p), IVEC)
INLINE VEC nibbles(VEC c, float first, float second, IVEC w)
{
    c = first * WIDENED((w << 28) >> 28, VEC) + c;
    return second * WIDENED(w >> 4, VEC) + c;
}
