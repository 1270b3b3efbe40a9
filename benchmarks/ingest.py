"""Rows per second and peak memory of ingest, beside pandas and Polars, on a log with string ids.

All three do the same work: read the Parquet file, give users and items dense codes, sort by user and time. Each run is a process of its own; the
three take turns; medians are compared.

    python benchmarks/ingest.py --rows 20000000 --runs 3
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TASKS = {
    "leanrec": """
import leanrec
data = leanrec.ingest(PATH).data
rows = len(data.events)
""",
    "pandas": """
import pandas as pd, numpy as np
frame = pd.read_parquet(PATH)
user, _ = pd.factorize(frame["user"]); item, _ = pd.factorize(frame["item"])
when = frame["timestamp"].to_numpy()
order = np.lexsort((when, user))
user, item, when = user[order].astype("int32"), item[order].astype("int32"), when[order]
rows = len(user)
""",
    "polars": """
import polars as pl
frame = pl.read_parquet(PATH).with_columns(
    pl.col("user").cast(pl.Categorical).to_physical(), pl.col("item").cast(pl.Categorical).to_physical()
).sort("user", "timestamp", maintain_order=True)
user, item, when = (frame[name].to_numpy() for name in ("user", "item", "timestamp"))
rows = len(user)
""",
}


def make_log(path: Path, rows: int) -> None:
    import duckdb

    duckdb.sql(
        f"""COPY (SELECT 'user-' || (hash(i) % {max(1, rows // 40)}) AS user,
        'item-' || CAST(floor(power(hash(i + 7) % 1000003 / 1000003.0, 3) * {max(1, rows // 200)}) AS BIGINT) AS item,
        1500000000 + CAST(hash(i * 3) % 100000000 AS BIGINT) AS timestamp FROM range({rows}) t(i)) TO '{path}' (FORMAT parquet)"""
    )


def run(task: str, path: Path) -> dict[str, float]:
    code = f"PATH = {str(path)!r}\n{TASKS[task]}\nprint(rows)"
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    rows = int(child.stdout.read() or 0)
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0, task
    return {"rows": rows, "wall": time.perf_counter() - start, "peak": usage.ru_maxrss * 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log.parquet")
        make_log(path, options.rows)
        found: dict[str, list[dict[str, float]]] = {task: [] for task in TASKS}
        for _ in range(options.runs):
            for task in TASKS:
                found[task].append(run(task, path))
    result = {
        task: {
            "rows": runs[0]["rows"],
            "wall": round(statistics.median(each["wall"] for each in runs), 2),
            "rows_per_second": round(options.rows / statistics.median(each["wall"] for each in runs)),
            "peak_mb": round(statistics.median(each["peak"] for each in runs) / 1e6),
        }
        for task, runs in found.items()
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
