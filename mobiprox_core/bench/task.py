"""What an engine is given, and what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ..interfaces import Floats


@dataclass(frozen=True, slots=True)
class Task:
    """What to load. batch: that of the file. threads: None for the engine's own choice.

    backend, options, configurations: for Mobiprox alone; configurations as `Configuration.to_json` gives them.
    calibrate: float32[N, ...], inputs that quantised engines and fitted settings are calibrated with.
    """

    model: str
    batch: int
    inputs: tuple[Floats, ...]
    threads: int | None = None
    backend: str = ""
    options: Mapping[str, Any] | None = None
    configurations: Sequence[Mapping[str, str]] = ()
    calibrate: Floats | None = None


class Engine(Protocol):
    """A loaded network. about: version, threads and whatever else a number should be reported with; JSON."""

    @property
    def about(self) -> Mapping[str, Any]: ...

    def run(self) -> tuple[Floats, ...]:
        """One inference on the task's inputs, as an application sees it: NumPy arrays in and out."""
