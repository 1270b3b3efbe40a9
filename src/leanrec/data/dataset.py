"""Dataset: an indexed interaction log with the tables and links of its users and items."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator
from typing import Annotated

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.data.conventions import LogConventions
from leanrec.data.links import ItemLinks, UserLinks
from leanrec.data.table import Table
from leanrec.data.time_kind import TimeKind, infer_time_kind, is_sorted
from leanrec.data.vocabulary import Vocabulary
from leanrec.errors import DataError
from leanrec.field_checks import SharedSizes, check_codes
from leanrec.types import CSR, Events, Float32Array, Int32Array, Int64Array, Queries, compact_indices

__all__ = ["Dataset", "DatasetShape"]

# Events that are looked at together, so that nothing of the size of the log is made beside what is kept.
_BLOCK = 2**20
_TEXTS = 2**16


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
        if not is_sorted(user, time):
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
        return np.searchsorted(self.events.user, np.arange(len(self.users) + 1, dtype=np.int32)).astype(np.int64)

    def iter_blocks(self) -> Iterator[tuple[slice, slice]]:
        """Users, and all their events, in blocks of about a million events: for passes over the log in little memory."""
        bounds = self.indptr
        first = 0
        while first < len(self.users):
            stop = max(int(np.searchsorted(bounds, bounds[first] + _BLOCK, side="right")) - 1, first + 1)
            yield slice(first, stop), slice(int(bounds[first]), int(bounds[stop]))
            first = stop

    @functools.cached_property
    def interactions(self) -> CSR:
        """(U, N) float32: summed weight of positive events (`is_positive`). Cost: O(E) time, 8 bytes an event."""
        return self._to_matrix(self.events.weight, self.is_positive)

    @functools.cached_property
    def is_positive(self) -> NDArray[np.bool_]:
        """(E,) bool: the weight is above 0, and no later rating of the user for the item replaces that of the event.

        The last rating of a user for an item counts. Events without a rating, such as repeated plays, all count.
        """
        positive: NDArray[np.bool_] = self.events.weight > 0
        rating = self.events.rating
        return positive if rating is None else positive & (np.isnan(rating) | self._is_last_rating)

    @functools.cached_property
    def _is_all_positive(self) -> bool:
        """Whether every event is positive, so that the histories hold all that was seen."""
        return bool(self.is_positive.all())

    @functools.cached_property
    def seen(self) -> CSR:
        """(U, N) float32: 1 wherever there is an event of any type or weight."""
        if self._is_all_positive:
            return _fill_with_ones(self.interactions)
        matrix = self._to_matrix(None, None)
        matrix.data[:] = 1.0
        return matrix

    @functools.cached_property
    def ratings(self) -> CSR | None:
        """(U, N) float32: the last explicit rating of each (user, item) pair, or None where there are no ratings."""
        rating = self.events.rating
        return (
            None if rating is None or not self._is_last_rating.any() else self._to_matrix(rating, self._is_last_rating)
        )

    @functools.cached_property
    def _is_last_rating(self) -> NDArray[np.bool_]:
        """(E,) whether an event has the last rating of its pair."""
        is_last = np.zeros(len(self.events), np.bool_)
        if self.events.rating is None:
            return is_last
        for users, events in self.iter_blocks():
            # Events are in time order within a user, so the last entry of a pair is the newest.
            rated = events.start + np.flatnonzero(np.isfinite(self.events.rating[events]))[::-1]
            user = (self.events.user[rated] - users.start).astype(np.int64)
            _, newest = np.unique(user * len(self.items) + self.events.item[rated], return_index=True)
            is_last[rated[newest]] = True
        return is_last

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

    def _to_matrix(self, values: Float32Array | None, chosen: NDArray[np.bool_] | None) -> CSR:
        """(U, N): the values of the chosen events, those of one pair summed; None = all events, each with the value 1."""
        n_entries = len(self.events) if chosen is None else int(np.count_nonzero(chosen))
        indices, data = np.empty(n_entries, np.int32), np.empty(n_entries, np.float32)
        indptr = np.zeros(len(self.users) + 1, np.int64)
        end = 0
        for users, events in self.iter_blocks():
            which = slice(None) if chosen is None else chosen[events]
            user, item = self.events.user[events][which] - users.start, self.events.item[events][which]
            value = np.ones(len(user), np.float32) if values is None else values[events][which]
            block = sp.coo_array((value, (user, item)), shape=(users.stop - users.start, len(self.items))).tocsr()
            block.sum_duplicates()
            first, end = end, end + block.nnz
            indices[first:end], data[first:end] = block.indices, block.data
            indptr[users.start + 1 : users.stop + 1] = first + block.indptr[1:]
        # What is behind the end was never touched, and takes no memory.
        matrix: CSR = sp.csr_array((data[:end], indices[:end], indptr), shape=(len(self.users), len(self.items)))
        matrix.has_canonical_format = True
        return compact_indices(matrix)

    def queries(self, users: Int32Array | None = None) -> Queries:
        """Return queries for the given users (default: all), with the histories of this data set."""
        rows = np.arange(len(self.users), dtype=np.int32) if users is None else np.asarray(users, dtype=np.int32)
        items, bounds = self._positive_items
        spans = zip(bounds[rows].tolist(), bounds[rows + 1].tolist(), strict=True)
        history = self.interactions if users is None else self.interactions[rows]
        return Queries(
            users=rows,
            history=history,
            seen=_fill_with_ones(history) if self._is_all_positive else self.seen[rows],
            ratings=None if self.ratings is None else self.ratings[rows],
            sequences=tuple(items[start:stop] for start, stop in spans),
        )

    @functools.cached_property
    def _positive_items(self) -> tuple[Int32Array, Int64Array]:
        """Items of all P positive events, and the bounds of each user in them: (P,) and (U + 1,)."""
        if self._is_all_positive:
            return self.events.item, self.indptr
        bounds = np.zeros(len(self.users) + 1, np.int64)
        for users, events in self.iter_blocks():
            user = self.events.user[events][self.is_positive[events]] - users.start
            bounds[users.start + 1 : users.stop + 1] = np.bincount(user, minlength=users.stop - users.start)
        return self.events.item[self.is_positive], np.cumsum(bounds)

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


def _fill_with_ones(matrix: CSR) -> CSR:
    """A matrix with the same columns, which are not copied, and the values 1."""
    ones = sp.csr_array((np.ones_like(matrix.data), matrix.indices, matrix.indptr), shape=matrix.shape)
    ones.has_canonical_format = True
    return compact_indices(ones)


def _update_digest(digest: "hashlib._Hash", column: np.ndarray | None) -> None:
    """Add a column to the digest; strings with their lengths, so that different columns have different digests."""
    if column is None:
        digest.update(b"none")
    elif column.dtype.kind == "T":
        blocks = [column[start : start + _TEXTS] for start in range(0, len(column), _TEXTS)]
        for block in blocks:
            digest.update(np.array([len(text.encode()) for text in block.tolist()], np.int64).tobytes())
        for block in blocks:
            digest.update("".join(block.tolist()).encode())
    else:
        digest.update(np.ascontiguousarray(column).reshape(-1).view(np.uint8).data)
