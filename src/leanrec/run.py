"""The conditions of one piece of work (seed, threads, device, budget) and the meter of what it cost."""

import contextlib
import ctypes
import dataclasses
import gc
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil

from leanrec.errors import BudgetError, SettingError

__all__ = [
    "Cost",
    "Meter",
    "Run",
    "format_bytes",
    "format_seconds",
    "measure",
    "parse_bytes",
    "parse_seconds",
]

_BYTES = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}
_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_bytes(text: str | float) -> int:
    """Bytes from ``"2GB"``, ``"200 MB"``, ``"1.5GiB"`` or a number of bytes."""
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([kmgt]?i?)b?\s*", str(text).lower())
    if not match or (isinstance(text, str) and not match[2] and "b" not in text.lower()):
        raise SettingError(f"A size must be a number and a unit, such as 200MB or 2GB. Got {text!r}.")
    return int(float(match[1]) * _BYTES[match[2]])


def parse_seconds(text: str | float) -> float:
    """Seconds from ``"5ms"``, ``"60s"``, ``"2min"`` or a number of seconds."""
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(us|µs|ms|s|min|m|h|)\s*", str(text).lower())
    if not match or (isinstance(text, str) and not match[2]):
        raise SettingError(f"A duration must be a number and a unit, such as 5ms, 60s or 2min. Got {text!r}.")
    return float(match[1]) * _SECONDS[match[2]]


def format_bytes(size: float) -> str:
    """Bytes for people, in decimal units: ``1.2 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def format_seconds(seconds: float) -> str:
    """Seconds for people: ``0.42 ms``, ``3.1 s``, ``2.5 min``."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.3g} min"


@dataclasses.dataclass(frozen=True)
class Run:
    """The conditions of one piece of work.

    Attributes:
        seed: everything random follows from it.
        threads: for BLAS and kernels alike; 0 = one for each core this process may use.
        device: "cpu", "cuda" or "cuda:1"; only models that train with torch look at it.
        memory: bytes that the work may use on top of what the process holds; None = what the machine has free.
        seconds: wall time after which iterative work stops with the best it has; None = no limit.
        started: ``time.monotonic()`` at which ``seconds`` began to count.
        progress: show a progress bar where the work is long.
        checkpoint: folder where training by gradients keeps its state after each epoch, and goes on from; None = nowhere.
        shard: deal the rows of the item table over the workers of torchrun, for tables larger than the memory of one; only
            models that learn from few items at a step can do so.
        report: called with each epoch, from 0, and its held-out score, higher is better, by fits that have one. What it
            raises ends the fit.
    """

    seed: int = 0
    threads: int = 0
    device: str = "cpu"
    memory: int | None = None
    seconds: float | None = None
    progress: bool = False
    checkpoint: Path | None = None
    shard: bool = False
    report: Callable[[int, float], None] | None = dataclasses.field(default=None, compare=False)
    started: float = dataclasses.field(default_factory=time.monotonic, compare=False)

    def __post_init__(self) -> None:
        if self.threads < 0:
            raise SettingError(f"threads must be 0 (one per core) or more. Got {self.threads}.")

    def rng(self) -> np.random.Generator:
        """A generator that starts at ``seed``."""
        return np.random.default_rng(self.seed)

    def n_threads(self) -> int:
        """Threads to use, never more than the cores this process may run on; workers of torchrun divide these."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(self.threads, cores) if self.threads else max(1, cores // _workers_here())

    @contextlib.contextmanager
    def limits(self) -> Iterator[None]:
        """Hold BLAS and Numba to ``threads`` inside the block, so that they do not oversubscribe the cores."""
        import numba  # noqa: PLC0415 - 0.4 s that work without kernels need not pay
        import threadpoolctl  # noqa: PLC0415

        before = numba.get_num_threads()
        most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # numba sets it at import
        numba.set_num_threads(min(self.n_threads(), most))
        try:
            with threadpoolctl.threadpool_limits(self.n_threads()):
                yield
        finally:
            numba.set_num_threads(before)

    def out_of_time(self) -> bool:
        """Whether ``seconds`` have passed since ``started``."""
        return self.seconds is not None and time.monotonic() - self.started >= self.seconds

    def available(self) -> int:
        """Bytes that the work may still use; workers of torchrun divide what is free."""
        free = int(psutil.virtual_memory().available) // _workers_here()
        return free if self.memory is None else min(self.memory, free)

    def require(self, size: int, what: str, advice: str = "Raise the limit or choose a smaller model.") -> None:
        """Raise BudgetError, before anything is allocated, if ``what`` needs more than is available."""
        available = self.available()
        if size > available:
            raise BudgetError(
                f"{what} needs about {format_bytes(size)} of memory and {format_bytes(available)} is available. {advice}"
            )


def _workers_here() -> int:
    """How many processes torchrun started on this machine for one piece of work."""
    return max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a piece of work cost.

    Attributes:
        wall: seconds by the clock.
        cpu: seconds of all cores together.
        peak: bytes of resident memory at the highest, above what the process held at the start.
    """

    wall: float
    cpu: float
    peak: int


class Meter:
    """Holds the cost once the measured block has ended."""

    cost: Cost


@contextlib.contextmanager
def measure() -> Iterator[Meter]:
    """Measure what the block costs.

    Write ``with measure() as meter: …`` and then ``meter.cost``.

    Peak memory is the kernel's own high-water mark where it can be reset (Linux), and sampled every 5 ms
    elsewhere. Freed heap is handed back first, so an earlier allocation does not hide a later one.
    """
    gc.collect()
    _trim_heap()
    peak = _HighWater()
    meter = Meter()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield meter
    finally:
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        meter.cost = Cost(wall=wall, cpu=cpu, peak=peak.stop())


class _HighWater:
    """Highest resident memory since construction, minus the resident memory then."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._start = self._highest = self._process.memory_info().rss
        self._done = threading.Event()
        self._sampler: threading.Thread | None = None
        if not _reset_high_water():
            self._sampler = threading.Thread(target=self._sample, daemon=True)
            self._sampler.start()

    def _sample(self) -> None:
        while not self._done.wait(0.005):
            self._highest = max(self._highest, self._process.memory_info().rss)

    def stop(self) -> int:
        if self._sampler is None:
            self._highest = max(self._highest, _read_high_water())
        else:
            self._done.set()
            self._sampler.join()
        return int(max(0, self._highest - self._start))


def _reset_high_water() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    # Some sandboxed kernels accept the write and ignore it.
    return bool(_read_high_water() <= psutil.Process().memory_info().rss + 2**20)


def _read_high_water() -> int:
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(match[1]) * 1024 if match else 0


def _trim_heap() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
