// What every unit function may use. The generator puts these macros before this text:
//   VL, VEC, IVEC, AS_VEC, AS_IVEC   floats per vector, its type, the integer type of that width, reinterpretations
//   BLOCK                            channels stored together, a multiple of VL
//   ISA                              attributes that choose the instruction set
//   CPU                              defined for CPUs, where units are run by few threads with large caches
//   UNIT                             ISA, and on CPUs noinline: the border between scalar wrappers and vector code
//
// A unit function is  void NAME(global uchar *arena, global const int *descriptor, int unit).
// Offsets in descriptors count elements of 4 bytes. Hot code uses no OpenCL builtins on vectors: some runtimes abort on them.

#define FLOATS(offset) ((global float *)arena + (offset))
#define INTS(offset) ((global const int *)arena + (offset))
#define VECTOR(pointer) (*(global VEC *)(pointer))
#define BITS(i) as_float(descriptor[i])
#define INLINE static __attribute__((always_inline)) ISA

// Fetches the cache line at an address, if there is one.
#if defined(CPU) && defined(__has_builtin)
#if __has_builtin(__builtin_prefetch)
#define PREFETCH(pointer) __builtin_prefetch((const void *)(size_t)(pointer))
#endif
#endif
#ifndef PREFETCH
#define PREFETCH(pointer)
#endif

// Forms: how a tensor is stored. WRITE_Y, READ_S are functions of such a form, with these parameters from the end of the descriptor.
#define FORMS \
    const float ya = BITS(40), yb = BITS(41), yc = BITS(42), yd = BITS(43); \
    const float sa = BITS(44), sb = BITS(45), sc = BITS(46), sd = BITS(47)
INLINE void write_float(global float *p, VEC y, float a, float b, float c, float d) { VECTOR(p) = y; }
INLINE VEC read_float(global const float *p, float a, float b, float c, float d) { return *(global const VEC *)p; }

// e^x by range reduction to |r| <= ln(2)/2 and a polynomial; relative error below 2e-7. The magic constant rounds to nearest.
#define DEFINE_EXP(NAME, T, AS_T, AS_I) \
    INLINE T NAME(T x) { \
        x = x < -87.0f ? (T)(-87.0f) : x; \
        x = x > 88.0f ? (T)(88.0f) : x; \
        T t = x * 1.44269504f + 12582912.0f; \
        T n = t - 12582912.0f; \
        T r = x - n * 0.693359375f; \
        r = r + n * 2.12194440e-4f; \
        T p = r * 1.9875691500e-4f + 1.3981999507e-3f; \
        p = p * r + 8.3334519073e-3f; \
        p = p * r + 4.1665795894e-2f; \
        p = p * r + 1.6666665459e-1f; \
        p = p * r + 5.0000001201e-1f; \
        p = p * (r * r) + r + 1.0f; \
        return p * AS_T((AS_I(t) - 0x4B400000 + 127) << 23); \
    }
DEFINE_EXP(exp_scalar, float, as_float, as_int)
DEFINE_EXP(exp_vector, VEC, AS_VEC, AS_IVEC)

// tanh as an odd rational function on [-7.9, 7.9], beyond which it is 1 in float32; relative error below 4e-7.
INLINE VEC tanh_vector(VEC x) {
    x = x < -7.905311f ? (VEC)(-7.905311f) : x;
    x = x > 7.905311f ? (VEC)(7.905311f) : x;
    VEC s = x * x;
    VEC p = s * -2.76076847742355e-16f + 2.00018790482477e-13f;
    p = p * s + -8.60467152213735e-11f;
    p = p * s + 5.12229709037114e-08f;
    p = p * s + 1.48572235717979e-05f;
    p = p * s + 6.37261928875436e-04f;
    p = p * s + 4.89352455891786e-03f;
    VEC q = s * 1.19825839466702e-06f + 1.18534705686654e-04f;
    q = q * s + 2.26843463243900e-03f;
    q = q * s + 4.89352518554385e-03f;
    return x * p / q;
}

// The activation at descriptor[i .. i+4]: code, alpha, beta, low, high. Code 0 clips to [low, high] (none and ReLU too).
enum { CLIP, LEAKY_RELU, SIGMOID, TANH, HARD_SIGMOID, HARD_SWISH };
#define ACTIVATE(x, i) activate(x, descriptor[i], BITS((i) + 1), BITS((i) + 2), BITS((i) + 3), BITS((i) + 4))
INLINE VEC clip(VEC x, float low, float high) {
    x = x < low ? (VEC)(low) : x;
    return x > high ? (VEC)(high) : x;
}
INLINE VEC activate(VEC x, int code, float alpha, float beta, float low, float high) {
    if (code == CLIP) return clip(x, low, high);
    if (code == LEAKY_RELU) return x < 0.0f ? alpha * x : x;
    if (code == SIGMOID) return 1.0f / (1.0f + exp_vector(-x));
    if (code == TANH) return tanh_vector(x);
    if (code == HARD_SIGMOID) return clip(alpha * x + beta, 0.0f, 1.0f);
    return x * clip(x * (1.0f / 6.0f) + 0.5f, 0.0f, 1.0f);
}
