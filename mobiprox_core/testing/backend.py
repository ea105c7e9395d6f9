"""What every backend owes: devices that run a plan as the reference says, whatever the level, and times in milliseconds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mobiprox_core import reference
from mobiprox_core.configuration import EXACT_CONFIGURATION, Configuration, KnobSetting, Setting
from mobiprox_core.errors import DataError, DeviceError
from mobiprox_core.graph import Activation, Graph, Operator, TensorSpec
from mobiprox_core.interfaces import Approximation, Backend, Device, DeviceReport, Options, Runner
from mobiprox_core.lowering import lower
from mobiprox_core.plan import DeviceInfo

from .contract import Contract, missing
from .graphs import RELU
from .offer import check_description, check_loads_lightly

TOLERANCE = 1e-4
FACTOR = 50.0
"""How far a timed run may be from one timed outside: overheads and busy machines, but no other unit."""


class Damped:
    """A technique for testing: weights times a percentage. It needs no kernel, and no level of it is mistaken for another."""

    name = "damped"
    summary = "weights times a percentage"
    options: Mapping[str, Any] = {"type": "object", "properties": {}}
    knobs: Mapping[str, str] = {"percent": "what is left of every weight"}
    tolerance = 1e-5

    def settings(self, operator: Operator, graph: Graph, options: Options) -> Sequence[KnobSetting]:
        return [KnobSetting.of(self.name, percent=percent) for percent in (50, 25)] if operator.kind in ("conv", "dense") else []

    def slot(self, setting: KnobSetting) -> str:
        return self.name

    def needs_statistics(self, setting: KnobSetting) -> bool:
        return False

    def prepare(self, setting: KnobSetting, operator: Operator, statistics: Any) -> Mapping[str, npt.NDArray[Any]]:
        return {}

    def reference(self, setting: KnobSetting, operator: Operator, graph: Graph, fitted: Any) -> Approximation:
        return Approximation(weight=lambda weight: weight * _share(setting))

    def edit(self, setting: KnobSetting, operator: Operator, tables: Any, device: DeviceInfo, fitted: Any) -> Any:
        return replace(tables, weight=tables.weight * _share(setting))

    def kernels(self, device: DeviceInfo) -> tuple[()]:
        return ()

    def lower(self, setting: KnobSetting, operator: Operator, builder: Any) -> bool:
        return False

    def couplings(self, graph: Graph) -> tuple[()]:
        return ()


def _share(setting: KnobSetting) -> np.float32:
    return np.float32(int(setting["percent"]) / 100)


HALF, QUARTER = (Setting.of("damped", percent=percent) for percent in (50, 25))
LEVELS = (Configuration({"c2": HALF}), Configuration({"c1": QUARTER, "c2": HALF}), Configuration({"c1": HALF, "fc": QUARTER}))


class BackendContract(Contract):
    """Give the fixture `backend`, and `options` to open another device than its default. Without a device the rest is skipped."""

    kind = "backend"
    subject = "backend"

    @pytest.fixture
    def backend(self) -> Backend:
        missing("BackendContract", "backend", "your backend")

    @pytest.fixture
    def options(self) -> Options:
        return {}

    @pytest.fixture
    def device(self, backend: Backend, options: Options) -> Iterator[Device]:
        reports = backend.devices()
        if all(report.problem is not None for report in reports):
            pytest.skip("; ".join(f"{report.name}: {report.problem}" for report in reports) or "it finds no device")
        device = backend.open(options)
        yield device
        device.close()

    @pytest.fixture
    def graph(self) -> Graph:
        return network()

    @pytest.fixture
    def runner(self, device: Device, graph: Graph) -> Iterator[Runner]:
        runner = device.load(lower(graph, device.info, {"damped": Damped()}, {}, LEVELS, keep_activations=True))
        yield runner
        runner.close()

    def test_it_describes_itself(self, backend: Backend, options: Options) -> None:
        check_description(backend, options)

    def test_it_loads_lightly(self, backend: Backend) -> None:
        check_loads_lightly(backend)

    def test_it_reports_devices_with_what_is_wrong_with_them(self, backend: Backend) -> None:
        for report in backend.devices():
            assert isinstance(report, DeviceReport)
            assert report.backend == backend.name
            assert report.name.strip()
            assert report.problem is None or report.problem.strip()
            assert (report.info is None) == (report.problem is not None), "a usable device says what it is, an unusable one what is wrong"

    def test_a_device_that_is_not_there_is_an_error_that_can_be_mended(self, backend: Backend) -> None:
        if "device" not in backend.options.get("properties", {}):
            pytest.skip("it has no option `device`")
        with pytest.raises(DeviceError) as caught:
            backend.open({"device": "no such device"})
        assert caught.value.mend, "the error says no mend"

    def test_every_level_means_what_the_reference_says(self, runner: Runner, graph: Graph) -> None:
        for level in (0, 3, 1, 2, 0):
            runner.set_level(level)
            off = _off(runner.run(inputs()), expected(graph, level))
            assert off <= TOLERANCE, f"level {level}: {off:.2g} off"

    def test_chosen_variants_are_those_that_run(self, runner: Runner, graph: Graph) -> None:
        for level in range(1, len(runner.plan.levels)):
            runner.set_level(0)
            runner.select(runner.plan.levels[level])
            assert tuple(runner.variants) == runner.plan.levels[level]
            assert _off(runner.run(inputs()), expected(graph, level)) <= TOLERANCE, f"level {level}"

    def test_repeated_runs_give_the_same_bits_and_one_input_does_not_leak_into_the_next(self, runner: Runner) -> None:
        first = np.array(runner.run(inputs()), copy=True)
        runner.run(inputs() * 100)
        for _ in range(20):
            np.testing.assert_array_equal(runner.run(inputs()), first)

    def test_an_output_stays_what_it_was(self, runner: Runner) -> None:
        first = runner.run(inputs())
        kept = np.array(first, copy=True)
        runner.run(-inputs())
        np.testing.assert_array_equal(first, kept, err_msg="the next run wrote over an output that was handed out")

    def test_resuming_gives_what_a_whole_run_gives(self, runner: Runner) -> None:
        """From any operator, with any variant: what lies before it is taken as earlier runs left it."""
        names = [operator.name for operator in runner.plan.operators]
        for level, configuration in enumerate(LEVELS, start=1):
            runner.set_level(0)
            runner.run(inputs())
            first = min(names.index(name) for name in configuration.settings)
            runner.select(runner.plan.levels[level])
            resumed = np.array(runner.resume(first), copy=True)
            np.testing.assert_array_equal(resumed, runner.run(inputs()), err_msg=f"level {level}, resumed from {names[first]}")

    def test_activations_are_those_of_the_last_run(self, runner: Runner, graph: Graph) -> None:
        for level in (0, 1):
            runner.set_level(level)
            runner.run(inputs())
            every = reference.activations(graph, [inputs()], (EXACT_CONFIGURATION, *LEVELS)[level], {"damped": Damped()})
            assert runner.plan.tensors
            for slot in runner.plan.tensors:
                assert _off(runner.tensor(slot.name), every[slot.name]) <= TOLERANCE, f"level {level}: {slot.name}"

    def test_an_input_of_another_shape_is_refused(self, runner: Runner) -> None:
        for wrong in (inputs()[:1], inputs().reshape(2, 8, 8, 3)):
            with pytest.raises(DataError):
                runner.run(wrong)

    def test_times_are_milliseconds_and_timing_changes_nothing(self, runner: Runner) -> None:
        runner.set_level(2)
        before = np.array(runner.run(inputs()), copy=True)
        times = runner.time(None, runner.plan.levels, seconds=0.1)
        assert len(times) == len(runner.plan.levels), "one array for each choice of variants"
        for found in times:
            assert len(found) >= 3
            assert (np.asarray(found) > 0).all()
        rounds = []
        for _ in range(20):
            started = time.perf_counter()
            runner.run(inputs())
            rounds.append(1000 * (time.perf_counter() - started))
        own, outside = float(np.median(times[2])), float(np.median(rounds))
        assert outside / FACTOR <= own <= outside * FACTOR, f"it says {own:.4g} ms, a clock beside it {outside:.4g} ms: another unit?"
        assert tuple(runner.variants) == runner.plan.levels[2], "timing changed the level"
        np.testing.assert_array_equal(runner.run(inputs()), before)

    def test_single_operators_can_be_timed(self, runner: Runner) -> None:
        [one] = runner.time([1], [runner.plan.levels[0]], seconds=0.05)
        assert (np.asarray(one) > 0).all()

    def test_a_plan_is_for_the_device_that_it_was_made_for(self, device: Device) -> None:
        assert isinstance(device.info, DeviceInfo)
        assert device.info.threads >= 1
        assert device.info.block % device.info.vector == 0


def network() -> Graph:
    """Two convolutions, a pool and a dense layer; two images of 3 x 8 x 8 in, five scores out."""
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> dict[str, npt.NDArray[np.float32]]:
        values = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        return {"weight": values.astype(np.float32), "bias": rng.normal(size=shape[0]).astype(np.float32)}

    same = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "group": 1}
    pool = {"op": "max", "kernel": (2, 2), "strides": (2, 2), "pads": (0, 0, 0, 0), "dilations": (1, 1), "count_include_pad": False}
    whole = {**pool, "op": "average", "kernel": (4, 4)}
    operators = (
        Operator("c1", "conv", ("x",), "c1", same, weights(16, 3, 3, 3), activation=RELU),
        Operator("c2", "conv", ("c1",), "c2", same, weights(16, 16, 3, 3), activation=Activation("tanh"), residual="c1"),
        Operator("p1", "pool", ("c2",), "p1", pool),
        Operator("p2", "pool", ("p1",), "p2", whole),
        Operator("flat", "view", ("p2",), "flat", {"op": "reshape"}),
        Operator("fc", "dense", ("flat",), "fc", {}, weights(5, 16)),
    )
    shapes = {
        "x": (2, 3, 8, 8),
        "c1": (2, 16, 8, 8),
        "c2": (2, 16, 8, 8),
        "p1": (2, 16, 4, 4),
        "p2": (2, 16, 1, 1),
        "flat": (2, 16),
        "fc": (2, 5),
    }
    tensors = {name: TensorSpec(name, shape) for name, shape in shapes.items()}
    return Graph("contract", 2, (tensors["x"],), (tensors["fc"],), operators, tensors)


def inputs() -> npt.NDArray[np.float32]:
    return np.random.default_rng(7).normal(size=(2, 3, 8, 8)).astype(np.float32)


def expected(graph: Graph, level: int, x: npt.NDArray[np.float32] | None = None) -> npt.NDArray[np.float32]:
    """The output of a level, for these inputs or for `inputs`."""
    return reference.run(graph, [inputs() if x is None else x], (EXACT_CONFIGURATION, *LEVELS)[level], {"damped": Damped()})[0]


def _off(found: Any, wanted: npt.NDArray[np.float32]) -> float:
    """Greatest absolute difference, relative to the greatest wanted value; infinite where shapes or types differ."""
    if not isinstance(found, np.ndarray) or found.shape != wanted.shape or found.dtype != np.float32 or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-6))
