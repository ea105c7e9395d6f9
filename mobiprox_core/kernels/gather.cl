// Copies or combines single elements through tables, for any layout and broadcasting.
// descriptor: 0 count, 1 elements per unit, 2 destinations, 3 sources, 4 second sources (tables of element offsets), 5-9 activation
#define EACH_ELEMENT \
    int first = unit * descriptor[1], last = first + descriptor[1] < descriptor[0] ? first + descriptor[1] : descriptor[0]; \
    global const int *to = INTS(descriptor[2]), *from = INTS(descriptor[3]); \
    for (int i = first; i < last; i++)

UNIT void gather(global uchar *arena, global const int *descriptor, int unit) {
    EACH_ELEMENT *FLOATS(to[i]) = *FLOATS(from[i]);
}

#define DEFINE_TABLE_BINARY(NAME, OPERATION) \
    UNIT void NAME(global uchar *arena, global const int *descriptor, int unit) { \
        global const int *second = INTS(descriptor[4]); \
        EACH_ELEMENT { \
            VEC y = (VEC)(*FLOATS(from[i]) OPERATION *FLOATS(second[i])); \
            y = ACTIVATE(y, 5); \
            *FLOATS(to[i]) = y.s0; \
        } \
    }
DEFINE_TABLE_BINARY(table_add, +)
DEFINE_TABLE_BINARY(table_subtract, -)
DEFINE_TABLE_BINARY(table_multiply, *)
DEFINE_TABLE_BINARY(table_divide, /)
