"""The autotuner: verdicts are kept, shared, forgotten with the kernels, and never change what is computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mobiprox_core import plugins, tuning
from mobiprox_core.configuration import Configuration, Setting
from mobiprox_core.interfaces import Device, Progress
from mobiprox_core.lowering import alternatives, lower
from mobiprox_core.lowering.ways import product_ways
from mobiprox_core.testing import graphs

pytestmark = pytest.mark.opencl

GRAPH = graphs.convolution(channels=8, filters=32, size=(12, 12), activation=graphs.RELU)
ROWS = Configuration({"op": Setting.of("perforation", axis="rows", offset=1, stride=2)})
X = np.random.default_rng(0).standard_normal(GRAPH.inputs[0].shape).astype(np.float32)


@pytest.fixture(scope="module")
def registry() -> plugins.Registry:
    return plugins.load()


@pytest.fixture(scope="module")
def techniques(registry: plugins.Registry) -> dict[str, object]:
    return {"perforation": registry.get("technique", "perforation")}


@pytest.fixture
def device(registry: plugins.Registry) -> Device:
    return registry.get("backend", "opencl").open({})


@pytest.fixture(autouse=True)
def cache(device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(tuning.LIMIT, "20")
    return tmp_path


def test_a_search_decides_about_every_shape_and_the_next_one_has_nothing_to_do(device, techniques) -> None:
    steps: list[Progress] = []
    found = tuning.tuned(GRAPH, device, techniques, [ROWS], progress=steps.append)
    assert len(found) == 2  # exact, and with rows skipped
    assert (steps[-1].stage, steps[-1].done, steps[-1].total) == ("tuning", 2, 2)
    again: list[Progress] = []
    assert dict(tuning.tuned(GRAPH, device, techniques, [ROWS], progress=again.append)) == dict(found)
    assert not again


def test_every_way_computes_the_same(device, techniques) -> None:
    plan, ways = alternatives(GRAPH, device.info, techniques, [ROWS], {})
    runner = device.load(plan)
    assert len(ways) == 2
    for (operator, variant), found in ways.items():
        assert (variant, len(set(found.ways))) == (found.variants[0], len(found.variants))
        outputs = []
        for number in found.variants:
            chosen = [0] * len(plan.operators)
            chosen[operator] = number
            runner.select(chosen)
            outputs.append(runner.run(X))
        for output in outputs[1:]:
            np.testing.assert_allclose(output, outputs[0], rtol=1e-4, atol=1e-5)


def test_a_plan_takes_the_ways_that_are_known_and_the_rule_for_others(device, techniques) -> None:
    _, ways = alternatives(GRAPH, device.info, techniques, [ROWS], {})
    rule = lower(GRAPH, device.info, techniques, {}, [ROWS])
    for found in ways.values():
        plans = [lower(GRAPH, device.info, techniques, {}, [ROWS], ways={found.key: way}) for way in found.ways]
        assert plans[0].operators == rule.operators
        assert any(plan.operators != rule.operators for plan in plans[1:])
    illegal = lower(
        GRAPH, device.info, techniques, {}, [ROWS], ways={found.key: tuning.Way("convolution", 5, 7) for found in ways.values()}
    )
    assert illegal.operators == rule.operators


def test_other_kernels_or_another_device_forget_the_verdicts(device, techniques, monkeypatch) -> None:
    assert len(tuning.tuned(GRAPH, device, techniques)) == 1
    assert len(tuning.Verdicts(replace(device.info, driver="newer"))) == 0
    monkeypatch.setattr(tuning, "_source", lambda: "changed")
    assert len(tuning.Verdicts(device.info)) == 0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"template": 3}', '{"template": 1, "pixels": "x"}', '{"unknown": 1}'])
def test_a_damaged_verdict_is_none(device, techniques, cache: Path, text: str) -> None:
    assert len(tuning.tuned(GRAPH, device, techniques)) == 1
    (file,) = cache.rglob("tuning-*/*.json")
    file.write_text(text)
    assert len(tuning.Verdicts(device.info)) == 0
    plan = lower(GRAPH, device.info, techniques, {}, ways=tuning.Verdicts(device.info))
    assert plan.operators == lower(GRAPH, device.info, techniques, {}).operators


@pytest.mark.parametrize("limit", ["0", "-1"])
def test_without_time_nothing_is_searched(device, techniques, monkeypatch, limit: str) -> None:
    monkeypatch.setenv(tuning.LIMIT, limit)
    assert len(tuning.tuned(GRAPH, device, techniques, [ROWS])) == 0


def test_what_does_not_fit_into_the_limit_is_left_for_the_next_search(device, techniques, monkeypatch) -> None:
    monkeypatch.setenv(tuning.LIMIT, "0.0001")
    assert len(tuning.tuned(GRAPH, device, techniques, [ROWS])) == 0
    monkeypatch.setenv(tuning.LIMIT, "20")
    assert len(tuning.tuned(GRAPH, device, techniques, [ROWS])) == 2


def test_a_search_takes_no_more_memory_than_it_may(device, techniques, monkeypatch) -> None:
    weights = sum(values.nbytes for op in GRAPH.operators for values in op.constants.values())
    monkeypatch.setattr(tuning, "MEMORY", tuning.COPIES * weights - 1)
    assert len(tuning.tuned(GRAPH, device, techniques, [ROWS])) == 0
    monkeypatch.setattr(tuning, "MEMORY", tuning.COPIES * weights)
    assert len(tuning.tuned(GRAPH, device, techniques, [ROWS])) == 1  # the exact network alone


def test_the_model_of_effects_finds_what_is_faster_among_noise() -> None:
    rng = np.random.default_rng(0)
    design = tuning._design([5, 3, 2])
    cost = np.array([[0, 2, -4, 1, 3], [0, 0, 0, 9, 9], [0, -0.02, 9, 9, 9]])
    times = 100 + sum(cost[shape][design[:, shape]] for shape in range(3)) + rng.normal(0, 0.5, len(design))
    times[::7] += 60  # somebody took the processor
    assert tuning._fastest(design, times) == [2, 0, 0]


@pytest.mark.parametrize(
    ("pixels", "vectors", "tile"),
    [(32 * 32, 4, (8, 2)), (56 * 56, 9, (6, 3)), (14 * 14, 24, (4, 4)), (32 * 32, 1, (8, 1)), (2 * 2, 32, (4, 4))],
)
def test_wide_units_multiply_what_they_load_twice_and_fill_their_tiles(device, pixels: int, vectors: int, tile: tuple[int, int]) -> None:
    rule = product_ways(replace(device.info, kind="cpu", isa="avx512"), pixels, vectors)[0]
    assert (rule.pixels, rule.vectors) == tile
