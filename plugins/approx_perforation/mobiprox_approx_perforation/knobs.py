"""Which lines a setting skips, and which settings are worth offering. Plain integers: no NumPy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobiprox_core.errors import InfeasibleSetting

if TYPE_CHECKING:
    from mobiprox_core.configuration import KnobSetting
    from mobiprox_core.graph import Graph, Operator

NAME = "perforation"
AXES = ("rows", "columns")
STRIDES = (2, 3, 4)
FILLS = ("mean", "auto", "fitted")


def skipped(length: int, stride: int, offset: int) -> range:
    """The lines left out of an axis: offset, offset + stride, ...

    None where that would leave no line to interpolate from (a single line, offset 0): such a setting is exact.
    """
    lines = range(offset, length, stride)
    return range(0) if len(lines) == length else lines


@dataclass(frozen=True, slots=True)
class Lines:
    """What a setting says. fitted: how skipped lines follow from their neighbours is fitted to calibration inputs; else it is their mean."""

    axis: str
    stride: int
    offset: int
    fitted: bool = False


def parse(setting: KnobSetting) -> Lines:
    """Raises InfeasibleSetting for what is no perforation."""
    match dict(setting.params):
        case {"axis": "rows" | "columns" as axis, "stride": int(stride), "offset": int(offset), **more} if 0 <= offset < stride >= 2:
            if more.pop("fill", "fitted") == "fitted" and not more:
                return Lines(axis, stride, offset, "fill" in dict(setting.params))
    raise InfeasibleSetting(
        f"'{setting}' is not a perforation",
        mend=f"write it like '{NAME}(axis=rows, offset=0, stride=2)'; axis rows or columns, stride at least 2, 0 <= offset < stride, "
        "perhaps fill=fitted",
    )


def offered(size: tuple[int, int], axes: Sequence[str], strides: Sequence[int]) -> Iterator[KnobSetting]:
    """Settings for an output of `size` (rows, columns) that skip something; of settings that skip the same lines the first."""
    from mobiprox_core.configuration import KnobSetting

    for axis, length in zip(AXES, size, strict=True):
        seen: set[tuple[int, ...]] = {()}
        for stride in strides if axis in axes else ():
            for offset in range(stride):
                lines = tuple(skipped(length, stride, offset))
                if lines not in seen:
                    seen.add(lines)
                    yield KnobSetting.of(NAME, axis=axis, stride=stride, offset=offset)


def output_size(operator: Operator, graph: Graph) -> tuple[int, int]:
    """Rows and columns of a convolution's output; a 1-D convolution has one row."""
    shape = graph.shape(operator.output)
    return (1, shape[2]) if len(shape) == 3 else (shape[2], shape[3])
