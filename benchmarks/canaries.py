"""Canaries: trials that are ended without cause, seconds until a bad version is, and the cost of a shadow.

    python benchmarks/canaries.py [--runs 1000] [--lists 10000] [--seed 1]
    python benchmarks/canaries.py --server [--rate 200] [--repeats 5]
    python benchmarks/canaries.py --shadow [--rate 200] [--seconds 10] [--repeats 5]

The first form runs the code of a server, `LiveTrial` with all its guards, on a simulated clock. The times of lists have a
heavy tail, bursts of load and users whose lists always take long, and users click with very different probability; a
guard looks at every list and every event. Of canaries that are equal to the current version, and of those that are as bad as the
limits allow, at most 5 % may be ended. For versions that fail, are slow or lose clicks it tells how many lists
that takes.

The second form is a server over HTTP with a version that fails, takes 5 ms longer or loses all clicks. The goal for the first
two is an end at most one second after the first second with such lists, for all users. The third is the processor time of a
list with and without a shadow: on the thread of the request, and of the whole server, where a shadow takes a tenth of one
core at most. The exit code is 1 if a goal is missed.
"""

import argparse
import collections
import dataclasses
import datetime
import http.client
import itertools
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import load
import numpy as np
import psutil
from experiments import Results

from leanrec.data import Dataset, Simulation
from leanrec.events import SQLiteEventStore, UserEvent
from leanrec.models import IALS
from leanrec.online import LivePipeline, VersionStore, VersionTrial
from leanrec.online.trials import live_trial
from leanrec.online.trials.guards import TrialGuards
from leanrec.online.trials.live_trial import CANDIDATE, LiveTrial
from leanrec.pipeline import Pipeline, Recommendations, RecommendedItem

_SERVE = """
import sys, time
from leanrec.cli import main
from leanrec.pipeline import Pipeline

bad, fault = sys.argv.pop(), sys.argv.pop()
recommend = Pipeline.recommend

def recommend_badly(self, user=None, **options):
    if self.version == bad and user is not None:
        if fault == "fails":
            raise RuntimeError("The version is bad.")
        if fault == "is slow":
            time.sleep(0.005)
    return recommend(self, user, **options)

Pipeline.recommend = recommend_badly
main()
"""
_ITEMS = (RecommendedItem(1, "1", 1.0),)
_N_USERS = 10_000


@dataclasses.dataclass(frozen=True)
class Badness:
    """How much worse a simulated version is: its share of failures, and ratios of its seconds and of its clicks."""

    failures: float = 0.0
    seconds: float = 1.0
    clicks: float = 1.0


