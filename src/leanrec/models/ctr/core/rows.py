"""Feature rows of CTR models: queries and items as codes, bags and numbers.

Dimension key: E rows, F single-valued fields, M numbers.
"""

import dataclasses
from typing import Annotated, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.table import Table
from leanrec.errors import ColumnError, DataError
from leanrec.features.numeric import StandardScaler
from leanrec.features.pipeline import FeatureBlock, FeatureSpec, FittedFeatures, default_text_feature
from leanrec.field_checks import ArrayShape, SharedSizes, check_codes
from leanrec.kernels.csr import concat_ranges
from leanrec.kernels.layers.field_layers import FieldSizes
from leanrec.run import Run
from leanrec.training.histories import PackedHistories
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array, Queries

__all__ = [
    "ContentEncoder",
    "FieldRows",
    "QueryEncoder",
    "encode_items",
    "fit_scales",
    "has_order",
    "standardize_numbers",
]

_HOUR, _DAY = 3600, 86_400


@dataclasses.dataclass(frozen=True, eq=False)
class FieldRows:
    """E rows of fields.

    Attributes:
        codes: (E, F) int32, single-valued fields; 0 = unknown.
        sizes: number of codes of each.
        bags: multi-valued, weighted fields, each a matrix (E, values).
        numbers: (E, M) float32, standardized; 0 = missing.
    """

    codes: Annotated[Int32Array, ArrayShape("E", "F")]
    sizes: Annotated[tuple[int, ...], ArrayShape("F")]
    bags: tuple[CSR, ...]
    numbers: Annotated[Float32Array, ArrayShape("E", "M")]

    def check_state(self) -> None:
        """Raise DataError unless the bags have the rows, and each field its codes."""
        for column, size in enumerate(self.sizes):
            check_codes("FieldRows.codes", self.codes[:, column], size)
        if any(bag.shape[0] != len(self) or bag.dtype.kind != "f" for bag in self.bags):
            raise DataError(f"FieldRows.bags must have {len(self)} rows of weights.")

    @classmethod
    def from_columns(
        cls,
        n: int,
        *,
        codes: tuple[tuple[NDArray[Any], int], ...] = (),
        bags: tuple[CSR, ...] = (),
        numbers: Float32Array | None = None,
    ) -> "FieldRows":
        """``n`` rows from columns of codes with their sizes, bags, and numbers."""
        columns = np.zeros((n, len(codes)), np.int32)
        for i, (column, _) in enumerate(codes):
            columns[:, i] = column
        if numbers is None:
            numbers = np.zeros((n, 0), np.float32)
        return cls(columns, tuple(size for _, size in codes), bags, numbers)

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def fields(self) -> FieldSizes:
        """The fields of a row."""
        return FieldSizes(self.sizes, tuple(int(bag.shape[1]) for bag in self.bags), self.numbers.shape[1])

    def take(self, rows: NDArray[Any]) -> "FieldRows":
        """The given rows; −1 gives a row of unknown values. O(values taken)."""
        unknown = rows < 0
        codes, numbers = self.codes[rows], self.numbers[rows]
        codes[unknown], numbers[unknown] = 0, 0
        return FieldRows(codes, self.sizes, tuple(_take_bag(bag, rows, unknown) for bag in self.bags), numbers)

    def hstack(self, other: "FieldRows") -> "FieldRows":
        """The fields of both, row by row."""
        return FieldRows(
            np.concatenate([self.codes, other.codes], 1),
            (*self.sizes, *other.sizes),
            (*self.bags, *other.bags),
            np.concatenate([self.numbers, other.numbers], 1),
        )

    def vstack(self, other: "FieldRows") -> "FieldRows":
        """These rows followed by the rows of ``other``, which has the same fields."""
        bags = tuple(
            sp.csr_array(sp.vstack(pair, format="csr", dtype=np.float32))
            for pair in zip(self.bags, other.bags, strict=True)
        )
        codes = np.concatenate([self.codes, other.codes])
        return FieldRows(codes, self.sizes, bags, np.concatenate([self.numbers, other.numbers]))

    def drop_codes(self, share: float, rng: np.random.Generator) -> "FieldRows":
        """Replace each code by the unknown code with probability ``share``, so that unknown codes are trained too."""
        if not share or not self.codes.size:
            return self
        dropped = rng.random(self.codes.shape, dtype=np.float32) < share
        return dataclasses.replace(self, codes=np.where(dropped, np.int32(0), self.codes))


