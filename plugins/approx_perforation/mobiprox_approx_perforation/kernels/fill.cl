// Interpolates the skipped lines of a perforated convolution from the computed ones; a border line copies its one neighbour.
// descriptor: as in core's kernels/README.md, "Fill".
// Unit: some positions across the axis, all lines of them, in one channel vector of one image. No unit reads what another writes.
// The operator's last fill also adds the residual and applies the activation, to all lines.

#define RAW(line, position) VECTOR(output + (line) * descriptor[1] + positions[position])

// Before the last fill the row holds no residual and no activation.
INLINE VEC finished(global uchar *arena, global const int *descriptor, global const float *residual, int line, int position, VEC y)
{
    if (descriptor[11] >= 0) y = y + VECTOR(residual + line * descriptor[14] + INTS(descriptor[15])[position]);
    return ACTIVATE(y, 16);
}

UNIT void perforation_fill(global uchar *arena, global const int *descriptor, int unit)
{
    int image = unit / descriptor[5] / descriptor[8], v = unit / descriptor[5] % descriptor[8];
    int first = unit % descriptor[5] * descriptor[4], block = v * VL / BLOCK, lane = v * VL % BLOCK;
    int last = first + descriptor[4] < descriptor[3] ? first + descriptor[4] : descriptor[3];
    global const int *positions = INTS(descriptor[2]), *computed = INTS(descriptor[0]) + 1;
    global float *output = FLOATS(descriptor[6] + image * descriptor[7] + block * descriptor[9] + lane);
    global float *residual = FLOATS(descriptor[11] + image * descriptor[12] + block * descriptor[13] + lane);
    int lines = computed[-1];

    // A line is finished only when the skipped line after it has been made of its raw sums. Neighbours of a skipped line are computed.
    for (int line = -1; line < lines; line++) {
        int skipped = line + 1;
        if (skipped < lines && !computed[skipped]) {
            int before = line < 0 ? 1 : line, after = skipped + 1 < lines ? skipped + 1 : line;
            for (int p = first; p < last; p++) {
                VEC y = (RAW(before, p) + RAW(after, p)) * 0.5f;
                RAW(skipped, p) = finished(arena, descriptor, residual, skipped, p, y);
            }
        }
        if (line >= 0 && computed[line] && descriptor[10])
            for (int p = first; p < last; p++) RAW(line, p) = finished(arena, descriptor, residual, line, p, RAW(line, p));
    }
}
#undef RAW
