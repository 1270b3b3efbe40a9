"""The owner of a shared log: what other servers write is in the stream, in the order of the log, and nothing is there twice."""

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from leanrec.data.vocabulary import Id
from leanrec.errors import SourceError
from leanrec.events import SQLiteEventStore, UserEvent
from leanrec.events.shared_store import LogHead, SharedEventStore
from leanrec.serving.workers import shared_store_owner
from leanrec.serving.workers.messages import (
    AddItems,
    Appended,
    AppendEvents,
    Changed,
    ChangeLog,
    ForgetUser,
    HideItems,
    JoinStream,
    LogStatus,
    Message,
    Refused,
    Welcome,
    encode_message,
    read_message,
)
from leanrec.serving.workers.shared_store_owner import SharedStoreOwner, make_owner
from leanrec.serving.workers.store_owner import StoreOwner


class SharedLog(SQLiteEventStore, SharedEventStore):
    """A file as a log that others write too: what a test writes to it, without the owner, is from another server."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.revisions: dict[tuple[str, Id], int] = {}
        self.watchers: list[Callable[[LogHead], None]] = []
        self.is_away = False

    def tell(self) -> None:
        """Tell the servers what is written."""
        for each in self.watchers:
            each(self.read_head())

    def read_head(self) -> LogHead:
        n_forgotten = max((each.number for each in self.forgotten_users()), default=0)
        return LogHead(self.last_seq, max(self.revisions.values(), default=0), n_forgotten)

    def watch(self, on_change: Callable[[LogHead], None]) -> None:
        self.watchers.append(on_change)
        self.tell()

    def numbered_events(self, *, after: int, until: int) -> list[tuple[int, UserEvent]]:
        if self.is_away:
            raise SourceError("away")
        numbers = range(after + 1, until + 1)
        found = [(number, self.user_events(after=number - 1, until=number)) for number in numbers]
        return [(number, events[0]) for number, events in found if events]

    def add_items(self, contents: Mapping[Id, Mapping[str, Any]]) -> None:
        super().add_items(contents)
        self._revise("item", list(contents))

    def set_hidden(self, items: Sequence[Id], *, hidden: bool, by_stock: bool = False) -> tuple[Id, ...]:
        changed = super().set_hidden(items, hidden=hidden, by_stock=by_stock)
        self._revise("hidden", items)
        return changed

    def changed_items(self, after: int) -> list[tuple[Id, dict[str, Any]]]:
        return [each for each in self.item_contents() if self.revisions["item", each[0]] > after]

    def changed_visibility(self, after: int) -> list[tuple[Id, bool]]:
        states = [(item, True) for item in self.hidden_items()] + [(item, False) for item in self.shown_items()]
        return [each for each in states if self.revisions["hidden", each[0]] > after]

    def _revise(self, kind: str, items: Sequence[Id]) -> None:
        number = max(self.revisions.values(), default=0) + 1
        self.revisions |= {(kind, item): number for item in items}


class Peer:
    """A worker as the owner sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, message: Message) -> None:
        self.writer.write(encode_message(message))

    async def receive(self, kind: type = object) -> Any:
        """The next message of a kind that is no status."""
        while True:
            message = await asyncio.wait_for(read_message(self.reader), 30)
            if not isinstance(message, LogStatus) and isinstance(message, kind):
                return message


Join = Callable[..., Awaitable[Peer]]


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[SharedLog, Join]]:
    log, peers = SharedLog(folder / "events.db"), list[Peer]()
    log.append([_click(1), _click(2)])
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "address"))
        listener.listen()
        stopping = asyncio.Event()
        task = asyncio.ensure_future(make_owner(log).run(listener, stopping))

        async def join(after: int = 2, *, waits: bool = True) -> Peer:
            peer = Peer(*await asyncio.open_unix_connection(str(folder / "address")))
            peers.append(peer)
            peer.send(JoinStream(len(peers), after))
            if waits:
                await peer.receive(Welcome)
            return peer

        try:
            yield log, join
        finally:
            for peer in peers:
                peer.writer.close()
            stopping.set()
            await task


def _click(number: int, user: str = "ann") -> UserEvent:
    return UserEvent(f"e-{number}", user, number, "click", 1_700_000_000.5, 1.0)


def run(folder: Path, test: Callable[[SharedLog, Join], Awaitable[None]]) -> None:
    async def go() -> None:
        async with running(folder) as (log, join):
            await asyncio.wait_for(test(log, join), 60)

    asyncio.run(go())


def test_only_a_shared_log_is_followed(tmp_path: Path) -> None:
    with SQLiteEventStore(tmp_path / "one.db") as one, SharedLog(tmp_path / "two.db") as two:
        assert type(make_owner(one)) is StoreOwner
        assert type(make_owner(two)) is SharedStoreOwner


