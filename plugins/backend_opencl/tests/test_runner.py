"""What a runner promises: levels, variants, resuming, timing, and the same bits however it launches."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from mobiprox_approx_filter_sampling.plugin import mobiprox_techniques as sampling
from mobiprox_approx_perforation.plugin import mobiprox_techniques as perforation
from mobiprox_backend_opencl import trial
from mobiprox_backend_opencl.runner import LINGERING, OpenCLDevice

from mobiprox_core import reference
from mobiprox_core.configuration import Configuration, Setting
from mobiprox_core.errors import DataError, DeviceError
from mobiprox_core.graph import Graph, Operator, TensorSpec
from mobiprox_core.lowering import lower
from mobiprox_core.plan import ExecutionPlan

pytestmark = pytest.mark.opencl

TECHNIQUES = {t.name: t for t in (*perforation(), *sampling())}
ROWS = Setting.of("perforation", axis="rows", offset=1, stride=2)
COLUMNS = Setting.of("perforation", axis="columns", offset=0, stride=3)
HALF = Setting.of("filter_sampling", offset=0, stride=2)
LEVELS = (
    Configuration({"c2": ROWS}),
    Configuration({"c2": ROWS + COLUMNS, "c3": HALF}),
    Configuration({"c1": HALF, "c2": ROWS + HALF, "c4": COLUMNS}),
)
X = np.random.default_rng(7).standard_normal((2, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return trial.network()


def plan(device: OpenCLDevice, graph: Graph, **options: bool) -> ExecutionPlan:
    return lower(graph, device.info, TECHNIQUES, {}, LEVELS, **options)


def expected(graph: Graph, level: int, x: np.ndarray = X) -> np.ndarray:
    configuration = (Configuration({}), *LEVELS)[level]
    return reference.run(graph, [x], configuration, TECHNIQUES)[0]


def test_every_level_means_what_the_reference_says(graph: Graph, device: OpenCLDevice) -> None:
    runner = device.load(plan(device, graph))
    for level in (0, 3, 1, 2, 0):
        runner.set_level(level)
        np.testing.assert_allclose(runner.run(X), expected(graph, level), atol=1e-5)


def test_all_ways_to_launch_give_the_same_bits(graph: Graph, open_shape: Callable[[str], OpenCLDevice]) -> None:
    outputs = []
    for shape in ("network", "groups", "operators"):
        device = open_shape(shape)
        runner = device.load(plan(device, graph))
        for level in range(4):
            runner.set_level(level)
            outputs.append(runner.run(X))
    for one, other in zip(outputs[:8], outputs[4:], strict=True):
        np.testing.assert_array_equal(one, other)


def test_helpers_leave_when_nothing_is_to_do_and_come_back(graph: Graph, cpu: OpenCLDevice) -> None:
    if cpu.helpers is None:
        pytest.skip("one thread, or a runtime without a device on the calling thread")
    runner = cpu.load(plan(cpu, graph))
    first = runner.run(X)
    for pause_s in (0.0, 0.0, 0.05, 0.0, 0.05):  # in the middle of their lingering, and after it
        time.sleep(pause_s)
        np.testing.assert_array_equal(runner.run(X), first)
    cpu.helpers.finish()  # they end by themselves
    assert runner._counters.host[LINGERING] == 0


def test_runners_of_one_device_may_take_turns(graph: Graph, cpu: OpenCLDevice) -> None:
    runners = [cpu.load(plan(cpu, graph)) for _ in range(3)]
    first = runners[0].run(X)
    for turn in range(60):
        np.testing.assert_array_equal(runners[turn % 3].run(X), first)
    for runner in runners:
        runner.close()


def test_switching_between_long_and_short_programs_never_changes_a_result(graph: Graph, cpu: OpenCLDevice) -> None:
    runner = cpu.load(plan(cpu, graph))
    right = []
    for level in range(4):
        runner.set_level(level)
        right.append(runner.run(X))
    rng = np.random.default_rng(0)
    for level in rng.integers(0, 4, 500):
        runner.set_level(int(level))
        np.testing.assert_array_equal(runner.run(X), right[level])


def test_resuming_from_any_operator_reproduces_the_run(graph: Graph, device: OpenCLDevice) -> None:
    runner = device.load(plan(device, graph, keep_activations=True))
    whole = runner.run(X)
    for operator in reversed(range(len(runner.plan.operators))):
        np.testing.assert_array_equal(runner.resume(operator), whole)


def test_resuming_with_another_variant_changes_only_what_follows(graph: Graph, device: OpenCLDevice) -> None:
    runner = device.load(plan(device, graph, keep_activations=True))
    runner.run(X)
    names = [o.name for o in runner.plan.operators]
    variant = next(i for i, v in enumerate(runner.plan.operators[names.index("c2")].variants) if v.setting == ROWS)
    runner.select([variant if name == "c2" else 0 for name in names])
    np.testing.assert_allclose(runner.resume(names.index("c2")), expected(graph, 1), atol=1e-5)


def test_every_activation_in_a_buffer_can_be_read(graph: Graph, device: OpenCLDevice) -> None:
    runner = device.load(plan(device, graph, keep_activations=True))
    runner.run(X)
    every = reference.activations(graph, [X])
    for slot in runner.plan.tensors:
        np.testing.assert_allclose(runner.tensor(slot.name), every[slot.name], atol=1e-5)
    assert {"x", "c1", "c4", "p2", "fc"} <= {slot.name for slot in runner.plan.tensors}


def test_repeated_runs_give_the_same_bits(graph: Graph, device: OpenCLDevice) -> None:
    runner = device.load(plan(device, graph))
    first = runner.run(X)
    for _ in range(100):
        np.testing.assert_array_equal(runner.run(X), first)


def test_one_input_does_not_leak_into_the_next(graph: Graph, device: OpenCLDevice) -> None:
    runner = device.load(plan(device, graph))
    first = runner.run(X)
    runner.run(X * 100)
    np.testing.assert_array_equal(runner.run(X), first)


def test_timing_gives_positive_times_for_every_choice_and_keeps_the_level(graph: Graph, device: OpenCLDevice) -> None:
    runner = device.load(plan(device, graph))
    runner.set_level(2)
    before = runner.run(X)
    choices: Sequence[Sequence[int]] = runner.plan.levels
    for operators in (None, [1]):
        times = runner.time(operators, choices, seconds=0.05)
        assert len(times) == len(choices)
        assert all(len(t) >= 5 and (t > 0).all() for t in times)
    np.testing.assert_array_equal(runner.run(X), before)


@pytest.mark.parametrize("wrong", [X[:1], X.astype(np.float64), X.reshape(2, 8, 8, 3)], ids=["batch", "dtype", "axes"])
def test_a_wrong_input_is_refused_with_the_shape_that_is_wanted(wrong: np.ndarray, graph: Graph, cpu: OpenCLDevice) -> None:
    runner = cpu.load(plan(cpu, graph))
    with pytest.raises(DataError, match=r"float32\[2, 3, 8, 8\]"):
        runner.run(wrong)


def test_a_plan_for_another_instruction_set_is_refused(graph: Graph, cpu: OpenCLDevice) -> None:
    other = replace(plan(cpu, graph), device=replace(cpu.info, isa="generic" if cpu.info.isa != "generic" else "avx2"))
    with pytest.raises(DeviceError, match="instructions"):
        cpu.load(other)


def test_kernels_that_do_not_build_leave_their_source_and_log(graph: Graph, cpu: OpenCLDevice) -> None:
    with pytest.raises(DeviceError, match=r"source saved to .*\.cl") as caught:
        cpu.load(replace(plan(cpu, graph), source="kernel void network(int broken) { nonsense }"))
    assert "nonsense" in str(caught.value)


def test_two_runners_of_two_threads_do_not_disturb_each_other(graph: Graph, open_shape: Callable[[str], OpenCLDevice]) -> None:
    results: dict[int, bool] = {}

    def work(level: int) -> None:
        device = open_shape("network")
        runner = device.load(plan(device, graph))
        runner.set_level(level)
        first = runner.run(X)
        results[level] = all((runner.run(X) == first).all() for _ in range(200))

    threads = [threading.Thread(target=work, args=(level,)) for level in (1, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {1: True, 3: True}


def test_an_output_stays_what_it_was_when_the_next_input_runs(cpu: OpenCLDevice) -> None:
    weight = np.random.default_rng(0).standard_normal((10, 19)).astype(np.float32)
    dense = Operator("y", "dense", ("x",), "y", constants={"weight": weight, "bias": np.zeros(10, np.float32)})
    tensors = {"x": TensorSpec("x", (1, 19)), "y": TensorSpec("y", (1, 10))}
    runner = cpu.load(lower(Graph("one", 1, (tensors["x"],), (tensors["y"],), (dense,), tensors), cpu.info, {}, {}))
    x = np.ones((1, 19), np.float32)
    first = np.asarray(runner.run(x))
    kept = first.copy()
    assert not np.array_equal(runner.run(-x), kept)
    np.testing.assert_array_equal(first, kept)


def test_a_plan_tells_what_its_memory_is_used_for(graph: Graph, cpu: OpenCLDevice) -> None:
    whole = plan(cpu, graph)
    memory = whole.notes["memory_bytes"]
    assert sum(memory.values()) == 4 * whole.arena_elements
    assert memory["exact"] >= sum(4 * op.constants["weight"].size for op in graph.operators if "weight" in op.constants)
    exact = lower(graph, cpu.info, TECHNIQUES, {})
    assert set(exact.notes["memory_bytes"]) == {"exact", "activations"}
    assert memory["exact"] == exact.notes["memory_bytes"]["exact"]
    assert 0 < memory["filter_sampling"] < memory["exact"]
