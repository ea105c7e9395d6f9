"""Fitted weights and chosen elements against least squares solved the long way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mobiprox_approx_filter_sampling import fit
from mobiprox_approx_filter_sampling.knobs import Chosen, Filter, parse, skipped
from mobiprox_approx_filter_sampling.reference import sample_filter
from mobiprox_approx_filter_sampling.sampling import FilterSampling

from mobiprox_core.configuration import KnobSetting, Setting
from mobiprox_core.graph import Graph
from mobiprox_core.interfaces import Moments
from mobiprox_core.testing import graphs, statistics
from mobiprox_core.testing import strategies as some


def ridge(moments: Moments) -> np.ndarray:
    """[G], as the technique documents it: 1e-3 of the mean sum of squares."""
    squares = np.trace(moments.scatter[0], axis1=1, axis2=2) + moments.rows * (moments.mean**2).sum(1)
    value = 1e-3 * squares / moments.mean.shape[1]
    return np.where(value > 0, value, 1.0)


def error(moments: Moments, original: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> float:
    """||Y - X W - b||^2 + ridge ||W - W0||^2 over the kept elements (where W is not zero), from the moments alone.

    original, weight: [O, ...] with zeros for what is left out.
    """
    groups, elements = moments.mean.shape
    w0, w = (a.reshape(groups, -1, elements).transpose(0, 2, 1).astype(np.float64) for a in (original, weight))
    b = bias.reshape(groups, -1).astype(np.float64)
    change = w - w0  # outputs are X w0 + b0, so the misfit is X (w - w0) and a constant
    [scatter] = moments.scatter
    constant = np.einsum("gk,gko->go", moments.mean, w) + b - moments.target
    misfit = np.einsum("gko,gkl,glo->", change, scatter, change) + moments.rows * (constant**2).sum()
    held = ((change * (w != 0)) ** 2).sum((1, 2)) @ ridge(moments)
    return float(misfit + held)


def solved(moments: Moments, original: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Weights, bias and least error on these elements, by one least-squares problem per group and filter, nothing clever."""
    groups = len(moments.mean)
    out = np.zeros(original.reshape(len(original), -1).shape)
    bias = np.zeros(len(original))
    each = len(original) // groups
    for g in range(groups):
        hessian = moments.scatter[0][g][np.ix_(kept, kept)] + ridge(moments)[g] * np.eye(len(kept))
        for o in range(g * each, (g + 1) * each):
            w0 = original.reshape(len(original), -1)[o].astype(np.float64)
            right = (moments.scatter[0][g] @ w0)[kept] + ridge(moments)[g] * w0[kept]
            out[o, kept] = np.linalg.lstsq(hessian, right, rcond=None)[0]
            bias[o] = moments.target[g, o - g * each] - moments.mean[g, kept] @ out[o, kept]
    return out, bias, error(moments, original, out, bias)


