"""A module from a function of the user, and its weights from a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mobiprox_core.errors import ExperimentError

if TYPE_CHECKING:
    import torch


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Inside, modules of a folder go before all others, those of the same name that are loaded already included.

    At the end, what was imported from there is forgotten, for the next experiment may have another module of the same name, and
    what was loaded before is back.
    """
    folder = folder.resolve()
    before = dict(sys.modules)
    roots = {root for root in {name.partition(".")[0] for name in before} if _has_module(folder, root)}
    aside = {name: module for name, module in before.items() if name.partition(".")[0] in roots and not _lies_in(folder, module)}
    for name in aside:
        del sys.modules[name]
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            if before.get(name) is not module and _lies_in(folder, module):
                del sys.modules[name]
        sys.modules.update(aside)


def _has_module(folder: Path, name: str) -> bool:
    """Whether a module or package of this name is there; what Python itself has is never taken from there."""
    if name in sys.stdlib_module_names or name.startswith("__"):
        return False
    return (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()


def _lies_in(folder: Path, module: ModuleType) -> bool:
    places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
    return any(Path(place).resolve().is_relative_to(folder) for place in places if place)


def make(factory: str, arguments: Mapping[str, Any], folder: Path) -> torch.nn.Module:
    """Call ``package.module:function``, inside `importable`. Raises ExperimentError."""
    import torch

    name, _, attribute = factory.partition(":")
    try:
        source = import_module(name)
    except Exception as fault:
        raise ExperimentError(
            f"the module '{name}' of the factory cannot be imported: {type(fault).__name__}: {fault}",
            mend=f"put {name.partition('.')[0]}.py beside the experiment file ({folder}), or install its package",
        ) from fault
    beside = folder / f"{name.replace('.', '/')}.py"
    if beside.is_file() and not _lies_in(folder.resolve(), source):
        raise ExperimentError(
            f"the module '{name}' of the factory is {getattr(source, '__file__', 'part of Python')}, not {beside}",
            mend="let every folder on the way to it have an __init__.py, and no name be one of Python's own modules",
        )
    function = getattr(source, attribute, None)
    if not callable(function):
        public = ", ".join(n for n, v in vars(source).items() if callable(v) and getattr(v, "__module__", None) == source.__name__)
        raise ExperimentError(f"{name} has no function '{attribute}'", mend=f"it has {public or 'none'}")
    try:
        module = function(**arguments)
    except Exception as fault:
        raise ExperimentError(
            f"the factory {factory} fails: {type(fault).__name__}: {fault}", mend="look at the function and at the option `arguments`"
        ) from fault
    if not isinstance(module, torch.nn.Module):
        raise ExperimentError(f"the factory {factory} returns {type(module).__name__}", mend="let it return a torch.nn.Module")
    return module


def fill(module: torch.nn.Module, path: Path) -> None:
    """Load a module's weights. Raises ExperimentError where file and module do not belong together."""
    weights = _read(path)
    wanted = module.state_dict()
    missing, extra = sorted(wanted.keys() - weights.keys()), sorted(weights.keys() - wanted.keys())
    if missing or extra:
        lacks = f"lacks {_some(missing)}" if missing else ""
        has = f"has {_some(extra)}, unknown to the network" if extra else ""
        raise ExperimentError(
            f"{path} does not fit the network: it {' and '.join(filter(None, (lacks, has)))}",
            mend="check the option `arguments` of the factory, and which network the weights are of",
        )
    for name, tensor in wanted.items():
        if weights[name].shape != tensor.shape:
            raise ExperimentError(
                f"{path} does not fit the network: {name} is {list(weights[name].shape)} there, {list(tensor.shape)} in the network",
                mend="check the option `arguments` of the factory, and which network the weights are of",
            )
    module.load_state_dict(weights)


def _read(path: Path) -> dict[str, torch.Tensor]:
    import pickle

    import torch

    if not path.is_file():
        raise ExperimentError(f"no file {path}", mend="`weights` names a .safetensors, .pt or .pth file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as fault:
        raise ExperimentError(
            f"{path} is damaged, or holds more than tensors, which could run code",
            mend="save the weights alone: torch.save(model.state_dict(), path), or safetensors.torch.save_file(model.state_dict(), path)",
        ) from fault
    except Exception as fault:  # zip, end of file, SafetensorError: whatever a damaged file gives
        raise ExperimentError(f"{path} is damaged, or no file of weights: {fault}", mend="save the weights again") from fault
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]  # a training checkpoint
    if not isinstance(content, Mapping) or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise ExperimentError(f"{path} holds no state dict", mend="save it with torch.save(model.state_dict(), path)")
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}  # "module.": saved by DataParallel


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
