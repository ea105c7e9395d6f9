"""Hook implementations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mobiprox_core.hookspecs import hookimpl


class Android:
    """Writes a Gradle project: a library with bundle, runtime and Java interface, and a sample app that uses it."""

    name = "android"
    summary = "An Android library with a Java and Kotlin interface, and a sample app"
    options: Mapping[str, Any] = {"type": "object", "properties": {}}

    def export(self, bundle: Path, folder: Path) -> Sequence[str]:
        from .project import write

        return write(bundle, folder)


@hookimpl
def mobiprox_exporters() -> list[Android]:
    return [Android()]
