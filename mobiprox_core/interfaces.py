"""What plugins implement. Protocols only: no base classes to inherit, no registration but the hooks of `hookspecs`.

Every offered object has a `name` (what experiment files say), a `summary` (one line for `mobiprox plugins list`) and `options`
(JSON Schema of its keys in the experiment file, an object schema's ``properties``; required keys under ``"required"``).
None of them may import numpy, torch, onnx or pyopencl before a method needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    import onnx_ir

    from .configuration import Configuration, KnobSetting, KnobSpace, OpId, Setting
    from .experiment import Choice
    from .graph import Graph, Operator
    from .plan import DeviceInfo, ExecutionPlan
    from .tables import KernelSource, Role, Tables

    Floats = npt.NDArray[np.float32]

Options = Mapping[str, Any]
"""Values of a plugin's own keys, validated against its `options` schema; paths are strings."""


class Offer(Protocol):
    """What all offered objects have in common."""

    name: str
    summary: str
    options: Mapping[str, Any]


# ---------------------------------------------------------------------------------------------------------------- models and data


class Frontend(Offer, Protocol):
    """Reads trained networks of one format."""

    def load(self, options: Options, folder: Path) -> onnx_ir.Model:
        """The network as ONNX (opset 13 or later), unsimplified. Relative paths are relative to `folder`.

        Raises ExperimentError where the file is missing, damaged or not of this format.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """One split of a data set, as the network takes it.

    inputs: float32[N, ...]. labels: int64[N], or None where there are none. groups: str[N] (user, speaker), or None.
    classes: names in label order, or empty. notes: str[N] or None, what a trace says of each sample ("noise 0.3").
    targets: float32[N, ...], the outputs that a network which does not classify should give; or None.
    """

    inputs: Floats
    labels: npt.NDArray[np.int64] | None = None
    groups: npt.NDArray[np.str_] | None = None
    classes: tuple[str, ...] = ()
    notes: npt.NDArray[np.str_] | None = None
    targets: Floats | None = None


class Dataset(Offer, Protocol):
    """Loads named splits of one data set.

    It may have a method ``stream(source)``: from a binary file of raw signals, pairs (seconds since the start at which an input is
    complete, float32 input), one by one as they can be read; `mobiprox live` runs on them. Raises DataError for another kind of file.
    """

    splits: tuple[str, ...]
    """Names of the splits it knows; empty where the user's options define them."""

    def load(self, split: str, options: Options, folder: Path) -> Samples:
        """One split. Deterministic. Raises DataError with a mend where files are missing or wrong."""


