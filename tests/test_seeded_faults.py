"""The contract kit finds what it is there to find: faults, each seeded into something that is right, and each found by the test for it."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mobiprox_core import lowering, plugins, reference
from mobiprox_core.configuration import EXACT_CONFIGURATION, Configuration, KnobSetting, Setting
from mobiprox_core.errors import DataError, DeviceError, InfeasibleSetting
from mobiprox_core.interfaces import Approximation, Candidate, DeviceReport, Samples
from mobiprox_core.plan import DeviceInfo
from mobiprox_core.testing import (
    BackendContract,
    Contract,
    DatasetContract,
    HeuristicContract,
    MeterContract,
    MetricContract,
    StrategyContract,
    TechniqueContract,
    backend,
    graphs,
    heuristic,
    metric,
    statistics,
    strategy,
)
from mobiprox_core.testing import technique as techniques
from tests.fakes import distribution, offering

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "examples" / "third_party" / "mobiprox-approx-nearest"))
from mobiprox_approx_nearest.plugin import Nearest  # noqa: E402
from test_contract_kit import Halved  # noqa: E402

PLAIN: Mapping[str, Any] = {"type": "object", "properties": {}}


def keeps(contract: type[Contract], test: str, given: Mapping[str, Any]) -> None:
    """Run one test of a contract with these fixtures."""
    method = getattr(contract(), test)
    names = method.__code__.co_varnames[1 : method.__code__.co_argcount]
    method(**{name: given[name] for name in names})


def check(contract: type[Contract], test: str, given: Callable[[Any], Mapping[str, Any]], right: Any, wrong: Any) -> None:
    """What is right passes the test, and with the fault seeded it does not."""
    keeps(contract, test, given(right))
    with pytest.raises((Exception, pytest.fail.Exception)):
        keeps(contract, test, given(wrong))


# ----------------------------------------------------------------------------------------------------------------------- techniques


class WrongEdge(Nearest):
    """The first row, where it is copied, is copied from the last one."""

    def reference(self, setting, operator, graph, fitted):
        right = super().reference(setting, operator, graph, fitted).output

        def copied(y):
            y = right(y)
            if setting["axis"] == "rows" and setting["offset"] == 0:
                y = y.copy()
                y[:, :, 0] = y[:, :, -1]
            return y

        return Approximation(output=copied)


class WrongKernel(Nearest):
    """The kernel takes the line after the first where the reference takes the line before."""

    def kernels(self, device):
        [source] = super().kernels(device)
        text = source.text.replace("if (computed[line]) neighbour", "if (computed[line] && line < 5) neighbour")
        assert text != source.text
        return [replace(source, text=text)]


class ForgetsTheResidual(Nearest):
    def kernels(self, device):
        [source] = super().kernels(device)
        return [replace(source, text=re.sub(r"if \(descriptor\[11\] >= 0\).*\n", "\n", source.text))]


class DoesNotBuild(Nearest):
    def kernels(self, device):
        [source] = super().kernels(device)
        return [replace(source, text=source.text.replace("VEC neighbour", "VEK neighbour"))]


class HalfComputed(Nearest):
    """The fill calls other lines computed than the table computes."""

    def edit(self, setting, operator, tables, device, fitted):
        edited = super().edit(setting, operator, tables, device, fitted)
        return replace(edited, fills=tuple(replace(fill, kept=~fill.kept) for fill in edited.fills))


class ClashingSlots(Halved):
    """Two settings that cannot both be, in two slots: each leaves out one half of the filter elements."""

    def settings(self, operator, graph, options):
        return [KnobSetting.of(self.name, by=by) for by in (2, 3)] if operator.kind == "conv" else []

    def slot(self, setting):
        return f"halved {setting['by']}"

    def reference(self, setting, operator, graph, fitted):
        return Approximation(weight=lambda w: w * (np.arange(w[0].size) % 2 == setting["by"] % 2).reshape(w.shape[1:]))

    def edit(self, setting, operator, tables, device, fitted):
        left = np.arange(len(tables.taps)) % 2 == setting["by"] % 2
        return replace(tables, taps=tables.taps[left], weight=tables.weight[:, left])


class TextThatIsANumber(Halved):
    def settings(self, operator, graph, options):
        return [KnobSetting.of(self.name, by="2")]


class TextWithBrackets(Halved):
    def settings(self, operator, graph, options):
        return [KnobSetting.of(self.name, by="(2)")]


class OffersWhatMeansNothing(Halved):
    def reference(self, setting, operator, graph, fitted):
        raise InfeasibleSetting(f"'{setting}' means nothing here")


class OtherSettingsTheSecondTime(Halved):
    count = itertools.count(2)

    def settings(self, operator, graph, options):
        return [KnobSetting.of(self.name, by=next(self.count))]


class SlotsByChance(Halved):
    count = itertools.count()

    def slot(self, setting):
        return f"slot {next(self.count)}"


class ExplainsItselfInLines(Halved):
    def explain(self, setting):
        return "halves\nits weights"


class UndescribedOption(Halved):
    options = {"type": "object", "properties": {"by": {"type": "integer", "default": 2}}}  # noqa: RUF012


class UntypedOption(Halved):
    options = {"type": "object", "properties": {"by": {"description": "what is divided by", "default": 2}}}  # noqa: RUF012


class DefaultAgainstItsSchema(Halved):
    options = {"type": "object", "properties": {"by": {"type": "integer", "description": "divisor", "default": "two"}}}  # noqa: RUF012


def of_technique(**about: Any) -> Callable[[Any], Mapping[str, Any]]:
    """What the tests of a technique are given: a convolution of this kind."""
    graph = graphs.convolution(**about)

    def given(one: Any) -> Mapping[str, Any]:
        offered = tuple(one.settings(graph["op"], graph, {}))
        return {"technique": one, "options": {}, "graph": graph, "offered": offered, "observed": statistics.some(graph)}

    return given


KERNELS = "test_kernels_do_what_the_reference_says"


@pytest.mark.parametrize(
    ("right", "wrong", "test"),
    [
        (Nearest, WrongEdge, KERNELS),
        (Nearest, WrongKernel, KERNELS),
        (Nearest, ForgetsTheResidual, KERNELS),
        (Nearest, DoesNotBuild, KERNELS),
        (Nearest, HalfComputed, "test_edited_tables_keep_their_invariants"),
        (Halved, ClashingSlots, "test_edited_tables_compute_what_the_reference_says"),
        (Halved, TextThatIsANumber, "test_settings_survive_text_and_json"),
        (Halved, TextWithBrackets, "test_settings_survive_text_and_json"),
        (Halved, OffersWhatMeansNothing, "test_the_reference_keeps_shape_and_type_and_stays_finite"),
        (Halved, OtherSettingsTheSecondTime, "test_settings_are_distinct_and_use_its_knobs"),
        (Halved, SlotsByChance, "test_slots_are_of_the_setting_alone"),
        (Halved, ExplainsItselfInLines, "test_what_a_setting_does_can_be_said"),
        (Halved, UndescribedOption, "test_it_describes_itself"),
        (Halved, UntypedOption, "test_it_describes_itself"),
        (Halved, DefaultAgainstItsSchema, "test_it_describes_itself"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_fault_of_a_technique_is_found(right: type, wrong: type, test: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(techniques, "neighbours", lambda one: {one.name: one})  # composing with every installed one takes its time
    if test == KERNELS and not techniques.devices():
        pytest.skip("no device at hand")
    check(TechniqueContract, test, of_technique(residual=True, size=(9, 8)), right(), wrong())


# ------------------------------------------------------------------------------------------------------------------------ strategies


class Steady:
    """A strategy that is right: one level more while sure."""

    name, summary, options = "steady", "one level more while sure", PLAIN

    def create(self, options, levels):
        self.levels = len(levels)
        return self

    def start(self):
        return (0,)

    def step(self, state, observation):
        level = min(state[0] + 1, self.levels - 1) if observation.confidence > 0.5 else 0
        return (level,), level


class BeyondTheLevels(Steady):
    def step(self, state, observation):
        return (state[0] + 1,), state[0] + 1


class NoWholeLevel(Steady):
    def step(self, state, observation):
        return state, 0.0


class HiddenMemory(Steady):
    count = 0

    def step(self, state, observation):
        self.count += 1
        return state, self.count % self.levels


class MutableState(Steady):
    def start(self):
        return [0]

    def step(self, state, observation):
        state[0] = min(state[0] + 1, self.levels - 1)
        return state, state[0]


class StateThatIsNoJson(Steady):
    def start(self):
        return (0, frozenset())

    def step(self, state, observation):
        return state, 0


class RemembersEverything(Steady):
    def step(self, state, observation):
        return (*state, observation.confidence), 0


class NeedsABattery(Steady):
    def step(self, state, observation):
        return state, min(1, int(2 * observation.battery), self.levels - 1)


class DriftingTwin(Steady):
    """Its twin in another language rounds elsewhere."""

    def twin(self, options, levels, observations):
        walked = right_twin(options, levels, observations)
        return [*walked[:-1], (walked[-1] + 1) % len(levels)]


def right_twin(options, levels, observations):
    one, walked = Steady().create(options, levels), []
    state = one.start()
    for observation in observations:
        state, level = one.step(state, observation)
        walked.append(level)
    return walked


def of_strategy(one: Any) -> Mapping[str, Any]:
    levels = strategy.calibrations(4)
    given = {"offer": one, "options": {}, "levels": levels, "twin": getattr(one, "twin", right_twin)}
    return {**given, "strategy": one.create({}, levels)}


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (BeyondTheLevels, "test_it_stays_within_the_levels"),
        (NoWholeLevel, "test_it_stays_within_the_levels"),
        (HiddenMemory, "test_it_is_pure"),
        (MutableState, "test_it_is_pure"),
        (StateThatIsNoJson, "test_its_state_is_hashable_and_survives_json"),
        (RemembersEverything, "test_its_state_stays_small"),
        (NeedsABattery, "test_it_needs_no_sensors_and_stands_them"),
        (DriftingTwin, "test_its_twin_walks_the_same_levels"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_fault_of_a_strategy_is_found(wrong: type, test: str) -> None:
    check(StrategyContract, test, of_strategy, Steady(), wrong())


# -------------------------------------------------------------------------------------------------------------------------- searches


class Best:
    """A search that is right: every operator's fastest setting, one operator more at a time; coupled operators together."""

    name, summary, options = "best", "fastest settings", PLAIN

    def search(self, profile, options, count, rng):
        groups = [*profile.couplings, *((o.name,) for o in profile.operators if not any(o.name in c for c in profile.couplings))]
        chosen, latency_ms, divergence, found = {}, profile.latency_ms, 0.0, []
        for group in groups:
            operators = [o for o in profile.operators if o.name in group]
            if len(operators[0].settings) < 2:
                continue
            best = operators[0].settings[1].setting
            for operator in operators:
                setting = next(s for s in operator.settings if s.setting == best)
                chosen[operator.name] = best
                latency_ms -= operator.settings[0].latency_ms - setting.latency_ms
                divergence += setting.divergence
            found.append(Candidate(Configuration(dict(chosen)), latency_ms, divergence))
        return tuple(found[:count])


