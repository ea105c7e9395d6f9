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
#define CHANGE(counter, by) __atomic_add_fetch(counter, by, __ATOMIC_SEQ_CST)
#endif
#endif
#ifndef CLAIM
#define CLAIM(counter) atomic_inc(counter)
#define FINISH(counter, units) (mem_fence(CLK_GLOBAL_MEM_FENCE), atomic_add(counter, units) + (units))
#define FINISHED(counter) atomic_add(counter, 0)
#define CHANGE(counter, by) (mem_fence(CLK_GLOBAL_MEM_FENCE), atomic_add(counter, by) + (by))
#endif

// One launch: claims units until there are none. Whether this work-item finished the last one.
//
// A claim fetches a cache line from the core that claimed last, and cores can be far apart: with a claim for every unit small operators
// took five times as long on a virtual machine whose cores were not neighbours. So each claim takes 1 / 2^share of the units that those
// before it left, at least one: a fixed series, which every work-item counts up by itself to the claim it got.
static int serve(global uchar *arena, global const int *row, global int *next, global int *finished, int share) {
    int units = row[1], done = 0, start = 0, counted = 0;
    for (;;) {
        int claim = CLAIM(next);
        for (; counted < claim && start < units; counted++) start += max((units - start) >> share, 1);
        if (start >= units) break;
        int end = start + max((units - start) >> share, 1);
        done += end - start;
        for (; start < end; start++) dispatch(arena, row, start);
        counted++;
    }
    return done && FINISH(finished, done) == units;
}
#define AWAIT(row, finished) { while (FINISHED(finished) < (row)[1]); mem_fence(CLK_GLOBAL_MEM_FENCE); }

#if !defined(ONLY_OPERATORS) && !defined(ONLY_TEAM)
kernel void network(global uchar *arena, global const int *rows, global const int *program, global int *counters, int capacity, int epoch,
                    int start, int count) {
    int share = 32 - (int)clz((int)get_global_size(0) - 1);
    global int *mine = counters + epoch * (1 + 2 * capacity), *other = counters + (1 - epoch) * (1 + 2 * capacity);
    global int *next = mine + 1, *finished = next + capacity;
    for (int l = 0; l < count; l++) {
        global const int *row = rows + program[start + l] * ROW;
        if (serve(arena, row, next + l, finished + l, share)) {
            other[1 + l] = other[1 + capacity + l] = 0;
            if (l == count - 1) {
                for (int i = count; i < other[0]; i++) other[1 + i] = other[1 + capacity + i] = 0;
                mine[0] = count;
            }
        }
        AWAIT(row, finished + l)
    }
}
#endif

// The same by a team, for runtimes with a device that works on the calling thread: who calls leads and does not wait for anybody to wake;
// helpers linger between inferences and join in while the gate is open. Launched with patience 0 it leads, else it helps, until it has
// looked for work so often in vain.
//
// counters: int[64 + 2 * capacity], zeroed once: 0 the gate, 16 helpers inside, 32 and 33 start and count, 48 helpers that linger (the
// host adds those it launches), 49 the share of a claim, which the host sets, then the next unit to claim and the units finished of each launch. Who looks into the gate after it has
// said that it is inside, and finds it open, is waited for; so nobody is left behind in an inference that is over.
#if !defined(ONLY_OPERATORS) && !defined(ONLY_NETWORK)
static void join_in(global uchar *arena, global const int *rows, global const int *program, int count, global int *next, global int *finished,
                    int share) {
    for (int l = 0; l < count; l++) {
        global const int *row = rows + program[l] * ROW;
        serve(arena, row, next + l, finished + l, share);
        AWAIT(row, finished + l)
    }
}

kernel void team(global uchar *arena, global const int *rows, global const int *program, global int *counters, int capacity, int patience,
                 int start, int count) {
    global int *gate = counters, *inside = counters + 16, *task = counters + 32, *next = counters + 64, *finished = next + capacity;
    if (!patience) {
        for (int l = 0; l < count; l++) next[l] = finished[l] = 0;
        task[0] = start;
        task[1] = count;
        CHANGE(gate, 1);
        join_in(arena, rows, program + start, count, next, finished, counters[49]);
        CHANGE(gate, -1);
        while (CHANGE(inside, 0))
            ;
        return;
    }
    for (int idle = 0; idle < patience; idle++) {
        if (!FINISHED(gate)) continue;
        CHANGE(inside, 1);
        if (CHANGE(gate, 0)) {
            join_in(arena, rows, program + task[0], task[1], next, finished, counters[49]);
            idle = 0;
        }
        CHANGE(inside, -1);
    }
    CHANGE(counters + 48, -1);
}
#endif
