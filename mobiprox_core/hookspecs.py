"""The contract with plugins. Offering hooks take nothing and return values; observing hooks receive values and return nothing.

Keep offering hooks cheap: `mobiprox --help` loads nothing, but `mobiprox plugins list` calls them all. Names are global per kind;
two plugins that offer one name is an error that names both distributions. Hooks grow by new arguments, which old plugins need
not accept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from .interfaces import Backend, Dataset, Frontend, Heuristic, Meter, Metric, Progress, StrategyOffer, Technique
    from .measurement import OperatingPoint

hookspec = pluggy.HookspecMarker("mobiprox")
hookimpl = pluggy.HookimplMarker("mobiprox")


@hookspec
def mobiprox_frontends() -> Iterable[Frontend]:  # type: ignore[empty-body]
    """Offer readers of trained networks."""


@hookspec
def mobiprox_datasets() -> Iterable[Dataset]:  # type: ignore[empty-body]
    """Offer data sets for tuning, testing and traces."""


@hookspec
def mobiprox_qos() -> Iterable[Metric]:  # type: ignore[empty-body]
    """Offer measures of the quality of service."""


@hookspec
def mobiprox_techniques() -> Iterable[Technique]:  # type: ignore[empty-body]
    """Offer approximation techniques."""


@hookspec
def mobiprox_heuristics() -> Iterable[Heuristic]:  # type: ignore[empty-body]
    """Offer search heuristics."""


@hookspec
def mobiprox_backends() -> Iterable[Backend]:  # type: ignore[empty-body]
    """Offer kinds of devices."""


@hookspec
def mobiprox_strategies() -> Iterable[StrategyOffer]:  # type: ignore[empty-body]
    """Offer adaptation strategies."""


@hookspec
def mobiprox_meters() -> Iterable[Meter]:  # type: ignore[empty-body]
    """Offer energy meters."""


@hookspec
def mobiprox_point_measured(point: OperatingPoint) -> None:
    """A configuration was measured on the device."""


@hookspec
def mobiprox_progress(progress: Progress) -> None:
    """A stage got a step further."""
