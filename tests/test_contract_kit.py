"""The contract kit finds what it is there to find, and what this repository offers keeps the contract on random operators."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobiprox_core import plugins, reference, testing
from mobiprox_core.configuration import Configuration, KnobSetting, Setting
from mobiprox_core.errors import InfeasibleSetting
from mobiprox_core.graph import Graph
from mobiprox_core.interfaces import Approximation, Observation, Technique
from mobiprox_core.lowering.convolution import exact_tables
from mobiprox_core.testing import StrategyContract, TechniqueContract, graphs, statistics
from mobiprox_core.testing import strategies as some
from mobiprox_core.testing import tables as meaning
from mobiprox_core.testing import technique as kit

REGISTRY = plugins.load()


class Halved:
    """A technique that is right: the weights halved. Mutants below break one promise each."""

    name = "halved"
    summary = "Half of every weight"
    options: Mapping[str, Any] = {"type": "object", "properties": {}, "required": []}
    knobs: Mapping[str, str] = {"by": "what is divided by"}
    tolerance = 1e-5

    def settings(self, operator, graph, options):
        return (KnobSetting.of(self.name, by=2),) if operator.kind in ("conv", "dense") else ()

    def slot(self, setting):
        return "halved"

    def needs_statistics(self, setting):
        return False

    def reference(self, setting, operator, graph, fitted):
        return Approximation(weight=lambda w: w / np.float32(2))

    def prepare(self, setting, operator, statistics):
        return {}

    def edit(self, setting, operator, tables, device, fitted):
        return replace(tables, weight=tables.weight / np.float32(2))

    def kernels(self, device):
        return ()

    def lower(self, setting, operator, builder):
        return False

    def couplings(self, graph):
        return ()


@pytest.mark.slow
class TestARightTechniqueKeepsTheContract(TechniqueContract):
    @pytest.fixture
    def technique(self) -> Technique:
        return Halved()

    @pytest.mark.xfail(reason="this file imports numpy", strict=True)
    def test_it_loads_lightly(self, technique: Technique) -> None:
        super().test_it_loads_lightly(technique)


class Repeats(Halved):
    def settings(self, operator, graph, options):
        return [*super().settings(operator, graph, options)] * 2


class UnknownKnob(Halved):
    def settings(self, operator, graph, options):
        return (KnobSetting.of(self.name, how=2),)


class WrongScale(Halved):
    def edit(self, setting, operator, tables, device, fitted):
        return replace(tables, weight=tables.weight / np.float32(2.01))


class ForgetsAColumn(Halved):
    def edit(self, setting, operator, tables, device, fitted):
        return replace(tables, weight=tables.weight[:, :-1])


class SkipsARowWithoutFillingIt(Halved):
    def edit(self, setting, operator, tables, device, fitted):
        return replace(tables, rows=tables.rows[:-1])


class NotANumber(Halved):
    def reference(self, setting, operator, graph, fitted):
        return Approximation(output=lambda y: y * np.float32(np.nan))


class Shrinks(Halved):
    def reference(self, setting, operator, graph, fitted):
        return Approximation(finish=lambda y: y[..., :-1])


class InPlace(Halved):
    def reference(self, setting, operator, graph, fitted):
        return Approximation(weight=lambda w: np.divide(w, np.float32(2), out=w))


class Fitted(Halved):
    """Right as well: the bias is the mean of what the operator should give, which needs statistics."""

    def needs_statistics(self, setting):
        return True

    def prepare(self, setting, operator, statistics):
        if statistics is None:
            raise InfeasibleSetting("nothing to fit to")
        return {"bias": statistics.moments().target.ravel().astype(np.float32)}

    def reference(self, setting, operator, graph, fitted):
        return Approximation(weight=lambda w: w / np.float32(2), bias=lambda b: fitted["bias"])

    def edit(self, setting, operator, tables, device, fitted):
        return replace(tables, weight=tables.weight / np.float32(2), bias=fitted["bias"])


class TestARightFitKeepsTheContract(TestARightTechniqueKeepsTheContract):
    @pytest.fixture
    def technique(self) -> Technique:
        return Fitted()


class DoesWithout(Fitted):
    def prepare(self, setting, operator, statistics):
        return {"bias": operator.constants["bias"]}


class LooksUnasked(Fitted):
    def needs_statistics(self, setting):
        return False

    def prepare(self, setting, operator, statistics):
        return {"bias": operator.constants["bias"]} if statistics is None else super().prepare(setting, operator, statistics)


class FitsByChance(Fitted):
    def prepare(self, setting, operator, statistics):
        return {"bias": np.random.default_rng().standard_normal(len(operator.constants["bias"])).astype(np.float32)}


class DividesByTheSpread(Fitted):
    def prepare(self, setting, operator, statistics):
        with np.errstate(divide="ignore", invalid="ignore"):
            return {"bias": super().prepare(setting, operator, statistics)["bias"] / statistics.moments().scatter[0].sum()}


@pytest.mark.parametrize(
    ("technique", "test"),
    [
        (Repeats(), "test_settings_are_distinct_and_use_its_knobs"),
        (UnknownKnob(), "test_settings_are_distinct_and_use_its_knobs"),
        (WrongScale(), "test_edited_tables_compute_what_the_reference_says"),
        (WrongScale(), "test_kernels_do_what_the_reference_says"),
        (ForgetsAColumn(), "test_edited_tables_keep_their_invariants"),
        (SkipsARowWithoutFillingIt(), "test_edited_tables_keep_their_invariants"),
        (NotANumber(), "test_the_reference_keeps_shape_and_type_and_stays_finite"),
        (Shrinks(), "test_the_reference_keeps_shape_and_type_and_stays_finite"),
        (InPlace(), "test_the_reference_leaves_its_arguments_alone"),
        (DoesWithout(), "test_what_needs_statistics_is_infeasible_without_and_the_rest_does_not_look_at_them"),
        (LooksUnasked(), "test_what_needs_statistics_is_infeasible_without_and_the_rest_does_not_look_at_them"),
        (FitsByChance(), "test_fits_are_the_same_every_time_and_finite_whatever_the_statistics"),
        (DividesByTheSpread(), "test_fits_are_the_same_every_time_and_finite_whatever_the_statistics"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_broken_promise_is_found(technique: Technique, test: str) -> None:
    if "kernels" in test and not kit.devices():
        pytest.skip("no device at hand")
    graph = graphs.convolution()
    offered = tuple(technique.settings(graph["op"], graph, {}))
    given = {"technique": technique, "options": {}, "graph": graph, "offered": offered, "observed": statistics.some(graph)}
    method = getattr(TechniqueContract(), test)
    wanted = method.__code__.co_varnames[1 : method.__code__.co_argcount]
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        method(**{name: given[name] for name in wanted})


@pytest.mark.parametrize("name", ["perforation", "filter_sampling"])
@given(graph=some.convolutions(), data=st.data())
@settings(max_examples=100, deadline=None)
def test_edited_tables_compute_what_the_reference_says_on_random_operators(name: str, graph: Graph, data: st.DataObject) -> None:
    if name not in REGISTRY.names("technique"):
        pytest.skip(f"{name} is not installed")
    technique = REGISTRY.get("technique", name)
    knob = data.draw(some.offered(technique, graph))
    if knob is None:
        return
    setting, techniques = Setting((knob,)), {name: technique}
    observed = statistics.some(graph, 2)
    tables = kit.edited(setting, graph, techniques, observed)
    meaning.check(tables, exact_tables(graph["op"], graph))
    op = graph["op"]
    bare = replace(op, activation=None, residual=None)
    tensors = reference.activations(graph, graphs.inputs(graph))
    expected = reference.run_operator(graph, bare, tensors, setting, techniques, lambda op: observed)
    expected = (expected if expected.ndim == 4 else expected[:, :, None])[:, :, tables.rows][:, :, :, tables.columns]
    terms = np.abs(op.constants["weight"]).sum() * np.abs(tensors["x"]).max()  # a sum is rounded in proportion to its terms
    assert np.abs(meaning.evaluate(tables, op, tensors["x"]) - expected).max(initial=0) <= 1e-6 * max(
        terms, np.abs(expected).max(initial=0)
    )


@given(some.configurations)
def test_configurations_survive_text_and_json(configuration: Configuration) -> None:
    assert Configuration.from_json(configuration.to_json()) == configuration


WITHOUT_OPTIONS = [name for name in REGISTRY.names("strategy") if not REGISTRY.get("strategy", name).options.get("required")]
"""The others hold the contract in their own tests, with options."""


class TestStrategiesKeepTheContract(StrategyContract):
    @pytest.fixture(params=WITHOUT_OPTIONS)
    def offer(self, request: pytest.FixtureRequest) -> Any:
        return REGISTRY.get("strategy", request.param)


class Wanders:
    """A strategy that remembers outside its state and leaves the levels."""

    def __init__(self) -> None:
        self.level = 0

    def start(self) -> tuple[int]:
        return (0,)

    def step(self, state: tuple[int], observation: Observation) -> tuple[tuple[int], int]:
        self.level += 1
        return (self.level,), self.level


def test_a_strategy_that_leaves_the_levels_is_found() -> None:
    contract = StrategyContract()
    with pytest.raises(AssertionError):
        contract.test_it_stays_within_the_levels(Wanders(), [None, None])  # type: ignore[list-item]


def test_a_strategy_with_a_hidden_memory_is_found() -> None:
    class Offer:
        def create(self, options: object, levels: object) -> Wanders:
            return Wanders()

    with pytest.raises(AssertionError):
        StrategyContract().test_it_is_pure(Offer(), {}, [None])  # type: ignore[arg-type,list-item]


def test_a_contract_that_is_not_told_what_to_test_says_so(tmp_path: Path) -> None:
    contracts = sorted(name for name in testing.__all__ if name.endswith("Contract") and name != "Contract")
    assert len(contracts) > 9
    lines = [f"from mobiprox_core.testing import {', '.join(contracts)}", *(f"class Test{name}({name}): pass" for name in contracts)]
    (tmp_path / "test_them.py").write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "test_them.py"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert [name for name in contracts if f"{name} needs a fixture `" not in done.stdout] == []
    assert "contract.py" not in done.stdout  # the message alone, not where it comes from
