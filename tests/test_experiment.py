"""Experiment files: every fault is found at once, with its line and how to mend it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from mobiprox_core import experiment, plugins
from mobiprox_core.cli import main
from mobiprox_core.errors import DataError, ExperimentError, MobiproxError, UsageError
from tests.fakes import distribution

GOOD = """\
mobiprox: 1  # schema number
model: {frontend: paper, path: net.bin}
data:
  tune: {dataset: shapes, split: tune}
  test: {dataset: shapes, split: test}
techniques:
  - spline: {strides: [2, 3]}
  - blur
search: {heuristic: greedy, max_loss_pp: 5, levels: 4, patience: 2, exclude: ['fc*']}
backend: {abacus: {device: auto}}
strategy: {steady: {increase: linear}}
trace: {dataset: shapes, split: stream}
energy: watts
seed: 7
"""

PLUGIN = """
def offer(name, properties, required=(), **more):
    made = Offered(name, **more)
    made.options = {"type": "object", "properties": properties, "required": list(required)}
    return made

@hookimpl
def mobiprox_frontends():
    return [offer("paper", {"path": {"type": "string", "format": "path", "description": "the network"}}, ["path"])]

@hookimpl
def mobiprox_datasets():
    return [offer("shapes", {"limit": {"type": "integer", "minimum": 1}, "scale": {"type": "number", "exclusiveMinimum": 0, "default": 0.5}},
                  splits=("tune", "test", "stream"))]

@hookimpl
def mobiprox_techniques():
    strides = {"type": "array", "items": {"type": "integer", "minimum": 2}, "minItems": 1, "uniqueItems": True, "default": [2, 3]}
    return [offer("spline", {"strides": strides, "dense": {"type": "boolean"}, "pattern": {"enum": ["fixed", "rotating"]}}), offer("blur", {}),
            offer("table", {"file": {"type": "string", "format": "path"}}, ["file"])]

@hookimpl
def mobiprox_heuristics():
    return [offer("greedy", {"patience": {"type": "integer"}})]

