"""Memory of a server under half an hour of lists, events, changing versions, trials and learning.

    python benchmarks/soak.py [--minutes 30] [--warm-up 8] [--rate 200] [--workers 1] [--samples FILE]

One request of five is two events, the others are lists, half of them with reasons: of the users of the fit, of new ones and
of two bots, with two keys in turn. Each minute another version is promoted, then tried as a canary and as a shadow, and the
model learns from the events. iALS with 64 factors over 6,040 users and 9,724 items. Every two seconds the proportional and
the resident set size (PSS, RSS), open descriptors and threads of all processes, and the sizes of the log are read, Linux only.

The goal is that the lowest memory of a minute, PSS without files and RSS of files, rises by at most 1 MB a minute after the
warm-up. PSS alone depends on which other programs run, for it has a share of the libraries. The lowest is what stays: an
update of the model and the load of a version take 150 MB for a moment, at no fixed time of the minute, so that means of minutes
differ by tens of megabytes. The slope is that of least squares, with an interval of 95 % by a bootstrap of the residuals in
blocks of three minutes (Politis and Romano 1992); that of the means is told too. The exit code is 1 if the slope is above the
goal or a request fails.

Some memory fills up to a bound. The warm-up lasts until it is full:

* lists in the caches: 10,000 of each version that answers, about 4 kB each, all dropped with the version. Here each minute
  begins anew;
* freed memory that the C library keeps for each thread, after a copy of the log for learning or the load of a version. It is
  returned after a change of version or trial and every ten seconds of learning, and is full after two or three minutes;
* users of the fit with new events: about 1 kB each.

New users and events stay in memory by design, without a bound: about 1 kB a user and 50 bytes an event. What they add is told
beside the slope, as are the levels of the parts: memory of the process, and of files such as libraries.
"""

import argparse
import collections
import contextlib
import dataclasses
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import load
import numpy as np
import psutil

from leanrec.data import Dataset
from leanrec.errors import ArtifactError
from leanrec.models import IALS
from leanrec.online import VersionStore
from leanrec.pipeline import Pipeline
from serving import make_data

_GOAL = 1e6  # bytes a minute
_EVENTS_OF_A_REQUEST, _EVENT_REQUESTS = 2, 5  # one request of five
_EVENT_REQUESTS_OF_A_NEW_USER = 4  # one of four
# Kept by design: a user with two events by tracemalloc, and an event in the history and in the data that are learned from.
_USER_BYTES, _EVENT_BYTES = 1000, 50
_MIN_MINUTES = 3  # for a slope with an interval
_BLOCK = 3  # minutes
_MINUTE = 60.0
_INTERVAL = 2.0
# What happens in each minute, and when: seconds of the minute.
_STEPS = ((2, "promote"), (17, "canary"), (34, "shadow"), (51, "stop"))


class Traffic(Sequence[bytes]):
    """Requests without end: events of new users and of bots, and lists of these and of the users of the fit."""

    def __init__(self, url: str, keys: Sequence[str], data: Dataset, start: int = 0) -> None:
        self._host, self._keys, self._start = url.partition("//")[2], keys, start
        self._users, self._items = data.users.ids.tolist(), data.items.ids.tolist()

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, position: int) -> bytes:  # type: ignore[override]
        number = position + self._start
        rng = random.Random(number)
        if number % _EVENT_REQUESTS:
            reasons = "true" if number % 2 else "false"
            return self._write("GET", f"/recommend?user={self._choose_user(number, rng)}&reasons={reasons}", number)
        group = number // _EVENT_REQUESTS
        known = rng.choice(self._users)
        user = (f"guest-{group}", "bot-0", known, "bot-1")[group % _EVENT_REQUESTS_OF_A_NEW_USER]
        items = rng.choices(self._items, k=_EVENTS_OF_A_REQUEST)
        body = json.dumps({"events": [{"user": user, "item": item} for item in items]})
        return self._write("POST", "/events", number, body.encode())

    def _choose_user(self, number: int, rng: random.Random) -> object:
        """A user of the fit, or one whose first event was sent some time ago."""
        kind, group = rng.random(), number // _EVENT_REQUESTS // 4 * 4 - 4 * rng.randrange(100, 500)
        if kind < 0.5 or group < 0:
            return rng.choice(self._users)
        return f"guest-{group}" if kind < 0.95 else f"bot-{number % 2}"

    def _write(self, method: str, path: str, number: int, body: bytes = b"") -> bytes:
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {self._keys[number % len(self._keys)]}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@dataclasses.dataclass
class Operator:
    """Promotes versions and tries others, at fixed seconds of each minute.

    Attributes:
        done: number of steps so far.
        n_aborted: trials that a guard has ended.
    """

    store: VersionStore
    done: int = 0
    n_aborted: int = 0

    def look(self, elapsed: float) -> None:
        """Do what is due."""
        while elapsed >= self.done // len(_STEPS) * _MINUTE + _STEPS[self.done % len(_STEPS)][0]:
            step = _STEPS[self.done % len(_STEPS)][1]
            self.done += 1
            current = self.store.current()
            other = next(each.id for each in self.store.versions() if current is None or each.id != current.id)
            if step == "promote":
                self.store.promote(other)
                continue
            try:
                self.store.stop_trial()
            except ArtifactError:
                self.n_aborted += step != "canary"  # no trial runs after a promotion
            if step != "stop":
                is_shadow = step == "shadow"
                self.store.start_trial(other, 0.5 if is_shadow else 0.1, is_shadow=is_shadow)


