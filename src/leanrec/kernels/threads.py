"""Work dealt out to threads, with BLAS held to one thread each."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numba
import threadpoolctl

__all__ = ["run_by_rows", "run_in_threads", "single_threaded_blas"]

_T = TypeVar("_T")
_lock = threading.Lock()
_open: list[contextlib.ExitStack] = []
_inside = [0]


@functools.cache
def _controller() -> threadpoolctl.ThreadpoolController:
    # Looking for the libraries takes milliseconds and they do not change after import.
    import scipy.linalg.blas  # noqa: F401, PLC0415 - numba's products go through this second copy of BLAS

    return threadpoolctl.ThreadpoolController()


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """BLAS on the calling thread alone while any thread is inside: the threads are ours, one product each.

    Nested and concurrent blocks count; the last to leave restores what the first found.
    """
    with _lock:
        if not _inside[0]:
            stack = contextlib.ExitStack()
            stack.enter_context(_controller().limit(limits=1, user_api="blas"))
            _open.append(stack)
        _inside[0] += 1
    try:
        yield
    finally:
        with _lock:
            _inside[0] -= 1
            if not _inside[0]:
                _open.pop().close()


def run_in_threads(work: Callable[[_T], None], tasks: Sequence[_T]) -> None:
    """``work(task)`` for every task, on as many threads as Numba may use now; the work must release the GIL.

    The first error is raised once running tasks have ended.
    """
    workers = min(numba.get_num_threads(), len(tasks))
    if workers <= 1:
        for task in tasks:
            work(task)
        return
    with single_threaded_blas(), ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(work, task) for task in tasks]:
            done.result()


def run_by_rows(work: Callable[[slice], None], rows: int, few: int) -> None:
    """``work`` on all rows at once where there are fewer than ``few``, else on stretches of rows in ``run_in_threads``.

    Starting threads costs 0.1 ms. The rows must not depend on each other.
    """
    if rows < few:
        work(slice(0, rows))
        return
    # More stretches than threads: rows are not equally dear.
    step = -(-rows // (8 * numba.get_num_threads()))
    run_in_threads(work, [slice(first, min(first + step, rows)) for first in range(0, rows, step)])
