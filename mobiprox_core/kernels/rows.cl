// Reductions along rows of plain (row-major) tensors. Unit: one row.
// descriptor: 0 source, 1 destination, 2 row length, 3-7 activation (mean only), 8 source row stride, 9 destination row stride
#define ENDS global float *x = FLOATS(descriptor[0] + unit * descriptor[8]), *y = FLOATS(descriptor[1] + unit * descriptor[9]); int length = descriptor[2]
#define LARGEST float top = x[0]; for (int i = 1; i < length; i++) top = x[i] > top ? x[i] : top

UNIT void softmax(global uchar *arena, global const int *descriptor, int unit) {
    ENDS;
    LARGEST;
    float sum = 0.0f;
    for (int i = 0; i < length; i++) {
        float e = x[i] - top < -87.0f ? 0.0f : exp_scalar(x[i] - top);
        y[i] = e;
        sum += e;
    }
    for (int i = 0; i < length; i++) y[i] = y[i] / sum;
}

UNIT void log_softmax(global uchar *arena, global const int *descriptor, int unit) {
    ENDS;
    LARGEST;
    float sum = 0.0f;
    for (int i = 0; i < length; i++) sum += exp_scalar(x[i] - top);
    sum = log(sum);
    for (int i = 0; i < length; i++) y[i] = x[i] - top - sum;
}

UNIT void mean(global uchar *arena, global const int *descriptor, int unit) {
    ENDS;
    float sum = 0.0f;
    for (int i = 0; i < length; i++) sum += x[i];
    VEC v = (VEC)(sum / length);
    v = ACTIVATE(v, 3);
    y[0] = v.s0;
}
