"""Dataset: events, indexed, with what is known about users and items."""

import dataclasses
import functools
import hashlib

import numpy as np
import scipy.sparse as sp

from leanrec.data.links import ItemLinks, UserLinks
from leanrec.data.table import Table
from leanrec.data.vocabulary import Vocabulary
from leanrec.errors import DataError
from leanrec.types import CSR, Events, Int32Array, Int64Array, Queries

__all__ = ["Dataset", "Shape"]


@dataclasses.dataclass(frozen=True)
class Shape:
    """How large a data set is: what the memory of a fit can be estimated from."""

    users: int
    items: int
    events: int


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Events indexed by user and item rows, in time order within each user.

    Attributes:
        events: E events; ``user`` and ``item`` are int32 rows; sorted by (user, time), ties in log order.
        users: U own ids ↔ rows.
        items: N own ids ↔ rows; items of the item table that nobody touched are among them.
        item_table: N rows of content, or None.
        user_table: U rows, or None.
        rating_range: lowest and highest rating allowed, or None where there are no ratings.
        source: where the events came from, for people.
        item_links: knowledge triples about items, or None.
        user_links: trust or friendship between users, or None.
    """

    events: Events
    users: Vocabulary
    items: Vocabulary
    item_table: Table | None = None
    user_table: Table | None = None
    rating_range: tuple[float, float] | None = None
    source: str = ""
    item_links: ItemLinks | None = None
    user_links: UserLinks | None = None

    def __post_init__(self) -> None:
        for name, table, ids in (
            ("item_table", self.item_table, self.items),
            ("user_table", self.user_table, self.users),
        ):
            if table is not None and len(table) != len(ids):
                raise DataError(f"{name} must have a row for each of the {len(ids)} ids. Got {len(table)} rows.")

    @property
    def shape(self) -> Shape:
        """Users, items and events."""
        return Shape(len(self.users), len(self.items), len(self.events))

    @functools.cached_property
    def indptr(self) -> Int64Array:
        """(U + 1,) the events of user u are ``indptr[u]:indptr[u + 1]``, oldest first: L-long sequences."""
        counts = np.bincount(self.events.user, minlength=len(self.users))
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @functools.cached_property
    def interactions(self) -> CSR:
        """(U, N) float32: summed weight of positive events. Cost O(E) time, 8 bytes an entry."""
        positive = self.events.weight > 0
        return self._matrix(self.events.weight, positive)

    @functools.cached_property
    def seen(self) -> CSR:
        """(U, N) float32: 1 wherever there is an event of any kind or weight."""
        matrix = self._matrix(np.ones(len(self.events), np.float32), None)
        matrix.data[:] = 1.0
        return matrix

    @functools.cached_property
    def ratings(self) -> CSR | None:
        """(U, N) float32: the last explicit rating of each pair, or None where there are no ratings."""
        value = self.events.value
        if value is None:
            return None
        rated = np.flatnonzero(np.isfinite(value))
        if not len(rated):
            return None
        # Events are in time order within a user: of the entries of a pair, keep the last.
        pair = self.events.user[rated].astype(np.int64) * len(self.items) + self.events.item[rated]
        _, from_the_end = np.unique(pair[::-1], return_index=True)
        last = rated[len(rated) - 1 - from_the_end]
        return _csr(value[last], self.events.user[last], self.events.item[last], (len(self.users), len(self.items)))

    @functools.cached_property
    def friends(self) -> CSR | None:
        """(U, U) float32: the weight with which each user trusts another, or None where there are no user links."""
        return None if self.user_links is None else self.user_links.matrix(self.users)

    def _matrix(self, values: np.ndarray, where: np.ndarray | None) -> CSR:
        user, item = self.events.user, self.events.item
        if where is not None:
            user, item, values = user[where], item[where], values[where]
        return _csr(values, user, item, (len(self.users), len(self.items)))

    def queries(self, users: Int32Array | None = None) -> Queries:
        """The given users (default: all of them) as askers, with the histories of this data set."""
        rows = np.arange(len(self.users), dtype=np.int32) if users is None else np.asarray(users, dtype=np.int32)
        return Queries(
            users=rows,
            history=self.interactions[rows],
            seen=self.seen[rows],
            ratings=None if self.ratings is None else self.ratings[rows],
            last=self._sequences(rows),
        )

    @functools.cached_property
    def _positives(self) -> tuple[Int32Array, Int64Array]:
        """Items of all positive events, and where each user's begin: (P,) and (U + 1,)."""
        positive = self.events.weight > 0
        counts = np.bincount(self.events.user[positive], minlength=len(self.users))
        return self.events.item[positive], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def _sequences(self, users: Int32Array) -> tuple[Int32Array, ...]:
        items, bounds = self._positives
        spans = zip(bounds[users].tolist(), bounds[users + 1].tolist(), strict=True)
        return tuple(items[start:stop] for start, stop in spans)

    def with_events(self, events: Events) -> "Dataset":
        """The same users and items with other events (row-indexed, in any order)."""
        order = np.lexsort((events.time, events.user))
        return dataclasses.replace(self, events=events.take(order))

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over events, ids and what is known about users and items.

        Two data sets with one fingerprint train the same models. Cost O(E + U + N) and their tables.
        """
        digest = hashlib.sha256(repr((self.events.kinds, self.rating_range)).encode())
        events = self.events
        for column in (events.user, events.item, events.time, events.kind, events.weight, events.value):
            _digest(digest, column)
        for ids in (self.users.ids, self.items.ids):
            _digest(digest, ids)
        for table in (self.user_table, self.item_table):
            for name, column in sorted(() if table is None else table.columns.items()):
                digest.update(repr(name).encode())
                _digest(digest, column)
        for links in (self.item_links, self.user_links):
            # Data without links keeps the fingerprint it had before there were any.
            if links is not None:
                digest.update(type(links).__name__.encode())
                for column in links.columns:
                    _digest(digest, column)
        return digest.hexdigest()


def _digest(digest: "hashlib._Hash", column: np.ndarray | None) -> None:
    """Add a column; strings with their lengths, so that no two columns look the same."""
    if column is None:
        digest.update(b"none")
    elif column.dtype.kind == "T":
        texts = [text.encode() for text in column.tolist()]
        digest.update(np.array([len(text) for text in texts], np.int64).tobytes())
        digest.update(b"".join(texts))
    else:
        digest.update(np.ascontiguousarray(column).tobytes())


def _csr(values: np.ndarray, rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> CSR:
    matrix = sp.coo_array((values.astype(np.float32), (rows, columns)), shape=shape).tocsr()
    matrix.sum_duplicates()
    return matrix
