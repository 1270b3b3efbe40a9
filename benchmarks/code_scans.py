"""Searches of packed codes beside today's exact index, FAISS and usearch: time of one query and of a batch, and bytes of an item.

    python benchmarks/code_scans.py [--items 1000000] [--dims 64] [--queries 50] [--rounds 5] [--vectors FILE.npz] [--quick]

All searches run in one process on one core, alternating; the time of a query is the least of its rounds, and the figure the
median of the queries, in CPU time. Ratios are to ``ItemIndex``, which keeps float32 vectors and codes in memory.
``--vectors`` is a file with the arrays Q and V, such as those of a fitted model; random normal vectors are the default.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numba
import numpy as np

from leanrec.kernels.quantization.row_steps import quantize_rows
from leanrec.kernels.threads import single_threaded_blas
from leanrec.kernels.topk.code_products import find_instruction_set
from leanrec.kernels.topk.code_search import CodeRows
from leanrec.kernels.topk.inner_product import ItemIndex
from leanrec.kernels.topk.mapped_search import MappedIndex
from leanrec.types import Float32Array, Int32Array

K = 20


class Contestant(NamedTuple):
    """A search, the bytes that it keeps in memory, and what is said beside it."""

    search: Callable[[Float32Array], Int32Array]
    bytes: int
    note: str = ""


def quantize_uniformly(V: Float32Array, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes of few bits and steps: the largest number of a row, or what loses least of a normal one, sets the step."""
    if bits == 8:
        return quantize_rows(V, 8)
    widths = {1: 0.7979 * 2, 2: 0.9957, 4: 0.3352}
    steps = np.maximum(V.std(axis=1) * widths[bits], 6e-8).astype(np.float16)
    codes = np.floor(V / steps.astype(np.float32)[:, None]) + 2 ** (bits - 1)
    return codes.clip(0, 2**bits - 1).astype(np.uint8), steps


def make_contestants(V: Float32Array, folder: Path) -> dict[str, Contestant]:
    """Every search of these item vectors. Vectors of the mapped index are read from a file."""
    index = ItemIndex.build(V)
    parts = (index.V, index.order, index.panels, index.tiles)
    found = {"ItemIndex": Contestant(lambda Q: index.top_k(Q, K)[0], sum(part.nbytes for part in parts), "exact")}
    np.save(folder / "V.npy", V)
    mapped = MappedIndex.build(np.load(folder / "V.npy", mmap_mode="r"))
    found["MappedIndex"] = Contestant(lambda Q: mapped.top_k(Q, K)[0], mapped.nbytes, "exact")
    for bits in (8, 4, 2, 1):
        codes, steps = quantize_uniformly(V, bits)
        rows = CodeRows.build(codes, np.asarray(steps, np.float16), bits, (2**bits - 1) / 2)
        found[f"codes of {bits} bits"] = Contestant(lambda Q, rows=rows: rows.top_k(Q, K)[0], rows.nbytes)  # type: ignore[misc]
    return found | make_faiss(V) | make_usearch(V)