# -------------------------------------------------------------------------------------------------------------- quality of service


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What outputs are judged by, sample by sample.

    exact: float32[N, K], of the exact network. labels: int64[N]; targets: float32[N, K]; None where there are none.
    """

    exact: Floats
    labels: npt.NDArray[np.int64] | None = None
    targets: Floats | None = None


class Metric(Offer, Protocol):
    """A measure of how well a network does its work. What it loses against the exact network is the QoS loss.

    It sees every sample once, as a row of statistics; the score is a function of their means. So whatever core asks for (a confidence
    interval, one user alone, more samples later) costs no inference.
    """

    unit: str
    """Of scores and losses, as it stands behind a number: "pp", "dB"."""

    higher_is_better: bool

    classifies: bool
    """Whether it takes outputs for scores of classes; if not, divergence is squared error, and there is nothing to calibrate."""

    needs_labels: bool

    grain: float
    """The most that one of N samples can move the score, times N; 0 where every sample moves it a little. It keeps intervals honest
    where few samples differ: 100 for shares in percentage points."""

    default_max_loss: float
    """What may be lost, in `unit`, if the experiment does not say."""

    def statistics(self, outputs: Floats, truth: Truth, options: Options) -> npt.NDArray[np.float64]:
        """float64[N, S]: what is remembered of each sample, from outputs float32[N, K]."""

    def score(self, means: npt.NDArray[np.float64], options: Options) -> npt.NDArray[np.float64]:
        """float64[...]: the score, from means over samples, float64[..., S]."""


# --------------------------------------------------------------------------------------------------------------------- techniques


@dataclass(frozen=True, slots=True)
class Approximation:
    """The meaning of a setting, in NumPy, as functions around the exact operator; each defaults to the identity.

    result = finish(activation(output(exact(input(x), weight(w)) + bias(b)) + residual(r))). weight is asked before bias. It maps float32[O, C/group, KH, KW] (dense: [O, K]),
    bias float32[O]; output maps the pre-activation float32[N, O, H, W] (dense: [..., O]). input and finish also apply to operators
    without weights.

    representable(w, s): the weights that the operator can store, float32[O, T], that give about what w would, where weights were fitted to a
    level; s: scatter of what the filters see, float64[G, T, T]. Multiplied by a positive number per channel they stay representable.
    """

    input: Callable[[Floats], Floats] | None = None
    weight: Callable[[Floats], Floats] | None = None
    bias: Callable[[Floats], Floats] | None = None
    output: Callable[[Floats], Floats] | None = None
    residual: Callable[[Floats], Floats] | None = None
    finish: Callable[[Floats], Floats] | None = None
    representable: Callable[[Floats, npt.NDArray[np.float64]], Floats] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """First and second moments of what an operator reads and should give, over R sampled output positions.

    Patches X: [G, R, K], flattened filter elements as `Tables.taps` counts them; G the groups of a convolution, 1 for all else. Wanted
    outputs Y: [G, R, O/G], before residual and activation.

    rows: R. mean: float64[G, K], of X; target: float64[G, O/G], of Y. scatter: (X - mean)'(X - mean), float64[G, k, k] for each block
    of consecutive elements, all blocks together K; elements of different blocks count as uncorrelated. cross: (X - mean)'(Y - target),
    float64[G, K, O/G].
    """

    rows: int
    mean: npt.NDArray[np.float64]
    target: npt.NDArray[np.float64]
    scatter: tuple[npt.NDArray[np.float64], ...]
    cross: npt.NDArray[np.float64]


class Statistics(Protocol):
    """What is known of one operator on calibration inputs; lazy: asking is what costs."""

    @property
    def samples(self) -> int:
        """How many calibration inputs there are."""

    def moments(self) -> Moments: ...

    def values(self, role: Role) -> Floats:
        """float32[N], sorted: some values of what the operator reads in this role, the least and the greatest seen among them.

        A tensor that only selects elements of another one (a view, the greatest of some) counts as that one.
        """

    def mean_change(self, role: Role, function: Callable[[Floats], Floats]) -> npt.NDArray[np.float64]:
        """What putting function(value) in place of every value read in this role adds to means: of each filter element (float64[G, K], as in
        `Moments`), or of each output channel for the residual (float64[O]). Padding stays zero.
        """

    def outputs(self) -> Floats:
        """What the operator gives on some of the inputs, before residual and activation: float32[N, O, H, W], of dense layers [N, ..., O]."""

    def once(self, key: str, work: Callable[[], Mapping[str, npt.NDArray[Any]]]) -> Mapping[str, npt.NDArray[Any]]:
        """What `work` gives, done once for this operator and these statistics, and kept on disk. `key` names technique, work and version."""


class Technique(Offer, Protocol):
    """A kind of approximation.

    It plugs in at the depth it needs: `edit` (tables: which pixels, which taps, which weights), `kernels` (its own OpenCL functions
    for fills and storages), or `lower` (replaces the whole operator). DESIGN.md D2.

    It may have a method ``options_of(setting)``: options under which `settings` offers it, for settings that are written by hand.
    Raises InfeasibleSetting for what is none of its settings.

    It may have a method ``refusal(setting, device)``: why no operator of a device can run a setting, None where some may. What is refused is
    not tried in a profile; the reasons are told.

    It may have a method ``explain(setting)``: what the setting does, as it follows an operator's name in `mobiprox explain`: "skips
    every 2nd row from row 1".
    """

    knobs: Mapping[str, str]
    """Knob name -> what its values mean, for the command line and the documentation."""

    tolerance: float
    """Greatest relative difference between kernel and `reference` on any device."""

    def settings(self, operator: Operator, graph: Graph, options: Options) -> Iterable[KnobSetting]:
        """The settings legal for an operator: none where the technique does not apply. Cheap; no duplicates."""

    def slot(self, setting: KnobSetting) -> str:
        """Settings of one slot exclude each other on one operator; settings of different slots (of any techniques) compose."""

    def needs_statistics(self, setting: KnobSetting) -> bool:
        """Whether the setting is fitted to calibration inputs. Where there are none, such settings are not on offer."""

    def prepare(self, setting: KnobSetting, operator: Operator, statistics: Statistics | None) -> Mapping[str, npt.NDArray[Any]]:
        """Constants fitted to calibration inputs, handed to `reference` and `edit` as `fitted`; {} where nothing is fitted.

        The same for the same statistics. Raises InfeasibleSetting where the setting needs statistics and there are none.
        """

    def reference(self, setting: KnobSetting, operator: Operator, graph: Graph, fitted: Mapping[str, npt.NDArray[Any]]) -> Approximation:
        """What the setting means. Raises InfeasibleSetting where it means nothing for this operator."""

    def edit(
        self, setting: KnobSetting, operator: Operator, tables: Tables, device: DeviceInfo, fitted: Mapping[str, npt.NDArray[Any]]
    ) -> Tables:
        """The tables under this setting (conv and dense). Settings of one operator edit in the order of their spelling."""

    # It may have a method ``form(setting, operator, role, device, statistics) -> Form | None``: in which form the operator reads a tensor
    # (`tables.Form`), None for float32. Its meaning belongs into `reference`, as `input` and `residual`.

    def kernels(self, device: DeviceInfo) -> Sequence[KernelSource]:
        """OpenCL functions that `edit` or `lower` names."""

    def lower(self, setting: KnobSetting, operator: Operator, builder: OperatorBuilder) -> bool:
        """Emit launches for the whole operator and return True; return False to leave it to `edit`."""

    def couplings(self, graph: Graph) -> Iterable[tuple[OpId, ...]]:
        """Operators that must take one setting of this technique together; a search treats them as one item."""


class OperatorBuilder(Protocol):
    """How a technique emits launches for one operator: `lowering.Builder`. Addresses that it returns may stand in descriptor rows."""

    @property
    def device(self) -> DeviceInfo: ...

    @property
    def graph(self) -> Graph: ...

    def launch(self, function: str, units: int, row: Iterable[int]) -> None:
        """Append a launch of one of the technique's functions."""

    def constant(self, values: npt.ArrayLike, name: str) -> int:
        """Offset of an array that the plan carries; equal arrays are stored once."""

    def scratch(self, elements: int) -> int:
        """Address of memory (4-byte elements) that is free while this operator runs."""

    def plain(self, name: str) -> int:
        """Address of an input as a row-major array, copied if it does not lie so."""

    def exact(self, operator: Operator) -> None:
        """Emit the launches of the exact operator."""


