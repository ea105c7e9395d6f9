// Activations as unsigned bytes, weights as signed ones, four of each in a 32-bit word. DOT4(c, x, w) adds to every lane of c the four
// products of x (one word for all lanes) and of that lane's word in w. One body is chosen by a macro INT8_...
#ifdef __clang__
#define CONVERT(x, T) __builtin_convertvector(x, T)
typedef int unaligned_int __attribute__((aligned(1)));
#define FOUR_BYTES(p) (*(global const unaligned_int *)(p))
#else
#define CONVERT(x, T) CAT(convert_, T)(x)
#define FOUR_BYTES(p) as_int(vload4(0, p))
#endif
#define BYTES CAT(uchar, VL)
#define VECTOR_OF_BYTES(p) CONVERT(*(global const BYTES *)(p), VEC)

// The form of activations: round(y / scale) + zero from 0 to a greatest byte. a: 1 / scale, b: zero + 1/2, c: greatest + 1/2, d: scale.
INLINE void write_bytes(global uchar *p, VEC y, float a, float b, float c, float d)
{
    y = y * a + b;
    y = y < 0.0f ? (VEC)(0.0f) : y;
    y = y > c ? (VEC)(c) : y;
    *(global BYTES *)p = CONVERT(CONVERT(y, IVEC), BYTES);
}
INLINE VEC read_bytes(global const uchar *p, float a, float b, float c, float d)
{
    return (VECTOR_OF_BYTES(p) + (0.5f - b)) * d;
}

// Compilers that make portable code first (Intel's) know no processor's own instructions.
#if defined(INT8_MADD) && defined(__has_builtin)
#if !__has_builtin(__builtin_ia32_pmaddwd256)
#undef INT8_MADD
#endif
#endif

#if defined(INT8_VNNI)

#define DOT4(c, x, w) __builtin_ia32_vpdpbusd512(c, (IVEC)(x), w)

#elif defined(INT8_MADD)

#if VL == 16
typedef short words_t __attribute__((ext_vector_type(32)));
typedef char bytes_t __attribute__((ext_vector_type(64)));
#define MADD(a, b) __builtin_ia32_pmaddwd512(a, b)
#define MADDUBS(a, b) __builtin_ia32_pmaddubsw512(a, b)
#else
typedef short words_t __attribute__((ext_vector_type(16)));
typedef char bytes_t __attribute__((ext_vector_type(32)));
#define MADD(a, b) __builtin_ia32_pmaddwd256(a, b)
#define MADDUBS(a, b) __builtin_ia32_pmaddubsw256(a, b)
#endif

// Pairs of 16-bit numbers: bytes 0 and 2, then bytes 1 and 3.
INLINE IVEC dot4(IVEC c, int x, IVEC w)
{
    words_t wide = __builtin_astype(w, words_t);
    words_t even = (words_t)(wide << (short)8) >> (short)8, odd = wide >> (short)8;
    IVEC x_even = (IVEC)(x & 0x00ff00ff), x_odd = (IVEC)((x >> 8) & 0x00ff00ff);
    c = c + MADD(__builtin_astype(x_even, words_t), even);
    return c + MADD(__builtin_astype(x_odd, words_t), odd);
}
#define DOT4(c, x, w) dot4(c, x, w)

// Sums of two products in 16 bits: right as long as activations are at most 127, or weights at most 63.
INLINE IVEC dot4_of_7_bits(IVEC c, int x, IVEC w)
{
    words_t pairs = MADDUBS(__builtin_astype((IVEC)(x), bytes_t), __builtin_astype(w, bytes_t));
    return c + MADD(pairs, (words_t)(1));
}
#define DOT4_OF_7_BITS(c, x, w) dot4_of_7_bits(c, x, w)

#elif defined(INT8_DOT_PRODUCT)

#pragma OPENCL EXTENSION cl_khr_integer_dot_product : enable
#define LANE(s) dot_4x8packed_us_int((uint)x, (uint)w.s)
INLINE IVEC dot4(IVEC c, int x, IVEC w)
{
    return c + (IVEC)(LANE(s0), LANE(s1), LANE(s2), LANE(s3));
}
#undef LANE
#define DOT4(c, x, w) dot4(c, x, w)

#else

#define PRODUCT(left) ((x >> (24 - left)) & 255) * ((w << left) >> 24)
INLINE IVEC dot4(IVEC c, int x, IVEC w)
{
    return c + PRODUCT(24) + PRODUCT(16) + PRODUCT(8) + PRODUCT(0);
}
#undef PRODUCT
#define DOT4(c, x, w) dot4(c, x, w)

#endif

#ifndef DOT4_OF_7_BITS
#define DOT4_OF_7_BITS(c, x, w) DOT4(c, x, w)
#endif