class SimulatedClock:
    """Stands for the module ``time``; it goes on only as lists take time."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    thread_time = perf_counter


class SimulatedPipeline:
    """A version whose lists take the time, and fail as often, as it is told."""

    name = "simulated"

    def __init__(self, version: str, clock: SimulatedClock) -> None:
        self.version, self._clock = version, clock
        self.seconds, self.fails = 0.0, False

    def recommend(self, _user: object, **_: Any) -> Recommendations:
        self._clock.now += self.seconds
        if self.fails:
            raise RuntimeError("The version is bad.")
        return Recommendations(request="", items=_ITEMS, version=self.version)


def simulate_seconds(rng: np.random.Generator, users: np.ndarray) -> np.ndarray:
    """Seconds of lists, (N,): a millisecond with a heavy tail, times the load, which comes in bursts, and that of the user."""
    load_of_blocks = np.exp(rng.normal(0, 0.7, len(users) // 100 + 1))
    of_users = rng.lognormal(0, 0.5, _N_USERS)
    noise = rng.lognormal(0, 0.5, len(users)) * np.where(rng.random(len(users)) < 0.01, 20, 1)
    seconds: np.ndarray = 1e-3 * np.repeat(load_of_blocks, 100)[: len(users)] * of_users[users] * noise
    return seconds


def run_canary(rng: np.random.Generator, n_lists: int, badness: Badness) -> tuple[str, int]:
    """The guard that has ended a trial, or "", and the number of lists of the version until then."""
    clock = SimulatedClock()
    current, tried = SimulatedPipeline("current", clock), SimulatedPipeline("tried", clock)
    with mock.patch.object(live_trial, "time", clock):
        salt = f"tried-{rng.integers(2**32)}"
        asked = VersionTrial(1, "tried", 0.5, is_shadow=False, salt=salt, started="")
        trial = LiveTrial(tried, 0, asked, TrialGuards())  # type: ignore[arg-type]
        users = (rng.random(n_lists) ** 2 * _N_USERS).astype(int)
        seconds, chances = simulate_seconds(rng, users), rng.random((n_lists, 2))
        activity, n_tried = rng.gamma(0.5, 0.4, _N_USERS), 0
        for user, each, (failing, clicking) in zip(users.tolist(), seconds.tolist(), chances.tolist(), strict=True):
            current.seconds, tried.seconds, tried.fails = each, each * badness.seconds, failing < badness.failures
            made = trial.recommend(current, user, {})  # type: ignore[arg-type]
            n_tried += made.arm == CANDIDATE
            if clicking < activity[user] * (badness.clicks if made.arm == CANDIDATE else 1.0):
                trial.count_events([UserEvent("", user, 1, "click", 0, 1.0)])
            if trial.verdict is not None:
                return trial.verdict.guard, n_tried
    return "", n_tried


def measure_simulated(results: Results, runs: int, n_lists: int, seed: int) -> None:
    """Canaries without cause to end them, and with one."""

    def rngs(count: int) -> Iterator[np.random.Generator]:
        return map(np.random.default_rng, np.random.SeedSequence(seed).spawn(count))

    for what, badness in (("equal", Badness()), ("at the limits", Badness(failures=0.01, seconds=1.1))):
        found = [run_canary(rng, n_lists, badness)[0] for rng in rngs(runs)]
        guards = collections.Counter(each for each in found if each)
        results.add_rate(f"{what}, {n_lists:,} lists: ended ({dict(guards)})", sum(guards.values()), runs)
    for what, badness in (
        ("5 % of the lists fail", Badness(failures=0.05)),
        ("30 % slower", Badness(seconds=1.3)),
        ("twice as slow", Badness(seconds=2)),
        ("30 % fewer clicks", Badness(clicks=0.7)),
    ):
        ends = [run_canary(rng, 4 * n_lists, badness) for rng in rngs(max(10, runs // 50))]
        counts = [count for guard, count in ends if guard]
        median = f"{statistics.median(counts):,.0f} lists" if counts else "–"
        results.add(f"{what}: ended", f"{len(counts)} of {len(ends)}, median {median}")


def make_store(data: Dataset, folder: Path) -> tuple[VersionStore, str]:
    """Two versions, the first of which is promoted, and the id of the other."""
    store = VersionStore.create(folder / "models")
    for l2 in (0.1, 0.2):
        store.add(Pipeline.fit(IALS(embedding_dim=64, epochs=2, l2=l2), data).save(folder / "model"))
    first, other = (each.id for each in store.versions())
    store.promote(first)
    return store, other


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer with a list: when it came, its arm, and whether the version on trial should have made it and did not."""

    at: float
    arm: str | None
    is_failure: bool


