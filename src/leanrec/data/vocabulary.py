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


def id_array(ids: Sequence[Any] | IdArray) -> IdArray:
    """Ids as int64 where all are whole numbers, and as variable-width strings otherwise.

    Cost O(n).
    """
    array = np.asarray(ids)
    if array.size == 0:
        return np.zeros(0, np.int64)
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    if array.dtype.kind == "O" and all(type(each) is int for each in array):
        return array.astype(np.int64)
    if array.dtype.kind == "f":
        raise DataError(f"Ids must be whole numbers or strings. Got the type {array.dtype}.")
    return np.array([str(each) for each in array], dtype=np.dtypes.StringDType())


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
        """The id in the form this vocabulary keeps: ``"12"`` finds 12 and 12 finds ``"12"``."""
        if self.ids.dtype.kind != "i":
            return str(value)
        try:
            return int(value)
        except (TypeError, ValueError):
            return str(value)

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
        found = [self._rows.get(self._own(value), -1) for value in np.asarray(values).tolist()]
        rows = np.array(found, dtype=np.int32)
        unknown = rows < 0
        if unknown.any():
            if missing is None:
                raise UnknownIdError(self._unknown(np.asarray(values)[unknown][0]))
            rows[unknown] = missing
        return rows

    def _unknown(self, value: Any) -> str:
        some = [str(each) for each in self.ids[:5000].tolist()]
        close = difflib.get_close_matches(str(value), some, n=3) or some[:3]
        return f"No {self.what} with the id {str(value)!r} among {len(self)}. Ids look like: {', '.join(close)}."

    def extended(self, values: Sequence[Any] | IdArray) -> "Vocabulary":
        """This vocabulary with the ids it does not have yet, appended in order."""
        new = list(dict.fromkeys(own for own in map(self._own, np.asarray(values).tolist()) if own not in self._rows))
        if not new:
            return self
        if self.ids.dtype.kind == "i" and any(isinstance(each, str) for each in new):
            raise DataError(f"The {self.what} ids are whole numbers. Got {new[0]!r} among the new ones.")
        return dataclasses.replace(self, ids=np.concatenate([self.ids, np.array(new, dtype=self.ids.dtype)]))
