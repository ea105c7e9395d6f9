// IEEE half without the compiler's help: some runtimes call vload_half and vstore_half slowly, wrongly or not at all.
// Integer arithmetic, and operations on normal floats that are exact, so that a device may flush subnormal floats.

#ifdef __clang__
#define WIDEN(x, T) __builtin_convertvector(x, T)
#else
#define WIDEN(x, T) CAT(convert_, T)(x)
#endif
#define SHORTS CAT(short, VL)

// The values of VL halves, subnormals too.
INLINE VEC vector_from_half(global const ushort *p)
{
    IVEC h = WIDEN(*(global const SHORTS *)p, IVEC) << 13; // the sign fills the upper bits
    IVEC bits = h & 0x0fffe000;
    VEC magnitude = AS_VEC(bits + 0x38000000);
    magnitude = bits < 0x00800000 ? AS_VEC(bits + 0x38800000) - 0x1p-14f : magnitude;
    magnitude = bits >= 0x0f800000 ? AS_VEC(bits + 0x70000000) : magnitude;
    return AS_VEC(AS_IVEC(magnitude) | (h & (int)0x80000000));
}

// The nearest halves as floats.
INLINE VEC rounded_to_half(VEC x)
{
    IVEC sign = AS_IVEC(x) & (int)0x80000000, magnitude = AS_IVEC(x) & 0x7fffffff;
    IVEC y = (magnitude + 0xfff + ((magnitude >> 13) & 1)) & ~0x1fff;
    VEC tiny = AS_VEC(magnitude) + 0.75f; // its last place is worth 2^-24, as of a subnormal half
    y = magnitude < 0x38800000 ? AS_IVEC(tiny - 0.75f) : y;
    y = magnitude >= 0x477ff000 ? (IVEC)(0x7f800000) : y;
    y = magnitude > 0x7f800000 ? magnitude : y;
    return AS_VEC(y | sign);
}

INLINE void write_rounded_to_half(global float *p, VEC y, float a, float b, float c, float d)
{
    VECTOR(p) = rounded_to_half(y);
}

// A finished output, rounded in place. descriptor: as `activation` in elementwise.cl. Unit: one row of one channel block.
UNIT void half_finish(global uchar *arena, global const int *descriptor, int unit)
{
    int row = unit % descriptor[9], block = unit / descriptor[9] % descriptor[8], image = unit / descriptor[9] / descriptor[8];
    global float *y = FLOATS(descriptor[0] + image * descriptor[1] + block * descriptor[2] + row * descriptor[3]);
    for (int i = 0; i < descriptor[10]; i += VL) VECTOR(y + i) = rounded_to_half(VECTOR(y + i));
}

#ifdef cl_khr_fp16
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#define HALVES CAT(half, VL)
#define VECTOR_OF_HALVES(p) (*(global const HALVES *)(p))
INLINE void write_halves(global half *p, VEC y, float a, float b, float c, float d)
{
    *(global HALVES *)p = WIDEN(y, HALVES);
}
INLINE VEC read_halves(global const half *p, float a, float b, float c, float d)
{
    return WIDEN(VECTOR_OF_HALVES(p), VEC);
}
#endif
