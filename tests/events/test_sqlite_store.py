"""The SQLite event store: stored events are on disk, once, and come back as events."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanrec.errors import BusyError, DataError, SourceError
from leanrec.events import event_store, sqlite_statements, sqlite_store
from leanrec.events.records import DataOrigin, LogSummary, RetentionPolicy, ServedList
from leanrec.events.sqlite_reader import FORMAT_VERSION, SQLiteEventReader
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.events.user_events import UserEvent


def make_event(number: int = 0, **changes: object) -> UserEvent:
    plain = {
        "id": f"e{number}",
        "user": 1,
        "item": 10 + number,
        "event_type": "click",
        "time": number,
        "weight": 1.0,
    }
    return UserEvent(**plain | changes)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "events.db"


def test_events_come_back_in_order_after_reopening(path: Path) -> None:
    with SQLiteEventStore(path) as log:
        log.append([make_event(1), make_event(0, user="guest", rating=4.5, event_type="rating")])
        log.append([make_event(2, weight=0.0)])
    with SQLiteEventStore(path) as log:
        events = log.events()
    assert events.user.tolist() == ["1", "guest", "1"]
    assert events.item.tolist() == [11, 10, 12]
    assert [events.event_types[code] for code in events.event_type] == ["click", "rating", "click"]
    assert events.weight.tolist() == [1.0, 1.0, 0.0]
    assert events.rating is not None
    assert events.rating[1] == 4.5
    assert np.isnan(events.rating[0])


def test_an_id_counts_once_within_and_across_batches(path: Path) -> None:
    with SQLiteEventStore(path) as log:
        first = log.append([make_event(1), make_event(1), make_event(2)])
        again = log.append([make_event(2), make_event(3)])
        assert [each.id for each in first.new] == ["e1", "e2"]
        assert first.duplicates == 1
        assert [each.id for each in again.new] == ["e3"]
        assert again.duplicates == 1
        assert len(log) == 3


def test_batches_that_wait_are_written_together_and_numbered_in_their_order(path: Path) -> None:
    with SQLiteEventStore(path) as log, contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        numbers = iter(range(10_000))
        batches = [[make_event(next(numbers)) for _ in range(size)] for size in (1, 300, 17, 0, 2)]
        waiting = [log.submit(batch) for batch in batches]
        waiting.append(log.submit([make_event(5), make_event(320)]))
        other.execute("ROLLBACK")
        results = [each.result() for each in waiting]
        assert [each.last_seq for each in results] == [1, 301, 318, 318, 320, 321]
        assert [len(each.new) for each in results] == [1, 300, 17, 0, 2, 1]
        assert results[-1].duplicates == 1
        assert log.events().time.tolist() == list(range(321))
        assert log.last_seq == 321


def test_times_are_kept_in_milliseconds_and_given_in_whole_seconds(path: Path) -> None:
    times = [1_700_000_000.123, 1_700_000_000.9995, 1_700_000_001, -0.5]
    with SQLiteEventStore(path) as log:
        log.append([make_event(at, time=time) for at, time in enumerate(times)])
        assert log.events().time.tolist() == [1_700_000_000, 1_700_000_001, 1_700_000_001, -1]
        log.append_served(ServedList("r", 1_700_000_000.25, "u", (1,), (1.0,)))
        assert next(log.served_lists()).time == 1_700_000_000.25
    with contextlib.closing(sqlite3.connect(path)) as connection:
        kept = [time for (time,) in connection.execute("SELECT time FROM event ORDER BY seq")]
    assert kept == [1_700_000_000_123, 1_700_000_001_000, 1_700_000_001_000, -500]


def test_an_event_loop_goes_on_while_a_write_waits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_store, "_WAIT_SECONDS", 0.05)

    async def write(log: SQLiteEventStore, other: sqlite3.Connection) -> None:
        done = asyncio.wrap_future(log.submit([make_event(1)]))
        with pytest.raises(SourceError, match="did not confirm"):
            await log.wait_async(done)
        other.execute("ROLLBACK")
        assert len((await done).new) == 1  # it was not canceled

    with SQLiteEventStore(path) as log, contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        asyncio.run(write(log, other))
        assert len(log) == 1


def test_an_event_gets_the_rank_of_its_item_in_the_served_list(path: Path) -> None:
    served = ServedList("r1", 5, "u", (30, "x", 12), (3.0, 2.0, 1.0), fallback="popularity")
    with SQLiteEventStore(path) as log:
        log.append_served(served)
        log.append(
            [
                make_event(2, request="r1"),
                make_event(0, item="x", request="r1"),
                make_event(1, request="r1", rank=7),
                make_event(5, request="unknown"),
            ]
        )
        assert log.events().rank.tolist() == [2, 1, 7, -1]  # type: ignore[union-attr]
        assert list(log.served_lists()) == [served]


def test_the_last_content_of_an_added_item_is_kept(path: Path) -> None:
    with SQLiteEventStore(path) as log:
        log.add_items({7: {"title": "Seven", "year": 1995}, "x": {"title": None}})
        log.add_items({7: {"title": "changed"}})
        ids, table = log.items()
    assert ids.tolist() == ["7", "x"]
    assert table.row(0) == {"title": "changed"}
    assert table.row(1) == {}


def test_a_bad_event_fails_alone(path: Path) -> None:
    with SQLiteEventStore(path) as log:
        log.append([make_event(0)])
        with pytest.raises(DataError, match="64 bits"):
            log.append([make_event(1), make_event(2, user=2**70)])
        with pytest.raises(DataError, match="valid text"):
            log.append([make_event(3, user="\ud800")])
        assert len(log) == 1
        log.append([make_event(4)])
        assert log.events().item.tolist() == [10, 14]


def test_a_served_list_that_cannot_be_written_is_counted(path: Path) -> None:
    with SQLiteEventStore(path) as log:
        log.append_served(ServedList("\ud800", 1, 1, (1,), (1.0,)))
        log.flush()
        assert log.n_lost == 1
        assert list(log.served_lists()) == []


def test_a_closed_store_refuses_events(path: Path) -> None:
    log = SQLiteEventStore(path)
    log.close()
    log.close()
    with pytest.raises(SourceError, match="is closed"):
        log.append([make_event()])


def test_other_files_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, and longer than the header of one " * 40)
    with pytest.raises(SourceError, match="cannot be used"):
        SQLiteEventStore(text)
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(SourceError, match="another program"):
        SQLiteEventStore(other)
    with pytest.raises(SourceError, match="cannot be used"):
        SQLiteEventStore(tmp_path)
    with pytest.raises(SourceError, match="cannot be used"):
        SQLiteEventStore("log\0.db")
    newer = tmp_path / "newer.db"
    SQLiteEventStore(newer).close()
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(SourceError, match="version 99"):
        SQLiteEventStore(newer)


_WRITER = """
import sys
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.events.user_events import UserEvent
log = SQLiteEventStore(sys.argv[1])
for number in range(10**9):
    log.append([UserEvent(f"e{number}", 1, number, "click", number, 1.0)])
    print(number, flush=True)
