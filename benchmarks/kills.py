"""Kills of a server under load: events that are lost or doubled, lists that are wrong, and seconds until it answers again.

    python benchmarks/kills.py [--kills 300] [--workers 1] [--clients 3] [--seed 1]

Clients of `leanrec.client` record events in batches of 1 to 200 and ask for a list after each, while processes are ended
by SIGKILL, in turn: at a random instant; at a random instant of the start (replay of the log); after a promotion (swap); and
after SIGTERM (end of requests, last snapshot, checkpoint). With several workers a random one of all processes is killed. A
server whose first process has ended is started again on the same port.

An event is lost if it was acknowledged and is not in the log, doubled if it is there twice or counts twice in the history
of its user. A list is wrong if it has an item of an event that was acknowledged before, or if it is an error. The goal is
none of either. The exit code is 1 if there is one.
"""

import argparse
import collections
import contextlib
import json
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil

from leanrec.client import Client, RetryPolicy
from leanrec.data import Simulation
from leanrec.errors import RequestError
from leanrec.events import SQLiteEventReader
from leanrec.models import EASE
from leanrec.online import VersionStore
from leanrec.pipeline import Pipeline

MODES = ("random", "start", "swap", "stop")
_POLICY = RetryPolicy(list_seconds=120, event_seconds=120, max_wait=0.5)


class Visitor(threading.Thread):
    """Records events and asks for lists until it is stopped.

    Attributes:
        sent: ids of all events that were acknowledged.
        failures: what went wrong.
    """

    def __init__(self, number: int, url: str, items: list[int], stopping: threading.Event, seed: int) -> None:
        super().__init__(name=f"visitor-{number}")
        self.number, self.url, self.items, self.stopping = number, url, items, stopping
        self.random = random.Random(seed)
        self.sent: list[str] = []
        self.seen: dict[str, set[int]] = collections.defaultdict(set)
        self.failures: list[str] = []
        self.n_lists = 0

    def run(self) -> None:
        with Client(self.url, policy=_POLICY) as client:
            while not self.stopping.is_set():
                try:
                    self.visit(client)
                except RequestError as error:
                    self.failures.append(str(error))

    def visit(self, client: Client) -> None:
        user = f"guest-{self.number}-{len(self.sent) // 400}"
        count = self.random.choice((1, 1, 1, 10, 200))
        chosen = self.random.sample(self.items, count)
        ids = [f"{self.number}-{len(self.sent) + position}" for position in range(count)]
        events = [{"id": name, "user": user, "item": item} for name, item in zip(ids, chosen, strict=True)]
        answer = client.record_events(events)
        self.sent += ids
        self.seen[user] |= set(chosen)
        if answer["stored"] + answer["duplicates"] != count or answer["rejected"]:
            self.failures.append(f"{answer} for {count} events")
        listed = client.recommend(user, reasons=False, after=answer["as_of"])["items"]
        self.n_lists += 1
        if self.seen[user] & {item["id"] for item in listed}:
            self.failures.append(f"The list of {user} has an item of an event before it.")


class Server:
    """A server that is started again whenever its first process has ended."""

    def __init__(self, store: Path, port: int, workers: int) -> None:
        code = "from leanrec.cli import main; main()"
        words = ["serve", str(store), "--port", str(port), "--workers", str(workers), "--log-format", "json"]
        self.command = [sys.executable, "-c", code, *words]
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - for as long as the server
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=self.errors, text=True)

    def start_again(self) -> None:
        """Start the server if it does not run."""
        if self.process.poll() is not None:
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = self._start()

    def list_processes(self) -> list[psutil.Process]:
        """All processes of the server, the first one first."""
        with contextlib.suppress(psutil.NoSuchProcess):
            first = psutil.Process(self.process.pid)
            return [first, *first.children(recursive=True)]
        return []

    def kill(self, chance: random.Random) -> str:
        """Kill one of its processes; returns which."""
        processes = self.list_processes()
        if not processes:
            return "none"
        chosen = chance.randrange(len(processes))
        with contextlib.suppress(psutil.NoSuchProcess):
            processes[chosen].send_signal(signal.SIGKILL)
        if not chosen:
            self.process.wait()
        return "first" if not chosen else "other"

    def stop(self) -> int:
        """End it by SIGTERM."""
        self.process.terminate()
        return self.process.wait(timeout=60)


