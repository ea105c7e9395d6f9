// Copies every skipped line of a convolution from the line before; the first line from the one after.
// descriptor: "Fill" in mobiprox_core/kernels/README.md. Unit: some positions across the lines, all lines of them, one channel vector.
// The operator's last fill also adds the residual and applies the activation, to all lines.

UNIT void nearest_fill(global uchar *arena, global const int *descriptor, int unit)
{
    int image = unit / descriptor[5] / descriptor[8], v = unit / descriptor[5] % descriptor[8];
    int first = unit % descriptor[5] * descriptor[4], block = v * VL / BLOCK, lane = v * VL % BLOCK;
    int last = first + descriptor[4] < descriptor[3] ? first + descriptor[4] : descriptor[3];
    global const int *positions = INTS(descriptor[2]), *computed = INTS(descriptor[0]) + 1;
    global float *output = FLOATS(descriptor[6] + image * descriptor[7] + block * descriptor[9] + lane);
    global float *residual = FLOATS(descriptor[11] + image * descriptor[12] + block * descriptor[13] + lane);

    for (int p = first; p < last; p++) {
        int edge = computed[0] ? 0 : 1;
        VEC neighbour = VECTOR(output + edge * descriptor[1] + positions[p]);
        for (int line = 0; line < computed[-1]; line++) {
            if (computed[line]) neighbour = VECTOR(output + line * descriptor[1] + positions[p]);
            VEC y = neighbour;
            if (descriptor[11] >= 0) y = y + VECTOR(residual + line * descriptor[14] + INTS(descriptor[15])[p]);
            VECTOR(output + line * descriptor[1] + positions[p]) = ACTIVATE(y, 16);
        }
    }
}