"""


def test_appended_events_survive_a_kill(path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    appended = [int(writer.stdout.readline()) for _ in range(20)]
    os.kill(writer.pid, signal.SIGKILL)
    appended += [int(line) for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    writer.wait()
    writer.stdout.close()
    with SQLiteEventStore(path) as log:
        assert set(appended) <= set(log.events().item.tolist())


def test_every_transaction_is_synced_to_disk(path: Path) -> None:
    with SQLiteEventStore(path) as log:
        queries = {name: f"PRAGMA {name}" for name in ("synchronous", "journal_mode")}
        found = {name: log._submit(lambda c, q=q: c.execute(q).fetchone()[0]).result() for name, q in queries.items()}
    assert found == {"synchronous": 2, "journal_mode": "wal"}  # 2 = FULL


def test_a_store_has_one_server(path: Path) -> None:
    with SQLiteEventStore(path) as log:
        with pytest.raises(SourceError, match=rf"must have one server. It is in use by process {os.getpid()} on"):
            SQLiteEventStore(path)
        link = path.with_name("link.db")
        link.symlink_to(path)
        with pytest.raises(SourceError, match="in use"):
            SQLiteEventStore(link)
        log.append([make_event(1)])
    with SQLiteEventStore(path) as log:
        assert len(log) == 1


def test_a_killed_server_frees_the_store(path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    writer.stdout.readline()
    with pytest.raises(SourceError, match=f"process {writer.pid} "):
        SQLiteEventStore(path)
    assert len(SQLiteEventReader(path)) > 0  # reading needs no lock
    writer.kill()
    writer.wait()
    writer.stdout.close()
    SQLiteEventStore(path).close()


def test_an_unexpected_error_of_the_writer_thread_is_raised(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> sqlite3.Connection:
        raise MemoryError("no room")

    monkeypatch.setattr("leanrec.events.sqlite_store.open_database", fail)
    with pytest.raises(MemoryError, match="no room"):
        SQLiteEventStore(path)
    monkeypatch.undo()
    SQLiteEventStore(path).close()


def test_old_lists_are_deleted_and_events_keep_their_rank(path: Path) -> None:
    with SQLiteEventStore(path, RetentionPolicy(max_lists=10, max_days=1)) as log:
        for number in range(25):
            log.append_served(ServedList(f"r{number}", number, 1, (10,), (1.0,)))
        log.append([make_event(0, request="r24")])
        assert [each.request for each in log.served_lists()][-1] == "r24"
        assert 10 <= len(list(log.served_lists())) < 20
        for number in range(10):
            log.append_served(ServedList(f"s{number}", 2 * 86_400, 1, (10,), (1.0,)))
        assert {each.request[0] for each in log.served_lists()} == {"s"}
        assert log.events().rank.tolist() == [0]  # type: ignore[union-attr]
    with SQLiteEventStore(path, RetentionPolicy(max_lists=0)) as log:
        log.append_served(ServedList("t", 3 * 86_400, 1, (10,), (1.0,)))
        assert {each.request[0] for each in log.served_lists()} == {"s"}


@given(
    st.lists(st.sampled_from(["right"] * 12 + ["ahead", "behind"]), min_size=1, max_size=60),
    st.booleans(),
)
@settings(max_examples=15, deadline=None)
def test_a_list_with_a_wrong_clock_deletes_no_other(clocks: list[str], is_now: bool) -> None:
    """Right lists of two days are kept whatever the clocks of single ones among them, and the last written ones are kept."""
    start = (time.time() if is_now else 1_700_000_000) - 2 * 86_400
    off = {"right": 0.0, "ahead": 400.0 * 86_400, "behind": -400.0 * 86_400}
    for at in range(len(clocks)):  # most of nine are right
        latest = clocks[max(0, at - 8) : at + 1]
        if 2 * sum(each != "right" for each in latest) >= len(latest):
            clocks[at] = "right"
    lists = [ServedList(f"r{n:03}", start + 60 * n + off[each], 1, (10,), (1.0,)) for n, each in enumerate(clocks)]
    with tempfile.TemporaryDirectory() as folder, SQLiteEventStore(Path(folder) / "log", RetentionPolicy(20, 3)) as log:
        for number, each in enumerate(lists):
            log.append_served(each)
            if number % 4 == 0:
                log.flush()
        kept = {each.request for each in log.served_lists()}
    right = [each.request for each, clock in zip(lists[-20:], clocks[-20:], strict=True) if clock == "right"]
    assert set(right) <= kept
    assert len(kept) <= 43


def test_a_clock_that_is_set_ahead_deletes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    with SQLiteEventStore(path, RetentionPolicy(max_lists=100, max_days=90)) as log:
        for number in range(300):
            if number == 150:
                monkeypatch.setattr(time, "time", lambda: now + 400 * 86_400)
            log.append_served(ServedList(f"r{number:03}", time.time(), 1, (10,), (1.0,)))
            if number % 10 == 0:
                log.flush()
        kept = [each.request for each in log.served_lists()]
    assert kept == [f"r{number:03}" for number in range(300)][-len(kept) :]
    assert len(kept) >= 100


SHOP, NEWER, OTHER = (DataOrigin(name * 20, f"{name}.csv") for name in ("shop", "newer", "other"))


def test_a_bound_store_refuses_other_data(path: Path) -> None:
    with SQLiteEventStore(path) as log:
        log.bind(SHOP)
        log.check_origin(OTHER)  # the store is empty
        log.append([make_event(1)])
        log.check_origin(SHOP)
        with pytest.raises(DataError, match=r"data of this model \(other.csv; .* other data \(shop.csv;"):
            log.check_origin(OTHER)
        with pytest.raises(DataError, match="serve it with rebind_log"):
            log.bind(OTHER)
        log.check_origin(DataOrigin(NEWER.fingerprint, NEWER.description, log.id))  # the store was merged into it
        log.bind(NEWER, rebind=True)
        log.check_origin(NEWER)
        log.check_origin(SHOP)
        assert log.origins() == (SHOP, NEWER)
        first_id = log.id
    with SQLiteEventStore(path) as log:
        assert log.id == first_id
    assert SQLiteEventReader(path).id == first_id


def test_an_empty_store_drops_its_bindings(path: Path) -> None:
    with SQLiteEventStore(path) as log:
        log.bind(SHOP)
        log.bind(OTHER)
        log.append([make_event(1)])
        log.check_origin(OTHER)
        with pytest.raises(DataError, match="belongs to other data"):
            log.check_origin(SHOP)


@pytest.mark.parametrize("replace", [False, True])
def test_a_file_that_is_removed_or_replaced_takes_no_more_events(path: Path, replace: bool) -> None:
    with SQLiteEventStore(path) as log:
        log.append([make_event(0)])
        kept = path.rename(path.with_suffix(".away"))
        if replace:
            path.write_bytes(b"")
        with pytest.raises(SourceError, match="so nothing can be stored"):
            log.append([make_event(1)])
        path.unlink(missing_ok=True)
        kept.rename(path)
        assert log.append([make_event(1)]).duplicates == 0


class TestSlowDisk:
    """Another connection that holds the file stands for a disk that does not answer."""

    @pytest.fixture
    def held(self, path: Path) -> Iterator[tuple[SQLiteEventStore, sqlite3.Connection]]:
        with SQLiteEventStore(path) as log, contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield log, other
            if other.in_transaction:
                other.execute("ROLLBACK")

    def test_a_write_waits_for_a_limited_time_and_is_stored_later(
        self, held: tuple[SQLiteEventStore, sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log, other = held
        monkeypatch.setattr(sqlite_store, "_WAIT_SECONDS", 0.1)
        with pytest.raises(
            SourceError, match=r"did not confirm a write within 0\.1 s.*send it again with the same ids"
        ):
            log.append([make_event(1)])
        assert log.waiting_seconds() > 0
        other.execute("ROLLBACK")
        monkeypatch.setattr(sqlite_store, "_WAIT_SECONDS", 10)
        assert log.append([make_event(1), make_event(2)]).duplicates == 1
        assert len(log.events()) == 2

    def test_more_writes_than_may_wait_are_refused_and_lists_are_counted(
        self, held: tuple[SQLiteEventStore, sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log, other = held
        monkeypatch.setattr(sqlite_store, "_WAIT_SECONDS", 0.05)
        monkeypatch.setattr(event_store, "MAX_WAITING_LISTS", 3)
        monkeypatch.setattr(event_store, "_QUEUE_SIZE", 2)
        monkeypatch.setattr(event_store, "_MAX_WAITING_EVENTS", 3)
        with pytest.raises(SourceError, match="did not confirm"):
            log.append([make_event(0)])
        for number in range(10):
            log.append_served(ServedList(f"list-{number}", 1, "user", (1,), (1.0,)))
        assert log.n_lost >= 4
        refused: list[str] = []
        for number in range(1, 10):
            try:
                log.append([make_event(number)])
            except BusyError as error:
                refused.append(str(error))
            except SourceError:
                pass
        assert len(refused) == 7
        assert all("send it again after a second" in message for message in refused)
        other.execute("ROLLBACK")
        monkeypatch.setattr(sqlite_store, "_WAIT_SECONDS", 10)
        log.close()
        with SQLiteEventStore(log.path) as log:
            assert len(log.events()) == 3


class TestHiddenItems:
    def test_the_last_change_of_an_item_counts_after_a_restart(self, tmp_path: Path) -> None:
        path = tmp_path / "events.db"
        with SQLiteEventStore(path) as store:
            store.set_hidden([1, "a", 2], hidden=True)
            store.set_hidden(["a"], hidden=False)
            store.set_hidden([2], hidden=True)
        reader = SQLiteEventReader(path)
        assert (reader.hidden_items(), reader.shown_items()) == ((1, 2), ("a",))

    def test_a_changed_row_is_damage(self, tmp_path: Path) -> None:
        with SQLiteEventStore(tmp_path / "events.db") as store:
            store.set_hidden([1], hidden=True)
        with contextlib.closing(sqlite3.connect(tmp_path / "events.db")) as connection, connection:
            connection.execute("UPDATE hidden SET hidden = 0")
        with pytest.raises(SourceError, match="checksum"):
            SQLiteEventReader(tmp_path / "events.db").hidden_items()

    def test_a_file_without_the_table_hides_nothing(self, tmp_path: Path) -> None:
        with SQLiteEventStore(tmp_path / "events.db") as store:
            store.append([UserEvent("a", 1, 2, "click", 5, 1.0)])
        with contextlib.closing(sqlite3.connect(tmp_path / "events.db")) as connection, connection:
            connection.execute("DROP TABLE hidden")
        reader = SQLiteEventReader(tmp_path / "events.db")
        assert (reader.hidden_items(), len(reader)) == ((), 1)
        with SQLiteEventStore(tmp_path / "events.db") as store:
            store.set_hidden([1], hidden=True)
            assert store.hidden_items() == (1,)

    def test_a_store_with_only_hidden_items_is_bound(self, tmp_path: Path) -> None:
        with SQLiteEventStore(tmp_path / "events.db") as store:
            store.bind(DataOrigin("one", "one"))
            store.set_hidden([1], hidden=True)
            with pytest.raises(DataError, match="belongs to other data"):
                store.bind(DataOrigin("two", "two"))


ADA = "ada@example.org"


def find_bytes(path: Path, text: str) -> list[str]:
    """Names of the files of a store that have a text."""
    return [file.name for file in path.parent.glob(f"{path.name}*") if text.encode() in file.read_bytes()]


def test_a_forgotten_user_is_in_no_file_of_the_store(path: Path) -> None:
    rng = np.random.default_rng(3)
    with SQLiteEventStore(path) as log:
        names = [ADA, *(f"user-{number}" for number in range(20))]
        for start in range(0, 2000, 100):
            users = rng.choice(names, 100).tolist()
            for user in users[:50]:
                log.append_served(ServedList(f"{rng.bytes(8).hex()}", start, user, (10, 11), (2.0, 1.0)))
            numbers = enumerate(users, start)
            log.append([make_event(n, id=f"{rng.bytes(8).hex()}-{user}", user=user) for n, user in numbers])
        events, n_lists = log.events(), len(list(log.served_lists()))
        n_own = int((events.user == ADA).sum())
        log.append_served(ServedList("late", 1, ADA, (10,), (1.0,)))
        assert find_bytes(path, ADA)
        assert log.forget_user(ADA).n_events == n_own
        assert find_bytes(path, ADA) == []
        left = log.events()
        assert left.item.tolist() == events.item[events.user != ADA].tolist()
        assert 0 < len(list(log.served_lists())) < n_lists
        log.append_served(ServedList("later", 1, ADA, (10,), (1.0,)))  # made before, and logged after
        log.flush()
        assert find_bytes(path, ADA) == []
        assert log.forget_user(ADA).n_events == 0
        assert log.append([make_event(9_000, user=ADA)]).last_seq == 2001
        assert len(log.forgotten_users()) == 1
    with SQLiteEventStore(path) as log:
        assert log.events().user.tolist()[-1] == ADA
        assert log.last_seq == 2001


def test_sequence_numbers_of_forgotten_events_are_not_used_again(path: Path) -> None:
    with SQLiteEventStore(path) as log:
        log.append([make_event(number, user=number % 2) for number in range(4)])
        first = log.forget_user("1")
        assert (first.number, first.n_events, first.last_seq) == (1, 2, 4)
        assert log.last_seq == 4
        assert log.append([make_event(4, user=1)]).last_seq == 5
        second = log.forget_user(1)
        assert (second.number, second.n_events, second.last_seq) == (2, 1, 5)
        assert [each.n_events for each in log.forgotten_users()] == [3]
        assert log.forgotten_users(after=2) == ()
    assert len(SQLiteEventReader(path)) == 2
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM event WHERE seq = 1")
        connection.commit()
    with pytest.raises(SourceError, match="it has 1 of 2 events"):
        SQLiteEventReader(path)


def test_forgetting_tells_of_a_program_that_holds_the_old_rows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_store, "_CHECKPOINT_MILLISECONDS", 50)
    with SQLiteEventStore(path) as log, contextlib.closing(sqlite3.connect(path, timeout=0)) as other:
        log.append([make_event(1, user=ADA)])
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM event").fetchall()
        with pytest.raises(SourceError, match=r"End that program, and forget the user again"):
            log.forget_user(ADA)
        other.execute("ROLLBACK")
        assert log.forget_user(ADA).n_events == 0
        assert find_bytes(path, ADA) == []


_FORGETTER = """
import sys
from leanrec.events.sqlite_store import SQLiteEventStore
log = SQLiteEventStore(sys.argv[1])
print("ready", flush=True)
for number in range(50):
    log.forget_user(f"user-{number:03d}")
    print(number, flush=True)