@contextlib.contextmanager
def make_store() -> Iterator[VersionStore]:
    """Two versions of a model, the first of which is promoted."""
    data = Simulation(users=1_000, items=2_000, events=20_000).dataset()
    folder = Path(tempfile.mkdtemp())
    try:
        store = VersionStore.create(folder / "models")
        for number, l2 in enumerate((50.0, 100.0)):
            version = store.add(Pipeline.fit(EASE(l2=l2), data).save(folder / f"model-{number}"))
            if not number:
                store.promote(version.id)
        yield store
    finally:
        shutil.rmtree(folder)


def wait_until_ready(server: Server, client: Client) -> float:
    """Seconds until the server answers; it is started if it does not run, or when it has ended."""
    start = time.monotonic()
    while time.monotonic() < start + 120:
        server.start_again()
        with contextlib.suppress(RequestError):
            client.read_health()
            return time.monotonic() - start
    raise TimeoutError("the server does not answer any more")


def kill_often(
    server: Server, store: VersionStore, client: Client, n_kills: int, chance: random.Random, most: float = math.inf
) -> dict[str, object]:
    """Kill the server so often, in turn at each of the instants; returns how often, and the seconds until it answered again.

    After ``most`` seconds it is not killed again.
    """
    end = time.monotonic() + most
    seconds: list[float] = []
    killed: collections.Counter[str] = collections.Counter()
    versions = [version.id for version in store.versions()]
    for number in range(n_kills):
        if time.monotonic() > end:
            break
        mode = MODES[number % len(MODES)]
        server.start_again()
        if mode == "start":
            time.sleep(chance.uniform(0, 2 * (np.median(seconds) if seconds else 1)))
        else:
            seconds.append(wait_until_ready(server, client))
            time.sleep(chance.uniform(0, 1))
        if mode == "swap":
            store.promote(versions[number // len(MODES) % 2])
            time.sleep(chance.uniform(0, 1))
        if mode == "stop":
            os.kill(server.process.pid, signal.SIGTERM)
            time.sleep(chance.uniform(0, 0.3))
        killed[f"{mode}, {server.kill(chance)} process"] += 1
        print(f"{number + 1} kills", end="\r", file=sys.stderr, flush=True)
    wait_until_ready(server, client)
    return {
        "kills": dict(sorted(killed.items())),
        "median seconds until it answers": round(float(np.median(seconds)), 2),
        "longest": round(max(seconds), 2),
    }


def check_log(path: Path, visitors: list[Visitor], client: Client, chance: random.Random) -> dict[str, int]:
    """What is lost and doubled in the log, and in the histories of some users."""
    acknowledged = [name for visitor in visitors for name in visitor.sent]
    events = SQLiteEventReader(path).user_events()
    counts = collections.Counter(event.id for event in events)
    users = collections.Counter(str(event.user) for event in events)
    guests = sorted({user for visitor in visitors for user in visitor.seen})
    asked = chance.sample(guests, min(50, len(guests)))
    histories = {user: len(client.read_history(user, 1000)["events"]) for user in asked}
    return {
        "events": len(acknowledged),
        "lists": sum(visitor.n_lists for visitor in visitors),
        "lost": len(set(acknowledged) - set(counts)),
        "doubled": sum(count > 1 for count in counts.values()),
        "wrong histories": sum(users[user] != count for user, count in histories.items()),
        "wrong answers": sum(len(visitor.failures) for visitor in visitors),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=math.inf, help="time after which fewer kills are enough")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    chance, stopping = random.Random(args.seed), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with make_store() as store, Client(url, policy=RetryPolicy(list_seconds=2)) as client:
        server = Server(store.path, port, args.workers)
        wait_until_ready(server, client)
        items = [int(item["id"]) for item in client.find_items(limit=1000)["items"]]
        visitors = [Visitor(number, url, items, stopping, args.seed + number) for number in range(args.clients)]
        for visitor in visitors:
            visitor.start()
        found = kill_often(server, store, client, args.kills, chance, 60 * args.minutes)
        stopping.set()
        for visitor in visitors:
            visitor.join()
        found |= check_log(Path(f"{store.path}.events.db"), visitors, client, chance)
        found["exit code"] = server.stop()
    for visitor in visitors:
        for failure in visitor.failures[:3]:
            print(failure, file=sys.stderr)
    print(json.dumps({"workers": args.workers, **found}, indent=2))
    sys.exit(any(found[name] for name in ("lost", "doubled", "wrong histories", "wrong answers", "exit code")))


if __name__ == "__main__":
    main()
