"""`mobiprox init` asks the network what it needs, and writes an experiment that checks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from small import small_network

from mobiprox_core import experiment, plugins
from mobiprox_core.cli import main

ROOT = Path(__file__).resolve().parents[1]


def init(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["init", *arguments])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(ROOT / "examples" / "digits" / "digits.onnx", tmp_path)
    onnx.save(small_network(np.random.default_rng(0)), tmp_path / "small.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_network_gets_an_experiment_with_data_that_fit_it(here: Path) -> None:
    done = init("digits.onnx")
    assert done.exit_code == 0, done.stderr
    assert "takes float32[1, 32, 32] and gives 10 scores" in done.stdout
    assert "data set 'digits' fits" in done.stdout
    assert "mobiprox run experiment.yaml" in done.stdout
    wanted = experiment.load(here / "experiment.yaml", plugins.load())
    assert (wanted.model.name, wanted.tune.dataset, wanted.tune.split, wanted.test.split) == ("onnx", "digits", "tune", "test")
    assert {"perforation", "filter_sampling"} <= {technique.name for technique in wanted.techniques}
    text = (here / "experiment.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=experiment.schema.json\n")
    assert (here / "experiment.schema.json").is_file()


def test_data_of_ones_own_are_seen_to_fit_and_split_in_halves(here: Path) -> None:
    np.save(here / "x.npy", np.zeros((40, 3, 16, 16), np.float32))
    np.save(here / "y.npy", np.arange(40) % 4)
    done = init("small.onnx", "--data", "{dataset: arrays, inputs: x.npy, labels: y.npy}")
    assert done.exit_code == 0, done.stderr
    wanted = experiment.load(here / "experiment.yaml", plugins.load())
    assert (wanted.tune.split, wanted.test.split) == ("0:20", "20:40")


def test_data_that_do_not_fit_are_refused_with_what_the_network_takes(here: Path) -> None:
    np.save(here / "x.npy", np.zeros((40, 3, 8, 8), np.float32))
    done = init("small.onnx", "--data", "{dataset: arrays, inputs: x.npy}")
    assert done.exit_code == 3
    assert "float32[3, 16, 16]" in done.stderr
    assert not (here / "experiment.yaml").exists()


def test_without_fitting_data_it_is_said_what_is_left_to_fill_in(here: Path) -> None:
    done = init("small.onnx")
    assert done.exit_code == 0, done.stderr
    assert "data set 'digits' does not fit" in done.stdout
    assert "write in where your data are" in done.stdout
    assert "mobiprox check" in done.stdout
    checked = CliRunner().invoke(main, ["check", "experiment.yaml"])
    assert checked.exit_code == 3
    assert "data.tune.inputs: no file" in checked.stderr


def test_mistakes_are_errors_with_a_mend_and_nothing_is_written_over(here: Path) -> None:
    (here / "text.onnx").write_text("no network")
    for arguments, what in (
        (("none.onnx",), "no file none.onnx"),
        (("text.onnx",), "no frontend reads text.onnx"),
        (("digits.onnx", "--data", "nonsense"), "names no data set"),
    ):
        done = init(*arguments)
        assert done.exit_code == 2, done.stderr
        assert what in done.stderr
    (here / "experiment.yaml").write_text("mine")
    assert "exists already" in init("digits.onnx").stderr
    assert (here / "experiment.yaml").read_text() == "mine"
    assert init("digits.onnx", "--force").exit_code == 0
