"""Inside a contestant's process: what is timed, what is not, and what the process needed."""

import contextlib
import dataclasses
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil

from leanrec.run import Run, measure

T = TypeVar("T")


@dataclasses.dataclass
class Probe:
    """What a contestant says about its run; times in seconds, memory in bytes.

    Everything outside ``warmup`` and ``timed`` (reading data, imports) is not timed.

    Attributes:
        threads: what BLAS, Numba and OpenMP are set to; the process is bound to as many cores.
        quick: a small try-out; the contestant may shrink its data.
        turn: which round this is, from 0: the seed of what draws numbers.
        device: where leanrec trains.
        wall: one entry for each timed block.
        cpu: CPU seconds of each timed block, of all threads and child processes.
        warmups: seconds of the warm-up blocks together (compilation, first call).
        peak: resident memory at the highest during the timed blocks, with everything the process held.
        added: how much of it came on top of what was held before the timed block.
        quality: the quality reached, by name, such as "recall@20".
        facts: what all contestants of a claim have to find alike.
        times: p50 and p99 of single calls, and how many there were.
        notes: sentences for the results page.
    """

    threads: int
    quick: bool = False
    turn: int = 0
    device: str = "cpu"
    wall: list[float] = dataclasses.field(default_factory=list)
    cpu: list[float] = dataclasses.field(default_factory=list)
    warmups: float = 0.0
    peak: int = 0
    added: int = 0
    quality: dict[str, float] = dataclasses.field(default_factory=dict)
    facts: dict[str, float] = dataclasses.field(default_factory=dict)
    times: dict[str, float] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def run(self) -> Run:
        """The conditions for leanrec: the round as seed, this probe's threads and device."""
        return Run(seed=self.turn, threads=self.threads, device=self.device)

    @contextlib.contextmanager
    def warmup(self) -> Iterator[None]:
        """Work that only has to be done once in a process: compilation, opening a session."""
        start = time.perf_counter()
        yield
        self.warmups += time.perf_counter() - start

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """The work that the claim is about. Enter it again for another measurement in the same process."""
        cpu, others = time.process_time(), _children()
        with measure() as meter:
            held = psutil.Process().memory_info().rss
            yield
        self.wall.append(meter.cost.wall)
        after = _children()
        self.cpu.append(time.process_time() - cpu + max(0.0, after[0] - others[0]))
        self.added = max(self.added, meter.cost.peak + max(0, after[1] - others[1]))
        self.peak = max(self.peak, held + meter.cost.peak + after[1])

    def repeat(self, work: Callable[[], T], times: int = 3) -> T:
        """Call ``work`` once as warm-up and then ``times`` times timed; its last result."""
        with self.warmup():
            result = work()
        for _ in range(times):
            with self.timed():
                result = work()
        return result

    def latency(self, work: Callable[[Any], object], arguments: Iterable[Any], warm: int = 20) -> None:
        """p50 and p99 of ``work(argument)``, one call after the other, after ``warm`` calls that do not count."""
        arguments = list(arguments)
        with self.warmup():
            for argument in arguments[:warm]:
                work(argument)
        took = np.empty(len(arguments))
        for place, argument in enumerate(arguments):
            start = time.perf_counter()
            work(argument)
            took[place] = time.perf_counter() - start
        p50, p99 = np.quantile(took, [0.5, 0.99])
        self.times = {"p50": float(p50), "p99": float(p99), "calls": float(len(took))}

    def reached(self, **quality: float) -> None:
        """Quality by name; ``recall_20`` is shown as recall@20."""
        self.quality |= {re.sub(r"_(\d+)$", r"@\1", name): float(value) for name, value in quality.items()}

    def found(self, **facts: float) -> None:
        """Facts that all contestants have to find alike; a claim whose contestants disagree is not written."""
        self.facts |= facts

    def note(self, sentence: str) -> None:
        """A sentence for the results page. Where it is no processor that trains, it names that too."""
        self.notes.append(sentence + ("" if self.device == "cpu" else f", trained on {_card(self.device)}"))


def bind(threads: int) -> None:
    """Keep this process on as many cores as it has threads, so that a library that ignores the setting gains nothing."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


def _card(device: str) -> str:
    import torch

    return str(torch.cuda.get_device_name(device))


def _children() -> tuple[float, int]:
    """CPU seconds of the child processes, and their highest resident memory together."""
    seconds, peak = 0.0, 0
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error, OSError):
            used = child.cpu_times()
            seconds += used.user + used.system
            status = Path(f"/proc/{child.pid}/status").read_text(encoding="ascii", errors="replace")
            found = re.search(r"VmHWM:\s+(\d+) kB", status)
            peak += int(found[1]) * 1024 if found else 0
    return seconds, peak
