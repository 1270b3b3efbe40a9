"""Event store of a server: what it reads and writes, in its own process or through another one."""

import abc
import asyncio
import collections
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Self, TypeVar

from leanrec.data.vocabulary import Id
from leanrec.errors import BusyError, SourceError
from leanrec.events.event_reader import EventReader
from leanrec.events.records import AppendResult, DataOrigin, ForgottenUser, RetentionPolicy, ServedList, StoredRules
from leanrec.events.user_events import UserEvent

__all__ = ["MAX_WAITING_LISTS", "ClosableEventStore", "EventStore"]

_QUEUE_SIZE = 10_000
_MAX_WAITING_EVENTS = 200_000  # about 100 MB
MAX_WAITING_LISTS = 20_000  # about 10 MB; more are not kept: a disk or server that hangs must not fill the memory
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
        """Bind the store to a data set. Raises DataError if it is bound to another one and ``rebind`` is False."""

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
    """An event store that is closed by its opener, and written by one thread: what waits for that thread, and for how long.

    Attributes:
        retention: how long served lists are kept.
    """

    retention: RetentionPolicy
    _is_open: bool
    _n_waiting: int  # events that wait to be written
    _writing_since: float | None
    _served: collections.deque[ServedList]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    @abc.abstractmethod
    def longest_wait(self) -> float:
        """Seconds after which a write that is not confirmed is no longer waited for."""

    @abc.abstractmethod
    def close(self) -> None:
        """Write what is waiting, and close the store. Calling it again does nothing."""

    @abc.abstractmethod
    def submit(self, user_events: Sequence[UserEvent]) -> Future[AppendResult]:
        """Give events to the writer, as ``append`` does, without waiting. The future is done when they are on disk."""

    def append(self, user_events: Sequence[UserEvent]) -> AppendResult:
        """Write events, except those whose id is there already. Returns when they are on disk.

        Raises BusyError, with nothing stored, if too many writes wait, and SourceError if the store cannot be written.
        """
        return self._wait(self.submit(user_events))

    async def wait_async(self, done: asyncio.Future[_Result]) -> _Result:
        """The result of a write in an event loop, which goes on meanwhile. A write that takes too long is not cancelled.

        Raises SourceError if the store does not answer in time.
        """
        if not (await asyncio.wait((done,), timeout=self.longest_wait))[0]:
            raise self._make_timeout_error()
        return done.result()

    def append_served(self, served: ServedList) -> None:
        """Write a served list, and delete old ones from time to time.

        Returns at once; a list that cannot be written is counted in ``n_lost``.
        """
        if not self.retention.max_lists:
            return
        self._check_open()
        if len(self._served) >= MAX_WAITING_LISTS:
            self.n_lost += 1
        else:
            self._served.append(served)

    def waiting_seconds(self) -> float:
        """For how long the writer has worked on the same transaction; 0 if it waits for work."""
        since = self._writing_since
        return 0.0 if since is None else time.monotonic() - since

    def _wait(self, done: Future[_Result]) -> _Result:
        """The result of a write. Raises SourceError if the store does not answer in time."""
        try:
            return done.result(self.longest_wait)
        except TimeoutError:
            raise self._make_timeout_error() from None

    def _check_open(self) -> None:
        if not self._is_open:
            raise SourceError(f"The event log {self.name} is closed. Open it again to write.")

    def _check_room(self, n_events: int, n_writes: int) -> None:
        """Raise BusyError if these events, or one more write, must not wait too."""
        is_full = self._n_waiting > 0 and self._n_waiting + n_events > _MAX_WAITING_EVENTS
        if is_full or n_writes >= _QUEUE_SIZE:
            raise BusyError(
                f"At most {_QUEUE_SIZE:,} writes and {_MAX_WAITING_EVENTS:,} events may wait for the event log {self.name}. "
                "Nothing of this one was stored: send it again after a second."
            )

    def _make_timeout_error(self) -> SourceError:
        return SourceError(
            f"The event log {self.name} did not confirm a write within {self.longest_wait:g} s. It may still be stored: send it "
            "again with the same ids."
        )
