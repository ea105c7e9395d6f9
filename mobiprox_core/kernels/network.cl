// All launches of an inference in one kernel, for CPUs: one work-item per thread; they claim units and wait for each other.
//
// rows: int[][ROW]: function, units, descriptor. program: row indices, in order. counters: int[2][1 + 2 * capacity], zeroed once:
//   per epoch how many launches it ran and, per launch, the next unit to claim and the units finished. Epochs alternate between
//   calls; whoever finishes a launch clears what the next call will use.
//
// A work-item only waits for units that a running work-item has claimed, so it is right with any number of workers, also one.
// What a work-item wrote before FINISH is seen by all who saw it in FINISHED: release and acquire, which weakly ordered CPUs need.
#if defined(__has_builtin)
#if __has_builtin(__atomic_fetch_add)
#define CLAIM(counter) __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED)
#define FINISH(counter, units) __atomic_add_fetch(counter, units, __ATOMIC_ACQ_REL)
#define FINISHED(counter) __atomic_load_n(counter, __ATOMIC_ACQUIRE)
#endif
#endif
#ifndef CLAIM
#define CLAIM(counter) atomic_inc(counter)
#define FINISH(counter, units) (mem_fence(CLK_GLOBAL_MEM_FENCE), atomic_add(counter, units) + (units))
#define FINISHED(counter) atomic_add(counter, 0)
#endif

kernel void network(global uchar *arena, global const int *rows, global const int *program, global int *counters, int capacity, int epoch,
                    int start, int count) {
    global int *mine = counters + epoch * (1 + 2 * capacity), *other = counters + (1 - epoch) * (1 + 2 * capacity);
    global int *next = mine + 1, *finished = next + capacity;
    for (int l = 0; l < count; l++) {
        global const int *row = rows + program[start + l] * ROW;
        int units = row[1], done = 0;
        for (int unit = CLAIM(next + l); unit < units; unit = CLAIM(next + l), done++) dispatch(arena, row, unit);
        if (done && FINISH(finished + l, done) == units) {
            other[1 + l] = other[1 + capacity + l] = 0;
            if (l == count - 1) {
                for (int i = count; i < other[0]; i++) other[1 + i] = other[1 + capacity + i] = 0;
                mine[0] = count;
            }
        }
        while (FINISHED(finished + l) < units)
            ;
        mem_fence(CLK_GLOBAL_MEM_FENCE);
    }
}
