"""Rows of fields: who, when, what before, which item and its content, as codes, bags and numbers.

Dimension key: E rows, F fields of one value, M numbers, T targets.
"""

import dataclasses
import functools
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.table import Table
from leanrec.errors import ColumnError
from leanrec.features.numeric import Standard
from leanrec.features.pipeline import Block, Features, FeatureSpec, text_feature
from leanrec.kernels.sparse import concat_ranges
from leanrec.nn.fields import FieldBag, FieldBatch, FieldSizes
from leanrec.run import Run
from leanrec.training.histories import PackedHistories
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array, Queries

__all__ = ["QueryEncoder", "ContentEncoder", "FieldRows", "standardize_numbers", "has_order", "encode_items", "fit_scales"]

_HOUR, _DAY = 3600, 86_400
# The log is older than any clock: times below are an order within the user.
_CLOCK_FROM = 10**8


@dataclasses.dataclass(frozen=True, eq=False)
class FieldRows:
    """E rows of fields.

    Attributes:
        codes: (E, F) int32, fields of one value; 0 = unknown.
        sizes: number of codes of each of them.
        bags: fields of several, weighted values: a matrix (E, values) for each.
        numbers: (E, M) float32, of about unit size; 0 = missing.
    """

    codes: Int32Array
    sizes: tuple[int, ...]
    bags: tuple[CSR, ...]
    numbers: Float32Array

    @classmethod
    def of(
        cls,
        n: int,
        *,
        codes: tuple[tuple[NDArray[Any], int], ...] = (),
        bags: tuple[CSR, ...] = (),
        numbers: Float32Array | None = None,
    ) -> "FieldRows":
        """Rows of columns of codes with their sizes, bags, and numbers."""
        columns = np.zeros((n, len(codes)), np.int32)
        for place, (column, _) in enumerate(codes):
            columns[:, place] = column
        none = np.zeros((n, 0), np.float32) if numbers is None else numbers
        return cls(columns, tuple(size for _, size in codes), bags, none)

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def fields(self) -> FieldSizes:
        """What a row is made of."""
        return FieldSizes(self.sizes, tuple(int(bag.shape[1]) for bag in self.bags), self.numbers.shape[1])

    def take(self, rows: NDArray[Any]) -> "FieldRows":
        """The given rows; −1 gives one of which nothing is known. O(values taken)."""
        lost = rows < 0
        codes, numbers = self.codes[rows], self.numbers[rows]
        codes[lost], numbers[lost] = 0, 0
        return FieldRows(codes, self.sizes, tuple(_take(bag, rows, lost) for bag in self.bags), numbers)

    def beside(self, other: "FieldRows") -> "FieldRows":
        """The fields of both, row by row."""
        return FieldRows(
            np.concatenate([self.codes, other.codes], 1),
            (*self.sizes, *other.sizes),
            (*self.bags, *other.bags),
            np.concatenate([self.numbers, other.numbers], 1),
        )

    def below(self, other: "FieldRows") -> "FieldRows":
        """These rows, and those of ``other`` with the same fields."""
        bags = tuple(
            sp.csr_array(sp.vstack(pair, format="csr", dtype=np.float32))
            for pair in zip(self.bags, other.bags, strict=True)
        )
        codes = np.concatenate([self.codes, other.codes])
        return FieldRows(codes, self.sizes, bags, np.concatenate([self.numbers, other.numbers]))

    def forgetting(self, share: float, rng: np.random.Generator) -> "FieldRows":
        """The same with each code made unknown with probability ``share``: so the unknown ones are trained, too."""
        if not share or not self.codes.size:
            return self
        lost = rng.random(self.codes.shape, dtype=np.float32) < share
        return dataclasses.replace(self, codes=np.where(lost, np.int32(0), self.codes))

    def batch(self) -> FieldBatch:
        """As tensors."""
        bags = tuple(
            FieldBag(
                *(
                    torch.from_numpy(part)
                    for part in (bag.indices.astype(np.int64), bag.indptr.astype(np.int64), bag.data)
                )
            )
            for bag in self.bags
        )
        numbers = np.ascontiguousarray(self.numbers, np.float32)
        return FieldBatch(torch.from_numpy(self.codes.astype(np.int64)), bags, torch.from_numpy(numbers))


