"""A convolution as two tables: which output pixels are computed, and from which filter elements.

A technique edits this value (`Technique.edit`); lowering turns it into offset tables, packed weights and launches. Dense layers
are the special case of one pixel per row of the input, with filter elements 0..K-1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


Role = Literal["input", "residual"]
"""What an operator does with a tensor that it reads."""


@dataclass(frozen=True, slots=True)
class Form:
    """Another way than float32 to store a tensor, for operators that read it so.

    name: one for all parameters; kernels are instantiated once per name. type: OpenCL type of a stored element, element_bytes its size.
    write: ``void (global TYPE *p, VEC y, float a, float b, float c, float d)`` stores VL values; read: ``VEC (global const TYPE *p, float a,
    ...)`` gives VL stored values back; functions of the technique's kernels. parameters: a to d.
    zero_is_zero: whether 0 is stored as bytes of 0. ordered: whether the greater of two values is also the greater one when stored.
    """

    name: str
    type: str
    element_bytes: int
    write: str
    read: str
    parameters: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    zero_is_zero: bool = True
    ordered: bool = True

    @property
    def kind(self) -> Form:
        """The form without its parameters: what kernels are instantiated for."""
        return replace(self, parameters=(0.0, 0.0, 0.0, 0.0), zero_is_zero=True)


@dataclass(frozen=True, slots=True)
class Storage:
    """What an operator computes with: how its weights are stored, and what a multiply-add is.

    name: "float32", or what a technique brings; kernels are instantiated once per storage. defines: preprocessor macros for the
    kernels, listed in `kernels/README.md`. granule: neighbouring input elements that one multiply-add takes together.
    pack: turns float32 weights [..., granule] into the stored form, an array [...] of items that `W_TYPE` names; None (granule 1 only) stores
    them as they are. finish: name of the function that runs over the finished output in place, or None.
    """

    name: str = "float32"
    granule: int = 1
    defines: tuple[tuple[str, str], ...] = ()
    pack: Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]] | None = None
    finish: str | None = None


FLOAT32 = Storage()


@dataclass(frozen=True, slots=True, eq=False)
class Fill:
    """A pass over the finished convolution that computes skipped lines from computed ones.

    function: the technique's kernel. axis: which lines were skipped. kept: bool[H] or bool[W], True where computed. constants: float32[n, O],
    numbers per output channel that the function reads. The last fill of an operator adds the residual and applies the activation; see
    `kernels/README.md` for its row. any_form: whether the function is of a source with `any_form`, so that it reads the residual and
    writes the output in whatever forms; one that is not reads and writes float32, and what wants another form is converted.
    """

    function: str
    axis: Literal["rows", "columns"]
    kept: npt.NDArray[np.bool_]
    constants: npt.NDArray[np.float32] | None = None
    any_form: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """What a convolution or dense layer computes.

    rows, columns: int[R], int[Q], the computed output rows and columns (ascending).
    taps: int[T], kept elements of the flattened filter, e = (c * KH + i) * KW + j with c the channel within the group.
    weight: float32[O, T], one row per output channel, columns as `taps`.
    bias: float32[O]. scale: float32[O] or None: y = scale * (sum over taps) + bias, before residual and activation.
    encode: the last edit, after all others: from weights of real value to what `storage` computes with; it may change weight, bias and scale.
    """

    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    taps: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32] | None = None
    fills: tuple[Fill, ...] = ()
    storage: Storage = FLOAT32
    encode: Callable[[Tables], Tables] | None = None


@dataclass(frozen=True, slots=True)
class KernelSource:
    """OpenCL functions that a technique brings: ``void NAME(global uchar *arena, global const int *descriptor, int unit)``.

    text may use everything that core's `kernels/common.cl` defines. functions: the names it defines, for the network kernel.
    origin: the file, for error messages. any_form: the text is compiled once for every pair of forms that its functions read and write;
    their names are written ``MEMBER(NAME)``.
    """

    origin: str
    text: str
    functions: tuple[str, ...]
    any_form: bool = False
