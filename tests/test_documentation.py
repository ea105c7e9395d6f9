"""Every code block of the documentation does what it says: experiments load, programs run, commands succeed.

A block that cannot run here says why in a comment before it: ``<!-- not run: reason -->``.
"""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mobiprox_core import document, experiment, pipeline, plugins
from mobiprox_core.cli import main
from mobiprox_core.measure import Effort as MeasureEffort
from mobiprox_core.profile import Effort as ProfileEffort
from tests.fakes import dist_info

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", *ROOT.glob("plugins/*/README.md"), *ROOT.glob("examples/*/README.md")])

QUICK = pipeline.Effort(
    ProfileEffort(samples=32, setting_s=0.005, output_s=10), MeasureEffort(first=4, least=4, most=6, loss_s=2, round_s=0.02, confirm_s=0.05)
)

BLOCK = re.compile(r"(?P<why><!-- not run: [^\n]+ -->\n\n?)?^```(?P<language>\w+)\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    code: str
    runs: bool

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("language")) + 1
        yield Block(page, line, found["language"], found["code"], found["why"] is None)


EVERY = [block for page in PAGES for block in blocks(page)]


def test_the_languages_of_blocks_are_those_that_are_tried_here() -> None:
    assert {block.language for block in EVERY} <= {"python", "yaml", "console", "toml", "kotlin", "java", "c", "text", "json"}


# ----------------------------------------------------------------------------------------------------------------- experiment files


@pytest.mark.parametrize("block", [block for block in EVERY if block.language == "yaml" and block.runs], ids=str)
def test_an_experiment_or_a_part_of_one_loads(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBIPROX_DATA", str(tmp_path))
    value = document.parse(block.code, str(block))[0].value
    if "model" not in value or "backend" not in value:
        whole = document.read(ROOT / "examples" / "digits" / "experiment.yaml")[0].value
        value = {**whole, **value, "data": {**whole["data"], **value.get("data", {})}}
    for name in {"digits.onnx", *re.findall(r"[\w./-]+\.(?:onnx|pt2|npz|npy|safetensors)\b", block.code)}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "examples" / "digits" / "digits.onnx", tmp_path / name)
    (tmp_path / "experiment.yaml").write_text(dumped(value), encoding="utf-8")
    experiment.load(tmp_path / "experiment.yaml", plugins.load())


def dumped(value: Any) -> str:
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False))


# ------------------------------------------------------------------------------------------------------------ programs and commands

TOLD = ("docs/quickstart.md", "docs/howto/tune.md", "docs/howto/adapt.md", "docs/howto/plugin.md", "README.md")
"""Pages that are followed from top to bottom, one after another in one folder: later ones use what earlier ones made."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("reader")
    shutil.copy(ROOT / "examples" / "digits" / "digits.onnx", made / "digits.onnx")
    (made / "site").mkdir()
    return made


@pytest.mark.parametrize("page", TOLD)
def test_a_reader_who_follows_the_page_gets_what_it_promises(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder / "site"))
    monkeypatch.setattr(pipeline, "run", partial(pipeline.run, effort=QUICK))
    namespace: dict[str, Any] = {}
    for block in blocks(ROOT / page):
        named = re.match(r"# ([\w/.]+)\n", block.code)
        if not block.runs:
            continue
        if block.language in ("python", "yaml") and named:
            file = folder / ("site" if block.language == "python" else ".") / named[1]
            file.parent.mkdir(exist_ok=True)
            file.write_text(block.code, encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.code, str(block), "exec"), namespace)
        elif block.language == "toml":
            project = tomllib.loads(block.code)
            dist_info(folder / "site", project["project"]["name"], project["project"]["entry-points"]["mobiprox"])
        elif block.language == "console":
            for line in block.code.splitlines():
                program, *arguments = shlex.split(line.removeprefix("$ "), comments=True)
                assert program == "mobiprox", f"{block}: say why '{line}' is not run"
                done = CliRunner().invoke(main, arguments)
                assert done.exit_code == 0, f"{block}: {line}\n{done.output}"


ALONE = [b for b in EVERY if b.language == "python" and b.runs and str(b.page.relative_to(ROOT)) not in (*TOLD, "docs/hooks.md")]
"""Programs of other pages; those of hooks.md are held to more by test_docs.py."""


@pytest.mark.parametrize("block", ALONE, ids=str)
def test_other_programs_run(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block.code, str(block), "exec"), {})


@pytest.mark.parametrize("block", [block for block in EVERY if block.language == "console"], ids=str)
def test_commands_exist_and_take_these_options(block: Block) -> None:
    for line in block.code.splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True) if line.startswith("$ ") else []
        if not words or words[0] != "mobiprox":
            continue
        command: Any = main
        for word in words[1:]:
            if not hasattr(command, "commands"):
                break
            assert word in command.commands, f"{block}: there is no command '{word}'"
            command = command.commands[word]
        known = {name for parameter in getattr(command, "params", ()) for name in parameter.opts} | {"--help", "--version"}
        assert {word for word in words if word.startswith("--")} <= known, f"{block}: {line}"


def test_every_command_is_documented() -> None:
    """The reference page is made from the commands themselves; here that each has words and an example."""

    def walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, f"{path} {name}")
        if not hasattr(command, "commands"):
            yield path, command

    wordless = [
        path for path, command in walk(main, "mobiprox") if not command.help or (not command.hidden and "Example" not in command.help)
    ]
    assert not wordless
