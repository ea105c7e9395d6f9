"""The native loader takes what `mobiprox_core.bundle` writes, and refuses with a reason what its reader refuses."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fuzz import FUZZER, fuzzed
from mobiprox_backend_native.build import SOURCES, build_runner
from mutations import INDEX, PLAN, PROGRAM, WEIGHTS, Mutator, check
from native_bundles import CACHE, sign, tiny_bundle

from mobiprox_core import bundle as bundles
from mobiprox_core.errors import BundleError, MobiproxError

MUTATIONS = 600
EMPTY_TARGET = "int LLVMFuzzerTestOneInput(const unsigned char *data, unsigned long bytes) { return data && bytes ? 0 : 0; }"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    for name in (INDEX, PLAN, WEIGHTS, PROGRAM):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    return tmp_path


def verdict(runner: Path, folder: Path) -> str:
    """Why it is refused; empty if it is not."""
    [line] = check(runner, [folder])
    return str(line.get("error", ""))


def test_what_python_writes_is_taken(sanitized: Path, folder: Path) -> None:
    assert verdict(sanitized, folder) == ""


Edit = Callable[[dict[str, Any]], Any]


def last(name: str) -> Edit:
    return lambda plan: plan[name][-1]


EDITS: dict[str, tuple[str, Edit, str]] = {
    "a slot outside the arena": (PLAN, lambda p: p["outputs"][0].update(offset=p["arena_elements"]), "outside the arena"),
    "strides that lead outside": (PLAN, lambda p: p["inputs"][0].update(strides=[0, 0, 2**31 - 1, 16]), "outside the arena"),
    "strides that overflow": (
        PLAN,
        lambda p: p["inputs"][0].update(shape=[2**31 - 1], extent=[2**31 - 1, 1, 1, 1], strides=[2**31 - 1] * 4),
        "outside the arena",
    ),
    "a shape that overflows": (PLAN, lambda p: p["inputs"][0].update(shape=[2**31 - 1] * 8), "too large"),
    "a constant outside the arena": (PLAN, lambda p: p["constants"][0].update(offset=p["arena_elements"] // 16 * 16), "outside the arena"),
    "a constant that is not aligned": (PLAN, lambda p: p["constants"][0].update(offset=1), "not aligned to 64 bytes"),
    "a constant larger than stored": (PLAN, lambda p: p["constants"][0].update(shape=[300]), "are stored"),
    "a constant of another type": (PLAN, lambda p: p["constants"][0].update(dtype="int32"), "of another type"),
    "a function that is not there": (
        PLAN,
        lambda p: p["operators"][0]["variants"][0]["launches"][0].update(function=2),
        "is not between 0 and 1",
    ),
    "a negative function": (PLAN, lambda p: p["operators"][0]["variants"][0]["launches"][0].update(function=-1), "is not between 0 and 1"),
    "a row that is too long": (PLAN, lambda p: p["operators"][0]["variants"][0]["launches"][0].update(row=[0] * 49), "at most 48 fit"),
    "a number beyond 32 bits": (PLAN, lambda p: p["operators"][0]["variants"][0]["launches"][0]["row"].append(2**31), "is not between"),
    "a variant that is not there": (PLAN, lambda p: p["levels"][1].__setitem__(0, 2), "wants variant 2 of 'conv', which has 2"),
    "a level too short": (PLAN, lambda p: p["levels"][1].pop(), "1 number(s); wanted are 2"),
    "level 0 that is not exact": (PLAN, lambda p: p["levels"].reverse(), "level 0 is not the exact one"),
    "two operators of one name": (PLAN, lambda p: p["operators"][1].update(name="conv"), "two operators are called 'conv'"),
    "a function twice": (PLAN, lambda p: p["functions"].__setitem__(1, "first"), "stands there twice"),
    "a function that is code": (PLAN, lambda p: p["functions"].__setitem__(1, "a(){}"), "is no function name"),
    "an arena of nothing": (PLAN, lambda p: p.update(arena_elements=0), "is not between 1 and"),
    "an unknown key": (PLAN, lambda p: p.update(more=1), "keys that do not belong there"),
    "a missing key": (PLAN, lambda p: p.pop("batch"), "lacks 'batch'"),
    "another instruction set": (PLAN, lambda p: p["device"].update(isa="sve"), "'sve' is none of those known here"),
    "another schema": (INDEX, lambda p: p.update(schema=2), "reads schema 1, not 2"),
    "a level left out": (INDEX, lambda p: p["levels"].pop(), "1 level(s); the plan has 2"),
    "settings that the plan does not run": (
        INDEX,
        lambda p: p["levels"][1].update(settings={}),
        "'conv' runs as 'other + toy(stride=2)' in the plan",
    ),
    "settings of a stranger": (INDEX, lambda p: p["levels"][1]["settings"].update(c9="a"), "no operator called 'c9'"),
    "a setting that is none": (INDEX, lambda p: p["levels"][1]["settings"].update(conv="a(b=1"), "is not a knob setting"),
    "a mean without a count": (
        INDEX,
        lambda p: p["calibration"][0]["classes"][0].update(correct_mean=0.5),
        "exactly where the count is not 0",
    ),
    "a temperature of 0": (INDEX, lambda p: p["calibration"][0].update(temperature=0), "0 is out of range"),
    "fewer names than classes": (INDEX, lambda p: p["classes"].pop(), "9 name(s) for 10 class(es)"),
    "an agreement out of order": (INDEX, lambda p: p["calibration"][0]["agreement"]["thresholds"].reverse(), "out of order"),
    "a file too many": (INDEX, lambda p: p["files"].update({"a.txt": {}}), "keys that do not belong there"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_wrong_value_is_refused_by_both_readers_and_named(name: str, sanitized: Path, folder: Path) -> None:
    file, edit, reason = EDITS[name]
    document = json.loads((folder / file).read_text())
    edit(document)
    (folder / file).write_text(json.dumps(document))
    sign(folder)
    with pytest.raises(BundleError):
        bundles.read(folder)
    error = verdict(sanitized, folder)
    assert error.startswith(f"{file}: ")
    assert reason in error


def test_settings_are_compared_by_meaning(sanitized: Path, folder: Path) -> None:
    document = json.loads((folder / INDEX).read_text())
    document["levels"][1]["settings"] = {"conv": " toy( stride = 02 )+other () ", "flatten": "exact"}
    (folder / INDEX).write_text(json.dumps(document))
    bundles.read(folder)
    assert verdict(sanitized, folder) == ""


@pytest.mark.parametrize(("file", "reason"), [(PLAN, "SHA-256"), (WEIGHTS, "SHA-256"), (PROGRAM, "SHA-256")])
def test_a_flipped_bit_is_found_by_the_digests(file: str, reason: str, sanitized: Path, folder: Path) -> None:
    content = bytearray((folder / file).read_bytes())
    content[-3] ^= 1
    (folder / file).write_bytes(content)
    assert reason in verdict(sanitized, folder) or "is not JSON" in verdict(sanitized, folder)


@pytest.mark.parametrize("file", [INDEX, PLAN, WEIGHTS, PROGRAM])
def test_a_missing_empty_or_cut_file_is_named(file: str, sanitized: Path, folder: Path) -> None:
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[: len(content) // 2])
    assert file in verdict(sanitized, folder)
    (folder / file).write_bytes(b"")
    assert "is empty" in verdict(sanitized, folder)
    (folder / file).unlink()
    assert f"{file}: cannot be read: No such file" in verdict(sanitized, folder)


def test_weights_with_gaps_overlaps_or_wild_lengths_are_refused(sanitized: Path, folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    for change in ({"data_offsets": [0, 0]}, {"shape": [2**48]}, {"data_offsets": [2**52, 2**53]}, {"dtype": "F64"}, {"shape": [1, 1]}):
        damaged = json.dumps(header | {"1": header["1"] | change}).encode()
        damaged += b" " * (-(8 + len(damaged)) % 64)
        (folder / WEIGHTS).write_bytes(len(damaged).to_bytes(8, "little") + damaged + content[8 + size :])
        sign(folder)
        assert verdict(sanitized, folder).startswith(WEIGHTS)
        with pytest.raises(BundleError):
            bundles.read(folder)


def test_a_zero_character_and_numbers_that_json_has_not_are_refused_by_both_readers(sanitized: Path, folder: Path) -> None:
    text = (folder / INDEX).read_text()
    for wrong in (
        text.replace('"backend"', '"backend\\u0000"'),
        text.replace('"tiny"', '"tiny\\u0000"'),
        text.replace('"schema": 1', '"schema": 01'),
        text.replace('"schema": 1', '"schema":\v1'),
    ):
        (folder / INDEX).write_text(wrong)
        with pytest.raises(BundleError, match="is not JSON"):
            bundles.read(folder)
        assert "is not JSON: fault at byte" in verdict(sanitized, folder)
    (folder / INDEX).write_text(text.replace('"tiny"', '"\\\\u0000"'))
    bundles.read(folder)
    assert verdict(sanitized, folder) == ""


def test_deep_nesting_is_refused_and_not_followed(sanitized: Path, folder: Path) -> None:
    (folder / INDEX).write_text("[" * 1_000_000)
    assert "is not JSON" in verdict(sanitized, folder)


def test_damaged_bundles_never_crash_the_loader_and_python_agrees(sanitized: Path, whole: Path, tmp_path: Path) -> None:
    mutator = Mutator(whole, seed=0)
    folders = [tmp_path / str(i) for i in range(MUTATIONS)]
    for i, folder in enumerate(folders):
        mutator.write(folder, structured=i % 2 == 0)
    verdicts = check(sanitized, folders)
    assert sum(not v["ok"] for v in verdicts) > 0.7 * MUTATIONS
    for folder, found in list(zip(folders, verdicts, strict=True))[::2]:
        try:
            bundles.read(folder)
            problem = None
        except MobiproxError as error:
            problem = str(error)
        # the reader of weights that Python uses lets unknown keys pass; this one does not
        agreed = found["ok"] == (problem is None) or (problem is None and found["error"].startswith(WEIGHTS))
        assert agreed, (folder, found, problem)


def test_a_fuzzer_that_sees_the_loaders_branches_finds_nothing_at_once(whole: Path, tmp_path: Path) -> None:
    """`make fuzz` lets it run for a minute."""
    try:
        subprocess.run(["clang", "-fsanitize=fuzzer", "-x", "c", "-", "-o", tmp_path / "probe"], input=EMPTY_TARGET, check=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs clang with libFuzzer (Debian: clang, libclang-rt-dev)")
    assert "Done 5000 runs" in fuzzed(build_runner(CACHE, FUZZER, target="mbx-fuzz"), whole, tmp_path, "-runs=5000", "-seed=1")


def test_digests_are_right_for_every_length(sanitized: Path, whole: Path, tmp_path: Path) -> None:
    folders = [tmp_path / str(length) for length in range(140)]
    for length, folder in enumerate(folders):
        for name in (INDEX, PLAN, WEIGHTS, PROGRAM):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((whole / name).read_bytes() + b"/" * (length + 1) * (name == PROGRAM))
        sign(folder)
    assert all(found["ok"] for found in check(sanitized, folders))


def test_the_example_of_the_readme_compiles(sanitized: Path, tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text()
    (tmp_path / "example.c").write_text(text.partition("```c\n")[2].partition("```")[0])
    command = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{SOURCES / 'include'}", "example.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
