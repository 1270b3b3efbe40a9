"""Measurement inside a contestant's process: times, memory and quality of its run."""

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
    """Measurements of one run of a contestant; times in seconds, memory in bytes.

    Everything outside ``warmup`` and ``timed`` (reading data, imports) is not timed.

    Attributes:
        threads: threads of BLAS, Numba and OpenMP; the process is pinned to as many cores.
        quick: a check that the script works; the contestant may shrink its data.
        round_number: from 0; the seed of random numbers.
        device: on which leanrec trains.
        wall: one entry for each timed block.
        cpu: CPU seconds of each timed block, of all threads and child processes.
        warmups: seconds of the warm-up blocks together (compilation, first call).
        peak: highest resident memory during the timed blocks, with everything that the process held.
        added: the part of ``peak`` above what was held before the timed block.
        quality: values of metrics by name, such as "recall@20".
        facts: counts that must be equal for all contestants of a claim, such as the number of users.
        times: p50 and p99 of single calls, and the number of calls.
        notes: sentences for the results page.
    """

    threads: int
    quick: bool = False
    round_number: int = 0
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
        """The run of leanrec: the round as seed, this probe's threads and device."""
        return Run(seed=self.round_number, threads=self.threads, device=self.device)

    @contextlib.contextmanager
    def warmup(self) -> Iterator[None]:
        """Time work that a process does once: compilation, opening a session."""
        start = time.perf_counter()
        yield
        self.warmups += time.perf_counter() - start

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Time the work of the claim. Enter it again for another measurement in the same process."""
        cpu, others = time.process_time(), _child_usage()
        with measure() as meter:
            held = psutil.Process().memory_info().rss
            yield
        self.wall.append(meter.cost.wall)
        after = _child_usage()
        self.cpu.append(time.process_time() - cpu + max(0.0, after[0] - others[0]))
        self.added = max(self.added, meter.cost.peak + max(0, after[1] - others[1]))
        self.peak = max(self.peak, held + meter.cost.peak + after[1])

    def time_repeats(self, work: Callable[[], T], times: int = 3) -> T:
        """Call ``work`` once as warm-up, then ``times`` times timed. Returns the last result."""
        with self.warmup():
            result = work()
        for _ in range(times):
            with self.timed():
                result = work()
        return result

    def measure_latency(self, work: Callable[[Any], object], arguments: Iterable[Any], n_warmup: int = 20) -> None:
        """Measure p50 and p99 of ``work(argument)`` in sequential calls, after ``n_warmup`` calls that are not counted."""
        arguments = list(arguments)
        with self.warmup():
            for argument in arguments[:n_warmup]:
                work(argument)
        took = np.empty(len(arguments))
        for position, argument in enumerate(arguments):
            start = time.perf_counter()
            work(argument)
            took[position] = time.perf_counter() - start
        p50, p99 = np.quantile(took, [0.5, 0.99])
        self.times = {"p50": float(p50), "p99": float(p99), "calls": float(len(took))}

    def record_quality(self, **quality: float) -> None:
        """Record values of metrics; ``recall_20`` is shown as recall@20."""
        self.quality |= {re.sub(r"_(\d+)$", r"@\1", name): float(value) for name, value in quality.items()}

    def record_facts(self, **facts: float) -> None:
        """Record counts that must be equal for all contestants; results are not written where they differ."""
        self.facts |= facts

    def add_note(self, sentence: str) -> None:
        """Add a sentence to the results page, with the name of the device where that is not the CPU."""
        self.notes.append(sentence + ("" if self.device == "cpu" else f", trained on {_device_name(self.device)}"))


def pin_to_cores(threads: int) -> None:
    """Pin this process to as many cores as it has threads, so that a library that ignores the setting gains nothing."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


def _device_name(device: str) -> str:
    import torch

    return str(torch.cuda.get_device_name(device))


def _child_usage() -> tuple[float, int]:
    """CPU seconds of the child processes, and the sum of their peak resident memory in bytes."""
    seconds, peak = 0.0, 0
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error, OSError):
            used = child.cpu_times()
            seconds += used.user + used.system
            status = Path(f"/proc/{child.pid}/status").read_text(encoding="ascii", errors="replace")
            found = re.search(r"VmHWM:\s+(\d+) kB", status)
            peak += int(found[1]) * 1024 if found else 0
    return seconds, peak
