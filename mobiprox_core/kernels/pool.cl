// Pooling in blocked layout, for any forms of source and destination. Unit: one output row of one channel block of one image.
// descriptor: 0-3 source and 4-7 destination as in elementwise.cl, 8 blocks, 9 output rows, 10 output columns, 11-12 source rows and
//   columns, 13-14 kernel, 15-16 strides, 17-18 pads top and left, 19-20 dilations, 21 divide by the whole window (else by its part
//   inside), 22-26 activation, 27-28 pads bottom and right, 40-43 and 44-47 parameters of the destination's and the source's form
#define STEPS(length, dilation) ((length) <= 0 ? 0 : (dilation) == 1 ? (length) : ((length) + (dilation) - 1) / (dilation))
#define AT_MOST(count, most) ((count) < (most) ? (count) : (most))
#define DEFINE_POOL(FUNCTION, START, COMBINE, AVERAGE) \
    UNIT void MEMBER(FUNCTION)(global uchar *arena, global const int *descriptor, int unit) { \
        int row = unit % descriptor[9], block = unit / descriptor[9] % descriptor[8], image = unit / descriptor[9] / descriptor[8]; \
        global const S_TYPE *source = (global const S_TYPE *)FLOATS(descriptor[0]) + image * descriptor[1] + block * descriptor[2]; \
        global Y_TYPE *destination = (global Y_TYPE *)FLOATS(descriptor[4]) + image * descriptor[5] + block * descriptor[6] + row * descriptor[7]; \
        FORMS; \
        int columns = descriptor[10], stride = descriptor[3], wide = descriptor[14], down = descriptor[19], right = descriptor[20]; \
        int width = descriptor[12], step = descriptor[16], pad = descriptor[18], edge = width + descriptor[28]; \
        /* of the window's rows, and below of its columns: the first inside, the first beyond, and how many are before the end of the padding */ \
        int top = row * descriptor[15] - descriptor[17], above = STEPS(-top, down); \
        int below = AT_MOST(STEPS(descriptor[11] - top, down), descriptor[13]); \
        int high = descriptor[21] ? AT_MOST(STEPS(descriptor[11] + descriptor[27] - top, down), descriptor[13]) : below - above; \
        for (int column = 0; column < columns; column++) { \
            int left = column * step - pad, before = STEPS(-left, right), beyond = AT_MOST(STEPS(width - left, right), wide); \
            int counted = AVERAGE ? high * (descriptor[21] ? AT_MOST(STEPS(edge - left, right), wide) : beyond - before) : 0; \
            for (int lane = 0; lane < BLOCK; lane += VL) { \
                VEC y = (VEC)(START); \
                for (int i = above; i < below; i++) { \
                    global const S_TYPE *from = source + (top + i * down) * stride + (left + before * right) * BLOCK + lane; \
                    for (int j = before; j < beyond; j++, from += right * BLOCK) { \
                        VEC x = READ_S(from, sa, sb, sc, sd); \
                        y = COMBINE; \
                    } \
                } \
                if (AVERAGE) y = y / (float)counted; \
                y = ACTIVATE(y, 22); \
                WRITE_Y(destination + column * BLOCK + lane, y, ya, yb, yc, yd); \
            } \
        } \
    }
DEFINE_POOL(pool_max, -INFINITY, x > y ? x : y, 0)
DEFINE_POOL(pool_min, INFINITY, x < y ? x : y, 0)
DEFINE_POOL(pool_average, 0.0f, x + y, 1)
#undef DEFINE_POOL
#undef STEPS
#undef AT_MOST
