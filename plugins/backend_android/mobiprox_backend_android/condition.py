"""How a phone is: temperature, throttling, battery. From what Android's services print; whatever they do not tell is unknown."""

from __future__ import annotations

import re
from dataclasses import dataclass

THROTTLING = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
"""Android's words for how far a phone slows itself down, by their number in `dumpsys thermalservice`."""

SKIN, BATTERY = 3, 2
"""Types of temperatures there (android.os.Temperature); skin is what throttling goes by."""

COMMAND = "dumpsys thermalservice 2>/dev/null; echo; echo MOBIPROX-BATTERY; dumpsys battery 2>/dev/null"


@dataclass(frozen=True, slots=True)
class Condition:
    """Of one moment. temperature_c: of the skin, else of the battery. throttling: index into THROTTLING. charging: any charger.

    battery: 0..1. None: the phone does not tell.
    """

    temperature_c: float | None = None
    throttling: int | None = None
    charging: bool | None = None
    battery: float | None = None

    def is_cool(self, max_temperature_c: float) -> bool:
        """Neither throttling nor hotter than allowed, as far as it is known."""
        return not self.throttling and (self.temperature_c is None or self.temperature_c <= max_temperature_c)

    def __str__(self) -> str:
        known = [
            f"{self.temperature_c:.1f} °C" if self.temperature_c is not None else "",
            f"throttling {THROTTLING[self.throttling]}" if self.throttling else "",
            {True: "charging", False: "on battery", None: ""}[self.charging],
            f"battery {self.battery:.0%}" if self.battery is not None else "",
        ]
        return ", ".join(filter(None, known)) or "nothing is known of its temperature"


def parse(text: str) -> Condition:
    """From the output of COMMAND."""
    thermal, _, battery = text.partition("MOBIPROX-BATTERY")
    status = re.search(r"^Thermal Status:\s*(\d+)", thermal, re.MULTILINE)
    # what is now, where the service tells it apart from what it heard earlier
    _, _, current = thermal.partition("Current temperatures from HAL:")
    temperatures: dict[int, float] = {}
    for value, kind in re.findall(r"Temperature\{mValue=(-?[\d.]+), mType=(-?\d+)", current.partition("Current cooling")[0] or thermal):
        temperatures[int(kind)] = max(float(value), temperatures.get(int(kind), float("-inf")))
    fields = dict(re.findall(r"^\s+([\w ]+): (\S+)\s*$", battery, re.MULTILINE))
    temperature = temperatures.get(SKIN, temperatures.get(BATTERY))
    if temperature is None and fields.get("temperature", "").lstrip("-").isdecimal():
        temperature = int(fields["temperature"]) / 10
    chargers = [fields[name] == "true" for name in ("AC powered", "USB powered", "Wireless powered", "Dock powered") if name in fields]
    level, scale = fields.get("level", ""), fields.get("scale", "100")
    return Condition(
        temperature_c=temperature,
        throttling=min(int(status[1]), len(THROTTLING) - 1) if status else None,
        charging=any(chargers) if chargers else None,
        battery=int(level) / int(scale) if level.isdecimal() and scale.isdecimal() and int(scale) else None,
    )
