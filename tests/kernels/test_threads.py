"""Threads: every task runs, errors are raised, BLAS gets its threads back; serial and parallel kernels agree."""

import subprocess
import sys
import threading

import numba
import numpy as np
import pytest
import threadpoolctl

from leanrec.kernels import threads
from leanrec.kernels.threads import (
    compile_serial_and_parallel,
    concurrent_kernels,
    run_by_rows,
    run_in_threads,
    single_query,
    single_threaded_blas,
)
from leanrec.run import Run


def blas_threads() -> set[int]:
    return {each["num_threads"] for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas"}


@pytest.mark.parametrize("threads", [1, 2])
def test_runs_every_task_once(threads: int) -> None:
    done = np.zeros(50, int)

    def work(task: int) -> None:
        done[task] += 1

    with Run(threads=threads).limit_threads():
        run_in_threads(work, range(50))
    assert (done == 1).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_error_of_a_task_is_raised(threads: int) -> None:
    def work(task: int) -> None:
        if task == 3:
            raise ValueError("task 3")

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with Run(threads=threads).limit_threads(), pytest.raises(ValueError, match="task 3"):
            run_in_threads(work, range(9))
        assert blas_threads() == before


def test_nested_blocks_restore_the_blas_threads() -> None:
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with single_threaded_blas():
            with single_threaded_blas():
                assert blas_threads() == {1}
            assert blas_threads() == {1}
        assert blas_threads() == before


@pytest.mark.parametrize("rows", [0, 3, 4, 5, 100])
def test_every_row_is_in_one_block(rows: int) -> None:
    done = np.zeros(rows, int)

    def work(part: slice) -> None:
        done[part] += 1

    with Run(threads=2).limit_threads():
        run_by_rows(work, rows, 4)
    assert (done == 1).all()


@compile_serial_and_parallel
def double(values: np.ndarray, out: np.ndarray) -> None:
    for i in numba.prange(len(values)):
        out[i] = 2 * values[i]


def test_serial_and_parallel_versions_agree() -> None:
    values = np.arange(1000, dtype=np.float32)
    one, other = np.empty_like(values), np.empty_like(values)
    double.serial(values, one)
    double.parallel(values, other)
    np.testing.assert_array_equal(one, 2 * values)
    np.testing.assert_array_equal(other, one)


def test_serial_and_parallel_versions_have_their_own_cache() -> None:
    names = {version.py_func.__qualname__ for version in double}  # type: ignore[attr-defined]  # of a dispatcher
    assert names == {"double_serial", "double_parallel"}


@pytest.mark.system
def test_a_forked_process_works_on_one_thread() -> None:
    """The threads of the parent do not exist in the child, and work for them would wait for ever."""
    script = """
import multiprocessing, sys
import numpy as np
sys.path.insert(0, "tests")
from conftest import make_dataset
from leanrec.models import get_model
from leanrec.retrieval.exact import ExactRetriever
from leanrec.run import Run

data = make_dataset()
model = get_model("item_knn")().fit(data, Run(threads=2))
ease = get_model("ease")().fit(data, Run(threads=2))

def lists(seed):
    return [ExactRetriever(each).retrieve(data.queries(), 5).items for each in (model, ease)]

def fit(seed):
    return get_model("slim")().fit(data, Run(threads=2)).weights.sum()

if __name__ == "__main__":
    here = lists(0), fit(0)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for there in pool.map(lists, range(4)):
            np.testing.assert_array_equal(there, here[0])
        np.testing.assert_allclose(pool.map(fit, range(2)), here[1], rtol=1e-5)
    print("equal")
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.stdout.strip() == "equal", done.stderr[-2000:]


@pytest.mark.parametrize(("layer", "is_serial"), [("workqueue", True), ("omp", False)])
def test_kernels_beside_others_avoid_a_layer_that_cannot_be_entered_twice(
    monkeypatch: pytest.MonkeyPatch, layer: str, is_serial: bool
) -> None:
    monkeypatch.setattr(numba, "threading_layer", lambda: layer)
    assert not threads._is_serial()
    with concurrent_kernels():
        assert threads._is_serial() is is_serial
        with concurrent_kernels():
            assert threads._is_serial() is is_serial
    assert not threads._is_serial()


@pytest.mark.system
def test_blas_that_is_imported_later_is_limited_too() -> None:
    script = """
import threadpoolctl
from leanrec.kernels.threads import single_threaded_blas
with single_threaded_blas():
    pass
import faiss  # it has a BLAS of its own
with threadpoolctl.threadpool_limits(2, user_api="blas"), single_threaded_blas():
    print({each["num_threads"] for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas"})
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "{1}\n"


def test_a_query_holds_blas_to_one_thread_and_restores_the_number() -> None:
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with single_query():
            with single_query():  # a list is made of several queries
                assert blas_threads() == {1}
            assert blas_threads() == {1}
        assert blas_threads() == before


def test_a_single_query_uses_one_kernel_thread_and_restores_the_number() -> None:
    before = numba.get_num_threads()
    with single_query():
        assert numba.get_num_threads() == 1
    assert numba.get_num_threads() == before


def test_queries_take_turns_where_the_threading_layer_is_unsafe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba, "threading_layer", lambda: "workqueue")
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        with single_query():
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1


def test_an_error_within_a_query_restores_the_settings() -> None:
    before = numba.get_num_threads(), blas_threads()
    with pytest.raises(ValueError, match="broken"), single_query(), single_query():
        raise ValueError("broken")
    assert (numba.get_num_threads(), blas_threads()) == before
    with single_query():
        assert numba.get_num_threads() == 1
