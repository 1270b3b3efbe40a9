"""Advice about files of arrays (NumPy, SciPy, MATLAB): how to pass them in Python, by their names and shapes."""

import contextlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.io

__all__ = ["advise_archive", "advise_array_file", "advise_matlab"]

# A matrix of events has a column for each field; one of ratings has a column for each item.
_MAX_FIELDS = 12


def advise_array_file(data: bytes, label: str) -> str:
    """Return how to pass the array of a .npy file, from its first bytes."""
    shape, dtype = _read_header(data)
    return _write_call(f"numpy.load({label!r})", shape, dtype)


def advise_archive(archive: zipfile.ZipFile, names: Sequence[str], label: str) -> str:
    """Return how to pass the arrays of a .npz file.

    Args:
        archive: the file.
        names: its members.
        label: its name in messages.
    """
    arrays = [name.removesuffix(".npy") for name in names]
    if {"format", "shape", "data"} <= set(arrays):
        return f"Pass them in Python: matrix = scipy.sparse.load_npz({label!r}).tocoo(); {_write_matrix()}."
    if len(arrays) == 1:
        with archive.open(names[0]) as member:
            shape, dtype = _read_header(member.read(1000))
        return _write_call(f"numpy.load({label!r})[{arrays[0]!r}]", shape, dtype)
    return (
        f"Pass them in Python: arrays = numpy.load({label!r}); ingest(pandas.DataFrame({{'user': arrays['NAME'], 'item': arrays['NAME']}})), "
        f"where NAME is one of {', '.join(arrays[:12])}."
    )


def advise_matlab(path: Path, label: str) -> str:
    """Return how to pass the arrays of a .mat file, of which only the names and shapes are read."""
    found: Mapping[str, tuple[tuple[int, ...], str]] = {}
    with contextlib.suppress(Exception):  # scipy raises many kinds for damaged files
        found = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(path, appendmat=False)}
    if len(found) == 1:
        name, (shape, kind) = next(iter(found.items()))
        array = f"scipy.io.loadmat({label!r})[{name!r}]"
        if kind == "sparse":
            return f"Pass it in Python: matrix = {array}.tocoo(); {_write_matrix()}."
        return _write_call(array, shape, np.dtype(np.float64))
    names = f"NAME is one of {', '.join(list(found)[:12])}" if found else "arrays.keys() has the names"
    return (
        f"Pass its arrays in Python: arrays = scipy.io.loadmat({label!r}); ingest(pandas.DataFrame({{'user': arrays['NAME'].ravel(), "
        f"'item': arrays['NAME'].ravel()}})), where {names}."
    )


def _read_header(data: bytes) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Return shape and type of an array from the first bytes of its file; a matrix of unknown size where they cannot be read."""
    stream = io.BytesIO(data)
    with contextlib.suppress(ValueError, EOFError, SyntaxError):
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        return shape, dtype
    return (0, 2), np.dtype(np.float64)


def _write_call(array: str, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> str:
    """Return how to pass an array: one of records, of events, of ratings, or of objects that are no log."""
    if dtype.hasobject:
        return "It has Python objects, which may run code when they are opened. Make a frame of them, and pass it."
    if dtype.names:
        return f"Pass it in Python: ingest(pandas.DataFrame({array}))."
    if len(shape) == 2 and shape[1] > _MAX_FIELDS:
        rated = _write_matrix("rating")
        return f"If each row is a user and each column an item, pass it in Python: matrix = scipy.sparse.coo_array({array}); {rated}."
    return f"Pass it in Python, with the names of its columns: ingest(pandas.DataFrame({array}).rename({{0: 'user', 1: 'item'}}, axis=1))."


def _write_matrix(value: str = "weight") -> str:
    return f"ingest(pandas.DataFrame({{'user': matrix.row, 'item': matrix.col, {value!r}: matrix.data}}))"
