"""Event store of a server: what it reads and writes, in its own process or through another one."""

import abc
import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeVar

from leanrec.data.vocabulary import Id
from leanrec.events.event_reader import EventReader
from leanrec.events.records import AppendResult, DataOrigin, ForgottenUser, ServedList, StoredRules
from leanrec.events.user_events import UserEvent

__all__ = ["ClosableEventStore", "EventStore"]

_Result = TypeVar("_Result")


class EventStore(EventReader):
    """An event store that a server reads and writes.

    Attributes:
        n_lost: number of served lists that could not be written.
        guard: whether it can be written: free_bytes, wal_bytes and find_problem(), as a `StorageGuard` has them.
    """

    n_lost: int
    guard: Any

    @abc.abstractmethod
    def bind(self, origin: DataOrigin, *, rebind: bool = False) -> None:
        """Bind the store to a data set. Raises SourceError if it is bound to another one and ``rebind`` is False."""

    @abc.abstractmethod
    def submit(self, user_events: Sequence[UserEvent]) -> Any:
        """Write events without waiting. Returns a future of what is stored."""

    @abc.abstractmethod
    def add_items(self, contents: Mapping[Id, Mapping[str, Any]]) -> Any:
        """Write the content of items. Returns when they are on disk."""

    @abc.abstractmethod
    def set_hidden(self, items: Sequence[Id], *, hidden: bool, by_stock: bool = False) -> tuple[Id, ...]:
        """Write that items are hidden, or shown again. Returns when it is on disk.

        An item is hidden for two reasons, and each is kept by itself: it is out of stock, or it was hidden by a decision.

        Args:
            items: external ids.
            hidden: whether the reason holds.
            by_stock: the reason is the stock.

        Returns the items that are hidden now, or shown: those to show may be hidden for the other reason.
        """

    @abc.abstractmethod
    def replace_list_rules(self, rules: str, revision: int) -> StoredRules:
        """Write rules of lists in the place of those with a revision. Returns when they are on disk.

        Raises ConflictError if the store has another revision; see `StoredRules.replace`.
        """

    @abc.abstractmethod
    def forget_user(self, user: Id) -> ForgottenUser:
        """Delete the events and served lists of a user. At the return the id is in none of the files of the store."""

    @abc.abstractmethod
    def append_served(self, served: ServedList) -> None:
        """Write a served list. Returns at once."""

    @abc.abstractmethod
    async def wait_async(self, done: asyncio.Future[_Result]) -> _Result:
        """The result of a write, which is not cancelled. Raises SourceError if it takes too long."""

    @abc.abstractmethod
    def waiting_seconds(self) -> float:
        """For how long the same transaction has been written; 0 while nothing is."""


class ClosableEventStore(EventStore):
    """An event store that is closed by its opener."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abc.abstractmethod
    def close(self) -> None:
        """Write what is waiting, and close the store. Calling it again does nothing."""

    @abc.abstractmethod
    def append(self, user_events: Sequence[UserEvent]) -> AppendResult:
        """Write events, except those whose id is there already. Returns when they are on disk."""
