"""The owner of the log: it answers after the write, streams to all workers, and bears what workers do."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from leanrec.events import SQLiteEventStore, UserEvent
from leanrec.events.records import DataOrigin, ServedList
from leanrec.serving.workers import store_owner
from leanrec.serving.workers.messages import (
    AddItems,
    Appended,
    AppendEvents,
    AppendLists,
    BindLog,
    Bound,
    Changed,
    ChangeLog,
    CollectSamples,
    ForgetUser,
    HideItems,
    JoinStream,
    LogStatus,
    Message,
    PushSamples,
    Refused,
    Welcome,
    encode_message,
    read_message,
)
from leanrec.serving.workers.store_owner import StoreOwner


class Peer:
    """A worker as the owner sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, message: Message) -> None:
        self.writer.write(encode_message(message))

    async def receive(self) -> Any:
        """The next message that is no status."""
        while True:
            message = await asyncio.wait_for(read_message(self.reader), 30)
            if not isinstance(message, LogStatus):
                return message

    async def ask(self, message: Message) -> Any:
        self.send(message)
        return await self.receive()


class Owner:
    """A running owner."""

    def __init__(self, log: SQLiteEventStore, address: Path) -> None:
        self.log, self.address = log, address
        self._peers: list[Peer] = []

    async def join(self, process: int = 1, after: int = 0, forgotten: int = 0) -> Peer:
        peer = await self.connect()
        peer.send(JoinStream(process, after, forgotten))
        return peer

    async def connect(self) -> Peer:
        self._peers.append(Peer(*await asyncio.open_unix_connection(str(self.address))))
        return self._peers[-1]

    async def leave(self) -> None:
        """Close all connections."""
        for peer in self._peers:
            peer.writer.close()
            with contextlib.suppress(OSError):
                await peer.writer.wait_closed()


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Owner]:
    log = SQLiteEventStore(folder / "events.db")
    log.append([_click(1), _click(2)])
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "address"))
        listener.listen()
        stopping = asyncio.Event()
        task = asyncio.ensure_future(StoreOwner(log).run(listener, stopping))
        owner = Owner(log, folder / "address")
        try:
            yield owner
        finally:
            await owner.leave()
            stopping.set()
            await task


def _click(number: int, request: str | None = None) -> UserEvent:
    return UserEvent(f"e-{number}", "ann", number, "click", 1_700_000_000.5, 1.0, request=request)


def run(folder: Path, test: Callable[[Owner], Awaitable[None]]) -> None:
    async def go() -> None:
        async with running(folder) as owner:
            await test(owner)

    asyncio.run(go())


def test_a_worker_gets_what_it_lacks_and_then_all_that_comes(tmp_path: Path) -> None:
    async def test(owner: Owner) -> None:
        owner.log.add_items({7: {"title": "seven"}})
        owner.log.set_hidden([8], hidden=True)
        one, two = await owner.join(), await owner.join(2, after=1)
        assert [await one.receive() for _ in range(3)] == [
            Changed(AddItems([(7, {"title": "seven"})])),
            Changed(HideItems([8], hidden=True)),
            Appended(0, 2, [_click(1), _click(2)]),
        ]
        assert [await two.receive() for _ in range(3)][-1] == Appended(1, 2, [_click(2)])
        first, second = await one.receive(), await two.receive()
        two.send(AppendEvents(5, [_click(2), _click(3), _click(3), _click(4)]))
        for peer in (one, two):
            assert await peer.receive() == Appended(2, 4, [_click(3), _click(4)], 2, second.client, 5)
        one.send(ChangeLog(6, HideItems([8], hidden=False)))
        for peer in (one, two):
            assert await peer.receive() == Changed(HideItems([8], hidden=False), first.client, 6)
        assert owner.log.last_seq == 4
        assert owner.log.shown_items() == (8,)

    run(tmp_path, test)


def test_only_the_sender_hears_of_what_was_stored_before(tmp_path: Path) -> None:
    async def test(owner: Owner) -> None:
        one, two = await owner.join(after=2), await owner.join(2, after=2)
        welcome = await one.receive()
        assert await one.ask(AppendEvents(1, [_click(1)])) == Appended(2, 2, [], 1, welcome.client, 1)
        assert isinstance(await two.receive(), Welcome)

    run(tmp_path, test)


def test_a_log_is_bound_on_a_connection_of_its_own(tmp_path: Path) -> None:
    async def test(owner: Owner) -> None:
        for origin, rebind, kind in (("f", True, Bound), ("other", False, Refused)):
            peer = await owner.connect()
            answer = await peer.ask(BindLog(DataOrigin(origin, "data"), rebind=rebind))
            assert isinstance(answer, kind)
            assert await peer.receive() is None
        assert "belongs to other data" in answer.reason

    run(tmp_path, test)


