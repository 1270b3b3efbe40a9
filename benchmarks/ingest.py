"""A log with string ids → dense codes sorted by user and time: CSV and Parquet, three tools, and memory limits.

    python benchmarks/ingest.py [--rows 20000000] [--repeats 3] [--memory 400MB --memory 1GB] [--out results.md]

leanrec, pandas and Polars read the same file, each in a process of its own, one after the other, round by round.
All give users, items and kinds dense codes and sort by (user, time); leanrec also checks, cleans, counts and
reports. Time runs from the first statement after the imports to the last array; memory is the highest resident
size of the whole process. Each result is checked against the others.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
COLUMNS = ["user_id", "item_id", "event", "timestamp"]


def make_log(rows: int, folder: Path) -> dict[str, Path]:
    """The log as Parquet and as CSV: ids of 9 to 16 characters, items with a long tail, no order in time."""
    import duckdb

    files = {form: folder / f"log-{rows}.{form}" for form in ("parquet", "csv")}
    users, items = max(10, rows // 40), max(10, rows // 200)
    with duckdb.connect() as con:
        con.execute(
            f"""COPY (
              SELECT 'user-' || lpad((hash(i * 7 + 1) % {users})::VARCHAR, 9, '0') AS user_id,
                     'article-' || floor(pow((hash(i * 13 + 5) % 1000003) / 1000003.0, 3) * {items})::INTEGER AS item_id,
                     CASE WHEN hash(i * 3 + 2) % 10 < 7 THEN 'view' WHEN hash(i * 3 + 2) % 10 < 9 THEN 'click'
                          ELSE 'purchase' END AS event,
                     1600000000 + (hash(i * 31) % 31536000)::BIGINT AS timestamp
              FROM range({rows}) AS r(i)) TO '{files["parquet"]}' (FORMAT parquet)"""
        )
        con.execute(f"COPY (FROM '{files['parquet']}') TO '{files['csv']}' (HEADER)")
    return files


def with_leanrec(path: Path, memory: str | None) -> Callable[[], Arrays]:
    from leanrec.data.cleaning import Cleaning
    from leanrec.data.ingest import ingest
    from leanrec.run import Run, parse_bytes

    def work() -> Arrays:
        limit = None if memory is None else parse_bytes(memory)
        # Duplicates are kept, so that all tools end with the same rows.
        events = ingest(path, cleaning=Cleaning(duplicates="keep"), run=Run(memory=limit)).data.events
        return {"user": events.user, "item": events.item, "kind": events.kind, "time": events.time}

    return work


def with_pandas(path: Path, _: str | None) -> Callable[[], Arrays]:
    import pandas as pd
    import pyarrow as pa  # noqa: F401 - its import is not part of the work

    def work() -> Arrays:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path, columns=COLUMNS)
        else:
            frame = pd.read_csv(path, usecols=COLUMNS, engine="pyarrow")
        codes = {name: pd.factorize(frame.pop(f"{name}_id"))[0] for name in ("user", "item")}
        codes["kind"] = pd.factorize(frame.pop("event"))[0]
        moment = frame.pop("timestamp").to_numpy()
        order = np.lexsort((moment, codes["user"]))
        return {**{name: each[order] for name, each in codes.items()}, "time": moment[order]}

    return work


def with_polars(path: Path, _: str | None) -> Callable[[], Arrays]:
    import polars as pl

    def work() -> Arrays:
        scan = pl.scan_parquet(path) if path.suffix == ".parquet" else pl.scan_csv(path)
        names = {"user": "user_id", "item": "item_id", "kind": "event"}
        # Each column has categories of its own: in the shared ones the codes of one column would not be dense.
        codes = [
            pl.col(own).cast(pl.Categorical(pl.Categories(name))).to_physical().alias(name)
            for name, own in names.items()
        ]
        frame = scan.select(*codes, pl.col("timestamp").alias("time")).sort("user", "time").collect()
        return {name: frame[name].to_numpy() for name in (*names, "time")}

    return work


TOOLS: dict[str, Callable[[Path, str | None], Callable[[], Arrays]]] = {
    "leanrec": with_leanrec,
    "pandas": with_pandas,
    "polars": with_polars,
}


def one(tool: str, path: Path, memory: str | None) -> dict[str, Any]:
    """One run in this process: seconds, peak bytes and what was found."""
    work = TOOLS[tool](path, memory)
    start = time.perf_counter()
    arrays = work()
    seconds = time.perf_counter() - start
    peak = high_water()
    user, moment = arrays["user"], arrays["time"]
    ordered = (user[1:] > user[:-1]) | ((user[1:] == user[:-1]) & (moment[1:] >= moment[:-1]))
    facts: dict[str, Any] = {f"{name}s": int(arrays[name].max()) + 1 for name in ("user", "item", "kind")}
    facts |= {"rows": len(user), "sorted": bool(ordered.all()), "time": int(moment.sum())}
    facts["longest"] = int(np.bincount(user).max())
    return {"seconds": seconds, "peak": peak, "facts": facts}


def high_water() -> int:
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert match
    return int(match[1]) * 1024


def run(tool: str, path: Path, memory: str | None = None) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", tool, "--file", str(path), *(["--memory", memory] if memory else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{tool} on {path.name}: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout))


def compare(files: dict[str, Path], repeats: int, limits: list[str]) -> list[dict[str, Any]]:
    """Median, least and largest of each measure for each file and tool."""
    jobs = [(form, tool, None) for form in files for tool in TOOLS]
    jobs += [(form, "leanrec", limit) for form in files for limit in limits]
    runs: dict[tuple[str, str, str | None], list[dict[str, Any]]] = {job: [] for job in jobs}
    for _ in range(repeats):
        for form, tool, limit in jobs:
            runs[form, tool, limit].append(run(tool, files[form], limit))
            print(form, tool, limit or "", runs[form, tool, limit][-1], file=sys.stderr, flush=True)
    facts = {json.dumps(each["facts"], sort_keys=True) for these in runs.values() for each in these}
    assert len(facts) == 1, f"The tools disagree: {facts}"
    return [summary(form, tool, limit, these) for (form, tool, limit), these in runs.items()]


def summary(form: str, tool: str, limit: str | None, runs: list[dict[str, Any]]) -> dict[str, Any]:
    seconds, peaks = [each["seconds"] for each in runs], [each["peak"] for each in runs]
    return {
        "form": form,
        "tool": tool,
        "limit": limit,
        "seconds": statistics.median(seconds),
        "seconds_range": [min(seconds), max(seconds)],
        "rows_per_second": runs[0]["facts"]["rows"] / statistics.median(seconds),
        "peak": statistics.median(peaks),
        "peak_range": [min(peaks), max(peaks)],
    }


def table(results: list[dict[str, Any]], rows: int, repeats: int, sizes: dict[str, int]) -> str:
    """The results as Markdown, with ratios to leanrec without a limit on the same file."""
    cores = len(os.sched_getaffinity(0))
    packages = ("leanrec", "duckdb", "pandas", "pyarrow", "polars", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    files = ", ".join(f"{form} {size / 1e6:.0f} MB" for form, size in sizes.items())
    lines = [
        f"# Ingest of {rows:,} rows, {time.strftime('%Y-%m-%d')}",
        "",
        f"`python benchmarks/ingest.py --rows {rows} --repeats {repeats}` on {cores} cores ({platform.machine()}). {versions}.",
        f"Files: {files}. Median of {repeats} alternating runs, each in its own process (least to largest).",
        "",
        "| file | tool | memory limit | seconds | M rows/s | peak MB | time ÷ leanrec | peak ÷ leanrec |",
        "|---|---|---|---|---|---|---|---|",
    ]
    bases = {each["form"]: each for each in results if each["tool"] == "leanrec" and each["limit"] is None}
    for each in results:
        base, (low, high) = bases[each["form"]], each["seconds_range"]
        least, most = (peak / 1e6 for peak in each["peak_range"])
        lines.append(
            f"| {each['form']} | {each['tool']} | {each['limit'] or '–'} | {each['seconds']:.2f} ({low:.2f} to {high:.2f}) "
            f"| {each['rows_per_second'] / 1e6:.2f} | {each['peak'] / 1e6:.0f} ({least:.0f} to {most:.0f}) "
            f"| {each['seconds'] / base['seconds']:.2f} | {each['peak'] / base['peak']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", action="append", help="also measure leanrec under this limit; repeatable")
    parser.add_argument("--folder", type=Path, help="where to make the log; default: a temporary folder")
    parser.add_argument("--out", type=Path, help="write the table here, and the numbers beside it as .json")
    parser.add_argument("--one", choices=list(TOOLS), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(one(asked.one, asked.file, asked.memory[0] if asked.memory else None)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        files = make_log(asked.rows, asked.folder or Path(scratch))
        results = compare(files, asked.repeats, asked.memory or [])
        sizes = {form: path.stat().st_size for form, path in files.items()}
    text = table(results, asked.rows, asked.repeats, sizes)
    print(text)
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")
        numbers = json.dumps({"rows": asked.rows, "results": results}, indent=1)
        asked.out.with_suffix(".json").write_text(numbers, encoding="utf-8")


if __name__ == "__main__":
    main()
