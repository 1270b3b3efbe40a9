"""Checks of the write-ahead log of an SQLite file: SQLite drops all that follows damage in it, and says nothing.

Format: https://www.sqlite.org/fileformat2.html#walformat and https://www.sqlite.org/walformat.html (the index).
"""

import functools
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leanrec.errors import SourceError

__all__ = ["check_wal"]

_MAGIC = 0x377F0682  # the last bit: words of the checksums are big-endian
_HEADER, _FRAME_HEADER = 32, 24
_INDEX = struct.Struct("=IIIBBHIIIIIIII")  # native, as SQLite maps it
_BACKFILLED = struct.Struct("=I")

_Sums = tuple[int, int]


def check_wal(path: Path) -> None:
    """Raise SourceError if confirmed writes are lost in the write-ahead log of a database that no process writes.

    A loss of power may leave a last transaction half written, which was not confirmed; SQLite is right to drop it. A second
    transaction behind the damage, or one that the index of the log knows, was confirmed. Cost: O(size of the log), which
    SQLite keeps at about 4 MB: 50 ms.
    """
    file, index = Path(f"{path.resolve()}-wal"), Path(f"{path.resolve()}-shm")
    content = file.read_bytes() if file.exists() else b""
    salts, commits, n_valid = _read_frames(content)
    n_lost = int(np.count_nonzero(commits > n_valid))
    known = backfilled = 0
    if (indexed := _read_index(index)) is not None and (indexed[0] == salts or not n_valid):
        _, known, backfilled = indexed
    if not n_valid and backfilled >= max(known, 1):  # all of it is in the database itself
        return
    if n_lost < 2 and known <= n_valid:
        return
    where = f"{file} cannot be read from frame {n_valid + 1} on" if content else f"{file} is missing or empty"
    lost = f"its last {n_lost} writes" if n_lost else "its last writes"
    raise SourceError(
        f"The event log {path} is damaged: {where}, and with it {lost}. Nothing was read from it. Restore {file.name} from a "
        f"backup; or, to go on without all writes that it held, move {file} and {index.name} away."
    )


def _read_frames(content: bytes) -> tuple[bytes, NDArray[np.int64], int]:
    """Salts of the log, numbers of the frames that end a transaction, and how many frames are valid; frames count from 1."""
    none = b"", np.empty(0, np.int64), 0
    if len(content) < _HEADER:
        return none
    magic, _, page, *_ = struct.unpack(">8I", content[:_HEADER])
    order = ">u4" if magic & 1 else "<u4"
    sums = _add_words((0, 0), np.frombuffer(content, order, 6))
    is_valid = magic & ~1 == _MAGIC and sums == struct.unpack(">2I", content[24:_HEADER])
    if not 512 <= page <= 65536:
        page = 4096
    n_frames = (len(content) - _HEADER) // (page + _FRAME_HEADER)
    frames = np.frombuffer(content, np.uint8, n_frames * (page + _FRAME_HEADER), _HEADER).reshape(
        n_frames, page + _FRAME_HEADER
    )
    if not n_frames:
        return none
    salts = content[16:24] if is_valid else frames[0, 8:16].tobytes()
    is_current = (frames[:, 8:16] == np.frombuffer(salts, np.uint8)).all(axis=1)
    commits = np.flatnonzero(is_current & frames[:, 4:8].any(axis=1)) + 1
    stored = np.ascontiguousarray(frames[:, 16:24]).view(">u4").tolist()
    words = np.concatenate([frames[:, :8], frames[:, _FRAME_HEADER:]], axis=1).view(order).astype(np.uint32)
    weights, (a, b, c, d) = _make_weights(words.shape[1])
    n_valid = 0
    for number, (first, second) in enumerate((words @ weights).tolist() if is_valid else ()):
        sums = (a * sums[0] + b * sums[1] + first) % 2**32, (c * sums[0] + d * sums[1] + second) % 2**32
        if not is_current[number] or list(sums) != stored[number]:
            break
        n_valid = number + 1
    return salts, commits, n_valid


@functools.cache
def _make_weights(n_words: int) -> tuple[NDArray[np.uint32], tuple[int, int, int, int]]:
    """The checksum of a frame is linear: (n, 2) weights of its words in both sums, and the matrix for the sums before it."""
    weights = np.zeros((n_words, 2), np.uint32)
    a, b, c, d = 1, 0, 0, 1  # sums at the end for sums of one behind the current pair of words
    for at in range(n_words - 2, -1, -2):
        # A pair x, y: first += x + second; second += y + first.
        weights[at], weights[at + 1] = ((a + b) % 2**32, (c + d) % 2**32), (b, d)
        a, b, c, d = (a + b) % 2**32, (a + 2 * b) % 2**32, (c + d) % 2**32, (c + 2 * d) % 2**32
    return weights, (a, b, c, d)


def _add_words(sums: _Sums, words: NDArray[np.unsignedinteger]) -> _Sums:
    first, second = sums
    for x, y in words.reshape(-1, 2).tolist():
        first = (first + x + second) % 2**32
        second = (second + y + first) % 2**32
    return first, second


def _read_index(file: Path) -> tuple[bytes, int, int] | None:
    """Salts, number of frames, and frames that are in the database, by the index of the log; None if it has none."""
    if not file.exists():
        return None
    with file.open("rb") as handle:
        content = handle.read(2 * _INDEX.size + _BACKFILLED.size)
    if len(content) < 2 * _INDEX.size + _BACKFILLED.size or content[: _INDEX.size] != content[_INDEX.size : -4]:
        return None
    words = np.frombuffer(content, "=u4", 10)
    *_, first, second = header = _INDEX.unpack_from(content)
    if not header[3] or _add_words((0, 0), words) != (first, second):
        return None
    salts = content[32:40]
    return salts, header[6], _BACKFILLED.unpack_from(content, 2 * _INDEX.size)[0]
