"""The multiply-adds that a device can do at best: measured, with the program, launch and instruction set that networks run with."""

from __future__ import annotations

from importlib.resources import files

from ..configuration import EXACT
from ..interfaces import Device
from ..plan import DeviceInfo, ExecutionPlan, Launch, PlanOperator, Variant
from ..program import assemble
from ..tables import KernelSource

CHAINS = 12
"""Independent multiply-adds in flight: enough to hide their latency, few enough for 16 registers."""

HOW = "best of repeated launches of a kernel of twelve independent multiply-add chains in registers, with all threads that networks use"

_OPERANDS = 16


def measure(device: Device, seconds: float = 0.3) -> float:
    """GFLOP/s, two operations for each multiply-add."""
    units, rounds = _size(device.info)
    runner = device.load(_plan(device.info, units, rounds))
    try:
        [times_ms] = runner.time([0], [(0,)], seconds)
    finally:
        runner.close()
    return 2e-6 * units * rounds * CHAINS * device.info.vector / float(times_ms.min())


def _size(info: DeviceInfo) -> tuple[int, int]:
    """Units and their rounds: some hundred microseconds in all, so that starting them does not show."""
    return (16 * info.threads, 4096) if info.kind == "cpu" else (2048 * info.threads, 1024)


def _plan(info: DeviceInfo, units: int, rounds: int) -> ExecutionPlan:
    kernel = KernelSource("peak.cl", (files(__package__) / "peak.cl").read_text(), ("peak",))
    source, functions = assemble(info, ["peak"], [], [kernel])
    return ExecutionPlan(
        name="peak",
        batch=1,
        device=info,
        source=source,
        functions=functions,
        arena_elements=_OPERANDS + (2 + units) * info.vector,
        constants=(),
        inputs=(),
        outputs=(),
        operators=(PlanOperator("peak", "peak", (Variant(EXACT, (Launch("peak", units, (_OPERANDS, rounds)),)),)),),
        levels=((0,),),
    )
