"""Running networks from Python: a bundle whose strategy picks the level, or any network under any configuration.

::

    session = Session.open("runs/a/bundle")
    prediction = session.infer(x)
    model = open_model("net.onnx", batch=8, settings={"conv1": "perforation(axis=rows, offset=1, stride=2)"})
    outputs = model.run(x)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from . import plugins
from .adaptation import probabilities
from .configuration import EXACT, Configuration, KnobSetting, OpId, Setting
from .correction import CorrectionsOf, Grade, none
from .errors import DataError, InfeasibleSetting, UsageError
from .heartbeat import Heartbeat
from .interfaces import Device, Observation, Rerun, Runner, Statistics, Strategy, Technique
from .replays import checked_level

if TYPE_CHECKING:
    import numpy.typing as npt

    from .bundle import Bundle
    from .experiment import Choice
    from .graph import Graph, Operator, Shape
    from .interfaces import Floats, LevelCalibration
    from .network import Network
    from .plugins import Registry


SURROUNDINGS = frozenset(field.name for field in fields(Observation)) - {"label", "confidence", "level", "rerun"}
"""What a strategy may know besides the predictions."""


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """One inference. label: index of the class; confidence: 0..1, calibrated; level: the one that ran; outputs: float32[K].

    Of a network that does not classify, label is -1 and confidence 0.

    latency_ms, relative_cost (one run of level 0 is 1, by the session's corrected table): of all runs, where the strategy asked for more
    than one; the rest tells of the last.
    """

    label: int
    confidence: float
    level: int
    latency_ms: float
    relative_cost: float
    outputs: Floats


class Session:
    """A bundle on a device. After every inference its strategy chooses the level of the next one.

    strategy: None where levels are set by hand. inferences: how many inputs there were. heartbeat: measured against profiled
    latencies; where they drift apart, the strategy that it was opened with starts anew on the corrected costs. A context manager.
    """

    def __init__(self, bundle: Bundle, device: Device, strategy: Strategy | None) -> None:
        self.bundle = bundle
        self._device = device
        self._runner = device.load(bundle.plan)
        self._labelled: Callable[[Floats], Floats] | None = getattr(self._runner, "labelled", None) if bundle.plan.labelled else None
        self._shape = bundle.plan.inputs[0].shape
        self._level = 0
        self.inferences = 0
        self.heartbeat = Heartbeat([point.latency_ms for point in bundle.points])
        self.strategy = strategy

    @classmethod
    def open(
        cls, bundle: str | Path, device: str | int = "auto", registry: Registry | None = None, strategy: Choice | None = None
    ) -> Session:
        """The bundle in a folder, on a device of the backend that it was made for.

        device: "auto", or as the backend's option `device` takes it. strategy: instead of the bundle's.

        Raises BundleError for a damaged bundle, PluginError where the backend or the strategy is not installed, DeviceError where the device
        is missing or another kind than the bundle's.
        """
        from . import bundle as bundles

        content = bundles.read(Path(bundle))
        registry = registry or plugins.load()
        options = {**content.backend.options, **({} if device == "auto" else {"device": device})}
        opened = registry.get("backend", content.backend.name).open(options)
        choice = strategy or content.strategy
        if choice is None:
            return cls(content, opened, None)
        offer = registry.get("strategy", choice.name)
        session = cls(content, opened, offer.create(choice.options, content.calibration))
        session._remake = lambda levels: offer.create(choice.options, levels)
        return session

    @property
    def levels(self) -> int:
        """How many levels there are; level 0 is exact."""
        return len(self.bundle.points)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in label order, or none."""
        return self.bundle.classes

    @property
    def level(self) -> int:
        """The level of the next inference. Setting it costs microseconds; a strategy goes on from there."""
        return self._level

    @level.setter
    def level(self, level: int) -> None:
        if not 0 <= level < self.levels:
            raise UsageError(f"there is no level {level}", mend=f"levels go from 0 (exact) to {self.levels - 1}")
        if level != self._level:
            self._level = level
            self._runner.set_level(level)

    @property
    def program(self) -> str:
        """Where the compiled kernels came from: "program from the cache (built ...)" or "program compiled in ... s"; may be empty."""
        return str(getattr(self._device, "programs", ""))

    @property
    def strategy(self) -> Strategy | None:
        return self._strategy

    @strategy.setter
    def strategy(self, strategy: Strategy | None) -> None:
        self._strategy = strategy
        self._state = None if strategy is None else strategy.start()
        self._remake: Callable[[Sequence[LevelCalibration]], Strategy] | None = None

    def infer(self, x: npt.ArrayLike, **surroundings: Any) -> Prediction:
        """Run one input, float32 of the network's shape with or without the batch axis; again at a dearer level if the strategy asks.

        surroundings: what else the strategy may know, by the names of `Observation`: battery, charging, temperature_c, deadline_ms,
        hour, purpose. Raises DataError for another shape, UsageError for surroundings that do not exist.
        """
        values = np.asarray(x, dtype=np.float32)
        if values.shape != self._shape or self._shape[0] != 1:
            if values.shape != self._shape[1:] or self._shape[0] != 1:
                raise DataError(
                    f"the input has shape {list(values.shape)}; the network takes {list(self._shape[1:])}, one at a time",
                    mend="prepare the input as for training",
                )
            values = values[None]
        if surroundings and (unknown := sorted(set(surroundings) - SURROUNDINGS)):
            raise UsageError(f"'{unknown[0]}' is nothing that a strategy knows of", mend=f"there are: {', '.join(sorted(SURROUNDINGS))}")
        drifts = len(self.heartbeat.drifts)
        prediction = self._run(values)
        self.inferences += 1
        if self._strategy is None:
            return prediction
        observation = Observation(prediction.label, prediction.confidence, prediction.level, **surroundings)
        self._state, chosen = self._strategy.step(self._state, observation)
        while isinstance(chosen, Rerun):
            self.level = checked_level(self._strategy, chosen, self.levels, self.inferences - 1, prediction.level)
            again = self._run(values)
            paid = prediction.relative_cost + again.relative_cost
            prediction = replace(again, latency_ms=prediction.latency_ms + again.latency_ms, relative_cost=paid)
            observation = Observation(prediction.label, prediction.confidence, prediction.level, **surroundings, rerun=True)
            self._state, chosen = self._strategy.step(self._state, observation)
        self.level = checked_level(self._strategy, chosen, self.levels, self.inferences - 1)
        if len(self.heartbeat.drifts) > drifts and self._remake is not None:
            costs = zip(self.bundle.calibration, self.heartbeat.relative_costs, strict=True)
            self._strategy = self._remake([replace(level, relative_cost=cost) for level, cost in costs])
            self._state = self._strategy.start()
        return prediction

    def _run(self, values: Floats) -> Prediction:
        """One inference at the present level."""
        begin = perf_counter()
        if self._labelled is not None:
            answer = self._labelled(values)[0]
            latency_ms = 1e3 * (perf_counter() - begin)
            label, confidence, outputs = int(answer[0]), float(answer[1]), answer[2:]
        else:
            output = self._runner.run(values)
            latency_ms = 1e3 * (perf_counter() - begin)
            outputs = (output[0] if isinstance(output, tuple) else output).reshape(-1)
            label, confidence = -1, 0.0
            if self.bundle.qos.classifies:
                temperature = self.bundle.calibration[self._level].temperature
                label = int(outputs.argmax())
                confidence = float(probabilities(outputs[None], self.bundle.already_softmax, temperature)[0, label])
        self.heartbeat.beat(self._level, latency_ms)
        return Prediction(label, confidence, self._level, latency_ms, self.heartbeat.relative_costs[self._level], outputs)

    def close(self) -> None:
        """Give the device's memory back."""
        self._runner.close()
        self._device.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class ModelOperator:
    """An operator of a network. settings: all single ones that are legal, exact first; those of different slots compose with '+'."""

    name: OpId
    kind: str
    inputs: tuple[Shape, ...]
    output: Shape
    settings: tuple[Setting, ...]


class Model:
    """A network under one configuration, on a device. A context manager."""

    def __init__(self, operators: tuple[ModelOperator, ...], configuration: Configuration, device: Device, runner: Runner) -> None:
        self.operators = operators
        self.configuration = configuration
        self._device = device
        self._runner = runner

    def run(self, *inputs: npt.ArrayLike) -> Floats | tuple[Floats, ...]:
        """One batch: float32 inputs of the network's shapes; its output, or a tuple of several. Raises DataError for other shapes."""
        return self._runner.run(*(np.ascontiguousarray(values, dtype=np.float32) for values in inputs))

    def close(self) -> None:
        """Give the device's memory back."""
        self._runner.close()
        self._device.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_model(
    path: str | Path,
    batch: int = 1,
    settings: Mapping[OpId, str | Setting] | None = None,
    device: str | int = "auto",
    calibrate: npt.NDArray[np.float32] | None = None,
    backend: str | None = None,
    registry: Registry | None = None,
    recalibrate: Grade | None = "affine",
) -> Model:
    """A network of an ONNX file under any configuration, without a search.

    settings: operator name -> setting, spelt as in files; operators left out are exact. calibrate: float32[N, ...], inputs that
    settings are fitted to, and then the whole configuration; without them, settings that need some are not legal. recalibrate: how the
    configuration is corrected, None for not at all. backend: the first choice among those with a device if left out.

    Raises UsageError for an unknown operator or an illegal setting, with the one that was probably meant; DataError for calibration
    inputs that the network cannot take.
    """
    from .initial import first_backend
    from .lowering import lower
    from .network import Network
    from .tuning import Verdicts

    registry = registry or plugins.load()
    path = Path(path)
    network = Network.from_model(registry.get("frontend", "onnx").load({"path": path.name}, path.parent), path.stem)
    techniques = {name: registry.get("technique", name) for name in registry.names("technique")}
    graph = network.at_batch(batch)
    if calibrate is not None:
        calibrate = _calibration_inputs(calibrate, graph)
    given = settings or {}
    legal = {
        op.name: legal_settings(op, graph, techniques, fitted=calibrate is not None, wanted=given.get(op.name, EXACT))
        for op in graph.operators
    }
    configuration = Configuration(
        {name: checked_setting(name, spelt, legal, techniques, fitted=calibrate is not None) for name, spelt in given.items()}
    )
    opened = registry.get("backend", backend or first_backend(registry)).open({} if device == "auto" else {"device": device})
    statistics, corrections = _fitted(network, opened, calibrate, techniques, recalibrate)
    levels = [Configuration({}), configuration]
    ways = Verdicts(opened.info)
    runner = opened.load(lower(graph, opened.info, techniques, {}, levels, statistics=statistics, corrections=corrections, ways=ways))
    runner.set_level(len(runner.plan.levels) - 1)
    operators = tuple(
        ModelOperator(op.name, op.kind, tuple(graph.shape(name) for name in op.reads), graph.shape(op.output), legal[op.name])
        for op in graph.operators
    )
    return Model(operators, configuration, opened, runner)


def _calibration_inputs(calibrate: npt.ArrayLike, graph: Graph) -> Floats:
    """As float32[N, ...]. Raises DataError for what the network cannot take."""
    from .interfaces import Samples
    from .resolve import check_samples

    inputs = np.ascontiguousarray(calibrate, dtype=np.float32)
    check_samples(Samples(inputs), graph)
    return inputs


def _fitted(
    network: Network, device: Device, calibrate: Floats | None, techniques: Mapping[str, Technique], recalibrate: Grade | None
) -> tuple[Callable[[OpId], Statistics | None], CorrectionsOf]:
    """What is known of operators, and how configurations are corrected."""
    if calibrate is None:
        return (lambda op: None), none
    from .recalibration import Recalibrator
    from .statistics import Calibration

    calibration = Calibration(network, device, calibrate)
    return calibration, none if recalibrate is None else Recalibrator(calibration, techniques, recalibrate)


def legal_settings(
    op: Operator, graph: Graph, techniques: Mapping[str, Technique], *, fitted: bool = False, wanted: str | Setting = EXACT
) -> tuple[Setting, ...]:
    """Every single setting that is legal for an operator under default options, exact first. fitted: with those that are fitted to calibration
    inputs. wanted: a setting written by hand, whose parts may need other options.
    """
    every = {knobs: technique for technique in techniques.values() for knobs in technique.settings(op, graph, {})}
    with suppress(UsageError, InfeasibleSetting):  # told by who checks it
        for knobs in Setting.parse(wanted) if isinstance(wanted, str) else wanted:
            technique = techniques.get(knobs.technique)
            options = getattr(technique, "options_of", None)
            if technique is not None and options is not None and knobs in technique.settings(op, graph, options(knobs)):
                every[knobs] = technique
    return (EXACT, *(Setting((knobs,)) for knobs, technique in every.items() if fitted or not technique.needs_statistics(knobs)))


def checked_setting(
    name: OpId,
    spelt: str | Setting,
    legal: Mapping[OpId, Sequence[Setting]],
    techniques: Mapping[str, Technique],
    *,
    fitted: bool = False,
) -> Setting:
    """The setting, legal for the operator. Raises UsageError with what was probably meant. fitted: there are calibration inputs."""
    if name not in legal:
        raise UsageError(f"the network has no operator called '{name}'", mend=_meant(name, legal))
    setting = Setting.parse(spelt) if isinstance(spelt, str) else spelt
    offered = {knobs for choice in legal[name] for knobs in choice}
    for knobs in setting:
        if knobs.technique not in techniques:
            raise UsageError(f"no technique is called '{knobs.technique}'", where=name, mend=_meant(knobs.technique, techniques))
        if knobs not in offered and not fitted and _needs_statistics(techniques[knobs.technique], knobs):
            raise UsageError(
                f"'{knobs}' is fitted to calibration inputs, and there are none",
                where=name,
                mend="give some, or take a setting that needs none",
            )
        if knobs not in offered:
            raise UsageError(f"'{knobs}' is not legal for this operator", where=name, mend=_meant(str(knobs), _spelt(offered, knobs)))
    slots = [techniques[knobs.technique].slot(knobs) for knobs in setting]
    if len(set(slots)) < len(slots):
        raise UsageError(f"'{setting}' sets one thing twice", where=name, mend="take settings of different kinds")
    return setting


def _needs_statistics(technique: Technique, knobs: KnobSetting) -> bool:
    try:
        return technique.needs_statistics(knobs)
    except InfeasibleSetting:  # it means nothing to the technique, so it is not offered either
        return False


def _spelt(offered: set[KnobSetting], wanted: KnobSetting) -> list[str]:
    """The legal settings of the wanted technique; of all if it has none here."""
    own = [str(knobs) for knobs in sorted(offered) if knobs.technique == wanted.technique]
    return own or [str(knobs) for knobs in sorted(offered)]


def _meant(word: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(known) or 'none'}"
