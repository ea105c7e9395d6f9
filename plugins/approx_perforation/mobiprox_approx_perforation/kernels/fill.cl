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
    global float *own = FLOATS(descriptor[21] + v * VL);
    const int channels = descriptor[22];

#define END(y, p, line) { \
        VEC z = y; \
        if (finishing) { \
            if (added) z = z + READ_S(residual + (line) * other + others[p], sa, sb, sc, sd); \
            z = activate(z, code, alpha, beta, low, high); \
        } \
        WRITE_Y(output + positions[p] + (line) * stride, z, ya, yb, yc, yd); \
    }
    // A computed line is finished in its place, so not before the skipped one after it is filled.
    for (int line = 0; line <= lines; line++) {
        global float *at = sums + line * stride;
        if (line < lines && !computed[line]) { // its neighbours are computed
            const int before = line ? -stride : stride, after = line + 1 < lines ? stride : -stride;
            const VEC a = VECTOR(own), b = VECTOR(own + channels), c = VECTOR(own + 2 * channels);
            own += 3 * channels;
            for (int p = first; p < last; p++) END(VECTOR(at + before + positions[p]) * a + VECTOR(at + after + positions[p]) * b + c, p, line)
        }
        if (finishing && line && computed[line - 1])
            for (int p = first; p < last; p++) END(VECTOR(at - stride + positions[p]), p, line - 1)
    }
}
#undef END
