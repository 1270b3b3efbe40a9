"""The event log of a worker: what it writes comes back in the stream, also after the owner was away."""

import asyncio
import contextlib
import itertools
import socket
import types
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from leanrec.errors import BusyError, DataError, SourceError
from leanrec.events import SQLiteEventStore, UserEvent
from leanrec.events.records import AppendResult, DataOrigin, ForgottenUser, ServedList
from leanrec.events.sqlite_reader import SQLiteEventReader
from leanrec.pipeline.responses import AddItemsResult, RecordResult
from leanrec.serving.workers import messages, remote_store, store_owner
from leanrec.serving.workers.messages import AddItems, Change, ForgetUser, JoinStream, Sample
from leanrec.serving.workers.remote_store import RemoteEventStore
from leanrec.serving.workers.store_owner import StoreOwner


class Target:
    """Keeps what a worker is told."""

    def __init__(self) -> None:
        self.as_of = self.n_forgotten = 0
        self.events: list[UserEvent] = []
        self.changes: list[Change] = []
        self.users: list[object] = []  # who are forgotten
        self.seconds: list[float] = []  # from the arrival of events

    def note_freshness(self, seconds: float) -> None:
        self.seconds.append(seconds)

    async def apply_events(self, appended: AppendResult) -> RecordResult:
        self.events += appended.new
        self.as_of = appended.last_seq
        return RecordResult(len(appended.new))

    async def apply_change(self, change: Change) -> AddItemsResult | ForgottenUser | None:
        if isinstance(change, ForgetUser):
            assert change.forgotten is not None
            self.n_forgotten = change.forgotten.number
            self.users.append(change.user)
            return change.forgotten
        if change == AddItems([("bad", {})]):
            raise DataError("no such item")
        self.changes.append(change)
        return AddItemsResult(len(change.items)) if isinstance(change, AddItems) else None


class Setting:
    """A log, its owner, and workers."""

    def __init__(self, folder: Path, listener: socket.socket) -> None:
        self.path, self.listener, self.address = folder / "events.db", listener, folder / "address"
        self.stores: list[RemoteEventStore] = []
        self._owner: asyncio.Task[None] | None = None

    def start_owner(self) -> None:
        self.log = SQLiteEventStore(self.path)
        self.stopping = asyncio.Event()
        # A listener of its own, as a process that is forked has: the socket stays open for the next owner.
        self._owner = asyncio.ensure_future(StoreOwner(self.log).run(self.listener.dup(), self.stopping))

    async def kill_owner(self) -> None:
        """End the owner while its workers are connected."""
        if self._owner is not None:
            self._owner.cancel()
            await asyncio.gather(self._owner, return_exceptions=True)
            self._owner = None

    async def join(self, samples: Callable[[], list[Sample]] = list) -> tuple[RemoteEventStore, Target]:
        store, target = RemoteEventStore(SQLiteEventReader(self.path), self.address), Target()
        self.stores.append(store)
        await store.start(target, samples)
        return store, target


@contextlib.asynccontextmanager
async def _set_up(folder: Path) -> AsyncIterator[Setting]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "address"))
        listener.listen()
        setting = Setting(folder, listener)
        setting.start_owner()
        try:
            yield setting
        finally:
            for store in setting.stores:
                await store.stop()
            await setting.kill_owner()


def run(folder: Path, test: Callable[[Setting], Awaitable[None]]) -> None:
    async def go() -> None:
        async with _set_up(folder) as setting:
            await asyncio.wait_for(test(setting), 60)

    asyncio.run(go())


def _click(number: int) -> UserEvent:
    return UserEvent(f"e-{number}", "ann", number, "click", 1_700_000_000.0, 1.0)


