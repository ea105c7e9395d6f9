// All launches of an inference in one kernel, for CPUs: one work-item per thread; they claim units and wait for each other.
//
// rows: int[][ROW]: function, units, descriptor. program: row indices, in order. counters: int[2][1 + 2 * capacity], zeroed once:
//   per epoch how many launches it ran and, per launch, the next unit to claim and the units finished. Epochs alternate between
//   calls; whoever finishes a launch clears what the next call will use.
//
// A work-item only waits for units that a running work-item has claimed, so it is right with any number of workers, also one.
kernel void network(global uchar *arena, global const int *rows, global const int *program, global int *counters, int capacity, int epoch,
                    int start, int count) {
    volatile global int *mine = counters + epoch * (1 + 2 * capacity), *other = counters + (1 - epoch) * (1 + 2 * capacity);
    volatile global int *next = mine + 1, *finished = next + capacity;
    for (int l = 0; l < count; l++) {
        global const int *row = rows + program[start + l] * ROW;
        int units = row[1], done = 0;
        for (int unit = atomic_inc(next + l); unit < units; unit = atomic_inc(next + l), done++) dispatch(arena, row, unit);
        if (done) {
            mem_fence(CLK_GLOBAL_MEM_FENCE);
            if (atomic_add(finished + l, done) + done == units) {
                other[1 + l] = other[1 + capacity + l] = 0;
                if (l == count - 1) {
                    for (int i = count; i < other[0]; i++) other[1 + i] = other[1 + capacity + i] = 0;
                    mine[0] = count;
                }
            }
        }
        while (atomic_add(finished + l, 0) < units)
            ;
        mem_fence(CLK_GLOBAL_MEM_FENCE);
    }
}
