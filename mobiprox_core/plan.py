"""The execution plan: data only, no Python left in it. What a runner, here or on a phone, is handed.

Everything lives in one *arena*. Constants and tables come first, then activations. Offsets count elements of 4 bytes
(float32 or int32), so a descriptor fits 32-bit integers up to 8 GB. The arena is zeroed once; then `constants` are copied in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .configuration import OpId, Setting

if TYPE_CHECKING:
    import numpy.typing as npt

ROW_INTS = 48
"""Length of a descriptor row; shorter ones are padded with zeros."""


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What lowering needs to know of a device, and what every number is reported with.

    kind: "cpu" runs the network kernel (one launch per inference), "gpu" one launch per operator with work-groups.
    isa: "generic", "avx2" or "avx512": the instruction set that unit functions are compiled for.
    block: channels stored together; vector: floats per arithmetic vector (block is a multiple of it).
    features: what kernels may use beyond the instruction set, by name of CPU flag or OpenCL extension; sorted.
    threads: how many compute units work on one inference. fp16: whether half arithmetic exists (cl_khr_fp16).
    """

    name: str
    driver: str
    runtime: str
    kind: Literal["cpu", "gpu"] = "cpu"
    isa: str = "generic"
    features: tuple[str, ...] = ()
    block: int = 16
    vector: int = 8
    threads: int = 1
    fp16: bool = False
    max_alloc_bytes: int = 1 << 31


@dataclass(frozen=True, slots=True)
class Launch:
    """Run units 0..units-1 of a function on a descriptor row."""

    function: str
    units: int
    row: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Variant:
    """One operator under one setting: what to launch, in order. No launches: a view that costs nothing.

    geometry: variants of one operator that share it, unless it is empty, differ in weights only, so they take equally long.
    """

    setting: Setting
    launches: tuple[Launch, ...]
    geometry: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class PlanOperator:
    """An operator with its variants; variant 0 is exact. kind as `graph.Operator`."""

    name: OpId
    kind: str
    variants: tuple[Variant, ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a tensor lies: element (n, c, h, w) at offset + n*strides[0] + (c//block)*strides[1] + h*strides[2] + w*strides[3] + c%block.

    shape: the logical shape; extent: the same as (N, C, H, W). With block 1 it is an ordinary strided array.
    """

    name: str
    shape: tuple[int, ...]
    extent: tuple[int, int, int, int]
    offset: int
    strides: tuple[int, int, int, int]
    block: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """An array that is copied into the arena at an offset before the first run. 64-byte aligned."""

    name: str
    offset: int
    values: npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class ExecutionPlan:
    """Programs, constants and variants of one network on one kind of device, at one batch size.

    source: OpenCL C of all functions and of the kernels that wrap them; functions: their names, in the order of the network
    kernel's cases. levels: per level one variant index per operator; level 0 is all zeros (exact).
    tensors: slots of all activations, if lowered with keep_activations, else none. labelled: float32[N, 2 + K], per image the label,
    its confidence, and the K scores of the first output, if the plan computes them (`labelling.with_labels`). notes: for people.
    memory_bytes: what the arena is used for: constants and tables of exact variants, what the variants of each technique add to them,
    and activations.
    level_bytes: constants and tables that each level needs by itself.
    """

    name: str
    batch: int
    device: DeviceInfo
    source: str
    functions: tuple[str, ...]
    arena_elements: int
    constants: tuple[Constant, ...]
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    operators: tuple[PlanOperator, ...]
    levels: tuple[tuple[int, ...], ...]
    tensors: tuple[Slot, ...] = ()
    labelled: Slot | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


def memory_line(used: Mapping[str, int]) -> str:
    """What the arena holds, and how much more than the exact network needs."""
    exact = used["exact"] + used["activations"]
    listed = ", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in used.items())
    return f"memory: {listed}; {sum(used.values()) / exact:.2f} times the exact network's"
