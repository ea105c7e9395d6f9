"""Everything an experiment names, found and checked, before anything runs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .configuration import KnobSpace, Setting
from .correction import Grade
from .errors import DataError, DeviceError, ExperimentError, LoweringError
from .experiment import Choice, DataChoice, Experiment
from .interfaces import Backend, Executor, Heuristic, Meter, Metric, Samples, StrategyOffer, Technique
from .ledger import digest, digest_file
from .plugins import Registry
from .schema import DEFAULT_QOS, DEFAULT_UNLABELLED_QOS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from .graph import Graph
    from .interfaces import Floats
    from .network import Network
    from .qos import Judge


@dataclass(frozen=True, slots=True, eq=False)
class Resolved:
    """An experiment with its network, data and plugins at hand.

    qos: how outputs are judged, the default filled in; metric: the same as an object. trace: None where there is none.
    already_softmax: whether the network's output is probabilities rather than logits.
    macs: multiply-adds of each operator, per inference. code: digest of all code that measurements depend on.
    calibrate: inputs that settings and levels are fitted to, None where none is. recalibrate: the grade of levels' corrections, None where
    there are none. unfitted: indices of the tuning inputs that are not among those, which the profile looks at.
    """

    experiment: Experiment
    network: Network
    tune: Samples
    test: Samples
    trace: Samples | None
    techniques: Mapping[str, Technique]
    space: KnobSpace
    couplings: tuple[tuple[str, ...], ...]
    heuristic: Heuristic
    backend: Backend
    qos: Choice
    metric: Metric
    strategy: StrategyOffer | None
    meter: Meter | None
    executor: Executor | None
    already_softmax: bool
    macs: Mapping[str, int]
    plugins: Mapping[str, str]
    code: str
    calibrate: Floats | None
    recalibrate: Grade | None
    unfitted: npt.NDArray[np.int64]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.tune.classes

    @property
    def max_loss(self) -> float:
        """What may be lost, in the unit of the measure."""
        asked = self.experiment.search.max_loss
        return self.metric.default_max_loss if asked is None else asked

    def judge(self, samples: Samples) -> Judge:
        """The measure over a split."""
        from .qos import Judge

        return Judge(self.metric, self.qos.options, samples, self.experiment.search.confidence, self.already_softmax)

    @property
    def graph(self) -> Graph:
        """At the batch size of one inference: 1, unless the network fixes another."""
        return self.network.at_batch(self.network.batch or 1)


def resolve(experiment: Experiment, registry: Registry) -> Resolved:
    """Load network and data, find the plugins, offer the settings.

    Raises ExperimentError, PluginError or LoweringError, each with the line of the experiment that it comes from.
    """
    from .network import Network

    with experiment.at("model"):
        model = registry.get("frontend", experiment.model.name).load(experiment.model.options, experiment.folder)
        network = Network.from_model(model, _name(experiment))
        graph = network.at_batch(network.batch or 1)
        _check_ends(graph)
    techniques = {}
    for index, choice in enumerate(experiment.techniques):
        with experiment.at(f"techniques[{index}]"):
            techniques[choice.name] = registry.get("technique", choice.name)
    with experiment.at("search"):
        _check_patterns(experiment, graph)
        space = knob_space(experiment, graph, techniques)
    strategy = None
    if experiment.strategy is not None:
        with experiment.at("strategy"):
            strategy = registry.get("strategy", experiment.strategy.name)
            if (check := getattr(strategy, "check", None)) is not None:
                check(experiment.strategy.options)
    meter = None
    if experiment.energy is not None:
        with experiment.at("energy"):
            meter = registry.get("meter", experiment.energy.name)
            # one that looks at the device itself is asked when that is open
            if not hasattr(meter, "on") and (problem := meter.problem()) is not None:
                raise DeviceError(f"'{experiment.energy.name}' cannot measure here: {problem}", mend="leave 'energy' out")
    tune, test = (
        _samples(experiment, f"data.{key}", choice, graph, registry)
        for key, choice in (("tune", experiment.tune), ("test", experiment.test))
    )
    qos, metric = _metric(experiment, registry, graph, tune, test)
    trace = None if experiment.trace is None else _samples(experiment, "trace", experiment.trace, graph, registry)
    if trace is not None:
        with experiment.at("trace"):
            _check_labels(trace, prod(graph.outputs[0].shape[1:]))
    given = None if experiment.calibrate is None else _samples(experiment, "data.calibrate", experiment.calibrate, graph, registry)
    recalibrate = _grade(experiment, is_fitted(space, techniques))
    calibrate, unfitted = _parts(tune, given, is_fitted(space, techniques) or recalibrate is not None)
    return Resolved(
        experiment=experiment,
        network=network,
        tune=tune,
        test=test,
        trace=trace,
        techniques=MappingProxyType(techniques),
        space=space,
        couplings=tuple(coupled for technique in techniques.values() for coupled in technique.couplings(graph)),
        heuristic=registry.get("heuristic", experiment.search.heuristic),
        backend=registry.get("backend", experiment.backend.name),
        qos=qos,
        metric=metric,
        strategy=strategy,
        meter=meter,
        executor=None if experiment.executor is None else registry.get("executor", experiment.executor.name),
        already_softmax=ends_in_softmax(graph),
        macs=MappingProxyType({op.name: graph.macs(op) for op in graph.operators}),
        plugins=MappingProxyType(_plugins(experiment, qos, registry)),
        code=_code(techniques.values(), registry.get("backend", experiment.backend.name), metric),
        calibrate=calibrate,
        recalibrate=recalibrate,
        unfitted=unfitted,
    )


def is_fitted(space: KnobSpace, techniques: Mapping[str, Technique]) -> bool:
    """Whether any setting needs calibration inputs."""
    return any(techniques[knobs.technique].needs_statistics(knobs) for op in space for setting in space[op] for knobs in setting)


def _grade(experiment: Experiment, fitted: bool) -> Grade | None:
    """How levels are corrected: as asked; if nobody asks, cheaply where there is something to fit to. fitted: whether settings are."""
    asked = experiment.search.recalibrate or ("affine" if fitted or experiment.calibrate is not None else "off")
    return "affine" if asked == "affine" else "full" if asked == "full" else None


def _parts(tune: Samples, given: Samples | None, fitted: bool) -> tuple[Floats | None, npt.NDArray[np.int64]]:
    """The inputs that settings are fitted to, and which tuning inputs are left to compare settings on."""
    import numpy as np

    from .batches import parted

    if fitted and given is None:
        calibrate, unfitted = parted(len(tune.inputs))
        return tune.inputs[calibrate], unfitted
    return given.inputs if fitted and given is not None else None, np.arange(len(tune.inputs))


def knob_space(experiment: Experiment, graph: Graph, techniques: Mapping[str, Technique]) -> KnobSpace:
    """Every single setting that the experiment's techniques offer on the operators that it admits."""
    options = {choice.name: choice.options for choice in experiment.techniques}
    return KnobSpace(
        {
            op.name: tuple(
                Setting((knobs,)) for name, technique in techniques.items() for knobs in technique.settings(op, graph, options[name])
            )
            for op in graph.operators
            if experiment.search.admits(op.name)
        }
    )


