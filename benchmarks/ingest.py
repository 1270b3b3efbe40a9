"""Ingest of a log with string ids: leanrec, pandas and Polars, CSV and Parquet, with and without memory limits.

    python benchmarks/ingest.py [--rows 20000000] [--repeats 3] [--memory 400MB --memory 1GB] [--folder FOLDER]

All read the same file, give users, items and event types dense codes, and sort by (user, time); leanrec also
validates, cleans and reports. Imports are not timed. The results of all tools are checked against each other.
"""

import argparse
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import Claim, Comparison, Contestant, Probe

Arrays = dict[str, np.ndarray]
COLUMNS = ["user_id", "item_id", "event", "timestamp"]


def make_log(rows: int, folder: Path) -> dict[str, Path]:
    """Write a log as Parquet and as CSV: ids of 9 to 16 characters, a long tail of items, unordered times."""
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
    from leanrec import Budget
    from leanrec.data import CleaningRules, ingest
    from leanrec.run import Run
    from leanrec.units import parse_bytes

    def work() -> Arrays:
        limit = None if memory is None else parse_bytes(memory)
        # Duplicates are kept, so that all tools return the same rows.
        events = ingest(
            path, cleaning=CleaningRules(duplicates="keep"), run=Run(budget=Budget(memory=limit))
        ).data.events
        return {"user": events.user, "item": events.item, "event_type": events.event_type, "time": events.time}

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
        codes["event_type"] = pd.factorize(frame.pop("event"))[0]
        time = frame.pop("timestamp").to_numpy()
        order = np.lexsort((time, codes["user"]))
        return {**{name: each[order] for name, each in codes.items()}, "time": time[order]}

    return work


def with_polars(path: Path, _: str | None) -> Callable[[], Arrays]:
    import polars as pl

    def work() -> Arrays:
        scan = pl.scan_parquet(path) if path.suffix == ".parquet" else pl.scan_csv(path)
        names = {"user": "user_id", "item": "item_id", "event_type": "event"}
        # Each column has its own categories: with shared ones the codes of a column would not be dense.
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


def measure_ingest(probe: Probe, tool: str, path: Path, memory: str | None = None) -> None:
    work = TOOLS[tool](path, memory)
    with probe.timed():
        arrays = work()
    probe.record_facts(**collect_facts(arrays))


def collect_facts(arrays: Arrays) -> dict[str, float]:
    """Counts that must be equal for every tool. Raises ValueError where the order is wrong."""
    user, time = arrays["user"], arrays["time"]
    ordered = (user[1:] > user[:-1]) | ((user[1:] == user[:-1]) & (time[1:] >= time[:-1]))
    found: dict[str, Any] = {f"{name}s": int(arrays[name].max()) + 1 for name in ("user", "item", "event_type")}
    if not ordered.all():
        raise ValueError("The rows must be sorted by user and time.")
    return found | {"rows": len(user), "times": int(time.sum()), "longest": int(np.bincount(user).max())}


def make_claim(args: argparse.Namespace, folder: Path) -> Claim:
    rows = 100_000 if args.quick else args.rows
    files = {form: folder / f"log-{rows}.{form}" for form in ("parquet", "csv")}
    contestants, comparisons = {}, []
    for form, path in files.items():
        for tool in TOOLS:
            contestants[f"{tool} {form}"] = Contestant(functools.partial(measure_ingest, tool=tool, path=path))
        for limit in args.memory or ():
            work = functools.partial(measure_ingest, tool="leanrec", path=path, memory=limit)
            contestants[f"leanrec {form} {limit}"] = Contestant(work)
        what, ours = f"{rows:,} rows from {form}", f"leanrec {form}"
        for peer, measure in ((peer, measure) for peer in ("polars", "pandas") for measure in ("wall", "peak")):
            comparisons.append(Comparison(what=what, ours=ours, peer=f"{peer} {form}", measure=measure, at_most=1.0))
        comparisons += [
            Comparison(what=f"{what}, under {limit}", ours=f"{ours} {limit}", peer=ours, measure=measure)
            for limit in args.memory or ()
            for measure in ("wall", "peak")
        ]
    if not args.contestant and not all(path.exists() for path in files.values()):
        make_log(rows, folder)
    return Claim(
        name="ingest",
        title="Ingest: a log with string ids becomes dense codes, sorted by user and time.",
        data=f"{rows:,} simulated rows: users, a long tail of items, event types, unordered times",
        contestants=contestants,
        comparisons=comparisons,
    )


def main() -> None:
    options = harness.build_parser(__doc__)
    options.add_argument("--rows", type=int, default=20_000_000)
    options.add_argument("--memory", action="append", help="also measure leanrec under this limit; repeatable")
    options.add_argument("--folder", type=Path, help="folder of the log; default: the temporary folder")
    args = options.parse_args()
    folder = args.folder or Path(tempfile.gettempdir(), "leanrec-ingest")
    folder.mkdir(parents=True, exist_ok=True)
    harness.run_claim(make_claim(args, folder), args)


if __name__ == "__main__":
    main()
