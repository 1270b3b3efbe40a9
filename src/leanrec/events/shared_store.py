"""Shared event store: one that several servers write at the same time, each of which applies what the others have written."""

import abc
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from leanrec.data.vocabulary import Id
from leanrec.events.event_store import ClosableEventStore
from leanrec.events.user_events import UserEvent

__all__ = ["LogHead", "SharedEventStore", "split_runs"]


class LogHead(NamedTuple):
    """How far a store has been written.

    Attributes:
        last_seq: sequence number of the last event.
        revision: number of the last change of items, hidden or not.
        n_forgotten: number of the last user who was forgotten.
    """

    last_seq: int
    revision: int
    n_forgotten: int


def split_runs(numbered: Sequence[tuple[int, UserEvent]]) -> Iterator[list[tuple[int, UserEvent]]]:
    """Yield runs of events without a missing number. The numbers of forgotten users are missing."""
    for _, run in itertools.groupby(enumerate(numbered), lambda each: each[1][0] - each[0]):
        yield [entry for _, entry in run]


class SharedEventStore(ClosableEventStore):
    """An event store that several servers write."""

    @abc.abstractmethod
    def read_head(self) -> LogHead:
        """How far it has been written. Raises SourceError if it does not answer."""

    @abc.abstractmethod
    def watch(self, on_change: Callable[[LogHead], None]) -> None:
        """Call a function in another thread soon after any server has written: with the first head, and each that differs."""

    @abc.abstractmethod
    def numbered_events(self, *, after: int, until: int) -> list[tuple[int, UserEvent]]:
        """Events of all servers with their sequence numbers, in order, from the one behind ``after`` up to ``until``."""

    @abc.abstractmethod
    def changed_items(self, after: int) -> list[tuple[Id, dict[str, Any]]]:
        """Items whose content was written after a revision, in the order in which they were added first."""

    @abc.abstractmethod
    def changed_visibility(self, after: int) -> list[tuple[Id, bool]]:
        """Items that were hidden (True) or shown again after a revision."""