def ends_in_softmax(graph: Graph) -> bool:
    """Whether the first output is probabilities."""
    made_by = {op.output: op for op in graph.operators}
    op = made_by.get(graph.outputs[0].name)
    while op is not None and op.kind == "view":
        op = made_by.get(op.inputs[0])
    return op is not None and op.kind == "softmax" and not op["log"]


def _name(experiment: Experiment) -> str:
    """What to call the network: as its file is called, else as the experiment is."""
    files = [file for key, file in experiment.files.items() if key.startswith("model.")]
    return (files[0] if files else Path(experiment.document.name)).stem


def _check_ends(graph: Graph) -> None:
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise LoweringError(
            f"the network has {len(graph.inputs)} input(s) and {len(graph.outputs)} output(s); tuning needs one of each",
            mend="export the network with its class scores, or what else counts, as the only output",
        )


def _metric(experiment: Experiment, registry: Registry, graph: Graph, tune: Samples, test: Samples) -> tuple[Choice, Metric]:
    """How outputs are judged: as the experiment says, else by labels, else by agreement with the exact network."""
    labelled = tune.labels is not None and test.labels is not None
    choice = experiment.qos or Choice(DEFAULT_QOS if labelled else DEFAULT_UNLABELLED_QOS, MappingProxyType({}))
    with experiment.at("qos" if experiment.qos else "model"):
        metric = registry.get("qos", choice.name)
        shape = graph.outputs[0].shape
        if metric.classifies and (len(shape) < 2 or shape[1] != prod(shape[1:])):
            others = [name for name in registry.names("qos") if not registry.get("qos", name).classifies]
            raise LoweringError(
                f"the network's output '{graph.outputs[0].name}' is float32{list(shape[1:])} for one input; "
                f"'{choice.name}' needs one score per class",
                mend="export the network with its class scores, [N, classes], as the only output; or, if it does not classify, "
                f"say how its outputs are judged: 'qos: {(others or ['NAME'])[0]}'",
            )
    for key, samples in (("tune", tune), ("test", test)):
        with experiment.at(f"data.{key}"):
            if metric.needs_labels and samples.labels is None:
                raise DataError(
                    f"'{choice.name}' needs labels, and there are none", mend=f"give labels, or write 'qos: {DEFAULT_UNLABELLED_QOS}'"
                )
            if metric.classifies:
                _check_labels(samples, prod(shape[1:]))
    if experiment.search.in_points and metric.unit != "pp":
        with experiment.at("search.max_loss_pp"):
            raise ExperimentError(
                f"losses of '{choice.name}' are no percentage points, but {metric.unit}",
                mend=f"write 'max_loss: {metric.default_max_loss:g}', in {metric.unit}",
            )
    if not metric.classifies and experiment.strategy is not None:
        with experiment.at("strategy"):
            raise ExperimentError(
                f"strategies go by labels and their confidence; a network judged by '{choice.name}' has none",
                mend="leave 'strategy' and 'trace' out, and set the level by hand: session.level = 3",
            )
    return choice, metric


