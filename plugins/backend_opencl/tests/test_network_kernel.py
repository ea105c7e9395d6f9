"""The network kernel alone, on operators that only count: every unit runs once, whatever the number of workers, and no launch before the last."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
from mobiprox_backend_opencl.finding import find, pyopencl

ROW = 2
CAPACITY = 8
UNITS = (1, 7, 33, 64, 2)

COUNTING = """
#define ROW 2
// Counts its unit, and whether a launch before it had a unit left to run: row[0] is the launch, row[1] its units; a launch has 64 places.
// It takes its time, so that workers that were slow to wake find something left.
static void dispatch(global uchar *arena, global const int *row, int unit) {
    volatile global int *ran = (volatile global int *)arena;
    for (int i = 0; row[0] && i < row[-1]; i++)
        if (!ran[(row[0] - 1) * 64 + i]) atomic_inc(&ran[5 * 64]);
    for (volatile int i = 0; i < 20000; i++);
    atomic_inc(&ran[row[0] * 64 + unit]);
}
"""


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_every_unit_runs_once_and_launches_follow_each_other(workers: int) -> None:
    cl = pyopencl()
    device = next((d for d in find() if d.is_cpu and d.compute_units > 1), None) or next((d for d in find() if d.is_cpu), None)
    if device is None:
        pytest.skip("no OpenCL device is a CPU")
    context = cl.Context([device.handle])
    source = COUNTING + files("mobiprox_core").joinpath("kernels/network.cl").read_text()
    kernel = cl.Program(context, source).build(["-DONLY_NETWORK"], cache_dir=False).network
    queue = cl.CommandQueue(context)
    flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
    ran = np.zeros(len(UNITS) * 64 + 1, np.int32)
    rows, program = np.array([*enumerate(UNITS)], np.int32), np.arange(len(UNITS), dtype=np.int32)
    counters = np.zeros(2 * (1 + (workers + 1) * CAPACITY), np.int32)
    arena, *others = (cl.Buffer(context, flags, hostbuf=values) for values in (ran, rows, program, counters))
    for epoch in (0, 1, 0):
        kernel(queue, (workers,), (1,), arena, *others, *map(np.int32, (CAPACITY, epoch, 0, len(UNITS))))
    cl.enqueue_copy(queue, ran, arena)
    wanted = np.zeros((len(UNITS), 64), np.int32)
    for launch, units in enumerate(UNITS):
        wanted[launch, :units] = 3
    assert (ran[:-1].reshape(wanted.shape) == wanted).all()
    assert ran[-1] == 0