async def _wait_for(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for happens in a store
        await asyncio.sleep(0.01)


def test_events_of_one_worker_are_applied_by_all_in_the_order_of_the_log(tmp_path: Path) -> None:
    async def test(setting: Setting) -> None:
        (one, first), (two, second) = await setting.join(), await setting.join()
        sent = [_click(1), _click(2), _click(2)]
        appended, recorded = await one.wait_async(one.submit(sent))
        assert (appended.duplicates, appended.last_seq, recorded.applied) == (1, 2, 2)
        assert [each is mine for each, mine in zip(appended.new, sent, strict=False)] == [True, True]
        assert first.as_of == 2
        both = [store.submit([_click(10 * number)]) for number in range(1, 20) for store in (one, two)]
        assert sum(len(appended.new) for appended, _ in await asyncio.gather(*both)) == 19
        await _wait_for(lambda: first.as_of == second.as_of == 21)
        assert first.events == second.events == setting.log.user_events()
        # Each worker notes each batch that has new events, and none that it reads from the log.
        assert len(first.seconds) == len(second.seconds) == 1 + 19
        assert all(0 < seconds < 60 for seconds in first.seconds + second.seconds)
        _, late = await setting.join()
        assert (late.as_of, late.seconds) == (21, [])

    run(tmp_path, test)


def test_the_stream_goes_on_where_it_broke(tmp_path: Path) -> None:
    async def test(setting: Setting) -> None:
        (one, first), (two, second) = await setting.join(), await setting.join()
        await one.submit([_click(1)])
        await _wait_for(lambda: second.as_of == 1)
        await setting.kill_owner()
        await _wait_for(lambda: one.guard.find_problem() and two.guard.find_problem())
        with pytest.raises(SourceError, match="if it has ended, it is started again. Nothing of this write was stored"):
            one.submit([_click(2)])
        with SQLiteEventStore(setting.path) as log:
            log.append([_click(3)])  # stored, but nobody was told
        setting.start_owner()
        await _wait_for(lambda: one.guard.find_problem() is None and two.guard.find_problem() is None)
        appended, _ = await two.submit([_click(3), _click(4)])
        assert (len(appended.new), appended.duplicates) == (1, 1)
        await _wait_for(lambda: first.as_of == second.as_of == 3)
        assert first.events == second.events == setting.log.user_events()
        _, late = await setting.join()
        assert late.events == first.events

    run(tmp_path, test)


def test_a_write_that_breaks_off_is_an_error_and_can_be_sent_again(tmp_path: Path) -> None:
    async def test(setting: Setting) -> None:
        store, _ = await setting.join()
        waiting = store.submit([_click(1)])
        await setting.kill_owner()
        with contextlib.suppress(SourceError):
            await store.wait_async(waiting)
        setting.start_owner()
        await _wait_for(lambda: store.guard.find_problem() is None)
        appended, _ = await store.submit([_click(1)])
        assert len(appended.new) + appended.duplicates == 1
        assert len(setting.log) == 1

    run(tmp_path, test)


def test_changes_reach_all_workers(tmp_path: Path) -> None:
    async def test(setting: Setting) -> None:
        (one, first), (_, second) = await setting.join(), await setting.join()
        assert (await asyncio.to_thread(one.add_items, {7: {"title": "seven"}})).added == 1
        await asyncio.to_thread(one.set_hidden, [7], hidden=True)
        with pytest.raises(DataError, match="no such item"):
            await asyncio.to_thread(one.add_items, {"bad": {}})
        await asyncio.to_thread(one.bind, DataOrigin("f", "data"))
        await _wait_for(lambda: len(second.changes) == 2)
        assert first.changes == second.changes
        assert one.item_contents()[0] == (7, {"title": "seven"})
        assert [each.fingerprint for each in one.origins()] == ["f"]

    run(tmp_path, test)


def test_a_user_is_forgotten_by_all_and_by_who_joins_later(tmp_path: Path) -> None:
    async def test(setting: Setting) -> None:
        (one, first), (_, second) = await setting.join(), await setting.join()
        await one.submit([_click(1)])
        assert (await asyncio.to_thread(one.forget_user, "ann")).n_events == 1
        await one.submit([_click(2)])
        await _wait_for(lambda: second.as_of == 2)
        _, late = await setting.join()
        assert (first.users, second.users, late.users) == (["ann"], ["ann"], [None])
        assert [each.id for each in late.events] == ["e-2"]
        assert (late.as_of, late.n_forgotten) == (2, 1)

    run(tmp_path, test)


def test_served_lists_are_handed_over(tmp_path: Path) -> None:
    async def test(setting: Setting) -> None:
        store, _ = await setting.join()
        for request, user in (("a", "ann"), ("b", "\ud800"), ("c", None)):
            store.append_served(ServedList(request, 1.7e9, user, (1,), (0.5,)))
        await store.submit([_click(1)])
        assert [each.request for each in setting.log.served_lists()] == ["a", "c"]
        assert store.n_lost == 1

    run(tmp_path, test)


def test_too_much_that_waits_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(setting: Setting) -> None:
        store, _ = await setting.join()
        monkeypatch.setattr(remote_store, "_MAX_UNSENT", -1)
        with pytest.raises(BusyError, match="send it again after a second"):
            store.submit([_click(1)])
        monkeypatch.setattr(remote_store, "_MAX_WAITING_LISTS", 0)
        store.append_served(ServedList("r", 1.7e9, "ann", (), ()))
        assert store.n_lost == 1

    run(tmp_path, test)


def test_metrics_are_collected_from_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processes = itertools.count(1)
    joining = {"JoinStream": lambda _, *last: JoinStream(next(processes), *last)}
    monkeypatch.setattr(remote_store, "messages", types.SimpleNamespace(**{**vars(messages), **joining}))
    monkeypatch.setattr(store_owner.psutil, "pid_exists", lambda _: True)

    def sample(value: float) -> Sample:
        return ("leanrec_events", "leanrec_events_total", (("outcome", "stored"),), value)

    async def test(setting: Setting) -> None:
        await setting.join(lambda: [sample(2)])
        store, _ = await setting.join()
        while sample(5) not in await asyncio.to_thread(store.collect_samples, [sample(3)]):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    run(tmp_path, test)


def test_a_worker_starts_without_an_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> RemoteEventStore:
        SQLiteEventStore(tmp_path / "events.db").close()
        store, target = RemoteEventStore(SQLiteEventReader(tmp_path / "events.db"), tmp_path / "nobody"), Target()
        await store.start(target, wait=0.1)
        assert store.guard.find_problem() is not None
        assert store.last_seq == 0
        await store.stop()
        return store

    store = asyncio.run(go())
    monkeypatch.setattr(remote_store, "_WAIT_SECONDS", 0.1)
    with pytest.raises(SourceError, match=r"must answer within 0\.1 s"):
        store.bind(DataOrigin("f", "data"))
    with pytest.raises(SourceError):  # a thread that works on after the loop
        store.forget_user("ann")
