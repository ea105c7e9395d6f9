"""What every technique owes: settings that can be written down, a meaning in NumPy, and kernels that do what it means."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mobiprox_core import explain, plugins, reference
from mobiprox_core.configuration import EXACT, Configuration, KnobSetting, Setting
from mobiprox_core.correction import Correction
from mobiprox_core.errors import InfeasibleSetting
from mobiprox_core.graph import Graph
from mobiprox_core.interfaces import Device, Options, Technique
from mobiprox_core.lowering import lower
from mobiprox_core.lowering.convolution import exact_tables
from mobiprox_core.plan import DeviceInfo, ExecutionPlan
from mobiprox_core.selection import evenly
from mobiprox_core.tables import FLOAT32, Tables

from . import graphs, statistics
from . import tables as meaning
from .contract import Contract, missing
from .offer import check_description, check_loads_lightly
from .statistics import Observed

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

GENERIC = DeviceInfo(name="generic", driver="", runtime="")
COMPOSITIONS = 6
"""How many compositions of settings are tried per graph, beside every setting alone."""
CORRECTED = 4
"""How many of the settings are also tried with corrections."""


class TechniqueContract(Contract):
    """Give the fixture `technique`, and `options` to test it under other options than its defaults.

    Every test runs over `graphs.AWKWARD`. Kernels are compared with the NumPy meaning on every device that the installed backends
    find, alone and composed with each other and with the other installed techniques; what is fitted is fitted to random inputs. A known
    deviation is an xfail with a reason.
    """

    kind = "technique"
    subject = "technique"

    replaces_operators = False
    """Set to True for a technique whose `lower` emits the whole operator: its `edit` is not asked for."""

    @pytest.fixture
    def technique(self) -> Technique:
        missing("TechniqueContract", "technique", "your technique")

    @pytest.fixture
    def options(self) -> Options:
        return {}

    @pytest.fixture(params=graphs.AWKWARD)
    def graph(self, request: pytest.FixtureRequest) -> Graph:
        return graphs.AWKWARD[request.param]()

    @pytest.fixture
    def offered(self, technique: Technique, options: Options, graph: Graph) -> tuple[KnobSetting, ...]:
        found = tuple(technique.settings(graph["op"], graph, options))
        if not found:
            pytest.skip("the technique offers nothing here")
        return found

    @pytest.fixture
    def observed(self, graph: Graph) -> Observed:
        return statistics.some(graph)

    # -- words

    def test_it_describes_itself(self, technique: Technique, options: Options) -> None:
        check_description(technique, options)
        assert 0 < technique.tolerance < 1
        assert all(knob.isidentifier() and words for knob, words in technique.knobs.items())

    def test_it_loads_lightly(self, technique: Technique) -> None:
        check_loads_lightly(technique)

    def test_it_offers_something_somewhere(self, technique: Technique, options: Options) -> None:
        built = [build() for build in graphs.AWKWARD.values()]
        assert any(tuple(technique.settings(graph["op"], graph, options)) for graph in built)

    # -- settings

    def test_settings_are_distinct_and_use_its_knobs(
        self, technique: Technique, options: Options, graph: Graph, offered: Sequence[KnobSetting]
    ) -> None:
        assert len(set(offered)) == len(offered), "the same setting twice"
        for setting in offered:
            assert setting.technique == technique.name
            assert {knob for knob, _ in setting.params} <= set(technique.knobs)
            assert technique.slot(setting)
        assert tuple(technique.settings(graph["op"], graph, options)) == tuple(offered), "another answer the second time"

    def test_what_a_setting_does_can_be_said(self, technique: Technique, graph: Graph, offered: Sequence[KnobSetting]) -> None:
        for knob in offered:
            sentence = explain.sentence(technique, knob, "op")
            assert sentence.startswith("op "), f"{knob}: {sentence}"
            assert "\n" not in sentence, str(knob)

    def test_slots_are_of_the_setting_alone(self, technique: Technique, offered: Sequence[KnobSetting]) -> None:
        for knob in offered:
            slot = technique.slot(knob)
            assert isinstance(slot, str)
            assert technique.slot(KnobSetting(knob.technique, knob.params)) == slot, "another slot the second time"

    def test_settings_survive_text_and_json(self, offered: Sequence[KnobSetting]) -> None:
        for knob in offered:
            setting = Setting((knob,))
            assert Setting.parse(str(setting)) == setting
            configuration = Configuration({"op": setting})
            assert Configuration.from_json(json.loads(json.dumps(configuration.to_json()))) == configuration

    def test_settings_written_by_hand_are_on_offer_under_the_options_that_they_are_said_to_need(
        self, technique: Technique, graph: Graph, offered: Sequence[KnobSetting]
    ) -> None:
        options_of = getattr(technique, "options_of", None)
        for knob in offered:
            if options_of is not None:
                assert knob in technique.settings(graph["op"], graph, options_of(knob))

    # -- fits

    def test_what_needs_statistics_is_infeasible_without_and_the_rest_does_not_look_at_them(
        self, technique: Technique, graph: Graph, observed: Observed, offered: Sequence[KnobSetting]
    ) -> None:
        operator = graph["op"]
        for knob in offered:
            if technique.needs_statistics(knob):
                with pytest.raises(InfeasibleSetting):
                    technique.prepare(knob, operator, None)
            elif not self.replaces_operators:
                without, beside = (
                    technique.edit(knob, operator, exact_tables(operator, graph), GENERIC, technique.prepare(knob, operator, known))
                    for known in (None, observed)
                )
                for field in ("rows", "columns", "taps", "weight", "bias"):
                    np.testing.assert_array_equal(getattr(beside, field), getattr(without, field), f"{knob}: {field}")

    def test_fits_are_the_same_every_time_and_finite_whatever_the_statistics(
        self, technique: Technique, graph: Graph, offered: Sequence[KnobSetting]
    ) -> None:
        zeros = [tuple(np.zeros_like(x) for x in graphs.inputs(graph))]
        for batches in ([graphs.inputs(graph)], [graphs.inputs(graph)] * 2, zeros):  # too few to tell elements apart, or none at all
            first, again = (statistics.observe(graph, batches) for _ in range(2))
            for knob in filter(technique.needs_statistics, offered):
                fitted, repeated = (technique.prepare(knob, graph["op"], known) for known in (first, again))
                assert fitted.keys() == repeated.keys()
                for name, values in fitted.items():
                    assert np.isfinite(values).all(), f"{knob}: {name}"
                    np.testing.assert_array_equal(values, repeated[name], err_msg=f"{knob}: {name}")

    # -- meaning

    def test_the_reference_keeps_shape_and_type_and_stays_finite(
        self, technique: Technique, graph: Graph, observed: Observed, offered: Sequence[KnobSetting]
    ) -> None:
        x = graphs.inputs(graph)
        for knob in offered:
            y = run_reference(graph, x, Setting((knob,)), {technique.name: technique}, observed)
            assert y.shape == graph.outputs[0].shape, str(knob)
            assert y.dtype == np.float32, str(knob)
            assert np.isfinite(y).all(), str(knob)

    def test_the_reference_leaves_its_arguments_alone(
        self, technique: Technique, graph: Graph, observed: Observed, offered: Sequence[KnobSetting]
    ) -> None:
        operator = graph["op"]
        x = reference.activations(graph, graphs.inputs(graph))[operator.inputs[0]]
        weight = operator.constants["weight"].copy()
        before = x.copy()
        for knob in offered:
            run_reference(graph, graphs.inputs(graph), Setting((knob,)), {technique.name: technique}, observed)
            approximation = technique.reference(knob, operator, graph, technique.prepare(knob, operator, observed))
            if approximation.input is not None:
                approximation.input(x)
            np.testing.assert_array_equal(operator.constants["weight"], weight, str(knob))
            np.testing.assert_array_equal(x, before, str(knob))

    # -- tables

    def test_edited_tables_keep_their_invariants(
        self, technique: Technique, options: Options, graph: Graph, observed: Observed, offered: Sequence[KnobSetting]
    ) -> None:
        if self.replaces_operators:
            pytest.skip("it replaces whole operators")
        techniques = neighbours(technique)
        exact = exact_tables(graph["op"], graph)
        for setting in settings_under_test(technique, options, graph, offered, techniques):
            meaning.check(edited(setting, graph, techniques, observed), exact)
        again = exact_tables(graph["op"], graph)
        np.testing.assert_array_equal(exact.weight, again.weight, "an edit changed the tables that it was given")

    def test_edited_tables_compute_what_the_reference_says(
        self, technique: Technique, options: Options, graph: Graph, observed: Observed, offered: Sequence[KnobSetting]
    ) -> None:
        """On computed pixels, before fills, residual and activation; a storage of its own is compared on devices only."""
        if self.replaces_operators:
            pytest.skip("it replaces whole operators")
        techniques = neighbours(technique)
        operator, tensors = graph["op"], reference.activations(graph, graphs.inputs(graph))
        bare = replace(operator, activation=None, residual=None)
        for setting in settings_under_test(technique, options, graph, offered, techniques):
            tables = edited(setting, graph, techniques, observed)
            if tables.storage == FLOAT32:
                expected = reference.run_operator(graph, bare, tensors, setting, techniques, lambda op: observed)
                if operator.kind == "conv":
                    pixels = expected if expected.ndim == 4 else expected[:, :, None]
                    expected = pixels[:, :, tables.rows][:, :, :, tables.columns]
                got = meaning.evaluate(tables, operator, tensors[operator.inputs[0]])
                assert difference(got, expected) <= tolerance(setting, techniques), str(setting)

    # -- kernels

    def test_kernels_do_what_the_reference_says(
        self, technique: Technique, options: Options, graph: Graph, observed: Observed, offered: Sequence[KnobSetting]
    ) -> None:
        found = devices()
        if not found:
            pytest.skip("no device at hand: install a backend, for instance mobiprox-backend-opencl")
        techniques = neighbours(technique)
        chosen = settings_under_test(technique, options, graph, offered, techniques)
        x = graphs.inputs(graph)
        expected = {setting: run_reference(graph, x, setting, techniques, observed) for setting in (EXACT, *chosen)}
        for device in found:
            runner = device.load(lowered(graph, device.info, techniques, chosen, observed))
            try:
                settings = [variant.setting for o in runner.plan.operators if o.name == "op" for variant in o.variants]
                for variant, setting in enumerate(settings):
                    runner.select([variant if o.name == "op" else 0 for o in runner.plan.operators])
                    y = runner.run(*x)
                    assert isinstance(y, np.ndarray)
                    assert y.shape == expected[setting].shape
                    off = difference(y, expected[setting])
                    assert off <= tolerance(setting, techniques), f"{setting} on {device.info.name}: {off:.2g} off"
            finally:
                runner.close()

    def test_corrections_of_levels_do_what_the_reference_says_and_the_identity_changes_no_bit(
        self, technique: Technique, options: Options, graph: Graph, observed: Observed, offered: Sequence[KnobSetting]
    ) -> None:
        if self.replaces_operators:
            pytest.skip("it replaces whole operators")
        if not (found := devices()):
            pytest.skip("no device at hand: install a backend, for instance mobiprox-backend-opencl")
        techniques = neighbours(technique)
        chosen = evenly(settings_under_test(technique, options, graph, offered, techniques), CORRECTED)
        x = graphs.inputs(graph)
        for device in found:
            [op] = [op for op in lowered(graph, device.info, techniques, chosen, observed).operators if op.name == "op"]
            levels = [Configuration({"op": variant.setting}) for variant in op.variants[1:]]
            corrections = {
                level: {"op": _correction(edited(level["op"], graph, techniques, observed), number)} for number, level in enumerate(levels)
            }
            plan = lower(
                graph,
                device.info,
                techniques,
                {"op": [level["op"] for level in levels]},  # the plain variants come first; a level takes the corrected one
                levels,
                statistics=lambda op: observed,
                corrections=lambda level, of=corrections: of.get(level, {}),  # type: ignore[misc]
            )
            with closing(device.load(plan)) as runner:
                for number, level in enumerate(levels):
                    runner.set_level(1 + number)
                    y = np.asarray(runner.run(*x)).copy()
                    (expected,) = reference.run(graph, x, level, techniques, lambda op: observed, corrections[level])
                    off = difference(y, expected)
                    assert off <= tolerance(level["op"], techniques), f"{level['op']} on {device.info.name}: {off:.2g} off"
                    if number % 3 == 0:
                        runner.select([1 + number if o.name == "op" else 0 for o in plan.operators])
                        assert y.tobytes() == np.asarray(runner.run(*x)).tobytes(), f"{level['op']} on {device.info.name}"


def _correction(tables: Tables, number: int) -> Correction:
    """The identity, one of grade affine, or one of grade full. Weights that a storage rounds stay: what they are rounded to is its business."""
    if number % 3 == 0:
        return Correction(np.zeros_like(tables.bias), np.ones_like(tables.bias))
    rng = np.random.default_rng(number)
    scale, bias = (rng.normal(mean, 0.1, len(tables.bias)).astype(np.float32) for mean in (1, 0))
    if number % 3 == 2 and tables.storage == FLOAT32 and tables.encode is None:
        return Correction(bias, weight=tables.weight * rng.normal(1, 0.1, tables.weight.shape).astype(np.float32), taps=tables.taps)
    return Correction(bias, scale)


def lowered(
    graph: Graph, info: DeviceInfo, techniques: Mapping[str, Technique], chosen: Sequence[Setting], observed: Observed
) -> ExecutionPlan:
    """The plan of all these settings; of those that are feasible, where a device cannot do some of them."""

    def plan(settings: Sequence[Setting]) -> ExecutionPlan:
        return lower(graph, info, techniques, {"op": settings}, statistics=lambda op: observed)

    def feasible(setting: Setting) -> bool:
        try:
            plan([setting])
        except InfeasibleSetting:
            return False
        return True

    try:
        return plan(chosen)
    except InfeasibleSetting:
        return plan([setting for setting in chosen if feasible(setting)])


def settings_under_test(
    technique: Technique, options: Options, graph: Graph, offered: Sequence[KnobSetting], techniques: Mapping[str, Technique]
) -> tuple[Setting, ...]:
    """Every setting alone, then some compositions with each other and with what the other techniques offer; always the same."""
    operator = graph["op"]
    others = [knob for name, other in techniques.items() if name != technique.name for knob in other.settings(operator, graph, {})]

    slots = {knob: techniques[knob.technique].slot(knob) for knob in (*offered, *others)}

    def compatible(*knobs: KnobSetting) -> bool:
        return len({slots[knob] for knob in knobs}) == len(knobs)

    pairs = [pair for pair in combinations(offered, 2) if compatible(*pair)]
    pairs += [(one, other) for one in offered for other in others if compatible(one, other)]
    triples = [(*pair, other) for pair in pairs for other in others if compatible(*pair, other)]
    rng = np.random.default_rng(len(pairs))
    chosen: list[tuple[KnobSetting, ...]] = []
    for several in (pairs, triples):
        chosen += [several[i] for i in sorted(rng.permutation(len(several))[: COMPOSITIONS // 2 if several is triples else COMPOSITIONS])]
    return tuple(dict.fromkeys([*(Setting((knob,)) for knob in offered), *map(Setting, chosen)]))


def neighbours(technique: Technique) -> Mapping[str, Technique]:
    """The installed techniques by name, with this object in place of its own."""
    registry = installed()
    return {name: registry.get("technique", name) for name in registry.names("technique")} | {technique.name: technique}


def edited(setting: Setting, graph: Graph, techniques: Mapping[str, Technique], observed: Observed) -> Tables:
    """The tables of the operator under a setting, fitted to what was observed."""
    operator = graph["op"]
    tables = exact_tables(operator, graph)
    for knob in setting:
        technique = techniques[knob.technique]
        tables = technique.edit(knob, operator, tables, GENERIC, technique.prepare(knob, operator, observed))
    return tables


def run_reference(graph: Graph, x: Sequence[Floats], setting: Setting, techniques: Mapping[str, Technique], observed: Observed) -> Floats:
    """The graph's output with the setting on its operator ``op``, fitted to what was observed."""
    (y,) = reference.run(graph, x, Configuration({"op": setting}), techniques, lambda op: observed)
    return y


def difference(y: Floats, expected: Floats) -> float:
    """Greatest absolute difference, relative to the greatest expected value."""
    if not np.isfinite(y).all():
        return float("inf")
    return float(np.abs(y - expected).max() / max(np.abs(expected).max(), 1e-6))


def tolerance(setting: Setting, techniques: Mapping[str, Technique]) -> float:
    return max([1e-5, *(techniques[knob.technique].tolerance for knob in setting)])


@cache
def installed() -> plugins.Registry:
    return plugins.load()


@cache
def devices() -> tuple[Device, ...]:
    """Every usable device of every installed backend, opened once per process."""
    return tuple(_opened())


def _opened() -> Iterator[Device]:
    """A device that several backends offer counts once: its kernels are the same, whoever launches them."""
    registry, seen = installed(), set()
    for name in reversed(registry.names("backend")):
        backend = registry.get("backend", name)
        for report in backend.devices():
            if report.problem is None and (report.name not in seen):
                seen.add(report.name)
                yield backend.open({"device": report.index})
