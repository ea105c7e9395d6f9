"""What an experiment gets from the torch frontend, and what its user reads when something is wrong."""

import sys
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mobiprox_frontend_torch.frontend import Torch
from safetensors.torch import save_file

from mobiprox_core import reference
from mobiprox_core.errors import ExperimentError
from mobiprox_core.network import Network

SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, maps=4):
        super().__init__()
        self.first = nn.Conv2d(2, maps, 3, padding=1)
        self.norm = nn.BatchNorm2d(maps)
        self.second = nn.Conv2d(maps, maps, 3, padding=1, groups=2)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(maps * 16, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = nn.functional.hardswish(x + self.second(x))
        x = nn.functional.max_pool2d(x, 2)
        return self.last(self.drop(x.view(x.size(0), -1)))

def make(maps=4):
    return Net(maps)

def broken():
    raise ValueError("no such size")

def number():
    return 3
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment's folder: code, weights in three forms, an exported program."""
    folder = tmp_path_factory.mktemp("experiment")
    (folder / "networks.py").write_text(SOURCE)
    torch.manual_seed(0)
    net = module(folder)
    torch.save(net.state_dict(), folder / "net.pt")
    save_file(net.state_dict(), folder / "net.safetensors")
    checkpoint = {"state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}, "epoch": 3}
    torch.save(checkpoint, folder / "checkpoint.pth")
    torch.save(net, folder / "pickled.pt")
    program = torch.export.export(net, (torch.zeros(2, 2, 8, 8),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, folder / "net.pt2")
    return folder


def module(folder: Path) -> torch.nn.Module:
    scope: dict[str, Any] = {"__name__": "networks_of_the_test"}
    exec(compile(SOURCE, "networks_of_the_test", "exec"), scope)
    holder = type(sys)("networks_of_the_test")
    vars(holder).update(scope)
    sys.modules["networks_of_the_test"] = holder
    net: torch.nn.Module = scope["make"]()
    torch.nn.init.uniform_(net.norm.running_mean)
    torch.nn.init.uniform_(net.norm.running_var, 0.5, 2)
    return net.eval()


def options(**changed: Any) -> dict[str, Any]:
    return {"factory": "networks:make", "weights": "net.pt", "input_shape": [2, 8, 8], **changed}


def fault(folder: Path, **given: Any) -> str:
    with pytest.raises(ExperimentError) as caught:
        Torch().load(given, folder)
    return str(caught.value)


@pytest.mark.parametrize(
    "given", [{"path": "net.pt2"}, options(), options(weights="net.safetensors"), options(weights="checkpoint.pth")], ids=str
)
def test_the_network_computes_what_the_module_does(folder: Path, given: dict[str, Any]) -> None:
    network = Network.from_model(Torch().load(given, folder), "net")
    net = module(folder)
    net.load_state_dict(torch.load(folder / "net.pt", weights_only=True))
    for batch in (1, 5):
        x = np.random.default_rng(batch).standard_normal((batch, 2, 8, 8), np.float32)
        (y,) = reference.run(network.at_batch(batch), [x])
        np.testing.assert_allclose(y, net(torch.from_numpy(x)).detach(), rtol=1e-4, atol=1e-5)


def test_layers_are_called_as_their_modules(folder: Path) -> None:
    graph = Network.from_model(Torch().load(options(), folder), "net").at_batch(1)
    assert [op.name for op in graph.operators if op.kind in ("conv", "dense")] == ["first", "second", "last"]
    assert graph["second"].residual == graph["first"].output


def test_arguments_reach_the_factory(folder: Path) -> None:
    message = fault(folder, **options(arguments={"maps": 6}))
    assert "first.weight is [4, 2, 3, 3] there, [6, 2, 3, 3] in the network" in message


def test_importing_leaves_no_trace(folder: Path) -> None:
    path = list(sys.path)
    Torch().load(options(), folder)
    assert sys.path == path
    assert "networks" not in sys.modules


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that Python looks into, with other modules of the names that the tests use; they are loaded already."""
    other = tmp_path / "elsewhere"
    for name in ("networks.py", "layers.py", "nets/__init__.py", "nets/small.py"):
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).write_text("def make(): raise RuntimeError('the wrong one')")
    monkeypatch.syspath_prepend(str(other))
    for name in ("networks", "layers", "nets", "nets.small"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        import_module(name)
        monkeypatch.setitem(sys.modules, name, sys.modules[name])
    return other


@pytest.mark.parametrize("name", ["networks", "nets.small"])
def test_the_code_beside_the_experiment_goes_before_what_is_loaded_under_its_name(
    folder: Path, elsewhere: Path, tmp_path: Path, name: str
) -> None:
    loaded = {other: sys.modules[other] for other in ("networks", "layers", "nets", "nets.small")}
    here = tmp_path / "here"
    (here / "nets").mkdir(parents=True)
    (here / "layers.py").write_text(SOURCE)
    (here / "networks.py").write_text("from layers import make")
    (here / "nets" / "__init__.py").touch()
    (here / "nets" / "parts.py").write_text(SOURCE)
    (here / "nets" / "small.py").write_text("def make():\n    from .parts import make\n    return make()")
    given = options(factory=f"{name}:make", weights=str(folder / "net.pt"))
    assert Network.from_model(Torch().load(given, here), "net").at_batch(1)["first"].kind == "conv"
    assert {other: sys.modules.get(other) for other in loaded} == loaded
    assert "nets.parts" not in sys.modules


def test_a_folder_that_is_no_package_does_not_lend_its_name_to_one_from_elsewhere(elsewhere: Path, tmp_path: Path) -> None:
    (tmp_path / "here" / "nets").mkdir(parents=True)
    (tmp_path / "here" / "nets" / "small.py").write_text(SOURCE)
    message = fault(tmp_path / "here", **options(factory="nets.small:make"))
    assert str(elsewhere / "nets" / "small.py") in message
    assert "__init__.py" in message
    (tmp_path / "here" / "time.py").write_text(SOURCE)
    assert "is part of Python" in fault(tmp_path / "here", **options(factory="time:make"))


def test_a_pickled_module_is_refused(folder: Path) -> None:
    assert "could run code" in fault(folder, **options(weights="pickled.pt"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"factory": "nowhere:make"}, "put nowhere.py beside the experiment file"),
        ({"factory": "networks:mak"}, "it has Net, make"),
        ({"factory": "networks:broken"}, "no such size"),
        ({"factory": "networks:number"}, "returns int"),
        ({"arguments": {"size": 1}}, "unexpected keyword argument 'size'"),
        ({"weights": "none.pt"}, "no file"),
        ({"weights": "networks.py"}, "damaged"),
        ({"input_shape": [3, 8, 8]}, "does not take an input of shape [3, 8, 8]"),
        ({"path": "net.pt2"}, "either"),
    ],
)
def test_every_mistake_has_its_message(folder: Path, changed: dict[str, Any], message: str) -> None:
    assert message in fault(folder, **options(**changed))


def test_weights_of_another_network_are_told_apart(folder: Path) -> None:
    save_file({"first.weight": torch.zeros(4, 2, 3, 3), "head.weight": torch.zeros(3)}, folder / "other.safetensors")
    message = fault(folder, **options(weights="other.safetensors"))
    assert "lacks first.bias" in message
    assert "head.weight, unknown to the network" in message


def test_missing_and_damaged_programs_are_told(folder: Path, tmp_path: Path) -> None:
    assert "no file" in fault(tmp_path, path="net.pt2")
    whole = (folder / "net.pt2").read_bytes()
    for content in (b"", b"nothing like it", whole[: len(whole) // 2]):
        (tmp_path / "net.pt2").write_bytes(content)
        assert "damaged" in fault(tmp_path, path="net.pt2")


def changed_archive(folder: Path, target: Path, name: str, content: Any) -> None:
    """A copy of the program in which one file is replaced or added; content: bytes, or a function of the old bytes."""
    with zipfile.ZipFile(folder / "net.pt2") as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.namelist():
            if not entry.endswith(name):
                new.writestr(entry, old.read(entry))
        full = next((entry for entry in old.namelist() if entry.endswith(name)), f"net/{name}")
        new.writestr(full, content(old.read(full)) if callable(content) else content)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data/aotinductor/model/a.so", b"\x7fELF", "compiled code"),
        ("data/constants/opaque_obj_0", b"\x80\x04.", "pickled objects"),
        ("data/weights/model.pt", b"\x80\x04.", "pickled objects"),
        ("model_weights_config.json", lambda old: old.replace(b'"use_pickle": false', b'"use_pickle": true'), "pickled objects"),
        ("models/model.json", lambda old: old.replace(b"torch.ops.aten.relu.default", b"torch.hub.load"), "torch.hub.load"),
        ("models/model.json", lambda old: old.replace(b"Symbol('", b"open('"), "no plain arithmetic"),
        ("models/model.json", lambda old: old.replace(b"positive=True", b"a=().__class__"), "no plain arithmetic"),
    ],
)
def test_a_program_that_would_run_code_is_refused(folder: Path, tmp_path: Path, name: str, content: Any, message: str) -> None:
    changed_archive(folder, tmp_path / "net.pt2", name, content)
    assert message in fault(tmp_path, path="net.pt2")


def test_sample_inputs_that_run_code_never_run(folder: Path, tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "harm",)

    torch.save(((Attack(),), {}), tmp_path / "sample.pt")
    changed_archive(folder, tmp_path / "net.pt2", "data/sample_inputs/model.pt", (tmp_path / "sample.pt").read_bytes())
    assert "pickled objects" in fault(tmp_path, path="net.pt2")
    assert not (tmp_path / "harm").exists()
