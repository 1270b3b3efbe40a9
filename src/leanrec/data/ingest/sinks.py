"""Where the indexed events go: into memory, or into .npy files that are mapped, where memory is short."""

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from leanrec.errors import DataError

__all__ = ["FileSink", "MemorySink", "Sink", "scratch_folder"]


class Sink(Protocol):
    """Takes the columns of the events block by block."""

    def write(self, name: str, block: NDArray[Any]) -> None:
        """Append to a column."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The finished columns."""
        ...


class MemorySink:
    """Columns of ``size`` rows in memory."""

    def __init__(self, size: int) -> None:
        """Columns are allocated when they are first written."""
        self._size = size
        self._columns: dict[str, NDArray[Any]] = {}
        self._filled: dict[str, int] = {}

    def write(self, name: str, block: NDArray[Any]) -> None:
        """Append to a column."""
        column = self._columns.setdefault(name, np.empty(self._size, block.dtype))
        start = self._filled.get(name, 0)
        column[start : start + len(block)] = block
        self._filled[name] = start + len(block)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The finished columns."""
        return self._columns


class FileSink:
    """Columns of ``size`` rows in .npy files of ``folder``, mapped when they are finished."""

    def __init__(self, size: int, folder: Path) -> None:
        """The folder must be there and empty."""
        self._size = size
        self._folder = folder
        self._files: dict[str, BinaryIO] = {}

    def __enter__(self) -> "FileSink":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._files.values():
            handle.close()

    def write(self, name: str, block: NDArray[Any]) -> None:
        """Append to a column. Raises DataError if the disk is full."""
        try:
            if name not in self._files:
                self._files[name] = (self._folder / f"{name}.npy").open("wb")
                header = {"descr": block.dtype.str, "fortran_order": False, "shape": (self._size,)}
                np.lib.format.write_array_header_1_0(self._files[name], header)
            self._files[name].write(np.ascontiguousarray(block).data)
        except OSError as error:
            raise DataError(
                f"The indexed events do not fit the disk: {error.strerror or error} in {self._folder}. "
                "Set TMPDIR to a folder with more room."
            ) from error

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The finished columns, read-only."""
        for handle in self._files.values():
            handle.close()
        return {name: np.load(self._folder / f"{name}.npy", mmap_mode="r") for name in self._files}


def scratch_folder() -> Path:
    """A new folder for mapped columns."""
    return Path(tempfile.mkdtemp(prefix="leanrec-events-"))