def take_sample(server: psutil.Process, log: Path, elapsed: float) -> dict[str, float]:
    """Memory, descriptors and threads of all processes of a server, and the sizes of the files of its log.

    "anonymous" is the PSS of what no file is behind. "files" is the RSS of the rest, because the PSS of a library also changes
    with the number of other programs that use it. "kept" is the sum.
    """
    found = dict.fromkeys(("pss", "rss", "anonymous", "files", "descriptors", "threads", "processes"), 0.0)
    for each in [server, *server.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            memory = each.memory_full_info()
            found["pss"] += memory.pss
            found["rss"] += memory.rss
            for part in each.memory_maps(grouped=True):
                is_file = part.path.startswith("/")
                found["files" if is_file else "anonymous"] += part.rss if is_file else part.pss
            found["descriptors"] += each.num_fds()
            found["threads"] += each.num_threads()
            found["processes"] += 1
    found["kept"] = found["anonymous"] + found["files"]
    for name, ending in (("log", ""), ("wal", "-wal")):
        with contextlib.suppress(OSError):
            found[name] = Path(f"{log}{ending}").stat().st_size
    return {"seconds": round(elapsed, 1), **found}


def fit_slope(times: np.ndarray, values: np.ndarray) -> float:
    """Slope of least squares."""
    centered = times - times.mean()
    return float(centered @ values / (centered @ centered))


def find_slope(values: Sequence[float], block: int = _BLOCK, draws: int = 2000) -> tuple[float, float, float]:
    """Slope of values at equal distances, and its interval of 95 % by a bootstrap of circular blocks of the residuals.

    Args:
        values: (N,), more than two.
        block: values of a block.
        draws: number of bootstrap samples.
    """
    y = np.array(values, float)
    x = np.arange(len(y), dtype=float)
    slope = fit_slope(x, y)
    fitted = y.mean() + slope * (x - x.mean())
    residuals = (y - fitted) * math.sqrt(len(y) / (len(y) - 2))
    starts = np.random.default_rng(0).integers(len(y), size=(draws, -(-len(y) // block), 1))
    positions = ((starts + np.arange(block)) % len(y)).reshape(draws, -1)[:, : len(y)]
    slopes = [fit_slope(x, fitted + residuals[drawn]) for drawn in positions]
    low, high = np.quantile(slopes, (0.025, 0.975)).tolist()
    return slope, low, high


def reduce_minutes(
    samples: Sequence[dict[str, float]], name: str, reduce: Callable[[list[float]], float] = min
) -> list[float]:
    """The lowest, or something else, of a quantity in each whole minute, the first of which begins with the first sample."""
    minutes: dict[int, list[float]] = collections.defaultdict(list)
    for each in samples:
        minutes[int((each["seconds"] - samples[0]["seconds"] + 1e-6) // _MINUTE)].append(each[name])
    most = max(map(len, minutes.values()))
    return [float(reduce(found)) for found in minutes.values() if len(found) >= most / 2]


def make_store(data: Dataset, folder: Path) -> VersionStore:
    """Two versions, the first of which is promoted."""
    store = VersionStore.create(folder / "models")
    for l2 in (0.1, 0.2):
        store.add(Pipeline.fit(IALS(embedding_dim=64, epochs=2, l2=l2), data).save(folder / "model"))
    store.promote(store.versions()[0].id)
    return store


@contextlib.contextmanager
def start_soak(data: Dataset, workers: int) -> Iterator[tuple[VersionStore, list[str], str, psutil.Process]]:
    """A learning server of two versions, with two keys."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = make_store(data, folder)
        leanrec = [sys.executable, "-c", "from leanrec.cli import main; main()"]
        add_key = [*leanrec, "keys", "add", str(folder / "keys.toml")]
        owners = (("shop", "client"), ("desk", "admin"))
        keys = [
            subprocess.check_output([*add_key, "--name", name, "--role", role], text=True).strip()
            for name, role in owners
        ]
        words = ["serve", str(store.path), "--port", "0", "--learn", "--workers", str(workers)]
        command = [*leanrec, *words, "--keys", str(folder / "keys.toml")]
        cores = range(psutil.cpu_count() or 1)
        with load.start_server(command, cores) as (url, process):
            yield store, keys, url, process


def load_for_minutes(url: str, keys: Sequence[str], data: Dataset, rate: float, seconds: float) -> list[load.Latencies]:
    """Latencies of each minute."""
    found: list[load.Latencies] = []
    while seconds > 0:
        length = min(_MINUTE, seconds)
        traffic = Traffic(url, keys, data, start=int(len(found) * rate * _MINUTE))
        found.append(load.measure_open_loop(url, traffic, rate=rate, seconds=length))
        seconds -= length
    return found


def soak(args: argparse.Namespace) -> tuple[list[dict[str, float]], list[load.Latencies], Operator]:
    """Samples, latencies of each minute, and what was changed."""
    data = make_data(quick=args.quick)
    samples: list[dict[str, float]] = []
    with (
        start_soak(data, args.workers) as (store, keys, url, process),
        ThreadPoolExecutor(1) as thread,
        contextlib.ExitStack() as files,
    ):
        written = files.enter_context(args.samples.open("w")) if args.samples else None
        operator, start = Operator(store), time.monotonic()
        loading = thread.submit(load_for_minutes, url, keys, data, args.rate, args.minutes * _MINUTE)
        while not loading.done():
            elapsed = time.monotonic() - start
            operator.look(elapsed)
            if elapsed >= len(samples) * args.interval:
                samples.append(take_sample(process, Path(f"{store.path}.events.db"), elapsed))
                if written is not None:
                    print(json.dumps(samples[-1]), file=written, flush=True)
            time.sleep(0.1)
        return samples, loading.result(), operator


def count_growth(rate: float) -> tuple[float, float]:
    """New users and events of a minute."""
    posts = rate * _MINUTE / _EVENT_REQUESTS
    return posts / _EVENT_REQUESTS_OF_A_NEW_USER, posts * _EVENTS_OF_A_REQUEST


def report(
    args: argparse.Namespace, samples: list[dict[str, float]], loads: list[load.Latencies], operator: Operator
) -> bool:
    """Print what was found. Returns whether the goals are met."""
    late = [each for each in samples if each["seconds"] >= args.warm_up * _MINUTE]
    names = {"pss": "PSS", "rss": "RSS", "anonymous": "PSS without files", "files": "RSS of files", "kept": "both"}
    slopes = {name: find_slope(reduce_minutes(late, name)) for name in names}
    failed = sum(each.failed for each in loads)
    for name, (slope, low, high) in slopes.items():
        print(
            f"{names[name]}: {late[0][name] / 1e6:.0f} MB after the warm-up, {late[-1][name] / 1e6:.0f} at the end, "
            f"{max(each[name] for each in samples) / 1e6:.0f} at most; {slope / 1e6:+.2f} MB a minute ({low / 1e6:+.2f} to "
            f"{high / 1e6:+.2f}), of the means {find_slope(reduce_minutes(late, name, statistics.fmean))[0] / 1e6:+.2f}"
        )
    users, events = count_growth(args.rate)
    print(
        f"kept by design: {(users * _USER_BYTES + events * _EVENT_BYTES) / 1e6:.2f} MB a minute, of {users:.0f} new users and "
        f"{events:.0f} events"
    )
    for name in ("descriptors", "threads", "processes"):
        values = [each[name] for each in late]
        print(f"{name}: {values[0]:.0f} after the warm-up, {values[-1]:.0f} at the end, {max(values):.0f} at most")
    print(
        f"log {samples[-1]['log'] / 1e6:.0f} MB, write-ahead log {max(each['wal'] for each in samples) / 1e6:.0f} MB at most"
    )
    print(
        f"{args.rate * args.minutes * _MINUTE:,.0f} requests, {failed} failed; {operator.done} changes of versions and trials, "
        f"{operator.n_aborted} trials ended by a guard; p50 and p99 of the first and the last whole minute: "
        + ", ".join(f"{each.p50 * 1e3:.1f} and {each.p99 * 1e3:.1f} ms" for each in (loads[0], loads[-1]))
    )
    return slopes["kept"][0] <= _GOAL and not failed


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=30, help="length of the load")
    options.add_argument("--warm-up", type=float, default=8, help="minutes that do not count; 8 fill what has a bound")
    options.add_argument("--rate", type=float, default=200, help="requests a second")
    options.add_argument("--workers", type=int, default=1, help="processes that answer")
    options.add_argument("--interval", type=float, default=_INTERVAL, help="seconds between two samples")
    options.add_argument("--samples", type=Path, help="file for the samples, one JSON object a line")
    options.add_argument("--quick", action="store_true", help="a small model, to check that the script works")
    args = options.parse_args()
    if args.minutes < args.warm_up + _MIN_MINUTES:
        options.error(
            f"--minutes must be at least --warm-up + {_MIN_MINUTES}. Got {args.minutes:g} and {args.warm_up:g}."
        )
    sys.exit(not report(args, *soak(args)))


if __name__ == "__main__":
    main()
