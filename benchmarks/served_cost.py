"""The cost of a request that a frontier prints beside what a server needs for the same list, for every model.

    LEANREC_DATA=… python benchmarks/served_cost.py [--clock cpu] [--model NAME] [--requests 1000] [--deep]

Each model of `leanrec frontier` is fitted on MovieLens-1M; its requests are measured by the code of the frontier, and the
pipeline that a server uses makes whole lists for the same users, without reasons, none from the cache: with rules, titles and all
that an answer needs. The goal is that such a list takes at most 1.5 times as long as the frontier says, at the median and the 99th
percentile (the lowest of three rounds of both in turn), and that no request builds an index. By default the clock is the processor
time of the thread, since that depends less on what else the machine does. The exit code is 1 if a goal is missed.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from unittest import mock

import numpy as np
from experiments import Results

from leanrec import ingest
from leanrec.data import Dataset, find_data, load_sample
from leanrec.evaluation.frontier import cost
from leanrec.evaluation.frontier.candidates import ModelCandidate, list_candidates, parse_candidates
from leanrec.evaluation.frontier.cost import LatencyProtocol, measure_latency
from leanrec.kernels.threads import single_query_thread
from leanrec.kernels.topk.inner_product import ItemIndex
from leanrec.pipeline import Pipeline
from leanrec.run import Run
from leanrec.serving.load.interpreter import tuned_interpreter

_GOAL = 1.5
_N_WARM_UP = 20
_N_ROUNDS = 3  # of both sides in turn
_CPU_CLOCK = SimpleNamespace(perf_counter=time.thread_time, perf_counter_ns=time.thread_time_ns)


@dataclasses.dataclass(frozen=True)
class ServedCost:
    """Seconds of requests of one model, as (median, 99th percentile).

    Attributes:
        frontier: of a request, as the frontier measures it.
        served: of a list of a pipeline.
        n_builds: indices that were built for the lists.
    """

    frontier: tuple[float, float]
    served: tuple[float, float]
    n_builds: int


def measure_model(candidate: ModelCandidate, data: Dataset, n_requests: int, *, is_cpu: bool) -> ServedCost:
    """Fit a model and measure both."""
    run = Run(threads=1)
    pipeline = Pipeline.fit(candidate.estimator, data, run)
    pipeline.warm_up()
    users = np.flatnonzero(np.diff(data.indptr)).astype(np.int32)
    users = np.random.default_rng(0).permutation(users)[:n_requests]
    protocol = LatencyProtocol(n_requests=n_requests, batch_size=1)
    fallback = pipeline.fitted_scorers[1]
    ids, told, served = data.users.ids[users].tolist(), list[tuple[float, float]](), list[tuple[float, float]]()
    n_builds = 0
    with tuned_interpreter(), single_query_thread():  # as in a server
        for _ in range(_N_ROUNDS):
            with use_clock(is_cpu=is_cpu):
                found = measure_latency(pipeline.model, data, users, fallback=fallback, run=run, latency=protocol)
            told.append((found.p50, found.p99))
            with count_builds() as builds:
                served.append(measure_lists(pipeline, ids[: found.n_requests], is_cpu=is_cpu))
            n_builds += len(builds)
    return ServedCost(_find_lowest(told), _find_lowest(served), n_builds)


def _find_lowest(rounds: list[tuple[float, float]]) -> tuple[float, float]:
    """The lowest of each percentile: what else the machine did made the others longer."""
    return min(p50 for p50, _ in rounds), min(p99 for _, p99 in rounds)


def measure_lists(pipeline: Pipeline, users: list[object], *, is_cpu: bool) -> tuple[float, float]:
    """Seconds of lists for users of whom none is in the cache."""
    clock = time.thread_time if is_cpu else time.perf_counter
    pipeline.drop_lists()
    took: list[float] = []
    for user in users[:_N_WARM_UP]:
        pipeline.recommend(user, reasons=False)  # type: ignore[arg-type]
    pipeline.drop_lists()
    for user in users:
        start = clock()
        pipeline.recommend(user, reasons=False)  # type: ignore[arg-type]
        took.append(clock() - start)
    p50, p99 = np.quantile(took, (0.5, 0.99), method="higher").tolist()
    return p50, p99


@contextmanager
def use_clock(*, is_cpu: bool) -> Iterator[None]:
    """Let the frontier read the processor time of its thread instead of the clock on the wall."""
    with mock.patch.object(cost, "time", _CPU_CLOCK) if is_cpu else nullcontext():
        yield


@contextmanager
def count_builds() -> Iterator[list[object]]:
    """The indices that are built meanwhile."""
    built: list[object] = []
    build = ItemIndex.build

    def build_counted(vectors: np.ndarray) -> ItemIndex:
        built.append(None)
        return build(vectors)

    with mock.patch.object(ItemIndex, "build", build_counted):
        yield built


def read_data(*, quick: bool) -> Dataset:
    """MovieLens-1M with titles and genres, or the bundled sample."""
    if quick:
        return load_sample("ml-latest-small")
    folder = find_data("ml-1m")
    return ingest(folder / "ratings.parquet", items=folder / "movies.parquet", users=folder / "users.parquet").data


def main() -> int:
    """Print the table; 1 if a goal is missed."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", action="append", help="a model by name; repeatable (default: those of a frontier)")
    options.add_argument("--deep", action="store_true", help="also models that need minutes, and those with torch")
    options.add_argument("--requests", type=int, default=1000)
    options.add_argument("--clock", choices=("cpu", "wall"), default="cpu")
    options.add_argument("--quick", action="store_true", help="the bundled sample, to check that the script works")
    args = options.parse_args()
    data = read_data(quick=args.quick)
    candidates = parse_candidates(args.model) if args.model else list_candidates(data, deep=args.deep)
    results, seen = Results(), set[str]()
    for each in candidates:
        if each.model in seen:  # a variant, which takes the same path
            continue
        seen.add(each.model)
        found = measure_model(each, data, args.requests, is_cpu=args.clock == "cpu")
        ratios = [mine / told for mine, told in zip(found.served, found.frontier, strict=True)]
        told, mine = (f"{1e6 * p50:,.0f}, {1e6 * p99:,.0f}" for p50, p99 in (found.frontier, found.served))
        results.add(
            each.name,
            f"{told} µs (p50, p99); served {mine}: {ratios[0]:.2f} ×, {ratios[1]:.2f} ×; {found.n_builds} builds",
            f"≤ {_GOAL:g} ×",
            is_met=max(ratios) <= _GOAL and not found.n_builds,
        )
    return int(results.n_missed > 0)


if __name__ == "__main__":
    sys.exit(main())
