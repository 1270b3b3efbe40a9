"""Event reader: what can be read from every event store, whatever it is built on."""

import abc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from leanrec.data.table import Table
from leanrec.data.vocabulary import Id, id_array
from leanrec.errors import DataError
from leanrec.events.records import DataOrigin, ForgottenUser, LogSummary, RankCounts, ServedList, StoredRules
from leanrec.events.user_events import UserEvent, to_events
from leanrec.types import Events, IdArray

__all__ = ["EventReader", "SnapshotTable", "build_event_block", "build_item_table"]


class SnapshotTable(Protocol):
    """Snapshots that an event store keeps itself, one for each version, because several servers read them.

    Forgetting a user deletes them in its transaction.
    """

    def find_last_seq(self, version: str) -> int:
        """Sequence number of the last event in the snapshot of a version, 0 if there is none."""

    def read(self, version: str) -> bytes | None:
        """The snapshot of a version, None if there is none."""

    def write(self, version: str, last_seq: int, n_forgotten: int, content: bytes) -> bool:
        """Write a snapshot, unless a user was forgotten after ``n_forgotten``. Returns whether it was written."""


class EventReader(abc.ABC):
    """Reads an event store, also while servers write to it.

    Every row has a checksum, which is compared whenever the row is read: a damaged store raises SourceError instead of giving
    other events.

    Attributes:
        name: the store in messages: a path, or a URL without its password.
        location: by which another process opens it: the path of a file, or a URL.
    """

    name: str
    location: str | Path

    @property
    @abc.abstractmethod
    def id(self) -> str:
        """Unique id of this store, which stays when it is moved."""

    @abc.abstractmethod
    def origins(self) -> tuple[DataOrigin, ...]:
        """The data sets that this store was bound to, oldest first."""

    @property
    @abc.abstractmethod
    def is_empty(self) -> bool:
        """Whether it has no event and no item."""

    @property
    @abc.abstractmethod
    def last_seq(self) -> int:
        """Sequence number of the last event, 0 if there is none. The events are numbered from 1, in the order of arrival.

        There are gaps where the events of a user were forgotten; a number is never used again. A reader that sees an event sees
        all events with smaller numbers.
        """

    @abc.abstractmethod
    def user_events(self, *, after: int = 0, until: int | None = None) -> list[UserEvent]:
        """Events one by one in the order of arrival, with their ids and with times of milliseconds. O(E).

        Args:
            after: sequence number of the last event that is left out.
            until: sequence number of the last event; None = the last of the store.
        """

    @abc.abstractmethod
    def event_blocks(self, *, after: int = 0, until: int) -> Iterator[tuple[Events, int]]:
        """The same events in blocks of some thousands, each with the checksum of its last event. Memory: one block.

        Raises SourceError if an event is missing.
        """

    @abc.abstractmethod
    def find_seal(self, seq: int) -> int:
        """The checksum of the last event up to a sequence number, 0 if there is none."""

    @property
    @abc.abstractmethod
    def snapshot_path(self) -> Path | None:
        """Folder beside the store for the state of the histories, or None where it has no place for one."""

    @property
    def snapshot_table(self) -> SnapshotTable | None:
        """Where the store keeps that state itself, or None."""
        return None

    @abc.abstractmethod
    def user_events_of(self, items: Sequence[Id], *, until: int) -> list[UserEvent]:
        """All events of the users who have events on some of these items, in the order of arrival. O(E).

        Args:
            items: external ids.
            until: sequence number of the last event.
        """

    @abc.abstractmethod
    def forgotten_users(self, *, after: int = 0) -> tuple[ForgottenUser, ...]:
        """The users who were forgotten, oldest first.

        Args:
            after: number of the last one that is left out.
        """

    @abc.abstractmethod
    def item_contents(self) -> list[tuple[Id, dict[str, Any]]]:
        """Items that were added while serving, with their content, in the order in which they were added first."""

    @abc.abstractmethod
    def hidden_items(self) -> tuple[Id, ...]:
        """External ids of the items that are hidden."""

    @abc.abstractmethod
    def shown_items(self) -> tuple[Id, ...]:
        """External ids of the items that were hidden and are shown again."""

    @abc.abstractmethod
    def list_rules(self) -> StoredRules:
        """The rules of lists of the servers of this store."""

    @abc.abstractmethod
    def served_lists(self) -> Iterator[ServedList]:
        """The served lists that are still kept, in the order in which they were written."""

    @abc.abstractmethod
    def count_by_rank(self) -> RankCounts:
        """Impressions and positive events by rank: the raw numbers of click-through rate and position bias."""

    @abc.abstractmethod
    def verify(self) -> LogSummary:
        """Read every row and compare its checksum. Raises SourceError for the first one that was changed. O(E)."""

    @abc.abstractmethod
    def back_up(self, target: str | Path) -> LogSummary:
        """Copy the store to a new SQLite file, while servers may be writing to it, and verify the copy.

        Raises SourceError if the file exists or cannot be written, or if a row was changed.
        """

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of events."""

    def check_origin(self, origin: DataOrigin) -> None:
        """Raise DataError if the store is bound to other data, whose ids may mean other users and items.

        It is bound to every data set whose models have used it, and to every data set that it was merged into. An
        empty store fits any data.
        """
        origins = self.origins()
        known = {each.fingerprint for each in origins}
        is_ours = origin.fingerprint in known or (origin.log_id and origin.log_id == self.id)
        if origins and not is_ours and not self.is_empty:
            bound = origins[-1]
            raise DataError(
                f"The event log {self.name} must belong to the data of this model ({origin.description}; fingerprint "
                f"{origin.fingerprint[:12]}). It belongs to other data ({bound.description}; fingerprint "
                f"{bound.fingerprint[:12]}), so its ids may mean other users and items. If they mean the same, fit "
                "the model with this log, or serve it with rebind_log; otherwise choose another log."
            )

    def events(self, *, after: int = 0, until: int | None = None) -> Events:
        """Events in the order of arrival, by external id, with request and rank where known. O(E).

        Times are whole seconds, as in every log; the store has them in milliseconds.

        Args:
            after: sequence number of the last event that is left out.
            until: sequence number of the last event; None = the last of the store.
        """
        return to_events(self.user_events(after=after, until=until))

    def items(self) -> tuple[IdArray, Table]:
        """External ids and content of the items that were added while serving."""
        contents = self.item_contents()
        return id_array([item for item, _ in contents]), build_item_table([content for _, content in contents])


def build_event_block(columns: Sequence[Sequence[Any]]) -> Events:
    """Columns of a block of rows (user, item, event type, milliseconds, weight, rating) as events."""
    user, item, event_type, time, weight, rating = columns
    event_types = tuple(dict.fromkeys(event_type))
    code = {name: number for number, name in enumerate(event_types)}
    return Events(
        user=id_array(user),
        item=id_array(item),
        time=np.array(time, np.int64) // 1000,
        event_type=np.array([code[name] for name in event_type], np.int16),
        weight=np.array(weight, np.float32),
        rating=np.array(rating, np.float32),  # None becomes NaN
        event_types=event_types,
    )


def build_item_table(contents: Sequence[Mapping[str, Any]]) -> Table:
    """A table with one row per content. A column of numbers only becomes float64, any other becomes text."""
    names = dict.fromkeys(name for content in contents for name in content)
    return Table({name: _build_column([content.get(name) for content in contents]) for name in names})


def _build_column(cells: Sequence[Any]) -> np.ndarray:
    if all(cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool)) for cell in cells):
        return np.array([np.nan if cell is None else float(cell) for cell in cells])
    return np.array(["" if cell is None else str(cell) for cell in cells], np.dtypes.StringDType())
