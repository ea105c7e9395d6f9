"""Filter sampling against the rules and test vectors of the original runtime."""

from __future__ import annotations

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mobiprox_approx_filter_sampling.knobs import Filter, skipped
from mobiprox_approx_filter_sampling.reference import sample_filter
from mobiprox_approx_filter_sampling.sampling import FilterSampling

from mobiprox_core.configuration import Setting
from mobiprox_core.errors import InfeasibleSetting
from mobiprox_core.graph import Graph
from mobiprox_core.testing import TechniqueContract, graphs


class TestFilterSamplingContract(TechniqueContract):
    @pytest.fixture
    def technique(self) -> FilterSampling:
        return FilterSampling()


class TestFilterSamplingContractWithDenseLayersAndTheSimulatorsPattern(TechniqueContract):
    @pytest.fixture
    def technique(self) -> FilterSampling:
        return FilterSampling()

    @pytest.fixture
    def options(self) -> dict[str, object]:
        return {"dense": True, "pattern": "predtuner", "strides": [2, 5], "keep": ["7/8", "2/5"]}


def dropped(shape: tuple[int, ...], stride: int, offset: int, pattern: str = "runtime") -> list[set[int]]:
    """Per channel the local indices that are zeroed."""
    out = sample_filter(np.ones((2, *shape), np.float32), stride, offset, pattern)
    np.testing.assert_array_equal(out[0], out[1])
    return [set(np.flatnonzero(channel == 0).tolist()) for channel in out[0].reshape(shape[0], -1)]


@pytest.mark.parametrize(
    ("shape", "stride", "offset", "expected", "factor"),
    [
        ((4, 1, 1), 2, 1, [set(), {0}, set(), {0}], 2),
        ((2, 3, 3), 3, 0, [{0, 3, 6}, {1, 4, 7}], 1.5),
        ((2, 3, 3), 2, 0, [{0, 2, 4, 6, 8}, {1, 3, 5, 7}], 2),
        ((1, 5, 5), 4, 3, [{3, 7, 11, 15, 19, 23}], 4 / 3),
        ((3, 2, 2), 2, 1, [{1, 3}, {0, 2}, {1, 3}], 2),
        ((2, 4, 4), 4, 3, [{3, 7, 11, 15}, {0, 4, 8, 12}], 4 / 3),
    ],
)
def test_elements_are_dropped_and_the_rest_scaled(
    shape: tuple[int, ...], stride: int, offset: int, expected: list[set[int]], factor: float
) -> None:
    assert dropped(shape, stride, offset) == expected
    weight = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    out = sample_filter(weight, stride, offset)
    np.testing.assert_allclose(out[out != 0], (weight * np.float32(factor))[out != 0], rtol=1e-7)


def test_the_simulators_pattern_rotates_only_for_stride_3_on_3x3() -> None:
    assert dropped((2, 3, 3), 3, 0, "predtuner") == dropped((2, 3, 3), 3, 0)
    assert dropped((3, 2, 2), 2, 1, "predtuner") == [{1, 3}, {1, 3}, {1, 3}]
    assert dropped((2, 1, 3), 3, 0, "predtuner") == [{0}, {0}]


@given(channels=st.integers(1, 6), height=st.integers(1, 5), width=st.integers(1, 5), stride=st.integers(2, 4), data=st.data())
def test_as_many_elements_stay_as_the_runtime_keeps(channels: int, height: int, width: int, stride: int, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, stride - 1))
    size = channels * height * width
    kept = size - sum(map(len, dropped((channels, height, width), stride, offset)))
    expected = size - size // stride if height * width % stride == 0 else size - max(0, -(-(size - offset) // stride))
    assert kept == (expected or size)  # a filter of one element cannot lose it


def test_a_setting_without_effect_is_exact_and_not_offered() -> None:
    one = np.full((3, 1, 1, 1), 5, np.float32)
    for offset in (0, 1):
        np.testing.assert_array_equal(sample_filter(one, 2, offset), one)
    pointwise = graphs.convolution(channels=4, filters=4, kernel=(1, 1), pads=(0, 0, 0, 0), group=4)
    assert not list(FilterSampling().settings(pointwise.operators[0], pointwise, {}))


PAPER = {"refit": "off"}


