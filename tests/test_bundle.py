"""Bundles: what is written is read back, and nothing else is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mobiprox_core import bundle as bundles
from mobiprox_core.bundle import Bundle
from mobiprox_core.configuration import EXACT, EXACT_CONFIGURATION, Configuration, Setting
from mobiprox_core.errors import BundleError
from mobiprox_core.experiment import Choice
from mobiprox_core.interfaces import ClassConfidence, LevelCalibration
from mobiprox_core.measurement import OperatingPoint
from mobiprox_core.plan import Constant, DeviceInfo, ExecutionPlan, Launch, PlanOperator, Slot, Variant

HALF = Setting.of("toy", stride=2) + Setting.of("other")


def make_bundle() -> Bundle:
    weights = np.arange(37, dtype=np.float32).reshape(37, 1)  # neither length nor bytes a multiple of 64
    plan = ExecutionPlan(
        name="tiny",
        batch=1,
        device=DeviceInfo("a device", "1.0", "a runtime", isa="avx2"),
        source="void first(global uchar *arena, global const int *descriptor, int unit) {}\n// é",
        functions=("first", "second"),
        arena_elements=512,
        constants=(
            Constant("weights", 0, weights),
            Constant("weights of variant 1", 48, weights[::2].astype(np.float16)),
            Constant("table", 64, np.array([1, -2, 3], dtype=np.int32)),
        ),
        inputs=(Slot("x", (1, 3, 4, 4), (1, 3, 4, 4), 80, (16 * 16, 16 * 16, 64, 16), 16),),
        outputs=(Slot("y", (1, 10), (1, 10, 1, 1), 400, (10, 1, 1, 1)),),
        operators=(
            PlanOperator(
                "conv",
                "conv",
                (
                    Variant(EXACT, (Launch("first", 8, (0, 64, -5)),)),
                    Variant(HALF, (Launch("first", 4, (48, 64, 2**31 - 1)), Launch("second", 1, ()))),
                ),
            ),
            PlanOperator("flatten", "view", (Variant(EXACT, ()),)),
        ),
        levels=((0, 0), (1, 0)),
        notes={"tiles": [4, 2]},
    )
    calibration = LevelCalibration(1.0, 0.9, 1.5, ClassConfidence(9, 1, 0.9, 0.4), (ClassConfidence(0, 1, None, 0.5),) * 10)
    return Bundle(
        plan=plan,
        backend=Choice("opencl", {"threads": 2}),
        points=(
            OperatingPoint(EXACT_CONFIGURATION, 0.0, 2.0),
            OperatingPoint(Configuration({"conv": HALF}), 1.5, 1.0, 3.25, qos_loss_upper=2.5),
        ),
        qos=bundles.Qos("psnr", "dB", classifies=False),
        calibration=(calibration, calibration),
        strategy=Choice("state", {"patience": 3}),
        classes=tuple("0123456789"),
        provenance={"seed": 0, "plugins": {"toy": "0.1.0"}},
    )


@pytest.fixture
def written(tmp_path: Path) -> Path:
    bundles.write(make_bundle(), tmp_path / "bundle")
    return tmp_path / "bundle"


def test_what_is_written_is_read_back(written: Path) -> None:
    wanted, read = make_bundle(), bundles.read(written)
    for attribute in ("backend", "points", "calibration", "strategy", "classes", "already_softmax", "qos", "provenance"):
        assert getattr(read, attribute) == getattr(wanted, attribute)
    for attribute in (
        "name",
        "batch",
        "device",
        "source",
        "functions",
        "arena_elements",
        "inputs",
        "outputs",
        "operators",
        "levels",
        "notes",
    ):
        assert getattr(read.plan, attribute) == getattr(wanted.plan, attribute)
    for before, after in zip(wanted.plan.constants, read.plan.constants, strict=True):
        assert (before.name, before.offset) == (after.name, after.offset)
        np.testing.assert_array_equal(before.values, after.values)
        assert before.values.dtype == after.values.dtype


def test_the_same_bundle_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    bundles.write(make_bundle(), tmp_path / "again")
    for file in ("bundle.json", "plan.json", "weights.safetensors", "kernels/program.cl"):
        assert (written / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def test_every_constant_is_aligned_to_64_bytes_in_the_file(written: Path) -> None:
    raw = (written / "weights.safetensors").read_bytes()
    header_size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + header_size])
    offsets = [entry["data_offsets"][0] for name, entry in header.items() if name != "__metadata__"]
    assert len(offsets) == 3
    assert all((8 + header_size + offset) % 64 == 0 for offset in offsets)


def test_float32_values_that_half_precision_has_take_half_the_space_and_come_back_to_the_bit(written: Path, tmp_path: Path) -> None:
    whole = bundles.read(written)
    rng = np.random.default_rng(0)
    values = (
        np.concatenate([[0.0, -0.0, 65504, -65504, 2.0**-24, 1e-6, -np.inf], rng.normal(size=93)]).astype(np.float16).astype(np.float32)
    )
    sizes = []
    for row in (values, np.nextafter(values, np.float32(1))):
        changed = replace(whole, plan=replace(whole.plan, constants=(Constant("w", 0, row), *whole.plan.constants[2:])))
        bundles.write(changed, tmp_path)
        stored = bundles.read(tmp_path).plan.constants[0].values
        assert stored.dtype == np.float32
        np.testing.assert_array_equal(stored.view(np.int32), row.view(np.int32))
        sizes.append((tmp_path / "weights.safetensors").stat().st_size)
    assert sizes[1] - sizes[0] > 100


def test_a_person_finds_levels_and_settings_in_the_index(written: Path) -> None:
    text = (written / "bundle.json").read_text()
    assert '"settings": {"conv": "other + toy(stride=2)"}' in text
    row_lines = [line for line in (written / "plan.json").read_text().splitlines() if '"row"' in line]
    assert '"row": [0, 64, -5]' in row_lines[0]


def rewrite(folder: Path, file: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Edit a JSON file of a bundle as an attacker would: digests right again."""
    value = json.loads((folder / file).read_text())
    change(value)
    (folder / file).write_text(json.dumps(value))
    if file == "plan.json":
        raw = (folder / file).read_bytes()
        entry = {"size_bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
        rewrite(folder, "bundle.json", lambda index: index["files"].update({"plan.json": entry}))


def put(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(root: Any) -> None:
        for step in path[:-1]:
            root = root[step]
        root[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("file", "change", "reason"),
    [
        ("plan.json", put("levels", 1, 0, value=2), "variant 2 of 'conv', which has 2"),
        ("plan.json", put("levels", 0, 0, value=1), "level 0 is not the exact one"),
        ("plan.json", put("operators", 0, "variants", 1, "launches", 0, "function", value=2), "2 is not between 0 and 1"),
        ("plan.json", put("operators", 0, "variants", 1, "launches", 0, "units", value=-1), "-1 is not between 0"),
        ("plan.json", put("operators", 0, "variants", 0, "launches", 0, "row", value=[0] * 49), "at most 48"),
        ("plan.json", put("operators", 0, "variants", 0, "launches", 0, "row", 0, value=2**31), "2147483648 is not between"),
        ("plan.json", put("constants", 0, "offset", value=496), "outside the arena"),
        ("plan.json", put("constants", 0, "offset", value=1), "not aligned"),
        ("plan.json", put("constants", 0, "shape", value=[3, 3]), "9 element"),
        ("plan.json", put("constants", 1, "dtype", value="int16"), "the stored tensor is float16"),
        ("plan.json", put("constants", 1, value={"name": "w", "offset": 496, "dtype": "float32", "shape": [19, 1]}), "outside the arena"),
        ("plan.json", put("inputs", 0, "strides", 2, value=1000), "outside the arena"),
        ("plan.json", put("inputs", 0, "extent", value=[1, 3, 4, 5]), "not as large as the shape"),
        ("plan.json", put("inputs", value=[]), "there is none"),
        ("plan.json", put("functions", 1, value="system();"), "no function name"),
        ("plan.json", put("arena_elements", value=2**40), "not between 1 and"),
        ("plan.json", put("device", "isa", value="z80"), "'z80' is none of"),
        ("bundle.json", put("schema", value=2), "reads schema 1, not 2"),
        ("bundle.json", put("extra", value=2), "has the keys"),
        ("bundle.json", put("levels", 1, "settings", value={"conv": "toy(stride=3)"}), "runs as 'other \\+ toy"),
        ("bundle.json", put("levels", 1, "settings", value={"conv": "toy(("}), "is not a knob setting"),
        ("bundle.json", put("levels", 1, "settings", value={"cnov": "toy"}), "no operator called 'cnov'"),
        ("bundle.json", put("files", "../secret", value={"size_bytes": 1, "sha256": ""}), "exactly plan.json"),
        ("bundle.json", put("calibration", value=[]), "not a list of levels"),
        ("bundle.json", put("classes", value=["a"]), "1 name\\(s\\) for 10"),
        ("bundle.json", put("strategy", value="state"), "not an object"),
    ],
)
def test_a_hostile_bundle_is_refused_with_the_reason(
    written: Path, file: str, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    rewrite(written, file, change)
    with pytest.raises(BundleError, match=reason) as caught:
        bundles.read(written)
    assert file in str(caught.value)


def test_a_folder_without_a_bundle_says_so(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is this the folder of a bundle"):
        bundles.read(tmp_path)


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(data=st.data())
def test_changed_bytes_are_noticed(written: Path, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(["plan.json", "weights.safetensors", "kernels/program.cl"]))
    raw = (written / file).read_bytes()
    place = data.draw(st.integers(0, len(raw) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != raw[place]))
    (written / file).write_bytes(
        data.draw(st.sampled_from([raw[:place] + bytes([byte]) + raw[place + 1 :], raw[:place], raw + bytes([byte])]))
    )
    try:
        with pytest.raises(BundleError):
            bundles.read(written)
    finally:
        (written / file).write_bytes(raw)


def is_read_or_refused(folder: Path) -> None:
    try:
        bundles.read(folder)
    except BundleError as error:
        assert str(folder) in str(error)  # noqa: PT017 - reading may also succeed


@FUZZ
@given(data=st.data())
def test_no_bytes_in_the_index_crash_the_reader(written: Path, data: st.DataObject) -> None:
    raw = (written / "bundle.json").read_bytes()
    place, length = data.draw(st.integers(0, len(raw) - 1)), data.draw(st.integers(0, 8))
    (written / "bundle.json").write_bytes(raw[:place] + data.draw(st.binary(max_size=8)) + raw[place + length :])
    try:
        is_read_or_refused(written)
    finally:
        (written / "bundle.json").write_bytes(raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=6,
)


@FUZZ
@given(data=st.data())
def test_no_json_value_anywhere_crashes_the_reader(written: Path, data: st.DataObject) -> None:
    kept = {file: (written / file).read_bytes() for file in ("bundle.json", "plan.json")}

    def change(root: Any) -> None:
        while True:
            key = data.draw(st.sampled_from(sorted(root) if isinstance(root, dict) else range(len(root))))
            if not isinstance(root[key], dict | list) or not root[key] or data.draw(st.integers(0, 3)) == 0:
                root[key] = data.draw(json_values)
                return
            root = root[key]

    try:
        rewrite(written, data.draw(st.sampled_from(["bundle.json", "plan.json"])), change)
        is_read_or_refused(written)
    finally:
        for file, raw in kept.items():
            (written / file).write_bytes(raw)


@FUZZ
@given(data=st.data())
def test_no_weights_file_crashes_the_reader_even_with_right_digests(written: Path, data: st.DataObject) -> None:
    raw, index = (written / "weights.safetensors").read_bytes(), (written / "bundle.json").read_bytes()
    place, length = data.draw(st.integers(0, 500)), data.draw(st.integers(0, 8))
    changed = raw[:place] + data.draw(st.binary(max_size=8)) + raw[place + length :]
    (written / "weights.safetensors").write_bytes(changed)
    entry = {"size_bytes": len(changed), "sha256": hashlib.sha256(changed).hexdigest()}
    rewrite(written, "bundle.json", lambda value: value["files"].update({"weights.safetensors": entry}))
    try:
        is_read_or_refused(written)
    finally:
        (written / "weights.safetensors").write_bytes(raw)
        (written / "bundle.json").write_bytes(index)