# ------------------------------------------------------------------------------------------------------------------------- search


@dataclass(frozen=True, slots=True)
class SettingProfile:
    """One operator under one setting, measured alone on the device, the rest of the network exact.

    latency_ms: of the operator alone, with a 95 % confidence half-width. divergence: of the network's output from the exact one: mean KL in
    nats where the network classifies, else squared error relative to the variance of the exact output. loss: on the profiled samples, in
    the unit of the experiment's measure; None where it was not looked at.
    """

    setting: Setting
    latency_ms: float
    latency_ci_ms: float
    divergence: float
    loss: float | None = None


@dataclass(frozen=True, slots=True)
class OperatorProfile:
    """The settings of one operator that pay (at least 5 % faster than exact); exact first, with divergence 0."""

    name: OpId
    settings: tuple[SettingProfile, ...]
    dropped: tuple[SettingProfile, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """What the search works on. latency_ms: the exact network as a whole; samples: how many inputs gave the divergences."""

    operators: tuple[OperatorProfile, ...]
    latency_ms: float
    samples: int
    couplings: tuple[tuple[OpId, ...], ...] = ()

    @property
    def space(self) -> KnobSpace:
        from .configuration import KnobSpace

        return KnobSpace({o.name: tuple(s.setting for s in o.settings) for o in self.operators})


@dataclass(frozen=True, slots=True)
class Candidate:
    """A configuration that a heuristic proposes, with its prediction."""

    configuration: Configuration
    latency_ms: float
    divergence: float


class Heuristic(Offer, Protocol):
    """Proposes configurations from a profile.

    It may have a method ``improve(profile, points, options, generation, rng)``: candidates again, from all points that were measured so
    far, asked for with generation 0, 1, ... until it has none. Deterministic as `search`.
    """

    def search(self, profile: Profile, options: Options, count: int, rng: np.random.Generator) -> tuple[Candidate, ...]:
        """At most `count` candidates along the predicted front, cheapest divergence first; deterministic given profile and rng.

        The exact configuration is not among them.
        """


# ------------------------------------------------------------------------------------------------------------------------ devices


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """One line of `mobiprox devices`. problem: why it cannot be used, None if it can; mend: what to do about it."""

    backend: str
    index: int
    name: str
    info: DeviceInfo | None = None
    problem: str | None = None
    mend: str | None = None


class Backend(Offer, Protocol):
    """Knows one kind of hardware."""

    def devices(self) -> Sequence[DeviceReport]:
        """Everything found, usable or not; never raises for a device that is broken."""

    def open(self, options: Options) -> Device:
        """Raises DeviceError, naming what is there, where the chosen device is missing or unusable."""


class Device(Protocol):
    """One opened piece of hardware. It may have an attribute `programs`, whose text says where compiled kernels came from."""

    info: DeviceInfo

    def load(self, plan: ExecutionPlan) -> Runner:
        """Build, allocate and warm everything. Raises DeviceError (with build log and saved source) where that fails."""

    def close(self) -> None: ...


class Runner(Protocol):
    """A plan ready to run. Levels and variants are switched by writing indices.

    It may have a method ``labelled(*inputs)``, as `run` but returning the plan's `labelled`, float32[N, 2 + K], and nothing else.
    """

    plan: ExecutionPlan

    @property
    def variants(self) -> tuple[int, ...]:
        """The variant of every operator that the next run uses."""

    def select(self, variants: Sequence[int]) -> None:
        """Choose a variant for every operator."""

    def set_level(self, level: int) -> None:
        """Choose the plan's level; the cheapest way to switch."""

    def run(self, *inputs: Floats) -> Floats | tuple[Floats, ...]:
        """One batch: inputs float32 of exactly the plan's shapes; the output, or a tuple of several."""

    def resume(self, operator: int) -> Floats | tuple[Floats, ...]:
        """Run from an operator (index) to the end, on the activations that earlier runs left. Needs keep_activations."""

    def tensor(self, name: str) -> Floats:
        """An activation that the last run left, float32 of its logical shape. Needs keep_activations."""

    def time(self, operators: Sequence[int] | None, variants: Sequence[Sequence[int]], seconds: float) -> list[npt.NDArray[np.float64]]:
        """Milliseconds per execution, float64[R] for each choice of variants, interleaved within one run of about `seconds`.

        operators: indices of the operators that are timed (alone, one after another), or None for whole inferences as
        the application sees them (input copied in, output read).
        """

    def close(self) -> None: ...


class Meter(Offer, Protocol):
    """Measures energy while a device works.

    As it is offered it measures this machine. One that has options or measures other devices has ``on(options, device) -> Meter``, which
    gives the meter for an opened device; a device that is not this machine has ``shell(script) -> str``. One that is slow has
    ``least_s``, the seconds that a measurement must take to mean anything. ``quality`` says in a few words what is measured and how well,
    ``rate_hz`` how often a second.
    """

    def problem(self) -> str | None:
        """Why it cannot measure here; None if it can."""

    def measure(self) -> AbstractContextManager[Reading]:
        """Use as ``with meter.measure() as reading: work()``; then `reading.energy_mj` is set."""


class Reading(Protocol):
    """energy_mj: NaN where it could not be told in the end.

    May have ``about``, a mapping for the report: `quality` (what is measured, and how well), `rate_hz`, `charging`, `problem`, ...
    """

    energy_mj: float


class Exporter(Offer, Protocol):
    """Writes a bundle as a project, a package, ... for another platform."""

    def export(self, bundle: Path, folder: Path) -> Sequence[str]:
        """Write into `folder`, which may hold an earlier export; what the user should know besides.

        Raises BundleError, or UsageError where it cannot.
        """


@dataclass(frozen=True, slots=True)
class Job:
    """One batch through a plan. samples: which inputs. runs: variants of every operator, and the operator (index) from which to go on
    with what the run before left, or None for a whole inference."""

    samples: tuple[int, ...]
    runs: tuple[tuple[tuple[int, ...], int | None], ...]


class Executor(Offer, Protocol):
    """Lets other machines profile and measure."""

    def open(self, options: Options, backend: Choice) -> Workforce:
        """Workers, each with a device of this backend. Raises DeviceError where there are none."""


class Workforce(Protocol):
    """Workers that run plans. plan_for: makes the plan for a worker's device; it is sent to every worker once, as the inputs are."""

    def outputs(
        self, plan_for: Callable[[DeviceInfo], ExecutionPlan], inputs: Floats, jobs: Sequence[Job]
    ) -> Iterable[tuple[int, tuple[Floats, ...]]]:
        """(index of a job, float32[n, K] for each of its runs) as they are finished, each job once. inputs: float32[N, ...].

        What a lost worker had is done again by another. Raises DeviceError where none is left.
        """

    def time(
        self,
        plan_for: Callable[[DeviceInfo], ExecutionPlan],
        sample: Floats,
        operators: Sequence[int] | None,
        variants: Sequence[Sequence[int]],
        seconds: float,
    ) -> list[npt.NDArray[np.float64]] | None:
        """As `Runner.time` after one run of the sample, float32[batch, ...], on a worker that has the device which the experiment is about;
        None where no worker says that it has: then this machine's device is timed."""

    def close(self) -> None: ...


# --------------------------------------------------------------------------------------------------------------------- adaptation


@dataclass(frozen=True, slots=True)
class ClassConfidence:
    """Confidence of one level on tuning samples that it *predicted* as one class; means of no samples are None."""

    correct_count: int
    wrong_count: int
    correct_mean: float | None
    wrong_mean: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a level may be trusted to predict what level 0 predicts, by its own confidence; it needs no labels.

    thresholds: float[T], ascending from 0. accepted: float[T], share of calibration samples at least that sure. differing: float[T],
    share of samples that are accepted *and* predicted otherwise than by level 0; it never rises with the threshold. samples: how many.
    groups: users, speakers, ...; 0 where unknown. group_differing: float[T], `differing` within each group, averaged over groups.
    """

    thresholds: tuple[float, ...]
    accepted: tuple[float, ...]
    differing: tuple[float, ...]
    samples: int
    groups: int
    group_differing: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LevelCalibration:
    """What a strategy may know of a level. relative_cost: latency over level 0's. classes: by predicted class; overall: of all.

    agreement: with level 0; None where nobody compared.
    """

    relative_cost: float
    accuracy: float | None
    temperature: float
    overall: ClassConfidence
    classes: tuple[ClassConfidence, ...]
    agreement: Agreement | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known after one inference. `level` is the level that ran; sensors that are missing are None.

    battery: 0..1, what is left. deadline_ms: time until the answer is due. hour: 0 <= hour < 24, local time. purpose: what the
    application is doing, in its own words. rerun: the strategy asked for it (`Rerun`): the same input as before, at a dearer level.
    """

    label: int
    confidence: float
    level: int
    battery: float | None = None
    charging: bool | None = None
    temperature_c: float | None = None
    deadline_ms: float | None = None
    hour: float | None = None
    purpose: str | None = None
    rerun: bool = False


class Rerun(int):
    """A level that the *same* input shall run at, at once: ``return state, Rerun(0)``.

    It must be dearer (less) than the one that ran. The new prediction takes the place of the old one, both runs are paid for, and
    the next observation has `rerun` set. Whoever runs the strategy may decline; then the next observation is of the next input.
    """

    __slots__ = ()


class Strategy(Protocol):
    """Moves along the levels. Pure: the same state and observation always give the same answer."""

    def start(self) -> Any:
        """The first state: hashable, made of numbers and tuples, so that it can be written as JSON."""

    def step(self, state: Any, observation: Observation) -> tuple[Any, int]:
        """The next state, and the level of the next inference: 0 <= level < number of levels; `Rerun` to repeat this one."""


class StrategyOffer(Offer, Protocol):
    """Makes strategies for a set of levels.

    It may have a method ``check(options)``: raises UsageError for options that no schema can refuse, before anything runs. ``c_source``, if
    it has one, is the path of a C file that defines ``mbx_strategy_NAME``, its twin for phones. ``composed_of(options)``, of a strategy that
    runs others, names those as choices: phones need their twins too.
    """

    def create(self, options: Options, levels: Sequence[LevelCalibration]) -> Strategy:
        """A strategy over these levels, ordered by cost, level 0 exact. Raises UsageError where these levels do not allow it."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a long stage stands: `done` of `total` steps; total 0 while unknown. remaining_s: what the rest of them will take, if known."""

    stage: str
    done: int
    total: int
    note: str = ""
    remaining_s: float | None = None


ProgressSink = Callable[[Progress], None]
