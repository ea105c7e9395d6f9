// All launches of an inference in one kernel, for CPUs: one work-item per thread; they claim units and wait for each other.
//
// rows: int[][ROW]: function, units, descriptor. program: row indices, in order. counters: int[2][1 + (workers + 1) * capacity], zeroed
// once: per epoch how many launches it ran; how many claims were made on each worker's share of each launch, workers one after the other; and
// the units of each launch that are finished. Epochs alternate between calls; whoever finishes a launch clears what the next call will use.
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
// A claim fetches a cache line from the core that claimed last, and cores can be far apart: on a virtual machine whose cores were not
// neighbours small operators took five times as long with one counter for all. So each worker has an equal share of the units, and claims
// from it first, by a counter that nobody else touches meanwhile; then, unless all is finished, it helps the others. A claim takes half of
// what those before it left of a share, at least one unit: a fixed series, which every work-item counts up by itself to the claim it got.
static int serve(global uchar *arena, global const int *row, global int *claims, int capacity, global int *finished, int workers, int me) {
    int units = row[1];
    for (int other = 0; other < workers; other++) {
        int whose = me + other < workers ? me + other : me + other - workers;
        int start = (int)((long)units * whose / workers), last = (int)((long)units * (whose + 1) / workers), done = 0;
        for (int counted = 0; start < last; counted++) {
            int claim = CLAIM(claims + whose * capacity);
            for (; counted < claim && start < last; counted++) start += max((last - start) / 2, 1);
            if (start == last) break;
            int end = start + max((last - start) / 2, 1);
            done += end - start;
            for (; start < end; start++) dispatch(arena, row, start);
        }
        if (done && FINISH(finished, done) == units) return 1;
    }
    return 0;
}
#define AWAIT(row, finished) { while (FINISHED(finished) < (row)[1]); mem_fence(CLK_GLOBAL_MEM_FENCE); }

#if !defined(ONLY_OPERATORS) && !defined(ONLY_TEAM)
kernel void network(global uchar *arena, global const int *rows, global const int *program, global int *counters, int capacity, int epoch,
                    int start, int count) {
    int workers = (int)get_global_size(0), me = (int)get_global_id(0), size = 1 + (workers + 1) * capacity;
    global int *mine = counters + epoch * size, *other = counters + (1 - epoch) * size;
    global int *claims = mine + 1, *finished = claims + workers * capacity;
    for (int l = 0; l < count; l++) {
        global const int *row = rows + program[start + l] * ROW;
        if (serve(arena, row, claims + l, capacity, finished + l, workers, me)) {
            for (int i = l; i < (l == count - 1 ? max(other[0], count) : l + 1); i++)
                for (int k = 0; k <= workers; k++) other[1 + k * capacity + i] = 0;
            if (l == count - 1) mine[0] = count;
        }
        AWAIT(row, finished + l)
    }
}
#endif

// The same by a team, for runtimes with a device that works on the calling thread: who calls leads and does not wait for anybody to wake;
// helpers linger between inferences and join in while the gate is open. Launched with patience 0 it leads, else it helps, until it has
// looked for work so often in vain.
//
// counters: int[64 + (workers + 1) * capacity], zeroed once: 0 the gate, 16 helpers inside, 32 and 33 start and count, 48 helpers that linger
// (the host adds those it launches), 49 workers, which the host sets: the leader and its helpers; then claims and finished units as above.
// Who looks into the gate after it has said that it is inside, and finds it open, is waited for; so nobody is left behind in an inference
// that is over. The helpers inside number themselves by the order in which they came in; should two have one number, they share a share.
#if !defined(ONLY_OPERATORS) && !defined(ONLY_NETWORK)
static void join_in(global uchar *arena, global const int *rows, global const int *program, int count, global int *claims, int capacity,
                    int workers, int me) {
    global int *finished = claims + workers * capacity;
    for (int l = 0; l < count; l++) {
        global const int *row = rows + program[l] * ROW;
        serve(arena, row, claims + l, capacity, finished + l, workers, me);
        AWAIT(row, finished + l)
    }
}

kernel void team(global uchar *arena, global const int *rows, global const int *program, global int *counters, int capacity, int patience,
                 int start, int count) {
    global int *gate = counters, *inside = counters + 16, *task = counters + 32, *claims = counters + 64;
    int workers = counters[49];
    if (!patience) {
        for (int k = 0; k <= workers; k++)
            for (int l = 0; l < count; l++) claims[k * capacity + l] = 0;
        task[0] = start;
        task[1] = count;
        CHANGE(gate, 1);
        join_in(arena, rows, program + start, count, claims, capacity, workers, 0);
        CHANGE(gate, -1);
        while (CHANGE(inside, 0))
            ;
        return;
    }
    for (int idle = 0; idle < patience; idle++) {
        if (!FINISHED(gate)) continue;
        int me = CHANGE(inside, 1);
        if (CHANGE(gate, 0)) {
            join_in(arena, rows, program + task[0], task[1], claims, capacity, workers, me < workers ? me : 0);
            idle = 0;
        }
        CHANGE(inside, -1);
    }
    CHANGE(counters + 48, -1);
}
#endif
