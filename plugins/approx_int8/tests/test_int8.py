"""8-bit integers: exact in every body, without overflow, handed on between neighbours, together with other techniques."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from mobiprox_approx_int8.grid import LARGEST, Grid, codes, found_steps, grid, steps
from mobiprox_approx_int8.narrow import WeightOnly
from mobiprox_approx_int8.quantised import MOST_ELEMENTS, Quantised
from mobiprox_approx_int8.rounding import representable, rounded
from mobiprox_approx_int8.storage import body

from mobiprox_core import reference
from mobiprox_core.bench.settings import configuration
from mobiprox_core.configuration import Configuration, Setting
from mobiprox_core.errors import DeviceError, InfeasibleSetting, UsageError
from mobiprox_core.graph import Activation, Graph, Operator, TensorSpec
from mobiprox_core.interfaces import Moments
from mobiprox_core.isa import VECTOR
from mobiprox_core.lowering import lower
from mobiprox_core.plan import DeviceInfo
from mobiprox_core.testing import TechniqueContract, graphs, statistics
from mobiprox_core.testing import technique as kit

DOT_PRODUCT = """
inline int dot_4x8packed_us_int(uint x, uint w) {
    int sum = 0;
    for (int i = 0; i < 32; i += 8) sum += (int)((x >> i) & 255u) * (int)(char)((w >> i) & 255u);
    return sum;
}
"""
"""What the OpenCL extension does, for devices that lack it."""


class TestQuantisedContract(TechniqueContract):
    @pytest.fixture
    def technique(self) -> Quantised:
        return Quantised()

    @pytest.fixture
    def options(self):
        return {"activations": [8, 7], "weights": [8, 7]}


class TestWeightOnlyContract(TechniqueContract):
    @pytest.fixture
    def technique(self) -> WeightOnly:
        return WeightOnly()


class WithDotProduct(Quantised):
    """On a device without the extension, its function is written out."""

    def kernels(self, device):
        (source,) = super().kernels(device)
        return (replace(source, text=DOT_PRODUCT + source.text),)


def bodies() -> dict[str, tuple[object, DeviceInfo]]:
    """Every body that some device here can run, with that device."""
    registry, found = kit.installed(), {}
    if "opencl" not in registry.names("backend"):
        return {}
    backend = registry.get("backend", "opencl")
    flags = {report.info.isa for report in backend.devices() if report.info is not None and report.info.kind == "cpu"}
    for isa in [name for name in VECTOR if flags and (name in flags or VECTOR[name] <= max(VECTOR[flag] for flag in flags))]:
        device = backend.open({"isa": isa, "threads": 1})
        for features in (device.info.features, (), *([("cl_khr_integer_dot_product",)] if isa == "generic" else [])):
            info = replace(device.info, features=features)
            device.info = replace(device.info, features=tuple(sorted({*device.info.features, *features})))
            found.setdefault(f"{body(info)}, {isa}", (device, info))
    return found


BODIES = bodies()
every_body = pytest.mark.parametrize("which", BODIES)


def results(which: str, graph: Graph, x, settings: Sequence[Setting], observed) -> list[np.ndarray]:
    device, info = BODIES[which]
    technique = WithDotProduct() if "dot_product" in which else Quantised()
    runner = device.load(lower(graph, info, {"int8": technique}, {"op": settings}, statistics=lambda op: observed))
    found = []
    for variant in range(1, 1 + len(settings)):
        runner.select([variant if operator.name == "op" else 0 for operator in runner.plan.operators])
        found.append(np.asarray(runner.run(*x)))
    runner.close()
    return found


# -- arithmetic


@pytest.mark.opencl
@every_body
@pytest.mark.parametrize("case", ["stride 2, odd channels", "grouped", "depthwise, residual", "dense over a sequence"])
def test_every_body_gives_the_integers_of_numpy(which: str, case: str) -> None:
    """What is left is rounding of the scaled sums, in float32."""
    graph = graphs.AWKWARD[case]()
    observed, x = statistics.some(graph), graphs.inputs(graph)
    settings = [Setting.of("int8"), Setting.of("int8", activations=7), Setting.of("int8", weights=7)]
    for setting, y in zip(settings, results(which, graph, x, settings, observed), strict=True):
        (expected,) = reference.run(graph, x, Configuration({"op": setting}), {"int8": Quantised()}, lambda op: observed)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.opencl
@every_body
def test_the_greatest_products_do_not_overflow(which: str) -> None:
    """All inputs at the top of their grid, all weights at either end of theirs: sums that two bytes a pair cannot hold."""
    graph = graphs.convolution(channels=64, filters=16, size=(6, 6), kernel=(3, 3))
    op = graph["op"]
    weight = np.full_like(op.constants["weight"], 1 / 64)
    weight[::2] *= -1
    op = replace(op, constants={"weight": weight, "bias": np.zeros(16, np.float32)})
    graph = replace(graph, operators=(op,))
    x = (np.ones(graph.inputs[0].shape, np.float32),)
    settings = [Setting.of("int8", range="minmax", **knobs) for knobs in ({}, {"activations": 7}, {"weights": 7})]
    (exact,) = reference.run(graph, x)
    for y in results(which, graph, x, settings, statistics.observe(graph, [x])):
        np.testing.assert_allclose(y, exact, rtol=1e-5)


def test_filters_whose_sums_may_overflow_are_not_offered_and_refused() -> None:
    graph = graphs.dense(features=8, outputs=1)
    op = graph["op"]
    large = replace(op, constants={"weight": np.zeros((1, MOST_ELEMENTS + 1), np.float32), "bias": op.constants["bias"]})
    assert not list(Quantised().settings(large, graph, {}))
    with pytest.raises(InfeasibleSetting, match="overflow"):
        Quantised().form(Setting.of("int8").parts[0], large, "input", kit.GENERIC, statistics.some(graph))


# -- grids


@pytest.mark.parametrize("how", ["quartic", "mse", "percentile", "minmax"])
def test_a_grid_holds_zero_exactly(how: str) -> None:
    values = np.sort(np.random.default_rng(0).normal(0.3, 1, 4000).astype(np.float32))
    found = grid(values, 8, how)
    assert found.nearest(np.zeros(1, np.float32))[0] == 0
    assert found.encode(values).min() >= 0
    assert found.encode(values).max() <= 255


def test_what_lies_outside_a_grid_goes_to_its_end() -> None:
    found = Grid.over(-1.0, 1.0, 255)
    assert found.encode(np.array([-9, 9], np.float32)).tolist() == [0, 255]


def test_one_outlier_does_not_widen_the_grid_but_where_all_must_fit() -> None:
    values = np.sort(np.append(np.random.default_rng(0).random(20_000), 50).astype(np.float32))
    scales = {how: float(grid(values, 8, how).scale) for how in ("quartic", "mse", "percentile", "minmax")}
    assert scales["minmax"] == pytest.approx(50 / 255)
    assert scales["percentile"] < 2 / 255
    assert scales["mse"] <= scales["quartic"] <= scales["minmax"]


def test_a_tensor_that_is_always_zero_has_a_grid() -> None:
    assert grid(np.zeros(5, np.float32), 8, "quartic").nearest(np.zeros(3, np.float32)).tolist() == [0, 0, 0]


# -- rounding


def test_rounding_that_looks_at_the_inputs_changes_outputs_less_than_the_nearest() -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(3000, 8)) @ rng.normal(size=(8, 48)) + 0.1 * rng.normal(size=(3000, 48))).astype(np.float64)
    weight = rng.normal(size=(16, 48)).astype(np.float32)
    centred = x - x.mean(0)
    moments = Moments(len(x), x.mean(0)[None], (x.mean(0) @ weight.T)[None], (centred.T @ centred,), np.zeros((1, 48, 16)))
    moments = replace(moments, scatter=(moments.scatter[0][None],))
    chosen, step = rounded(moments, weight)
    assert np.abs(chosen).max() <= LARGEST

    def error(integers: np.ndarray) -> float:
        return float(np.square(centred @ (integers * step[:, None] - weight).T).sum())

    assert error(chosen) < 0.5 * error(codes(weight, steps(weight)))


# -- neighbours


@pytest.mark.parametrize("sampled", [False, True])
def test_the_bias_makes_up_for_what_rounding_activations_does_to_the_mean(sampled: bool) -> None:
    """Most values a quarter of a step from zero, and a few large ones: rounded, all of the former are lost."""
    graph = graphs.convolution(channels=8, filters=6, size=(9, 9))
    (spec,) = graph.inputs
    rng = np.random.default_rng(2)
    x = np.where(rng.random(spec.shape) < 0.02, 255, -0.25).astype(np.float32)
    seen = statistics.observe(graph, [(x,)])
    techniques = {name: kit.installed().get("technique", name) for name in ("int8", "filter_sampling")}

    def means(text: str) -> np.ndarray:
        level = Configuration({"op": Setting.parse(text)})
        return reference.run(graph, (x,), level, techniques, lambda op: seen)[0].mean((0, 2, 3), dtype=np.float64)

    sampling = "filter_sampling(granule=4, offset=0, refit=independent, stride=2)" if sampled else "exact"
    lost = 0.25 * np.abs(graph["op"].constants["weight"].sum((1, 2, 3)))
    off = np.abs(means(f"{sampling} + int8" if sampled else "int8") - means(sampling))
    assert off.max() < 0.1 * lost.max()


def test_a_setting_written_by_hand_may_have_other_knobs_than_those_on_offer() -> None:
    techniques = {name: kit.installed().get("technique", name) for name in ("int8", "filter_sampling", "perforation")}
    graph = graphs.convolution(channels=8, filters=6, size=(9, 9))
    text = (
        "filter_sampling(granule=4, offset=0, refit=independent, stride=2) + int8(range=mse) + perforation(axis=rows, offset=1, stride=2)"
    )
    assert configuration(text, graph, techniques)["op"] == Setting.parse(text)
    for wrong in ("int8(range=median)", "filter_sampling(granule=4, offset=2, stride=2)"):
        with pytest.raises(UsageError, match="not legal"):
            configuration(wrong, graph, techniques)


def test_the_steps_of_rounded_weights_are_found_again() -> None:
    rng = np.random.default_rng(4)
    integers = rng.integers(-120, 121, (40, 30)).astype(np.float32)
    integers[:, 0] = rng.integers(70, 128, 40)
    integers = np.where(np.abs(integers) > integers[:, :1], integers[:, :1], integers)
    step = rng.uniform(1e-3, 1, 40).astype(np.float32)
    halved = (integers * step[:, None]).astype(np.float16).astype(np.float32)
    found = found_steps(halved)
    common = np.gcd.reduce(integers.astype(int), axis=1)  # of channels whose integers have a divisor, that is the step
    np.testing.assert_allclose(found[common == 1], step[common == 1], rtol=2e-3)
    np.testing.assert_array_equal(codes(halved, found)[common == 1], integers[common == 1])
    weight = rng.standard_normal((5, 40)).astype(np.float32)
    np.testing.assert_array_equal(found_steps(weight), steps(weight))


@pytest.mark.parametrize("groups", [1, 3])
def test_weights_fitted_to_a_level_are_rounded_so_that_outputs_change_least(groups: int) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((groups, 500, 6)) @ rng.standard_normal((groups, 6, 24)) + 0.3 * rng.standard_normal((groups, 500, 24))
    weight = rng.standard_normal((6 * groups, 24)).astype(np.float32)

    def off(given: np.ndarray) -> float:
        return float(np.square(x @ (given - weight).reshape(groups, -1, 24).transpose(0, 2, 1)).sum())

    nearest = codes(weight, steps(weight)) * steps(weight)[:, None]
    stored = representable(weight, x.transpose(0, 2, 1) @ x)
    assert off(stored) < 0.5 * off(nearest)
    np.testing.assert_allclose(stored / steps(weight)[:, None], np.rint(stored / steps(weight)[:, None]), atol=1e-4)


def chain(activation: Activation) -> Graph:
    """conv, max pool, conv with a residual, conv: padded, so that halos matter."""
    shape = (1, 16, 12, 12)
    first, half = (
        graphs.convolution(channels=16, filters=16, size=(12, 12)),
        graphs.convolution(channels=16, filters=16, size=(6, 6), seed=1),
    )
    pool = {"op": "max", "kernel": (2, 2), "strides": (2, 2), "pads": (0, 0, 0, 0), "dilations": (1, 1), "count_include_pad": False}
    operators = (
        replace(first["op"], name="a", output="ta", activation=activation),
        Operator("p", "pool", ("ta",), "tp", pool),
        replace(half["op"], name="b", inputs=("tp", "weight", "bias"), output="tb", residual="tp", activation=activation),
        replace(half["op"], name="op", inputs=("tb", "weight", "bias"), output="y"),
    )
    small = (1, 16, 6, 6)
    tensors = {n: TensorSpec(n, s) for n, s in {"x": shape, "ta": shape, "tp": small, "tb": small, "y": small}.items()}
    return Graph("chain", 1, (tensors["x"],), (tensors["y"],), operators, tensors)


def known(graph: Graph):
    """The statistics of every convolution; a max pool's output counts as its input."""
    batches = [graphs.inputs(graph, seed) for seed in range(1, 5)]
    found = {op.name: statistics.observe(graph, batches, op.name) for op in graph.operators if op.kind == "conv"}
    of_ta = np.sort(np.concatenate([reference.activations(graph, batch)["ta"].ravel() for batch in batches]))
    found["b"]._values = {"input": of_ta, "residual": of_ta}
    return found.get


