// IEEE half without the compiler's help: some runtimes call vload_half and vstore_half slowly, wrongly or not at all.
// Integer arithmetic, and operations on normal floats that are exact, so that a device may flush subnormal floats.

#ifdef __clang__
#define WIDEN(x, T) __builtin_convertvector(x, T)
#else
#define WIDEN(x, T) CAT(convert_, T)(x)
#endif
#define SHORTS CAT(short, VL)

// The nearest half of x, ties to even; infinite from 65520 up; NaN stays NaN.
INLINE ushort half_from_float(float x)
{
    uint sign = (as_uint(x) >> 16) & 0x8000u;
    uint magnitude = as_uint(x) & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (ushort)(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) return (ushort)(sign | 0x7c00u); // 65520: halfway from 65504, the greatest half, to the next
    if (magnitude >= 0x38800000u) { // 2^-14: a normal half. Rounding may carry into the exponent, as it should.
        uint rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
        return (ushort)(sign | ((rounded - 0x38000000u) >> 13));
    }
    if (magnitude <= 0x33000000u) return (ushort)sign; // 2^-25: halfway to the least subnormal
    uint shift = 126u - (magnitude >> 23); // 14 to 24: to units of 2^-24
    uint mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    uint rounded = mantissa + (1u << (shift - 1u)) - 1u + ((mantissa >> shift) & 1u);
    return (ushort)(sign | (rounded >> shift));
}

// The value of a half.
INLINE float float_from_half(ushort h)
{
    uint bits = ((uint)h & 0x7fffu) << 13;
    float magnitude = as_float(bits + (bits >= 0x0f800000u ? 0x70000000u : 0x38000000u));
    if (bits < 0x00800000u) magnitude = as_float(bits + 0x38800000u) - 0x1p-14f;
    return as_float(as_uint(magnitude) | (((uint)h & 0x8000u) << 16));
}

// The values of VL halves.
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

// An operator's input, copied as halves. descriptor: 0 source, 1 destination, 2 elements, 3 elements per unit.
// A unit begins and ends at a whole vector, since vectors must lie aligned and a unit's share need not be a multiple of VL.
#define WHOLE(i) (((i) + VL - 1) / VL * VL)
#define RUN \
    int first = WHOLE(unit * descriptor[3]), end = WHOLE((unit + 1) * descriptor[3]), last = end < descriptor[2] ? end : descriptor[2]; \
    global const float *source = FLOATS(descriptor[0])

UNIT void half_convert(global uchar *arena, global const int *descriptor, int unit)
{
    RUN;
    global ushort *destination = (global ushort *)FLOATS(descriptor[1]);
    for (int i = first; i < last; i++) destination[i] = half_from_float(source[i]);
}

// The same, stored as floats.
UNIT void half_round(global uchar *arena, global const int *descriptor, int unit)
{
    RUN;
    global float *destination = FLOATS(descriptor[1]);
    int i = first;
    for (; i + VL <= last; i += VL) VECTOR(destination + i) = rounded_to_half(VECTOR(source + i));
    for (; i < last; i++) destination[i] = float_from_half(half_from_float(source[i]));
}
#undef RUN
#undef WHOLE

// A finished output, rounded in place. descriptor: as `activation` in elementwise.cl. Unit: one row of one channel block.
UNIT void half_finish(global uchar *arena, global const int *descriptor, int unit)
{
    PLACE;
    for (int i = 0; i < length; i += VL) VECTOR(destination + i) = rounded_to_half(VECTOR(source + i));
}

#ifdef cl_khr_fp16
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#define HALVES CAT(half, VL)
#define VECTOR_OF_HALVES(p) (*(global const HALVES *)(p))
#endif
