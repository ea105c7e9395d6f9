"""Statistics of operators on calibration inputs: what techniques are fitted to. No labels, no gradients.

The exact network runs over the inputs on the device, batch by batch, and leaves its activations. Of every input some output
positions are drawn; what the operator read there, its patches X, is summed up to moments. Outputs need not be looked at: before
residual and activation they are X W + b, so their moments follow from those of X.

Moments are kept on disk by content (network, inputs, operator), and so is what techniques make of them.
"""

from __future__ import annotations

import os
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from . import forward, reference
from .batches import BATCH, digest_of_samples, filled
from .cache import cache_folder
from .configuration import OpId, Setting
from .graph import Graph, Operator
from .interfaces import Device, Moments, Progress, ProgressSink, Runner, Samples
from .ledger import digest
from .lowering import lower
from .lowering.forms import tensor_of
from .lowering.views import four
from .selection import evenly

if TYPE_CHECKING:
    from .interfaces import Floats
    from .network import Network
    from .tables import Role

    Arrays = Mapping[str, npt.NDArray[Any]]

VERSION = 2
"""Of what is kept on disk."""

MOST_ROWS = 24_000
"""Output positions that are looked at per operator."""

MOST_VALUES = 1 << 17
"""Values that are looked at per activation, beside the least and the greatest of every input."""

MOST_CHANNEL_VALUES = 1 << 20
"""Values that are looked at per activation where channels are kept apart; one of every channel and input where that is less."""

MOST_OUTPUTS = 1 << 22
"""Values that are looked at where an operator's outputs are wanted as they are; at least those of one batch."""

MOST_INPUTS = 4_096
"""Calibration inputs that are looked at, evenly spread over those given."""

WIDEST = 3_072
"""Filter elements whose moments are taken together; those of larger filters count as uncorrelated between blocks of channels.

Beyond twice as many elements blocks get smaller, so that what grows with the square of a block's width in every element (the time of a
fit) grows no more.
"""

FEW = 500
"""Calibration inputs below which a fit is not to be trusted much."""

_PASS_BYTES = 512 << 20  # of sums in memory during one pass over the inputs
_FLUSH_ROWS, _FLUSH_BYTES = 8_192, 64 << 20  # patches that are summed up in float32 before they are added in float64
_MEMORY_BYTES = 256 << 20  # of moments and fits that are held in memory
_DISK_BYTES = 4 << 30  # of everything kept on disk


