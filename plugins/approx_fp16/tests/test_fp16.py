"""Half precision: its rounding on the device is IEEE's, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import jsonschema
import numpy as np
import pytest
from mobiprox_approx_fp16.brain import Brain
from mobiprox_approx_fp16.half import Half
from mobiprox_approx_fp16.reference import round_to_brain, round_to_half
from mobiprox_approx_fp16.storage import ARITHMETIC, ROUNDED, pack_brains

from mobiprox_core import reference
from mobiprox_core.configuration import Configuration, KnobSpace, Setting
from mobiprox_core.errors import DeviceError, InfeasibleSetting
from mobiprox_core.lowering import lower
from mobiprox_core.plan import DeviceInfo
from mobiprox_core.profile import feasible
from mobiprox_core.program import assemble
from mobiprox_core.tables import KernelSource
from mobiprox_core.testing import TechniqueContract, graphs
from mobiprox_core.testing import technique as kit

DEVICE = DeviceInfo(name="test", driver="", runtime="")

WRAPPERS = """
kernel void widen_vector(global const ushort *x, global float *y) {
    VECTOR(y + VL * get_global_id(0)) = vector_from_half(x + VL * get_global_id(0));
}
kernel void round_vector(global const float *x, global float *y) {
    VECTOR(y + VL * get_global_id(0)) = rounded_to_half(VECTOR(x + VL * get_global_id(0)));
}
"""


class TestHalfContract(TechniqueContract):
    @pytest.fixture
    def technique(self) -> Half:
        return Half()

    @pytest.fixture
    def options(self) -> dict[str, list[str]]:
        return {"arithmetic": ["half", "float32"]}


class TestBrainContract(TechniqueContract):
    @pytest.fixture
    def technique(self) -> Brain:
        return Brain()


@pytest.fixture(scope="module")
def run():
    """run(kernel, x, dtype of the result, items per work-item) on the first OpenCL device."""
    cl = pytest.importorskip("pyopencl")
    try:
        device = pytest.importorskip("mobiprox_backend_opencl.finding").find()[0]
    except DeviceError as fault:
        pytest.skip(str(fault))
    context = cl.Context([device.handle])
    queue = cl.CommandQueue(context)
    source, _ = assemble(DEVICE, (), (), Half().kernels(DEVICE))
    program = cl.Program(context, source + WRAPPERS).build()

    def run(kernel: str, x: np.ndarray, dtype: type, width: int = 1) -> np.ndarray:
        out = np.empty(len(x), dtype)
        flags = cl.mem_flags
        source = cl.Buffer(context, flags.READ_ONLY | flags.COPY_HOST_PTR, hostbuf=x)
        target = cl.Buffer(context, flags.WRITE_ONLY, out.nbytes)
        cl.Kernel(program, kernel)(queue, (len(x) // width,), None, source, target)
        cl.enqueue_copy(queue, out, target)
        return out

    return run


def samples() -> np.ndarray:
    """A million floats of every magnitude, then every half, its neighbours among the floats and all midpoints between halves."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 32, 1 << 20, np.uint32).view(np.float32)
    near = (rng.normal(size=1 << 18) * 10.0 ** rng.uniform(-9, 6, 1 << 18)).astype(np.float32)
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    finite = np.sort(halves[np.isfinite(halves)])
    midpoints = ((finite[1:].astype(np.float64) + finite[:-1]) / 2).astype(np.float32)
    special = np.array([65519.996, 65520, 65536, np.inf, -np.inf, np.nan, 0.0, -0.0, 2.0**-25, 2.0**-24, 1e-45], np.float32)
    halves = halves[~np.isnan(halves)]
    groups = [special]
    for values in (halves, midpoints):
        groups += [values, np.nextafter(values, np.float32(np.inf)), np.nextafter(values, np.float32(-np.inf))]
    x = np.concatenate([bits, near, *groups])
    return np.pad(x, (0, -len(x) % 16))


@pytest.mark.opencl
def test_every_half_is_widened_exactly(run) -> None:
    halves = np.arange(1 << 16, dtype=np.uint16)
    expected = halves.view(np.float16).astype(np.float32)
    got = run("widen_vector", halves, np.float32, DEVICE.vector)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    finite = ~np.isnan(expected)
    np.testing.assert_array_equal(got[finite].view(np.uint32), expected[finite].view(np.uint32))


@pytest.mark.opencl
def test_floats_of_every_magnitude_are_rounded_to_nearest_even(run) -> None:
    x = samples()
    with np.errstate(over="ignore", invalid="ignore"):
        expected = x.astype(np.float16)
    numbers = ~np.isnan(expected)
    rounded = run("round_vector", x, np.float32, DEVICE.vector)
    assert np.isnan(rounded[~numbers]).all()
    np.testing.assert_array_equal(rounded[numbers].view(np.uint32), expected.astype(np.float32)[numbers].view(np.uint32))


class FloatsForHalves(Half):
    """The kernels of half arithmetic with float32 in place of half, so that devices without half can run them."""

    def edit(self, setting, operator, tables, device, fitted):
        return replace(tables, storage=replace(ARITHMETIC, pack=lambda weight: round_to_half(weight[..., 0])))

    def form(self, setting, operator, role, device, statistics):
        return ROUNDED if role == "input" else None

    def refusal(self, setting, device):
        return None

    def kernels(self, device: DeviceInfo) -> tuple[KernelSource, ...]:
        (source,) = super().kernels(device)
        return (replace(source, text="#define half float\n#ifndef cl_khr_fp16\n#define cl_khr_fp16 1\n#endif\n" + source.text),)