def _take(bag: CSR, rows: NDArray[Any], lost: NDArray[np.bool_]) -> CSR:
    starts, lengths = bag.indptr[:-1][rows], np.diff(bag.indptr)[rows]
    lengths = np.where(lost, 0, lengths)
    cells = concat_ranges(starts, lengths)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    shape = (len(rows), bag.shape[1])
    return sp.csr_array((bag.data[cells].astype(np.float32), bag.indices[cells], indptr), shape=shape)


def fit_scales(table: Table, columns: tuple[str, ...], run: Run) -> Features | None:
    """What columns of numbers are standardised by; None without columns."""
    blocks = tuple(Block(name, Standard()) for name in columns)
    return FeatureSpec(blocks).fit(table, run) if blocks else None


def standardize_numbers(scales: Features | None, table: Table) -> Float32Array:
    """(n, M) the numbers of a table on these scales."""
    if scales is None:
        return np.zeros((len(table), 0), np.float32)
    return np.asarray(scales.transform(table).toarray(), np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class ContentEncoder:
    """The columns of a table of items or users as fields: a bag for each feature, and its numbers once more as such.

    Attributes:
        features: a block for each field.
        scales: of the columns of numbers; None where there are none.
    """

    features: Features
    scales: Features | None

    @classmethod
    def of(cls, table: Table | None, columns: tuple[str, ...], text: str, run: Run) -> "ContentEncoder | None":
        """What can be learnt from a table; None where there is no table, or nothing in it.

        Raises ColumnError where ``columns`` names one that is not there.
        """
        if table is None:
            return None
        try:
            features = FeatureSpec(columns=columns, text=text_feature(text)).fit(table, run)
        except ColumnError:
            if columns:
                raise
            return None
        numbers = tuple(kind.column for kind in features.inferred if kind.kind == "number")
        return cls(features, fit_scales(table, numbers, run))

    def rows(self, table: Table) -> FieldRows:
        """A row for each of the table; a column that is not there counts as missing."""
        nothing = np.zeros(len(table), dtype=np.dtypes.StringDType())
        blocks = self.features.blocks
        bags = tuple(block.transform(table.columns.get(block.column, nothing)) for block in blocks)
        there = Table({name: table.columns.get(name, nothing) for name in self._numbers})
        return FieldRows.of(len(table), bags=bags, numbers=standardize_numbers(self.scales, there) if there.columns else None)

    @functools.cached_property
    def _numbers(self) -> tuple[str, ...]:
        return () if self.scales is None else tuple(block.column for block in self.scales.blocks)


def content_rows(content: ContentEncoder | None, table: Table | None, n: int) -> FieldRows:
    """``n`` rows of content; without fields where there is none."""
    return FieldRows.of(n) if content is None or table is None else content.rows(table)


@dataclasses.dataclass(frozen=True, eq=False)
class QueryEncoder:
    """Who asks, when, and with what history, as rows of fields.

    Attributes:
        users: U rows: the user's code and content. A user without positive events has the unknown code.
        clocked: whether the hour of the day and the weekday (UTC) are fields.
        n_items: items that a history may hold; others are passed over.
        length: so many of the latest items of a history are pooled.
    """

    users: FieldRows
    clocked: bool
    n_items: int
    length: int

    @classmethod
    def of(cls, data: Dataset, content: ContentEncoder | None, length: int) -> "QueryEncoder":
        """Those of a data set."""
        n = len(data.users)
        active = np.diff(data.interactions.indptr) > 0
        codes = FieldRows.of(n, codes=((np.where(active, np.arange(1, n + 1), 0), n + 1),))
        users = codes.beside(content_rows(content, data.user_table, n))
        return cls(users, has_clock(data), len(data.items), length)

    def rows(self, users: NDArray[Any], times: Int64Array | None, histories: PackedHistories) -> FieldRows:
        """A row for each asker; users −1 and times None are unknown ones."""
        return self.users.take(users).beside(self._moments(len(users), times)).beside(self._past(histories))

    @property
    def fields(self) -> FieldSizes:
        """What a row is made of."""
        return self.rows(np.zeros(0, np.int32), None, PackedHistories.from_rows([])).fields

    def of_queries(self, queries: Queries) -> tuple[FieldRows, NDArray[np.bool_]]:
        """Rows, and (B,) whether anything is known of each asker besides the time."""
        users = self.own(queries.users)
        histories = self.histories(queries)
        rows = self.users.take(users)
        known = (histories.lengths > 0) | rows.codes.any(1) | (rows.numbers != 0).any(1)
        for bag in rows.bags:
            known |= np.diff(bag.indptr) > 0
        return self.rows(users, queries.time, histories), known

    def own(self, users: NDArray[Any]) -> NDArray[Any]:
        """The users, −1 for those of another data set."""
        return np.where(users < len(self.users), users, -1)

    def histories(self, queries: Queries) -> PackedHistories:
        """The latest known items of each asker."""
        whole = PackedHistories.from_queries(queries, max(1, queries.n_items, *map(len, queries.sequences or ((),))))
        kept = whole.items < self.n_items
        bounds = np.concatenate([[0], np.cumsum(kept)])[whole.bounds]
        starts = np.maximum(bounds[:-1], bounds[1:] - self.length)
        lengths = bounds[1:] - starts
        cells = concat_ranges(starts, lengths)
        return PackedHistories(whole.items[kept][cells], np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    def _moments(self, n: int, times: Int64Array | None) -> FieldRows:
        if not self.clocked:
            return FieldRows.of(n)
        if times is None:
            return FieldRows.of(n, codes=((np.zeros(n, np.int32), 25), (np.zeros(n, np.int32), 8)))
        # 1 January 1970 was a Thursday, the fourth day.
        hour, weekday = times % _DAY // _HOUR, (times // _DAY + 3) % 7
        return FieldRows.of(n, codes=((hour + 1, 25), (weekday + 1, 8)))

    def _past(self, histories: PackedHistories) -> FieldRows:
        """The mean of the items of each history, and how many there are, as a number of about unit size."""
        lengths = histories.lengths
        weights = np.repeat(1 / np.maximum(1, lengths), lengths).astype(np.float32)
        bag = sp.csr_array((weights, histories.items, histories.bounds), shape=(len(lengths), self.n_items))
        share = np.log1p(lengths) / np.log1p(self.length)
        return FieldRows.of(len(lengths), bags=(bag,), numbers=share[:, None].astype(np.float32))


def encode_items(data: Dataset, content: ContentEncoder | None) -> FieldRows:
    """N rows: code and content. An item that nobody touched has the unknown code: nothing was learnt of it."""
    n = len(data.items)
    active = np.bincount(data.interactions.indices, minlength=n) > 0
    codes = FieldRows.of(n, codes=((np.where(active, np.arange(1, n + 1), 0), n + 1),))
    return codes.beside(content_rows(content, data.item_table, n))


def has_order(data: Dataset) -> bool:
    """Whether the events of any user differ in time."""
    user, time = data.events.user, data.events.time
    return bool(((user[1:] == user[:-1]) & (time[1:] != time[:-1])).any())


def has_clock(data: Dataset) -> bool:
    """Whether the times of the events are seconds since 1970 and not an order."""
    times = data.events.time
    return bool(len(times)) and int(times.min()) >= _CLOCK_FROM and int(times.max()) > int(times.min())
