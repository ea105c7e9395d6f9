"""Draws the pictures of the documentation: ``python docs/pictures.py``. Plain SVG, readable on light and dark pages, and without colours."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

HERE = Path(__file__).parent / "pictures"

DONE, FILLED, SKIPPED, INK, PAPER = "#0072b2", "#9ecae1", "#ffffff", "#1a1d21", "#ffffff"


def svg(width: int, height: int, parts: Iterable[str], label: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{INK}">\n<rect width="{width}" height="{height}" fill="{PAPER}"/>\n'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{INK}"/></marker></defs>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def text(x: float, y: float, words: str, anchor: str = "middle", size: float = 13, bold: bool = False) -> str:
    weight = ' font-weight="650"' if bold else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}"{weight}>{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, *lines: str) -> list[str]:
    middle = y + height / 2 - 8 * (len(lines) - 1) + 4.5
    return [
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="7" fill="#eef3f7" stroke="{DONE}"/>',
        *(text(x + width / 2, middle + 16 * i, line, bold=i == 0) for i, line in enumerate(lines)),
    ]


def arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1} {y1}L{x2} {y2}" stroke="{INK}" fill="none" marker-end="url(#tip)"/>'


def cell(x: float, y: float, size: float, fill: str, mark: str = "") -> str:
    dashed = ' stroke-dasharray="3 2"' if fill == SKIPPED else ""
    inside = text(x + size / 2, y + size / 2 + 4, mark, size=11) if mark else ""
    return f'<rect x="{x}" y="{y}" width="{size - 2}" height="{size - 2}" fill="{fill}" stroke="#5b636e"{dashed}/>{inside}'


def stages() -> str:
    """From network and data to a bundle and a session."""
    names = [
        ("network, data", "an experiment file"),
        ("profile", "every setting, alone"),
        ("search", "candidates, predicted"),
        ("measure", "candidates, for real"),
        ("bundle", "levels + strategy"),
    ]
    parts: list[str] = []
    for i, lines in enumerate(names):
        parts += box(10 + 172 * i, 20, 150, 56, *lines)
        if i:
            parts.append(arrow(10 + 172 * i - 21, 48, 10 + 172 * i - 2, 48))
    parts += box(526, 130, 150, 56, "report", "what was found")
    parts += box(698, 130, 150, 56, "session", "on laptop or phone")
    parts += [arrow(773, 78, 773, 127), arrow(601, 78, 601, 127)]
    return svg(860, 200, parts, "Network and data are profiled, searched, measured, and become a bundle that a session runs")


def perforation() -> str:
    """Rows of an output, every second one skipped and filled in."""
    parts = [text(95, 22, "perforation(axis=rows, stride=2, offset=1)", bold=True, anchor="start")]
    for row in range(6):
        for column in range(8):
            parts.append(cell(95 + 26 * column, 36 + 26 * row, 26, SKIPPED if row % 2 else DONE))
            parts.append(cell(455 + 26 * column, 36 + 26 * row, 26, FILLED if row % 2 else DONE))
        parts.append(text(84, 53 + 26 * row, f"row {row}", anchor="end", size=12))
    parts += [
        arrow(320, 114, 440, 114),
        text(380, 104, "fill in", size=12),
        text(680, 79, "mean of its neighbours", anchor="start", size=12),
        text(680, 183, "copy of the last one", anchor="start", size=12),
        text(95, 212, "half of the rows are computed", anchor="start", size=12),
        text(455, 212, "all rows are there", anchor="start", size=12),
    ]
    return svg(840, 226, parts, "Every second output row is skipped, then filled in from its neighbours")


def sampling() -> str:
    """A 3x3 filter over two channels, every second element dropped."""
    parts = [text(30, 22, "filter_sampling(stride=2, offset=0)", bold=True, anchor="start")]
    for channel in range(2):
        for i in range(9):
            kept = (9 * channel + i) % 2 == 1
            x, y = 30 + 110 * channel + 30 * (i % 3), 40 + 30 * (i // 3)
            parts.append(cell(x, y, 30, DONE if kept else SKIPPED))
        parts.append(text(74 + 110 * channel, 150, f"channel {channel}", size=12))
    parts += [
        arrow(255, 84, 300, 84),
        text(315, 64, "the paper: what is kept counts double", anchor="start"),
        text(315, 88, "refit: what is kept is fitted by least squares,", anchor="start"),
        text(315, 105, "so that it stands in for what is dropped", anchor="start"),
        text(315, 129, "choose: which elements to keep is computed, too", anchor="start"),
    ]
    return svg(680, 165, parts, "Every second element of the flattened filter is dropped; the others are rescaled or refitted")


def adaptation() -> str:
    """Levels over a stream whose difficulty rises and falls."""
    levels = [4, 5, 5, 6, 6, 6, 3, 1, 0, 0, 1, 2, 4, 5, 6, 6]
    sure = [0.9, 0.95, 0.93, 0.96, 0.9, 0.55, 0.5, 0.45, 0.6, 0.8, 0.85, 0.9, 0.92, 0.95, 0.93, 0.96]
    line = "".join(f"{'L' if i else 'M'}{90 + 44 * i} {80 - 56 * value}" for i, value in enumerate(sure))
    steps = "".join(f"{'V' if i else f'M{90 + 44 * i - 22} '}{190 - 13 * level}H{90 + 44 * i + 22}" for i, level in enumerate(levels))
    parts = [
        text(64, 52, "confidence", anchor="end", size=11),
        text(64, 152, "level", anchor="end", size=11),
        text(780, 194, "exact", anchor="start", size=12),
        text(780, 116, "cheapest", anchor="start", size=12),
        '<path d="M68 38H772" stroke="#5b636e" stroke-dasharray="4 4"/><path d="M68 52H772" stroke="#5b636e" stroke-dasharray="4 4"/>',
        text(780, 36, "above: more approximation", anchor="start", size=11),
        text(780, 62, "below: less", anchor="start", size=11),
        f'<path d="{line}" fill="none" stroke="{INK}" stroke-width="1.6"/>',
        f'<path d="{steps}" fill="none" stroke="{DONE}" stroke-width="2.4"/>',
        arrow(68, 208, 772, 208),
        text(420, 226, "inputs, one after another", size=12),
    ]
    return svg(950, 236, parts, "While confidence is high the level rises to cheaper ones; when it falls the level goes back to exact")


def recalibration() -> str:
    """An exact network above, a level below: each of its operators is corrected towards what stands above it."""
    parts = [
        text(20, 66, "exact network", anchor="start", bold=True),
        text(20, 196, "one level", anchor="start", bold=True),
        text(20, 214, "of the bundle", anchor="start", bold=True),
        text(20, 24, "the same unlabelled inputs go through both, operator by operator, from left to right", anchor="start"),
    ]
    names = [("conv 1", "1 of 2 rows"), ("conv 2", "1 of 3 elements"), ("conv 3", "exact"), ("dense", "1 of 2 elements")]
    for i, (name, setting) in enumerate(names):
        x = 166 + 168 * i
        parts += [*box(x, 38, 140, 46, name), *box(x, 178, 140, 46, name, setting)]
        parts += [arrow(x - 30, 61, x - 2, 61), arrow(x - 30, 201, x - 2, 201)]
        parts += [arrow(x + 46, 86, x + 46, 119), arrow(x + 94, 176, x + 94, 143)]
        parts += [text(x + 38, 106, "t", anchor="end", size=12), text(x + 102, 164, "y", anchor="start", size=12)]
        parts.append(text(x + 70, 134, "scale * y + bias  =  t", size=12))
    parts.append(
        text(
            20,
            252,
            "affine: scale and bias per channel, least squares; full: the kept weights. It reads what the corrected operators",
            size=12,
            anchor="start",
        )
    )
    parts.append(
        text(20, 268, "before it give, and aims at what the exact network gives; so errors do not add up.", size=12, anchor="start")
    )
    return svg(830, 282, parts, "Each operator of a level is corrected so that it gives what it gives in the exact network")


PICTURES = {"stages": stages, "perforation": perforation, "sampling": sampling, "recalibration": recalibration, "adaptation": adaptation}


def main() -> None:
    HERE.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        (HERE / f"{name}.svg").write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
