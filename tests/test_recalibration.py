"""Recalibration: what corrections bring levels back to, whatever the statistics; and the fast way through operators that it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from small import small_network

from mobiprox_core import forward, plugins, recalibration, reference
from mobiprox_core.configuration import EXACT, Configuration, Setting
from mobiprox_core.correction import Corrections, Grade, corrected
from mobiprox_core.graph import Activation
from mobiprox_core.interfaces import Device, Technique
from mobiprox_core.lab import through
from mobiprox_core.lowering import lower
from mobiprox_core.network import Network
from mobiprox_core.recalibration import Recalibrator
from mobiprox_core.session import open_model
from mobiprox_core.statistics import Calibration
from mobiprox_core.testing import graphs
from mobiprox_core.testing.statistics import some

pytestmark = pytest.mark.opencl

HALF = Setting.parse("filter_sampling(offset=0, refit=independent, stride=2)")
ROWS = Setting.parse("perforation(axis=rows, offset=1, stride=2)")
FITTED = Setting.parse("perforation(axis=rows, fill=fitted, offset=1, stride=2)")
LEVEL = Configuration({"conv1": ROWS, "conv2": HALF})
GRADES: tuple[Grade, ...] = ("affine", "full")


@pytest.fixture(scope="module")
def techniques() -> Mapping[str, Technique]:
    registry = plugins.load()
    return {name: registry.get("technique", name) for name in ("filter_sampling", "perforation", "fp16")}


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    opened = plugins.load().get("backend", "opencl").open({"threads": 1})
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    rng = np.random.default_rng(7)
    x = rng.normal(0, 1, (320, 3, 1, 1)) + rng.normal(0, 1, (320, 3, 16, 16))
    return np.asarray(x + np.roll(x, 1, 2) + np.roll(x, 1, 3), np.float32)  # neighbours have something in common


def network(name: str = "small", residual: bool = False) -> Network:
    model = small_network(np.random.default_rng(7))
    if residual:  # conv2 adds what conv1 gave, so that its target depends on how wrong conv1 is
        [relu] = [node for node in model.graph.node if node.output[0] == "d"]
        relu.input[0] = "sum"
        model.graph.node.insert(list(model.graph.node).index(relu), helper.make_node("Add", ["c", "b"], ["sum"], "add"))
    return Network.from_model(plugins.load().get("frontend", "onnx").load({"path": f"{name}.onnx"}, written(model, name)), name)


def written(model: onnx.ModelProto, name: str) -> Path:
    from tempfile import mkdtemp

    folder = Path(mkdtemp())
    onnx.save(model, folder / f"{name}.onnx")
    return folder


def outputs(
    net: Network,
    device: Device,
    techniques: Mapping[str, Technique],
    known: Calibration,
    corrections: Corrections,
    x: np.ndarray,
    chosen: Configuration = LEVEL,
):  # type: ignore[no-untyped-def]
    """Of the exact network and of a level."""
    plan = lower(
        net.at_batch(32),
        device.info,
        techniques,
        {},
        [Configuration({}), chosen],
        statistics=known,
        corrections=lambda level: corrections if level.settings else {},
    )
    with closing(device.load(plan)) as runner:
        exact = through(runner, x)
        runner.set_level(1)
        return exact, through(runner, x)


# ------------------------------------------------------------------------------------------------------------ the way through operators


@pytest.mark.parametrize("name", graphs.AWKWARD)
def test_the_fast_way_gives_what_the_reference_says(name: str, techniques: Mapping[str, Technique], device: Device) -> None:
    graph = graphs.AWKWARD[name]()
    operator, known, x = graph["op"], some(graph), graphs.inputs(graph)
    tensors = reference.activations(graph, x)
    single = [Setting((knobs,)) for technique in techniques.values() for knobs in technique.settings(operator, graph, {})]
    rows = [s for s in single if "axis=rows" in str(s)]
    chosen = [s for s in single if "choose" in str(s)]
    for setting in (EXACT, *single[::3], *(a + b for a, b in zip(rows, chosen, strict=False))):
        work = forward.prepared(operator, graph, setting, techniques, device.info, known)
        sums = forward.result(work, tensors[operator.inputs[0]], work.weight, work.bias, graph.shape(operator.output))
        got = forward.finished(work, sums, None if operator.residual is None else tensors[operator.residual])
        expected = reference.run_operator(graph, operator, tensors, setting, techniques, lambda op: known)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max(), err_msg=str(setting))


# ---------------------------------------------------------------------------------------------------------------------- corrections


@pytest.mark.parametrize("rows", [ROWS, FITTED], ids=str)
@pytest.mark.parametrize("residual", [False, True])
def test_corrections_bring_other_inputs_closer_to_the_exact_network_the_full_grade_closest(
    residual: bool, rows: Setting, techniques: Mapping[str, Technique], device: Device, inputs: np.ndarray, tmp_path: Path
) -> None:
    net = network(residual=residual)
    level = Configuration({"conv1": rows, "conv2": HALF})
    known = Calibration(net, device, inputs[:256], folder=tmp_path)
    off = {}
    for grade in (None, *GRADES):
        corrections = {} if grade is None else Recalibrator(known, techniques, grade)(level)
        exact, approximate = outputs(net, device, techniques, known, corrections, inputs[256:], level)
        off[grade] = float(((exact - approximate) ** 2).mean())
    assert off["affine"] < off[None]
    assert off["full"] < off["affine"]


@pytest.mark.parametrize("grade", GRADES)
def test_only_what_is_not_exact_is_corrected(
    grade: Grade, techniques: Mapping[str, Technique], device: Device, inputs: np.ndarray, tmp_path: Path
) -> None:
    recalibrator = Recalibrator(Calibration(network(), device, inputs[:64], folder=tmp_path), techniques, grade)
    assert recalibrator(Configuration({})) == {}
    found = recalibrator(Configuration({"conv2": ROWS}))
    assert set(found) == {"conv2", "dense"}, "conv1 is exact and reads exact inputs; the dense layer is exact, and its inputs are not"
    for correction in found.values():
        assert (correction.weight is None) == (grade == "affine")
        assert (correction.scale is None) == (grade == "full")


@pytest.mark.parametrize("grade", GRADES)
def test_corrections_are_the_same_every_time_and_are_kept(
    grade: Grade,
    techniques: Mapping[str, Technique],
    device: Device,
    inputs: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = network()

    def found(folder: str) -> Corrections:
        return Recalibrator(Calibration(net, device, inputs[:64], folder=tmp_path / folder), techniques, grade)(LEVEL)

    first, again = found("a"), found("b")
    monkeypatch.setattr(Recalibrator, "_walk", lambda *_: pytest.fail("what is kept is not computed again"))
    for other in (again, found("a")):
        assert first.keys() == other.keys()
        for name, correction in first.items():
            for field in ("bias", "scale", "weight", "taps"):
                np.testing.assert_array_equal(getattr(correction, field), getattr(other[name], field), f"{name} {field}")


@pytest.mark.parametrize("grade", GRADES)
@pytest.mark.parametrize("constant", [True, False])
def test_inputs_that_tell_nothing_apart_give_finite_corrections(
    grade: Grade, constant: bool, techniques: Mapping[str, Technique], device: Device, tmp_path: Path
) -> None:
    few = np.full((3, 3, 16, 16), 0.5, np.float32) if constant else np.zeros((1, 3, 16, 16), np.float32)
    found = Recalibrator(Calibration(network(), device, few, folder=tmp_path), techniques, grade)(LEVEL)
    assert found
    for correction in found.values():
        for values in (correction.bias, correction.scale, correction.weight):
            assert values is None or np.isfinite(values).all()


def fitted(sums: recalibration._Sums) -> recalibration._Fit:
    fit = sums.fit()
    assert fit is not None
    return fit


def test_fits_never_do_worse_than_what_they_start_from() -> None:
    rng = np.random.default_rng(0)
    for rank, count in ((1, 3), (2, 40), (9, 400)):
        x = (rng.normal(size=(count, rank)) @ rng.normal(size=(rank, 9)) + rng.normal(size=9)).astype(np.float32)
        wanted = (x @ rng.normal(size=(9, 4)) + rng.normal(size=(count, 4))).astype(np.float32)
        given = (wanted + rng.normal(size=(count, 4))).astype(np.float32)
        scale, bias = recalibration._affine(given, recalibration._Goal(wanted, 0.0, None), 0)
        error = ((wanted - scale * given - bias) ** 2).sum(0)
        assert (error <= ((wanted - given) ** 2).sum(0) * 1.0001).all()

        graph = graphs.dense(rows=(count,), features=9, outputs=4)
        work = forward.prepared(graph["op"], graph, EXACT, {}, plugins.load().get("backend", "opencl").open({}).info, None)
        sums = recalibration._Sums(work)
        sums.add(x[None].copy(), wanted)
        weight, intercept = fitted(sums).stored()
        ridge = recalibration.UNTRIED * float((x.astype(np.float64) ** 2).sum()) / 9

        def objective(w: np.ndarray, b: np.ndarray) -> float:
            return float(((wanted - x @ w.T - b) ** 2).sum() + ridge * ((w - work.weight) ** 2).sum())  # noqa: B023

        best_bias = (wanted - x @ work.weight.T).mean(0)
        assert objective(weight, intercept) <= objective(work.weight, best_bias) * 1.001


CURVES = {
    "relu": (Activation("relu"), lambda y: np.maximum(y, 0) ** 2 / 2),
    "tanh": (Activation("tanh"), lambda y: np.logaddexp(y, -y)),
    "clip": (Activation("clip", low=0, high=6), lambda y: np.clip(y, 0, 6) ** 2 / 2 + 6 * np.maximum(y - 6, 0)),
    "leaky_relu": (Activation("leaky_relu", alpha=0.1), lambda y: np.where(y > 0, y, np.sqrt(0.1) * y) ** 2 / 2),
    "sigmoid": (Activation("sigmoid"), lambda y: np.logaddexp(y, 0)),
}
"""Activations, and functions whose slopes they are."""


@pytest.mark.parametrize("name", CURVES)
def test_fits_through_an_activation_come_nearer_to_what_it_makes_of_the_sums(name: str) -> None:
    activation, curve = CURVES[name]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 9)).astype(np.float32)
    exact = (2 * x @ rng.normal(size=(9, 4)) + rng.normal(size=(400, 4)) - 1).astype(np.float32)
    residual = rng.normal(size=exact.shape).astype(np.float32)
    goal = recalibration._Goal(exact, residual, activation)

    def loss(y: np.ndarray) -> float:
        """The matching loss, by what is known of its integral."""
        own, right = (y + residual).astype(np.float64), exact.astype(np.float64)
        return float((curve(own) - curve(right) - reference.activate(exact, activation) * (own - right)).sum())

    graph = graphs.dense(rows=(400,), features=9, outputs=4)
    work = forward.prepared(graph["op"], graph, EXACT, {}, plugins.load().get("backend", "opencl").open({}).info, None)
    sums = recalibration._Sums(work)
    sums.add(x[None].copy(), goal.sums())
    fit, losses = fitted(sums), []
    for _ in range(6):
        losses.append(loss(fit(x[None])))
        fit.add(x[None], goal.lacks(fit(x[None])))
        fit.step()
    assert losses[2] < losses[0], losses
    assert all(after < before * 1.001 for before, after in pairwise(losses)), "the ridge has its say too"

    given = exact + rng.normal(size=exact.shape).astype(np.float32)
    bent, straight = (recalibration._affine(given, goal, rounds) for rounds in (5, 0))
    assert loss(bent[0] * given + bent[1]) < loss(straight[0] * given + straight[1])


def test_an_activation_that_falls_is_left_alone() -> None:
    goal = recalibration._Goal(np.ones((3, 2), np.float32), 0.0, Activation("hard_swish"))
    assert not goal.bends
    assert not recalibration._Goal(np.ones((3, 2), np.float32), 0.0, None).bends


def test_inputs_that_are_held_out_say_how_far_weights_may_move() -> None:
    rng = np.random.default_rng(0)
    graph = graphs.dense(rows=(32,), features=9, outputs=4)
    work = forward.prepared(graph["op"], graph, EXACT, {}, plugins.load().get("backend", "opencl").open({}).info, None)
    x = rng.normal(size=(4, 20, 9)).astype(np.float32)
    other = work.weight + rng.normal(size=work.weight.shape)

    def distance(noise: float, held: int) -> float:
        """Of the fitted weights from those that they start from, relative to how far the right ones are."""
        sums = recalibration._Sums(work)
        for part, rows in enumerate(x):
            sums.add(rows[None].copy(), (rows @ other.T + noise * rng.normal(size=(20, 4))).astype(np.float32), int(part == held))
        return float(np.linalg.norm(fitted(sums).stored()[0] - work.weight) / np.linalg.norm(other - work.weight))

    nobody, last = 4, 3
    assert abs(distance(0, last) - 1) < 0.01
    assert distance(100, nobody) > 5, "what noise says, where nobody objects"
    assert distance(100, last) < distance(100, nobody) / 4


def test_a_plan_holds_a_variant_per_correction_and_says_what_they_take(
    techniques: Mapping[str, Technique], device: Device, inputs: np.ndarray, tmp_path: Path
) -> None:
    net = network()
    known = Calibration(net, device, inputs[:64], folder=tmp_path)
    other = Configuration({"conv2": HALF})
    memory = {}
    for grade in GRADES:
        recalibrator = Recalibrator(known, techniques, grade)
        plan = lower(net.at_batch(1), device.info, techniques, {}, [LEVEL, other], statistics=known, corrections=recalibrator)
        [conv2] = [op for op in plan.operators if op.name == "conv2"]
        assert [v.setting for v in conv2.variants] == [EXACT, HALF, HALF]
        memory[grade] = plan.notes["memory_bytes"]["recalibration"]
    assert 0 < memory["affine"] < 4096
    assert memory["full"] > 10 * memory["affine"]


def test_half_precision_has_the_weights_of_the_full_grade(
    techniques: Mapping[str, Technique], device: Device, inputs: np.ndarray, tmp_path: Path
) -> None:
    found = Recalibrator(Calibration(network(), device, inputs[:64], folder=tmp_path), techniques, "full")(LEVEL)
    for correction in found.values():
        assert correction.weight is not None
        np.testing.assert_array_equal(correction.weight.astype(np.float16).astype(np.float32), correction.weight)


def test_a_model_opened_by_hand_is_corrected(inputs: np.ndarray) -> None:
    folder = written(small_network(np.random.default_rng(7)), "small")
    results = {}
    tried: dict[str, tuple[Configuration, Grade | None]] = {
        "exact": (Configuration({}), None),
        "plain": (LEVEL, None),
        "corrected": (LEVEL, "full"),
    }
    for name, (level, grade) in tried.items():
        calibrate = inputs[:256]
        with open_model(folder / "small.onnx", batch=64, settings=level.settings, calibrate=calibrate, recalibrate=grade) as model:
            results[name] = np.asarray(model.run(inputs[256:]))
    off = {name: float(((values - results["exact"]) ** 2).mean()) for name, values in results.items()}
    assert off["corrected"] < off["plain"]


def test_a_correction_of_another_setting_is_noticed(
    techniques: Mapping[str, Technique], device: Device, inputs: np.ndarray, tmp_path: Path
) -> None:
    known = Calibration(network(), device, inputs[:64], folder=tmp_path)
    correction = Recalibrator(known, techniques, "full")(LEVEL)["conv2"]
    from mobiprox_core.lowering.convolution import exact_tables

    graph = known.graph
    with pytest.raises(AssertionError, match="another setting"):
        corrected(exact_tables(graph["conv2"], graph), correction)
