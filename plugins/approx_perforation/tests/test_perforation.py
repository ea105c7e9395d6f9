"""Perforation against the rules and test vectors of the original runtime."""

from __future__ import annotations

from contextlib import closing

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mobiprox_approx_perforation import fit
from mobiprox_approx_perforation.knobs import skipped
from mobiprox_approx_perforation.perforation import Perforation
from mobiprox_approx_perforation.reference import neighbours, perforate_columns, perforate_rows

from mobiprox_core import plugins
from mobiprox_core.configuration import KnobSetting, Setting
from mobiprox_core.errors import InfeasibleSetting
from mobiprox_core.lowering import lower
from mobiprox_core.testing import TechniqueContract, graphs


class TestPerforationContract(TechniqueContract):
    @pytest.fixture
    def technique(self) -> Perforation:
        return Perforation()


class TestFittedContract(TestPerforationContract):
    @pytest.fixture
    def options(self) -> dict[str, object]:
        return {"fill": "fitted", "strides": [2, 3]}


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


@pytest.mark.opencl
@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_the_kernel_gives_the_very_mean(axis: str) -> None:
    graph = graphs.convolution(channels=5, filters=19, size=(9, 8))
    setting = Setting.of("perforation", axis=axis, offset=1, stride=3)
    opened = plugins.load().get("backend", "opencl").open({})
    plan = lower(graph, opened.info, {"perforation": Perforation()}, {"op": [setting]})
    with closing(opened), closing(opened.load(plan)) as runner:
        runner.select([[v.setting for v in op.variants].index(setting) if op.name == "op" else 0 for op in plan.operators])
        given = runner.run(*graphs.inputs(graph)).swapaxes(2, 2 if axis == "rows" else 3)
    for line, before, after in zip(*neighbours(given.shape[2], range(1, given.shape[2], 3)), strict=True):
        np.testing.assert_array_equal(given[:, :, line], (given[:, :, before] + given[:, :, after]) / 2)


def correlated(seed: int) -> np.ndarray:
    """float32[40, 3, 9, 8], whose neighbours have more in common in one channel than in another."""
    x = np.random.default_rng(seed).standard_normal((40, 3, 9, 8)).astype(np.float32)
    x[:, 1:] += np.roll(x[:, 1:], 1, 2) + np.roll(x[:, 1:], 1, 3)
    x[:, 2] = np.cumsum(x[:, 2], axis=1) - 7
    return x


@pytest.mark.parametrize(("axis", "stride", "offset"), [("rows", 2, 0), ("rows", 3, 1), ("columns", 2, 1), ("columns", 4, 3)])
def test_a_fitted_fill_is_the_least_squares_solution_and_nearer_than_the_mean(axis: str, stride: int, offset: int) -> None:
    y, perforate = correlated(0), perforate_rows if axis == "rows" else perforate_columns
    fitted = fit.fill(y, axis, stride, offset)
    lines = np.moveaxis(y, 2 if axis == "rows" else 3, 0).astype(np.float64)  # [L, N, O, P]
    wanted, before, after = (lines[which] for which in neighbours(len(lines), skipped(len(lines), stride, offset)))
    for line, channel in np.ndindex(len(wanted), 3):
        b, a, t = (values[line, :, channel].ravel() - values[line, :, channel].mean() for values in (before, after, wanted))
        held = np.sqrt(fit.RIDGE * (b @ b + a @ a) / 2)
        rows = np.vstack([np.stack([b, a], axis=1), held * np.eye(2)])
        expected = np.linalg.lstsq(rows, np.append(t, [held / 2, held / 2]), rcond=None)[0]
        np.testing.assert_allclose(fitted[line, :2, channel], expected, rtol=1e-4, atol=1e-5)
    for seed, surely_nearer in ((0, (0, 1, 2)), (1, (0, 1))):  # 1: lines that nothing was fitted to; of a walk the mean says all there is
        y = correlated(seed)
        ours, means = (((perforate(y, stride, offset, fill) - y) ** 2).mean((0, 2, 3)) for fill in (fitted, None))
        assert all(ours[channel] < means[channel] for channel in surely_nearer)


def test_both_fills_are_on_offer_where_the_experiment_says_so() -> None:
    graph = graphs.convolution(size=(16, 16))
    for fill, count in (("mean", 18), ("fitted", 18), ("auto", 36)):
        options = {"fill": fill}
        jsonschema.validate(options, dict(Perforation.options))
        assert len(set(Perforation().settings(graph.operators[0], graph, options))) == count


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
    [
        "perforation",
        "perforation(axis=depth, offset=0, stride=2)",
        "perforation(axis=rows, offset=2, stride=2)",
        "perforation(stride=2)",
        "perforation(axis=rows, fill=median, offset=0, stride=2)",
    ],
)
def test_a_setting_that_is_no_perforation_is_refused_with_an_example(text: str) -> None:
    (setting,) = Setting.parse(text)
    graph = graphs.convolution()
    with pytest.raises(InfeasibleSetting, match="write it like"):
        Perforation().reference(setting, graph.operators[0], graph, {})
