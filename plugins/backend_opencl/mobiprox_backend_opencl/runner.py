"""Running execution plans: one arena, one descriptor table, and per inference a copy in, a launch and a copy out."""

from __future__ import annotations

import ctypes
import mmap
import struct
import weakref
from collections.abc import Sequence
from itertools import accumulate
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from mobiprox_core.errors import DataError, DeviceError, UsageError
from mobiprox_core.plan import ROW_INTS, DeviceInfo, ExecutionPlan, Launch, Slot

from .programs import CachedProgram, Programs

Floats = npt.NDArray[np.float32]

STRIDE = ROW_INTS + 2
CAPACITY = 1 << 14
"""Launches that one call of the network kernel can hold (timing repeats an operator that often)."""
WORK_GROUP = 64
"""Work-items of a group on GPUs."""
TIMED_CALL_MS = 1.0
"""One timed call repeats its operators for at least this long, so that the launch itself does not show."""
ONE = (1,)
LARGE_PAGE = 1 << 21
FINE_GRAIN = 2  # CL_DEVICE_SVM_FINE_GRAIN_BUFFER
TEAM_INTS = 64
"""Of a team's counters, before those of the launches; see core's `network.cl`."""
LINGERING = 48
"""Which of them tells how many helpers linger."""
WORKERS = 49
"""Which of them tells how many workers there are: the leader and its helpers."""
LINGER_MS = 0.5
"""How long a helper looks for work in vain: the time between two inferences that follow each other."""
TRIED_PATIENCE = 100_000


class OpenCLDevice:
    """One OpenCL device with a queue of its own. programs: where the compiled kernels of all its plans came from, for people."""

    tunable = True

    def __init__(self, handle: Any, info: DeviceInfo, by_operator: bool, caller: Any = None) -> None:
        """caller: handle of a device of the same platform that works on the calling thread, so that only helpers must be woken."""
        import pyopencl as cl

        self.info = info
        self.by_operator = by_operator
        self.handle = handle
        team = caller is not None and info.threads > 1 and not by_operator and _shares(handle) and _shares(caller)
        self.programs = Programs()
        try:
            self.context = cl.Context([handle, caller] if team else [handle])
            self.queue = cl.CommandQueue(self.context, caller if team else handle)
            self.helpers = cl.CommandQueue(self.context, handle) if team else None
        except cl.Error as fault:
            raise DeviceError(f"'{info.name}' cannot be opened: {fault}", mend="'mobiprox devices' lists what can be used") from fault

    def load(self, plan: ExecutionPlan) -> OpenCLRunner:
        """Build, allocate and warm everything."""
        if (plan.device.kind, plan.device.block, plan.device.vector) != (self.info.kind, self.info.block, self.info.vector):
            raise DeviceError(
                f"the plan is for a {plan.device.kind} with {plan.device.vector}-wide vectors ({plan.device.name}), not for '{self.info.name}'",
                mend="lower the network for this device: run the experiment with this backend",
            )
        if plan.device.isa != self.info.isa:
            raise DeviceError(
                f"the plan uses {plan.device.isa} instructions, '{self.info.name}' is used with {self.info.isa}",
                mend="open the device with that isa, or run the experiment on this device",
            )
        missing = set(plan.device.features) - set(self.info.features)
        if missing:
            raise DeviceError(
                f"the plan uses {', '.join(sorted(missing))}, which '{self.info.name}' has not", mend="run the experiment on this device"
            )
        return OpenCLRunner(self, plan)

    def close(self) -> None:
        self.queue.finish()


def _shares(handle: Any) -> bool:
    """Whether host and device see the same memory at once."""
    import pyopencl as cl

    try:
        return bool(handle.svm_capabilities & FINE_GRAIN)
    except (cl.Error, AttributeError, TypeError):
        return False


