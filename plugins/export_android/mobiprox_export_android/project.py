"""The Gradle project: files of `template/`, the runtime's sources, and the bundle among the assets."""

from __future__ import annotations

import shutil
from pathlib import Path

from mobiprox_backend_native.build import SOURCES

from mobiprox_core import bundle as bundles
from mobiprox_core import plugins
from mobiprox_core.bundle import FILES, Bundle
from mobiprox_core.errors import UsageError

TEMPLATE = Path(__file__).parent / "template"
LIBRARY = "mobiprox"
"""The one folder that is ours: it is written anew each time. Everything else is written once, and then the user's."""
MARK = Path(LIBRARY) / "src" / "main" / "cpp" / "mobiprox_jni.c"
RUNTIME = Path(LIBRARY) / "src" / "main" / "cpp" / "runtime"
ASSET = Path(LIBRARY) / "src" / "main" / "assets" / "bundle"
STRATEGIES = Path(LIBRARY) / "src" / "main" / "cpp" / "strategies.cmake"
NOT_RUNTIME = ("fuzz", "tools")


def write(bundle: Path, folder: Path) -> list[str]:
    """Write the project into a folder, new or of an earlier export; remarks for the user.

    Raises BundleError for a damaged bundle, UsageError for a strategy that phones have not, or a folder that holds something else.
    """
    content = bundles.read(bundle)
    strategies = _strategies(content, bundle)
    if folder.exists() and not folder.is_dir():
        raise UsageError("is a file, not a folder", where=str(folder))
    if (folder / LIBRARY).exists() and not (folder / MARK).exists():
        raise UsageError("is there and was not written by an export", where=str(folder / LIBRARY), mend="choose another folder")
    shutil.rmtree(folder / LIBRARY, ignore_errors=True)
    for path in sorted(TEMPLATE.rglob("*")):
        target = folder / path.relative_to(TEMPLATE)
        if path.is_file() and not target.exists():
            _copy(path, target)
    for path in sorted(SOURCES.rglob("*")):
        inside = path.relative_to(SOURCES)
        if path.is_file() and inside.parts[0] not in NOT_RUNTIME:
            _copy(path, folder / RUNTIME / inside)
    for name, source in strategies.items():
        _copy(source, folder / RUNTIME / "strategies" / f"{name}.c")
    listed = ";".join(f"{name}=strategies/{name}.c" for name in strategies)
    (folder / STRATEGIES).write_text(
        f'set(MOBIPROX_STRATEGIES "{listed}" CACHE STRING "Besides those of the runtime" FORCE)\n', encoding="utf-8"
    )
    for name in FILES:
        _copy(bundle / name, folder / ASSET / name)
    return _remarks(content)


def _strategies(content: Bundle, bundle: Path) -> dict[str, Path]:
    """Name -> C file of the bundle's strategy and of those that it is composed of, as far as they come from plugins; the runtime has the others."""
    registry, known = plugins.load(), sorted(path.stem for path in (SOURCES / "strategies").glob("*.c"))
    found, waiting = {}, [] if content.strategy is None else [content.strategy]
    while waiting:
        choice = waiting.pop()
        offer = registry.get("strategy", choice.name)
        waiting += getattr(offer, "composed_of", lambda options: ())(choice.options)
        if choice.name in known:
            continue
        if (source := getattr(offer, "c_source", None)) is None:
            raise UsageError(
                f"the bundle's strategy '{choice.name}' has no C twin, so phones cannot run it",
                where=str(bundle),
                mend=f"those that have one: {', '.join(known)}; or leave 'strategy' out of the experiment, and set levels by hand",
            )
        found[choice.name] = Path(source)
    return found


def _remarks(content: Bundle) -> list[str]:
    """What keeps the bundle from running on most phones."""
    device = content.plan.device
    if device.kind != "cpu":
        return []
    made = f"the bundle was made for the CPU '{device.name}'"
    if device.isa != "generic":
        return [f"{made} and its {device.isa} instructions: no phone runs it; make it with 'backend: android'"]
    return [f"{made}: phones whose OpenCL has a GPU only do not run it; make it with 'backend: android'"]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