def fitted(graph: Graph, setting: str | KnobSetting, known: statistics.Observed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """taps, the whole weight with zeros, bias."""
    op = graph["op"]
    knobs = Setting.parse(setting).parts[0] if isinstance(setting, str) else setting
    constants = FilterSampling().prepare(knobs, op, known)
    approximation = FilterSampling().reference(knobs, op, graph, constants)
    assert approximation.weight is not None
    assert approximation.bias is not None
    return constants["taps"], approximation.weight(op.constants["weight"]), approximation.bias(op.constants["bias"])


LAYERS = some.convolutions(largest=6) | some.dense_layers()


@settings(max_examples=60, deadline=None)
@given(graph=LAYERS)
def test_with_nothing_left_out_the_weights_come_out_as_they_went_in(graph: Graph) -> None:
    weight, known = graph["op"].constants["weight"], statistics.some(graph, 2)
    again, bias = fit.refit(known.moments(), weight, np.arange(weight[0].size))
    np.testing.assert_allclose(again, weight.reshape(len(weight), -1), atol=1e-4)
    np.testing.assert_allclose(bias, graph["op"].constants["bias"], atol=1e-4)


@settings(max_examples=100, deadline=None)
@given(graph=LAYERS, batches=st.integers(1, 4), data=st.data())
def test_a_refit_never_has_more_error_than_the_rescaled_weights(graph: Graph, batches: int, data: st.DataObject) -> None:
    op = graph["op"]
    weight, known = op.constants["weight"], statistics.some(graph, batches)
    stride = data.draw(st.integers(2, 4))
    offset = data.draw(st.integers(0, stride - 1))
    assume(skipped(Filter.of(weight), stride, offset))
    _, refitted, bias = fitted(graph, f"filter_sampling(offset={offset}, refit=independent, stride={stride})", known)
    plain = sample_filter(weight, stride, offset)
    ours, theirs = error(known.moments(), weight, refitted, bias), error(known.moments(), weight, plain, op.constants["bias"])
    assert ours <= theirs * (1 + 1e-5) + 1e-6 * known.moments().rows


@settings(max_examples=40, deadline=None)
@given(graph=LAYERS, data=st.data())
def test_a_refit_is_the_least_squares_solution_on_what_is_kept(graph: Graph, data: st.DataObject) -> None:
    weight, known = graph["op"].constants["weight"], statistics.some(graph, 3)
    size = weight[0].size
    kept = np.array(sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=size))))
    found, bias = fit.refit(known.moments(), weight, kept)
    expected, expected_bias, _ = solved(known.moments(), weight, kept)
    np.testing.assert_allclose(found, expected[:, kept], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(bias, expected_bias, rtol=1e-3, atol=1e-4)


def correlated(graph: Graph, seed: int = 0) -> statistics.Observed:
    """Statistics of inputs whose neighbours and channels have much in common, as in real maps."""
    rng = np.random.default_rng(seed)
    batches = []
    for _ in range(8):
        xs = []
        for spec in graph.inputs:
            x = rng.standard_normal(spec.shape)
            for axis in range(1, x.ndim):
                x = x + np.roll(x, 1, axis)
            xs.append(np.maximum(x + 0.3, 0).astype(np.float32))
        batches.append(xs)
    return statistics.observe(graph, batches)


SMALL = {
    "convolution": graphs.convolution(channels=2, filters=3, size=(6, 5)),
    "grouped": graphs.convolution(channels=6, filters=6, size=(5, 5), group=3, kernel=(2, 2), pads=(0, 0, 0, 0)),
    "depthwise": graphs.convolution(channels=5, filters=5, size=(6, 6), group=5),
    "dense": graphs.dense(rows=(6,), features=14, outputs=3),
}


@pytest.mark.parametrize("pending", [1, 3, 32])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("name", SMALL)
def test_elements_are_left_out_as_if_every_choice_were_tried_and_solved_anew(
    name: str, size: int, pending: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone or several together, scattered, with some left over for a smaller unit."""
    monkeypatch.setattr(fit, "PENDING", pending)
    graph = SMALL[name]
    weight, moments = graph["op"].constants["weight"], correlated(graph).moments()
    units = np.random.default_rng(1).permutation(weight[0].size) // size
    removed = fit.order(moments, weight, units)
    left = set(range(weight[0].size))
    assert sorted(removed.tolist()) == sorted(left)
    of_units = np.split(removed, np.flatnonzero(np.diff(units[removed])) + 1)
    assert len(of_units) == units.max() + 1
    for chosen in of_units[:-1]:
        errors = {
            unit: eliminated_error(moments, weight, sorted(left - set(np.flatnonzero(units == unit)))) for unit in {*units[list(left)]}
        }
        assert errors[units[chosen[0]]] <= min(errors.values()) * (1 + 1e-6)
        left -= set(chosen.tolist())


def eliminated_error(moments: Moments, weight: np.ndarray, kept: list[int]) -> float:
    """The least error where what is left out counts as weights of zero, for the ridge too: the same order, up to a constant."""
    *_, least = solved(moments, weight, np.array(kept))
    groups, elements = moments.mean.shape
    gone = np.setdiff1d(np.arange(elements), kept)
    w0 = weight.reshape(groups, -1, elements).astype(np.float64)
    return least + float((w0[:, :, gone] ** 2).sum((1, 2)) @ ridge(moments))


@pytest.mark.parametrize(
    "graph",
    [
        graphs.convolution(channels=12, filters=8),
        graphs.convolution(channels=24, filters=8, group=2),
        graphs.dense(rows=(60,), features=64, outputs=8),
    ],
    ids=["convolution", "grouped", "dense"],
)
def test_a_choice_beats_the_regular_pattern_of_the_same_number(graph: Graph) -> None:
    weight, known = graph["op"].constants["weight"], correlated(graph)
    regular = [fitted(graph, f"filter_sampling(offset={o}, refit=independent, stride=2)", known) for o in (0, 1)]
    taps, chosen, bias = fitted(graph, "filter_sampling(choose=error, keep=1, of=2)", known)
    assert all(len(t) == len(taps) for t, _, _ in regular)
    assert error(known.moments(), weight, chosen, bias) < min(error(known.moments(), weight, w, b) for _, w, b in regular)


def test_whole_granules_are_kept_and_the_best_ones() -> None:
    graph = graphs.convolution(channels=18, filters=8)
    weight, known = graph["op"].constants["weight"], correlated(graph)
    taps, chosen, bias = fitted(graph, "filter_sampling(choose=error, granule=4, keep=1, of=2)", known)
    channel, place = np.divmod(taps, 9)
    whole = {(c // 4, p) for c, p in zip(channel, place, strict=True)}
    assert len(taps) == sum(4 if c < 4 else 2 for c, _ in whole)
    assert abs(len(taps) - 81) <= 2
    regular = [fitted(graph, f"filter_sampling(granule=4, offset={o}, refit=independent, stride=2)", known) for o in (0, 1)]
    assert error(known.moments(), weight, chosen, bias) < min(error(known.moments(), weight, w, b) for _, w, b in regular)
    alone = fitted(graph, "filter_sampling(choose=error, keep=1, of=2)", known)
    assert error(known.moments(), weight, *alone[1:]) < error(known.moments(), weight, chosen, bias)


def test_what_is_kept_of_less_is_kept_of_more() -> None:
    graph = graphs.convolution(channels=16, filters=5)
    known = correlated(graph)
    kept = [
        set(fitted(graph, f"filter_sampling(choose=error, keep={k}, of={of})", known)[0].tolist()) for k, of in ((1, 10), (1, 3), (3, 4))
    ]
    assert [len(k) for k in kept] == [14, 48, 108]
    assert kept[0] < kept[1] < kept[2]


def test_an_element_that_always_repeats_another_is_left_out_at_no_loss() -> None:
    graph = graphs.dense(rows=(40,), features=6, outputs=4)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 6)).astype(np.float32)
    x[:, 5] = 2 * x[:, 1] + 7  # as good as element 1 and a bias
    known = statistics.observe(graph, [(x,)])
    order = fit.order(known.moments(), graph["op"].constants["weight"])
    assert order[0] in (1, 5)
    kept = np.sort(order[1:])
    weight, bias = fit.refit(known.moments(), graph["op"].constants["weight"], kept)
    exact = x @ graph["op"].constants["weight"].T + graph["op"].constants["bias"]
    assert np.abs(x[:, kept] @ weight.T + bias - exact).max() < 0.02 * np.abs(exact).max()  # the ridge holds back a little


def test_blocks_are_fitted_on_their_own_and_chosen_from_together() -> None:
    graph = graphs.dense(rows=(50,), features=12, outputs=3)
    known, weight = correlated(graph), graph["op"].constants["weight"]
    whole = known.moments()
    scatter = whole.scatter[0].copy()
    scatter[:, :5, 5:] = scatter[:, 5:, :5] = 0
    w0 = weight.T[None].astype(np.float64)
    joined = replace(whole, scatter=(scatter,), cross=scatter @ w0)
    parted = replace(joined, scatter=(scatter[:, :5, :5], scatter[:, 5:, 5:]))
    np.testing.assert_array_equal(fit.order(parted, weight), fit.order(joined, weight))
    kept = np.array([0, 3, 4, 6, 11])
    for ours, theirs in zip(fit.refit(parted, weight, kept), fit.refit(joined, weight, kept), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_the_expensive_part_is_done_once_for_all_fractions(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graphs.convolution(channels=16)
    known = statistics.some(graph, 2)
    calls = []
    real = fit.order
    monkeypatch.setattr(fit, "order", lambda *args: calls.append(1) or real(*args))
    for setting in FilterSampling().settings(graph["op"], graph, {}):
        if isinstance(parse(setting), Chosen):
            fitted(graph, setting, known)
    assert len(calls) == 1
