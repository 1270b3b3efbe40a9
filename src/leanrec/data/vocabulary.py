"""Vocabulary: external ids ↔ internal rows."""

import bisect
import dataclasses
import difflib
import functools
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np

from leanrec.errors import DataError, UnknownIdError
from leanrec.field_checks import ArrayShape
from leanrec.types import IdArray, Int32Array, Int64Array

__all__ = ["Vocabulary", "id_array"]

Id = int | str

_INT64 = np.iinfo(np.int64)
_MAX_DIGITS = 20  # int64 has at most 19
_FRACTION = (float, np.floating)
_NUMBER = (int, np.integer, *_FRACTION)
# Ids that are compared with an unknown id for a hint: a mistyped id must not cost a server much time.
_MAX_COMPARED = 300


def id_array(ids: Sequence[Any] | IdArray) -> IdArray:
    """Convert ids to int64 where all are whole numbers, and to variable-width strings otherwise.

    Cost: O(n). Raises DataError for fractions and for whole numbers outside int64.
    """
    if not isinstance(ids, np.ndarray):
        # np.asarray would cut off trailing NUL characters and turn large whole numbers into fractions.
        ids = _object_array(list(ids))
    if ids.size == 0:
        return np.zeros(0, np.int64)
    if ids.dtype.kind == "f":
        raise DataError(f"Ids must be whole numbers or strings. Got the type {ids.dtype}.")
    whole = ids.dtype.kind in "iu" or (ids.dtype.kind == "O" and all(type(each) is int for each in ids))
    if not whole:
        return np.array([str(each) for each in ids.tolist()], dtype=np.dtypes.StringDType())
    if not (_INT64.min <= int(ids.min()) and int(ids.max()) <= _INT64.max):
        raise DataError(f"Whole-number ids must fit int64. Got {ids.min()} to {ids.max()}; pass them as strings.")
    return ids.astype(np.int64)


def _object_array(values: list[Any]) -> IdArray:
    """Return the values as objects of their own types; as floats where all are numbers and one is a fraction."""
    if any(isinstance(each, _FRACTION) for each in values) and all(isinstance(each, _NUMBER) for each in values):
        return np.asarray(values, dtype=np.float64)
    array = np.empty(len(values), dtype=object)
    array[:] = [int(each) if isinstance(each, np.integer) else each for each in values]
    return array


@dataclasses.dataclass(frozen=True, eq=False)
class Vocabulary:
    """Bidirectional map between external ids and internal rows 0 … n − 1.

    Attributes:
        ids: (n,) int64 or StringDType, distinct; the row of an id is its position.
        entity: "user" or "item", for messages.

    The index is built at the first lookup: O(n log n) time and 12 bytes per id, none of them Python objects, so that
    processes that are forked afterwards share its memory. A lookup takes about 2 microseconds.
    """

    ids: Annotated[IdArray, ArrayShape("n")]
    entity: str = "item"

    def check_state(self) -> None:
        """Raise DataError unless the ids are whole numbers or text."""
        if self.ids.dtype.kind not in "iT":
            raise DataError(f"Vocabulary.ids must hold whole numbers or text. Got {self.ids.dtype}.")

    def __len__(self) -> int:
        return len(self.ids)

    @functools.cached_property
    def _index(self) -> "_IdIndex":
        return _IdIndex(self.ids, self.entity)

    def normalize_id(self, value: Any) -> Id:
        """Convert an id to the type of this vocabulary: ``"12"`` matches 12 and 12 matches ``"12"``.

        Only the canonical form of a number matches it: "012", " 12" and 12.0 are different ids.
        """
        if self.ids.dtype.kind != "i":
            return str(value)
        if isinstance(value, int | np.integer) and not isinstance(value, bool):
            return int(value)
        text = str(value)
        digits = text.removeprefix("-")
        canonical = digits.isascii() and digits.isdigit() and len(digits) < _MAX_DIGITS and str(int(text)) == text
        return int(text) if canonical else text

    def __contains__(self, value: object) -> bool:
        return self.find_row(value) is not None

    def find_row(self, value: Any) -> int | None:
        """Return the row of an id, or None."""
        row = self._index.find(self.normalize_id(value))
        return None if row < 0 else row

    def row(self, value: Any) -> int:
        """Return the row of an id. Raises UnknownIdError with the most similar ids."""
        row = self.find_row(value)
        if row is None:
            raise UnknownIdError(self._unknown_message(value))
        return row

    def rows(self, values: Sequence[Any] | IdArray, *, missing: int | None = None) -> Int32Array:
        """(n,) rows of the ids. Unknown ids become ``missing``; if that is None they raise UnknownIdError."""
        rows = self._index.find_all(self._normalize_ids(values))
        unknown = rows < 0
        if unknown.any():
            if missing is None:
                raise UnknownIdError(self._unknown_message(values[int(unknown.argmax())]))
            rows[unknown] = missing
        return rows

    def _normalize_ids(self, values: Sequence[Any] | IdArray) -> list[Id]:
        ids: list[Any] = values.tolist() if isinstance(values, np.ndarray) else list(values)
        if isinstance(values, np.ndarray) and values.dtype.kind == self.ids.dtype.kind:
            return ids  # of this type as they are
        return [self.normalize_id(value) for value in ids]

    def _unknown_message(self, value: Any) -> str:
        text, known = str(value), [str(each) for each in self.ids[:5000].tolist()]
        similar = [each for each in known if each[:2] == text[:2]] or known
        close = difflib.get_close_matches(text, similar[:_MAX_COMPARED], n=3) or known[:3]
        return f"No {self.entity} with the id {str(value)!r} among {len(self)}. Ids look like: {', '.join(close)}."

    def with_ids(self, values: Sequence[Any] | IdArray) -> "Vocabulary":
        """Return the vocabulary with missing ids appended in order."""
        ids = self._normalize_ids(values)
        known = self._index.find_all(ids) >= 0
        new = list(dict.fromkeys(each for each, is_known in zip(ids, known.tolist(), strict=True) if not is_known))
        if not new:
            return self
        if self.ids.dtype.kind == "i" and any(isinstance(each, str) for each in new):
            raise DataError(f"The {self.entity} ids must be whole numbers, like the known ones. Got {new[0]!r}.")
        return dataclasses.replace(self, ids=np.concatenate([self.ids, np.array(new, dtype=self.ids.dtype)]))


