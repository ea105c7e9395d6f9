"""What a battery and its chargers say, as one script prints it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FIELDS = "type status online present current_now voltage_now"

PROBE = f"""for d in /sys/class/power_supply/*; do
  [ -d "$d" ] || continue
  echo "node $(basename "$d")"
  for f in {_FIELDS}; do
    [ -e "$d/$f" ] || continue
    v=$(cat "$d/$f" 2>/dev/null) && echo "$f=$v" || echo "$f refused"
  done
done
echo dumpsys
dumpsys battery 2>/dev/null"""
"""Prints every node of the power supplies, then what Android's battery service says. For `parse`."""

_CHARGERS = {"AC powered": "AC", "USB powered": "USB", "Wireless powered": "wireless", "Dock powered": "dock"}


@dataclass(frozen=True, slots=True)
class State:
    """current: as `current_now` says, in the gauge's unit and sign. voltage: micro- or millivolts. counter_uah: Android's charge counter.

    charger: what it is charged by; None on battery. refused: files that the system does not let us read.
    """

    has_battery: bool = False
    current: int | None = None
    voltage: int | None = None
    counter_uah: int | None = None
    charger: str | None = None
    refused: tuple[str, ...] = ()


def parse(text: str) -> State:
    """From the output of PROBE."""
    sysfs, _, dumpsys = text.partition("\ndumpsys\n") if "\ndumpsys\n" in text else ("", "", text.removeprefix("dumpsys\n"))
    nodes: dict[str, dict[str, str]] = {}
    refused = []
    for line in sysfs.splitlines():
        if match := re.fullmatch(r"node (\S+)", line):
            node = nodes.setdefault(match[1], {})
        elif nodes and (match := re.fullmatch(r"(\w+)=(.*)", line)):
            node[match[1]] = match[2].strip()
        elif nodes and (match := re.fullmatch(r"(\w+) refused", line)):
            refused.append(f"{next(reversed(nodes))}/{match[1]}")
    batteries = [n for n in nodes.values() if n.get("type") == "Battery" and n.get("present") != "0"]
    # some nodes are gauges of the same battery without readings, others batteries of accessories
    gauge = next((n for n in batteries if _whole(n.get("current_now")) is not None), batteries[0] if batteries else {})
    said = dict(re.findall(r"^\s+([\w ]+): (\S+)\s*$", dumpsys, re.MULTILINE))
    plugged = [word for key, word in _CHARGERS.items() if said.get(key) == "true"]
    plugged += [n["type"] for n in nodes.values() if n.get("type", "Battery") not in ("Battery", "BMS") and n.get("online") == "1"]
    if not plugged and (gauge.get("status") == "Charging" or said.get("status") == "2"):
        plugged = ["unknown charger"]
    counter = _whole(said.get("Charge counter"))
    voltage = _whole(gauge.get("voltage_now"))
    return State(
        has_battery=bool(batteries) or said.get("present", "true" if "level" in said else "") == "true",
        current=_whole(gauge.get("current_now")),
        voltage=voltage if voltage is not None else _whole(said.get("voltage")),
        counter_uah=counter or None,  # 0 where the phone does not count
        charger=plugged[0] if plugged else None,
        refused=tuple(refused),
    )


def _whole(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"-?\d+", text) else None