@pytest.mark.opencl
@every_body
def test_neighbours_hand_bytes_on_and_pool_them(which: str) -> None:
    """With negative values too, so that zero is not stored as zero and halos have to be filled."""
    graph = chain(Activation("tanh"))
    device, info = BODIES[which]
    technique = WithDotProduct() if "dot_product" in which else Quantised()
    level = Configuration({name: Setting.of("int8", activations=7) for name in ("a", "b", "op")})
    plan = lower(graph, info, {"int8": technique}, {}, [level], statistics=known(graph))
    picked = [o.variants[v] for o, v in zip(plan.operators, plan.levels[1], strict=True)]
    converted = [launch.function for variant in picked for launch in variant.launches if launch.function.startswith(("convert", "restore"))]
    assert converted == ["convert_to_bytes"], "only the network's input is converted"
    runner = device.load(plan)
    runner.set_level(1)
    x = graphs.inputs(graph)
    (expected,) = reference.run(graph, x, level, {"int8": Quantised()}, known(graph))
    for _ in range(2):
        off = kit.difference(np.asarray(runner.run(*x)), expected)
        assert off < 1e-2, "more than a step of some activation"  # sums may round to either side of a half
    runner.set_level(0)
    assert kit.difference(np.asarray(runner.run(*x)), reference.run(graph, x)[0]) < 1e-5
    runner.close()