class Calibration:
    """The statistics of a network's operators on calibration inputs, to be handed to `lower` as `statistics`.

    Nothing is computed before it is asked for, and nothing that the disk still has. Reproducible: which positions are looked at depends
    on the seed and the names of the operators alone.
    """

    def __init__(
        self,
        network: Network,
        device: Device,
        inputs: Floats,
        *,
        seed: int = 0,
        folder: Path | None = None,
        progress: ProgressSink = lambda progress: None,
    ) -> None:
        """inputs: float32[N, ...], N >= 1. folder: where results are kept, the cache if None."""
        self.inputs = inputs[list(evenly(range(len(inputs)), MOST_INPUTS))]
        self.graph = network.at_batch(network.batch or BATCH)
        self.device = device
        self.seed = seed
        self.digest = digest([VERSION, network.digest, digest_of_samples(Samples(self.inputs)), seed, MOST_ROWS, WIDEST])
        self._progress = progress
        self._store = Store(cache_folder() / "statistics" if folder is None else folder)
        self._recent: OrderedDict[OpId, Moments] = OrderedDict()
        self._outputs: dict[OpId, Floats] = {}

    def __call__(self, op: OpId) -> OperatorStatistics | None:
        """The statistics of an operator; None unless it is a convolution or a dense layer."""
        operator = self.graph[op]
        return OperatorStatistics(len(self.inputs), operator, self) if operator.kind in ("conv", "dense") else None

    def collect(self, operators: Iterable[OpId]) -> None:
        """See to it that the moments of these operators are known, in as few passes over the inputs as memory allows."""
        chosen = [self.graph[op] for op in operators]
        for chunk in _chunks([op for op in chosen if self._key(op.name) not in self._store]):
            self._pass(chunk)

    def moments(self, operator: Operator) -> Moments:
        """Of one operator; if they are not known yet, those of the operators after it are found out in the same pass."""
        name = operator.name
        if name not in self._recent:
            arrays = self._store.get(self._key(name)) or self._found(operator)
            self._recent[name] = _moments(operator, arrays)
        self._recent.move_to_end(name)
        while len(self._recent) > 1 and sum(map(_bytes_of, self._recent.values())) > _MEMORY_BYTES:
            self._recent.popitem(last=False)
        return self._recent[name]

    def values(self, tensor: str) -> Floats:
        """Some values of an activation, sorted; if they are not known yet, those of all others that are read so are found out in the same pass."""
        origin = _origin(self.graph, tensor)
        place = digest([self.digest, "values", origin])
        known = self._store.get(place)
        if known is None:
            read = [name for op in self.graph.operators if op.kind in ("conv", "dense") for name in op.reads]
            origins = dict.fromkeys(_origin(self.graph, name) for name in [tensor, *read])
            known = self._values_pass([o for o in origins if digest([self.digest, "values", o]) not in self._store])[origin]
        return known["values"]

    def channels(self, tensor: str, axis: int) -> Floats:
        """float32[C, N]: some values of every channel of an activation; those of all others are found out in the same pass."""
        place = digest([self.digest, "channels", tensor, axis])
        known = self._store.get(place)
        if known is None:
            fitted = [op for op in self.graph.operators if op.kind in ("conv", "dense")]
            read = dict.fromkeys([(tensor, axis), *((name, _channel_axis(op)) for op in fitted for name in op.reads)])
            known = self._channels_pass([r for r in read if digest([self.digest, "channels", *r]) not in self._store])[tensor, axis]
        return known["values"]

    def outputs(self, operator: Operator) -> Floats:
        """Of one operator, on some inputs; those of the operator that was asked for last are kept in memory."""
        name, shape = operator.name, self.graph.shape(operator.output)
        if operator.kind == "conv":
            shape = four(shape)
        if name not in self._outputs:
            at_once = int(np.prod(shape[1:]))
            inputs = self.inputs[list(evenly(range(len(self.inputs)), max(self.graph.batch, MOST_OUTPUTS // at_once)))]
            work = forward.prepared(operator, self.graph, Setting(), {}, self.device.info, None)
            found = [
                forward.result(work, activations(operator.inputs[0]), work.weight, work.bias, shape)[: len(part)]
                for part, activations in self._runs(f"outputs of {name}", inputs)
            ]
            self._outputs = {name: np.concatenate(found)}
        return self._outputs[name]

    def once(self, op: OpId, key: str, work: Callable[[], Arrays]) -> Arrays:
        """What was made of an operator's statistics under this key; made now if it is not known."""
        place = digest([self.digest, op, key])
        known = self._store.get(place)
        if known is None:
            known = self._store.put(place, work())
        return known

    def _key(self, op: OpId) -> str:
        return digest([self.digest, op])

    def _found(self, operator: Operator) -> Arrays:
        """The sums of an operator, from a pass over the inputs."""
        fitted = [op for op in self.graph.operators if op.kind in ("conv", "dense")]
        later = [op for op in fitted[fitted.index(operator) + 1 :] if self._key(op.name) not in self._store]
        return self._pass(next(_chunks([operator, *later])))[operator.name]

    def _pass(self, operators: Sequence[Operator]) -> dict[OpId, Arrays]:
        """Once over all inputs; the sums of these operators."""
        sums = [_Sums(op, self.graph, len(self.inputs), self.seed) for op in operators]
        for part, activations in self._runs(f"statistics of {len(operators)} operators", self.inputs):
            for of in sums:
                of.add(activations(of.operator.inputs[0]), part)
        return {of.operator.name: self._store.put(self._key(of.operator.name), of.arrays()) for of in sums}

    def _values_pass(self, tensors: Sequence[str]) -> dict[str, Arrays]:
        """Once over all inputs; values of these activations."""
        seen = {name: _Values(name, len(self.inputs), self.seed) for name in tensors}
        for part, activations in self._runs(f"values of {len(tensors)} activations", self.inputs):
            for name, values in seen.items():
                values.add(activations(name), part)
        return {name: self._store.put(digest([self.digest, "values", name]), {"values": values.sorted()}) for name, values in seen.items()}

    def _channels_pass(self, read: Sequence[tuple[str, int]]) -> dict[tuple[str, int], Arrays]:
        """Once over all inputs; values of every channel of these activations."""
        seen = {key: _Channels(*key, len(self.inputs), self.seed) for key in read}
        for part, activations in self._runs(f"channels of {len(read)} activations", self.inputs):
            for (name, _), channels in seen.items():
                channels.add(activations(name), part)
        return {
            key: self._store.put(digest([self.digest, "channels", *key]), {"values": channels.together()}) for key, channels in seen.items()
        }

    def _runs(self, note: str, inputs: Floats) -> Iterator[tuple[range, _Activations]]:
        """The activations of the exact network, batch by batch, with the numbers of the inputs that they are of."""
        batch = self.graph.batch
        with closing(self.device.load(lower(self.graph, self.device.info, {}, {}, keep_activations=True))) as runner:
            for start in range(0, len(inputs), batch):
                self._progress(Progress("calibrate", start, len(inputs), note))
                part = inputs[start : start + batch]
                runner.run(filled(part, batch))
                yield range(start, start + len(part)), _Activations(self.graph, runner)
        self._progress(Progress("calibrate", len(inputs), len(inputs), note))


def _origin(graph: Graph, tensor: str) -> str:
    """The activation whose elements another one is a selection of; itself where there is none."""
    made_by = {op.output: op for op in graph.operators}
    while (op := made_by.get(tensor)) is not None and len(op.reads) == 1 and op.activation is None:
        if op.kind != "view" and not (op.kind == "pool" and op["op"] == "max"):
            break
        tensor = op.reads[0]
    return tensor


class _Values:
    """Some values of one activation under way, drawn at random from every input, and the outermost of all."""

    def __init__(self, name: str, inputs: int, seed: int) -> None:
        self._seed = seed, crc32(name.encode())
        self._drawn = max(1, MOST_VALUES // inputs)
        self._kept: list[Floats] = []

    def add(self, x: Floats, inputs: range) -> None:
        """x: the activation in one batch, whose first entries belong to these calibration inputs."""
        for number, values in zip(inputs, x, strict=False):
            flat = values.ravel()
            at = np.random.default_rng([*self._seed, number]).integers(0, flat.size, min(self._drawn, flat.size))
            self._kept += [flat[at], np.array([flat.min(), flat.max()], np.float32)]

    def sorted(self) -> Floats:
        return np.sort(np.concatenate(self._kept))


def _channel_axis(op: Operator) -> int:
    """Of what an operator reads."""
    return 1 if op.kind == "conv" else -1


class _Channels:
    """Some values of every channel of one activation under way, at places drawn at random from every input (from some, if there are many)."""

    def __init__(self, name: str, axis: int, inputs: int, seed: int) -> None:
        self._axis, self._inputs = axis, inputs
        self._seed = seed, crc32(name.encode())
        self._kept: list[Floats] = []

    def add(self, x: Floats, inputs: range) -> None:
        """x: the activation in one batch, whose first entries belong to these calibration inputs."""
        planes = np.moveaxis(x, self._axis, 1).reshape(len(x), x.shape[self._axis], -1)
        every = -(-planes.shape[1] * self._inputs // MOST_CHANNEL_VALUES)
        drawn = max(1, MOST_VALUES // (planes.shape[1] * self._inputs))
        for number, values in zip(inputs, planes, strict=False):
            if number % every == 0:
                at = np.random.default_rng([*self._seed, number]).integers(0, values.shape[1], min(drawn, values.shape[1]))
                self._kept.append(values[:, at])

    def together(self) -> Floats:
        return np.concatenate(self._kept, axis=1)


def _chunks(operators: Sequence[Operator]) -> Iterator[list[Operator]]:
    """In order, so many at a time as one pass may sum up."""
    chunk: list[Operator] = []
    for op in operators:
        if chunk and sum(map(_sum_bytes, [*chunk, op])) > _PASS_BYTES:
            yield chunk
            chunk = []
        chunk.append(op)
    if chunk:
        yield chunk


def _sum_bytes(operator: Operator) -> int:
    return sum(8 * int(operator.attributes.get("group", 1)) * (b.stop - b.start) ** 2 for b in blocks(operator))


@dataclass(frozen=True, slots=True, eq=False)
class OperatorStatistics:
    """`interfaces.Statistics` of one operator of a `Calibration`."""

    samples: int
    operator: Operator
    calibration: Calibration

    def moments(self) -> Moments:
        return self.calibration.moments(self.operator)

    def values(self, role: Role) -> Floats:
        return self.calibration.values(tensor_of(self.operator, role))

    def mean_change(self, role: Role, function: Callable[[Floats], Floats]) -> npt.NDArray[np.float64]:
        op = self.operator
        values = self.calibration.channels(tensor_of(op, role), _channel_axis(op))
        change = np.asarray((function(values) - values).mean(1, dtype=np.float64))
        if role == "residual":
            return change
        inside = _share_inside(self.calibration.graph, op)
        return (change.reshape(int(op.attributes.get("group", 1)), -1, 1) * inside).reshape(-1, op.constants["weight"][0].size)

    def outputs(self) -> Floats:
        return self.calibration.outputs(self.operator)

    def once(self, key: str, work: Callable[[], Arrays]) -> Arrays:
        return self.calibration.once(self.operator.name, key, work)


def _share_inside(graph: Graph, op: Operator) -> npt.NDArray[np.float64]:
    """float64[A]: how often each place of a filter sees the input, not its padding."""
    if op.kind == "dense":
        return np.ones(1)
    ones = np.ones((1, 1, *graph.shape(op.inputs[0])[2:]), np.float32)
    return np.asarray(reference.windows(graph, op, ones).mean((0, 1, 2, 3), dtype=np.float64)).ravel()


class _Activations:
    """The activations that a run left; those that are only views of others are put together here."""

    def __init__(self, graph: Graph, runner: Runner) -> None:
        self._stored = {slot.name for slot in runner.plan.tensors}
        self._made_by = {op.output: op for op in graph.operators}
        self._graph = graph
        self._runner = runner
        self._known: dict[str, Floats] = {}

    def __call__(self, name: str) -> Floats:
        if name not in self._known:
            if name in self._stored:
                self._known[name] = self._runner.tensor(name)
            else:
                op = self._made_by[name]
                self._known[name] = reference.run_operator(self._graph, op, {read: self(read) for read in op.reads})
        return self._known[name]


# ---------------------------------------------------------------------------------------------------------------------- moments


def blocks(operator: Operator) -> list[slice]:
    """Consecutive filter elements whose moments are taken together: whole channels, as evenly as it goes, and not more than a few."""
    channels, *kernel = operator.constants["weight"].shape[1:]
    area = int(np.prod(kernel, dtype=int))
    widest = min(WIDEST, int((2 * WIDEST**3 / (channels * area)) ** 0.5))
    most = max(1, widest // area)
    count = -(-channels // most)
    edges = [area * (channels * i // count) for i in range(count + 1)]
    return [slice(*pair) for pair in pairwise(edges)]


class _Sums:
    """The moments of one operator under way. Patches are shifted by an estimate of their mean, so that float32 products lose little."""

    def __init__(self, operator: Operator, graph: Graph, inputs: int, seed: int) -> None:
        self.operator = operator
        self._graph = graph
        self._seed = seed, crc32(operator.name.encode())
        self._size = self.positions // graph.batch
        self._drawn = min(self._size, max(1, MOST_ROWS // inputs))
        weight = operator.constants["weight"]
        self._shape = operator.attributes.get("group", 1), int(weight[0].size)
        self._blocks = blocks(operator)
        self._waiting: list[Floats] = []
        self._shift: Floats | None = None
        self._rows = 0
        self._sum = np.zeros(self._shape)
        self._products = [np.zeros((self._shape[0], b.stop - b.start, b.stop - b.start)) for b in self._blocks]

    @property
    def positions(self) -> int:
        """Output positions per batch."""
        shape = self._graph.shape(self.operator.output)
        return int(np.prod((shape[0], *shape[2:]) if self.operator.kind == "conv" else shape[:-1]))

    def add(self, x: Floats, inputs: range) -> None:
        """x: what the operator read in one batch, whose first entries are these calibration inputs."""
        drawn = [np.random.default_rng([*self._seed, i]).choice(self._size, self._drawn, replace=False, shuffle=False) for i in inputs]
        at = (np.arange(len(inputs))[:, None] * self._size + np.sort(drawn)).ravel()
        patches = self._patches(x, at)  # [R, G * K]
        limit = max(1, min(_FLUSH_ROWS, _FLUSH_BYTES // max(1, 4 * patches.shape[1])))
        for start in range(0, len(patches), limit):
            self._waiting.append(patches[start : start + limit])
            if sum(map(len, self._waiting)) >= limit:
                self._flush()

    def arrays(self) -> Arrays:
        """As they are kept: float32 does for products whose mean is taken out already."""
        self._flush()
        assert self._shift is not None
        mean = self._sum / self._rows
        kept: dict[str, npt.NDArray[Any]] = {"rows": np.array(self._rows), "mean": self._shift + mean}
        for number, (products, block) in enumerate(zip(self._products, self._blocks, strict=True)):
            own = mean[:, block]
            kept[f"scatter{number}"] = (products - self._rows * own[:, :, None] * own[:, None, :]).astype(np.float32)
        return kept

    def _patches(self, x: Floats, at: npt.NDArray[np.int64]) -> Floats:
        op = self.operator
        if op.kind == "dense":
            return x.reshape(-1, x.shape[-1])[at]
        windows = reference.windows(self._graph, op, x)
        n, h, w = np.unravel_index(at, (windows.shape[0], *windows.shape[2:4]))
        return windows[n, :, h, w].reshape(len(at), -1)

    def _flush(self) -> None:
        if not self._waiting:
            return
        groups, elements = self._shape
        x = np.concatenate(self._waiting).reshape(-1, groups, elements).transpose(1, 0, 2)  # [G, R, K]
        self._waiting.clear()
        if self._shift is None:
            self._shift = x.mean(1)
        x = x - self._shift[:, None]
        self._rows += x.shape[1]
        self._sum += x.sum(1, dtype=np.float64)
        for products, block in zip(self._products, self._blocks, strict=True):
            part = np.ascontiguousarray(x[:, :, block])
            for total, own in zip(products, part, strict=True):
                total += own.T @ own


def _moments(operator: Operator, kept: Arrays) -> Moments:
    groups = len(kept["mean"])
    weight = operator.constants["weight"].reshape(groups, -1, kept["mean"].shape[1]).transpose(0, 2, 1).astype(np.float64)
    scatter = tuple(kept[f"scatter{number}"].astype(np.float64) for number in range(len(kept) - 2))
    cross = np.concatenate([own @ weight[:, block] for own, block in zip(scatter, blocks(operator), strict=True)], axis=1)
    target = np.einsum("gk,gko->go", kept["mean"], weight) + operator.constants["bias"].reshape(groups, -1)
    return Moments(int(kept["rows"]), kept["mean"], target, scatter, cross)


def _bytes_of(moments: Moments) -> int:
    return sum(array.nbytes for array in (moments.mean, moments.target, moments.cross, *moments.scatter))


# ------------------------------------------------------------------------------------------------------------------------- disk


class Store:
    """Named arrays by key, in a folder that several processes may share: files appear whole or not at all.

    A file that cannot be read or is damaged counts as missing. What cannot be written is kept in memory. The oldest files go when there is
    too much.
    """

    def __init__(self, folder: Path, most_bytes: int = _DISK_BYTES) -> None:
        self._folder = folder
        self._memory: dict[str, Arrays] = {}
        self._prune(most_bytes)

    def __contains__(self, key: str) -> bool:
        """Whether there is something, damaged or not."""
        return key in self._memory or self._path(key).exists()

    def get(self, key: str) -> Arrays | None:
        if key in self._memory:
            return self._memory[key]
        path = self._path(key)
        try:
            with np.load(path) as file:
                arrays = {name: file[name] for name in file.files}
            os.utime(path)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return arrays

    def put(self, key: str, arrays: Arrays) -> Arrays:
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replacement = path.with_suffix(f".{os.getpid()}.part")
            with replacement.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
            os.replace(replacement, path)
        except OSError:
            self._memory[key] = arrays
        return arrays

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.npz"

    def _prune(self, most_bytes: int) -> None:
        files = sorted(self._files(), reverse=True)
        total = 0
        for _, size, path in files:
            total += size
            if total > most_bytes:
                path.unlink(missing_ok=True)

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        for path in self._folder.glob("*"):
            try:
                about = path.stat()
            except OSError:  # another process removed it
                continue
            yield about.st_mtime, about.st_size, path