class Visitor(threading.Thread):
    """Asks for lists of random users at fixed times, and clicks on some of those of the current version."""

    def __init__(self, url: str, users: list[Any], bad: str, rate: float, seed: int, *, is_lost: bool) -> None:
        super().__init__()
        self._host, self._users, self._bad, self._rate = url.partition("//")[2], users, bad, rate
        self._rng, self._is_lost = np.random.default_rng(seed), is_lost
        self._stopping = threading.Event()
        self.answers: list[Answer] = []

    def run(self) -> None:
        connection, start = http.client.HTTPConnection(self._host, timeout=60), time.monotonic()
        for number in itertools.count():
            if self._stopping.wait(max(0.0, start + number / self._rate - time.monotonic())):
                return
            user = self._users[self._rng.integers(len(self._users))]
            found = self._ask(connection, "GET", f"/recommend?user={user}&reasons=false")
            arm = found.get("arm")
            self.answers.append(Answer(time.time(), arm, arm == CANDIDATE and found["version"] != self._bad))
            if self._rng.random() < 0.3 and not (self._is_lost and arm == CANDIDATE):
                event = {"user": user, "item": found["items"][0]["id"], "event_type": "click"}
                self._ask(connection, "POST", "/events", {"events": [event]})

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: object = None
    ) -> dict[str, Any]:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        found: dict[str, Any] = json.loads(answer.read())
        assert answer.status == 200, found
        return found


def end_bad_version(
    store: VersionStore,
    bad: str,
    url: str,
    users: list[Any],
    args: argparse.Namespace,
    *,
    share: float,
    fault: str,
    seed: int,
) -> tuple[float, float, str]:
    """Seconds from the first list of a bad version to the end of its trial in the store and to the last list of it, and the guard."""
    n_visitors = 4
    visitors = [
        Visitor(url, users, bad, args.rate / n_visitors, seed + number, is_lost=fault == "loses clicks")
        for number in range(n_visitors)
    ]
    store.start_trial(bad, share)
    for each in visitors:
        each.start()
    end = time.monotonic() + args.most
    while store.trial() is not None and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(0.5)
    for each in visitors:
        each.stop()
    if store.trial() is not None:
        store.stop_trial()
    trial = store.trials()[-1]
    shown = [each.at for visitor in visitors for each in visitor.answers if each.arm == CANDIDATE]
    assert trial.ended is not None
    assert shown, "no list of the version on trial"
    ended = datetime.datetime.fromisoformat(trial.ended).timestamp()
    time.sleep(1)  # the server has seen the end
    return ended - min(shown), max(shown) - min(shown), (trial.ended_by or "none").partition(" in process")[0]


def measure_server(results: Results, args: argparse.Namespace) -> None:
    """Seconds until a bad version is ended by a server."""
    data = Simulation(users=6_000, items=3_000, events=200_000).dataset()
    with tempfile.TemporaryDirectory() as folder:
        store, bad = make_store(data, Path(folder))
        for fault in ("fails", "is slow", "loses clicks"):
            words = ["serve", str(store.path), "--port", "0", fault, bad]
            with load.start_server([sys.executable, "-c", _SERVE, *words], range(psutil.cpu_count() or 1)) as (url, _):
                for share in (0.05, 0.5):
                    found = [
                        end_bad_version(
                            store, bad, url, data.users.ids.tolist(), args, share=share, fault=fault, seed=10 * number
                        )
                        for number in range(args.repeats)
                    ]
                    ends, lasts = [each[0] for each in found], [each[1] for each in found]
                    guards = dict(collections.Counter(each[2] for each in found))
                    has_goal = fault != "loses clicks"
                    results.add(
                        f"{fault}, {share:.0%} of {args.rate:g} lists/s: ended after ({guards})",
                        f"median {statistics.median(ends):.2f} s, {max(ends):.2f} at most; last list after {max(lasts):.2f} s",
                        "≤ 2 s" if has_goal else "",
                        is_met=max(ends) <= 2 or not has_goal,
                    )


def measure_shadow(results: Results, args: argparse.Namespace) -> None:
    """Processor time of a list with and without a shadow."""
    data = Simulation(users=6_000, items=3_000, events=200_000).dataset()
    with tempfile.TemporaryDirectory() as folder:
        store, other = make_store(data, Path(folder))
        measure_request_thread(results, store, other, data, args)
        measure_whole_server(results, store, other, data, args)