class _Memory:
    """Memory that device and host both see: shared where the device can, else a buffer that is copied on request."""

    def __init__(self, device: OpenCLDevice, elements: int, dtype: type[np.float32 | np.int32]) -> None:
        import pyopencl as cl

        self.device = device
        self.host: npt.NDArray[Any]
        size = max(1, elements)
        needed = size * np.dtype(dtype).itemsize
        if needed > device.info.max_alloc_bytes:
            raise DeviceError(
                f"'{device.info.name}' gives at most {device.info.max_alloc_bytes / 1e9:.1f} GB at once, the plan needs {needed / 1e9:.1f} GB",
                mend="use a smaller batch or fewer settings",
            )
        shared = _shares(device.handle)
        try:
            if shared:
                self.host = cl.fsvm_empty(device.context, size, dtype=np.dtype(dtype), alignment=64)
                _ask_for_large_pages(self.host)
                self.argument: Any = cl.SVM(self.host)
            else:
                self.host = np.empty(size, dtype=dtype)
                self.argument = cl.Buffer(device.context, cl.mem_flags.READ_WRITE, needed)
        except cl.Error as fault:
            raise DeviceError(f"'{device.info.name}' has no memory for {needed / 1e6:.0f} MB: {fault}") from fault
        self.shared = shared
        self.host[:] = 0
        self.to_device(0, size)

    def to_device(self, start: int, stop: int) -> None:
        """Elements start..stop-1 of `host` become the device's."""
        self._copy(start, stop, write=True)

    def to_host(self, start: int, stop: int) -> None:
        self._copy(start, stop, write=False)

    def _copy(self, start: int, stop: int, write: bool) -> None:
        if self.shared or start == stop:
            return
        import pyopencl as cl

        part = self.host[start:stop]
        offset = start * self.host.itemsize
        if write:
            cl.enqueue_copy(self.device.queue, self.argument, part, dst_offset=offset, is_blocking=True)
        else:
            cl.enqueue_copy(self.device.queue, part, self.argument, src_offset=offset, is_blocking=True)


def _ask_for_large_pages(memory: npt.NDArray[Any]) -> None:
    """Where the system gives them on request: a large network's weights lie on more small pages than a processor keeps track of."""
    if hasattr(mmap, "MADV_HUGEPAGE"):
        first = -(-memory.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
        length = (memory.ctypes.data + memory.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE - first
        if length >= LARGE_PAGE:  # a refusal is no fault
            ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), mmap.MADV_HUGEPAGE)


