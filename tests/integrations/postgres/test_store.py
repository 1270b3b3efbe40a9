"""The event store in PostgreSQL: the contract of every store, several servers, and a server that is away."""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from contracts.event_store import EventStoreContract, make_event
from contracts.postgres import PostgresServer
from leanrec.errors import SourceError
from leanrec.events.locations import open_reader
from leanrec.events.records import ServedList
from leanrec.events.shared_store import LogHead
from leanrec.integrations.postgres.connection import ConnectionLimits
from leanrec.integrations.postgres.store import PostgresEventStore

pytestmark = [pytest.mark.system, pytest.mark.postgres]


class TestPostgres(EventStoreContract):
    @pytest.fixture
    def location(self, url: str) -> str:
        return url

    @pytest.fixture
    def damage(self, server: PostgresServer, url: str) -> Callable[[str, str], None]:
        return lambda table, change: server.query(url, f"UPDATE leanrec.{table} SET {change}")


def test_numbers_become_visible_in_order_without_holes(url: str) -> None:
    """Three servers write at once while a reader goes by the numbers: it must never pass one that comes later."""
    names, n_batches = "abc", 25
    seen: list[tuple[int, str]] = []
    with contextlib.ExitStack() as stack:
        stores = [stack.enter_context(PostgresEventStore(url)) for _ in names]

        def write(at: int) -> None:
            for number in range(n_batches):
                stores[at].append([make_event(id=f"{names[at]}{number}-{each}") for each in range(3)])

        writers = [threading.Thread(target=write, args=(at,)) for at in range(len(names))]
        for each in writers:
            each.start()
        while len(seen) < 3 * 3 * n_batches:
            last = seen[-1][0] if seen else 0
            seen += [(seq, event.id) for seq, event in stores[0].numbered_events(after=last, until=2**62)]
        for each in writers:
            each.join()
    assert [seq for seq, _ in seen] == list(range(1, 3 * 3 * n_batches + 1))
    for name in names:  # those of one server are in the order in which it sent them
        own = [event for _, event in seen if event.startswith(name)]
        assert own == [f"{name}{number}-{each}" for number in range(n_batches) for each in range(3)]


def test_a_transaction_that_commits_late_has_the_later_numbers(url: str) -> None:
    with PostgresEventStore(url) as one, PostgresEventStore(url) as two:
        blocked, go_on = threading.Event(), threading.Event()

        async def hold(_: Any) -> None:
            blocked.set()
            await asyncio.to_thread(go_on.wait)

        holding = one._submit(hold)  # a transaction of one server that has the log locked
        assert blocked.wait(10)
        late = two.submit([make_event(1)])
        with pytest.raises(TimeoutError):
            late.result(0.2)
        assert two.numbered_events(after=0, until=9) == []
        go_on.set()
        holding.result(10)
        assert late.result(10).last_seq == 1


def test_an_event_that_is_sent_to_two_servers_is_stored_once(url: str) -> None:
    with PostgresEventStore(url) as one, PostgresEventStore(url) as two:
        sent = [make_event(number) for number in range(20)]
        results = [each.result(10) for each in [store.submit([event]) for event in sent for store in (one, two)]]
        assert sum(len(each.new) for each in results) == 20
        assert sum(each.duplicates for each in results) == 20
        assert one.user_events() == two.user_events()
        assert sorted(each.id for each in one.user_events()) == sorted(each.id for each in sent)


def test_a_server_is_told_what_others_have_written(url: str) -> None:
    heads: queue.Queue[LogHead] = queue.Queue()
    with PostgresEventStore(url) as one, PostgresEventStore(url) as two:
        two.watch(heads.put)
        assert heads.get(timeout=10) == LogHead(0, 0, 0)
        one.append([make_event(1), make_event(2, user="ada")])
        assert heads.get(timeout=10) == LogHead(2, 0, 0)
        one.add_items({7: {"title": "seven"}})
        assert heads.get(timeout=10) == LogHead(2, 1, 0)
        one.set_hidden([7, 8], hidden=True)
        assert heads.get(timeout=10) == LogHead(2, 2, 0)
        one.forget_user("ada")
        assert heads.get(timeout=10) == LogHead(2, 2, 1)
        assert two.read_head() == LogHead(2, 2, 1)
        assert two.changed_items(0) == [(7, {"title": "seven"})]
        assert two.changed_items(1) == []
        assert two.changed_visibility(1) == [(7, True), (8, True)]
        one.append([make_event(1)])  # nothing new
        assert one.append([make_event(3)]).last_seq == 3
        assert heads.get(timeout=10) == LogHead(3, 2, 1)


