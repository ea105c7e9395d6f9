"""The page of results: what was kept of every table, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Content = Mapping[str, Any]
"""What `tables.reproduce` returns."""

CALIBRATED, PLAIN = "calibrated", "plain"

FIGURES = {
    4: (7, "what every strategy has saved by then, and the levels of the first one, over the recordings of both users"),
    5: (9, "the noise, the levels of the first strategy, and what every strategy has saved by then"),
    6: (8, "agreement with the exact network against cost, every user a mark"),
}


def named(entry: Content) -> str:
    options = [str(value) for key, value in entry["options"].items() if key == "increase"]
    chosen = ", ".join(f"{key} {entry['options'][key]:g}" for key in entry["chosen"])
    return ", ".join([f"`{entry['strategy']}`", *options, *([f"{chosen} (chosen on the rehearsal)"] if chosen else [])])


def at_cost(own: Content | None) -> str:
    """Loss, its interval where there is one, and cost."""
    if own is None:
        return ""
    interval = f" [{own['loss_low_pp']:.1f}, {own['loss_high_pp']:.1f}]" if "loss_low_pp" in own else ""
    return f"{own['loss_pp']:.1f}{interval} at {own['relative_cost']:.3g}"


def gained(static: Content) -> str:
    return f"{static['difference_pp']:+.1f} [{static['low_pp']:+.1f}, {static['high_pp']:+.1f}]"


def levels(content: Content) -> str:
    """Every level's cost and what it loses if it is kept."""
    quality = "accuracy" if content["static"][0]["accuracy"] is not None else "agreement"
    exact = content["static"][0][quality]
    return ", ".join(f"{own['relative_cost']:.2f} ({100 * (exact - own[quality]):.1f})" for own in content["static"][1:])


def promise(content: Content, what: str) -> str:
    kept = content["guarantee"]
    return (
        f"`guarded`, {what}: over {kept['splits']} random halvings of {kept['samples']} labelled samples the bound of {kept['bound_pp']:g} points at"
        f" {kept['confidence']:.0%} was broken in {kept['broken']:.1%}; mean loss {kept['loss_pp']:.2f} points (at worst {kept['worst_loss_pp']:.2f}),"
        f" mean cost {kept['relative_cost']:.2f}."
    )


def section(number: int, calibrated: Content, plain: Content | None) -> str:
    """One table under its heading, with what is to be known beside it. plain: None where it was not run."""
    lines = [
        f"### Table {number}: {calibrated['title']}",
        "",
        "| strategy | paper | paper's knobs | calibrated | calibrated, against a level of that cost | verdict |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    beside = [{"ours": None, "goal": None}] * len(calibrated["rows"]) if plain is None else plain["rows"]
    for own, simple in zip(calibrated["rows"], beside, strict=True):
        verdicts = [f"paper: {own['verdict']}"] if own["verdict"] else []
        verdicts += [f"goal: {own['goal']}"] if own["goal"] else []
        verdicts += [f"goal with the paper's knobs: {simple['goal']}"] if simple["goal"] else []
        cells = [named(own), at_cost(own["paper"]), at_cost(simple["ours"]), at_cost(own["ours"]), gained(own["against_static"])]
        lines.append(f"| {' | '.join([*cells, '; '.join(verdicts)])} |")
    conditions = [(calibrated, "calibrated"), *([] if plain is None else [(plain, "with the paper's knobs")])]
    notes = [f"Levels, cost (loss if kept): {'; '.join(f'{words} {levels(content)}' for content, words in conditions)}."]
    if calibrated["goal"]:
        notes.append("Goal: a loss of at most {:g} at a cost of {:g}.".format(*calibrated["goal"]))
    notes += [promise(content, words) for content, words in conditions if "guarantee" in content]
    shown, words = FIGURES[number]
    picture = f"![Figure {shown}: {words}](pictures/paper_figure{shown}.svg)"
    return "\n".join([*lines, "", *(f"- {note}" for note in notes), "", picture, "", f"Figure {shown}, calibrated: {words}."])


def page(contents: Sequence[Content]) -> str:
    """All tables that were run, calibrated at least."""
    known = {(content["table"], content["condition"]): content for content in contents}
    numbers = [number for number in sorted(FIGURES) if (number, CALIBRATED) in known]
    device = contents[0]["device"]
    intro = (
        "Loss in percentage points against the exact network [95 % interval] at a cost relative to it; costs measured on"
        f" {device['name']}, {device['isa']}, {device['threads']} thread(s), {device['runtime']}."
    )
    return "\n\n".join([intro, *(section(number, known[number, CALIBRATED], known.get((number, PLAIN))) for number in numbers)])
