"""Figures 7, 8 and 9 of the Mobiprox paper, drawn from our replays: savings over recordings, users one by one, a noisy stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mobiprox_core.interfaces import Samples

Replay = Mapping[str, Any]
"""One strategy's walk over a trace, as ``mobiprox replay --json`` gives it."""

STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (7, 3)))
"""Lines differ in more than their colour."""


def title(replay: Replay) -> str:
    options = ", ".join(f"{value}" for key, value in replay["options"].items() if key == "increase")
    return f"{replay['strategy']} ({options})" if options else str(replay["strategy"])


def savings(axes: Axes, replays: Sequence[Replay]) -> None:
    """The running sum of what each step saved of one exact inference."""
    for replay, style in zip(replays, cycle(STYLES), strict=False):
        axes.plot(np.cumsum(1 - np.array(replay["timeline"]["cost"])), linestyle=style, label=title(replay))
    axes.set_ylabel("exact inferences saved")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def figure7(replays: Sequence[Replay], samples: Samples, path: Path) -> None:
    """Activities: what every strategy has saved by then, and the level of the first one, over the recordings of all users."""
    from matplotlib import pyplot

    figure, (top, bottom) = pyplot.subplots(2, 1, figsize=(9, 5.5), sharex=True, height_ratios=(3, 1), layout="constrained")
    savings(top, replays)
    walk = replays[0]["timeline"]
    bottom.step(range(len(walk["level"])), walk["level"], where="mid", linewidth=0.7)
    wrong = [i for i, (own, exact) in enumerate(zip(walk["correct"], walk["exact_correct"], strict=True)) if exact and not own]
    bottom.plot(wrong, [walk["level"][i] for i in wrong], "x", markersize=4, label="wrong, exact is right")
    bottom.set(xlabel="window of the recordings (2.56 s each)", ylabel="level")
    bottom.set_title(title(replays[0]), fontsize=9, loc="left")
    bottom.legend(fontsize=8)
    if samples.groups is not None:
        for edge in np.flatnonzero(samples.groups[1:] != samples.groups[:-1]) + 1:
            for axes in (top, bottom):
                axes.axvline(edge, color="0.6", linewidth=0.8, linestyle=":")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def figure8(replays: Sequence[Replay], samples: Samples, path: Path) -> None:
    """Every user a mark: agreement with the exact network against the cost, for every strategy."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 5), layout="constrained")
    groups = np.zeros(len(samples.inputs), int) if samples.groups is None else samples.groups
    for replay, marker in zip(replays, cycle("osD^vPX"), strict=False):
        walk = replay["timeline"]
        agrees = np.array(walk["label"]) == np.array(walk["exact_label"])
        cost = np.array(walk["cost"])
        users = np.unique(groups)
        points = [(cost[groups == user].mean(), 100 * agrees[groups == user].mean()) for user in users]
        axes.scatter(*zip(*points, strict=True), marker=marker, label=title(replay), alpha=0.8)
    axes.set(xlabel="cost relative to the exact network", ylabel="agreement with the exact network, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def figure9(replays: Sequence[Replay], samples: Samples, path: Path) -> None:
    """Keywords: the noise that is mixed in, the level of the first strategy, and what every strategy has saved by then."""
    from matplotlib import pyplot

    figure, (noise, level, saved) = pyplot.subplots(3, 1, figsize=(9, 6.5), sharex=True, height_ratios=(1, 1, 2), layout="constrained")
    assert samples.notes is not None
    loudness = [float(note.removeprefix("noise ").removesuffix(" dB")) for note in samples.notes.tolist()]
    noise.step(range(len(loudness)), loudness, where="mid", color="0.4")
    noise.set_ylabel("noise, dB")
    level.step(range(len(replays[0]["timeline"]["level"])), replays[0]["timeline"]["level"], where="mid")
    level.set_ylabel("level")
    level.set_title(title(replays[0]), fontsize=9, loc="left")
    savings(saved, replays)
    saved.set_xlabel("utterance")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


FIGURES = {4: (7, figure7), 6: (8, figure8), 5: (9, figure9)}
"""Table -> the number of the figure that shows it, and how to draw it."""
