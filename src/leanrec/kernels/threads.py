"""Threads: tasks that release the GIL, kernels compiled serial and parallel, and one thread for a single query."""

import contextlib
import functools
import os
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numba

from leanrec.run import find_thread_pools

__all__ = [
    "MIN_ROWS_FOR_THREADS",
    "CompiledPair",
    "compile_parallel",
    "compile_serial_and_parallel",
    "concurrent_kernels",
    "run_by_rows",
    "run_in_threads",
    "single_query",
    "single_query_thread",
    "single_threaded_blas",
]

# Below this many rows, starting threads costs more than they save: milliseconds on a busy machine.
MIN_ROWS_FOR_THREADS = 4

_T = TypeVar("_T")
_lock = threading.Lock()
_active_limits: list[contextlib.ExitStack] = []
_n_entered = [0]
_lost_threads = [False]
_this_thread = threading.local()
_turns = threading.Lock()
_layer: list[str] = []  # Numba keeps the layer that it has chosen


class CompiledPair(NamedTuple):
    """Two compilations of one function: ``serial`` on the calling thread, ``parallel`` on Numba's threads.

    ``parallel`` is the serial one in a process that was forked after those threads had started, and see ``concurrent_kernels``.
    """

    serial: Callable[..., None]
    parallel: Callable[..., None]


@contextlib.contextmanager
def concurrent_kernels() -> Iterator[None]:
    """Let this thread run kernels while others do. Numba's portable threading layer ends a process that it is entered twice in.

    With that layer all kernels run on the calling thread.
    """
    before = getattr(_this_thread, "is_concurrent", False)
    _this_thread.is_concurrent = True
    try:
        yield
    finally:
        _this_thread.is_concurrent = before


def _is_serial() -> bool:
    if _lost_threads[0] or not getattr(_this_thread, "is_concurrent", False):
        return _lost_threads[0]
    numba.get_num_threads()  # the layer is chosen by now
    return bool(numba.threading_layer() == "workqueue")  # type: ignore[attr-defined]


def compile_serial_and_parallel(function: Callable[..., None]) -> CompiledPair:
    """Compile a function with a ``numba.prange`` loop twice. A decorator.

    Starting threads costs about 0.1 ms, and milliseconds on a busy machine, so small inputs take the serial version.
    It runs ``prange`` as ``range`` and releases the GIL.
    """

    def copy_as(name: str) -> Callable[..., None]:
        # Numba names its cache files after the function and ignores the options, so each version needs its own name.
        copy = types.FunctionType(function.__code__, function.__globals__, name)
        copy.__qualname__, copy.__module__ = name, function.__module__
        return copy

    serial = numba.njit(cache=True, nogil=True)(copy_as(f"{function.__name__}_serial"))
    parallel = numba.njit(cache=True, parallel=True)(copy_as(f"{function.__name__}_parallel"))

    def run_unless_forked(*args: Any) -> None:
        (serial if _is_serial() else parallel)(*args)

    run_unless_forked.py_func = parallel.py_func  # type: ignore[attr-defined]  # as of every dispatcher of Numba
    return CompiledPair(serial, run_unless_forked)


def compile_parallel(function: Callable[..., None]) -> Callable[..., None]:
    """Compile a function with a ``numba.prange`` loop, which runs on one thread in a forked process. A decorator."""
    return compile_serial_and_parallel(function).parallel


def _note_lost_threads() -> None:
    """In a forked process: Numba's threads exist in the parent only, and work for them would wait for ever."""
    with contextlib.suppress(ValueError):  # no kernel has run in parallel yet, so the child starts threads of its own
        _lost_threads[0] = bool(numba.threading_layer())  # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_lost_threads)


@functools.cache
def _load_blas() -> None:
    """Load the copy of BLAS that Numba calls, beside that of NumPy, so that its threads are limited too."""
    import scipy.linalg.blas  # noqa: F401, PLC0415


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Limit BLAS to one thread while at least one block is active, for callers that run their own threads.

    Blocks may be nested and concurrent. The last one to end restores the limit that the first one found.
    """
    _enter_single_threaded_blas()
    try:
        yield
    finally:
        _leave_single_threaded_blas()


def _enter_single_threaded_blas() -> None:
    with _lock:
        if not _n_entered[0]:
            stack = contextlib.ExitStack()
            _load_blas()
            stack.enter_context(find_thread_pools().limit(limits=1, user_api="blas"))
            _active_limits.append(stack)
        _n_entered[0] += 1


def _leave_single_threaded_blas() -> None:
    with _lock:
        _n_entered[0] -= 1
        if not _n_entered[0]:
            _active_limits.pop().close()


class _SingleQuery(threading.local):
    """The block of ``single_query`` of each thread. A class: entering a generator would cost as much as the settings."""

    def __init__(self) -> None:
        self._depth = 0
        self._n_threads = 1
        self._has_turn = False

    def __enter__(self) -> None:
        if self._depth:
            self._depth += 1
            return
        self._n_threads = numba.get_num_threads()
        if self._n_threads != 1:
            numba.set_num_threads(1)
        try:
            _enter_single_threaded_blas()
        except BaseException:
            numba.set_num_threads(self._n_threads)
            raise
        self._has_turn = not _is_concurrent()
        if self._has_turn:
            _turns.acquire()
        self._depth = 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth:
            return
        if self._has_turn:
            _turns.release()
        _leave_single_threaded_blas()
        if self._n_threads != 1:
            numba.set_num_threads(self._n_threads)


_query = _SingleQuery()


def single_query() -> contextlib.AbstractContextManager[None]:
    """Settings for one query among concurrent ones: one thread of Numba and BLAS, because there is one row to work on.

    More threads of BLAS would wait for each other several times as long as one query takes, on the cores of the others.
    Numba's portable threading layer ends the process when two threads enter it at once. With that layer, and until
    the first kernel has run and the layer is known, queries take turns. A list is made within these settings, and so is each of
    its parts, which then costs nothing. Within ``single_query_thread`` a query costs 2 microseconds of settings; a server
    works in such threads.
    """
    return _query


@contextlib.contextmanager
def single_query_thread() -> Iterator[None]:
    """Let this thread make single queries at less cost until the end of the block: it has the settings of ``single_query``."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        with single_threaded_blas():
            yield
    finally:
        numba.set_num_threads(before)


def _is_concurrent() -> bool:
    if not _layer:
        try:
            _layer.append(numba.threading_layer())  # type: ignore[attr-defined]
        except ValueError:  # no kernel has run yet
            return False
    return _layer[0] != "workqueue"


def run_in_threads(work: Callable[[_T], None], tasks: Sequence[_T]) -> None:
    """Call ``work(task)`` for every task on at most ``numba.get_num_threads()`` threads; ``work`` must release the GIL.

    The first error is raised after the running tasks have ended.
    """
    workers = min(numba.get_num_threads(), len(tasks)) if len(tasks) > 1 else 1
    if workers <= 1:
        for task in tasks:
            work(task)
        return
    with single_threaded_blas(), ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(work, task) for task in tasks]:
            future.result()


def run_by_rows(work: Callable[[slice], None], rows: int, min_rows: int) -> None:
    """Call ``work`` on blocks of independent rows in threads, or once on all rows if there are fewer than ``min_rows``.

    Starting threads costs about 0.1 ms.
    """
    if rows < min_rows:
        work(slice(0, rows))
        return
    # More blocks than threads, because rows differ in cost.
    step = -(-rows // (8 * numba.get_num_threads()))
    run_in_threads(work, [slice(first, min(first + step, rows)) for first in range(0, rows, step)])