def measure_request_thread(
    results: Results, store: VersionStore, other: str, data: Dataset, args: argparse.Namespace
) -> None:
    current = store.current()
    assert current is not None
    seconds: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder, SQLiteEventStore(Path(folder, "events.db")) as log:
        live = LivePipeline(Pipeline.load(current.path), log)
        rng = np.random.default_rng(args.seed)
        for _ in range(2 * args.repeats):
            for has_shadow in (False, True):
                if has_shadow:
                    live.start_trial(
                        Pipeline.load(store.find(other).path),
                        VersionTrial(1, other, 1.0, is_shadow=True, salt="s", started=""),
                    )
                users = data.users.ids[rng.integers(len(data.users), size=1000)].tolist()
                took = []
                for user in users:
                    start = time.thread_time()
                    live.recommend(user, reasons=False, trace=True)  # traced lists are not cached
                    took.append(time.thread_time() - start)
                seconds[has_shadow].append(statistics.median(took))
                live.stop_trial()
    without, with_shadow = (statistics.median(seconds[each]) * 1e6 for each in (False, True))
    ratio = with_shadow / without
    results.add(
        "thread of the request, µs a list without and with a shadow of all lists",
        f"{without:.0f}, {with_shadow:.0f} ({ratio - 1:+.1%})",
        "≤ +5 %",
        is_met=ratio <= 1.05,
    )


def measure_whole_server(
    results: Results, store: VersionStore, other: str, data: Dataset, args: argparse.Namespace
) -> None:
    found: dict[float, list[tuple[float, float]]] = {0.0: [], 0.1: [], 1.0: []}
    code = "from leanrec.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", str(store.path), "--port", "0"]
    rng = np.random.default_rng(args.seed)
    items = data.items.ids.tolist()
    with load.start_server(command, range(psutil.cpu_count() or 1)) as (url, process):
        for _ in range(args.repeats):
            for share, measured in found.items():
                if share:
                    store.start_trial(other, share, is_shadow=True)
                    time.sleep(2)
                history = rng.choice(len(items), (2000, 3))  # histories, because their lists are not cached
                bodies = [json.dumps({"history": [items[each] for each in row]}).encode() for row in history.tolist()]
                requests = [load.make_request("POST", url, "/recommend", body) for body in bodies]
                before = sum(process.cpu_times()[:2])
                loaded = load.measure_open_loop(url, requests, rate=args.rate, seconds=args.seconds)
                measured.append(((sum(process.cpu_times()[:2]) - before) / (args.rate * args.seconds), loaded.p99))
                if share:
                    store.stop_trial()
                    time.sleep(1)
    cpu = {share: statistics.median(each[0] for each in measured) * 1e6 for share, measured in found.items()}
    for share, measured in found.items():
        p99 = statistics.median(each[1] for each in measured) * 1e3
        results.add(
            f"whole server, shadow of {share:.0%} of {args.rate:g} lists/s",
            f"{cpu[share]:.0f} µs a list ({cpu[share] / cpu[0.0] - 1:+.1%}), p99 {p99:.1f} ms",
        )


def main() -> int:
    """Print the table; 1 if a goal is missed."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=1000, help="simulated canaries of each kind")
    options.add_argument("--lists", type=int, default=10_000, help="lists of a simulated canary")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--server", action="store_true", help="bad versions on a server")
    options.add_argument("--shadow", action="store_true", help="the cost of a shadow")
    options.add_argument("--rate", type=float, default=200, help="lists a second, on a server")
    options.add_argument("--most", type=float, default=60, help="seconds after which a trial on a server is given up")
    options.add_argument("--seconds", type=float, default=10, help="length of each load, with --shadow")
    options.add_argument("--repeats", type=int, default=5, help="of what is measured on a server")
    args = options.parse_args()
    results = Results()
    if args.server:
        measure_server(results, args)
    elif args.shadow:
        measure_shadow(results, args)
    else:
        measure_simulated(results, args.runs, args.lists, args.seed)
    return int(results.n_missed > 0)


if __name__ == "__main__":
    sys.exit(main())