@pytest.mark.opencl
@pytest.mark.parametrize("case", graphs.AWKWARD)
@pytest.mark.parametrize(
    ("technique", "spelt"), [(Half(), "fp16(arithmetic=float32)"), (FloatsForHalves(), "fp16")], ids=["storage", "arithmetic"]
)
def test_outputs_differ_from_the_meaning_by_no_more_than_one_place_of_a_half(technique: Half, spelt: str, case: str) -> None:
    """Sums in float32: all that may differ is which of two neighbouring halves a sum rounds to."""
    graph, setting = graphs.AWKWARD[case](), Setting.parse(spelt)
    x = graphs.inputs(graph)
    (expected,) = reference.run(graph, x, Configuration({"op": setting}), {"fp16": technique})
    for device in kit.devices():
        runner = device.load(lower(graph, device.info, {"fp16": technique}, {"op": [setting]}))
        runner.select([int(operator.name == "op") for operator in runner.plan.operators])
        y = np.asarray(runner.run(*x))
        runner.close()
        np.testing.assert_array_equal(y, round_to_half(y))
        np.testing.assert_allclose(y, expected, rtol=2**-10, atol=1e-6)


def test_the_reference_rounds_to_eleven_bits_and_keeps_subnormals() -> None:
    x = np.array([1 + 2**-11, 1 + 3 * 2**-11, 2.0**-24, 2.0**-25, 65519, 65520, -0.0], np.float32)
    np.testing.assert_array_equal(round_to_half(x), np.array([1, 1 + 2**-9, 2.0**-24, 0, 65504, np.inf, -0.0], np.float32))


def test_convolutions_and_dense_layers_have_one_setting_unless_left_out() -> None:
    for graph in (graphs.convolution(), graphs.dense()):
        assert [str(s) for s in Half().settings(graph.operators[0], graph, {})] == ["fp16"]
    options = {"operators": ["dense"]}
    jsonschema.validate(options, dict(Half.options))
    graph = graphs.convolution()
    assert not list(Half().settings(graph.operators[0], graph, options))


def test_halves_in_memory_alone_are_another_setting() -> None:
    graph = graphs.dense()
    options = {"arithmetic": ["half", "float32"]}
    jsonschema.validate(options, dict(Half.options))
    assert [str(s) for s in Half().settings(graph.operators[0], graph, options)] == ["fp16", "fp16(arithmetic=float32)"]


def test_half_arithmetic_is_refused_with_a_reason_where_the_device_has_none() -> None:
    graph = graphs.AWKWARD["plain"]()
    with pytest.raises(InfeasibleSetting, match="cl_khr_fp16") as refused:
        lower(graph, DEVICE, {"fp16": Half()}, {"op": [Setting.of("fp16")]})
    assert "arithmetic=float32" in str(refused.value.mend)
    lower(graph, replace(DEVICE, fp16=True), {"fp16": Half()}, {"op": [Setting.of("fp16")]})
    lower(graph, DEVICE, {"fp16": Half()}, {"op": [Setting.parse("fp16(arithmetic=float32)")]})


def test_what_a_device_refuses_is_left_out_of_a_profile_with_the_reason() -> None:
    every = tuple(map(Setting.parse, ("exact", "fp16", "bf16", "fp16(arithmetic=float32)")))
    space, refused = feasible(KnobSpace({"op": every}), {"fp16": Half(), "bf16": Brain()}, DEVICE)
    assert [str(setting) for setting in space["op"]] == ["exact", "fp16(arithmetic=float32)"]
    assert [text.partition(",")[0] for text in refused] == ["'bf16'", "'fp16'"]
    assert "avx512_bf16" in refused[0]
    assert "cl_khr_fp16" in refused[1]
    assert feasible(space, {"fp16": Half()}, DEVICE) == (space, ())


# -- bfloat16


def test_bfloat16_is_the_upper_half_of_a_float_to_nearest_even() -> None:
    x = np.array([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, 3.3961776e38, 2.0**-133, -0.0, np.inf, np.nan], np.float32)
    expected = np.array([1, 1 + 2**-6, 1 + 2**-7, np.inf, 2.0**-133, -0.0, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(round_to_brain(x).view(np.uint32) & 0xFFFF, 0)
    np.testing.assert_array_equal(round_to_brain(x), expected)


def test_two_bfloat16_make_a_word_the_first_in_the_lower_half() -> None:
    (word,) = pack_brains(np.array([[1.0, 2.0]], np.float32)).view(np.uint32)
    assert word == 0x4000_3F80


def test_bfloat16_is_refused_with_a_reason_where_the_processor_does_not_multiply_it() -> None:
    graph = graphs.AWKWARD["plain"]()
    with pytest.raises(InfeasibleSetting, match="avx512_bf16"):
        lower(graph, DEVICE, {"bf16": Brain()}, {"op": [Setting.of("bf16")]})


@pytest.mark.opencl
def test_neighbours_hand_bfloat16_on_without_a_round_trip() -> None:
    """The second operator reads what the first one wrote: no conversion in between, and the same result."""
    graph, level = graphs.identity_block(activation=None), Configuration({"op": Setting.of("bf16")})
    found = [device for device in kit.devices() if "avx512_bf16" in device.info.features]
    if not found:
        pytest.skip("no device that multiplies bfloat16")
    plan = lower(graph, found[0].info, {"bf16": Brain()}, {}, [level])
    x = graphs.inputs(graph)
    (expected,) = reference.run(graph, x, level, {"bf16": Brain()})
    runner = found[0].load(plan)
    runner.set_level(1)
    np.testing.assert_allclose(np.asarray(runner.run(*x)), expected, rtol=1e-4, atol=1e-4)
    runner.close()
