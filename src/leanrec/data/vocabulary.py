"""Vocabulary: external ids ↔ internal rows."""

import dataclasses
import difflib
import functools
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np

from leanrec.errors import DataError, UnknownIdError
from leanrec.field_checks import ArrayShape
from leanrec.types import IdArray, Int32Array

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

    The hash table is built at the first lookup: O(n) time and about 100 bytes per id.
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
    def _rows(self) -> dict[Id, int]:
        rows = {each: row for row, each in enumerate(self.ids.tolist())}
        if len(rows) != len(self.ids):
            raise DataError(
                f"The ids of a vocabulary must be distinct. Got {len(self.ids) - len(rows)} repeated {self.entity} ids."
            )
        return rows

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
        return self.normalize_id(value) in self._rows

    def row(self, value: Any) -> int:
        """Return the row of an id. Raises UnknownIdError with the most similar ids."""
        row = self._rows.get(self.normalize_id(value))
        if row is None:
            raise UnknownIdError(self._unknown_message(value))
        return row

    def rows(self, values: Sequence[Any] | IdArray, *, missing: int | None = None) -> Int32Array:
        """(n,) rows of the ids. Unknown ids become ``missing``; if that is None they raise UnknownIdError."""
        ids = _to_list(values)
        rows = np.array([self._rows.get(self.normalize_id(value), -1) for value in ids], dtype=np.int32)
        unknown = rows < 0
        if unknown.any():
            if missing is None:
                raise UnknownIdError(self._unknown_message(ids[int(unknown.argmax())]))
            rows[unknown] = missing
        return rows

    def _unknown_message(self, value: Any) -> str:
        text, known = str(value), [str(each) for each in self.ids[:5000].tolist()]
        similar = [each for each in known if each[:2] == text[:2]] or known
        close = difflib.get_close_matches(text, similar[:_MAX_COMPARED], n=3) or known[:3]
        return f"No {self.entity} with the id {str(value)!r} among {len(self)}. Ids look like: {', '.join(close)}."

    def with_ids(self, values: Sequence[Any] | IdArray) -> "Vocabulary":
        """Return the vocabulary with missing ids appended in order."""
        ids = map(self.normalize_id, _to_list(values))
        new = list(dict.fromkeys(each for each in ids if each not in self._rows))
        if not new:
            return self
        if self.ids.dtype.kind == "i" and any(isinstance(each, str) for each in new):
            raise DataError(f"The {self.entity} ids must be whole numbers, like the known ones. Got {new[0]!r}.")
        return dataclasses.replace(self, ids=np.concatenate([self.ids, np.array(new, dtype=self.ids.dtype)]))


def _to_list(values: Sequence[Any] | IdArray) -> list[Any]:
    ids: list[Any] = values.tolist() if isinstance(values, np.ndarray) else list(values)
    return ids
