"""The items as people see them: titles, search, and filters over the item table."""

import dataclasses
import difflib
import functools
import itertools
import json
import math
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.table import Table
from leanrec.data.vocabulary import Id, Vocabulary
from leanrec.errors import SettingError
from leanrec.types import Int32Array

__all__ = ["Catalogue", "Rules", "Where", "check_conditions", "listed_ids"]

Where = Mapping[str, Any]
_SEPARATORS = ("|", ",", ";")
_KEPT_MASKS = 64
_MOST_CONDITIONS = 100
_MOST_VALUES = 1000  # of one list
_DEEPEST = 5
_PICTURES = ("image", "image_url", "picture", "picture_url", "poster", "poster_url", "thumbnail", "cover")


@dataclasses.dataclass(frozen=True, eq=False)
class Rules:
    """What may be shown.

    Attributes:
        allow: rows that may be shown; None = all.
        deny: rows that must not be shown; None = none.
        unknown: ids in the rules that are no items.
    """

    allow: Int32Array | None = None
    deny: Int32Array | None = None
    unknown: tuple[Id, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Catalogue:
    """Ids and content of N items; immutable, so that one request sees one state.

    Attributes:
        items: N own ids.
        table: N rows of content, or None.
    """

    items: Vocabulary
    table: Table | None = None

    def __len__(self) -> int:
        return len(self.items)

    def own_id(self, row: int) -> Id:
        """Own id of an item row."""
        own: Id = self.items.ids[row]
        return own.item() if isinstance(own, np.generic) else own

    def title(self, row: int) -> str:
        """What to call an item: its title, or its id where there is none."""
        titles = self._titles
        return (str(titles[row]) if titles is not None else "") or str(self.items.ids[row])

    @functools.cached_property
    def pictures(self) -> str | None:
        """Name of the column of addresses of pictures, if there is one."""
        columns = {} if self.table is None else self.table.columns
        texts = {name.lower(): name for name, column in columns.items() if column.dtype.kind == "T"}
        return next((texts[name] for name in _PICTURES if name in texts), None)

    def picture(self, row: int) -> str | None:
        """Address of a picture of an item; only https is one, so that a page can show it safely."""
        cell = "" if self.table is None or self.pictures is None else str(self.table.columns[self.pictures][row])
        return cell if cell.startswith("https://") else None

    def content(self, row: int) -> dict[str, Any]:
        """What the item table says about an item, without missing values."""
        return {} if self.table is None else self.table.row(row)

    def shared(self, row: int, other: int) -> tuple[str, ...]:
        """Labels, such as genres, that the cells of two items have in common."""
        here, there = self.content(row), self.content(other)
        return tuple(
            label.strip()
            for name, cell in here.items()
            if isinstance(cell, str) and "|" in cell + str(there.get(name, ""))
            for label in cell.split("|")
            if label in str(there.get(name, "")).split("|")
        )

    def search(self, text: str, limit: int) -> Int32Array:
        """Rows of items whose title holds the text, in any case; titles that begin with it come first."""
        at = np.strings.find(self._lower_titles, text.lower())
        found = np.flatnonzero(at >= 0)
        return found[np.argsort(at[found] > 0, kind="stable")][:limit].astype(np.int32)

    def rules(self, allow: Iterable[Id] | None, deny: Iterable[Id] | None, where: Where | None) -> Rules:
        """Allowed and denied ids and conditions as rows; an item must pass all of them."""
        allowed, unknown = self._known("allow", allow)
        denied, more = self._known("deny", deny)
        if where:
            matching = self.matching(where)
            allowed = matching if allowed is None else np.intersect1d(allowed, matching)
        return Rules(allowed, denied, (*unknown, *more))

    def _known(self, what: str, ids: Iterable[Id] | None) -> tuple[Int32Array | None, tuple[Id, ...]]:
        if ids is None:
            return None, ()
        own = listed_ids(what, ids)
        rows = self.items.rows(own, missing=-1)
        return rows[rows >= 0], tuple(each for each, row in zip(own, rows, strict=True) if row < 0)

    def matching(self, where: Where) -> Int32Array:
        """Rows of the items that meet all conditions. O(N) for each condition the first time, then remembered.

        A condition is written ``{column: wanted}``. For a column of text, ``wanted`` is a value or one of
        the labels of a cell such as "Comedy|Drama", in any case; for a column of numbers, a number. Besides:
        a list (any of them), ``{"min": a, "max": b}``, ``{"contains": text}`` and ``{"not": wanted}``.
        Raises SettingError for an unknown column, a condition that makes no sense, more than 100 conditions or
        1,000 values of one list, and for conditions more than five levels deep.
        """
        check_conditions(where)
        try:
            key = json.dumps(where, sort_keys=True)
        except (TypeError, ValueError) as error:
            raise SettingError("where must hold texts, numbers, lists and objects.") from error
        rows = self._masks.get(key)
        if rows is None:
            mask = np.ones(len(self), np.bool_)
            for column, wanted in where.items():
                mask &= self._condition(column, wanted)
            rows = self._masks.put(key, np.flatnonzero(mask).astype(np.int32))
        return rows

    def _condition(self, column: str, wanted: Any) -> NDArray[np.bool_]:
        if isinstance(wanted, Mapping):
            return self._object(column, wanted)
        several = wanted if isinstance(wanted, list | tuple) else [wanted]
        plain = [each for each in several if not _nested(each)]
        mask = self._any_of(column, plain)
        for each in several:
            if _nested(each):
                mask |= self._condition(column, each)
        return mask

    def _any_of(self, column: str, wanted: Sequence[Any]) -> NDArray[np.bool_]:
        """Whether a cell is one of the values, or has one of them among its labels: one pass for all of them."""
        cells = self._cells(column)
        if cells.dtype.kind != "T":
            numbers = [_number(column, each) for each in wanted]
            return np.isin(cells.astype(np.float64), np.array(numbers, np.float64))
        for each in wanted:
            if not isinstance(each, str):
                raise SettingError(f"where: {column!r} is text, so it must be compared with text. Got {each!r}.")
        return self._labels[column].any_of(wanted)

    def _object(self, column: str, wanted: Where) -> NDArray[np.bool_]:
        mask = np.ones(len(self), np.bool_)
        for word, value in wanted.items():
            if word == "not":
                mask &= ~self._condition(column, value)
            elif word == "contains":
                mask &= self._contains(column, value)
            elif word in {"min", "max"}:
                mask &= self._bound(column, word, value)
            else:
                raise SettingError(f"where: {column!r} can have min, max, contains and not. Got {word!r}.")
        return mask

    def _contains(self, column: str, value: Any) -> NDArray[np.bool_]:
        cells = self._cells(column)
        if cells.dtype.kind != "T" or not isinstance(value, str):
            raise SettingError(f"where: contains needs a column of text and a text. Got {column!r} and {value!r}.")
        return np.strings.find(self._labels.lower(column), value.lower()) >= 0

    def _bound(self, column: str, word: str, value: Any) -> NDArray[np.bool_]:
        cells = self._cells(column)
        if cells.dtype.kind == "T":
            raise SettingError(f"where: {word} needs a column of numbers. {column!r} is text.")
        bound = _number(column, value)
        return cells >= bound if word == "min" else cells <= bound

    def _cells(self, column: str) -> NDArray[Any]:
        columns = {} if self.table is None else self.table.columns
        if column not in columns:
            named = str(column)[:100]
            close = difflib.get_close_matches(named, columns, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            known = ", ".join(columns) or "none: there is no item table"
            raise SettingError(f"where: the items have no column {named!r}.{hint} Columns: {known}.")
        return columns[column]

    @functools.cached_property
    def _titles(self) -> NDArray[Any] | None:
        name = None if self.table is None else self.table.title
        return None if self.table is None or name is None else self.table.columns[name]

    @functools.cached_property
    def _lower_titles(self) -> NDArray[Any]:
        titles = self._titles
        if titles is None:
            titles = np.array([str(each) for each in self.items.ids.tolist()], np.dtypes.StringDType())
        return _lowered(titles)

    @functools.cached_property
    def _labels(self) -> "_Labels":
        return _Labels(self.table or Table({}))

    @functools.cached_property
    def _masks(self) -> "_Masks":
        return _Masks()


class _Labels:
    """Text columns in lower case and cut into labels, made when first asked for."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._made: dict[str, _Labelled] = {}
        self._lower: dict[str, NDArray[Any]] = {}

    def __getitem__(self, column: str) -> "_Labelled":
        if column not in self._made:
            self._made[column] = _Labelled.of(self.lower(column).tolist())
        return self._made[column]

    def lower(self, column: str) -> NDArray[Any]:
        if column not in self._lower:
            self._lower[column] = _lowered(self._table.columns[column])
        return self._lower[column]


@dataclasses.dataclass(frozen=True, eq=False)
class _Labelled:
    """The labels of N cells.

    Attributes:
        codes: label → number.
        label: (P,) int32 labels of all cells, one cell after the other.
        cell: (P,) int32 the cell of each.
        count: N.
    """

    codes: Mapping[str, int]
    label: Int32Array
    cell: Int32Array
    count: int

    @classmethod
    def of(cls, cells: Sequence[str]) -> "_Labelled":
        """Cut cells in lower case. O(characters)."""
        codes: dict[str, int] = {}
        cut = [[codes.setdefault(each, len(codes)) for each in _labels_of(cell)] for cell in cells]
        lengths = np.array([len(each) for each in cut], np.int64)
        label = np.fromiter(itertools.chain.from_iterable(cut), np.int32, int(lengths.sum()))
        return cls(codes, label, np.repeat(np.arange(len(cut), dtype=np.int32), lengths), len(cut))

    def any_of(self, wanted: Iterable[str]) -> NDArray[np.bool_]:
        """(N,) whether a cell has one of the labels. O(P)."""
        asked = np.zeros(len(self.codes) + 1, np.bool_)
        asked[[self.codes.get(each.strip().lower(), -1) for each in wanted]] = True
        asked[-1] = False
        mask = np.zeros(self.count, np.bool_)
        mask[self.cell[asked[self.label]]] = True
        return mask


def _labels_of(cell: str) -> set[str]:
    """The labels of a cell, and the whole cell."""
    separator = next((each for each in _SEPARATORS if each in cell), None)
    return {cell.strip(), *(part.strip() for part in (cell.split(separator) if separator else ()))}


class _Masks:
    """The rows of the filters used last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Int32Array] = OrderedDict()

    def get(self, key: str) -> Int32Array | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: str, rows: Int32Array) -> Int32Array:
        with self._lock:
            self._kept[key] = rows
            if len(self._kept) > _KEPT_MASKS:
                self._kept.popitem(last=False)
        return rows