class _Window:
    """A tensor in the arena as the host sees it."""

    def __init__(self, arena: _Memory, slot: Slot) -> None:
        self.slot, self._arena = slot, arena
        images, channels, height, width = slot.extent
        n, block, row, column = slot.strides
        self._blocked: Floats = _strided(
            arena, slot, (images, -(-channels // slot.block), height, width, slot.block), (n, block, row, column, 1)
        )
        self._last = (
            slot.offset + 1 + sum((length - 1) * s for length, s in zip(self._blocked.shape, (n, block, row, column, 1), strict=True))
        )
        self.view: Floats | None = None
        """The tensor in its logical shape, where that is a view of the arena."""
        if slot.block == 1 or channels <= slot.block or block == slot.block:  # channels lie at one stride
            dense = _strided(arena, slot, slot.extent, (n, block if slot.block == 1 else 1, row, column))
            shaped = dense.reshape(slot.shape)
            self.view = shaped if np.shares_memory(shaped, dense) else None

    def write(self, values: Floats) -> None:
        """values: of the logical shape."""
        if self.view is None:
            self._blocked[..., 0] = values.reshape(self._blocked.shape[:-1])  # inputs are planar
        else:
            self.view[...] = values
        if not self._arena.shared:
            self._arena.to_device(self.slot.offset, self._last)

    def read(self) -> Floats:
        """A copy, in the logical shape."""
        if not self._arena.shared:
            self._arena.to_host(self.slot.offset, self._last)
        if self.view is not None:
            return self.view.copy()
        images, blocks, height, width, block = self._blocked.shape
        whole = self._blocked.transpose(0, 1, 4, 2, 3).reshape(images, blocks * block, height, width)
        return whole[:, : self.slot.extent[1]].copy().reshape(self.slot.shape)  # a copy even where all steps before are views


def _strided(arena: _Memory, slot: Slot, shape: Sequence[int], strides: Sequence[int]) -> Floats:
    return np.lib.stride_tricks.as_strided(arena.host[slot.offset :], shape, [4 * s for s in strides])


class _Span:
    """Launches that run one after another, by their places among all; as the network kernel takes the two numbers, too."""

    __slots__ = ("count", "count_bytes", "start", "start_bytes")

    def __init__(self, start: int, count: int) -> None:
        self.start, self.count = start, count
        self.start_bytes, self.count_bytes = struct.pack("i", start), struct.pack("i", count)


class OpenCLRunner:
    """A plan on a device. Levels and variants are switched by writing indices."""

    def __init__(self, device: OpenCLDevice, plan: ExecutionPlan) -> None:
        self.device, self.plan = device, plan
        self.by_operator = device.by_operator
        self._arena = _Memory(device, plan.arena_elements, np.float32)
        self._load_constants()
        self._number_launches()
        program = CachedProgram(device, plan)
        self._program_handle = program.handle
        self._make_kernels()
        self._inputs = [_Window(self._arena, slot) for slot in plan.inputs]
        self._outputs = [_Window(self._arena, slot) for slot in plan.outputs]
        self._labelled = None if plan.labelled is None else _Window(self._arena, plan.labelled)
        self._tensors: dict[str, _Window] = {}
        self._epoch = 0
        self._variants: tuple[int, ...] = ()
        self.set_level(0)
        self._execute()
        if self.by_operator:
            self._warm_rows()
        program.keep()

    # -- set-up

    def _load_constants(self) -> None:
        for constant in self.plan.constants:
            raw = np.ascontiguousarray(constant.values).view(np.uint8).ravel()
            self._arena.host.view(np.uint8)[4 * constant.offset : 4 * constant.offset + raw.size] = raw
        last = max((c.offset + -(-c.values.nbytes // 4) for c in self.plan.constants), default=0)
        self._arena.to_device(0, last)

    def _number_launches(self) -> None:
        """Descriptor rows of all variants, one after another, and for every (operator, variant) the indices of its rows."""
        case = {name: i for i, name in enumerate(self.plan.functions)}
        launches: list[Launch] = []
        self._rows_of: list[list[list[int]]] = []
        for operator in self.plan.operators:
            self._rows_of.append([])
            for variant in operator.variants:
                self._rows_of[-1].append(list(range(len(launches), len(launches) + len(variant.launches))))
                launches += variant.launches
        self._launches = launches
        self._rows = _Memory(self.device, len(launches) * STRIDE, np.int32)
        table = self._rows.host[: len(launches) * STRIDE].reshape(-1, STRIDE)
        for index, launch in enumerate(launches):
            table[index, : 2 + len(launch.row)] = (case[launch.function], launch.units, *launch.row)
        self._rows.to_device(0, table.size)

        programs = [self._program(level) for level in self.plan.levels]
        ends = list(accumulate(map(len, programs)))
        self._level_spans = [_Span(end - len(program), len(program)) for end, program in zip(ends, programs, strict=True)]
        self._free = ends[-1]
        self._programs = _Memory(self.device, self._free + CAPACITY, np.int32)
        self._programs.host[: self._free] = [index for program in programs for index in program]
        self._programs.to_device(0, self._free)

    def _program(self, variants: Sequence[int], operators: Sequence[int] | None = None) -> list[int]:
        chosen = range(len(self._rows_of)) if operators is None else operators
        return [index for o in chosen for index in self._rows_of[o][variants[o]]]

    def _make_kernels(self) -> None:
        import pyopencl as cl

        self._cl_error, self._launch = cl.Error, cl.enqueue_nd_range_kernel  # importing at every inference would take a tenth of the least
        if self.by_operator:
            self._row_kernels: dict[int, tuple[Any, tuple[int], tuple[int]]] = {}
            return
        team = self.device.helpers is not None
        launches = (self.device.info.threads + 1) * CAPACITY
        self._counters = _Memory(self.device, TEAM_INTS + launches if team else 2 * (1 + launches), np.int32)

        def kernel(name: str, sixth: int) -> Any:
            made = cl.Kernel(self._program_handle, name)
            for position, memory in enumerate((self._arena, self._rows, self._programs, self._counters)):
                made.set_arg(position, memory.argument)
            for position, value in ((4, CAPACITY), (5, sixth), (6, 0), (7, 0)):
                made.set_arg(position, np.int32(value))
            return made

        self._groups = (1 if team else self.device.info.threads,)
        self._network = [kernel("team", 0)] if team else [kernel("network", epoch) for epoch in (0, 1)]
        self._team = _Team(self.device, kernel("team", TRIED_PATIENCE), self._counters) if team else None
        self._set_span = [getattr(made, "_set_arg_buf", made.set_arg) for made in self._network]  # set_arg first finds out what it got
        if self.device.helpers is not None:  # helpers may still linger when nobody needs this runner any more: its memory outlives them
            weakref.finalize(self, self.device.helpers.finish)

    def _row_kernel(self, row: int) -> tuple[Any, tuple[int], tuple[int]]:
        if row not in self._row_kernels:
            import pyopencl as cl

            launch = self._launches[row]
            kernel = cl.Kernel(self._program_handle, f"run_{launch.function}")
            kernel.set_arg(0, self._arena.argument)
            kernel.set_arg(1, self._rows.argument)
            kernel.set_arg(2, np.int32(row))
            group = WORK_GROUP if self.device.info.kind == "gpu" else 1
            self._row_kernels[row] = kernel, (-(-launch.units // group) * group,), (group,)
        return self._row_kernels[row]

    def _warm_rows(self) -> None:
        """Run one row of every function, so that nothing is compiled later."""
        first = {launch.function: row for row, launch in reversed(list(enumerate(self._launches)))}
        for row in first.values():
            self._enqueue([row])
        self.device.queue.finish()

    # -- choosing

    @property
    def variants(self) -> tuple[int, ...]:
        """The variant of every operator that the next run uses."""
        return self._variants

    def set_level(self, level: int) -> None:
        """Choose one of the plan's levels; the cheapest way to switch."""
        self._variants = self.plan.levels[level]
        self._choose(self._level_spans[level])

    def select(self, variants: Sequence[int]) -> None:
        """Choose a variant for every operator."""
        self._variants = tuple(variants)
        self._choose(self._write_program(self._program(self._variants)))

    def _write_program(self, program: Sequence[int]) -> _Span:
        stop = self._free + len(program)
        self._programs.host[self._free : stop] = program
        self._programs.to_device(self._free, stop)
        return _Span(self._free, len(program))

    def _choose(self, span: _Span) -> None:
        self._current = span
        if not self.by_operator:
            for set_argument in self._set_span:
                set_argument(6, span.start_bytes)
                set_argument(7, span.count_bytes)

    # -- running

    def run(self, *inputs: Floats) -> Floats | tuple[Floats, ...]:
        """One batch: float32 arrays of exactly the plan's shapes; the output, or a tuple of several."""
        self._write(inputs)
        self._execute()
        return self._read()

    def labelled(self, *inputs: Floats) -> Floats:
        """One batch: the plan's `labelled`, float32[N, 2 + K]: label, confidence and scores of every image. The plan must have one."""
        assert self._labelled is not None, "the plan has no labels"
        self._write(inputs)
        self._execute()
        return self._labelled.read()

    def tensor(self, name: str) -> Floats:
        """An activation that the last run left, float32 of its logical shape. Needs keep_activations."""
        if name not in self._tensors:
            slot = next((slot for slot in self.plan.tensors if slot.name == name), None)
            if slot is None:
                raise UsageError(
                    f"the plan of '{self.plan.name}' keeps no activation called '{name}'", mend="lower it with keep_activations"
                )
            self._tensors[name] = _Window(self._arena, slot)
        return self._tensors[name].read()

    def resume(self, operator: int) -> Floats | tuple[Floats, ...]:
        """Run from an operator (index) to the end, on the activations that earlier runs left."""
        whole = self._current
        skipped = len(self._program(self._variants, range(operator)))
        self._choose(_Span(whole.start + skipped, whole.count - skipped))
        try:
            self._execute()
        finally:
            self._choose(whole)
        return self._read()

    def _write(self, inputs: Sequence[Floats]) -> None:
        if len(inputs) != len(self._inputs):
            raise DataError(f"the network takes {len(self._inputs)} input(s), not {len(inputs)}")
        for window, values in zip(self._inputs, inputs, strict=True):
            if values.shape != window.slot.shape or values.dtype != np.float32:
                raise DataError(
                    f"input '{window.slot.name}' takes float32{list(window.slot.shape)}, not {values.dtype}{list(values.shape)}",
                    mend="convert it with numpy.asarray(x, dtype=numpy.float32), batch axis first",
                )
            window.write(values)

    def _read(self) -> Floats | tuple[Floats, ...]:
        if len(self._outputs) == 1:
            return self._outputs[0].read()
        return tuple(window.read() for window in self._outputs)

    def _execute(self) -> None:
        queue = self.device.queue
        try:
            if self.by_operator:
                start, count = self._current.start, self._current.count
                self._enqueue(self._programs.host[start : start + count].tolist())
            elif self._current.count:
                if self._team is not None:
                    self._team.call()
                self._launch(queue, self._network[self._epoch], self._groups, ONE)
                self._epoch = (self._epoch + 1) % len(self._network)
            queue.finish()
        except self._cl_error as fault:
            raise DeviceError(f"'{self.device.info.name}' failed while running '{self.plan.name}': {fault}") from fault

    def _enqueue(self, rows: Sequence[int]) -> None:
        for row in rows:
            kernel, size, group = self._row_kernel(row)
            if size[0]:
                self._launch(self.device.queue, kernel, size, group)

    # -- timing

    def time(self, operators: Sequence[int] | None, variants: Sequence[Sequence[int]], seconds: float) -> list[npt.NDArray[np.float64]]:
        """Milliseconds per execution for each choice of variants (one per operator of the plan), in interleaved rounds.

        With `operators`, only those run, one after another, repeated within a call; otherwise whole inferences are timed from
        the copy of the input to the copy of the output.
        """
        chosen, before = self._variants, self._current
        samples: list[list[float]] = [[] for _ in variants]
        try:
            calls = (
                [self._timed_operators(operators, v) for v in variants]
                if operators is not None
                else [self._timed_inference(v) for v in variants]
            )
            end = perf_counter() + seconds
            while True:
                for call, kept in zip(calls, samples, strict=True):
                    kept += call()
                if perf_counter() > end and len(samples[0]) >= 5:
                    break
        finally:
            self._variants = chosen
            self._choose(before) if before.start < self._free else self.select(chosen)
        return [np.array(kept) for kept in samples]

    def _timed_inference(self, variants: Sequence[int]) -> Any:
        inputs = [window.read() for window in self._inputs]

        def call() -> list[float]:
            self.select(variants)
            times = []
            for _ in range(4):
                begin = perf_counter()
                for window, values in zip(self._inputs, inputs, strict=True):
                    window.write(values)
                self._execute()
                self._read() if self._labelled is None else self._labelled.read()
                times.append(1e3 * (perf_counter() - begin))
            return times[1:]  # the first brings the variant's weights into the caches

        return call

    def _timed_operators(self, operators: Sequence[int], variants: Sequence[int]) -> Any:
        program = self._program(variants, operators)
        if not program:
            return lambda: [0.0]
        most = CAPACITY // len(program)

        def repeat(times: int) -> float:
            self._choose(self._write_program(program * times))
            begin = perf_counter()
            self._execute()
            return 1e3 * (perf_counter() - begin) / times

        repeat(1)
        once = min(repeat(1) for _ in range(8))  # other work that is in the way of all of them is rare; of two, often
        count = max(1, min(most, int(TIMED_CALL_MS / max(once, 1e-4))))
        return lambda: [repeat(count)]

    def close(self) -> None:
        """Give the memory back."""
        self.device.queue.finish()
        if self.device.helpers is not None:
            self.device.helpers.finish()
        for name in ("_network", "_team", "_row_kernels", "_inputs", "_outputs", "_tensors", "_arena", "_rows", "_programs", "_counters"):
            self.__dict__.pop(name, None)


class _Team:
    """Threads that help the calling one. They linger for a while after an inference, so that the next one finds them awake."""

    def __init__(self, device: OpenCLDevice, kernel: Any, counters: _Memory) -> None:
        import pyopencl as cl

        assert device.helpers is not None
        self._launch = cl.enqueue_nd_range_kernel
        self._queue, self._kernel, self._counters = device.helpers, kernel, counters.host
        self._size = device.info.threads - 1
        self._counters[WORKERS] = device.info.threads
        for _ in range(2):  # the first compiles
            begin = perf_counter()
            self.call()
            self._queue.finish()
        tried_ms = 1e3 * (perf_counter() - begin)
        kernel.set_arg(5, np.int32(max(1000, TRIED_PATIENCE * LINGER_MS / tried_ms)))

    def call(self) -> None:
        """Wake them, unless they linger."""
        if self._counters[LINGERING] == 0:
            self._counters[LINGERING] = self._size
            self._launch(self._queue, self._kernel, (self._size,), ONE)
            self._queue.flush()
