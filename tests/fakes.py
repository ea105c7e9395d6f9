"""Distributions made of a few files, so that tests need no pip: a folder on sys.path with modules and .dist-info."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

HEADER = """
from mobiprox_core.hookspecs import hookimpl

class Offered:
    summary = "made by a test"
    options = {"type": "object", "properties": {}}
    knobs = {}
    splits = ()
    def __init__(self, name, **more):
        self.name = name
        self.__dict__.update(more)
"""


def distribution(
    site: Path,
    entry: str,
    code: str,
    *,
    version: str = "1.2.3",
    dist: str | None = None,
    header: str = HEADER,
    needs: Iterable[str] = (),
) -> str:
    """A distribution with one plugin of this code, and these requirements; its name."""
    dist = dist or f"stranger-{entry.replace('_', '-')}"
    module = f"{dist.replace('-', '_')}_module"
    (site / f"{module}.py").write_text(header + textwrap.dedent(code))
    dist_info(site, dist, {entry: module}, version, needs)
    return dist


def dist_info(site: Path, dist: str, entries: Mapping[str, str], version: str = "1.2.3", needs: Iterable[str] = ()) -> None:
    """What an installation leaves of a distribution with these entry points of plugins."""
    info = site / f"{dist.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    required = "".join(f"Requires-Dist: {need}\n" for need in needs)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n{required}")
    lines = [f"{entry} = {module}\n" for entry, module in entries.items()]
    (info / "entry_points.txt").write_text("[mobiprox]\n" + "".join(lines))


def offering(hook: str, *names: str) -> str:
    """Code of a plugin that offers these names through one hook."""
    made = ", ".join(f"Offered({name!r})" for name in names)
    return f"@hookimpl\ndef {hook}():\n    return [{made}]\n"