def test_nine_settings_of_the_paper_on_convolutions_of_every_kind_and_on_dense_layers_only_on_request() -> None:
    for graph in (
        graphs.convolution(),
        graphs.convolution(channels=6, filters=6, group=6),
        graphs.convolution(channels=6, filters=4, group=2),
    ):
        assert len(set(FilterSampling().settings(graph.operators[0], graph, PAPER))) == 9
    dense = graphs.dense()
    assert not list(FilterSampling().settings(dense.operators[0], dense, PAPER))
    assert len(set(FilterSampling().settings(dense.operators[0], dense, {**PAPER, "dense": True}))) == 9


def test_with_calibration_inputs_the_same_are_offered_fitted_and_some_that_choose() -> None:
    def spelt(graph: Graph, **options: object) -> list[str]:
        return [str(s) for s in FilterSampling().settings(graph.operators[0], graph, options)]

    small, large, dense = graphs.convolution(), graphs.convolution(channels=12), graphs.dense()
    paper = spelt(small, refit="off")
    fitted = [s.replace(", stride", ", refit=independent, stride") for s in paper]
    quarters = [f"filter_sampling(choose=error, keep={keep}, of={of})" for keep, of in ((3, 4), (1, 2), (1, 3), (1, 4))]
    deep = [f"filter_sampling(choose=error, keep=1, of={of})" for of in (6, 10)]
    assert spelt(small) == [*paper, *fitted, *quarters]
    assert spelt(small, refit="independent") == [*fitted, *quarters]
    assert spelt(small, refit=False) == paper  # what YAML makes of a bare off
    assert spelt(large)[-6:] == [*quarters, *deep]
    assert spelt(large, granules=[1, 4], keep=["1/2"])[-2:] == [quarters[1], "filter_sampling(choose=error, granule=4, keep=1, of=2)"]
    assert spelt(dense) == [*(s for s in spelt(dense, dense=True) if "refit" in s), *quarters]


def test_dense_layers_are_sampled_along_their_features() -> None:
    weight = np.ones((2, 5), np.float32)
    np.testing.assert_array_equal(sample_filter(weight, 2, 1), [[2, 0, 2, 0, 2]] * 2)


@pytest.mark.parametrize(
    "options", [{"strides": [1]}, {"pattern": "mine"}, {"dense": 1}, {"refit": True}, {"refit": "some"}, {"keep": [0.5]}, {"keep": ["0/2"]}]
)
def test_options_that_mean_nothing_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(options, dict(FilterSampling.options))


@pytest.mark.parametrize(
    "text",
    [
        "filter_sampling",
        "filter_sampling(offset=2, stride=2)",
        "filter_sampling(offset=0, stride=2, pattern=x)",
        "filter_sampling(offset=0, refit=off, stride=2)",
        "filter_sampling(choose=error, keep=2, of=2)",
        "filter_sampling(choose=error, keep=1, of=2, stride=2)",
        "filter_sampling(choose=chance, keep=1, of=2)",
        "filter_sampling(choose=error, granule=0, keep=1, of=2)",
    ],
)
def test_a_setting_that_is_no_sampling_is_refused_with_an_example(text: str) -> None:
    (setting,) = Setting.parse(text)
    graph = graphs.convolution()
    with pytest.raises(InfeasibleSetting, match="write it like"):
        FilterSampling().reference(setting, graph.operators[0], graph, {})


# -- granules


def test_a_granule_skips_neighbouring_channels_at_one_place_together() -> None:
    """Channels 0 to 3 at every other place of a 1x3 filter, then 4 and 5: five elements of nine granule places."""
    shape = Filter(6, 1, 3)
    elements = skipped(shape, 2, 0, granule=4)
    channel, place = np.divmod(np.array(elements), 3)
    assert sorted(zip(channel.tolist(), place.tolist(), strict=True)) == [
        *((c, p) for c in range(4) for p in (0, 2)),
        *((c, 1) for c in (4, 5)),
    ]
    assert skipped(shape, 2, 0, granule=1) == skipped(shape, 2, 0)


class TestGranuleContract(TechniqueContract):
    @pytest.fixture
    def technique(self) -> FilterSampling:
        return FilterSampling()

    @pytest.fixture
    def options(self):
        return {"granules": [4], "strides": [2], "keep": ["1/2"]}
