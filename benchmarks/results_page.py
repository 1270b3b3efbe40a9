"""Render the results page from every result in the folder.

python benchmarks/results_page.py [FOLDER]
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leanrec.units import format_bytes, format_seconds

__all__ = ["render_page", "write_page"]

TIMES = {"wall", "cpu", "warmups", "p50", "p99"}
BYTES = {"peak", "added"}
NAMES = {"added": "memory on top", "peak": "memory of the process", "warmups": "warm-up", "wall": "time"}
HEADER = """# Results

Made by `make bench`; each script rewrites this page. One row for each comparison. Every contestant runs in a process of its own, on the same data, with
the same number of threads, pinned to as many cores, in alternating rounds: medians, with minimum and maximum in brackets. Warm-up (compilation, opening a
session) is not in the times; it is listed at the end. Memory is the peak resident size during the timed work. Lower bounds follow from the operations
and bytes that the work needs at least and from the peaks of the machine, measured in the same run.
"""


def render_page(results: Sequence[Mapping[str, Any]]) -> str:
    """The whole page as Markdown."""
    parts = [HEADER, *_machine_lines(results), *_overview_table(results)]
    for each in results:
        parts += _claim_section(each)
    return "\n".join(parts) + "\n"


def write_page(folder: Path) -> Path:
    """Read every result in the folder and write its README.md."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    target = folder / "README.md"
    target.write_text(render_page([each for each in results if "claim" in each]), encoding="utf-8")
    return target


def _machine_lines(results: Sequence[Mapping[str, Any]]) -> list[str]:
    machines = dict.fromkeys(_describe_machine(each) for each in results)
    return [f"Machine: {'; '.join(machines)}.", ""] if machines else ["Nothing has been measured yet.", ""]


def _describe_machine(each: Mapping[str, Any]) -> str:
    hardware = each["hardware"]
    return f"{hardware['cores']} cores of {hardware['cpu']}, {format_bytes(hardware['memory'])}, {hardware['system']}"


def _overview_table(results: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = _table_header(
        "claim", "what", "ours", "peer", "ours ÷ peer", "goal", "", "quality (ours / peer's)", "command"
    )
    for each in results:
        for row in each["rows"]:
            peer = row["peer"]
            cells = (
                f"[{each['claim']}](#{each['claim'].replace('_', '-')})",
                f"{row['what']} ({NAMES.get(row['measure'], row['measure'])})",
                _format_figure(row["ours"], row["measure"]),
                f"{peer['name']}: {_format_figure(peer, row['measure'])}" if peer else "",
                _format_ratio(row),
                row["goal"],
                {True: "met", False: "**missed**", None: ""}[row["met"]],
                _format_quality(row),
                f"`{each['command']}`",
            )
            lines.append(_table_row(cells))
    return [*lines, ""]


def _claim_section(each: Mapping[str, Any]) -> list[str]:
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
    remarks = [*dict.fromkeys(line for row in each["rows"] for line in _remark_lines(row))]
    lines += [*remarks, ""] if remarks else []
    lines += _roofline_table(each)
    lines += _contestant_table(each["contestants"])
    for name in each["plots"]:
        lines += [f"![{name}]({name})", ""]
    return lines


def _remark_lines(row: Mapping[str, Any]) -> list[str]:
    lines = [f"- {row['what']}: {row['notes']}"] if row["notes"] else []
    if row["cause"]:
        lines.append(f"- **Missed**: {row['what']} ({row['goal']}). {row['cause']}")
    return lines


def _format_quality(row: Mapping[str, Any]) -> str:
    """Our quality and the peer's, separated by a slash."""
    shown = {name: ["–" if each is None else f"{each:.4f}" for each in both] for name, both in row["quality"].items()}
    return "; ".join(f"{name} {' / '.join(both if row['peer'] else both[:1])}" for name, both in shown.items())


def _roofline_table(each: Mapping[str, Any]) -> list[str]:
    rows = [row for row in each["rows"] if row["roofline"]]
    if not rows:
        return []
    lines = [
        f"Peaks on {threads} threads: {peak['operations'] / 1e9:.0f} GFLOP/s (float32 product), {peak['bytes'] / 1e9:.1f} GB/s (triad)."
        for threads, peak in each["peaks"].items()
    ]
    lines += ["", *_table_header("what", "operations", "bytes", "floor", "set by", "ours reaches", "counted")]
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
        lines.append(_table_row(cells))
    return [*lines, ""]


def _contestant_table(stages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    measures = ("wall", "cpu", "warmups", "peak", "added", "p50", "p99")
    titles = ("time", "CPU", "warm-up", "memory of the process", "on top of the data", "p50", "p99")
    lines = _table_header("contestant", *titles, "quality")
    known = {*measures, "calls", "runs", "notes", "failed"}
    for name, stage in stages.items():
        cells = [_format_figure(stage.get(measure, {}), measure) for measure in measures]
        quality = ", ".join(f"{it} {_format_figure(stage[it], it)}" for it in stage if it not in known)
        lines.append(_table_row((name, *cells, stage.get("failed", quality))))
    notes = [f"- {name}: {' '.join(stage['notes'])}" for name, stage in stages.items() if stage["notes"]]
    return [*lines, "", *notes, *([""] if notes else [])]


def _format_figure(figure: Mapping[str, Any], measure: str) -> str:
    if "value" not in figure:
        return ""
    value, low, high = (_format_value(figure[name], measure) for name in ("value", "low", "high"))
    return value if low == high else f"{value} ({low} to {high})"


def _format_value(value: float, measure: str) -> str:
    if measure in TIMES:
        return format_seconds(value)
    if measure in BYTES:
        return format_bytes(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4f}"


def _format_ratio(row: Mapping[str, Any]) -> str:
    if row["ratio"] is None:
        return ""
    low, high = row["ratio_range"] or (row["ratio"], row["ratio"])
    return f"{row['ratio']:.3g}" + (f" ({low:.3g} to {high:.3g})" if f"{low:.3g}" != f"{high:.3g}" else "")


def _table_header(*titles: str) -> list[str]:
    return [_table_row(titles), "|" + "---|" * len(titles)]


def _table_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    print(write_page(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "results"))
