"""A configuration is explained in sentences of its techniques, with what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mobiprox_core.cli import main
from tests.fakes import distribution, offering

PROFILE = {
    "schema": 1,
    "latency_ms": 5.0,
    "samples": 100,
    "couplings": [],
    "operators": [
        {
            "name": "late",
            "settings": [
                {"setting": "exact", "latency_ms": 2.0, "latency_ci_ms": 0.1, "divergence": 0.0, "loss": 0.0},
                {"setting": "spline(degree=2)", "latency_ms": 1.0, "latency_ci_ms": 0.1, "divergence": 0.25, "loss": 1.5},
            ],
            "dropped": [{"setting": "curve", "latency_ms": 1.95, "latency_ci_ms": 0.1, "divergence": 0.5, "loss": None}],
        },
        {"name": "early", "settings": [{"setting": "exact", "latency_ms": 3.0, "latency_ci_ms": 0.1, "divergence": 0.0}], "dropped": []},
    ],
}


@pytest.fixture
def folder(site: Path) -> Path:
    """Results of a run, and two techniques: one that speaks for itself, and one whose knobs are read out."""
    code = offering("mobiprox_techniques", "spline").replace("('spline')", "('spline', knobs={'degree': 'of the polynomial'})")
    distribution(site, "approx_spline", code)
    curve = offering("mobiprox_techniques", "curve").replace("('curve')", "('curve', explain=lambda setting: 'goes round the bend')")
    distribution(site, "approx_curve", curve)
    results = site / "results"
    (results / "bundle").mkdir(parents=True)
    levels = [{"level": 0, "settings": {}}, {"level": 1, "settings": {"early": "curve", "late": "curve + spline(degree=2)"}}]
    (results / "bundle" / "bundle.json").write_text(json.dumps({"levels": levels}))
    (results / "profile.json").write_text(json.dumps(PROFILE))
    return results


def explained(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["explain", *arguments])


def test_every_setting_is_a_sentence_with_its_measured_effect(folder: Path) -> None:
    assert explained(str(folder), "--level", "1").stdout.splitlines() == [
        "level 1",
        "late goes round the bend",
        "late runs with spline (degree 2: of the polynomial)",
        "    curve alone: 2 ms to 1.95 ms (1.03x), divergence 0.5 nats, does not pay",
        "    spline(degree=2) alone: 2 ms to 1 ms (2.00x), divergence 0.25 nats, loss +1.50",
        "early goes round the bend",
        "    not measured",
    ]


def test_all_levels_of_a_bundle_are_told_of(folder: Path) -> None:
    shown = explained(str(folder / "bundle")).stdout
    assert "level 0\nevery operator runs exactly\n\nlevel 1\n" in shown


def test_text_and_files_are_explained_with_a_profile_or_without(folder: Path, tmp_path: Path) -> None:
    text = "late: spline(degree=2)"
    assert explained(text).stdout == "late runs with spline (degree 2: of the polynomial)\n"
    with_profile = explained(text, "--profile", str(folder / "profile.json")).stdout
    assert "2 ms to 1 ms (2.00x)" in with_profile
    (tmp_path / "settings.json").write_text(json.dumps({"late": "spline(degree=2)"}))
    told = json.loads(explained(str(tmp_path / "settings.json"), "--json").stdout)["configurations"]["settings.json"]
    assert told[0]["sentences"] == ["late runs with spline (degree 2: of the polynomial)"]


def test_a_technique_that_is_not_installed_is_said_to_be_missing(folder: Path) -> None:
    assert "a technique that is not installed" in explained("late: bent(by=3)").stdout


@pytest.mark.parametrize(
    ("content", "what"),
    [("{", "is no JSON"), ("[]", "no JSON object"), ('{"conv1": 3}', "is no configuration"), ('{"a": "b("}', "not a knob")],
)
def test_a_file_that_is_none_is_an_error_with_a_mend(folder: Path, tmp_path: Path, content: str, what: str) -> None:
    (tmp_path / "x.json").write_text(content)
    done = explained(str(tmp_path / "x.json"))
    assert done.exit_code == 2
    assert what in done.stderr


def test_mistakes_are_said_with_what_there_is(folder: Path) -> None:
    for arguments, what in (
        (("nothing",), "no bundle, no file and no configuration"),
        ((str(folder), "--level", "7"), "levels 0 to 1"),
        (("late: curve", "--level", "1"), "only bundles have levels"),
        (("late: curve", "--profile", str(folder / "bundle" / "bundle.json")), "is no profile"),
    ):
        done = explained(*arguments)
        assert done.exit_code == 2
        assert what in done.stderr
    (folder / "bundle" / "bundle.json").write_text('{"levels": 3}')
    assert "its levels cannot be read" in explained(str(folder)).stderr
