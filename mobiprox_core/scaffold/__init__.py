"""A new plugin, complete: package, meaning, contract tests, README, continuous integration. Its tests pass before a line is changed.

One folder of templates for every kind, and `common` for what all have. ``plugin.py.in`` and the like become files of the package,
``test_*.py.in`` its tests; in all of them @NAME@ and the words of `_words` are replaced.
"""

from __future__ import annotations

import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from .. import __version__
from ..errors import UsageError
from ..hookspecs import INTERFACES
from ..plugins import KINDS, Kind, did_you_mean

_PLACES = {"pyproject.toml": "", "README.md": "", "gitignore": "", "experiment.yaml": "", "test.yml": ".github/workflows/"}
"""Where what is neither of the package nor a test goes."""


def kinds() -> tuple[str, ...]:
    """The kinds that there are templates for."""
    return tuple(kind for kind in KINDS if (files(__package__) / kind).is_dir())


def create(kind: str, name: str, parent: Path) -> Path:
    """Write the distribution of a new plugin to a folder of its own below `parent`; the folder. Raises UsageError."""
    if kind not in KINDS:
        likely = did_you_mean(kind, KINDS)
        raise UsageError(f"there is no kind '{kind}'", mend=f"did you mean '{likely}'?" if likely else f"kinds: {', '.join(KINDS)}")
    if kind not in kinds():
        raise UsageError(f"there is no template for {KINDS[kind].plural}", mend=f"docs/hooks.md has an example of {KINDS[kind].hook}")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise UsageError(f"'{name}' cannot be the name of a plugin", mend="use small letters, digits and single underscores: low_rank")
    words = _words(KINDS[kind], name)
    folder = parent / words["DISTRIBUTION"]
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists already", mend="choose another name, or remove it")
    here = files(__package__)
    for source in (here / "common", here / kind):
        for template in _files(source):
            target = folder / _place(template, words)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_filled((source / template).read_text(encoding="utf-8"), words), encoding="utf-8")
    (folder / words["PACKAGE"] / "py.typed").touch()
    return folder


def _words(kind: Kind, name: str) -> dict[str, str]:
    distribution = kind.distribution(name)
    needs = files(__package__) / kind.name / "needs.txt"
    more = needs.read_text(encoding="utf-8").split() if needs.is_file() else []
    interface = f"mobiprox[interface{INTERFACES[-1]}]>={'.'.join(__version__.split('.')[:2])}"
    return {
        "NAME": name,
        "TITLE": name.replace("_", " "),
        "CLASS": "".join(part.capitalize() for part in name.split("_")),
        "KIND": kind.name,
        "HOOK": kind.hook,
        "DISTRIBUTION": distribution,
        "PACKAGE": distribution.replace("-", "_"),
        "ENTRY": f"{kind.prefix}_{name}",
        "DEPENDENCIES": ", ".join(f'"{need}"' for need in (interface, *more)),
    }


def _files(folder: Traversable, below: str = "") -> list[str]:
    found = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found += _files(entry, f"{below}{entry.name}/")
        elif entry.name.endswith(".in"):
            found.append(below + entry.name)
    return found


def _place(template: str, words: dict[str, str]) -> str:
    """Where a template's file goes."""
    name = template.removesuffix(".in")
    if name in _PLACES:
        return _PLACES[name] + name.replace("gitignore", ".gitignore")
    return f"tests/{name}" if name.startswith("test_") else f"{words['PACKAGE']}/{name}"


def _filled(text: str, words: dict[str, str]) -> str:
    return re.sub(r"@([A-Z]+)@", lambda match: words[match[1]], text)