def altered(change: Callable[..., Any]) -> type:
    return type(change.__name__, (Best,), {"search": lambda self, *args: tuple(change(Best().search(*args), *args))})


def returns_exact(found, profile, options, count, rng):
    return (Candidate(EXACT_CONFIGURATION, profile.latency_ms, 0.0), *found)[:count]


def returns_too_many(found, profile, options, count, rng):
    return Best().search(profile, options, 10**6, rng)


def returns_unsorted(found, *rest):
    return found[::-1]


def returns_one_twice(found, profile, options, count, rng):
    return (*found[:1], *found)[:count]


def invents_settings(found, *rest):
    return [replace(one, configuration=Configuration({"op0": Setting.of("invented")})) for one in found[:1]]


def parts_couples(found, profile, options, count, rng):
    return [replace(one, configuration=Configuration({k: s for k, s in one.configuration.settings.items() if k != "op2"})) for one in found]


def predicts_seconds(found, *rest):
    return [replace(one, latency_ms=one.latency_ms / 1000) for one in found]


def draws_elsewhere(found, *rest):
    return [replace(one, latency_ms=one.latency_ms * (1 + 0.01 * np.random.random())) for one in found]  # noqa: NPY002


def finds_nothing(found, *rest):
    return ()


def of_heuristic(one: Any) -> Mapping[str, Any]:
    profile = heuristic.profiles()["coupled operators"]
    found = tuple(one.search(profile, {}, heuristic.COUNT, np.random.default_rng(0)))
    return {"heuristic": one, "options": {}, "profile": profile, "found": found}