def _take_bag(bag: CSR, rows: NDArray[Any], unknown: NDArray[np.bool_]) -> CSR:
    starts, lengths = bag.indptr[:-1][rows], np.diff(bag.indptr)[rows]
    lengths = np.where(unknown, 0, lengths)
    entries = concat_ranges(starts, lengths)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    shape = (len(rows), bag.shape[1])
    return sp.csr_array((bag.data[entries].astype(np.float32), bag.indices[entries], indptr), shape=shape)


def fit_scales(table: Table, columns: tuple[str, ...], run: Run) -> FittedFeatures | None:
    """Means and deviations of numeric columns; None without columns."""
    blocks = tuple(FeatureBlock(name, StandardScaler()) for name in columns)
    return FeatureSpec(blocks).fit(table, run) if blocks else None


def standardize_numbers(scales: FittedFeatures | None, table: Table) -> Float32Array:
    """(n, M) numeric columns of a table, standardized by ``fit_scales``."""
    if scales is None:
        return np.zeros((len(table), 0), np.float32)
    return np.asarray(scales.transform(table).toarray(), np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class ContentEncoder:
    """Encodes the columns of an item or user table as fields: one bag per feature, and the numeric columns also as numbers.

    Attributes:
        features: one block per field.
        scales: of the numeric columns; None without any.
    """

    features: FittedFeatures
    scales: FittedFeatures | None

    @classmethod
    def fit(cls, table: Table | None, columns: tuple[str, ...], text: str, run: Run) -> "ContentEncoder | None":
        """Fit the features of a table; None if there is no table or no usable column.

        Raises ColumnError if the table lacks one of ``columns``.
        """
        if table is None:
            return None
        try:
            features = FeatureSpec(columns=columns, text=default_text_feature(text)).fit(table, run)
        except ColumnError:
            if columns:
                raise
            return None
        numbers = tuple(kind.column for kind in features.inferred if kind.kind == "number")
        return cls(features, fit_scales(table, numbers, run))

    def encode(self, table: Table) -> FieldRows:
        """One row per row of the table; missing columns count as missing values."""
        missing = np.zeros(len(table), dtype=np.dtypes.StringDType())
        bags = tuple(block.transform(table.columns.get(block.column, missing)) for block in self.features.blocks)
        numbers = None
        if self.scales is not None:
            columns = {block.column: table.columns.get(block.column, missing) for block in self.scales.blocks}
            numbers = standardize_numbers(self.scales, Table(columns))
        return FieldRows.from_columns(len(table), bags=bags, numbers=numbers)


def _encode_content(content: ContentEncoder | None, table: Table | None, n: int) -> FieldRows:
    """``n`` rows of content; without fields if there is no content."""
    return FieldRows.from_columns(n) if content is None or table is None else content.encode(table)


@dataclasses.dataclass(frozen=True, eq=False)
class QueryEncoder:
    """Encodes queries as rows of fields: user, user content, time and history.

    Attributes:
        users: U rows: the user's code and content. A user without positive events has the unknown code.
        has_clock: whether hour of day and weekday (UTC) are fields.
        n_items: number of items of the fit; other items in a history are ignored.
        max_length: number of latest items of a history that are pooled.
    """

    users: Annotated[FieldRows, SharedSizes(U="E")]
    has_clock: bool
    n_items: int
    max_length: int

    @classmethod
    def from_dataset(cls, data: Dataset, content: ContentEncoder | None, max_length: int) -> "QueryEncoder":
        """The encoder for the users of a data set."""
        n = len(data.users)
        is_active = np.diff(data.interactions.indptr) > 0
        codes = FieldRows.from_columns(n, codes=((np.where(is_active, np.arange(1, n + 1), 0), n + 1),))
        users = codes.hstack(_encode_content(content, data.user_table, n))
        return cls(users, data.time_kind.has_dates, len(data.items), max_length)

    def encode(self, users: NDArray[Any], times: Int64Array | None, histories: PackedHistories) -> FieldRows:
        """One row per query; user −1 and times None stand for unknown ones."""
        rows = self.users.take(users).hstack(self._encode_times(len(users), times))
        # A bag with the mean of the items of each history, and the history's length as a number between 0 and 1.
        lengths = histories.lengths
        weights = np.repeat(1 / np.maximum(1, lengths), lengths).astype(np.float32)
        bag = sp.csr_array((weights, histories.items, histories.bounds), shape=(len(lengths), self.n_items))
        scaled = (np.log1p(lengths) / np.log1p(self.max_length)).astype(np.float32)
        return rows.hstack(FieldRows.from_columns(len(lengths), bags=(bag,), numbers=scaled[:, None]))

    @property
    def fields(self) -> FieldSizes:
        """The fields of a row."""
        return self.encode(np.zeros(0, np.int32), None, PackedHistories.from_rows([])).fields

    def encode_queries(self, queries: Queries) -> tuple[FieldRows, NDArray[np.bool_]]:
        """Rows (B), and (B,) whether anything but the time is known about each query."""
        users = self.mask_unknown_users(queries.users)
        histories = self.select_histories(queries)
        rows = self.users.take(users)
        is_known = (histories.lengths > 0) | rows.codes.any(1) | (rows.numbers != 0).any(1)
        for bag in rows.bags:
            is_known |= np.diff(bag.indptr) > 0
        return self.encode(users, queries.time, histories), is_known

    def mask_unknown_users(self, users: NDArray[Any]) -> NDArray[Any]:
        """(B,) the users, −1 for those outside the fit."""
        return np.where(users < len(self.users), users, -1)

    def select_histories(self, queries: Queries) -> PackedHistories:
        """The latest ``max_length`` items of the fit in each history."""
        longest = max(1, queries.n_items, *map(len, queries.sequences or ((),)))
        full = PackedHistories.from_queries(queries, longest)
        kept = full.items < self.n_items
        bounds = np.concatenate([[0], np.cumsum(kept)])[full.bounds]
        starts = np.maximum(bounds[:-1], bounds[1:] - self.max_length)
        lengths = bounds[1:] - starts
        positions = concat_ranges(starts, lengths)
        return PackedHistories(full.items[kept][positions], np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    def _encode_times(self, n: int, times: Int64Array | None) -> FieldRows:
        if not self.has_clock:
            return FieldRows.from_columns(n)
        if times is None:
            return FieldRows.from_columns(n, codes=((np.zeros(n, np.int32), 25), (np.zeros(n, np.int32), 8)))
        # 1 January 1970 was a Thursday, day 3 counted from Monday.
        hour, weekday = times % _DAY // _HOUR, (times // _DAY + 3) % 7
        return FieldRows.from_columns(n, codes=((hour + 1, 25), (weekday + 1, 8)))


def encode_items(data: Dataset, content: ContentEncoder | None) -> FieldRows:
    """N rows: code and content. An item without interactions has the unknown code, because a code of its own would not be trained."""
    n = len(data.items)
    is_active = np.bincount(data.interactions.indices, minlength=n) > 0
    codes = FieldRows.from_columns(n, codes=((np.where(is_active, np.arange(1, n + 1), 0), n + 1),))
    return codes.hstack(_encode_content(content, data.item_table, n))


def has_order(data: Dataset) -> bool:
    """Whether the events of any user differ in time."""
    user, time = data.events.user, data.events.time
    return bool(((user[1:] == user[:-1]) & (time[1:] != time[:-1])).any())
