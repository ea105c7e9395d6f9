from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobiprox_core.report import render

VOID = {"meta", "br", "input", "line", "circle", "path", "rect"}


def made_up_result(operators: int = 12, levels: int = 9, steps: int = 300, seed: int = 0) -> dict[str, Any]:
    """A result as a run gives it: numbers made up, shapes and proportions as in life."""
    rng = np.random.default_rng(seed)
    names = [f"conv{i}" for i in range(operators - 2)] + ["pool", "classifier"]
    macs = [int(m) for m in rng.integers(400_000, 6_000_000, operators - 2)] + [0, 40_960]
    exact_ms = [m / 4e6 + 0.004 for m in macs]
    spelt = [f"perforation(axis={a}, offset={o}, stride={s})" for s in (2, 3, 4) for a in ("rows", "columns") for o in range(s)]
    spelt += [f"filter_sampling(offset={o}, stride={s})" for s in (2, 3, 4) for o in range(s)]
    spelt += [f"{text} + fp16" for text in spelt] + ["fp16"]
    base = sum(exact_ms)

    def point(share: float) -> dict[str, Any]:
        chosen = [n for n in names[:-2] if rng.random() < share]
        latency = base * (1 - 0.62 * share) * rng.uniform(0.98, 1.06)
        return {
            "qos_loss": float(6 * share**2.2 * rng.uniform(0.85, 1.4)),
            "latency_ms": latency,
            "settings": {n: spelt[rng.integers(len(spelt))] for n in chosen},
        }

    candidates = [point(share) for share in rng.uniform(0.05, 1.15, 48)]
    front: list[dict[str, Any]] = []
    for candidate in sorted(candidates, key=lambda c: c["qos_loss"]):
        if candidate["qos_loss"] <= 5 and candidate["latency_ms"] < (front[-1]["latency_ms"] if front else base):
            front.append(candidate)
    front = [front[i] for i in np.unique(np.linspace(0, len(front) - 1, levels - 1).round().astype(int))]
    shipped = [{"qos_loss": 0.0, "latency_ms": base, "settings": {}}, *front]
    for index, level in enumerate(shipped):
        level |= {
            "level": index,
            "speedup": base / level["latency_ms"],
            "test_qos_loss": level["qos_loss"] * float(rng.uniform(0.7, 1.3)),
            "latency_interval_ms": [level["latency_ms"] * 0.985, level["latency_ms"] * 1.015],
        }
    noise = 0.45 * np.sin(np.linspace(0, 3 * np.pi, steps)) ** 2
    walked = np.clip(np.cumsum(rng.choice([-1, 0, 1], steps) + (0.2 - noise)), 0, len(shipped) - 1).astype(int)
    correct, exact_correct = rng.random(steps) > noise * 0.6, rng.random(steps) > noise * 0.4
    static = [
        {"level": i, "accuracy": 0.94 - 0.012 * i, "agreement": 1 - 0.015 * i, "relative_cost": 1 / level["speedup"]}
        for i, level in enumerate(shipped)
    ]
    return {
        "schema": 1,
        "title": "digits",
        "device": {"name": "cpu-made-up", "driver": "3.0", "isa": "avx2", "threads": 1},
        "max_loss": 5.0,
        "exact": {"tune_accuracy": 0.981, "test_accuracy": 0.976, "latency_ms": base},
        "levels": shipped,
        "candidates": candidates,
        "operators": [
            {"name": n, "kind": "conv" if n.startswith("conv") else n, "macs": m, "latency_ms": t}
            for n, m, t in zip(names, macs, exact_ms, strict=True)
        ],
        "profile": [
            {
                "operator": n,
                "setting": s,
                "latency_ms": t * rng.uniform(0.4, 1.1),
                "latency_ci_ms": t * 0.01,
                "divergence": float(rng.exponential(0.01)),
                "loss": None,
                "dropped": bool(rng.random() < 0.2),
            }
            for n, t in zip(names[:-2], exact_ms, strict=False)
            for s in spelt
        ],
        "classes": [str(i) for i in range(10)],
        "replay": {
            "strategy": "confidence",
            "accuracy": float(correct.mean()),
            "agreement": 0.957,
            "relative_cost": float(np.mean([static[i]["relative_cost"] for i in walked])),
            "mean_level": float(walked.mean()),
            "steps": steps,
            "switches": int(np.count_nonzero(np.diff(walked))),
            "static": static,
            "best_static": static[-1],
            "timeline": {
                "level": walked.tolist(),
                "label": rng.integers(0, 10, steps).tolist(),
                "confidence": (0.97 - noise * rng.random(steps)).round(4).tolist(),
                "exact_label": rng.integers(0, 10, steps).tolist(),
                "correct": correct.tolist(),
                "exact_correct": exact_correct.tolist(),
                "notes": [f"noise {n:.2f}" for n in noise],
            },
        },
        "seconds": {"load": 0.4, "profile": 41.3, "search": 0.8, "measure": 22.5, "replay": 0.6},
        "provenance": {"mobiprox": "0.1.0", "plugins": {"approx_fp16": "0.1.0"}, "seed": 0, "experiment": "a5" * 32},
    }


