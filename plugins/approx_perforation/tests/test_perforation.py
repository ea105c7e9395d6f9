"""Perforation against the rules and test vectors of the original runtime."""

from __future__ import annotations

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mobiprox_approx_perforation.perforation import Perforation
from mobiprox_approx_perforation.reference import perforate_columns, perforate_rows

from mobiprox_core.configuration import KnobSetting, Setting
from mobiprox_core.errors import InfeasibleSetting
from mobiprox_core.testing import TechniqueContract, graphs


class TestPerforationContract(TechniqueContract):
    @pytest.fixture
    def technique(self) -> Perforation:
        return Perforation()


def rows(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, 1, -1, 1)


@pytest.mark.parametrize(
    ("length", "stride", "offset", "expected"),
    [
        (7, 3, 1, {1: (0, 2), 4: (3, 5)}),
        (6, 2, 1, {1: (0, 2), 3: (2, 4), 5: (4, 4)}),
        (5, 2, 0, {0: (1, 1), 2: (1, 3), 4: (3, 3)}),
        (4, 4, 3, {3: (2, 2)}),
        (2, 4, 3, {}),
        (2, 2, 0, {0: (1, 1)}),
        (2, 2, 1, {1: (0, 0)}),
        (1, 2, 0, {}),  # no line to interpolate from: exact
        (1, 2, 1, {}),
    ],
)
def test_skipped_lines_are_the_mean_of_their_neighbours(
    length: int, stride: int, offset: int, expected: dict[int, tuple[int, int]]
) -> None:
    y = np.random.default_rng(length).normal(size=(2, 3, length, 4)).astype(np.float32)
    want = y.copy()
    for line, (before, after) in expected.items():
        want[:, :, line] = (y[:, :, before] + y[:, :, after]) / 2
    np.testing.assert_array_equal(perforate_rows(y, stride, offset), want)
    np.testing.assert_array_equal(perforate_columns(y.swapaxes(2, 3), stride, offset), want.swapaxes(2, 3))


@given(length=st.integers(2, 19), stride=st.integers(2, 4), data=st.data())
def test_the_number_of_computed_lines_is_the_runtimes(length: int, stride: int, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, stride - 1))
    y = rows(*(np.arange(length, dtype=np.float64) ** 2 + 1))  # no value of it is the mean of its neighbours
    changed = int((perforate_rows(y, stride, offset) != y).sum())
    assert length - changed == length - max(0, -(-(length - offset) // stride))


@given(stride=st.integers(2, 4), slope=st.integers(-8, 8))
def test_a_linear_ramp_survives_away_from_the_border(stride: int, slope: int) -> None:
    y = rows(*(slope * np.arange(12)))
    np.testing.assert_array_equal(perforate_rows(y, stride, 1)[:, :, 1:-1], y[:, :, 1:-1])


def test_rows_and_columns_may_be_perforated_in_either_order() -> None:
    y = np.random.default_rng(0).normal(size=(2, 3, 7, 8)).astype(np.float32)
    np.testing.assert_allclose(
        perforate_rows(perforate_columns(y, 2, 1), 3, 0), perforate_columns(perforate_rows(y, 3, 0), 2, 1), rtol=1e-5, atol=1e-6
    )
    assert Perforation().slot(KnobSetting.of("perforation", axis="rows", stride=2, offset=0)) == "rows"
    assert Perforation().slot(KnobSetting.of("perforation", axis="columns", stride=2, offset=0)) == "columns"


def test_every_axis_stride_and_offset_is_offered_on_a_large_map() -> None:
    graph = graphs.convolution(size=(16, 16))
    offered = list(Perforation().settings(graph.operators[0], graph, {}))
    assert len(offered) == 18
    assert len(set(offered)) == 18


def test_options_restrict_strides_and_axes() -> None:
    graph = graphs.convolution(size=(16, 16))
    options = {"strides": [5], "axes": ["columns"]}
    jsonschema.validate(options, dict(Perforation.options))
    offered = {str(s) for s in Perforation().settings(graph.operators[0], graph, options)}
    assert offered == {f"perforation(axis=columns, offset={o}, stride=5)" for o in range(5)}


@pytest.mark.parametrize("options", [{"strides": [1]}, {"strides": []}, {"axes": ["depth"]}, {"strides": "2"}])
def test_options_that_mean_nothing_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(options, dict(Perforation.options))


def test_nothing_is_offered_that_skips_nothing_or_repeats_another_setting() -> None:
    one_row = graphs.convolution(size=(1, 3), kernel=(1, 1), pads=(0, 0, 0, 0))
    offered = [str(s) for s in Perforation().settings(one_row.operators[0], one_row, {})]
    assert offered == [
        "perforation(axis=columns, offset=0, stride=2)",
        "perforation(axis=columns, offset=1, stride=2)",
        "perforation(axis=columns, offset=0, stride=3)",
        "perforation(axis=columns, offset=2, stride=3)",
    ]


def test_depthwise_convolutions_are_perforated_and_dense_layers_are_not() -> None:
    depthwise = graphs.convolution(channels=8, filters=8, group=8)
    assert list(Perforation().settings(depthwise.operators[0], depthwise, {}))
    dense = graphs.dense()
    assert not list(Perforation().settings(dense.operators[0], dense, {}))
    with pytest.raises(InfeasibleSetting, match="only convolutions"):
        Perforation().reference(KnobSetting.of("perforation", axis="rows", stride=2, offset=0), dense.operators[0], dense, {})


@pytest.mark.parametrize(
    "text",
    ["perforation", "perforation(axis=depth, offset=0, stride=2)", "perforation(axis=rows, offset=2, stride=2)", "perforation(stride=2)"],
)
def test_a_setting_that_is_no_perforation_is_refused_with_an_example(text: str) -> None:
    (setting,) = Setting.parse(text)
    graph = graphs.convolution()
    with pytest.raises(InfeasibleSetting, match="write it like"):
        Perforation().reference(setting, graph.operators[0], graph, {})