def test_lists_are_written_before_the_events_that_name_them(tmp_path: Path) -> None:
    async def test(owner: Owner) -> None:
        peer = await owner.join(after=2)
        await peer.receive()
        peer.send(AppendLists([ServedList("r", 1.7e9, "ann", (5, 3), (1.0, 0.5))]))
        await peer.ask(AppendEvents(1, [_click(3, request="r")]))
        assert owner.log.user_events(after=2)[0].rank == 1

    run(tmp_path, test)


def test_a_worker_that_says_nonsense_harms_only_itself(tmp_path: Path) -> None:
    async def test(owner: Owner) -> None:
        good = await owner.join(after=2)
        await good.receive()
        for first in (b"GET / HTTP/1.1\r\n\r\n", encode_message(Bound()), encode_message(JoinStream(1, 99))):
            bad = await owner.connect()
            bad.writer.write(first)
            assert await bad.receive() is None
        bad = await owner.join(2, after=2)
        await bad.receive()
        assert await bad.ask(Welcome(1)) is None
        assert (await good.ask(AppendEvents(1, [_click(3)]))).last_seq == 3

    run(tmp_path, test)


def test_a_worker_that_does_not_read_is_disconnected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_owner, "_MAX_UNREAD", 100_000)

    async def test(owner: Owner) -> None:
        deaf, good = await owner.join(after=2), await owner.join(2, after=2)
        await good.receive()
        deaf.reader._transport.pause_reading()  # type: ignore[attr-defined]
        for number in range(200):
            events = [_click(100 * number + each + 10) for each in range(100)]
            assert (await good.ask(AppendEvents(number, events))).last_seq == 102 + 100 * number
        deaf.reader._transport.resume_reading()  # type: ignore[attr-defined]
        with contextlib.suppress(ConnectionError):
            while await deaf.receive() is not None:
                pass

    run(tmp_path, test)


def test_a_forgotten_user_is_told_with_the_id_once(tmp_path: Path) -> None:
    async def test(owner: Owner) -> None:
        one = await owner.join(after=2)
        welcome = await one.receive()
        told = await one.ask(ChangeLog(1, ForgetUser("ann")))
        assert (told.client, told.number, told.change.user) == (welcome.client, 1, "ann")
        assert told.change.forgotten == owner.log.forgotten_users()[0]
        late = await owner.join(2, after=0)
        assert await late.receive() == Changed(ForgetUser(None, told.change.forgotten))
        assert await late.receive() == Appended(0, 2, [])
        known = await owner.join(3, after=2, forgotten=1)
        assert isinstance(await known.receive(), Welcome)

    run(tmp_path, test)


def test_metrics_of_ended_workers_are_kept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sample(value: float) -> tuple[str, str, tuple[tuple[str, str], ...], float]:
        return ("leanrec_requests", "leanrec_requests_total", (), value)

    alive = {1, 2}
    monkeypatch.setattr(store_owner.psutil, "pid_exists", alive.__contains__)

    async def test(owner: Owner) -> None:
        first = await owner.join(1, after=2)
        await first.receive()
        first.send(PushSamples([sample(5)]))
        again = await owner.join(1, after=2)  # the same process on another connection
        await again.receive()
        assert sample(6) in (await again.ask(CollectSamples(1, [sample(6)]))).samples
        new = await owner.join(2, after=2)
        await new.receive()
        first.writer.close()
        again.writer.close()  # and alive: it joins again
        await asyncio.sleep(0.3)
        assert sample(7) in (await new.ask(CollectSamples(1, [sample(1)]))).samples
        back = await owner.join(1, after=2)
        await back.receive()
        assert sample(9) in (await back.ask(CollectSamples(1, [sample(8)]))).samples
        back.writer.close()
        alive.remove(1)
        await asyncio.sleep(0.3)
        answer = await new.ask(CollectSamples(1, [sample(2)]))
        assert sample(10) in answer.samples

    run(tmp_path, test)


def test_metrics_do_not_grow_with_the_restarts_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_owner.psutil, "pid_exists", lambda _: False)
    mine = ("leanrec_requests", "leanrec_requests_total", (), 1.0)

    async def test(owner: Owner) -> None:
        sizes = []
        for process in range(1, 101):
            worker = await owner.join(process, after=2)
            await worker.receive()
            answer = await worker.ask(CollectSamples(1, [mine]))
            sizes.append(len(answer.samples))
            worker.writer.close()
        assert len(set(sizes)) == 1
        assert ("leanrec_requests", "leanrec_requests_total", (), 100.0) in answer.samples

    run(tmp_path, test)
