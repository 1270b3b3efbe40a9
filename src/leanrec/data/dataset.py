"""Dataset: an indexed interaction log with the tables and links of its users and items."""

import dataclasses
import functools
import hashlib
from typing import Annotated

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.data.conventions import LogConventions
from leanrec.data.links import ItemLinks, UserLinks
from leanrec.data.table import Table
from leanrec.data.time_kind import TimeKind, infer_time_kind
from leanrec.data.vocabulary import Vocabulary
from leanrec.errors import DataError
from leanrec.field_checks import SharedSizes, check_codes
from leanrec.types import CSR, Events, Int32Array, Int64Array, Queries, compact_indices

__all__ = ["Dataset", "DatasetShape"]


@dataclasses.dataclass(frozen=True)
class DatasetShape:
    """Size of a data set, from which models estimate the memory of a fit."""

    users: int
    items: int
    events: int


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Interaction log indexed by internal user and item rows, in time order within each user.

    Attributes:
        events: E events; ``user`` and ``item`` are int32 rows; sorted by (user, time), ties in log order.
        users: U external ids ↔ rows.
        items: N external ids ↔ rows, including items of the item table without events.
        item_table: N rows of content, or None.
        user_table: U rows, or None.
        rating_range: lowest and highest rating allowed, or None where there are no ratings.
        source: description of where the events came from.
        item_links: knowledge triples about items, or None.
        user_links: trust or friendship between users, or None.
        time_kind: what ``events.time`` means. The default infers it from the values; it is kept when events are added.
        conventions: what was settled when the log was read. Not part of the fingerprint: it concerns later events.
    """

    events: Events
    users: Annotated[Vocabulary, SharedSizes(U="n")]
    items: Annotated[Vocabulary, SharedSizes(N="n")]
    item_table: Table | None = None
    user_table: Table | None = None
    rating_range: tuple[float, float] | None = None
    source: str = ""
    item_links: ItemLinks | None = None
    user_links: UserLinks | None = None
    time_kind: TimeKind = TimeKind.UNKNOWN
    conventions: LogConventions = LogConventions()

    def check_state(self) -> None:
        """Raise DataError unless the events are of these users and items, and in order."""
        user, time = self.events.user, self.events.time
        check_codes("Dataset.events.user", user, len(self.users))
        check_codes("Dataset.events.item", self.events.item, len(self.items))
        is_same_user = user[1:] == user[:-1]
        if not ((user[1:] > user[:-1]) | (is_same_user & (time[1:] >= time[:-1]))).all():
            raise DataError("Dataset.events must be in the order of their users, and of their times within each user.")

    def __post_init__(self) -> None:
        for name, table, ids in (
            ("item_table", self.item_table, self.items),
            ("user_table", self.user_table, self.users),
        ):
            if table is not None and len(table) != len(ids):
                raise DataError(f"{name} must have a row for each of the {len(ids)} ids. Got {len(table)} rows.")
        # A saved data set holds the name of the kind.
        kind = TimeKind(self.time_kind)
        object.__setattr__(self, "time_kind", infer_time_kind(self.events) if kind is TimeKind.UNKNOWN else kind)

    @property
    def shape(self) -> DatasetShape:
        """Numbers of users, items and events."""
        return DatasetShape(len(self.users), len(self.items), len(self.events))

    @functools.cached_property
    def indptr(self) -> Int64Array:
        """(U + 1,) bounds: the events of user u are ``indptr[u]:indptr[u + 1]``, oldest first."""
        counts = np.bincount(self.events.user, minlength=len(self.users))
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @functools.cached_property
    def interactions(self) -> CSR:
        """(U, N) float32: summed weight of positive events (`is_positive`). Cost: O(E) time, 8 bytes an entry."""
        return self._to_matrix(self.events.weight, self.is_positive)

    @functools.cached_property
    def is_positive(self) -> NDArray[np.bool_]:
        """(E,) bool: the weight is above 0, and no later rating of the user for the item replaces that of the event.

        The last rating of a user for an item counts. Events without a rating, such as repeated plays, all count.
        """
        positive: NDArray[np.bool_] = self.events.weight > 0
        if self.events.rating is None or self.seen.nnz == len(self.events):  # no pair has two events
            return positive
        replaced = np.isfinite(self.events.rating)
        replaced[self._last_ratings] = False
        return positive & ~replaced

    @functools.cached_property
    def seen(self) -> CSR:
        """(U, N) float32: 1 wherever there is an event of any type or weight."""
        matrix = self._to_matrix(np.ones(len(self.events), np.float32), slice(None))
        matrix.data[:] = 1.0
        return matrix

    @functools.cached_property
    def ratings(self) -> CSR | None:
        """(U, N) float32: the last explicit rating of each (user, item) pair, or None where there are no ratings."""
        rating = self.events.rating
        return None if rating is None or not len(self._last_ratings) else self._to_matrix(rating, self._last_ratings)

    @functools.cached_property
    def _last_ratings(self) -> Int64Array:
        """Positions of the events with the last rating of each pair."""
        if self.events.rating is None:
            return np.zeros(0, np.int64)
        rated = np.flatnonzero(np.isfinite(self.events.rating))
        # Events are in time order within a user, so the last entry of a pair is the newest.
        pair = self.events.user[rated].astype(np.int64) * len(self.items) + self.events.item[rated]
        _, from_the_end = np.unique(pair[::-1], return_index=True)
        return rated[len(rated) - 1 - from_the_end]

    @functools.cached_property
    def friends(self) -> CSR | None:
        """(U, U) float32: weight of the trust of each user in another, or None where there are no user links."""
        return None if self.user_links is None else self.user_links.to_matrix(self.users)

    @property
    def active_user_table(self) -> Table | None:
        """Rows of the user table with positive events, or None: what features of users are fitted on.

        A value that only other users have is never trained, so it must not become a feature.
        """
        if self.user_table is None or not self.interactions.nnz:
            return None
        active = np.flatnonzero(np.diff(self.interactions.indptr))
        return self.user_table if len(active) == len(self.users) else self.user_table.take(active)

    def _to_matrix(self, values: np.ndarray, rows: np.ndarray | slice) -> CSR:
        """(U, N): the values of the given events, those of one pair summed."""
        user, item = self.events.user[rows], self.events.item[rows]
        entries = (values[rows].astype(np.float32), (user, item))
        matrix = sp.coo_array(entries, shape=(len(self.users), len(self.items))).tocsr()
        matrix.sum_duplicates()
        return compact_indices(matrix)

    def queries(self, users: Int32Array | None = None) -> Queries:
        """Return queries for the given users (default: all), with the histories of this data set."""
        rows = np.arange(len(self.users), dtype=np.int32) if users is None else np.asarray(users, dtype=np.int32)
        items, bounds = self._positive_items
        spans = zip(bounds[rows].tolist(), bounds[rows + 1].tolist(), strict=True)
        return Queries(
            users=rows,
            history=self.interactions[rows],
            seen=self.seen[rows],
            ratings=None if self.ratings is None else self.ratings[rows],
            sequences=tuple(items[start:stop] for start, stop in spans),
        )

    @functools.cached_property
    def _positive_items(self) -> tuple[Int32Array, Int64Array]:
        """Items of all P positive events, and the bounds of each user in them: (P,) and (U + 1,)."""
        positive = self.is_positive
        counts = np.bincount(self.events.user[positive], minlength=len(self.users))
        return self.events.item[positive], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def with_events(self, events: Events, time_kind: TimeKind | None = None) -> "Dataset":
        """Return the same users and items with other events (internal rows, in any order).

        Args:
            events: E events; those of equal time stay in their order.
            time_kind: what their times mean. None: what those of this data set mean, or, where it has no events yet, what
                is inferred from the values. ``TimeKind.UNKNOWN`` infers it.
        """
        order = np.lexsort((events.time, events.user))
        if time_kind is None:
            time_kind = self.time_kind if len(self.events) else TimeKind.UNKNOWN
        return dataclasses.replace(self, events=events.take(order), time_kind=time_kind)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over events, ids, tables and links.

        Two data sets with equal fingerprints train the same models. Cost: O(E + U + N), and the size of the tables.
        """
        digest = hashlib.sha256(repr((self.events.event_types, self.rating_range)).encode())
        events = self.events
        for column in (events.user, events.item, events.time, events.event_type, events.weight, events.rating):
            _update_digest(digest, column)
        for ids in (self.users.ids, self.items.ids):
            _update_digest(digest, ids)
        for table in (self.user_table, self.item_table):
            for name, column in sorted(() if table is None else table.columns.items()):
                digest.update(repr(name).encode())
                _update_digest(digest, column)
        for links in (self.item_links, self.user_links):
            if links is not None:
                digest.update(type(links).__name__.encode())
                for column in links.columns:
                    _update_digest(digest, column)
        return digest.hexdigest()


def _update_digest(digest: "hashlib._Hash", column: np.ndarray | None) -> None:
    """Add a column to the digest; strings with their lengths, so that different columns have different digests."""
    if column is None:
        digest.update(b"none")
    elif column.dtype.kind == "T":
        texts = [text.encode() for text in column.tolist()]
        digest.update(np.array([len(text) for text in texts], np.int64).tobytes())
        digest.update(b"".join(texts))
    else:
        digest.update(np.ascontiguousarray(column).tobytes())