class _IdIndex:
    """Finds the rows of ids in sorted keys: the ids themselves where they are numbers, the hashes of texts.

    Attributes:
        ids: (n,) the ids.
        keys: (n,) int64, sorted.
        row: (n,) int32 the row of each key.
    """

    def __init__(self, ids: IdArray, entity: str) -> None:
        """Build the index. Raises DataError where an id is there twice. O(n log n)."""
        self.ids = ids
        self._is_number = ids.dtype.kind == "i"
        keys = self._make_keys(ids.tolist())
        order = np.argsort(keys, kind="stable")
        self.row: Int32Array = order.astype(np.int32)
        self.keys = keys[order]
        self._keys = self.keys.data  # its numbers are Python's, which are faster to compare
        n_repeated = self._count_repeated()
        if n_repeated:
            raise DataError(f"The ids of a vocabulary must be distinct. Got {n_repeated} repeated {entity} ids.")

    def _make_keys(self, ids: list[Any]) -> Int64Array:
        if self._is_number:
            return np.array(ids, np.int64)
        return np.fromiter(map(hash, ids), np.int64, len(ids))

    def _count_repeated(self) -> int:
        """How many ids are there a second time. Different texts may have one hash."""
        starts = np.flatnonzero(np.diff(self.keys, prepend=self.keys[:1] - 1 if len(self.keys) else 0))
        if len(starts) == len(self.keys):
            return 0
        shared = [rows for rows in np.split(self.row, starts[1:]) if len(rows) > 1]
        return sum(len(rows) - len(set(self.ids[rows].tolist())) for rows in shared)

    def find(self, value: Id) -> int:
        """The row of an id of the type of the vocabulary, or −1. O(log n)."""
        if self._is_number != isinstance(value, int):
            return -1
        key = value if self._is_number else hash(value)
        at = bisect.bisect_left(self._keys, key)
        while at < len(self._keys) and self._keys[at] == key:
            row = int(self.row[at])
            if self._is_number or self.ids[row] == value:
                return row
            at += 1
        return -1

    def find_all(self, values: list[Id]) -> Int32Array:
        """(m,) the row of each id, or −1. O(m log n)."""
        if not len(self.keys):
            return np.full(len(values), -1, np.int32)
        if self._is_number:
            low, high = _INT64.min, _INT64.max
            usable = [at for at, each in enumerate(values) if isinstance(each, int) and low <= each <= high]
            if len(usable) < len(values):  # texts among them
                some = np.full(len(values), -1, np.int32)
                some[usable] = self.find_all([values[at] for at in usable])
                return some
        keys = self._make_keys(values)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        rows = np.where(self.keys[at] == keys, self.row[at], np.int32(-1))
        if not self._is_number:
            found = np.flatnonzero(rows >= 0)
            texts = np.array([values[position] for position in found.tolist()], self.ids.dtype)
            for position in found[self.ids[rows[found]] != texts].tolist():  # another text with the same hash
                rows[position] = self.find(values[position])
        return rows