def _check_patterns(experiment: Experiment, graph: Graph) -> None:
    """Every pattern of operator names means some operator."""
    names = [op.name for op in graph.operators if op.kind != "view"]
    for key, patterns in (("include", experiment.search.include), ("exclude", experiment.search.exclude)):
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                near = get_close_matches(pattern, names, 1)
                raise ExperimentError(
                    f"no operator's name fits '{pattern}' of '{key}'",
                    mend=f"did you mean '{near[0]}'?" if near else f"its operators are: {', '.join(names)}",
                )


def _samples(experiment: Experiment, key: str, choice: DataChoice, graph: Graph, registry: Registry) -> Samples:
    with experiment.at(key):
        samples = registry.get("dataset", choice.dataset).load(choice.split, choice.options, experiment.folder)
        check_samples(samples, graph)
        return samples


def check_samples(samples: Samples, graph: Graph) -> None:
    """Raises DataError for data that the network cannot take."""
    import numpy as np

    wanted = graph.inputs[0].shape[1:]
    inputs, targets = samples.inputs, samples.targets
    if inputs.dtype != np.float32 or inputs.shape[1:] != wanted:
        raise DataError(
            f"samples are {inputs.dtype}{list(inputs.shape[1:])}; the network's input '{graph.inputs[0].name}' takes float32{list(wanted)}",
            mend="choose the data set that this network was trained on, or its options",
        )
    if not len(inputs):
        raise DataError("there are no samples", mend="choose another split, or other options")
    if not np.isfinite(inputs).all():
        raise DataError("some samples are not finite numbers", mend="clean the data")
    if targets is not None and (len(targets) != len(inputs) or prod(targets.shape[1:]) != prod(graph.outputs[0].shape[1:])):
        raise DataError(
            f"targets have shape {list(targets.shape)}; wanted are {len(inputs)} of float32{list(graph.outputs[0].shape[1:])}",
            mend="give one target per sample, of the shape of the network's output",
        )


def _check_labels(samples: Samples, classes: int) -> None:
    labels = samples.labels
    if labels is None:
        return
    if labels.shape != (len(samples.inputs),):
        raise DataError(f"{labels.size} label(s) for {len(samples.inputs)} sample(s)", mend="give one label per sample")
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"labels go from {labels.min()} to {labels.max()}; the network tells {classes} classes apart, 0 to {classes - 1}",
            mend="number the labels in the order of the network's outputs, from 0",
        )


def _plugins(experiment: Experiment, qos: Choice, registry: Registry) -> dict[str, str]:
    """Version of every plugin that the experiment uses, by distribution."""
    used: list[tuple[str, str]] = [("frontend", experiment.model.name), ("heuristic", experiment.search.heuristic), ("qos", qos.name)]
    used += [("technique", choice.name) for choice in experiment.techniques]
    used += [
        ("dataset", data.dataset) for data in (experiment.tune, experiment.test, experiment.calibrate, experiment.trace) if data is not None
    ]
    named: dict[str, Any] = {
        "backend": experiment.backend,
        "strategy": experiment.strategy,
        "meter": experiment.energy,
        "executor": experiment.executor,
    }
    used += [(kind, choice.name) for kind, choice in named.items() if choice is not None]
    providers = [registry.provider(kind, name) for kind, name in used]
    return dict(sorted((plugin.distribution, plugin.version) for plugin in providers))


def _code(techniques: Iterable[Technique], *others: object) -> str:
    """Digest of the source of core, of techniques, and of other offers: their packages, kernels among it.

    Versions tell releases apart; this tells apart what lies between two of them.
    """
    names = {__package__.partition(".")[0], *(type(offer).__module__.partition(".")[0] for offer in (*techniques, *others))}
    files = []
    for name in sorted(names):
        origin = getattr(sys.modules.get(name), "__file__", None)
        if origin is not None:
            here = Path(origin).parent if Path(origin).name == "__init__.py" else Path(origin)
            found = here.rglob("*") if here.is_dir() else [here]
            files += sorted(file for file in found if file.suffix in (".py", ".cl", ".c", ".h"))
    return digest([[file.name, digest_file(file)] for file in files])