class Page(HTMLParser):
    """Tags, their attributes, and the text between them; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: dict[str | None, str] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts[dict(attrs).get("id")] = ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.scripts[list(self.scripts)[-1]] += data
        elif self.open[-1:] != ["style"]:
            self.text += data + " "

    @property
    def data(self) -> Any:
        return json.loads(self.scripts["data"])


def page_of(result: dict[str, Any], folder: Path) -> Page:
    render(json.loads(json.dumps(result)), folder / "report.html")
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_the_headline_and_the_numbers_are_readable_without_scripts(tmp_path: Path) -> None:
    result = made_up_result()
    text = page_of(result, tmp_path).text
    fastest = result["levels"][-1]
    assert f"5.0 pp budget: up to {fastest['speedup']:.1f}× faster" in text
    assert "97.6%" in text
    assert "cpu-made-up" in text
    for level in result["levels"]:
        assert f"{level['qos_loss']:.2f} pp" in text
        assert f"{level['speedup']:.2f}×" in text
        for setting in level["settings"].values():
            assert setting in text
    for fact in ("a5" * 32, "plugins approx_fp16", "avx2", "41.3 s"):
        assert fact in text


def test_the_charts_get_every_point_setting_and_step(tmp_path: Path) -> None:
    result = made_up_result()
    data = page_of(result, tmp_path).data
    assert len(data["candidates"]) == len(result["candidates"])
    for drawn, level in zip(data["levels"], result["levels"], strict=True):
        numbers = drawn["settings"]
        spelt = {data["operators"][numbers[i]]["name"]: data["settings"][numbers[i + 1]] for i in range(0, len(numbers), 2)}
        assert spelt == level["settings"]
    assert [o["name"] for o in data["operators"]] == [o["name"] for o in result["operators"]]
    assert data["replay"]["level"] == result["replay"]["timeline"]["level"]
    assert data["replay"]["notes"] == result["replay"]["timeline"]["notes"]
    assert data["replay"]["stretch"] == 1


def test_only_mistakes_that_exact_would_not_make_are_blamed_on_approximation(tmp_path: Path) -> None:
    result = made_up_result(steps=4)
    result["replay"]["timeline"] |= {"correct": [True, True, False, False], "exact_correct": [True, False, True, False]}
    assert page_of(result, tmp_path).data["replay"]["spoilt"] == [0, 0, 1, 0]


def test_it_asks_the_network_for_nothing(tmp_path: Path) -> None:
    page = page_of(made_up_result(), tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//\w+\.\w|url\(|@import|fetch\(|XMLHttpRequest|import\(", text)
    assert not any(attributes.keys() & {"src", "href", "srcset", "action"} for _, attributes in page.tags)


def test_a_large_network_and_a_long_trace_stay_below_a_megabyte(tmp_path: Path) -> None:
    page = page_of(made_up_result(operators=84, levels=12, steps=50_000), tmp_path)
    assert (tmp_path / "report.html").stat().st_size < 1_000_000
    assert page.data["replay"]["stretch"] == 25
    assert len(page.data["replay"]["level"]) == 2000


HOSTILE = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<!--",
    "]]>",
    "&amp;<b>",
    "$data ${title}",
    "\u2028\u2029'",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text_and_nothing_else(name: str, tmp_path: Path) -> None:
    result, plain = made_up_result(steps=3), page_of(made_up_result(steps=3), tmp_path)
    renamed = json.loads(json.dumps(result).replace('"conv0"', json.dumps(name)))
    renamed |= {"title": name, "classes": [name] * 10, "device": {"name": name}}
    renamed["provenance"][name] = name
    renamed["seconds"][name] = 1.0
    renamed["replay"] |= {"strategy": name}
    renamed["replay"]["timeline"]["notes"] = [name] * 3
    page = page_of(renamed, tmp_path)
    extra = {"tr", "td"}  # one more fact, one more stage, and device facts left out
    assert [tag for tag, _ in page.tags if tag not in extra] == [tag for tag, _ in plain.tags if tag not in extra]
    assert page.data["operators"][0]["name"] == name
    assert page.data["replay"]["notes"] == [name] * 3
    assert page.scripts[None] == plain.scripts[None]


def test_a_run_without_trace_profile_or_meter_has_a_report_too(tmp_path: Path) -> None:
    full = made_up_result()
    bare = {"exact": {"tune_accuracy": 0.9, "test_accuracy": None, "latency_ms": 2.0}, "levels": full["levels"][:1]}
    text = page_of(bare, tmp_path).text
    assert "No level is faster than the exact network" in text
    assert "90.0%" in text


def test_numbers_that_json_does_not_have_do_not_break_the_charts(tmp_path: Path) -> None:
    result = made_up_result()
    result["profile"][0] |= {"divergence": float("nan"), "latency_ci_ms": float("inf")}
    render(result, tmp_path / "report.html")
    row = Page((tmp_path / "report.html").read_text(encoding="utf-8")).data["profile"][0]
    assert row[3] is None
    assert row[4] is None


def test_energy_is_shown_where_there_was_a_meter(tmp_path: Path) -> None:
    result = made_up_result()
    assert "Energy" not in page_of(result, tmp_path).text
    assert "made to fail" in page_of(result | {"energy": {"meter": "m", "seconds": 10, "problem": "made to fail"}}, tmp_path).text
    result["levels"][1]["energy_mj"] = 12.345
    assert "12.35 mJ" in page_of(result, tmp_path).text or "12.34 mJ" in page_of(result, tmp_path).text


def test_without_labels_agreement_is_reported(tmp_path: Path) -> None:
    result = made_up_result()
    result["replay"] |= {"accuracy": None}
    for static in result["replay"]["static"]:
        static["accuracy"] = None
    text = page_of(result, tmp_path).text
    assert "agreed with the exact network 95.7%" in text
    assert "was right" not in text
