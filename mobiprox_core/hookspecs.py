"""The contract with plugins. Offering hooks take nothing and return values; observing hooks receive values and return nothing.

Keep offering hooks cheap: `mobiprox --help` loads nothing, but `mobiprox plugins list` calls them all. Names are global per kind;
two plugins that offer one name is an error that names both distributions. Hooks grow by new arguments, which old plugins need
not accept. What a plugin may rely on, and for how long, is in docs/stability.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

if TYPE_CHECKING:
    from .interfaces import Backend, Dataset, Executor, Exporter, Frontend, Heuristic, Meter, Metric, Progress, StrategyOffer, Technique
    from .measurement import OperatingPoint

hookspec = pluggy.HookspecMarker("mobiprox")
hookimpl = pluggy.HookimplMarker("mobiprox")

INTERFACES = (1,)
"""The numbers of the plugin interfaces that this Mobiprox speaks. A plugin names its own as an extra: ``mobiprox[interface1]``."""

GRACE = 2
"""For how many minor versions something deprecated still works, with a warning."""

_Hook = TypeVar("_Hook", bound=Callable[..., Any])


class Deprecated(FutureWarning):
    """Still works, not for long. since: the minor version of Mobiprox that warned first, such as "0.3"."""

    def __init__(self, what: str, *, since: str, instead: str) -> None:
        major, minor = map(int, since.split("."))
        self.until = (major, minor + GRACE)
        super().__init__(f"{what} is deprecated since {since} and gone in {major}.{minor + GRACE}; {instead}")


def hook(since: str, deprecated: Deprecated | None = None, arguments: dict[str, Warning] | None = None) -> Callable[[_Hook], _Hook]:
    """Marks a hook. since: the first version of Mobiprox that calls it; arguments: those of its arguments that are deprecated."""

    def mark(specified: _Hook) -> _Hook:
        specified.since = since  # type: ignore[attr-defined]
        return hookspec(specified, warn_on_impl=deprecated, warn_on_impl_args=arguments)

    return mark


@hook("0.1")
def mobiprox_frontends() -> Iterable[Frontend]:  # type: ignore[empty-body]
    """Offer readers of trained networks."""


@hook("0.1")
def mobiprox_datasets() -> Iterable[Dataset]:  # type: ignore[empty-body]
    """Offer data sets for tuning, testing and traces."""


@hook("0.1")
def mobiprox_qos() -> Iterable[Metric]:  # type: ignore[empty-body]
    """Offer measures of the quality of service."""


@hook("0.1")
def mobiprox_techniques() -> Iterable[Technique]:  # type: ignore[empty-body]
    """Offer approximation techniques."""


@hook("0.1")
def mobiprox_heuristics() -> Iterable[Heuristic]:  # type: ignore[empty-body]
    """Offer search heuristics."""


@hook("0.1")
def mobiprox_backends() -> Iterable[Backend]:  # type: ignore[empty-body]
    """Offer kinds of devices."""


@hook("0.1")
def mobiprox_strategies() -> Iterable[StrategyOffer]:  # type: ignore[empty-body]
    """Offer adaptation strategies."""


@hook("0.1")
def mobiprox_meters() -> Iterable[Meter]:  # type: ignore[empty-body]
    """Offer energy meters."""


@hook("0.1")
def mobiprox_exporters() -> Iterable[Exporter]:  # type: ignore[empty-body]
    """Offer forms in which bundles go to other platforms."""


@hook("0.1")
def mobiprox_executors() -> Iterable[Executor]:  # type: ignore[empty-body]
    """Offer ways to let other machines profile and measure."""


@hook("0.1")
def mobiprox_point_measured(point: OperatingPoint) -> None:
    """A configuration was measured on the device."""


@hook("0.1")
def mobiprox_progress(progress: Progress) -> None:
    """A stage got a step further."""
