"""The user's own ids ↔ rows."""

import dataclasses
import difflib
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from leanrec.errors import DataError, UnknownIdError
from leanrec.types import IdArray, Int32Array

__all__ = ["Vocabulary", "id_array"]

Id = int | str

_INT64 = np.iinfo(np.int64)
_LONGEST = 20  # digits; int64 has at most 19
_FRACTION = (float, np.floating)
_NUMBER = (int, np.integer, *_FRACTION)
# Ids that are looked through for one that resembles an unknown one: a mistyped id must not cost a server much.
_RESEMBLING = 300


def id_array(ids: Sequence[Any] | IdArray) -> IdArray:
    """Ids as int64 where all are whole numbers, and as variable-width strings otherwise.

    Cost O(n). Raises DataError for fractions and for whole numbers outside int64.
    """
    if not isinstance(ids, np.ndarray):
        # Not through np.asarray: it cuts trailing NUL characters off and turns large whole numbers into fractions.
        ids = _held(list(ids))
    if ids.size == 0:
        return np.zeros(0, np.int64)
    if ids.dtype.kind == "f":
        raise DataError(f"Ids must be whole numbers or strings. Got the type {ids.dtype}.")
    whole = ids.dtype.kind in "iu" or (ids.dtype.kind == "O" and all(type(each) is int for each in ids))
    if not whole:
        return np.array([str(each) for each in ids.tolist()], dtype=np.dtypes.StringDType())
    if not (_INT64.min <= int(ids.min()) and int(ids.max()) <= _INT64.max):
        raise DataError(f"Whole-number ids must fit int64. Got {ids.min()} to {ids.max()}; bring them as strings.")
    return ids.astype(np.int64)


def _held(values: list[Any]) -> IdArray:
    """The values, one by one, with their types kept; numbers of which one is a fraction as such."""
    if any(isinstance(each, _FRACTION) for each in values) and all(isinstance(each, _NUMBER) for each in values):
        return np.asarray(values, dtype=np.float64)
    array = np.empty(len(values), dtype=object)
    array[:] = [int(each) if isinstance(each, np.integer) else each for each in values]
    return array


@dataclasses.dataclass(frozen=True, eq=False)
class Vocabulary:
    """Own ids ↔ rows 0 … n − 1.

    Attributes:
        ids: (n,) int64 or StringDType, distinct; the row of an id is its position.
        what: "user" or "item", for messages.

    The table for look-ups is made at the first look-up: O(n) time and about 100 bytes an id.
    """

    ids: IdArray
    what: str = "item"

    def __len__(self) -> int:
        return len(self.ids)

    @functools.cached_property
    def _rows(self) -> dict[Id, int]:
        rows = {each: row for row, each in enumerate(self.ids.tolist())}
        if len(rows) != len(self.ids):
            raise DataError(
                f"The ids of a vocabulary must be distinct. Got {len(self.ids) - len(rows)} repeated {self.what} ids."
            )
        return rows

    def _own(self, value: Any) -> Id:
        """The id in the form this vocabulary keeps: ``"12"`` finds 12 and 12 finds ``"12"``.

        Only the one usual way to write a number finds it: "012", " 12" and 12.0 are other ids.
        """
        if self.ids.dtype.kind != "i":
            return str(value)
        if isinstance(value, int | np.integer) and not isinstance(value, bool):
            return int(value)
        text = str(value)
        digits = text.removeprefix("-")
        usual = digits.isascii() and digits.isdigit() and len(digits) < _LONGEST and str(int(text)) == text
        return int(text) if usual else text

    def __contains__(self, value: object) -> bool:
        return self._own(value) in self._rows

    def row(self, value: Any) -> int:
        """The row of one id. Raises UnknownIdError, with the closest ids there are."""
        row = self._rows.get(self._own(value))
        if row is None:
            raise UnknownIdError(self._unknown(value))
        return row

    def rows(self, values: Sequence[Any] | IdArray, *, missing: int | None = None) -> Int32Array:
        """(n,) rows of the ids. Unknown ids become ``missing``; if that is None they raise UnknownIdError."""
        asked = _listed(values)
        rows = np.array([self._rows.get(self._own(value), -1) for value in asked], dtype=np.int32)
        unknown = rows < 0
        if unknown.any():
            if missing is None:
                raise UnknownIdError(self._unknown(asked[int(unknown.argmax())]))
            rows[unknown] = missing
        return rows

    def _unknown(self, value: Any) -> str:
        text, some = str(value), [str(each) for each in self.ids[:5000].tolist()]
        alike = [each for each in some if each[:2] == text[:2]] or some
        close = difflib.get_close_matches(text, alike[:_RESEMBLING], n=3) or some[:3]
        return f"No {self.what} with the id {str(value)!r} among {len(self)}. Ids look like: {', '.join(close)}."

    def extended(self, values: Sequence[Any] | IdArray) -> "Vocabulary":
        """This vocabulary with the ids it does not have yet, appended in order."""
        new = list(dict.fromkeys(own for own in map(self._own, _listed(values)) if own not in self._rows))
        if not new:
            return self
        if self.ids.dtype.kind == "i" and any(isinstance(each, str) for each in new):
            raise DataError(f"The {self.what} ids are whole numbers. Got {new[0]!r} among the new ones.")
        return dataclasses.replace(self, ids=np.concatenate([self.ids, np.array(new, dtype=self.ids.dtype)]))


def _listed(values: Sequence[Any] | IdArray) -> list[Any]:
    listed: list[Any] = values.tolist() if isinstance(values, np.ndarray) else list(values)
    return listed
