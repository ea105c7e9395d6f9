"""The comparison for people: tables of plain text, made from its JSON object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..plan import memory_line
from .engines import OURS


def render(result: Mapping[str, Any]) -> str:
    """Device, contenders, ratios and operators."""
    names = _short_names(result)
    parts = ["\n".join(_head(result)), _table(*_contenders(result, names)), _table(*_ratios(result, names))]
    parts += [
        _table(*_operators(result, names)),
        memory_line(result["memory_bytes"]),
        f"peak: {result['peak_gflops']:.0f} GFLOP/s ({result['peak_how']})",
    ]
    return "\n\n".join(filter(None, parts))


def _short_names(result: Mapping[str, Any]) -> dict[str, str]:
    """Settings as columns are called: their places on the command line."""
    settings = [c["setting"] for c in result["contenders"] if c["engine"] == OURS]
    return {setting: f"set {i}" if i else setting for i, setting in enumerate(settings)}


def _head(result: Mapping[str, Any]) -> Iterator[str]:
    model, device, engines = result["model"], result["device"], result["versions"]["engines"]
    yield f"{model['file']}: {model['mmac']:.4g} million multiply-adds, batch {model['batch']}"
    yield f"{device['name']}: {device['runtime']}, {device['isa']}, {result['threads']} thread(s)"
    yield ", ".join(f"{name} {version}" for name, version in [(OURS, result["versions"]["mobiprox"]), *engines.items()])
    if result["program"]:
        yield result["program"]


def _contenders(result: Mapping[str, Any], names: Mapping[str, str]) -> tuple[Sequence[str], list[list[str]]]:
    rows = []
    for c in result["contenders"]:
        ours = c["engine"] == OURS
        what = names[c["setting"]] if ours else ""
        if ours and what != c["setting"]:
            what = f"{what}: {c['setting']} on {len(c['configuration'])} operator(s)"
        spread = f"{c['p10_ms']:.4g} - {c['p90_ms']:.4g}"
        rows.append(
            [c["engine"], what, f"{c['median_ms']:.4g}", spread, f"{c['cores']:.2f}", f"{c['difference']:.0e}", f"{c['from_exact']:.0e}"]
        )
    return ("engine", "<setting", "ms", "10 - 90 %", "cores", "error", "off exact"), rows


def _ratios(result: Mapping[str, Any], names: Mapping[str, str]) -> tuple[Sequence[str], list[list[str]]]:
    cells = {(r["setting"], r["against"]): r for r in result["ratios"]}
    against = list(dict.fromkeys(r["against"] for r in result["ratios"]))

    def cell(ratio: Mapping[str, Any] | None) -> str:
        if ratio is None:
            return "-"
        low, high = ratio["interval"]
        return f"{ratio['ratio']:.2f} ({low:.2f} - {high:.2f}){'' if ratio['certain'] else ' ?'}"

    rows = [[short, *(cell(cells.get((setting, other))) for other in against)] for setting, short in names.items()]
    return ("times as fast as", *against), rows if against else []


def _operators(result: Mapping[str, Any], names: Mapping[str, str]) -> tuple[Sequence[str], list[list[str]]]:
    settings = {setting: short for setting, short in names.items() if short != setting}
    rows = []
    for op in result["operators"]:
        output = "-" if op["output"] is None else "x".join(map(str, op["output"]))
        speed = "-" if op["gflops"] is None else f"{op['gflops']:.1f}"
        share = "-" if op["peak_share"] is None else f"{op['peak_share']:.0%}"
        row = [op["name"], op["kind"], output, f"{op['mmac']:.3g}", f"{op['microseconds']:.1f}", speed, share]
        for setting in settings:
            taken = op["settings"].get(setting)
            row.append(f"{taken['speedup']:.2f}x" if taken and taken["speedup"] else "-")
        rows.append(row)
    return ("<operator", "<kind", "output", "MMAC", "us", "GFLOP/s", "of peak", *settings.values()), rows


def _table(head: Sequence[str], rows: list[list[str]]) -> str:
    """Columns aligned right; left where the head begins with '<', and the first."""
    left = [i == 0 or title.startswith("<") for i, title in enumerate(head)]
    lines = [[title.removeprefix("<") for title in head], *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    spelt = (
        "  ".join(cell.ljust(width) if to_left else cell.rjust(width) for cell, width, to_left in zip(line, widths, left, strict=True))
        for line in lines
    )
    return "\n".join(line.rstrip() for line in spelt) if rows else ""
