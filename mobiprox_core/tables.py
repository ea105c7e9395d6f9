"""A convolution as two tables: which output pixels are computed, and from which filter elements.

A technique edits this value (`Technique.edit`); lowering turns it into offset tables, packed weights and launches. Dense layers
are the special case of one pixel per row of the input, with filter elements 0..K-1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Storage:
    """How inputs and weights of one operator are stored while it computes.

    name: "float32", or what a technique brings; kernels are instantiated once per storage.
    input_bytes, weight_bytes: of one stored element (a storage may narrow weights only). defines: preprocessor macros for the
    kernels, listed in `kernels/README.md`. pack: turns float32 weights into the stored form, an array of the same shape whose
    items have `weight_bytes`; None stores them as they are. convert: name of the function that copies the operator's input into
    the arena's scratch in the stored form; None where the input is read as it lies.
    finish: name of the function that runs over the finished output in place, or None.
    """

    name: str = "float32"
    input_bytes: int = 4
    weight_bytes: int = 4
    defines: tuple[tuple[str, str], ...] = ()
    pack: Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]] | None = None
    convert: str | None = None
    finish: str | None = None


FLOAT32 = Storage()


@dataclass(frozen=True, slots=True, eq=False)
class Fill:
    """A pass over the finished convolution that computes skipped lines from computed ones.

    function: the technique's kernel. axis: which lines were skipped. kept: bool[H] or bool[W], True where computed.
    The last fill of an operator adds the residual and applies the activation; see `kernels/README.md` for its row.
    """

    function: str
    axis: Literal["rows", "columns"]
    kept: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """What a convolution or dense layer computes.

    rows, columns: int[R], int[Q], the computed output rows and columns (ascending).
    taps: int[T], kept elements of the flattened filter, e = (c * KH + i) * KW + j with c the channel within the group.
    weight: float32[O, T], one row per output channel, columns as `taps`.
    bias: float32[O]. scale: float32[O] or None: y = scale * (sum over taps) + bias, before residual and activation.
    """

    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    taps: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32] | None = None
    fills: tuple[Fill, ...] = ()
    storage: Storage = FLOAT32


@dataclass(frozen=True, slots=True)
class KernelSource:
    """OpenCL functions that a technique brings: ``void NAME(global uchar *arena, global const int *descriptor, int unit)``.

    text may use everything that core's `kernels/common.cl` defines. functions: the names it defines, for the network kernel.
    origin: the file, for error messages.
    """

    origin: str
    text: str
    functions: tuple[str, ...]