"""


def test_a_kill_leaves_a_user_forgotten_or_not(path: Path) -> None:
    with SQLiteEventStore(path) as log:
        names = [f"user-{number:03d}" for number in range(50)]
        log.append([make_event(at, user=names[at % 50]) for at in range(1000)])
        for name in names:
            log.append_served(ServedList(f"of-{name[5:]}", 1, name, (10,), (1.0,)))
    done = -1
    for n_lines in (1, 6):
        process = subprocess.Popen([sys.executable, "-c", _FORGETTER, str(path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(n_lines)]
        os.kill(process.pid, signal.SIGKILL)
        lines += [line for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        process.wait()
        process.stdout.close()
        done = max([done, *(int(line) for line in lines if line.strip().isdigit())])
        reader = SQLiteEventReader(path)
        counts = {name: reader.events().user.tolist().count(name) for name in names}
        lists = {each.user for each in reader.served_lists()}
        assert all(counts[name] == 0 for name in names[: done + 1])
        assert all(counts[name] == 20 * (name in lists) for name in names)


def write_format_5(path: Path, n_events: int = 3) -> list[ServedList]:
    """Write a log as it was before lists told what made them. Returns its served lists."""
    event = "seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, user NOT NULL, item NOT NULL, event_type TEXT NOT NULL"
    event += ", time INTEGER NOT NULL, weight REAL NOT NULL, rating REAL, request TEXT, rank INTEGER"
    served = "seq INTEGER PRIMARY KEY, request TEXT NOT NULL UNIQUE, time INTEGER NOT NULL, user, fallback TEXT"
    tables = {
        "event": event,
        "served": f"{served}, items TEXT NOT NULL, scores TEXT NOT NULL",
        "item": "seq INTEGER PRIMARY KEY, id NOT NULL UNIQUE, content TEXT NOT NULL",
        "origin": "seq INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, description TEXT NOT NULL",
        "log": "id TEXT NOT NULL",
    }
    rows: list[tuple[str, tuple[Any, ...]]] = [("log", ("old-log",)), ("origin", (1, "abc", "data"))]
    for seq in range(1, n_events + 1):
        rows += [("event", (seq, f"e{seq}", "ann", 10 + seq, "click", seq * 1000, 1.0, None, "r1", seq - 1))]
    rows.append(("served", (1, "r1", 500, "ann", None, "[11, 12, 13]", "[3.0, 2.0, 1.0]")))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 0x6C656172")
        connection.execute("PRAGMA user_version = 5")
        for name, columns in tables.items():
            connection.execute(f"CREATE TABLE {name} ({columns}, checksum INTEGER NOT NULL)")
        for name, row in rows:
            values = row if name == "log" else row[1:]
            sealed = (*row, zlib.crc32(repr(values).encode()))
            connection.execute(f"INSERT INTO {name} VALUES ({', '.join('?' * len(sealed))})", sealed)
        connection.commit()
    return [ServedList("r1", 0.5, "ann", (11, 12, 13), (3.0, 2.0, 1.0))]


class TestUpgrade:
    def test_a_log_of_format_5_is_upgraded_when_a_server_opens_it(self, tmp_path: Path) -> None:
        path = tmp_path / "events.db"
        lists = write_format_5(path)
        new = ServedList(
            "r2", 7.0, "ann", (5, 6), (1.0, 0.5), None, "v1", "ease/v1+draw", "candidate", "cached", (0.25, None)
        )
        with SQLiteEventStore(path) as log:
            assert log.id == "old-log"
            assert log.verify().format_version == FORMAT_VERSION
            before = log.user_events()
            log.append_served(new)
            log.append([make_event(9, item=5, request="r2"), make_event(10, item=6, request="r2")])
        with SQLiteEventStore(path) as log:
            assert list(log.served_lists()) == [*lists, new]
            assert log.user_events()[:3] == before
            assert [each.item for each in before] == [11, 12, 13]
            assert log.verify() == LogSummary(5, 5, 2, 0, 0, FORMAT_VERSION)

    def test_a_reader_reads_format_5_and_changes_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "events.db"
        lists = write_format_5(path)
        content = path.read_bytes()
        reader = SQLiteEventReader(path)
        assert list(reader.served_lists()) == lists
        assert reader.verify() == LogSummary(3, 3, 1, 0, 0, 5)
        assert reader.events().item.tolist() == [11, 12, 13]
        assert [len(events) for events, _ in reader.event_blocks(until=3)] == [3]
        assert reader.count_by_rank().clicked.tolist() == [1, 1, 1]
        assert reader.back_up(tmp_path / "copy.db") == reader.verify()
        assert path.read_bytes() == content
        with SQLiteEventStore(path) as log:  # the same reader goes on when a server has upgraded the file
            log.append([make_event(9, request="r1", item=12, propensity=0.5)])
            assert reader.user_events()[-1].rank == 1
            assert reader.user_events()[-1].propensity is None  # the list was not drawn, whatever the event says

    def test_a_changed_row_of_an_old_log_is_damage(self, tmp_path: Path) -> None:
        path = tmp_path / "events.db"
        write_format_5(path)
        for statement in ("UPDATE event SET weight = 2 WHERE seq = 2", "UPDATE served SET arm = 'x'"):
            SQLiteEventStore(path).close()
            with contextlib.closing(sqlite3.connect(path)) as connection, connection:
                connection.execute(statement)
            with pytest.raises(SourceError, match="checksum of a row"):
                SQLiteEventReader(path).verify()
            path.unlink()
            write_format_5(path)

    def test_a_kill_leaves_a_log_old_or_new(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "events.db"
        lists = write_format_5(path)
        monkeypatch.setattr(sqlite_statements, "_SCHEMA", sqlite_statements._SCHEMA + "SELECT * FROM missing;")
        with pytest.raises(SourceError):
            SQLiteEventStore(path)
        assert SQLiteEventReader(path).verify().format_version == 5
        monkeypatch.undo()
        with SQLiteEventStore(path) as log:
            assert list(log.served_lists()) == lists


class TestPropensities:
    def test_an_event_gets_the_propensity_of_its_item_in_the_list(self, path: Path) -> None:
        drawn = ServedList("r", 1, 1, (10, 11, 12), (3.0, 2.0, 1.0), propensities=(0.5, None, 0.125))
        with SQLiteEventStore(path, RetentionPolicy(max_lists=1)) as log:
            log.append_served(drawn)
            log.append(
                [
                    make_event(0, request="r"),
                    make_event(1, request="r", rank=1),
                    make_event(2, request="r", rank=2),
                    make_event(5, request="r"),
                    make_event(6),
                ]
            )
            for number in range(2):
                log.append_served(ServedList(f"s{number}", 1, 1, (10,), (1.0,)))
            events = log.events()
            assert [each.request for each in log.served_lists()] == ["s1"]  # events keep it without the list
        assert events.propensity is not None
        np.testing.assert_array_equal(events.propensity, np.array([0.5, np.nan, 0.125, np.nan, np.nan], np.float32))

    def test_a_log_without_draws_has_no_propensities(self, path: Path) -> None:
        with SQLiteEventStore(path) as log:
            log.append([make_event(0)])
            assert log.events().propensity is None

    def test_a_changed_propensity_is_damage(self, path: Path) -> None:
        with SQLiteEventStore(path) as log:
            log.append([make_event(0, propensity=0.5)])
        for value in ("0.25", "NULL"):
            with contextlib.closing(sqlite3.connect(path)) as connection, connection:
                connection.execute(f"UPDATE event SET propensity = {value}")
            with pytest.raises(SourceError, match="checksum"):
                SQLiteEventReader(path).user_events()
