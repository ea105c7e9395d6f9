// Interpolates the skipped lines of a perforated convolution from the computed ones; a border line has its one neighbour twice.
// Constants of each skipped line, per channel: the weights of the line before and the line after, and what is added. 1/2, 1/2 and 0 give the
// very mean.
// descriptor: as in core's kernels/README.md, "Fill".
// Unit: some positions across the axis, all lines of them, in one channel vector of one image. No unit reads what another writes.
// The operator's last fill also adds the residual and applies the activation, to all lines, and writes the result in any form.

UNIT void MEMBER(perforation_fill)(global uchar *arena, global const int *descriptor, int unit)
{
    int image = unit / descriptor[5] / descriptor[8], v = unit / descriptor[5] % descriptor[8];
    int first = unit % descriptor[5] * descriptor[4], block = v * VL / BLOCK, lane = v * VL % BLOCK;
    int last = first + descriptor[4] < descriptor[3] ? first + descriptor[4] : descriptor[3];
    global const int *positions = INTS(descriptor[2]), *computed = INTS(descriptor[0]) + 1, *others = INTS(descriptor[15]);
    const int from = image * descriptor[7] + block * descriptor[9] + lane;
    global float *sums = FLOATS(descriptor[6]) + from;
    global Y_TYPE *output = (global Y_TYPE *)FLOATS(descriptor[23]) + from;
    global const S_TYPE *residual = (global const S_TYPE *)FLOATS(descriptor[11]) + image * descriptor[12] + block * descriptor[13] + lane;
    FORMS;
    // Read once: stores into the arena may alias the descriptor.
    const int lines = computed[-1], stride = descriptor[1], finishing = descriptor[10], added = descriptor[11] >= 0, other = descriptor[14];
    const int code = descriptor[16];
    const float alpha = BITS(17), beta = BITS(18), low = BITS(19), high = BITS(20);
    global float *constants = FLOATS(descriptor[21] + v * VL);
    const int channels = descriptor[22];

    for (int p = first; p < last; p++) {
        global float *at = sums + positions[p], *own = constants;
        global Y_TYPE *to = output + positions[p];
        VEC known = VECTOR(at + (computed[0] ? 0 : stride)); // raw sum of the nearest computed line; the neighbours of a skipped one are computed
        for (int line = 0; line < lines; line++, at += stride, to += stride) {
            VEC y;
            if (computed[line]) {
                known = VECTOR(at);
                if (!finishing) continue;
                y = known;
            } else {
                VEC next = line + 1 < lines ? VECTOR(at + stride) : known;
                y = known * VECTOR(own) + next * VECTOR(own + channels) + VECTOR(own + 2 * channels);
                own += 3 * channels;
            }
            if (finishing) {
                if (added) y = y + READ_S(residual + line * other + others[p], sa, sb, sc, sd);
                y = activate(y, code, alpha, beta, low, high);
            }
            WRITE_Y(to, y, ya, yb, yc, yd);
        }
    }
}
