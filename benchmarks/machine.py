"""The hardware, and its peaks that rooflines are computed from.

    python benchmarks/machine.py [--threads 2]

Prints single-precision GFLOP/s of a large product through numpy, and GB/s of a triad a = b + s · c (Numba).
"""

import argparse
import json
import os
import platform
import re
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from probe import pin_to_cores

PACKAGES = (
    "leanrec", "numpy", "scipy", "numba", "scikit-learn", "implicit", "irspack", "faiss-cpu", "pyspark", "duckdb",
    "pandas", "polars", "pyarrow",
)  # fmt: skip


def describe_hardware() -> dict[str, Any]:
    """Processor, cores this process may use, and memory."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        found, memory = None, 0
    cpu = found[1].strip() if found else platform.processor() or platform.machine()
    return {"cpu": cpu, "cores": count_cores(), "memory": memory, "system": f"{platform.system()} {platform.machine()}"}


def count_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def package_versions() -> dict[str, str]:
    """Versions of Python and of the installed packages."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def measure_peaks(n: int = 3072, length: int = 25_000_000, repeats: int = 5) -> dict[str, float]:
    """Best of ``repeats``: operations per second of an n × n float32 product, bytes per second of a triad."""
    import numba
    import numpy as np

    A, B = (np.random.default_rng(seed).standard_normal((n, n), dtype=np.float32) for seed in (0, 1))
    C = np.empty_like(A)
    product = best_time(lambda: np.dot(A, B, out=C), repeats)

    @numba.njit(parallel=True, fastmath=True)
    def triad(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
        for i in numba.prange(len(a)):
            a[i] = b[i] + np.float32(3) * c[i]

    a, b, c = (np.full(length, value, np.float32) for value in (0.0, 1.0, 2.0))
    moved = best_time(lambda: triad(a, b, c), repeats)
    return {"operations": 2.0 * n**3 / product, "bytes": 12.0 * length / moved}


def best_time(work: Callable[[], object], repeats: int) -> float:
    """Minimum seconds of ``repeats`` calls, after one that is not counted."""
    work()
    took = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return min(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=count_cores())
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    pin_to_cores(args.threads)
    found = measure_peaks()
    if args.json:
        print(json.dumps(found))
    else:
        print(f"{found['operations'] / 1e9:.0f} GFLOP/s, {found['bytes'] / 1e9:.1f} GB/s on {args.threads} threads")


if __name__ == "__main__":
    main()