def test_an_accepted_event_is_there_after_a_crash_of_the_database(server: PostgresServer, url: str) -> None:
    with PostgresEventStore(url) as log:
        log.append([make_event(1)])
        with server.down():
            log.append_served(ServedList("r", 1, 1, (11,), (1.0,)))
            wait_until(lambda: log.guard.find_problem() is not None)
            with pytest.raises(SourceError, match="does not answer"):
                log.append([make_event(2)])
        wait_until(lambda: log.guard.find_problem() is None)
        assert log.append([make_event(3, item=11, request="r")]).last_seq == 2
        assert [(each.id, each.rank) for each in log.user_events()] == [("e1", None), ("e3", 0)]
        assert log.n_lost == 0


def test_a_database_that_stands_still_is_waited_for_within_the_time_out(server: PostgresServer, url: str) -> None:
    with PostgresEventStore(url, timeouts=ConnectionLimits(0.3, 0.3, 0.3, 1)) as log:
        with server.paused():
            with pytest.raises(SourceError, match="same ids"):
                log.append([make_event(1)])
            wait_until(lambda: log.guard.find_problem() is not None)
            with pytest.raises(SourceError, match="did not answer in time"):
                open_reader(url).last_seq  # noqa: B018
        wait_until(lambda: log.guard.find_problem() is None)
        log.append([make_event(1), make_event(2)])
        assert sorted(each.id for each in log.user_events()) == ["e1", "e2"]  # once, if it was stored or not


def test_a_store_ends_while_the_database_stands_still(server: PostgresServer, url: str) -> None:
    log = PostgresEventStore(url, timeouts=ConnectionLimits(0.3, 0.3, 0.3, 1))
    with server.paused():
        log.append_served(ServedList("r", 1, 1, (11,), (1.0,)))
        waiting = log.submit([make_event(1)])
        log.close()
        assert isinstance(waiting.exception(10), SourceError)
    assert log.n_lost == 1


def test_a_lock_of_another_program_is_waited_for_within_the_time_out(server: PostgresServer, url: str) -> None:
    with PostgresEventStore(url, timeouts=ConnectionLimits(lock=0.2)) as log:
        with server.holding(url, "SELECT * FROM leanrec.log FOR UPDATE"):
            with pytest.raises(SourceError, match="locked by another server"):
                log.append([make_event(1)])
        wait_until(lambda: log.guard.find_problem() is None)
        assert log.append([make_event(1)]).last_seq == 1


def wait_until(is_true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_crashes_of_the_database_lose_and_double_no_event(server: PostgresServer, url: str) -> None:
    """Two servers send each event until it is confirmed, as clients do, while the database crashes again and again."""
    stopping = threading.Event()
    confirmed: list[str] = []

    def send(log: PostgresEventStore, name: str) -> None:
        number = 0
        while not stopping.is_set():
            event = make_event(id=f"{name}{number}")
            try:
                log.append([event])
            except SourceError:
                time.sleep(0.02)
                continue
            confirmed.append(event.id)
            number += 1

    with PostgresEventStore(url) as one, PostgresEventStore(url) as two:
        senders = [threading.Thread(target=send, args=each) for each in ((one, "a"), (two, "b"))]
        for each in senders:
            each.start()
        for _ in range(3):
            before = len(confirmed)
            wait_until(lambda before=before: len(confirmed) > before + 20)
            with server.down():
                pass
        stopping.set()
        for each in senders:
            each.join()
        stored = one.numbered_events(after=0, until=2**62)
    assert [seq for seq, _ in stored] == list(range(1, len(stored) + 1))
    ids = [event.id for _, event in stored]
    assert len(set(ids)) == len(ids)
    assert set(confirmed) <= set(ids)
    assert len(set(ids) - set(confirmed)) <= 2  # the last of each may be stored without an answer
    assert open_reader(url).verify().events == len(stored)


def test_a_list_that_waits_at_another_server_is_not_written_after_its_user_was_forgotten(url: str) -> None:
    with PostgresEventStore(url) as one, PostgresEventStore(url) as two:
        one.append([make_event(number, user="ada") for number in range(3)])
        one.forget_user("ada")
        for number, user in enumerate(("ada", "bob", None, "ada")):  # made before, and handed over now
            two.append_served(ServedList(f"r{number}", 1, user, (1,), (1.0,)))
        two.append([make_event(9)])
        assert [each.user for each in two.served_lists()] == ["bob", None]
        assert two.n_lost == 0
