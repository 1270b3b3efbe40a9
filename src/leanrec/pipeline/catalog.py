"""The item catalog: titles, images, search, and filters over the item table."""

import dataclasses
import difflib
import functools
import itertools
import json
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.table import Table
from leanrec.data.vocabulary import Id, Vocabulary
from leanrec.errors import DataError, SettingError
from leanrec.features.base import to_texts
from leanrec.features.tokenization import strip_markup
from leanrec.pacing import pause
from leanrec.types import Int32Array

__all__ = ["Catalog", "ItemRules", "Where", "check_conditions", "extend_ids", "load_conditions", "to_id_list"]

Where = Mapping[str, Any]
_SEPARATORS = ("|", ",", ";")
_MAX_CACHED_FILTERS = 64
_MAX_CONDITIONS = 100
_MAX_VALUES = 1000  # of one list
_MAX_DEPTH = 5
_IMAGE_COLUMNS = ("image", "image_url", "picture", "picture_url", "poster", "poster_url", "thumbnail", "cover")

_TEXTS_AT_ONCE = 1_024
_MAX_LABELS = 50_000


@dataclasses.dataclass(frozen=True, eq=False)
class ItemRules:
    """The items that may be recommended, as rows.

    Attributes:
        allow: rows that may be recommended; None = all.
        deny: rows that must not be recommended; None = none.
        unknown: ids of the rules that are not in the catalog.
        listed: rows of the ids to allow, whether or not they meet the conditions; None = no such ids.
    """

    allow: Int32Array | None = None
    deny: Int32Array | None = None
    unknown: tuple[Id, ...] = ()
    listed: Int32Array | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Catalog:
    """Ids and content of N items. Immutable, so that all of one request sees the same items.

    Attributes:
        items: N external ids.
        table: N rows of content, or None.
    """

    items: Vocabulary
    table: Table | None = None

    def __len__(self) -> int:
        return len(self.items)

    def external_id(self, row: int) -> Id:
        """External id of an item row."""
        item: Id = self.items.ids[row]
        return item.item() if isinstance(item, np.generic) else item

    def title(self, row: int) -> str:
        """Title of an item, or its id if it has none."""
        return self.label(row)[1]

    def label(self, row: int) -> tuple[Id, str, str | None]:
        """External id, title and address of an image of an item. Those of the last items asked for are kept."""
        kept = self._labels
        found = kept.get(row)
        if found is None:
            if len(kept) >= _MAX_LABELS:
                kept.clear()
            titles, item = self._titles, self.external_id(row)
            title = strip_markup(str(titles[row])) if titles is not None else ""
            found = kept[row] = (item, title or str(item), self.image_url(row))
        return found

    def label_all(self, rows: Iterable[int]) -> list[tuple[Id, str, str | None]]:
        """``label`` of each row."""
        kept = self._labels
        return [kept.get(row) or self.label(row) for row in rows]

    @functools.cached_property
    def _labels(self) -> dict[int, tuple[Id, str, str | None]]:
        return {}

    @functools.cached_property
    def image_column(self) -> str | None:
        """Name of the column with addresses of images, or None."""
        columns = {} if self.table is None else self.table.columns
        texts = {name.lower(): name for name, column in columns.items() if column.dtype.kind == "T"}
        return next((texts[name] for name in _IMAGE_COLUMNS if name in texts), None)

    def image_url(self, row: int) -> str | None:
        """Address of an image of an item. Other schemes than https give None, so that a page can use it safely."""
        if self.table is None or self.image_column is None:
            return None
        cell = str(self.table.columns[self.image_column][row])
        return cell if cell.startswith("https://") else None

    def content(self, row: int) -> dict[str, Any]:
        """The row of the item table, without missing values."""
        return {} if self.table is None else self.table.row(row)

    def read_content(self, table: Table, n_rows: int) -> Table:
        """Content of ``n_rows`` items in the columns of the item table, with missing values where it has none.

        Without an item table the columns are those of ``table``. Raises DataError for a column that the item table lacks,
        with the nearest name that it has, for text in a column of numbers, and where there is no column at all.
        """
        if table.columns and len(table) != n_rows:
            raise DataError(f"table must have a row for each of the {n_rows} ids. Got {len(table)} rows.")
        if self.table is None:
            if not table.columns:
                raise DataError("The content must have at least one column, since there is no item table. Got none.")
            return table
        for name in table.columns:
            if name not in self.table.columns:
                raise DataError(f"The content must have columns of the item table. {self._describe_unknown(name)}")
        if not table.columns:
            return self.table.take(np.full(n_rows, -1))
        return self.table.take(np.zeros(0, np.intp)).concat(table)

    def shared_labels(self, row: int, other: int) -> tuple[str, ...]:
        """Labels, such as genres, that two items have in common."""
        mine, theirs = self.content(row), self.content(other)
        return tuple(
            label.strip()
            for name, cell in mine.items()
            if isinstance(cell, str) and "|" in cell + str(theirs.get(name, ""))
            for label in cell.split("|")
            if label in str(theirs.get(name, "")).split("|")
        )

    def search(self, text: str, limit: int) -> Int32Array:
        """Rows of items whose title contains the text, in any case; titles that start with it come first."""
        position = np.strings.find(self._lower_titles, text.lower())
        found = np.flatnonzero(position >= 0)
        return found[np.argsort(position[found] > 0, kind="stable")][:limit].astype(np.int32)

    def resolve_rules(self, allow: Iterable[Id] | None, deny: Iterable[Id] | None, where: Where | None) -> ItemRules:
        """Allowed ids, denied ids and conditions as item rows; an item must pass all three."""
        listed, unknown = self._find_rows("allow", allow)
        denied, more = self._find_rows("deny", deny)
        allowed = listed
        if where:
            matching = self.filter_rows(where)
            allowed = matching if allowed is None else np.intersect1d(allowed, matching)
        return ItemRules(allowed, denied, (*unknown, *more), listed)

    def _find_rows(self, name: str, ids: Iterable[Id] | None) -> tuple[Int32Array | None, tuple[Id, ...]]:
        """Rows of the ids that are in the catalog, and the other ids."""
        if ids is None:
            return None, ()
        items = to_id_list(name, ids)
        rows = self.items.rows(items, missing=-1)
        return rows[rows >= 0], tuple(item for item, row in zip(items, rows, strict=True) if row < 0)

    def filter_rows(self, where: Where) -> Int32Array:
        """Rows of the items that meet all conditions. O(N) for each new condition; the last 64 filters are cached.

        A condition is written ``{column: wanted}``. For a column of text, ``wanted`` is a value or one of
        the labels of a cell such as "Comedy|Drama", in any case; for a column of numbers, a number. Besides:
        a list (any of them), ``{"min": a, "max": b}``, ``{"contains": text}`` and ``{"not": wanted}``.

        Raises SettingError for an unknown column, for a condition that does not fit its column, for more than 100
        conditions or 1,000 values in one list, and for conditions more than five levels deep.
        """
        check_conditions(where)
        try:
            key = json.dumps(where, sort_keys=True, ensure_ascii=False)
            key.encode()
        except (TypeError, ValueError) as error:
            raise SettingError("where must hold texts, numbers, lists and objects.") from error
        rows = self._filters.get(key)
        if rows is None:
            mask = np.ones(len(self), np.bool_)
            for column, wanted in where.items():
                mask &= self._match(column, wanted)
            rows = self._filters.put(key, np.flatnonzero(mask).astype(np.int32))
        return rows

    def number_labels(self, column: str) -> tuple[Int32Array, Int32Array]:
        """Numbers of the labels of a column, and the item row of each: labels (P,), rows (P,). Empty cells have none. O(N).

        For limits on items with the same label. The labels are those that ``filter_rows`` compares, the whole cell among them.
        Raises SettingError for an unknown column.
        """
        if self.table is None or column not in self.table.columns:
            raise SettingError(f"limits: {self._describe_unknown(column)}")
        cells = self.table.columns[column]
        if cells.dtype.kind == "T":
            labels = self._text_columns.get_labels(column)
            is_label = labels.label != labels.codes.get("", -1)
            return labels.label[is_label], labels.cell[is_label]
        numbers = cells.astype(np.float64)
        rows = np.flatnonzero(np.isfinite(numbers)).astype(np.int32)
        return np.unique(numbers[rows], return_inverse=True)[1].astype(np.int32), rows

    def _match(self, column: str, wanted: Any) -> NDArray[np.bool_]:
        """(N,) whether the cell of an item meets a condition."""
        if isinstance(wanted, Mapping):
            return self._match_object(column, wanted)
        values = wanted if isinstance(wanted, list | tuple) else [wanted]
        mask = self._match_any(column, [each for each in values if not _is_nested(each)])
        for each in values:
            if _is_nested(each):
                mask |= self._match(column, each)
        return mask

    def _match_any(self, column: str, values: Sequence[Any]) -> NDArray[np.bool_]:
        """(N,) whether a cell is one of the values, or has one among its labels. One pass for all values."""
        cells = self._cells(column)
        if cells.dtype.kind != "T":
            numbers = [_to_number(column, each) for each in values]
            return np.isin(cells.astype(np.float64), np.array(numbers, np.float64))
        for each in values:
            if not isinstance(each, str):
                raise SettingError(f"where: {column!r} is text, so it must be compared with text. Got {each!r}.")
        return self._text_columns.get_labels(column).match_any(values)

    def _match_object(self, column: str, wanted: Where) -> NDArray[np.bool_]:
        mask = np.ones(len(self), np.bool_)
        for operator, value in wanted.items():
            if operator == "not":
                mask &= ~self._match(column, value)
            elif operator == "contains":
                mask &= self._match_substring(column, value)
            elif operator in {"min", "max"}:
                mask &= self._match_bound(column, operator, value)
            else:
                raise SettingError(f"where: {column!r} can have min, max, contains and not. Got {operator!r}.")
        return mask

    def _match_substring(self, column: str, value: Any) -> NDArray[np.bool_]:
        cells = self._cells(column)
        if cells.dtype.kind != "T" or not isinstance(value, str):
            raise SettingError(f"where: contains needs a column of text and a text. Got {column!r} and {value!r}.")
        return np.strings.find(self._text_columns.get_lower(column), value.lower()) >= 0

    def _match_bound(self, column: str, operator: str, value: Any) -> NDArray[np.bool_]:
        cells = self._cells(column)
        if cells.dtype.kind == "T":
            raise SettingError(f"where: {operator} needs a column of numbers. {column!r} is text.")
        bound = _to_number(column, value)
        return cells >= bound if operator == "min" else cells <= bound

    def _cells(self, column: str) -> NDArray[Any]:
        columns = {} if self.table is None else self.table.columns
        if column not in columns:
            raise SettingError(f"where: {self._describe_unknown(column)}")
        return columns[column]

    def _describe_unknown(self, column: str) -> str:
        """Sentences about a column that the items do not have, with the nearest name that they have."""
        columns = {} if self.table is None else self.table.columns
        name = str(column)[:100]
        by_case = {each.lower(): each for each in columns}
        close = difflib.get_close_matches(name.lower(), by_case, n=1)
        hint = f" Did you mean {by_case[close[0]]!r}?" if close else ""
        known = ", ".join(columns) or "none: there is no item table"
        return f"the items have no column {name!r}.{hint} Columns: {known}."

    @functools.cached_property
    def _titles(self) -> NDArray[Any] | None:
        name = None if self.table is None else self.table.title
        if self.table is None or name is None:
            return None
        titles = self.table.columns[name]
        return titles if titles.dtype.kind == "T" else np.array(to_texts(titles), np.dtypes.StringDType())

    @functools.cached_property
    def _lower_titles(self) -> NDArray[Any]:
        titles = self._titles
        if titles is None:
            titles = np.array([str(each) for each in self.items.ids.tolist()], np.dtypes.StringDType())
        return _map_texts(lambda title: strip_markup(title).lower(), titles)

    @functools.cached_property
    def _text_columns(self) -> "_TextColumns":
        return _TextColumns(self.table or Table({}))

    @functools.cached_property
    def _filters(self) -> "_FilterCache":
        return _FilterCache()


