"""Sessions on a bundle, and networks under any configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from small import small_network

import mobiprox_core as mobiprox
from mobiprox_core import bundle as bundles
from mobiprox_core import plugins
from mobiprox_core.configuration import EXACT_CONFIGURATION, Configuration, Setting
from mobiprox_core.errors import BundleError, DataError, DeviceError, UsageError
from mobiprox_core.experiment import Choice
from mobiprox_core.interfaces import ClassConfidence, LevelCalibration, Observation, Rerun
from mobiprox_core.lowering import lower
from mobiprox_core.measurement import OperatingPoint
from mobiprox_core.network import Network
from mobiprox_core.session import Session, open_model

pytestmark = pytest.mark.opencl

LEVELS = (
    EXACT_CONFIGURATION,
    Configuration({"conv2": Setting.of("perforation", axis="rows", offset=1, stride=2)}),
    Configuration(
        {"conv1": Setting.of("filter_sampling", offset=0, stride=2), "conv2": Setting.of("perforation", axis="rows", offset=1, stride=2)}
    ),
)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    onnx.save(small_network(np.random.default_rng(7)), path)
    return path


@pytest.fixture(scope="module")
def bundle(model_file: Path) -> Path:
    """Three levels, temperature 2 at all, the state-driven strategy."""
    registry = plugins.load()
    network = Network.from_model(registry.get("frontend", "onnx").load({"path": str(model_file)}, model_file.parent), "small")
    device = registry.get("backend", "opencl").open({"threads": 1})
    techniques = {name: registry.get("technique", name) for name in ("perforation", "filter_sampling")}
    plan = lower(network.at_batch(1), device.info, techniques, {}, LEVELS)
    device.close()
    nothing = ClassConfidence(5, 5, 0.9, 0.5)
    content = bundles.Bundle(
        plan=plan,
        backend=Choice("opencl", {"threads": 1}),
        points=tuple(OperatingPoint(configuration, float(i), 3.0 - i) for i, configuration in enumerate(LEVELS)),
        calibration=tuple(LevelCalibration(1 - i / 4, 0.9, 2.0, nothing, (nothing,) * 4) for i in range(3)),
        strategy=Choice("state", {}),
        classes=("a", "b", "c", "d"),
    )
    bundles.write(content, model_file.parent / "bundle")
    return model_file.parent / "bundle"


@pytest.fixture
def session(bundle: Path) -> Iterator[Session]:
    with mobiprox.Session.open(bundle) as session:
        yield session


@pytest.fixture(scope="module")
def inputs() -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).normal(0, 1, (8, 3, 16, 16)).astype(np.float32)


def test_level_0_is_the_exact_network(session: Session, model_file: Path, inputs: np.ndarray[Any, Any]) -> None:
    session.strategy = None
    (expected,) = ReferenceEvaluator(onnx.load(model_file)).run(None, {"x": inputs})
    for x, wanted in zip(inputs, expected, strict=True):
        prediction = session.infer(x)
        np.testing.assert_allclose(prediction.outputs, wanted, rtol=1e-4, atol=1e-5)
        assert prediction.label == wanted.argmax()
        assert prediction.level == 0
        assert prediction.latency_ms > 0
        scaled = np.exp(wanted / 2 - (wanted / 2).max())
        assert prediction.confidence == pytest.approx((scaled / scaled.sum()).max(), rel=1e-3)


def test_every_level_runs_its_configuration(session: Session, model_file: Path, inputs: np.ndarray[Any, Any]) -> None:
    session.strategy = None
    for level, configuration in enumerate(LEVELS):
        session.level = level
        with open_model(model_file, settings=configuration.settings) as model:
            for x in inputs[:2]:
                np.testing.assert_allclose(session.infer(x).outputs, np.asarray(model.run(x[None]))[0], rtol=1e-4, atol=1e-5)


def test_the_strategy_moves_the_level(session: Session, inputs: np.ndarray[Any, Any]) -> None:
    strategy, session.strategy = session.strategy, None

    def label(x: np.ndarray[Any, Any], level: int) -> int:
        session.level = level
        return session.infer(x).label

    calm = next(x for x in inputs if len({label(x, level) for level in range(3)}) == 1)  # all levels agree on it
    session.strategy, session.level = strategy, 0
    levels = [session.infer(calm).level for _ in range(20)]
    assert (levels[0], levels[-1]) == (0, 2)
    assert levels == sorted(levels)


def test_without_a_strategy_the_level_stays(session: Session, inputs: np.ndarray[Any, Any]) -> None:
    session.strategy = None
    session.level = 1
    assert {session.infer(x).level for x in inputs} == {1}


def test_any_strategy_will_do(session: Session, inputs: np.ndarray[Any, Any]) -> None:
    class Cycle:
        def start(self) -> int:
            return 0

        def step(self, state: int, observation: Observation) -> tuple[int, int]:
            return state + 1, (observation.level + 1) % 3

    session.strategy = Cycle()
    assert [session.infer(inputs[0]).level for _ in range(5)] == [0, 1, 2, 0, 1]


def test_a_strategy_may_have_the_same_input_run_again(session: Session, inputs: np.ndarray[Any, Any]) -> None:
    seen: list[tuple[int, bool, float | None]] = []

    class Doubt:
        def start(self) -> int:
            return 0

        def step(self, state: int, observation: Observation) -> tuple[int, int]:
            seen.append((observation.level, observation.rerun, observation.battery))
            return state, 2 if observation.rerun or observation.level == 0 else Rerun(0)

    session.strategy = Doubt()
    predictions = [session.infer(inputs[0], battery=0.5) for _ in range(3)]
    assert seen == [(0, False, 0.5), *[(2, False, 0.5), (0, True, 0.5)] * 2]
    assert [p.level for p in predictions] == [0, 0, 0]
    for p in predictions[1:]:
        np.testing.assert_array_equal(p.outputs, predictions[0].outputs)
    assert session.inferences == 3


def test_surroundings_that_no_strategy_knows_are_refused(session: Session, inputs: np.ndarray[Any, Any]) -> None:
    with pytest.raises(UsageError, match="'label'"):
        session.infer(inputs[0], label=3)


def test_a_level_that_does_not_exist_is_refused(session: Session) -> None:
    for level in (-1, 3):
        with pytest.raises(UsageError, match="levels go from 0 \\(exact\\) to 2"):
            session.level = level


def test_an_input_of_another_shape_is_refused(session: Session) -> None:
    with pytest.raises(DataError, match=r"\[3, 8, 8\]; the network takes \[3, 16, 16\]"):
        session.infer(np.zeros((3, 8, 8), np.float32))


def test_an_unknown_device_or_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="toaster"):
        Session.open(bundle, device="toaster")
    with pytest.raises(BundleError, match="bundle"):
        Session.open(tmp_path)


def test_a_model_runs_batches_under_a_spelt_configuration(model_file: Path, inputs: np.ndarray[Any, Any]) -> None:
    with mobiprox.open_model(model_file, batch=8, settings={"conv2": "perforation(stride=2, offset=1, axis=rows) + fp16"}) as model:
        outputs = np.asarray(model.run(inputs))
    (exact,) = ReferenceEvaluator(onnx.load(model_file)).run(None, {"x": inputs})
    assert outputs.shape == exact.shape
    assert 0 < np.abs(outputs - exact).max() < np.abs(exact).max()


def test_operators_tell_their_legal_settings(model_file: Path) -> None:
    with mobiprox.open_model(model_file) as model:
        conv2 = next(op for op in model.operators if op.name == "conv2")
    assert (conv2.kind, conv2.inputs, conv2.output) == ("conv", ((1, 32, 16, 16),), (1, 32, 16, 16))
    assert conv2.settings[0] == Setting()
    assert Setting.of("perforation", axis="rows", offset=1, stride=2) in conv2.settings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"conv9": "fp16"}, "no operator called 'conv9'\n  did you mean 'conv"),
        ({"conv1": "perforaton(axis=rows, offset=1, stride=2)"}, "no technique is called 'perforaton'\n  did you mean 'perforation'"),
        ({"conv1": "perforation(axis=rows, offset=1, stride=9)"}, "not legal for this operator\n  did you mean 'perforation(axis=rows"),
        ({"conv1": "perforation(axis=rows, offset=0, stride=2) + perforation(axis=rows, offset=1, stride=3)"}, "sets one thing twice"),
        ({"conv1": "perforation("}, "is not a knob setting"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_was_meant(model_file: Path, settings: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        mobiprox.open_model(model_file, settings=settings)
    assert words in str(caught.value)
