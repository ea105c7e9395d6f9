"""The bundle: one network, its levels and its strategy as a folder that a person can read and a runner can trust.

::

    bundle.json            levels, calibration, strategy, classes, provenance; size and SHA-256 of every other file
    plan.json              functions, operators, variants, tensors
    weights.safetensors    constants, each 64-byte aligned, by their index in plan.json; float32 ones that lose nothing by it as float16
    kernels/program.cl     OpenCL C

Reading checks every digest, type, index, offset and count that core can understand. Which entries of a descriptor row are
addresses is known to the kernels alone: rows are checked to be 32-bit integers of the right number, and the rest relies on the digests.
So the digests tell damage, not intent: a kernel of a stranger's bundle is code, as any program is.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .adaptation import calibration_from_json, calibration_to_json
from .configuration import Configuration, Setting
from .errors import BundleError, UsageError
from .experiment import Choice
from .interfaces import LevelCalibration
from .measurement import OperatingPoint
from .plan import ROW_INTS, Constant, DeviceInfo, ExecutionPlan, Launch, PlanOperator, Slot, Variant

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SCHEMA = 1
ALIGNMENT = 64
INDEX, PLAN, WEIGHTS, PROGRAM = "bundle.json", "plan.json", "weights.safetensors", "kernels/program.cl"
FILES = (INDEX, PLAN, WEIGHTS, PROGRAM)
LARGEST_ARENA = (1 << 31) - 1
INT32 = (-(1 << 31), (1 << 31) - 1)
DTYPES = ("float32", "int32", "float16", "int16", "uint16", "int8", "uint8")


@dataclass(frozen=True, slots=True)
class Qos:
    """What losses are of: the name of a measure, and its unit. classifies: whether outputs are scores of classes."""

    name: str
    unit: str
    higher_is_better: bool = True
    classifies: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """What ships. qos: what the losses of the points are. points and calibration: one per level of the plan, level 0 exact.

    backend: what the plan was made for, with its options. strategy: None where levels are set by hand. classes: names in label order, or empty.
    already_softmax: whether outputs are probabilities rather than logits. provenance: whatever a person needs to trust the numbers.
    """

    plan: ExecutionPlan
    backend: Choice
    points: tuple[OperatingPoint, ...]
    calibration: tuple[LevelCalibration, ...]
    strategy: Choice | None = None
    classes: tuple[str, ...] = ()
    already_softmax: bool = False
    qos: Qos = Qos("accuracy", "pp")
    provenance: Mapping[str, Any] = field(default_factory=dict)


# ------------------------------------------------------------------------------------------------------------------------ writing


def write(bundle: Bundle, folder: Path) -> None:
    """Write the bundle's files; others in the folder stay. `bundle.json` comes last, so an interrupted write leaves no bundle.

    The same bundle gives the same bytes.
    """
    (folder / PROGRAM).parent.mkdir(parents=True, exist_ok=True)
    (folder / INDEX).unlink(missing_ok=True)
    contents = {
        PLAN: _spell(_plan_to_json(bundle.plan)).encode(),
        WEIGHTS: _pack(bundle.plan.constants),
        PROGRAM: bundle.plan.source.encode(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    index = {
        "schema": SCHEMA,
        "name": bundle.plan.name,
        "backend": _choice_to_json(bundle.backend),
        "classes": list(bundle.classes),
        "already_softmax": bundle.already_softmax,
        "qos": dataclasses.asdict(bundle.qos),
        "levels": [_point_to_json(level, point) for level, point in enumerate(bundle.points)],
        "calibration": calibration_to_json(bundle.calibration),
        "strategy": None if bundle.strategy is None else _choice_to_json(bundle.strategy),
        "provenance": dict(bundle.provenance),
        "files": {name: {"size_bytes": len(content), "sha256": sha256(content).hexdigest()} for name, content in contents.items()},
    }
    (folder / INDEX).write_text(_spell(index), encoding="utf-8")


def _choice_to_json(choice: Choice) -> dict[str, Any]:
    return {"name": choice.name, "options": dict(choice.options)}


def _point_to_json(level: int, point: OperatingPoint) -> dict[str, Any]:
    return {
        "level": level,
        "qos_loss": point.qos_loss,
        "qos_loss_upper": point.qos_loss_upper,
        "latency_ms": point.latency_ms,
        "energy_mj": point.energy_mj,
        "settings": point.configuration.to_json(),
    }


def _plan_to_json(plan: ExecutionPlan) -> dict[str, Any]:
    places = {name: number for number, name in enumerate(plan.functions)}
    return {
        "schema": SCHEMA,
        "name": plan.name,
        "batch": plan.batch,
        "device": dataclasses.asdict(plan.device),
        "arena_elements": plan.arena_elements,
        "functions": list(plan.functions),
        "inputs": [dataclasses.asdict(slot) for slot in plan.inputs],
        "outputs": [dataclasses.asdict(slot) for slot in plan.outputs],
        "tensors": [dataclasses.asdict(slot) for slot in plan.tensors],
        "labelled": None if plan.labelled is None else dataclasses.asdict(plan.labelled),
        "levels": plan.levels,
        "operators": [
            {
                "name": operator.name,
                "kind": operator.kind,
                "variants": [
                    {
                        "setting": str(variant.setting),
                        "launches": [{"function": places[la.function], "units": la.units, "row": la.row} for la in variant.launches],
                    }
                    for variant in operator.variants
                ],
            }
            for operator in plan.operators
        ],
        "constants": [
            {"name": c.name, "offset": c.offset, "dtype": str(c.values.dtype), "shape": list(c.values.shape)} for c in plan.constants
        ],
        "notes": plan.notes,
    }


def _spell(value: Any, indent: str = "") -> str:
    """JSON with one line per object or list that holds no others, so that a descriptor row is one line."""

    def is_flat(item: Any) -> bool:
        return not isinstance(item, dict | list | tuple)

    if is_flat(value):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    parts = value.values() if isinstance(value, dict) else value
    if all(map(is_flat, parts)):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    deeper = indent + " "
    if isinstance(value, dict):
        lines = [f"{deeper}{json.dumps(key, ensure_ascii=False)}: {_spell(item, deeper)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}" + ("" if indent else "\n")
    return "[\n" + ",\n".join(deeper + _spell(item, deeper) for item in value) + f"\n{indent}]"


def _pack(constants: tuple[Constant, ...]) -> bytes:
    """A safetensors file whose tensors ("0", "1", ...) are flat, padded with zeros to 64 bytes, and so aligned to 64 bytes."""
    import numpy as np
    from safetensors.numpy import save

    tensors = {}
    for number, constant in enumerate(constants):
        if str(constant.values.dtype) not in DTYPES:
            raise UsageError(f"constant '{constant.name}' is of type {constant.values.dtype}; a bundle holds {', '.join(DTYPES)}")
        flat = _halved(np.ascontiguousarray(constant.values).ravel())
        tensors[str(number)] = np.pad(flat, (0, -flat.size % (ALIGNMENT // flat.itemsize)))
    content = save(tensors, metadata={"pad": ""})
    missing = -_header_bytes(content) % ALIGNMENT
    if missing:
        content = save(tensors, metadata={"pad": " " * missing})  # the header grows by as much: it is a multiple of 8 already
    assert _header_bytes(content) % ALIGNMENT == 0
    return content


def _halved(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """float32 values that half precision has, to the last bit, in half the space; all others as they are."""
    import numpy as np

    if values.dtype != np.float32:
        return values
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32).view(np.int32), values.view(np.int32)) else values


def _header_bytes(content: bytes) -> int:
    return 8 + int.from_bytes(content[:8], "little")


# ------------------------------------------------------------------------------------------------------------------------ reading


def read(folder: Path) -> Bundle:
    """The bundle in a folder. Raises BundleError, saying which file and what in it, for anything that `write` would not have written."""
    index = _parse(_content(folder, INDEX), f"{folder / INDEX}")
    if (schema := index["schema"].integer()) != SCHEMA:
        index["schema"].fail(f"this version reads schema {SCHEMA}, not {schema}", "make the bundle again, or upgrade mobiprox")
    index.only("schema", "name", "backend", "classes", "already_softmax", "qos", "levels", "calibration", "strategy", "provenance", "files")
    files = {node.key: node for node in index["files"].items()}
    if set(files) != {PLAN, WEIGHTS, PROGRAM}:
        index["files"].fail(f"wanted are exactly {PLAN}, {WEIGHTS}, {PROGRAM}")
    contents = {name: _verified(folder, name, node) for name, node in files.items()}
    try:
        source = contents[PROGRAM].decode()
    except UnicodeDecodeError as error:
        raise BundleError("is not UTF-8 text", where=str(folder / PROGRAM), mend=_MEND) from error
    plan = _read_plan(_parse(contents[PLAN], f"{folder / PLAN}"), source, contents[WEIGHTS], str(folder / WEIGHTS))
    points = tuple(_read_point(node, level, plan) for level, node in enumerate(index["levels"].elements()))
    if len(points) != len(plan.levels):
        index["levels"].fail(f"{len(points)} level(s); the plan has {len(plan.levels)}")
    calibration = calibration_from_json(index["calibration"].value, index["calibration"].where)
    if len(calibration) != len(points):
        index["calibration"].fail(f"{len(calibration)} level(s); the plan has {len(points)}")
    classes = tuple(node.text() for node in index["classes"].elements())
    if classes and len(classes) != len(calibration[0].classes):
        index["classes"].fail(f"{len(classes)} name(s) for {len(calibration[0].classes)} class(es)")
    return Bundle(
        plan=plan,
        backend=_read_choice(index["backend"]),
        points=points,
        calibration=calibration,
        strategy=None if index["strategy"].value is None else _read_choice(index["strategy"]),
        classes=classes,
        already_softmax=index["already_softmax"].boolean(),
        qos=_read_qos(index["qos"]),
        provenance=index["provenance"].mapping(),
    )


_MEND = "the bundle is damaged or was edited; copy it again, or make it again with 'mobiprox run'"


@dataclass(frozen=True, slots=True)
class _Node:
    """A JSON value and where it stands, with the questions that a reader asks; each raises BundleError for the wrong answer."""

    value: Any
    where: str
    key: str = ""

    def fail(self, what: str, mend: str = _MEND) -> NoReturn:
        raise BundleError(what, where=self.where, mend=mend)

    def mapping(self) -> dict[str, Any]:
        return self.value if isinstance(self.value, dict) else self.fail("not an object")

    def only(self, *keys: str) -> _Node:
        if set(self.mapping()) != set(keys):
            self.fail(f"has the keys {', '.join(sorted(self.mapping()))}; wanted are {', '.join(keys)}")
        return self

    def __getitem__(self, key: str) -> _Node:
        if key not in self.mapping():
            self.fail(f"lacks '{key}'")
        return _Node(self.value[key], f"{self.where}: {key}" if self.where.endswith(".json") else f"{self.where}.{key}", key)

    def items(self) -> Iterator[_Node]:
        return (self[key] for key in self.mapping())

    def elements(self) -> list[_Node]:
        if not isinstance(self.value, list):
            self.fail("not a list")
        return [_Node(item, f"{self.where}[{i}]") for i, item in enumerate(self.value)]

    def integer(self, low: int = INT32[0], high: int = INT32[1]) -> int:
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            self.fail("not a whole number")
        return self.value if low <= self.value <= high else self.fail(f"{self.value} is not between {low} and {high}")

    def integers(self, low: int = INT32[0], high: int = INT32[1], length: int | None = None, most: int | None = None) -> tuple[int, ...]:
        values = tuple(node.integer(low, high) for node in self.elements())
        if length is not None and len(values) != length:
            self.fail(f"{len(values)} number(s); wanted are {length}")
        if most is not None and len(values) > most:
            self.fail(f"{len(values)} numbers; at most {most} fit")
        return values

    def number(self) -> float:
        if isinstance(self.value, bool) or not isinstance(self.value, int | float) or not math.isfinite(self.value):
            self.fail("not a finite number")
        return float(self.value)

    def text(self) -> str:
        return self.value if isinstance(self.value, str) else self.fail("not text")

    def boolean(self) -> bool:
        return self.value if isinstance(self.value, bool) else self.fail("neither true nor false")

    def one_of(self, allowed: tuple[str, ...]) -> Any:
        return self.value if self.text() in allowed else self.fail(f"'{self.value}' is none of {', '.join(allowed)}")


def _content(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise BundleError(
            f"cannot be read: {error.strerror}",
            where=str(folder / name),
            mend="is this the folder of a bundle? 'mobiprox run' writes DIR/bundle",
        ) from error


def _verified(folder: Path, name: str, entry: _Node) -> bytes:
    entry.only("size_bytes", "sha256")
    content = _content(folder, name)
    if len(content) != entry["size_bytes"].integer(0, 1 << 40):
        raise BundleError(f"{len(content)} bytes long; {entry['size_bytes'].value} were written", where=str(folder / name), mend=_MEND)
    if sha256(content).hexdigest() != entry["sha256"].text():
        raise BundleError("its SHA-256 is not the one in bundle.json", where=str(folder / name), mend=_MEND)
    return content


def _parse(content: bytes, where: str) -> _Node:
    def refuse(text: str) -> NoReturn:
        raise ValueError(f"{text} is not JSON")

    try:
        value = json.loads(content.decode("utf-8"), parse_constant=refuse)
        if rb"\u0000" in content and r"\u0000" in json.dumps(value).replace(r"\\", ""):
            raise ValueError("it has a text with a zero character")  # where C would end it
        return _Node(value, where)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"is not JSON: {error}", where=where, mend=_MEND) from error


def _read_choice(node: _Node) -> Choice:
    node.only("name", "options")
    return Choice(node["name"].text(), node["options"].mapping())


def _read_qos(node: _Node) -> Qos:
    node.only("name", "unit", "higher_is_better", "classifies")
    return Qos(node["name"].text(), node["unit"].text(), node["higher_is_better"].boolean(), node["classifies"].boolean())


def _read_point(node: _Node, level: int, plan: ExecutionPlan) -> OperatingPoint:
    node.only("level", "qos_loss", "qos_loss_upper", "latency_ms", "energy_mj", "settings")
    if node["level"].integer() != level:
        node["level"].fail(f"levels stand in order; wanted is {level}")
    names = {operator.name for operator in plan.operators}
    settings = {entry.key: _setting(entry) for entry in node["settings"].items()}
    if unknown := sorted(set(settings) - names):
        node["settings"].fail(f"the plan has no operator called '{unknown[0]}'")
    configuration = Configuration(settings)
    if level < len(plan.levels):
        for operator, variant in zip(plan.operators, plan.levels[level], strict=True):
            if operator.variants[variant].setting != configuration[operator.name]:
                node["settings"].fail(f"'{operator.name}' runs as '{operator.variants[variant].setting}' in the plan")
    energy, upper = node["energy_mj"], node["qos_loss_upper"]
    return OperatingPoint(
        configuration,
        qos_loss=node["qos_loss"].number(),
        qos_loss_upper=None if upper.value is None else upper.number(),
        latency_ms=node["latency_ms"].number(),
        energy_mj=None if energy.value is None else energy.number(),
    )


def _setting(node: _Node) -> Setting:
    try:
        return Setting.parse(node.text())
    except UsageError as error:
        node.fail(error.what)


def _read_plan(node: _Node, source: str, weights: bytes, weights_file: str) -> ExecutionPlan:
    node.only(
        "schema",
        "name",
        "batch",
        "device",
        "arena_elements",
        "functions",
        "inputs",
        "outputs",
        "tensors",
        "labelled",
        "levels",
        "operators",
        "constants",
        "notes",
    )
    if node["schema"].integer() != SCHEMA:
        node["schema"].fail(f"not {SCHEMA}")
    arena = node["arena_elements"].integer(1, LARGEST_ARENA)
    functions = tuple(_function(entry) for entry in node["functions"].elements())
    if len(set(functions)) != len(functions):
        node["functions"].fail("a name stands there twice")
    operators = tuple(_read_operator(entry, functions) for entry in node["operators"].elements())
    if len({operator.name for operator in operators}) != len(operators):
        node["operators"].fail("two operators have one name")
    slots = {key: tuple(_read_slot(entry, arena) for entry in node[key].elements()) for key in ("inputs", "outputs", "tensors")}
    for key in ("inputs", "outputs"):
        if not slots[key]:
            node[key].fail("there is none")
    return ExecutionPlan(
        name=node["name"].text(),
        batch=node["batch"].integer(1),
        device=_read_device(node["device"]),
        source=source,
        functions=functions,
        arena_elements=arena,
        constants=_unpack(node["constants"], weights, weights_file, arena),
        operators=operators,
        levels=_read_levels(node["levels"], operators),
        notes=node["notes"].mapping(),
        labelled=None if node["labelled"].value is None else _read_labelled(node["labelled"], slots["outputs"][0], arena),
        **slots,
    )


def _read_labelled(node: _Node, scores: Slot, arena: int) -> Slot:
    slot = _read_slot(node, arena)
    images = scores.shape[0]
    if slot.shape != (images, 2 + math.prod(scores.shape) // images):
        node.fail(f"has shape {list(slot.shape)}; label, confidence and the scores {list(scores.shape)} do not fit")
    return slot


def _read_levels(node: _Node, operators: tuple[PlanOperator, ...]) -> tuple[tuple[int, ...], ...]:
    levels = tuple(entry.integers(0, length=len(operators)) for entry in node.elements())
    if not levels or any(levels[0]):
        node.fail("level 0 is not the exact one")
    for level, variants in enumerate(levels):
        for operator, variant in zip(operators, variants, strict=True):
            if variant >= len(operator.variants):
                node.fail(f"level {level} wants variant {variant} of '{operator.name}', which has {len(operator.variants)}")
    return levels


def _read_device(node: _Node) -> DeviceInfo:
    fields = {f.name for f in dataclasses.fields(DeviceInfo)}
    node.only(*fields)
    return DeviceInfo(
        name=node["name"].text(),
        driver=node["driver"].text(),
        runtime=node["runtime"].text(),
        kind=node["kind"].one_of(("cpu", "gpu")),
        isa=node["isa"].one_of(("generic", "avx2", "avx512")),
        features=tuple(entry.text() for entry in node["features"].elements()),
        block=node["block"].integer(1, 1024),
        vector=node["vector"].integer(1, 1024),
        threads=node["threads"].integer(1),
        fp16=node["fp16"].boolean(),
        max_alloc_bytes=node["max_alloc_bytes"].integer(1, 1 << 62),
    )


def _function(node: _Node) -> str:
    name = node.text()
    if not re.fullmatch(r"[A-Za-z_]\w{0,200}", name, re.ASCII):
        node.fail(f"'{name[:40]}' is no function name")
    return name


def _read_operator(node: _Node, functions: tuple[str, ...]) -> PlanOperator:
    node.only("name", "kind", "variants")
    variants = tuple(_read_variant(entry, functions) for entry in node["variants"].elements())
    if not variants or variants[0].setting:
        node["variants"].fail("variant 0 is not the exact one")
    return PlanOperator(node["name"].text(), node["kind"].text(), variants)


def _read_variant(node: _Node, functions: tuple[str, ...]) -> Variant:
    node.only("setting", "launches")
    return Variant(_setting(node["setting"]), tuple(_read_launch(entry, functions) for entry in node["launches"].elements()))


def _read_launch(node: _Node, functions: tuple[str, ...]) -> Launch:
    node.only("function", "units", "row")
    function = functions[node["function"].integer(0, len(functions) - 1)]
    return Launch(function, node["units"].integer(0), node["row"].integers(most=ROW_INTS))


def _read_slot(node: _Node, arena: int) -> Slot:
    node.only("name", "shape", "extent", "offset", "strides", "block")
    shape = node["shape"].integers(1, most=8)
    n, c, h, w = extent = node["extent"].integers(1, length=4)
    offset = node["offset"].integer(0)
    strides = node["strides"].integers(0, length=4)
    block = node["block"].integer(1, 1024)
    if math.prod(shape) != math.prod(extent):
        node["extent"].fail(f"{list(extent)} is not as large as the shape {list(shape)}")
    last = offset + sum(s * i for s, i in zip(strides, (n - 1, (c - 1) // block, h - 1, w - 1), strict=True)) + min(block, c) - 1
    if last >= arena:
        node.fail(f"ends at element {last}, outside the arena of {arena}")
    return Slot(node["name"].text(), shape, (n, c, h, w), offset, (strides[0], strides[1], strides[2], strides[3]), block)


def _unpack(node: _Node, content: bytes, where: str, arena: int) -> tuple[Constant, ...]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        if _header_bytes(content) % ALIGNMENT:
            raise BundleError(f"its data is not aligned to {ALIGNMENT} bytes", where=where, mend=_MEND)
        tensors = load(content)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise BundleError(f"is no safetensors file: {error}", where=where, mend=_MEND) from error
    entries = node.elements()
    if set(tensors) != {str(number) for number in range(len(entries))}:
        node.fail(f"{len(entries)} constant(s); {where} has {len(tensors)} tensor(s), or others")
    return tuple(_read_constant(entry, tensors[str(number)], arena) for number, entry in enumerate(entries))


def _read_constant(node: _Node, stored: npt.NDArray[np.generic], arena: int) -> Constant:
    node.only("name", "offset", "dtype", "shape")
    shape = node["shape"].integers(0, most=8)
    dtype = node["dtype"].one_of(DTYPES)
    is_half = dtype == "float32" and stored.dtype == "float16"
    if (stored.dtype != dtype and not is_half) or stored.ndim != 1:
        node["dtype"].fail(f"the stored tensor is {stored.dtype}{list(stored.shape)}")
    size = math.prod(shape)
    if not size <= stored.size < size + ALIGNMENT // stored.itemsize:
        node["shape"].fail(f"{size} element(s); {stored.size} are stored")
    offset = node["offset"].integer(0)
    if offset * 4 % ALIGNMENT:
        node["offset"].fail(f"not aligned to {ALIGNMENT} bytes")
    values = stored[:size].reshape(shape).astype(dtype, copy=False)
    if offset * 4 + values.nbytes > arena * 4:
        node["offset"].fail(f"the constant ends outside the arena of {arena} elements")
    values.setflags(write=False)
    return Constant(node["name"].text(), offset, values)
