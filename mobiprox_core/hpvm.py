"""Configuration files of HPVM and ApproxTuner, for exchange: read, written back to the last character, and translated.

::

    0.0                                              baseline milliseconds
    +++++
    conf1 1.42 1.0 90.2 0.8 0.93 0.95 0.74 ...       name, speedup, energy, accuracy, loss, then triples of confidences
    1 gpu conv perf_fp16 154 add fp16 12 relu fp16 12
    2 gpu mul fp32 11 add fp32 11
    -----

A line is a node of their graph: operations run together, each with a knob's family and id. Triples are mean confidences of all, of
right and of wrong predictions: of the whole first, then by class; 0.0 where there are none. `exchange` has what the ids mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from .configuration import EXACT, Configuration, OpId, Setting
from .errors import DataError
from .exchange import EXACT_ID

if TYPE_CHECKING:
    from .graph import Graph, Operator
    from .interfaces import ClassConfidence, LevelCalibration
    from .measurement import OperatingPoint

BEGIN, END = "+++++", "-----"

HALF_ID = 12

FAMILIES = {
    "fp32": range(11, 12),
    "fp16": range(12, 13),
    "perf": range(121, 139),
    "perf_fp16": range(151, 169),
    "samp": range(231, 240),
    "samp_fp16": range(261, 270),
}
"""Families of knobs of what has weights, and their ids. (`red_samp` is for reductions, which Mobiprox leaves exact.)"""

WEIGHTED = ("conv", "group_conv", "mul")
"""Operations that have weights; a `mul` is a dense layer."""

OTHERS = ("add", "relu", "clipped_relu", "tanh", "batchnorm", "pool_max", "pool_mean", "pool_min", "softmax")


@dataclass(frozen=True, slots=True)
class Knob:
    """What one operation does: `number` is ignored by HPVM where the family is fp32 or fp16."""

    operation: str
    family: str
    number: int

    @property
    def id(self) -> int:
        return FAMILIES[self.family][0] if self.family in ("fp32", "fp16") else self.number

    def __str__(self) -> str:
        return f"{self.operation} {self.family} {self.number}"


@dataclass(frozen=True, slots=True)
class Node:
    """Operations that run together on one device (gpu or cpu)."""

    number: int
    device: str
    knobs: tuple[Knob, ...]

    def __str__(self) -> str:
        return " ".join([str(self.number), self.device, *map(str, self.knobs)])


@dataclass(frozen=True, slots=True)
class Block:
    """One configuration. figures: speedup, energy, accuracy [%], loss [percentage points], then triples of confidences, as written."""

    name: str
    figures: tuple[str, ...]
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class File:
    """baseline: milliseconds of a batch, as written; 0.0 where nobody measured."""

    baseline: str
    blocks: tuple[Block, ...]


# ---------------------------------------------------------------------------------------------------------------------------- text


def parse(text: str, where: str) -> File:
    """Raises DataError, naming the line, for what is no such file. where: its name."""
    lines = ((number, line.split()) for number, line in enumerate(text.splitlines(), 1))
    lines = ((number, words) for number, words in lines if words)
    first, words = next(lines, (1, []))
    if len(words) != 1 or not _is_number(words[0]):
        raise _wrong(where, first, "expected the milliseconds of the baseline, alone on the first line")
    baseline, blocks, number = words[0], [], first
    for number, words in lines:
        if words != [BEGIN]:
            raise _wrong(where, number, f"expected '{BEGIN}', got '{' '.join(words)}'")
        blocks.append(_block(lines, where, number))
    if not blocks:
        raise _wrong(where, number, "there is no configuration")
    return File(baseline, tuple(blocks))


def _block(lines: Iterator[tuple[int, list[str]]], where: str, begin: int) -> Block:
    number, head = next(lines, (begin, []))
    figures = head[1:]
    if len(head) < 5 or not all(map(_is_number, figures)) or (len(figures) - 4) % 3:
        raise _wrong(where, number, "expected a name, speedup, energy, accuracy and loss, then confidences in threes")
    nodes: list[Node] = []
    for number, words in lines:
        if words == [END]:
            return Block(head[0], tuple(figures), tuple(nodes))
        nodes.append(_node(words, where, number))
    raise _wrong(where, number, f"the configuration '{head[0]}' has no end", f"end it with '{END}'")


def _node(words: Sequence[str], where: str, line: int) -> Node:
    number, device, *rest = words if len(words) > 1 else ("", "")
    if not number.isdecimal() or device not in ("gpu", "cpu") or not rest or len(rest) % 3:
        raise _wrong(where, line, "expected a number, gpu or cpu, and operations, each with family and id: '1 gpu conv fp32 11'")
    knobs = []
    for operation, family, id in zip(*[iter(rest)] * 3, strict=True):
        if operation not in (*WEIGHTED, *OTHERS):
            raise _wrong(where, line, f"unknown operation '{operation}'", f"known are: {', '.join((*WEIGHTED, *OTHERS))}")
        if not id.isdecimal() or (family != "red_samp" and family not in FAMILIES):
            raise _wrong(where, line, f"unknown knob '{family} {id}'", f"families are: {', '.join(FAMILIES)}, red_samp")
        if family not in ("fp32", "fp16", "red_samp") and int(id) not in FAMILIES[family]:
            own = FAMILIES[family]
            raise _wrong(where, line, f"{id} is no id of '{family}'", f"its ids are {own[0]} to {own[-1]}")
        knobs.append(Knob(operation, family, int(id)))
    return Node(int(number), device, tuple(knobs))


def write(file: File) -> str:
    """The text; `parse` of it gives the same again."""
    lines = [file.baseline]
    for block in file.blocks:
        lines += [BEGIN, " ".join((block.name, *block.figures)), *map(str, block.nodes), END]
    return "\n".join(lines) + "\n"


def _is_number(word: str) -> bool:
    try:
        return isfinite(float(word))
    except ValueError:
        return False


def _wrong(
    where: str, line: int, what: str, mend: str = "give a configuration file of HPVM, ApproxTuner or Mobiprox's predecessor"
) -> DataError:
    return DataError(what, where=f"{where}:{line}", mend=mend)


# --------------------------------------------------------------------------------------------------------------------- translation


def configuration(block: Block, graph: Graph, meaning: Mapping[int, Setting], where: str) -> Configuration:
    """A block as a configuration of a network: their operations with weights are its convolutions and dense layers, in order.

    meaning: `exchange.ids`. What else a block says (of pooling, of additions) has no counterpart and is left out. Raises DataError
    where the two networks differ, or an id needs a technique that is not installed.
    """
    here = f"{where}: {block.name}"
    theirs = [knob for node in block.nodes for knob in node.knobs if knob.operation in WEIGHTED]
    ours = [op for op in graph.operators if op.kind in ("conv", "dense")]
    mend = "give the network that the file was made for"
    if len(theirs) != len(ours):
        raise DataError(f"it has {len(theirs)} operations with weights; '{graph.name}' has {len(ours)}", where=here, mend=mend)
    settings: dict[OpId, Setting] = {}
    for number, (knob, op) in enumerate(zip(theirs, ours, strict=True), 1):
        if knob.operation != _weighted(op):
            raise DataError(f"operation {number} is a '{knob.operation}'; '{op.name}' is a '{_weighted(op)}'", where=here, mend=mend)
        if knob.id not in meaning:
            raise DataError(
                f"no technique knows '{knob.family} {knob.id}' of '{op.name}'", where=here, mend="install it: 'mobiprox plugins list'"
            )
        if meaning[knob.id] != EXACT:
            settings[op.name] = meaning[knob.id]
    return Configuration(settings)


def nodes(configuration: Configuration, graph: Graph, number_of: Mapping[Setting, int]) -> tuple[Node, ...]:
    """The lines of a configuration. Raises DataError with every operator or setting that HPVM has no word for.

    What follows convolution or dense layer goes on its line in the order bias, activation, maximum pooling; all else has its own.
    """
    lines: list[list[Knob]] = []
    faults: list[str] = []
    joins: str | None = None  # the tensor that a maximum pooling may read to stand on the last line
    for op in graph.operators:
        setting = configuration[op.name]
        if setting not in number_of:
            faults.append(f"'{setting}' of '{op.name}'")
            continue
        family = next(name for name, ids in FAMILIES.items() if number_of[setting] in ids)
        beside = ("fp16", HALF_ID) if family.endswith("fp16") else ("fp32", EXACT_ID)
        activation = _ACTIVATIONS.get(op.activation.kind, "") if op.activation else None
        if activation == "":
            faults.append(f"the activation of '{op.name}'")
        if op.kind in ("conv", "dense"):
            line = [Knob(_weighted(op), family, number_of[setting]), Knob("add", *beside)]
            lines.append(line)
            if op.residual is not None:
                lines.append([Knob("add", *beside)])
            if activation:
                lines.append([Knob(activation, *beside)]) if op.residual is not None else line.append(Knob(activation, *beside))
            joins = None if op.residual is not None else op.output
            continue
        own = _alone(op)
        if own == "":
            faults.append(f"'{op.name}', a {op.kind}")
        elif own == "pool_max" and op.inputs[0] == joins:
            lines[-1].append(Knob(own, lines[-1][-1].family, lines[-1][-1].number))
        elif own is not None:
            lines.append([Knob(own, *beside)])
        if activation:
            lines.append([Knob(activation, *beside)])
        joins = None
    if faults:
        raise DataError(f"HPVM has no word for {'; '.join(faults)}", mend="tune without calibration: refit: off, recalibrate: off")
    return tuple(Node(number, "gpu", tuple(line)) for number, line in enumerate(lines, 1))


_ACTIVATIONS = {"relu": "relu", "clip": "clipped_relu", "tanh": "tanh"}

_POOLS = {"max": "pool_max", "min": "pool_min", "average": "pool_mean"}


def _weighted(op: Operator) -> str:
    return "mul" if op.kind == "dense" else "conv" if op["group"] == 1 else "group_conv"


def _alone(op: Operator) -> str | None:
    """The operation that an operator without weights is; None where it is none (a reshape, an activation), "" where there is no word."""
    if op.kind == "pool":
        return _POOLS[op["op"]]
    if op.kind == "view":
        return None if op["op"] == "reshape" else ""
    if op.kind == "binary":
        return "add" if op["op"] == "add" else ""
    if op.kind == "softmax":
        return "" if op["log"] else "softmax"
    return {"affine": "batchnorm", "reduce_mean": "pool_mean", "activation": None}.get(op.kind, "")


def figures(point: OperatingPoint, exact: OperatingPoint, calibration: LevelCalibration) -> tuple[str, ...]:
    """Of a level: speedup, energy (how much less, 1.0 without a meter), accuracy and loss, and triples of confidences."""
    energy = 1.0 if not point.energy_mj or not exact.energy_mj else exact.energy_mj / point.energy_mj
    accuracy = 0.0 if calibration.accuracy is None else 100 * calibration.accuracy
    triples = [value for confidence in (calibration.overall, *calibration.classes) for value in _triple(confidence)]
    return tuple(map(repr, (exact.latency_ms / point.latency_ms, energy, accuracy, point.qos_loss, *triples)))


def _triple(confidence: ClassConfidence) -> tuple[float, float, float]:
    right, wrong = confidence.correct_mean or 0.0, confidence.wrong_mean or 0.0
    count = confidence.correct_count + confidence.wrong_count
    every = (confidence.correct_count * right + confidence.wrong_count * wrong) / count if count else 0.0
    return every, right, wrong


# ---------------------------------------------------------------------------------------------------------------------------- JSON


def to_json(file: File, configurations: Iterable[Configuration] = ()) -> dict[str, Any]:
    """The file as data, from which `from_json` makes it again; with configurations, also what each block means here."""
    settings: list[dict[str, str] | None] = [c.to_json() for c in configurations]
    settings = settings or [None] * len(file.blocks)
    return {
        "baseline_ms": file.baseline,
        "configurations": [
            {
                "name": block.name,
                "figures": list(block.figures),
                "nodes": [str(node) for node in block.nodes],
                **({} if own is None else {"settings": own}),
            }
            for block, own in zip(file.blocks, settings, strict=True)
        ],
    }


def from_json(value: Any, where: str) -> File:
    """The inverse of `to_json`, meanings aside. Raises DataError."""
    try:
        lines = [value["baseline_ms"]]
        for block in value["configurations"]:
            lines += [BEGIN, " ".join((block["name"], *block["figures"])), *block["nodes"], END]
        return parse("\n".join(lines), where)
    except (KeyError, TypeError) as error:
        raise DataError("not what 'mobiprox import-hpvm' writes", where=where, mend="import the configuration file again") from error
