"""Sessions on a bundle, and networks under any configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx.reference import ReferenceEvaluator
from small import small_network

import mobiprox_core as mobiprox
from mobiprox_core import bundle as bundles
from mobiprox_core import cli, plugins
from mobiprox_core.configuration import EXACT_CONFIGURATION, Configuration, Setting
from mobiprox_core.errors import BundleError, DataError, DeviceError, UsageError
from mobiprox_core.experiment import Choice
from mobiprox_core.interfaces import ClassConfidence, LevelCalibration, Observation, Rerun
from mobiprox_core.labelling import with_labels
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


def test_a_plan_that_labels_gives_the_predictions_of_one_that_does_not(
    bundle: Path, session: Session, tmp_path: Path, inputs: np.ndarray[Any, Any]
) -> None:
    content = bundles.read(bundle)
    labelled = with_labels(content.plan, [level.temperature for level in content.calibration], content.already_softmax)
    bundles.write(replace(content, plan=labelled, strategy=None), tmp_path / "labelled")
    session.strategy = None
    with mobiprox.Session.open(tmp_path / "labelled") as other:
        for level in (2, 0, 1):
            session.level = other.level = level
            before = None
            for x in inputs:
                one, two = session.infer(x), other.infer(x[None])
                assert (one.label, one.level) == (two.label, two.level)
                assert two.confidence == pytest.approx(one.confidence, rel=1e-5)
                np.testing.assert_array_equal(two.outputs, one.outputs)
                if before is not None:  # outputs of an earlier inference stay what they were
                    np.testing.assert_array_equal(*before)
                before = two.outputs, one.outputs


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


@pytest.mark.parametrize("strategy", [None, Choice("naive", {})])
def test_a_session_corrects_its_table_and_its_strategy_goes_on_with_it(
    bundle: Path, inputs: np.ndarray[Any, Any], strategy: Choice | None
) -> None:
    """The bundle claims 3, 2 and 1 ms; the device takes far less."""
    with mobiprox.Session.open(bundle, strategy=strategy) as session:
        before = session.strategy
        for _ in range(60):
            for x in inputs:
                session.infer(x)
        assert session.heartbeat.drifts
        assert session.heartbeat.pace < 0.8
        assert session.strategy is not before
        assert type(session.strategy) is type(before)
        session.strategy = None
        session.level = 1
        for _ in range(2):
            session.infer(inputs[0])
        assert session.strategy is None


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
    with mobiprox.open_model(
        model_file, batch=8, settings={"conv2": "perforation(stride=2, offset=1, axis=rows) + fp16(arithmetic=float32)"}
    ) as model:
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
        ({"conv1": "perforation(axis=rows, offset=9, stride=2)"}, "not legal for this operator\n  did you mean 'perforation(axis=rows"),
        ({"conv1": "perforation(axis=rows, offset=0, stride=2) + perforation(axis=rows, offset=1, stride=3)"}, "sets one thing twice"),
        ({"conv1": "perforation("}, "is not a knob setting"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_was_meant(model_file: Path, settings: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        mobiprox.open_model(model_file, settings=settings)
    assert words in str(caught.value)


# ------------------------------------------------------------------------------------------------------------------------- replays


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Forty samples of five people, as the command line takes them."""
    rng = np.random.default_rng(2)
    people = np.repeat([f"p{i}" for i in range(5)], 8)
    np.savez(tmp_path / "t.npz", x=rng.normal(0, 1, (40, 3, 16, 16)).astype(np.float32), y=rng.integers(0, 4, 40), g=people)
    monkeypatch.chdir(tmp_path)
    return "{dataset: arrays, split: all, inputs: t.npz, inputs_key: x, labels_key: y, groups_key: g}"


def replayed(*arguments: str) -> Any:
    return CliRunner().invoke(cli.main, ["replay", *arguments])


def test_strategies_are_replayed_side_by_side(bundle: Path, trace: str) -> None:
    options = [str(bundle), "--trace", trace, "--strategy", "naive", "--strategy", "{state: {votes: 1}}", "--costs", "1,0.5,0.25"]
    naive, state = json.loads(replayed(*options, "--json").stdout)["replays"]
    assert (naive["strategy"], state["strategy"], state["options"]) == ("naive", "state", {"votes": 1})
    assert [level["relative_cost"] for level in naive["static"]] == [1, 0.5, 0.25]
    for walk in (naive, state):
        gained = np.mean(walk["timeline"]["correct"]) - np.mean(walk["timeline"]["exact_correct"])
        assert walk["against_exact"]["difference_pp"] == pytest.approx(100 * gained)
        assert walk["against_exact"]["low_pp"] <= 100 * gained <= walk["against_exact"]["high_pp"]
        assert walk["against_exact"]["units"] == 5
    differ = np.mean(state["timeline"]["correct"]) - np.mean(naive["timeline"]["correct"])
    assert state["against_first"]["difference_pp"] == pytest.approx(100 * differ)
    printed = replayed(*options).stdout
    assert "naive" in printed
    assert "over 5 groups" in printed
    [blind, _] = json.loads(replayed(*options, "--unlabelled", "--json").stdout)["replays"]
    assert blind["accuracy"] is None
    assert blind["against_exact"]["difference_pp"] == pytest.approx(100 * (blind["agreement"] - 1))


