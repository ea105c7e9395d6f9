// bfloat16: the upper half of a float32. Two neighbouring elements in a word are multiplied with two weights by one instruction.
typedef int word_at_any_place __attribute__((aligned(1)));
#define TWO_BRAINS(p) (*(global const word_at_any_place *)(p))
#define BRAIN_VECTOR CAT(ushort, VL)

// The upper halves of floats, to nearest, ties to even; NaN stays NaN.
INLINE IVEC brain_bits(VEC x)
{
    IVEC bits = AS_IVEC(x), rounded = bits + 0x7fff + ((bits >> 16) & 1);
    return ((bits & 0x7fffffff) > 0x7f800000 ? bits | 0x400000 : rounded) >> 16;
}
INLINE void write_brains(global ushort *p, VEC y, float a, float b, float c, float d)
{
    *(global BRAIN_VECTOR *)p = __builtin_convertvector(brain_bits(y), BRAIN_VECTOR);
}
INLINE VEC vector_of_brains(global const ushort *p)
{
    return AS_VEC(__builtin_convertvector(*(global const BRAIN_VECTOR *)p, IVEC) << 16);
}
INLINE VEC read_brains(global const ushort *p, float a, float b, float c, float d)
{
    return vector_of_brains(p);
}
#define DOT2(c, x, w) __builtin_ia32_dpbf16ps_512(c, (IVEC)(x), w)