def listed_ids(what: str, ids: Iterable[Id]) -> list[Id]:
    """The ids as a list. Raises SettingError for one text, which would fall apart into its letters."""
    if isinstance(ids, str | bytes):
        raise SettingError(f"{what} must be a list of ids. Got the one text {ids!r}; write [{ids!r}].")
    return list(ids)


def check_conditions(where: Where) -> None:
    """Raise SettingError for conditions that are too many or too deep to be meant. O(1) beyond the limits."""
    count, left = 0, [(value, 1) for value in where.values()]
    while left:
        wanted, depth = left.pop()
        inside = list(wanted.values()) if isinstance(wanted, Mapping) else wanted
        if depth > _DEEPEST and _nested(wanted):
            raise SettingError(f"where must be a few levels deep, at most {_DEEPEST}.")
        if isinstance(wanted, list | tuple) and len(wanted) > _MOST_VALUES:
            raise SettingError(f"where: a list must have at most {_MOST_VALUES:,} values. Got {len(wanted):,}.")
        nested = [each for each in inside if _nested(each)] if _nested(wanted) else []
        # The plain values of one list are compared in one pass, so they are one condition.
        count += max(1, len(inside) - len(nested)) if isinstance(wanted, Mapping) else 1
        left += [(each, depth + 1) for each in nested]
        if count > _MOST_CONDITIONS:
            raise SettingError(f"where must have at most {_MOST_CONDITIONS} conditions. Got more.")


def _nested(value: object) -> bool:
    return isinstance(value, Mapping | list | tuple)


def _lowered(cells: NDArray[Any]) -> NDArray[Any]:
    return np.array([cell.lower() for cell in cells.tolist()], np.dtypes.StringDType())


def _number(column: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SettingError(f"where: {column!r} is a number, so it must be compared with a number. Got {value!r}.")
    return float(value)