class _TextColumns:
    """Text columns in lower case and split into labels; each is made at its first use."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._labels: dict[str, _CellLabels] = {}
        self._lower: dict[str, NDArray[Any]] = {}

    def get_labels(self, column: str) -> "_CellLabels":
        if column not in self._labels:
            self._labels[column] = _CellLabels.from_cells(self.get_lower(column).tolist())
        return self._labels[column]

    def get_lower(self, column: str) -> NDArray[Any]:
        if column not in self._lower:
            self._lower[column] = _map_texts(str.lower, self._table.columns[column])
        return self._lower[column]


@dataclasses.dataclass(frozen=True, eq=False)
class _CellLabels:
    """The labels of N cells.

    Attributes:
        codes: label → code.
        label: (P,) int32 codes of the labels of all cells, cell after cell.
        cell: (P,) int32 the cell of each label.
        n_cells: N.
    """

    codes: Mapping[str, int]
    label: Int32Array
    cell: Int32Array
    n_cells: int

    @classmethod
    def from_cells(cls, cells: Sequence[str]) -> "_CellLabels":
        """Split cells in lower case: the labels of a cell, and the whole cell. O(characters)."""
        codes: dict[str, int] = {}
        coded = []
        for cell in cells:
            separator = next((each for each in _SEPARATORS if each in cell), None)
            parts = cell.split(separator) if separator else ()
            labels = {cell.strip(), *(part.strip() for part in parts)}
            coded.append([codes.setdefault(each, len(codes)) for each in labels])
        lengths = np.array([len(each) for each in coded], np.int64)
        label = np.fromiter(itertools.chain.from_iterable(coded), np.int32, int(lengths.sum()))
        return cls(codes, label, np.repeat(np.arange(len(coded), dtype=np.int32), lengths), len(coded))

    def match_any(self, wanted: Iterable[str]) -> NDArray[np.bool_]:
        """(N,) whether a cell has one of the labels. O(P)."""
        is_wanted = np.zeros(len(self.codes) + 1, np.bool_)
        is_wanted[[self.codes.get(each.strip().lower(), -1) for each in wanted]] = True
        is_wanted[-1] = False
        mask = np.zeros(self.n_cells, np.bool_)
        mask[self.cell[is_wanted[self.label]]] = True
        return mask


class _FilterCache:
    """Rows of the filters used last. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: OrderedDict[str, Int32Array] = OrderedDict()

    def get(self, key: str) -> Int32Array | None:
        with self._lock:
            if key in self._rows:
                self._rows.move_to_end(key)
            return self._rows.get(key)

    def put(self, key: str, rows: Int32Array) -> Int32Array:
        with self._lock:
            self._rows[key] = rows
            if len(self._rows) > _MAX_CACHED_FILTERS:
                self._rows.popitem(last=False)
        return rows


