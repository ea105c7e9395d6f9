// All launches of an inference in one kernel, for CPUs: one work-item per thread; they claim units and wait for each other.
//
// rows: int[][ROW]: function, units, descriptor. program: row indices, in order. counters: int[2][2][capacity], zeroed once:
//   per epoch the next unit to claim and the units finished, per launch. Epochs alternate between calls; whoever finishes a
//   launch clears the counters that the next call will use.
//
// A work-item only waits for units that a running work-item has claimed, so it is right with any number of workers, also one.
#define CLAIM(counter) atomic_inc(counter)
kernel void network(global uchar *arena, global const int *rows, global const int *program, global int *counters, int capacity, int epoch,
                    int start, int count) {
    volatile global int *next = counters + epoch * 2 * capacity, *finished = next + capacity;
    volatile global int *other_next = counters + (1 - epoch) * 2 * capacity, *other_finished = other_next + capacity;
    for (int l = 0; l < count; l++) {
        global const int *row = rows + program[start + l] * ROW;
        int units = row[1], done = 0;
        for (int unit = CLAIM(next + l); unit < units; unit = CLAIM(next + l), done++) dispatch(arena, row, unit);
        if (done) {
            mem_fence(CLK_GLOBAL_MEM_FENCE);
            if (atomic_add(finished + l, done) + done == units) other_next[l] = other_finished[l] = 0;
        }
        while (atomic_add(finished + l, 0) < units)
            ;
        mem_fence(CLK_GLOBAL_MEM_FENCE);
    }
}
