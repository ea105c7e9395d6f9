// A buffer of floats as another form of it, and the halo of a tensor in that form. Macros: Y_TYPE, WRITE_Y, S_TYPE, READ_S.

// descriptor: 0 source, 1 destination, 2 elements, 3 elements per unit (both multiples of VL), 40-43 parameters. Halos are converted too.
UNIT void MEMBER(convert)(global uchar *arena, global const int *descriptor, int unit) {
    int first = unit * descriptor[3], last = first + descriptor[3] < descriptor[2] ? first + descriptor[3] : descriptor[2];
    global float *source = FLOATS(descriptor[0]);
    global Y_TYPE *destination = (global Y_TYPE *)FLOATS(descriptor[1]);
    FORMS;
    for (int i = first; i < last; i += VL) WRITE_Y(destination + i, VECTOR(source + i), ya, yb, yc, yd);
}

// A buffer in a form as floats again. descriptor as above, 44-47 parameters
UNIT void MEMBER(restore)(global uchar *arena, global const int *descriptor, int unit) {
    int first = unit * descriptor[3], last = first + descriptor[3] < descriptor[2] ? first + descriptor[3] : descriptor[2];
    global const S_TYPE *source = (global const S_TYPE *)FLOATS(descriptor[0]);
    global float *destination = FLOATS(descriptor[1]);
    FORMS;
    for (int i = first; i < last; i += VL) VECTOR(destination + i) = READ_S(source + i, sa, sb, sc, sd);
}

// What zero is stored as, around one plane (a channel block of an image). descriptor: 0 buffer, 1 plane stride, 2 row stride, 3 stored rows,
// 4 rows above the first, 5 rows below the last; elements left of a row's first and right of its last: 6, 7 (multiples of VL); 40-43 parameters
UNIT void MEMBER(halo)(global uchar *arena, global const int *descriptor, int unit) {
    global Y_TYPE *plane = (global Y_TYPE *)FLOATS(descriptor[0]) + unit * descriptor[1];
    int length = descriptor[2], rows = descriptor[3];
    FORMS;
    VEC zero = 0;
    for (int row = 0; row < rows; row++) {
        int whole = row < descriptor[4] || row >= rows - descriptor[5];
        global Y_TYPE *line = plane + row * length;
        for (int i = 0; i < (whole ? length : descriptor[6]); i += VL) WRITE_Y(line + i, zero, ya, yb, yc, yd);
        for (int i = length - (whole ? 0 : descriptor[7]); i < length; i += VL) WRITE_Y(line + i, zero, ya, yb, yc, yd);
    }
}