@pytest.mark.parametrize(
    ("change", "test"),
    [
        (returns_exact, "test_the_exact_configuration_is_no_candidate"),
        (returns_too_many, "test_candidates_are_distinct_and_not_more_than_asked_for"),
        (returns_one_twice, "test_candidates_are_distinct_and_not_more_than_asked_for"),
        (returns_unsorted, "test_candidates_go_from_little_divergence_to_much"),
        (invents_settings, "test_candidates_are_made_of_the_settings_on_offer"),
        (parts_couples, "test_coupled_operators_change_together"),
        (predicts_seconds, "test_predictions_are_in_milliseconds_and_nats"),
        (draws_elsewhere, "test_it_finds_the_same_every_time"),
        (finds_nothing, "test_it_finds_something_where_something_pays"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_fault_of_a_search_is_found(change: Callable[..., Any], test: str) -> None:
    check(HeuristicContract, test, of_heuristic, Best(), altered(change)())


# --------------------------------------------------------------------------------------------------------------------------- datasets


class Waves:
    """A data set that is right."""

    name, summary, options, splits = "waves", "waves", PLAIN, ("tune", "test")

    def load(self, split, options, folder):
        if split not in self.splits:
            raise DataError(f"no split is called '{split}'", mend="tune or test")
        rng = np.random.default_rng(self.splits.index(split))
        return Samples(rng.normal(size=(50, 1, 4)).astype(np.float32), rng.integers(0, 2, 50), classes=("a", "b"))


def spoilt(**change: Callable[[Any], Any]) -> type:
    def load(self, split, options, folder):
        samples = Waves.load(self, split, options, folder)
        return replace(samples, **{name: function(getattr(samples, name)) for name, function in change.items()})

    return type("_".join(change), (Waves,), {"load": load})


class NotDeterministic(Waves):
    def load(self, split, options, folder):
        return replace(super().load(split, options, folder), inputs=np.random.random((50, 1, 4)).astype(np.float32))  # noqa: NPY002


class KeepsWhatItGives(Waves):
    kept: dict[str, Samples] = {}  # noqa: RUF012

    def load(self, split, options, folder):
        return self.kept.setdefault(split, super().load(split, options, folder))


class TestsOnWhatItTunes(Waves):
    def load(self, split, options, folder):
        super().load(split, options, folder)
        return super().load("tune", options, folder)


class CrashesOnUnknownSplits(Waves):
    def load(self, split, options, folder):
        return super().load(self.splits[self.splits.index(split)], options, folder)


def of_dataset(one: Any) -> Mapping[str, Any]:
    loaded = {split: one.load(split, {}, Path()) for split in one.splits}
    return {"dataset": one, "options": {}, "folder": Path(), "splits": one.splits, "overlapping": frozenset(), "loaded": loaded}


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (spoilt(inputs=lambda x: x.astype(np.float64)), "test_inputs_are_finite_float32_with_the_samples_first"),
        (spoilt(inputs=lambda x: x * np.float32(np.nan)), "test_inputs_are_finite_float32_with_the_samples_first"),
        (spoilt(labels=lambda y: y + 1), "test_labels_count_classes_from_zero"),
        (spoilt(labels=lambda y: y.astype(np.int32)), "test_labels_count_classes_from_zero"),
        (spoilt(labels=lambda y: y[1:]), "test_what_belongs_to_samples_is_one_each"),
        (NotDeterministic, "test_it_gives_the_same_samples_every_time"),
        (KeepsWhatItGives, "test_it_gives_the_same_samples_every_time"),
        (TestsOnWhatItTunes, "test_splits_have_no_sample_in_common"),
        (CrashesOnUnknownSplits, "test_a_split_that_is_not_there_is_an_error_that_can_be_mended"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_fault_of_a_data_set_is_found(wrong: type, test: str) -> None:
    check(DatasetContract, test, of_dataset, Waves(), wrong())


# --------------------------------------------------------------------------------------------------------------------------- backends


class Numpy:
    """A runner that is right: the reference, level by level. It shows what a backend may do wrong, without a device."""

    def __init__(self) -> None:
        self.graph = backend.network()
        self.info = DeviceInfo(name="numpy", driver="", runtime="")
        techniques = {"damped": backend.Damped()}
        self.plan = lowering.lower(self.graph, self.info, techniques, {}, backend.LEVELS, keep_activations=True)
        self.set_level(0)
        self.left: dict[str, Any] = {}

    def set_level(self, level):
        self.variants = self.plan.levels[level]

    def select(self, variants):
        self.variants = tuple(variants)

    def configuration(self):
        chosen = zip(self.plan.operators, self.variants, strict=True)
        return Configuration({operator.name: operator.variants[variant].setting for operator, variant in chosen})

    def run(self, x):
        if x.shape != (2, 3, 8, 8):
            raise DataError("another shape")
        self.left = reference.activations(self.graph, [x], self.configuration(), {"damped": backend.Damped()})
        return self.left["fc"].copy()

    def resume(self, first):
        techniques = {"damped": backend.Damped()}
        for operator in self.graph.operators[first:]:
            self.left[operator.output] = reference.run_operator(
                self.graph, operator, self.left, self.configuration()[operator.name], techniques
            )
        return self.left["fc"].copy()

    def tensor(self, name):
        return self.left[name]

    def time(self, operators, variants, seconds):
        import time

        def once(one):
            kept, self.variants = self.variants, tuple(one)
            started = time.perf_counter()
            self.run(backend.inputs())
            self.variants = kept
            return 1000 * (time.perf_counter() - started)

        return [np.array([once(one) for _ in range(3)]) for one in variants]


class IgnoresLevels(Numpy):
    def set_level(self, level):
        self.variants = self.plan.levels[0]


class IgnoresSelections(Numpy):
    def select(self, variants):
        pass


class ResumesFromTheStart(Numpy):
    """Everything before the operator is computed anew, with the variants of now."""

    def resume(self, first):
        return self.run(backend.inputs() * np.float32(0.5))


class ResumesOneTooLate(Numpy):
    def resume(self, first):
        return super().resume(first + 1)


class TimesInSeconds(Numpy):
    def time(self, operators, variants, seconds):
        return [times / 1000 for times in super().time(operators, variants, seconds)]


class TimingMovesTheLevel(Numpy):
    def time(self, operators, variants, seconds):
        found = super().time(operators, variants, seconds)
        self.variants = tuple(variants[0])
        return found


class HandsOutItsBuffer(Numpy):
    buffer = np.zeros((2, 5), np.float32)

    def run(self, x):
        self.buffer[:] = super().run(x)
        return self.buffer


class TakesAnyShape(Numpy):
    def run(self, x):
        return super().run(np.resize(x, (2, 3, 8, 8)))


class LeavesOldActivations(Numpy):
    def tensor(self, name):
        return reference.activations(self.graph, [backend.inputs()])[name]


def of_backend(one: Any) -> Mapping[str, Any]:
    return {"runner": one, "graph": one.graph, "device": one}


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (IgnoresLevels, "test_every_level_means_what_the_reference_says"),
        (IgnoresSelections, "test_chosen_variants_are_those_that_run"),
        (ResumesFromTheStart, "test_resuming_gives_what_a_whole_run_gives"),
        (ResumesOneTooLate, "test_resuming_gives_what_a_whole_run_gives"),
        (TimesInSeconds, "test_times_are_milliseconds_and_timing_changes_nothing"),
        (TimingMovesTheLevel, "test_times_are_milliseconds_and_timing_changes_nothing"),
        (HandsOutItsBuffer, "test_an_output_stays_what_it_was"),
        (TakesAnyShape, "test_an_input_of_another_shape_is_refused"),
        (LeavesOldActivations, "test_activations_are_those_of_the_last_run"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_fault_of_a_backend_is_found(wrong: type, test: str) -> None:
    check(BackendContract, test, of_backend, Numpy(), wrong())


def test_a_device_that_is_neither_usable_nor_wrong_is_found() -> None:
    def shelf(report: DeviceReport) -> Mapping[str, Any]:
        return {"backend": SimpleNamespace(name="shelf", devices=lambda: [report], options=PLAIN, open=DeviceError)}

    right = DeviceReport("shelf", 0, "abacus", problem="is bent", mend="straighten it")
    check(BackendContract, "test_it_reports_devices_with_what_is_wrong_with_them", shelf, right, replace(right, problem=None))


# --------------------------------------------------------------------------------------------------------------- meters and measures


def meter(joules_per_second: float, unit: float = 1000.0, adds_up: bool = False) -> Any:
    import time
    from contextlib import contextmanager

    spent = [0.0]

    @contextmanager
    def measure():
        reading, started = SimpleNamespace(energy_mj=float("nan")), time.perf_counter()
        yield reading
        spent[0] = (spent[0] if adds_up else 0.0) + joules_per_second * (time.perf_counter() - started)
        reading.energy_mj = unit * spent[0]

    return SimpleNamespace(name="m", summary="m", options=PLAIN, problem=lambda: None, measure=measure)


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (meter(15, unit=1.0), "test_energy_is_in_millijoules"),
        (meter(15, unit=1e6), "test_energy_is_in_millijoules"),
        (meter(15, adds_up=True), "test_measurements_do_not_add_up"),
    ],
    ids=["joules", "microjoules", "adding up"],
)
def test_a_fault_of_a_meter_is_found(wrong: Any, test: str) -> None:
    check(MeterContract, test, lambda one: {"meter": one, "able": one, "options": {}}, meter(15), wrong)


class Right:
    """A measure that is right."""

    name, summary, options, unit, higher_is_better = "right", "right predictions", PLAIN, "pp", True
    classifies, needs_labels, grain, default_max_loss = True, True, 100.0, 5.0

    def statistics(self, outputs, truth, options):
        return (outputs.argmax(axis=1) == truth.labels)[:, None].astype(np.float64)

    def score(self, means, options):
        return 100 * means[..., 0]


class UpsideDown(Right):
    higher_is_better = False


class LooksAtTheOthers(Right):
    def statistics(self, outputs, truth, options):
        rows = super().statistics(outputs, truth, options)
        return rows - rows.mean()


class SinglePrecision(Right):
    def statistics(self, outputs, truth, options):
        return super().statistics(outputs, truth, options).astype(np.float32)


class OneScoreForAll(Right):
    def score(self, means, options):
        return 100 * np.mean(means)


def of_metric(one: Any) -> Mapping[str, Any]:
    return {"metric": one, "options": {}, "truth": metric.truth(one)}


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (UpsideDown, "test_what_is_further_off_scores_worse"),
        (LooksAtTheOthers, "test_a_sample_s_statistics_do_not_depend_on_the_others"),
        (SinglePrecision, "test_statistics_are_a_row_for_each_sample"),
        (OneScoreForAll, "test_scores_of_many_means_come_at_once"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_fault_of_a_measure_is_found(wrong: type, test: str) -> None:
    check(MetricContract, test, of_metric, Right(), wrong())


# ------------------------------------------------------------------------------------------------------------------- what is hidden


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("import torch\n" + offering("mobiprox_techniques", "spline"), "import"),
        ("@hookimpl\ndef mobiprox_technique():\n    return []", "unknown hook"),
    ],
    ids=["a heavy import", "a misspelt hook"],
)
def test_a_distribution_that_loads_heavily_or_wrongly_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, what: str
) -> None:
    from mobiprox_core.testing import DistributionContract

    distribution(tmp_path, "approx_spline", code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    record = plugins.Plugin("approx_spline", "stranger-approx-spline", "1.2.3", offers=plugins.promised("approx_spline"))
    with pytest.raises(AssertionError, match=what):
        DistributionContract().test_nothing_is_wrong_with_it(record)


def test_a_deviation_is_an_xfail_with_a_reason_and_nothing_else() -> None:
    with pytest.raises(TypeError, match="takes the place of a test of the contract"):
        type("Silent", (MeterContract,), {"test_energy_is_in_millijoules": lambda self: None})
    with pytest.raises(TypeError, match="takes the place"):
        type("Removed", (MeterContract,), {"test_energy_is_in_millijoules": None})

    def test(self: MeterContract) -> None: ...

    skipped = pytest.mark.skip(reason="not now")(test)
    with pytest.raises(TypeError, match="takes the place"):
        type("Skipped", (MeterContract,), {"test_energy_is_in_millijoules": skipped})
    test.pytestmark = []  # type: ignore[attr-defined]
    excused = pytest.mark.xfail(reason="it measures one part only", strict=True)(test)
    type("Excused", (MeterContract,), {"test_energy_is_in_millijoules": excused, "test_more": test})
