"""The results page, made anew from every result in the folder.

python benchmarks/results_page.py [FOLDER]
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leanrec.units import format_bytes, format_seconds

__all__ = ["page", "write"]

TIMES = {"wall", "cpu", "warmups", "p50", "p99"}
BYTES = {"peak", "added"}
NAMES = {"added": "memory on top", "peak": "memory of the process", "warmups": "warm-up", "wall": "time"}
HEADER = """# Results

Made by `make bench`; each script rewrites this page. One row for each claim. Every contestant runs in a process of its own, on the same data, with
the same threads, bound to as many cores, in alternating rounds: medians, with the least and the largest in brackets. Warm-up (compilation, opening a
session) is not in the times; it is listed at the end. Memory is the highest resident size during the timed work. Floors follow from the operations
and bytes that the work cannot do without and from the peaks of the machine, measured in the same run.
"""


def page(results: Sequence[Mapping[str, Any]]) -> str:
    """The whole page as Markdown."""
    parts = [HEADER, *_conditions(results), *_overview(results)]
    for each in results:
        parts += _section(each)
    return "\n".join(parts) + "\n"


def write(folder: Path) -> Path:
    """Read every result in the folder and write its README.md."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    target = folder / "README.md"
    target.write_text(page([each for each in results if "claim" in each]), encoding="utf-8")
    return target


def _conditions(results: Sequence[Mapping[str, Any]]) -> list[str]:
    machines = dict.fromkeys(_machine(each) for each in results)
    return [f"Machine: {'; '.join(machines)}.", ""] if machines else ["Nothing has been measured yet.", ""]


def _machine(each: Mapping[str, Any]) -> str:
    hardware = each["hardware"]
    return f"{hardware['cores']} cores of {hardware['cpu']}, {format_bytes(hardware['memory'])}, {hardware['system']}"


def _overview(results: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = _table("claim", "what", "ours", "peer", "ours ÷ peer", "goal", "", "quality (ours / peer's)", "command")
    for each in results:
        for row in each["rows"]:
            peer = row["peer"]
            cells = (
                f"[{each['claim']}](#{each['claim'].replace('_', '-')})",
                f"{row['what']} ({NAMES.get(row['measure'], row['measure'])})",
                _figure(row["ours"], row["measure"]),
                f"{peer['name']}: {_figure(peer, row['measure'])}" if peer else "",
                _ratio(row),
                row["goal"],
                {True: "met", False: "**missed**", None: ""}[row["met"]],
                _quality(row),
                f"`{each['command']}`",
            )
            lines.append(_line(cells))
    return [*lines, ""]


def _section(each: Mapping[str, Any]) -> list[str]:
    threads = each["threads"]
    known = ", ".join(f"{name} {number}" for name, number in each["versions"].items())
    lines = [
        f"## {each['claim'].replace('_', '-')}",
        "",
        f"{each['title']}",
        "",
        f"{each['data']}. `{each['command']}`, {each['date']}, {threads} threads, {each['repeats']} rounds, {format_seconds(each['seconds'])}. {known}.",
        "",
    ]
    remarks = [*dict.fromkeys(line for row in each["rows"] for line in _remarks(row))]
    lines += [*remarks, ""] if remarks else []
    lines += _rooflines(each)
    lines += _contestants(each["contestants"])
    for name in each["plots"]:
        lines += [f"![{name}]({name})", ""]
    return lines


def _remarks(row: Mapping[str, Any]) -> list[str]:
    lines = [f"- {row['what']}: {row['notes']}"] if row["notes"] else []
    if row["cause"]:
        lines.append(f"- **Missed**: {row['what']} ({row['goal']}). {row['cause']}")
    return lines


def _quality(row: Mapping[str, Any]) -> str:
    """Our quality, and the peer's behind a stroke."""
    shown = {name: ["–" if each is None else f"{each:.4f}" for each in both] for name, both in row["quality"].items()}
    return "; ".join(f"{name} {' / '.join(both if row['peer'] else both[:1])}" for name, both in shown.items())


def _rooflines(each: Mapping[str, Any]) -> list[str]:
    rows = [row for row in each["rows"] if row["roofline"]]
    if not rows:
        return []
    lines = [
        f"Peaks on {threads} threads: {peak['operations'] / 1e9:.0f} GFLOP/s (float32 product), {peak['bytes'] / 1e9:.1f} GB/s (triad)."
        for threads, peak in each["peaks"].items()
    ]
    lines += ["", *_table("what", "operations", "bytes", "floor", "set by", "ours reaches", "counted")]
    for row in rows:
        floor = row["roofline"]
        share = "" if floor["share"] is None else f"{floor['share']:.0%} of the floor's speed"
        cells = (
            row["what"],
            f"{floor['operations']:.3g}",
            format_bytes(floor["bytes"]),
            format_seconds(floor["floor_seconds"]),
            floor["bound"],
            share,
            floor["why"],
        )
        lines.append(_line(cells))
    return [*lines, ""]


def _contestants(stages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    measures = ("wall", "cpu", "warmups", "peak", "added", "p50", "p99")
    titles = ("time", "CPU", "warm-up", "memory of the process", "on top of the data", "p50", "p99")
    lines = _table("contestant", *titles, "quality")
    usual = {*measures, "calls", "runs", "notes", "failed"}
    for name, stage in stages.items():
        cells = [_figure(stage.get(measure, {}), measure) for measure in measures]
        quality = ", ".join(f"{it} {_figure(stage[it], it)}" for it in stage if it not in usual)
        lines.append(_line((name, *cells, stage.get("failed", quality))))
    notes = [f"- {name}: {' '.join(stage['notes'])}" for name, stage in stages.items() if stage["notes"]]
    return [*lines, "", *notes, *([""] if notes else [])]


def _figure(figure: Mapping[str, Any], measure: str) -> str:
    if "value" not in figure:
        return ""
    value, low, high = (_shown(figure[name], measure) for name in ("value", "low", "high"))
    return value if low == high else f"{value} ({low} to {high})"


def _shown(value: float, measure: str) -> str:
    if measure in TIMES:
        return format_seconds(value)
    if measure in BYTES:
        return format_bytes(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4f}"


def _ratio(row: Mapping[str, Any]) -> str:
    if row["ratio"] is None:
        return ""
    low, high = row["ratio_range"] or (row["ratio"], row["ratio"])
    return f"{row['ratio']:.3g}" + (f" ({low:.3g} to {high:.3g})" if f"{low:.3g}" != f"{high:.3g}" else "")


def _table(*titles: str) -> list[str]:
    return [_line(titles), "|" + "---|" * len(titles)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    print(write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "results"))
