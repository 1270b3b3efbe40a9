"""The conditions of one piece of work (seed, threads, device, budget, callbacks), and the measurement of its cost."""

import contextlib
import ctypes
import dataclasses
import functools
import gc
import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
import psutil

from leanrec.budget import Budget
from leanrec.callbacks import Callback, ProgressBar
from leanrec.errors import BudgetError, SettingError
from leanrec.units import format_bytes

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

__all__ = ["Cost", "Distributed", "Meter", "Run", "find_thread_pools", "measure", "release_free_memory"]

_T = TypeVar("_T")
_C = TypeVar("_C", bound=Callback)


@dataclasses.dataclass(frozen=True)
class Distributed:
    """How work is divided over the processes that torchrun starts.

    Attributes:
        shard_items: divide the rows of the item table among the workers, for tables larger than the memory of one. Only
            models that learn from few items at a step support it.
    """

    shard_items: bool = False


@dataclasses.dataclass(frozen=True)
class Run:
    """The conditions of one piece of work.

    Seed, threads and device concern all work and are written often, so they are fields of their own. What may be spent is in
    ``budget``, the division over processes in ``distributed``, and all that observes the work in ``callbacks``: a new feature
    becomes a callback or a limit, not another field.

    Attributes:
        seed: seed of everything random.
        threads: for BLAS and kernels alike; 0 = one for each core this process may use.
        device: "cpu", "cuda" or "cuda:1"; used only by models that train with torch.
        budget: ``memory`` is what the work may use on top of what the process holds, no limit = what the machine has free.
            After ``fit_time`` iterative work stops with the best result so far. Other limits are ignored here.
        callbacks: progress bar, checkpoint and hooks; see ``leanrec.callbacks``.
        distributed: how work is divided over the processes of torchrun.
        started: ``time.monotonic()`` at which ``budget.fit_time`` began to count.
    """

    seed: int = 0
    threads: int = 0
    device: str = "cpu"
    budget: Budget = Budget()
    callbacks: tuple[Callback, ...] = ()
    distributed: Distributed = Distributed()
    started: float = dataclasses.field(default_factory=time.monotonic, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.threads < 0:
            raise SettingError(f"threads must be 0 (one per core) or more. Got {self.threads}.")

    def restart(self, **changes: Any) -> Self:
        """The same conditions with ``changes`` to fields, and the clock of ``budget.fit_time`` started now."""
        return dataclasses.replace(self, **{"started": time.monotonic(), **changes})

    def rng(self) -> np.random.Generator:
        """A random generator seeded with ``seed``."""
        return np.random.default_rng(self.seed)

    def n_threads(self) -> int:
        """Threads to use, never more than the cores this process may run on; workers of torchrun divide these."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(self.threads, cores) if self.threads else max(1, cores // _n_local_workers())

    @contextlib.contextmanager
    def limit_threads(self) -> Iterator[None]:
        """Limit BLAS and Numba to ``n_threads()`` inside the block, so that they do not oversubscribe the cores."""
        import numba  # noqa: PLC0415 - 0.4 s that work without kernels need not pay

        before = numba.get_num_threads()
        most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # numba sets it at import
        numba.set_num_threads(min(self.n_threads(), most))
        try:
            with find_thread_pools().limit(limits=self.n_threads()):
                yield
        finally:
            numba.set_num_threads(before)

    def out_of_time(self) -> bool:
        """Whether ``budget.fit_time`` has passed since ``started``."""
        limit = self.budget.fit_time
        return limit is not None and time.monotonic() - self.started >= limit

    def available_memory(self) -> int:
        """Bytes that the work may still use; workers of torchrun divide what is free."""
        free = int(psutil.virtual_memory().available) // _n_local_workers()
        return free if self.budget.memory is None else min(int(self.budget.memory), free)

    def require_memory(self, size: int, what: str, advice: str = "Raise the limit or choose a smaller model.") -> None:
        """Raise BudgetError, before anything is allocated, if ``what`` needs more memory than is available."""
        available = self.available_memory()
        if size > available:
            raise BudgetError(
                f"{what} needs about {format_bytes(size)} of memory and {format_bytes(available)} is available. {advice}"
            )

    def find_callback(self, kind: type[_C]) -> _C | None:
        """The first callback of a class, or None."""
        return next((each for each in self.callbacks if isinstance(each, kind)), None)

    @property
    def shows_progress(self) -> bool:
        """Whether a ``ProgressBar`` is among the callbacks."""
        return self.find_callback(ProgressBar) is not None

    def track(self, steps: Iterable[_T], description: str, total: float | None = None) -> Iterable[_T]:
        """The same steps, with a progress bar on the terminal where one is wanted."""
        if not self.shows_progress:
            return steps
        from rich.progress import track  # noqa: PLC0415 - only where a bar is wanted

        return track(steps, description, total=total, transient=True)

    def on_epoch_end(self, epoch: int, score: float) -> None:
        """Call the hook of every callback. Exceptions of a callback pass through."""
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, score)

    def on_schema_read(self, description: str) -> None:
        """Call the hook of every callback."""
        for callback in self.callbacks:
            callback.on_schema_read(description)


def find_thread_pools() -> "ThreadpoolController":
    """The libraries with threads that are loaded now. The search takes milliseconds, and is repeated after an import only."""
    return _search_thread_pools(len(sys.modules))


@functools.lru_cache(maxsize=1)
def _search_thread_pools(n_modules: int) -> "ThreadpoolController":  # noqa: ARG001 - an import may bring another library
    import threadpoolctl  # noqa: PLC0415

    return threadpoolctl.ThreadpoolController()


def _n_local_workers() -> int:
    """How many processes torchrun started on this machine for one piece of work."""
    return max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def release_free_memory() -> None:
    """Return freed memory of this process to the system, where the C library can do so (glibc).

    Otherwise the heap of each thread keeps it for later, and other threads take new memory instead. Takes a few milliseconds,
    in which other threads can run Python.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of a piece of work.

    Attributes:
        wall: seconds of wall time.
        cpu: seconds of CPU time, all cores together.
        peak: bytes of peak resident memory, above what the process held at the start.
    """

    wall: float
    cpu: float
    peak: int


class Meter:
    """The result of ``measure``.

    Attributes:
        cost: cost of the measured block; set when the block has ended.
    """

    cost: Cost


@contextlib.contextmanager
def measure() -> Iterator[Meter]:
    """Measure the cost of the block.

    Write ``with measure() as meter: …`` and then read ``meter.cost``.

    Peak memory is the high-water mark of the kernel where it can be reset (Linux), and sampled every 5 ms
    elsewhere. Freed heap is returned to the system first, so an earlier allocation does not hide a later one.
    """
    gc.collect()
    release_free_memory()
    peak = _PeakMemory()
    meter = Meter()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield meter
    finally:
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        meter.cost = Cost(wall=wall, cpu=cpu, peak=peak.stop())


class _PeakMemory:
    """Peak resident memory since construction, minus the resident memory at construction."""

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
