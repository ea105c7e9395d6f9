"""Mobiprox: one trained network that glides between accuracy and cost at run time.

The public API is imported from here, lazily: ``import mobiprox_core as mobiprox`` costs nothing until a name is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .configuration import Configuration, KnobSetting, Setting
    from .errors import (
        BundleError,
        DataError,
        DeviceError,
        ExperimentError,
        InfeasibleSetting,
        LoweringError,
        MobiproxError,
        PluginError,
        TargetMissed,
        UnsupportedOperator,
        UsageError,
    )
    from .pipeline import run_file as run
    from .session import Prediction, Session, open_model

__version__ = "0.1.0"

_HOMES = {
    "run": ("pipeline", "run_file"),
    "Session": ("session", "Session"),
    "Prediction": ("session", "Prediction"),
    "open_model": ("session", "open_model"),
    **{name: ("configuration", name) for name in ("Configuration", "KnobSetting", "Setting")},
    **{
        name: ("errors", name)
        for name in (
            "BundleError",
            "DataError",
            "DeviceError",
            "ExperimentError",
            "InfeasibleSetting",
            "LoweringError",
            "MobiproxError",
            "PluginError",
            "TargetMissed",
            "UnsupportedOperator",
            "UsageError",
        )
    },
}

__all__ = [
    "BundleError",
    "Configuration",
    "DataError",
    "DeviceError",
    "ExperimentError",
    "InfeasibleSetting",
    "KnobSetting",
    "LoweringError",
    "MobiproxError",
    "PluginError",
    "Prediction",
    "Session",
    "Setting",
    "TargetMissed",
    "UnsupportedOperator",
    "UsageError",
    "open_model",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    value = getattr(import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