def make_faiss(V: Float32Array) -> dict[str, Contestant]:
    """Indexes of FAISS, if it is installed."""
    try:
        import faiss
    except ImportError:
        return {}
    faiss.omp_set_num_threads(1)
    n, width = V.shape
    kinds = {"Flat": 4 * width, "SQ8": width, "SQ4": width // 2, "PQ16x4fs": 8, "PQ16": 16}
    found = {}
    for kind, size in kinds.items():
        built = faiss.index_factory(width, kind, faiss.METRIC_INNER_PRODUCT)
        built.train(V[:20_000])
        built.add(V)
        found[f"FAISS {kind}"] = Contestant(lambda Q, built=built: built.search(Q, K)[1], n * size)  # type: ignore[misc]
    return found


def make_usearch(V: Float32Array) -> dict[str, Contestant]:
    """The exact search of usearch in 8 bits with one step for all numbers, if it is installed."""
    try:
        from usearch.index import MetricKind, search
    except ImportError:
        return {}

    def quantize(vectors: Float32Array) -> np.ndarray:
        return np.asarray(np.rint(vectors * (127 / np.abs(vectors).max())), np.int8)

    codes = quantize(V)

    def find(Q: Float32Array) -> Int32Array:
        found = search(codes, quantize(Q), K, MetricKind.IP, exact=True, threads=1)
        return np.asarray(found.keys, np.int32).reshape(len(Q), K)

    return {"usearch i8": Contestant(find, codes.nbytes)}


def measure_alternately(contestants: dict[str, Contestant], tasks: list[Float32Array], rounds: int) -> dict[str, float]:
    """Median over tasks of the least CPU seconds in any round."""
    seconds = {name: np.full(len(tasks), np.inf) for name in contestants}
    for contestant in contestants.values():
        contestant.search(tasks[0])
    for _ in range(rounds):
        for at, task in enumerate(tasks):
            for name, contestant in contestants.items():
                began = time.process_time()
                contestant.search(task)
                seconds[name][at] = min(seconds[name][at], time.process_time() - began)
    return {name: float(np.median(each)) for name, each in seconds.items()}


def print_table(
    title: str, seconds: dict[str, float], contestants: dict[str, Contestant], V: Float32Array, Q: Float32Array
) -> None:
    exact, today = contestants["ItemIndex"].search(Q), contestants["ItemIndex"]
    print(f"\n{title}")
    print(f"{'':<18}{'ms':>9}{'ratio':>8}{'B/item':>9}{'ratio':>7}{'of the exact lists':>20}")
    for name, each in contestants.items():
        kept = np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(each.search(Q), exact, strict=True)])
        print(
            f"{name:<18}{seconds[name] * 1e3:>9.3f}{seconds[name] / seconds['ItemIndex']:>8.2f}"
            f"{each.bytes / len(V):>9.1f}{each.bytes / today.bytes:>7.2f}{kept:>20.1%}  {each.note}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--dims", type=int, default=64)
    parser.add_argument("--queries", type=int, default=50, help="single queries; a batch has 100 times as many")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--quick", action="store_true", help="5,000 items and few queries: a test of the script")
    args = parser.parse_args()
    if args.quick:
        args.items, args.queries, args.rounds = 5_000, 3, 1
    rng = np.random.default_rng(0)
    if args.vectors:
        arrays = np.load(args.vectors)
        Q, V = arrays["Q"][: args.queries * 100], arrays["V"]
    else:
        V = rng.standard_normal((args.items, args.dims), dtype=np.float32)
        Q = rng.standard_normal((args.queries * 100, args.dims), dtype=np.float32)
    numba.set_num_threads(1)
    with TemporaryDirectory() as folder, single_threaded_blas():
        contestants = make_contestants(V, Path(folder))
        tasks = [Q[at : at + 1] for at in range(args.queries)]
        size = f"{len(V):,} × {V.shape[1]}, k = {K}, {find_instruction_set()}"
        print_table(f"One query, {size}", measure_alternately(contestants, tasks, args.rounds), contestants, V, Q[:100])
        ours = {
            name: each
            for name, each in contestants.items()
            if len(V) < 100_000 or not name.startswith(("FAISS", "usearch"))
        }
        seconds = measure_alternately(ours, [Q if len(V) < 100_000 else Q[:256]], min(args.rounds, 3))
        print_table(f"A batch of {len(Q) if len(V) < 100_000 else 256:,} queries, {size}", seconds, ours, V, Q[:100])
        index = MappedIndex.build(V)
        reads = index.count_reads(Q[:500], K)[2]
        print(f"\nVectors that MappedIndex reads for a query: {reads.mean():.0f}, at most {reads.max()}")
        codes, steps = quantize_rows(V, 8)
        rows = CodeRows.build(codes, steps.astype(np.float16), 8, 127.5, V)
        for k in (10, K):
            certified = rows.certify_top_k(Q[:500], k)[2]
            print(f"Top {k} of 8-bit codes that are proven to be those of float32: {certified.mean():.0%}")


if __name__ == "__main__":
    main()