@pytest.mark.opencl
@pytest.mark.parametrize("second", ["exact", "perforation(axis=columns, offset=0, stride=3)"])
@pytest.mark.parametrize("which", list(BODIES)[:1])
def test_perforated_neighbours_hand_bytes_on(which: str, second: str) -> None:
    """Skipped lines are filled in on float sums; bytes are what is written, and what is added to them."""
    graph = chain(Activation("tanh"))
    device, info = BODIES[which]
    techniques = {
        "int8": WithDotProduct() if "dot_product" in which else Quantised(),
        "perforation": kit.installed().get("technique", "perforation"),
    }
    setting = Setting.parse(f"int8(activations=7) + perforation(axis=rows, offset=1, stride=2) + {second}".removesuffix(" + exact"))
    level = Configuration(dict.fromkeys(("a", "b", "op"), setting))
    plan = lower(graph, info, techniques, {}, [level], statistics=known(graph))
    picked = [o.variants[v] for o, v in zip(plan.operators, plan.levels[1], strict=True)]
    converted = [launch.function for variant in picked for launch in variant.launches if launch.function.startswith(("convert", "restore"))]
    assert converted == ["convert_to_bytes"], "only the network's input is converted"
    x = graphs.inputs(graph)
    (expected,) = reference.run(graph, x, level, techniques, known(graph))
    runner = device.load(plan)
    runner.set_level(1)
    assert kit.difference(np.asarray(runner.run(*x)), expected) < 1e-2
    runner.close()