def test_events_of_other_servers_come_before_those_that_follow_them_in_the_log(tmp_path: Path) -> None:
    async def test(log: SharedLog, join: Join) -> None:
        one, two = await join(), await join()
        log.append([_click(3), _click(4)])  # by another server, which has not told yet
        one.send(AppendEvents(7, [_click(5)]))
        for peer in (one, two):
            assert await peer.receive() == Appended(2, 4, [_click(3), _click(4)])
            own = await peer.receive()
            assert (own.after, own.last_seq, own.events, own.number) == (4, 5, [_click(5)], 7)
        log.append([_click(6)])
        log.tell()
        for peer in (one, two):
            assert await peer.receive() == Appended(5, 6, [_click(6)])
        one.send(AppendEvents(8, [_click(6)]))  # a duplicate of what another server was sent
        answer = await one.receive()
        assert (answer.after, answer.last_seq, answer.events, answer.duplicates) == (6, 6, [], 1)

    run(tmp_path, test)


def test_numbers_of_forgotten_events_are_missing_between_the_frames(tmp_path: Path) -> None:
    async def test(log: SharedLog, join: Join) -> None:
        peer = await join()
        log.append([_click(number, user="bob" if number in {4, 5, 8} else "ann") for number in range(3, 9)])
        log.forget_user("bob")
        log.tell()
        assert isinstance((await peer.receive()).change, ForgetUser)
        frames = [await peer.receive() for _ in range(3)]
        assert [(each.after, each.last_seq, [event.item for event in each.events]) for each in frames] == [
            (2, 3, [3]),
            (3, 7, [6, 7]),
            (7, 8, []),
        ]

    run(tmp_path, test)


def test_changes_of_other_servers_come_once_and_those_of_workers_too(tmp_path: Path) -> None:
    async def test(log: SharedLog, join: Join) -> None:
        one, two = await join(), await join()
        log.add_items({7: {"title": "seven"}})
        log.set_hidden([8], hidden=True)
        log.tell()
        for peer in (one, two):
            assert await peer.receive() == Changed(AddItems([(7, {"title": "seven"})]))
            assert await peer.receive() == Changed(HideItems([8], hidden=True))
        one.send(ChangeLog(3, HideItems([8], hidden=False)))
        assert (await one.receive()).number == 3
        log.tell()  # of what is sent already
        one.send(ChangeLog(4, ForgetUser("ann")))
        assert (await one.receive()).number == 4
        log.tell()
        log.set_hidden([8], hidden=True)  # before the next change of a worker, and not told yet
        one.send(ChangeLog(5, AddItems([(9, {})])))
        assert (await one.receive()).number == 5
        log.tell()
        assert await one.receive() == Changed(AddItems([(9, {})]))  # twice, with what came before it
        assert await one.receive() == Changed(HideItems([8], hidden=True))

    run(tmp_path, test)


def test_a_worker_that_has_read_more_than_was_sent_joins(tmp_path: Path) -> None:
    async def test(log: SharedLog, join: Join) -> None:
        log.append([_click(3), _click(4)])
        peer = await join(4)
        log.append([_click(5)])
        log.tell()
        assert await peer.receive(Appended) == Appended(4, 5, [_click(5)])
        assert await read_message((await join(9, waits=False)).reader) is None  # of another log

    run(tmp_path, test)


def test_what_cannot_be_read_is_read_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_store_owner, "_PAUSE", 0.01)

    async def test(log: SharedLog, join: Join) -> None:
        peer = await join()
        log.is_away = True
        log.append([_click(3)])
        peer.send(AppendEvents(1, [_click(4)]))
        while log.last_seq < 4:  # noqa: ASYNC110 - another thread writes
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        log.is_away = False
        assert [(await peer.receive()).events for _ in range(2)] == [[_click(3)], [_click(4)]]

    run(tmp_path, test)


def test_a_refused_batch_holds_nothing_up(tmp_path: Path) -> None:
    async def test(log: SharedLog, join: Join) -> None:
        peer = await join()
        peer.send(AppendEvents(1, [UserEvent("x", 2**63, 1, "click", 0.0, 1.0)]))
        assert isinstance(await peer.receive(), Refused)
        log.append([_click(3)])
        log.tell()
        assert (await peer.receive()).events == [_click(3)]

    run(tmp_path, test)


def test_batches_of_all_servers_are_in_the_order_of_the_log(tmp_path: Path) -> None:
    async def test(log: SharedLog, join: Join) -> None:
        peers = [await join(), await join()]
        for number in range(3, 60):
            if number % 3:
                peers[number % 2].send(AppendEvents(number, [_click(number)]))
            else:
                await asyncio.to_thread(log.append, [_click(number)])
                log.tell()
        for peer in peers:
            frames = list[Appended]()
            while not frames or frames[-1].last_seq < 59:
                frames.append(await peer.receive(Appended))
            assert [each.after for each in frames] == [2, *(each.last_seq for each in frames[:-1])]
            items = list(itertools.chain.from_iterable(each.events for each in frames))
            assert [each.item for each in items] == [each.item for each in log.user_events(after=2)]

    run(tmp_path, test)
