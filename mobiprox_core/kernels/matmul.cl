// The product of two activations, both plain (row-major), [M, K] x [K, N]. Unit: one row of one product.
// descriptor: 0 left, 1 right, 2 destination, 3 M, 4 K, 5 N, 6-10 activation, 11 table of (left, right) offsets per product
UNIT void matmul(global uchar *arena, global const int *descriptor, int unit) {
    int product = unit / descriptor[3], row = unit % descriptor[3], K = descriptor[4], N = descriptor[5];
    global const int *offsets = INTS(descriptor[11]) + 2 * product;
    global const float *a = FLOATS(descriptor[0] + offsets[0] + row * K), *b = FLOATS(descriptor[1] + offsets[1]);
    global float *y = FLOATS(descriptor[2] + unit * N);
    for (int n = 0; n < N; n++) {
        float sum = 0.0f;
        for (int k = 0; k < K; k++) sum = a[k] * b[k * N + n] + sum;
        VEC v = (VEC)(sum);
        v = ACTIVATE(v, 6);
        y[n] = v.s0;
    }
}