def extend_ids(ids: Vocabulary, values: Sequence[Id]) -> Vocabulary:
    """The vocabulary with new ids appended. Raises DataError for ids of another type than the known ones."""
    try:
        return ids.with_ids(values)
    except OverflowError as error:
        raise DataError(f"The {ids.entity} ids must be whole numbers of 64 bits, like the known ones.") from error


def to_id_list(name: str, ids: Iterable[Id]) -> list[Id]:
    """The ids as a list. Raises SettingError for a single string, which would be split into its letters."""
    if isinstance(ids, str | bytes):
        raise SettingError(f"{name} must be a list of ids. Got the one text {ids!r}; write [{ids!r}].")
    return list(ids)


def check_conditions(where: Where) -> None:
    """Raise SettingError for too many or too deeply nested conditions. Stops at the limits."""
    count, stack = 0, [(value, 1) for value in where.values()]
    while stack:
        wanted, depth = stack.pop()
        inside = list(wanted.values()) if isinstance(wanted, Mapping) else wanted
        if depth > _MAX_DEPTH and _is_nested(wanted):
            raise SettingError(f"where must be a few levels deep, at most {_MAX_DEPTH}.")
        if isinstance(wanted, list | tuple) and len(wanted) > _MAX_VALUES:
            raise SettingError(f"where: a list must have at most {_MAX_VALUES:,} values. Got {len(wanted):,}.")
        nested = [each for each in inside if _is_nested(each)] if _is_nested(wanted) else []
        # The plain values of one list are compared in one pass, so they count as one condition.
        count += max(1, len(inside) - len(nested)) if isinstance(wanted, Mapping) else 1
        stack += [(each, depth + 1) for each in nested]
        if count > _MAX_CONDITIONS:
            raise SettingError(f"where must have at most {_MAX_CONDITIONS} conditions. Got more.")


def load_conditions(text: str) -> dict[str, Any]:
    """Conditions from JSON. Raises SettingError for text that is not a JSON object."""
    try:
        conditions = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingError(f'where must be JSON such as {{"genres": "Comedy"}}. Got {text[:80]!r}.') from error
    if not isinstance(conditions, dict):
        raise SettingError(f"where must be a JSON object. Got {text[:80]!r}.")
    return conditions


def _is_nested(value: object) -> bool:
    return isinstance(value, Mapping | list | tuple)


def _map_texts(function: Callable[[str], str], cells: NDArray[Any]) -> NDArray[Any]:
    """The texts that a function makes of texts, a few at a time: a server may answer meanwhile."""
    mapped = np.empty(len(cells), np.dtypes.StringDType())
    for start in range(0, len(cells), _TEXTS_AT_ONCE):
        block = slice(start, start + _TEXTS_AT_ONCE)
        mapped[block] = [function(cell) for cell in cells[block].tolist()]
        pause()
    return mapped


def _to_number(column: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SettingError(f"where: {column!r} is a number, so it must be compared with a number. Got {value!r}.")
    return float(value)