@pytest.mark.opencl
@pytest.mark.parametrize("batch", [1, 3])
@every_body
def test_parts_of_a_concatenation_are_written_as_bytes_of_the_whole(which: str, batch: int) -> None:
    """Also where one of them is exact, or read exactly by somebody else, and where the bytes are not wanted at all."""
    graph = graphs.joined(batch=batch)
    pooled = {"op": "average", "kernel": (7, 6), "strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1), "count_include_pad": False}
    other = TensorSpec("z", (batch, 16, 1, 1))
    mixed = replace(
        graph,
        outputs=(*graph.outputs, other),
        operators=(*graph.operators, Operator("pool", "pool", ("left",), "z", pooled)),
        tensors={**graph.tensors, "z": other},
    )
    device, info = BODIES[which]
    technique = WithDotProduct() if "dot_product" in which else Quantised()
    setting = Setting.of("int8", activations=7)
    levels = [Configuration(dict.fromkeys(names, setting)) for names in (("left", "right", "op"), ("right", "op"), ("left", "right"))]
    batches = [graphs.inputs(graph, seed) for seed in range(1, 5)]
    known = {name: statistics.observe(graph, batches, name) for name in ("left", "right", "op")}
    x = graphs.inputs(graph)
    for drawn in (graph, mixed):
        plan = lower(drawn, info, {"int8": technique}, {}, levels, statistics=known.get)
        runner = device.load(plan)
        for number, level in reversed(list(enumerate(levels, 1))):
            runner.set_level(number)
            y, expected = runner.run(*x), reference.run(drawn, x, level, {"int8": Quantised()}, known.get)
            for found, wanted in zip(y if isinstance(y, tuple) else (y,), expected, strict=True):
                assert kit.difference(found, wanted) < 1e-2
            used = [launch.function for o, v in zip(plan.operators, plan.levels[number], strict=True) for launch in o.variants[v].launches]
            assert "gather" not in used
            if drawn is graph:
                assert [name for name in used if name.startswith(("convert", "restore"))] == ["convert_to_bytes"], "the network's input"
        runner.close()


@pytest.mark.opencl
@pytest.mark.parametrize("which", list(BODIES)[:1])
def test_a_tensor_that_somebody_reads_exactly_is_kept_as_float_too(which: str) -> None:
    graph = chain(Activation("relu", low=0.0))
    device, info = BODIES[which]
    technique = WithDotProduct() if "dot_product" in which else Quantised()
    levels = [Configuration({name: Setting.of("int8") for name in names}) for names in (("a", "op"), ("b",), ("a", "b"))]
    runner = device.load(lower(graph, info, {"int8": technique}, {}, levels, statistics=known(graph)))
    x = graphs.inputs(graph)
    for number, level in reversed(list(enumerate(levels, 1))):
        (expected,) = reference.run(graph, x, level, {"int8": Quantised()}, known(graph))
        runner.set_level(number)
        assert kit.difference(np.asarray(runner.run(*x)), expected) < 1e-2
    runner.close()


def test_it_names_the_body_of_a_device() -> None:
    plain = DeviceInfo("", "", "")
    assert body(plain) == "plain"
    assert body(replace(plain, vector=4, features=("cl_khr_integer_dot_product",))) == "dot_product"
    assert body(replace(plain, isa="avx2")) == "madd"
    assert body(replace(plain, isa="avx512", features=("avx512_vnni",))) == "vnni"


@pytest.mark.opencl
def test_the_c_runtime_runs_the_same_plan() -> None:
    registry = kit.installed()
    if "native" not in registry.names("backend"):
        pytest.skip("mobiprox-backend-native is not installed")
    try:
        device = registry.get("backend", "native").open({"threads": 1})
    except DeviceError as fault:
        pytest.skip(f"the C runtime cannot be built here: {fault}")
    graph = chain(Activation("tanh"))
    level = Configuration({name: Setting.of("int8", activations=7) for name in ("a", "b", "op")})
    plan = lower(graph, device.info, {"int8": Quantised()}, {}, [level], statistics=known(graph))
    x = graphs.inputs(graph)
    (expected,) = reference.run(graph, x, level, {"int8": Quantised()}, known(graph))
    runner = device.load(plan)
    runner.set_level(1)
    assert kit.difference(np.asarray(runner.run(*x)), expected) < 1e-2
    runner.close()
    device.close()
