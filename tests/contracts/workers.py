"""Threads and compiled kernels of a test process, so that two workers share a machine and a second run compiles nothing.

Call `prepare_process` before NumPy, Numba or torch are imported.
"""

import hashlib
import os
import shutil
import time
import uuid
from pathlib import Path

__all__ = ["in_worker", "prepare_process", "share_numba_cache"]

_ROOT = Path(__file__).parents[2]
_KEPT = _ROOT / ".cache" / "numba"
_KEPT_DAYS = 3


def in_worker() -> bool:
    """Whether this process is a worker of pytest-xdist."""
    return "PYTEST_XDIST_WORKER" in os.environ


def prepare_process() -> None:
    """Set the environment of this process and of those it starts."""
    # Threads that wait for work sleep, so that they do not take a core from the other worker.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # OpenBLAS reads the exponent of a number of cycles: by default, its threads spin for 20 ms after each product.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
    # Tests of threads need two, whatever the machine has.
    os.environ.setdefault("NUMBA_NUM_THREADS", str(max(2, os.cpu_count() or 1)))
    if in_worker():
        for library in ("OMP", "OPENBLAS", "MKL"):
            os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    if "NUMBA_CACHE_DIR" not in os.environ:
        os.environ["NUMBA_CACHE_DIR"] = str(_kept_folder())


def _kept_folder() -> Path:
    """The folder of the kernels compiled from today's sources.

    Numba notices a change of the file that defines a function, and not of a file whose functions it calls. The folder
    is therefore named by all sources that have kernels. Folders that were not used for days are removed.
    """
    digest = hashlib.sha256()
    for file in sorted((_ROOT / "src" / "leanrec").rglob("*.py")):
        source = file.read_bytes()
        if b"numba.njit" in source:
            digest.update(str(file.relative_to(_ROOT)).encode() + source)
    folder = _KEPT / digest.hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    for other in _KEPT.iterdir():
        if other.stat().st_mtime < time.time() - _KEPT_DAYS * 86_400:
            shutil.rmtree(other, ignore_errors=True)
    return folder


def share_numba_cache() -> None:
    """Let the workers compile one function for different types at the same time.

    Numba numbers the files of a function's variants. Two processes may give one number to two variants, and the index
    then names the code of the other. Names that no other process chooses exclude this; at worst a variant is compiled again.
    """
    from numba.core.caching import IndexDataCacheFile

    def unique_name(self: IndexDataCacheFile, number: int) -> str:
        return str(self._data_name_pattern.replace("{number:d}", uuid.uuid4().hex))

    IndexDataCacheFile._data_name = unique_name
