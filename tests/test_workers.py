"""Test processes: threads, the kept cache of compiled kernels, and two workers that compile at once."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from numba.core.caching import IndexDataCacheFile

from contracts import workers

TESTS = Path(__file__).parent


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one kernel and one module without."""
    source = tmp_path / "src" / "leanrec"
    source.mkdir(parents=True)
    (source / "kernel.py").write_text("@numba.njit\ndef f(x): return x\n")
    (source / "other.py").write_text("x = 1\n")
    monkeypatch.setattr(workers, "_ROOT", tmp_path)
    monkeypatch.setattr(workers, "_KEPT", tmp_path / ".cache" / "numba")
    return tmp_path


def test_kernels_are_kept_by_the_state_of_their_sources(checkout: Path) -> None:
    first = workers._kept_folder()
    (checkout / "src" / "leanrec" / "other.py").write_text("x = 2\n")
    assert workers._kept_folder() == first
    (checkout / "src" / "leanrec" / "kernel.py").write_text("@numba.njit\ndef f(x): return x + 1\n")
    second = workers._kept_folder()
    assert second != first
    assert first.is_dir()


def test_folders_that_were_not_used_for_days_are_removed(checkout: Path) -> None:
    old = checkout / ".cache" / "numba" / "old"
    old.mkdir(parents=True)
    os.utime(old, (time.time() - 9 * 86_400,) * 2)
    workers._kept_folder()
    assert not old.exists()


def test_two_workers_may_save_variants_of_one_function_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second worker read the index before the first one wrote it, and the data of the first is written last."""
    monkeypatch.setattr(IndexDataCacheFile, "_data_name", IndexDataCacheFile._data_name)
    workers.share_numba_cache()
    first, second = (IndexDataCacheFile(str(tmp_path), "function", "stamp") for _ in range(2))
    monkeypatch.setattr(second, "_load_index", dict)

    def save_late(name: str, data: object) -> None:
        second.save("float64", "code for floats")
        IndexDataCacheFile._save_data(first, name, data)

    monkeypatch.setattr(first, "_save_data", save_late)
    first.save("int64", "code for integers")
    fresh = IndexDataCacheFile(str(tmp_path), "function", "stamp")
    assert fresh.load("float64") == "code for floats"
    assert fresh.load("int64") in {"code for integers", None}


def test_a_worker_has_one_thread_and_a_test_may_ask_for_two() -> None:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "NUMBA_CACHE_DIR")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {"PYTEST_XDIST_WORKER": "gw0", "PYTHONPATH": str(TESTS)}
    code = (
        "from contracts.workers import prepare_process; prepare_process(); import os, numba, numpy, threadpoolctl\n"
        "numba.set_num_threads(2)\n"
        "print({each['num_threads'] for each in threadpoolctl.threadpool_info() if each['user_api'] == 'blas'})\n"
        "print(numba.config.CACHE_DIR)"
    )
    called = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    threads, cache = called.stdout.split()
    assert threads == "{1}"
    assert Path(cache).parent == TESTS.parent / ".cache" / "numba"
