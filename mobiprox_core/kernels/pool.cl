// Pooling in blocked layout, for any forms of source and destination. Unit: one output row of one channel block of one image.
// descriptor: 0-3 source and 4-7 destination as in elementwise.cl, 8 blocks, 9 output rows, 10 output columns, 11-12 source rows and
//   columns, 13-14 kernel, 15-16 strides, 17-18 pads top and left, 19-20 dilations, 21 divide by the whole window (else by its part
//   inside), 22-26 activation, 27-28 pads bottom and right, 40-43 and 44-47 parameters of the destination's and the source's form
#define DEFINE_POOL(FUNCTION, START, COMBINE, AVERAGE) \
    UNIT void MEMBER(FUNCTION)(global uchar *arena, global const int *descriptor, int unit) { \
        int row = unit % descriptor[9], block = unit / descriptor[9] % descriptor[8], image = unit / descriptor[9] / descriptor[8]; \
        global const S_TYPE *source = (global const S_TYPE *)FLOATS(descriptor[0]) + image * descriptor[1] + block * descriptor[2]; \
        global Y_TYPE *destination = (global Y_TYPE *)FLOATS(descriptor[4]) + image * descriptor[5] + block * descriptor[6] + row * descriptor[7]; \
        FORMS; \
        int top = row * descriptor[15] - descriptor[17]; \
        for (int column = 0; column < descriptor[10]; column++) { \
            int left = column * descriptor[16] - descriptor[18]; \
            for (int lane = 0; lane < BLOCK; lane += VL) { \
                VEC y = (VEC)(START); \
                int inside = 0, padded = 0; \
                for (int i = 0; i < descriptor[13]; i++) { \
                    int h = top + i * descriptor[19]; \
                    for (int j = 0; j < descriptor[14]; j++) { \
                        int w = left + j * descriptor[20]; \
                        padded += h < descriptor[11] + descriptor[27] && w < descriptor[12] + descriptor[28]; \
                        if (h < 0 || h >= descriptor[11] || w < 0 || w >= descriptor[12]) continue; \
                        VEC x = READ_S(source + h * descriptor[3] + w * BLOCK + lane, sa, sb, sc, sd); \
                        y = COMBINE; \
                        inside++; \
                    } \
                } \
                if (AVERAGE) y = y / (float)(descriptor[21] ? padded : inside); \
                y = ACTIVATE(y, 22); \
                WRITE_Y(destination + column * BLOCK + lane, y, ya, yb, yc, yd); \
            } \
        } \
    }
DEFINE_POOL(pool_max, -INFINITY, x > y ? x : y, 0)
DEFINE_POOL(pool_min, INFINITY, x < y ? x : y, 0)
DEFINE_POOL(pool_average, 0.0f, x + y, 1)
#undef DEFINE_POOL