@hookimpl
def mobiprox_backends():
    return [offer("abacus", {"device": {"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 0}]}})]

@hookimpl
def mobiprox_strategies():
    return [offer("steady", {"increase": {"enum": ["linear", "exponential"]}})]

@hookimpl
def mobiprox_meters():
    return [offer("watts", {})]
"""


@pytest.fixture
def folder(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a good experiment file and what it names, with plugins for it."""
    distribution(site, "all_kinds", PLUGIN)
    folder = tmp_path_factory.mktemp("experiment")
    (folder / "net.bin").write_bytes(b"network")
    (folder / "experiment.yaml").write_text(GOOD)
    return folder


def load(folder: Path, text: str | None = None) -> experiment.Experiment:
    if text is not None:
        (folder / "experiment.yaml").write_text(text)
    return experiment.load(folder / "experiment.yaml", plugins.load())


def test_a_good_file_becomes_an_experiment(folder: Path) -> None:
    wanted = load(folder)
    assert wanted.model == experiment.Choice("paper", {"path": "net.bin"})
    assert [t.name for t in wanted.techniques] == ["spline", "blur"]
    assert wanted.techniques[0].options == {"strides": [2, 3]}
    assert (wanted.search.heuristic, wanted.search.max_loss, wanted.search.levels, wanted.search.options) == (
        "greedy",
        5.0,
        4,
        {"patience": 2},
    )
    assert wanted.search.admits("conv1")
    assert not wanted.search.admits("fc2")
    assert wanted.trace == experiment.DataChoice("shapes", "stream", {})
    assert (wanted.seed, wanted.energy, wanted.calibrate) == (7, experiment.Choice("watts", {}), None)
    assert wanted.files == {"model.path": folder / "net.bin"}
    assert wanted.folder == folder


def test_what_may_be_left_out_has_a_default(folder: Path) -> None:
    short = "\n".join(line for line in GOOD.splitlines() if line.split(":")[0] not in ("strategy", "trace", "energy", "seed"))
    wanted = load(folder, short.replace("max_loss_pp: 5, levels: 4, patience: 2, exclude: ['fc*']", ""))
    assert (wanted.seed, wanted.strategy, wanted.trace, wanted.energy) == (0, None, None, None)
    assert (wanted.search.max_loss, wanted.search.levels) == (None, 10)


# change, line of the fault, key path, words of the message, words of the mend
BROKEN: dict[str, tuple[str, str, int, str, str, str]] = {
    "a wrong key": ("techniques:", "technique:", 6, "technique", "unknown key 'technique'", "did you mean 'techniques'?"),
    "a key that is missing": ("backend: {abacus: {device: auto}}\n", "", 1, "", "'backend' is missing", "installed: abacus"),
    "no schema number": ("mobiprox: 1  # schema number\n", "", 1, "", "'mobiprox' is missing", "add 'mobiprox: 1'"),
    "a newer schema number": ("mobiprox: 1", "mobiprox: 2", 1, "mobiprox", "expected schema number 1, got 2", "upgrade"),
    "an unknown technique": ("- blur", "- blurr", 8, "techniques[1]", "no technique is called 'blurr'", "did you mean 'blur'?"),
    "an unknown technique with options": (
        "- spline:",
        "- splin:",
        7,
        "techniques[0].splin",
        "no technique is called 'splin'",
        "did you mean",
    ),
    "a technique that is not installed": (
        "- blur",
        "- low_rank",
        8,
        "techniques[1]",
        "no technique is called",
        "pip install mobiprox-approx-low-rank",
    ),
    "an unknown frontend": (
        "frontend: paper",
        "frontend: tflite",
        2,
        "model.frontend",
        "no frontend",
        "pip install mobiprox-frontend-tflite",
    ),
    "an unknown dataset": (
        "{dataset: shapes, split: tune}",
        "{dataset: shape, split: tune}",
        4,
        "data.tune.dataset",
        "no dataset",
        "did you mean 'shapes'?",
    ),
    "an unknown split": (
        "split: test",
        "split: tset",
        5,
        "data.test.split",
        "expected one of 'tune', 'test', 'stream', got 'tset'",
        "did you mean 'test'?",
    ),
    "an unknown heuristic": ("greedy", "greddy", 9, "search.heuristic", "no heuristic", "did you mean 'greedy'?"),
    "an unknown backend": ("abacus", "abacuss", 10, "backend.abacuss", "no backend", "did you mean 'abacus'?"),
    "an unknown strategy": (
        "strategy: {steady: {increase: linear}}",
        "strategy: stedy",
        11,
        "strategy",
        "no strategy",
        "did you mean 'steady'?",
    ),
    "an unknown meter": ("energy: watts", "energy: sundial", 13, "energy", "no meter", "pip install mobiprox-meter-sundial"),
    "an option that a plugin has not": (
        "strides:",
        "stride:",
        7,
        "techniques[0].spline.stride",
        "unknown key 'stride'",
        "did you mean 'strides'?",
    ),
    "a missing file": ("net.bin", "nett.bin", 2, "model.path", "no file", "relative to the folder of the experiment file"),
    "a variable that is not set": (
        "net.bin",
        "$MOBIPROX_NO_SUCH/net.bin",
        2,
        "model.path",
        "MOBIPROX_NO_SUCH is not set",
        "export MOBIPROX_NO_SUCH",
    ),
    "text for a number": (
        "max_loss_pp: 5",
        "max_loss_pp: five",
        9,
        "search.max_loss_pp",
        "expected a number, got 'five'",
        "max_loss_pp: 5",
    ),
    "a number in quotes": ("levels: 4", 'levels: "4"', 9, "search.levels", "expected a whole number, got '4'", "without quotes: 4"),
    "an exponent that YAML takes as text": (
        "max_loss_pp: 5",
        "max_loss_pp: 5e0",
        9,
        "search.max_loss_pp",
        "expected a number",
        "write 5.0",
    ),
    "a fraction for a whole number": ("levels: 4", "levels: 4.5", 9, "search.levels", "expected a whole number, got 4.5", "levels: 10"),
    "a whole number with a fraction": ("levels: 4", "levels: 4.0", 9, "search.levels", "expected a whole number, got 4.0", "levels: 10"),
    "a number that is too small": ("[2, 3]", "[2, 1]", 7, "techniques[0].spline.strides[1]", "expected at least 2, got 1", ""),
    "a loss that is not above zero": ("max_loss_pp: 5", "max_loss_pp: 0", 9, "search.max_loss_pp", "expected more than 0, got 0", ""),
    "a number for a list": ("[2, 3]", "2", 7, "techniques[0].spline.strides", "expected a list, got 2", "[2]"),
    "an item twice": ("[2, 3]", "[2, 2]", 7, "techniques[0].spline.strides", "an item twice", ""),
    "an empty list": ("[2, 3]", "[]", 7, "techniques[0].spline.strides", "at least 1", ""),
    "a list for a mapping": (
        "{dataset: shapes, split: tune}",
        "[shapes, tune]",
        4,
        "data.tune",
        "expected a mapping (key: value), got a list",
        "dataset: NAME",
    ),
    "neither name nor number": (
        "device: auto",
        "device: any",
        10,
        "backend.abacus.device",
        "expected 'auto' or a whole number, got 'any'",
        "",
    ),
    "a wrong choice": (
        "linear",
        "exponental",
        11,
        "strategy.steady.increase",
        "one of 'linear', 'exponential'",
        "did you mean 'exponential'?",
    ),
    "yes for text": ("increase: linear", "increase: yes", 11, "strategy.steady.increase", "got true", "put it in quotes"),
    "a seed below zero": ("seed: 7", "seed: -1", 14, "seed", "expected at least 0, got -1", ""),
    "a key twice": ("seed: 7", "seed: 7\nseed: 8", 15, "seed", "stands twice, first in line 14", "remove one"),
    "a technique twice": ("- blur", "- spline", 8, "techniques[1]", "'spline' stands twice", "one entry"),
    "options at the wrong depth": (
        "- spline: {strides: [2, 3]}",
        "- spline:\n    strides: [2, 3]",
        7,
        "techniques[0]",
        "expected one name",
        "indented further",
    ),
    "options that are needed": ("- blur", "- table", 8, "techniques[1]", "'table' needs options: file", "table: {file: ...}"),
    "no split": (", split: tune", "", 4, "data.tune", "'split' is missing", "add 'split: tune'"),
    "a trace without a strategy": (
        "strategy: {steady: {increase: linear}}\n",
        "",
        11,
        "trace",
        "replayed with a strategy",
        "add 'strategy",
    ),
    "no techniques": ("techniques:\n  - spline: {strides: [2, 3]}\n  - blur", "techniques: []", 6, "techniques", "at least 1", ""),
    "a date": ("seed: 7", "seed: 2024-01-01", 14, "seed", "got a timestamp", "quotes"),
    "not a number at all": ("max_loss_pp: 5", "max_loss_pp: .nan", 9, "search.max_loss_pp", "finite", ""),
    "a number as key": ("seed: 7", "7: seed", 14, "", "expected a name as key, got 7", "quotes"),
    "code": ("seed: 7", "seed: !!python/object/apply:os.getcwd []", 14, "seed", "expected text, a number", "quotes"),
    "a bracket that is not closed": ("[2, 3]", "[2, 3", 7, "", "not YAML", ""),
    "a tab": ("  - blur", "\t- blur", 8, "", "not YAML", "not tabs"),
    "two documents": ("seed: 7", "---\nseed: 7", 14, "", "not YAML", "---"),
}


@pytest.mark.parametrize(("old", "new", "line", "key", "what", "mend"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_explained(
    folder: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, line: int, key: str, what: str, mend: str
) -> None:
    assert GOOD.count(old) == 1 or old in ("abacus", "greedy", "spline", "linear", "net.bin", "[2, 3]")
    (folder / "experiment.yaml").write_text(GOOD.replace(old, new, 1))
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(main, ["check", "experiment.yaml"])
    assert done.exit_code == 3
    assert done.stdout == ""
    head, *rest = done.stderr.splitlines()
    assert head.startswith(f"error: experiment.yaml:{line}: {key}: " if key else f"error: experiment.yaml:{line}: "), head
    assert what in head
    assert mend in rest[0]
    assert rest[0].strip()
    assert len(rest) == 1, "one fault gives one message"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"- 1\n- 2\n", "expected a mapping"),
        (b"just text", "expected a mapping"),
        (b"\x89PNG\r\n\x1a\n\x00", "not text"),
        (b"[" * 5000, "YAML|nested"),
    ],
    ids=["empty", "a list", "text", "an image", "brackets"],
)
def test_a_file_that_is_no_experiment_is_said_to_be_none(folder: Path, content: bytes, what: str) -> None:
    path = folder / "experiment.yaml"
    path.write_bytes(content)
    done = CliRunner().invoke(main, ["check", str(path)])
    assert done.exit_code == 3
    assert str(path) in done.stderr
    assert re.search(what, done.stderr)
    assert "Traceback" not in done.stderr


def test_anchors_that_multiply_are_refused(folder: Path) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 30))
    with pytest.raises(ExperimentError, match="too many values"):
        load(folder, bomb)
    with pytest.raises(ExperimentError, match="holds itself"):
        load(folder, "a: &a [*a]")


def test_anchors_and_merges_are_fine(folder: Path) -> None:
    text = GOOD.replace("tune: {dataset", "tune: &data {dataset").replace(
        "test: {dataset: shapes, split: test}", "test: {<<: *data, split: test}"
    )
    assert load(folder, text).test == experiment.DataChoice("shapes", "test", {})
    assert load(folder, text).digest == load(folder, GOOD).digest


def test_all_faults_come_at_once_in_line_order(folder: Path) -> None:
    text = (
        GOOD.replace("net.bin", "no.bin").replace("split: test", "split: tset").replace("- blur", "- blurr").replace("seed: 7", "seed: x")
    )
    with pytest.raises(ExperimentError) as caught:
        load(folder, text)
    assert [int(fault.where.split(":")[1]) for fault in caught.value.faults] == [2, 5, 8, 14]


def test_the_faults_are_there_for_programs_as_well(folder: Path) -> None:
    (folder / "experiment.yaml").write_text(GOOD.replace("- blur", "- blurr"))
    done = CliRunner().invoke(main, ["check", str(folder / "experiment.yaml"), "--json"])
    assert done.exit_code == 3
    value = json.loads(done.stdout)
    assert value["schema"] == 1
    assert value["valid"] is False
    assert value["faults"][0]["mend"] == "did you mean 'blur'?"


def test_keys_of_digits_and_keys_by_pattern_are_found_in_the_file(folder: Path, site: Path) -> None:
    properties = {"07": {"type": "string"}, "named": {"propertyNames": {"pattern": "^a"}, "patternProperties": {"^a": {"type": "integer"}}}}
    options = {"type": "object", "properties": properties, "patternProperties": {"^x": {"type": "integer"}}}
    distribution(
        site, "odd", f'@hookimpl\ndef mobiprox_techniques():\n    made = Offered("odd")\n    made.options = {options}\n    return [made]'
    )
    text = GOOD.replace("  - blur\n", "  - odd:\n      '07': 1\n      x1: 1\n      y1: 1\n      named:\n        a: b\n        c: 1\n")
    with pytest.raises(ExperimentError) as caught:
        load(folder, text)
    assert [(int(fault.where.split(":")[1]), fault.where.split("odd")[1], fault.what) for fault in caught.value.faults] == [
        (9, ".07", "expected text, got 1"),
        (11, ".y1", "unknown key 'y1'"),
        (12, ".named", "'c' does not have the form ^a"),
        (13, ".named.a", "expected a whole number, got 'b'"),
    ]


def test_a_file_that_is_not_there_is_a_matter_of_usage(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"nix\.yaml"):
        experiment.load(folder / "nix.yaml", plugins.load())
    assert CliRunner().invoke(main, ["check", str(folder)]).exit_code == 2


def test_the_digest_follows_the_content_not_the_layout(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    first = load(folder).digest
    assert load(folder, "# a comment\n" + GOOD.replace("- blur", "- {blur: {}}").replace("seed: 7", "seed:    7")).digest == first
    assert load(folder, GOOD.replace("seed: 7", "seed: 8")).digest != first
    assert load(folder, GOOD.replace("levels: 4", "levels: 5")).digest != first
    (folder / "net.bin").write_bytes(b"other network")
    assert load(folder, GOOD).digest != first
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "net.bin").write_bytes(b"network")
    assert load(elsewhere, GOOD).digest == first


def test_a_folder_counts_with_all_that_is_in_it(folder: Path) -> None:
    (folder / "nets" / "deep").mkdir(parents=True)
    (folder / "nets" / "deep" / "a").write_text("1")
    text = GOOD.replace("net.bin", "nets")
    first = load(folder, text).digest
    (folder / "nets" / "deep" / "a").write_text("2")
    assert load(folder, text).digest != first


def test_variables_in_paths_come_from_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_NETWORKS", str(folder))
    for spelt in ("$MY_NETWORKS/net.bin", "'${MY_NETWORKS}/net.bin'"):
        assert load(folder, GOOD.replace("net.bin", spelt)).model.options["path"] == f"{folder}/net.bin"


def test_errors_inside_a_key_name_its_line(folder: Path) -> None:
    wanted = load(folder)
    with pytest.raises(DataError) as caught, wanted.at("data.test"):
        raise DataError("has no labels", where="test.npz")
    assert str(caught.value) == f"{folder}/experiment.yaml:5: data.test: test.npz: has no labels"
    with pytest.raises(MobiproxError) as other, wanted.at("techniques[1]"):
        raise UsageError("no")
    assert other.value.where == f"{folder}/experiment.yaml:8: techniques[1]"


def test_the_schema_for_editors_agrees_with_the_loader(folder: Path) -> None:
    done = CliRunner().invoke(main, ["schema"])
    assert done.exit_code == 0
    schema = json.loads(done.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    from mobiprox_core import document

    assert validator.is_valid(document.parse(GOOD, "x")[0].value)
    assert not validator.is_valid(document.parse(GOOD.replace("strides:", "stride:"), "x")[0].value)
    assert not validator.is_valid(document.parse(GOOD.replace("split: test", "split: tset"), "x")[0].value)


@pytest.mark.parametrize(
    "properties", ['{"limit": {"type": "nonsense"}}', '{"split": {"type": "string"}}'], ids=["no schema", "a reserved name"]
)
def test_a_plugin_with_bad_options_is_blamed_only_where_it_is_used(folder: Path, site: Path, properties: str) -> None:
    code = f'@hookimpl\ndef mobiprox_datasets():\n    made = Offered("odd")\n    made.options = {{"type": "object", "properties": {properties}}}\n    return [made]'
    distribution(site, "odd", code)
    load(folder, GOOD)
    with pytest.raises(ExperimentError, match="stranger-odd"):
        load(folder, GOOD.replace("{dataset: shapes, split: test}", "{dataset: odd, split: test}"))


def test_choices_on_the_command_line_are_checked_alike(folder: Path) -> None:
    registry = plugins.load()
    assert experiment.choose("strategy", "steady", registry, "--strategy") == experiment.Choice("steady", {})
    assert experiment.choose("strategy", "{steady: {increase: linear}}", registry, "--strategy").options == {"increase": "linear"}
    assert experiment.choose_data("shapes:stream", registry, "--trace") == experiment.DataChoice("shapes", "stream", {})
    assert experiment.choose_data("{dataset: shapes, split: tune, limit: 3}", registry, "--trace").options == {"limit": 3}
    for wrong in ("stedy", "{steady: {increse: linear}}", "[", "3"):
        with pytest.raises(UsageError, match="--strategy"):
            experiment.choose("strategy", wrong, registry, "--strategy")
    with pytest.raises(UsageError, match="did you mean 'stream'"):
        experiment.choose_data("shapes:streem", registry, "--trace")