def test_a_sweep_tries_every_combination_and_finds_the_front(bundle: Path, trace: str) -> None:
    options = [str(bundle), "--trace", trace, "--sweep", "memory=1,2,3", "--sweep", "votes=1,2"]
    points = json.loads(replayed(*options, "--json").stdout)["sweep"]
    assert sorted((p["options"]["memory"], p["options"]["votes"]) for p in points) == [(m, v) for m in (1, 2, 3) for v in (1, 2)]
    assert [p["relative_cost"] for p in points] == sorted(p["relative_cost"] for p in points)
    for p in points:
        better = [q for q in points if q["relative_cost"] <= p["relative_cost"] and q["accuracy"] > p["accuracy"]]
        assert not (p["on_front"] and better)
    assert "of 6 combinations" in replayed(*options).stdout


def test_of_a_sweep_the_cheapest_is_chosen_that_surely_loses_no_more_than_it_may(bundle: Path, trace: str) -> None:
    options = [str(bundle), "--trace", trace, "--strategy", "state", "--sweep", "memory=1,2,3", "--sweep", "votes=1,2"]
    result = json.loads(replayed(*options, "--max-loss", "100", "--json").stdout)
    assert result["chosen"] == result["sweep"][0], "everything is allowed"
    spelt = json.dumps({"state": result["chosen"]["options"]})
    assert f"--strategy '{spelt}'" in replayed(*options, "--max-loss", "100").stdout
    walked = json.loads(replayed(str(bundle), "--trace", trace, "--strategy", spelt, "--json").stdout)
    assert walked["relative_cost"] == result["chosen"]["relative_cost"]
    missed = replayed(*options, "--max-loss", "0")
    assert missed.exit_code == 7
    assert "the surest loses up to" in missed.stderr
    assert "of 6 combinations" in missed.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--costs", "1,2"], "--costs: [1.0, 2.0] is no cost for each of 3 levels"),
        (["--costs", "money"], "--costs: money is no cost"),
        (["--costs", "energy"], "--costs: the bundle has no energy"),
        (["--sweep", "memory"], "--sweep: 'memory' names no values"),
        (["--max-loss", "1"], "--max-loss: there is nothing to choose from"),
        (["--sweep", "memry=1"], "--sweep: "),
        (["--sweep", "memory=0"], "--sweep: "),
        (["--sweep", "memory=1", "--strategy", "state", "--strategy", "naive"], "--sweep: a sweep is over one strategy"),
    ],
)
def test_what_cannot_be_replayed_is_refused(bundle: Path, trace: str, options: list[str], words: str) -> None:
    done = replayed(str(bundle), "--trace", trace, *options)
    assert done.exit_code == 2
    assert words in done.stderr


# ---------------------------------------------------------------------------------------------------------------------------- live


def test_live_shows_every_input_as_it_goes(bundle: Path, tmp_path: Path, inputs: np.ndarray[Any, Any]) -> None:
    np.save(tmp_path / "x.npy", inputs)
    options = ["live", str(bundle), "--source", str(tmp_path / "x.npy")]
    printed = CliRunner().invoke(cli.main, options).stdout.splitlines()
    assert len(printed) == len(inputs) + 2
    assert "level 0" in printed[0]
    assert printed[-1].startswith("8 inputs at ")
    told = json.loads(CliRunner().invoke(cli.main, [*options, "--period", "0.001", "--limit", "5", "--json"]).stdout)
    assert (told["summary"]["inputs"], len(told["answers"])) == (5, 5)
    piped = CliRunner().invoke(cli.main, ["live", str(bundle), "--source", "-", "--json"], input=inputs[:3].tobytes())
    assert json.loads(piped.stdout)["summary"]["inputs"] == 3


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nowhere.npy", "--source: nowhere.npy: cannot be read"),
        ("digits:x.npy", "prepares no signals"),
        ("keyword:x.wav", "no dataset is called 'keyword'"),
        ("x.wav", "keywords:x.wav"),
    ],
)
def test_a_source_that_cannot_be_streamed_is_refused(
    bundle: Path, tmp_path: Path, source: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.npy").touch()
    (tmp_path / "x.wav").touch()
    done = CliRunner().invoke(cli.main, ["live", str(bundle), "--source", source])
    assert done.exit_code not in (0, 1)
    assert words in done.stderr
