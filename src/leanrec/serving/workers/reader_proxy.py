"""Reader proxy: what can be read from an event log, by another reader of it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from leanrec.data.vocabulary import Id
from leanrec.events.event_reader import EventReader, SnapshotTable
from leanrec.events.records import DataOrigin, ForgottenUser, LogSummary, RankCounts, ServedList, StoredRules
from leanrec.events.user_events import UserEvent
from leanrec.types import Events

__all__ = ["ReaderProxy"]


class ReaderProxy(EventReader):
    """Reads an event log through a reader, whatever the log is built on.

    Attributes:
        reader: the reader, which has no open connection, so that a process that has it can be forked.
    """

    def __init__(self, reader: EventReader) -> None:
        """Take the reader."""
        self.reader, self.name, self.location = reader, reader.name, reader.location

    @property
    def id(self) -> str:
        """Unique id of the log."""
        return self.reader.id

    def origins(self) -> tuple[DataOrigin, ...]:
        """The data sets that the log was bound to, oldest first."""
        return self.reader.origins()

    @property
    def is_empty(self) -> bool:
        """Whether it has no event and no item."""
        return self.reader.is_empty

    @property
    def last_seq(self) -> int:
        """Sequence number of the last event."""
        return self.reader.last_seq

    def user_events(self, *, after: int = 0, until: int | None = None) -> list[UserEvent]:
        """Events one by one in the order of arrival."""
        return self.reader.user_events(after=after, until=until)

    def event_blocks(self, *, after: int = 0, until: int) -> Iterator[tuple[Events, int]]:
        """The same events in blocks, each with the checksum of its last event."""
        return self.reader.event_blocks(after=after, until=until)

    def find_seal(self, seq: int) -> int:
        """The checksum of the last event up to a sequence number."""
        return self.reader.find_seal(seq)

    @property
    def snapshot_path(self) -> Path | None:
        """Folder beside the log for the state of the histories."""
        return self.reader.snapshot_path

    @property
    def snapshot_table(self) -> SnapshotTable | None:
        """Where the log keeps that state itself."""
        return self.reader.snapshot_table

    def user_events_of(self, items: Sequence[Id], *, until: int) -> list[UserEvent]:
        """All events of the users who have events on some of these items."""
        return self.reader.user_events_of(items, until=until)

    def forgotten_users(self, *, after: int = 0) -> tuple[ForgottenUser, ...]:
        """The users who were forgotten, oldest first."""
        return self.reader.forgotten_users(after=after)

    def item_contents(self) -> list[tuple[Id, dict[str, Any]]]:
        """Items that were added while serving, with their content."""
        return self.reader.item_contents()

    def hidden_items(self) -> tuple[Id, ...]:
        """External ids of the items that are hidden."""
        return self.reader.hidden_items()

    def shown_items(self) -> tuple[Id, ...]:
        """External ids of the items that were hidden and are shown again."""
        return self.reader.shown_items()

    def list_rules(self) -> StoredRules:
        """The rules of lists of the servers of the log."""
        return self.reader.list_rules()

    def served_lists(self) -> Iterator[ServedList]:
        """The served lists that are still kept."""
        return self.reader.served_lists()

    def count_by_rank(self) -> RankCounts:
        """Impressions and positive events by rank."""
        return self.reader.count_by_rank()

    def verify(self) -> LogSummary:
        """Read every row and compare its checksum."""
        return self.reader.verify()

    def back_up(self, target: str | Path) -> LogSummary:
        """Copy the log to a new SQLite file."""
        return self.reader.back_up(target)

    def __len__(self) -> int:
        return len(self.reader)
