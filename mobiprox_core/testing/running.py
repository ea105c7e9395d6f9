"""``mobiprox plugins test``: the contract kit on a folder, or on an installed plugin. pytest runs in a process of its own."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mobiprox_core import document, plugins
from mobiprox_core.errors import ExperimentError, PluginError, UsageError

_TESTS = """from pathlib import Path

from mobiprox_core.testing.automatic import contracts

globals().update(contracts({entries!r}, {source}, {options!r}, Path({folder!r})))
"""


def run(target: str, options: str | None, arguments: Sequence[str] = ()) -> bool:
    """Whether all promises are kept; pytest prints what it does. Raises UsageError or PluginError where nothing can be tested."""
    if importlib.util.find_spec("pytest") is None:
        raise UsageError("pytest is not installed", mend="pip install 'mobiprox[testing]'")
    given = _options(options)
    with tempfile.TemporaryDirectory(prefix="mobiprox-test-") as name:
        scratch = Path(name)
        folder = Path(target)
        places = []
        if folder.is_dir():
            entries, source = _entries(folder), folder.resolve()
            _install(folder, scratch / "site")
            places = [str(scratch / "site")]
            own = [str(source / "tests")] if (source / "tests").is_dir() else []
        else:
            entries, source, own = [_installed(target)], None, []
        test = scratch / "test_contract_of_the_plugin.py"
        where = "None" if source is None else f"Path({str(source)!r})"
        test.write_text(_TESTS.format(entries=entries, source=where, options=given, folder=str(Path.cwd())), encoding="utf-8")
        (scratch / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n", encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-p", "mobiprox_core.testing.automatic", "-p", "no:cacheprovider", "-q", "-rxXfE"]
        command += ["-c", str(scratch / "pytest.ini"), "--rootdir", str(scratch), *arguments, str(test), *own]
        path = os.pathsep.join([*places, *filter(None, [os.environ.get("PYTHONPATH")])])
        env = {name: value for name, value in os.environ.items() if name != plugins.ALLOW_LIST} | {"PYTHONPATH": path}
        return subprocess.run(command, env=env, check=False).returncode == 0


def _options(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        value = document.parse(text, "--options")[0].value
    except ExperimentError as error:
        raise UsageError(f"'{text}' cannot be read: {error.what}", where="--options", mend=error.mend) from error
    if not isinstance(value, dict):
        raise UsageError(f"'{text}' is no mapping", where="--options", mend="write it like '{path: net.onnx}'")
    return value


def _installed(target: str) -> str:
    """The entry point that has this name, distribution or offer."""
    known: dict[str, str] = {}
    for plugin in plugins.survey():
        for word in (plugin.name, plugin.distribution, *(name for names in plugin.offers.values() for name in names)):
            known.setdefault(word, plugin.name)
    if target in known:
        return known[target]
    likely = plugins.did_you_mean(target, known)
    mend = f"did you mean '{likely}'?" if likely else "give the folder of a distribution, or a name of 'mobiprox plugins list'"
    raise PluginError(f"there is no folder and no plugin '{target}'", mend=mend)


def _entries(folder: Path) -> list[str]:
    """The entry points that the project of a folder declares."""
    file = folder / "pyproject.toml"
    try:
        project = tomllib.loads(file.read_text(encoding="utf-8"))
        entries = project.get("project", {}).get("entry-points", {}).get(plugins.GROUP, {})
    except OSError as error:
        raise UsageError(
            f"{folder} has no pyproject.toml", mend="give the folder of a distribution; 'mobiprox plugins new' makes one"
        ) from error
    except (tomllib.TOMLDecodeError, AttributeError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from error
    if not entries:
        raise UsageError(
            f"{file} declares no plugin", mend='add [project.entry-points.mobiprox], with a line such as approx_name = "package.plugin"'
        )
    return sorted(entries)


def _install(folder: Path, site: Path) -> None:
    """Install a distribution aside, as pip would for a user, from a wheel; build tools that are at hand are used as they are."""
    requires = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("build-system", {}).get("requires", [])
    at_hand = all(_is_installed(re.split(r"[^\w.-]", need)[0]) for need in requires)
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-deps", "--target", str(site)]
    done = subprocess.run(
        [*command, *(["--no-build-isolation"] if at_hand else []), str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise PluginError(f"{folder} cannot be built:\n{done.stderr.strip()}", mend=f"try: pip wheel --no-deps {folder}")


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
