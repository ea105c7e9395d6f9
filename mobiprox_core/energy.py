"""Energy of inferences: the meter that fits the device that works, and what is to be known of its figures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import DeviceError
from .interfaces import Device, Meter, Options, Runner

MOST_WAITING = 1.5
"""A device that is far may wait before it works. So many times longer than asked for, and the window says little of the work."""


@dataclass(frozen=True, slots=True)
class Energy:
    """mj: of one inference per configuration; None where the meter could not tell.

    about: what the meter says of its readings (quality, rate_hz, charging, problem, ...), and idle_mw, the power of the idle device.
    """

    mj: tuple[float | None, ...]
    about: Mapping[str, Any]


def meter_at(meter: Meter, options: Options, device: Device) -> Meter:
    """The meter for this device. Raises DeviceError where it cannot measure it, and says why."""
    placed = getattr(meter, "on", None)
    if placed is not None:
        meter = placed(options, device)
    elif getattr(device, "shell", None) is not None:
        raise DeviceError(
            f"'{meter.name}' measures this machine, but the network runs on '{device.info.name}'", mend="choose another meter"
        )
    if (problem := meter.problem()) is not None:
        raise DeviceError(f"'{meter.name}' cannot measure here: {problem}", mend="mend that, or leave 'energy' out")
    return meter


def measure(runner: Runner, levels: Sequence[int], once: Callable[[], object], meter: Meter, seconds: float, is_far: bool) -> Energy:
    """The energy of one batch at each of the runner's levels, over about `seconds` each, or as long as the meter needs.

    once: runs one batch. is_far: the runner's own loop works, so that the link does not count.
    """
    seconds = max(seconds, getattr(meter, "least_s", 0.0))
    readings = []
    with meter.measure() as idle:
        time.sleep(seconds)
    energies: list[float | None] = []
    for level in levels:
        runner.set_level(level)
        with meter.measure() as reading:
            count, waited = _far(runner, level, seconds) if is_far else _near(once, seconds)
        about = {"quality": getattr(meter, "quality", None), "rate_hz": getattr(meter, "rate_hz", None), **getattr(reading, "about", {})}
        if waited:
            about["problem"] = "the device waited while it was measured, perhaps to cool down"
        energies.append(None if waited or not math.isfinite(reading.energy_mj) else reading.energy_mj / count)
        readings.append(about)
    idle_mw = idle.energy_mj / seconds if math.isfinite(idle.energy_mj) else None
    return Energy(tuple(energies), {"meter": meter.name, "seconds": seconds, "idle_mw": idle_mw, **_together(readings)})


def _near(once: Callable[[], object], seconds: float) -> tuple[float, bool]:
    count, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        once()
        count += 1
    return count, False


def _far(runner: Runner, level: int, seconds: float) -> tuple[float, bool]:
    """How many batches fill the time that it took, and whether the device waited meanwhile."""
    began = time.perf_counter()
    mean_ms = float(runner.time(None, [runner.plan.levels[level]], seconds)[0].mean())
    took_s = time.perf_counter() - began
    return 1000 * took_s / mean_ms, took_s > MOST_WAITING * seconds + 1


def _together(readings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all readings say; where they differ, the least number or all texts."""
    result: dict[str, Any] = {}
    for key in dict.fromkeys(key for about in readings for key in about):
        values = [about[key] for about in readings if about.get(key) is not None]
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        texts = list(dict.fromkeys(str(v) for v in values))
        result[key] = min(numbers) if numbers else "; ".join(texts) if texts else None
    return result
