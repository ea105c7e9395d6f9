"""Every example can be run by whoever has its data."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from mobiprox_core import document, experiment, plugins
from mobiprox_core.schema import experiment_schema, faults

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*/*.yaml"))
DATA = Path(os.environ.get("MOBIPROX_DATA", ROOT / "../shared/data")).resolve()
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs the evaluation data; set MOBIPROX_DATA to its folder")


@pytest.fixture(scope="module")
def registry() -> plugins.Registry:
    return plugins.load()


def spelt(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", EXAMPLES, ids=spelt)
def test_every_key_and_plugin_of_an_example_is_known(path: Path, registry: plugins.Registry) -> None:
    text, odd = document.read(path)
    assert not odd
    assert not list(faults(text.value, experiment_schema(registry), registry))


@pytest.mark.data
@needs_data
@pytest.mark.parametrize("path", EXAMPLES, ids=spelt)
def test_an_example_resolves_and_its_data_fit_its_network(path: Path, registry: plugins.Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBIPROX_DATA", str(DATA))
    found = experiment.load(path, registry)
    network = registry.get("frontend", found.model.name).load(found.model.options, found.folder)
    takes = tuple(network.graph.inputs[0].shape)[1:]  # type: ignore[arg-type]
    for data in filter(None, (found.tune, found.test, found.calibrate, found.trace)):
        samples = registry.get("dataset", data.dataset).load(data.split, {**data.options, "limit": 4}, found.folder)
        assert samples.inputs.shape == (4, *takes)
        assert samples.labels is not None
        assert samples.notes is not None or data is not found.trace


def test_the_digits_network_is_accurate_on_digits_it_never_saw(registry: plugins.Registry) -> None:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(ROOT / "examples/digits/digits.onnx"))
    digits = registry.get("dataset", "digits")
    for split, least in (("tune", 0.97), ("test", 0.97), ("stream", 0.9)):
        samples = digits.load(split, {}, Path())
        [logits] = session.run(None, {"image": samples.inputs})
        assert (logits.argmax(1) == samples.labels).mean() >= least


def test_the_digits_network_is_small_to_ship_and_large_enough_to_time() -> None:
    path = ROOT / "examples/digits/digits.onnx"
    assert path.stat().st_size < 1_500_000
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    assert [node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm")] == [*(f"conv{i}" for i in range(1, 7)), "fc"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in model.graph.value_info}
    multiplies = sum(np.prod(weights[n.input[1]]) * np.prod(shapes[n.output[0]][2:]) for n in model.graph.node if n.op_type == "Conv")
    assert 15e6 < multiplies < 25e6
