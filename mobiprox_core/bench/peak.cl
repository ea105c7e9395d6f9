// Unit: `descriptor[1]` rounds of twelve independent chains of multiply-adds, which stay in registers. What no kernel can beat.
// descriptor: offset of the operands (two vectors, then one vector of results per unit), rounds.
UNIT void peak(global uchar *arena, global const int *descriptor, int unit) {
    global float *operands = FLOATS(descriptor[0]);
    VEC x = VECTOR(operands), y = VECTOR(operands + VL);
    VEC a = x, b = y, c = x + y, d = x - y, e = a + c, f = b + c, g = a + d, h = b + d, i = e + f, j = e + g, k = f + g, l = g + h;
    for (int round = 0; round < descriptor[1]; round++) {
        a = a * x + y; b = b * x + y; c = c * x + y; d = d * x + y;
        e = e * x + y; f = f * x + y; g = g * x + y; h = h * x + y;
        i = i * x + y; j = j * x + y; k = k * x + y; l = l * x + y;
    }
    VECTOR(operands + (2 + unit) * VL) = a + b + c + d + e + f + g + h + i + j + k + l;
}
