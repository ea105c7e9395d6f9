"""Configurations that a phone's driver did not survive: written down, so that no later run tries them again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from mobiprox_core.configuration import EXACT
from mobiprox_core.errors import DeviceError
from mobiprox_core.plan import DeviceInfo, ExecutionPlan


@dataclass(frozen=True, slots=True)
class Entry:
    """settings: operator -> its setting; a configuration that has them all is not run. reason: what happened, for people."""

    batch: int
    settings: Mapping[str, str]
    reason: str

    def __str__(self) -> str:
        spelt = "; ".join(f"{op}: {setting}" for op, setting in self.settings.items()) or "the exact network"
        return f"{spelt} (batch {self.batch}): {self.reason}"


class Quarantine:
    """The entries of one network on one kind of phone, in a file of their own. Another driver starts with none."""

    def __init__(self, folder: Path, info: DeviceInfo, plan: ExecutionPlan) -> None:
        about = [info.name, info.driver, info.runtime, info.isa, plan.name, [(o.name, o.kind) for o in plan.operators]]
        self.path = folder / f"quarantine-{sha256(json.dumps(about).encode()).hexdigest()[:24]}.json"
        self.plan = plan
        self.entries = self._read()

    def _read(self) -> list[Entry]:
        try:
            known = json.loads(self.path.read_text(encoding="utf-8"))["entries"]
            return [Entry(int(e["batch"]), dict(e["settings"]), str(e["reason"])) for e in known]
        except (OSError, ValueError, KeyError, TypeError):
            return []  # nothing is known, or nothing that can be read

    def settings(self, variants: Sequence[int], operators: Sequence[int] | None = None) -> dict[str, str]:
        """What differs from the exact network, of these operators (indices; None: all)."""
        chosen = range(len(self.plan.operators)) if operators is None else operators
        pairs = ((self.plan.operators[o], variants[o]) for o in chosen)
        return {o.name: str(o.variants[v].setting) for o, v in pairs if o.variants[v].setting != EXACT}

    def holds(self, settings: Mapping[str, str]) -> Entry | None:
        """The entry that speaks against a configuration, or None."""
        return next((e for e in self.entries if e.batch == self.plan.batch and e.settings.items() <= settings.items()), None)

    def add(self, settings: Mapping[str, str], reason: str) -> Entry:
        """Write one down. Raises DeviceError for the exact network: without it nothing can be measured."""
        if not settings:
            raise DeviceError(
                f"the exact network '{self.plan.name}' does not run: {reason}",
                mend="nothing can be measured on this phone; another 'device' or 'library' may help",
            )
        entry = Entry(self.plan.batch, dict(settings), reason)
        self.entries = [*self._read(), entry]  # another phone of this kind may have written meanwhile
        value: dict[str, Any] = {
            "schema": 1,
            "entries": [{"batch": e.batch, "settings": dict(e.settings), "reason": e.reason} for e in self.entries],
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replacement = self.path.with_suffix(f".{os.getpid()}")
        replacement.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
        replacement.replace(self.path)
        return entry
