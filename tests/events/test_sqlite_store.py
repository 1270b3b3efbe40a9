"""The event log: what it accepts is on disk, once, and comes back as events."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from leanrec.errors import DataError, SettingError, SourceError
from leanrec.events.sqlite_store import RetentionPolicy, SQLiteEventStore
from leanrec.events.sqlite_reader import DataOrigin, ServedList, SQLiteEventReader, build_item_table
from leanrec.events.user_events import UserEvent


def reaction(number: int = 0, **changes: object) -> UserEvent:
    plain = {
        "id": f"e{number}",
        "user": 1,
        "item": 10 + number,
        "kind": "click",
        "time": number,
        "weight": 1.0,
    }
    return UserEvent(**plain | changes)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "events.db"


def test_events_come_back_in_order_after_reopening(path: Path) -> None:
    with SQLiteEventStore(path) as log:
        log.append([reaction(1), reaction(0, user="guest", value=4.5, kind="rating")])
        log.append([reaction(2, weight=0.0)])
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
        first = log.append([reaction(1), reaction(1), reaction(2)])
        again = log.append([reaction(2), reaction(3)])
        assert [each.id for each in first.new] == ["e1", "e2"]
        assert first.duplicates == 1
        assert [each.id for each in again.new] == ["e3"]
        assert again.duplicates == 1
        assert len(log) == 3


def test_many_threads_send_the_same_events_and_each_is_new_once(path: Path) -> None:
    news: list[str] = []

    def send(log: SQLiteEventStore) -> None:
        for number in range(30):
            news.extend(each.id for each in log.append([reaction(number)]).new)

    with SQLiteEventStore(path) as log:
        threads = [threading.Thread(target=send, args=(log,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(news) == sorted(f"e{number}" for number in range(30))
        assert len(log) == 30


def test_a_reaction_is_attributed_to_its_place_in_the_list(path: Path) -> None:
    with SQLiteEventStore(path) as log:
        log.served(ServedList("r1", 5, "u", (30, "x", 12), (3.0, 2.0, 1.0), fallback="popularity"))
        log.append(
            [
                reaction(2, request="r1"),
                reaction(0, item="x", request="r1"),
                reaction(1, request="r1", rank=7),
                reaction(5, request="nowhere"),
            ]
        )
        assert log.events().rank.tolist() == [2, 1, 7, -1]  # type: ignore[union-attr]
        assert list(log.lists()) == [ServedList("r1", 5, "u", (30, "x", 12), (3.0, 2.0, 1.0), "popularity")]


def test_counts_what_was_shown_and_answered_at_each_rank(path: Path) -> None:
    with SQLiteEventStore(path) as log:
        assert log.reactions().shown.tolist() == []
        log.served(ServedList("a", 1, 1, (10, 11, 12), (3.0, 2.0, 1.0)))
        log.served(ServedList("b", 2, None, (10,), (3.0,)))
        log.served(ServedList("c", 2, None, (), ()))
        log.append([reaction(0, request="a"), reaction(1, request="a"), reaction(2, request="a", weight=0.0)])
        counts = log.reactions()
    assert counts.shown.tolist() == [2, 1, 1]
    assert counts.reacted.tolist() == [1, 1, 0]


def test_new_items_come_back_with_their_content(path: Path) -> None:
    with SQLiteEventStore(path) as log:
        log.add_items({7: {"title": "Seven", "year": 1995}, "x": {"title": None}})
        log.add_items({7: {"title": "changed"}})
        ids, table = log.items()
    assert ids.tolist() == ["7", "x"]
    assert table.row(0) == {"title": "Seven", "year": 1995.0}
    assert table.row(1) == {}


def test_a_table_of_contents_has_numbers_where_all_are() -> None:
    table = build_item_table([{"a": 1, "b": "x"}, {"a": None, "b": 2}, {}])
    assert table.columns["a"].dtype == np.float64
    assert table.columns["b"].tolist() == ["x", "2", ""]


def test_one_bad_event_does_not_harm_the_others(path: Path) -> None:
    with SQLiteEventStore(path) as log:
        log.append([reaction(0)])
        with pytest.raises(DataError, match="64 bits"):
            log.append([reaction(1), reaction(2, user=2**70)])
        with pytest.raises(DataError, match="valid text"):
            log.append([reaction(3, user="\ud800")])
        assert len(log) == 1
        log.append([reaction(4)])
        assert log.events().item.tolist() == [10, 14]


def test_a_list_that_cannot_be_written_is_counted(path: Path) -> None:
    with SQLiteEventStore(path) as log:
        log.served(ServedList("\ud800", 1, 1, (1,), (1.0,)))
        log.flush()
        assert log.lost == 1
        assert list(log.lists()) == []


def test_a_closed_log_says_so(path: Path) -> None:
    log = SQLiteEventStore(path)
    log.close()
    log.close()
    with pytest.raises(SourceError, match="is closed"):
        log.append([reaction()])


def test_what_is_no_event_log_is_left_alone(tmp_path: Path) -> None:
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
from leanrec.events.user_events import Reaction
log = SQLiteEventStore(sys.argv[1])
for number in range(10**9):
    log.append([Reaction(f"e{number}", 1, number, "click", number, 1.0)])
    print(number, flush=True)
"""


@pytest.mark.system
def test_accepted_events_survive_a_kill(path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    seen = [int(writer.stdout.readline()) for _ in range(20)]
    os.kill(writer.pid, signal.SIGKILL)
    seen += [int(line) for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    writer.wait()
    writer.stdout.close()
    with SQLiteEventStore(path) as log:
        assert set(seen) <= set(log.events().item.tolist())


def test_what_is_accepted_is_written_through_to_the_disk(path: Path) -> None:
    with SQLiteEventStore(path) as log:
        ask = {name: f"PRAGMA {name}" for name in ("synchronous", "journal_mode")}
        settings = {name: log._submit(lambda c, q=q: c.execute(q).fetchone()[0]).result() for name, q in ask.items()}
    assert settings == {"synchronous": 2, "journal_mode": "wal"}  # 2 = FULL


def test_one_log_has_one_server(path: Path) -> None:
    with SQLiteEventStore(path) as log:
        with pytest.raises(SourceError, match=rf"in use by process {os.getpid()} on .* since .*one server has one log"):
            SQLiteEventStore(path)
        link = path.with_name("link.db")
        link.symlink_to(path)
        with pytest.raises(SourceError, match="in use"):
            SQLiteEventStore(link)
        log.append([reaction(1)])
    with SQLiteEventStore(path) as log:
        assert len(log) == 1


@pytest.mark.system
def test_the_lock_goes_with_its_process(path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    writer.stdout.readline()
    with pytest.raises(SourceError, match=f"process {writer.pid} "):
        SQLiteEventStore(path)
    assert len(SQLiteEventReader(path)) > 0  # to read it, one needs no lock
    writer.kill()
    writer.wait()
    writer.stdout.close()
    SQLiteEventStore(path).close()


def test_a_path_that_no_system_has_is_refused_at_once() -> None:
    with pytest.raises(SourceError, match="cannot be used"):
        SQLiteEventStore("log\0.db")


def test_a_log_that_fails_to_open_in_an_unforeseen_way_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> sqlite3.Connection:
        raise MemoryError("no room")

    monkeypatch.setattr("leanrec.events.sqlite_store._open", fail)
    with pytest.raises(MemoryError, match="no room"):
        SQLiteEventStore(path)
    monkeypatch.undo()
    SQLiteEventStore(path).close()


def test_served_lists_are_kept_for_a_time_and_reactions_for_good(path: Path) -> None:
    with SQLiteEventStore(path, RetentionPolicy(lists=10, days=1)) as log:
        for number in range(25):
            log.served(ServedList(f"r{number}", number, 1, (10,), (1.0,)))
        log.append([reaction(0, request="r24")])
        assert [each.request for each in log.lists()][-1] == "r24"
        assert 10 <= len(list(log.lists())) < 20
        for number in range(10):
            log.served(ServedList(f"s{number}", 2 * 86_400, 1, (10,), (1.0,)))
        assert {each.request[0] for each in log.lists()} == {"s"}
        assert log.events().rank.tolist() == [0]  # type: ignore[union-attr]
    with SQLiteEventStore(path, RetentionPolicy(lists=0)) as log:
        log.served(ServedList("t", 3 * 86_400, 1, (10,), (1.0,)))
        assert {each.request[0] for each in log.lists()} == {"s"}


@pytest.mark.parametrize(("setting", "message"), [({"lists": -1}, "lists must be"), ({"days": 0}, "days must be")])
def test_wrong_settings_are_refused(setting: dict[str, float], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        RetentionPolicy(**setting)  # type: ignore[arg-type]


SHOP, NEWER, OTHER = (DataOrigin(name * 20, f"{name}.csv") for name in ("shop", "newer", "other"))


def test_a_log_belongs_to_the_data_that_it_was_kept_for(path: Path) -> None:
    with SQLiteEventStore(path) as log:
        log.bind(SHOP)
        log.check_origin(OTHER)  # nothing is in it yet
        log.append([reaction(1)])
        log.check_origin(SHOP)
        with pytest.raises(SourceError, match=r"kept for other data \(shop.csv; .*than this model's \(other.csv;"):
            log.check_origin(OTHER)
        with pytest.raises(SourceError, match="--adopt-log"):
            log.bind(OTHER)
        log.check_origin(DataOrigin(NEWER.fingerprint, NEWER.about, log.id))  # a fit that took this log in
        log.bind(NEWER, rebind=True)
        log.check_origin(NEWER)
        log.check_origin(SHOP)
        assert log.origins() == (SHOP, NEWER)
        mine = log.id
    with SQLiteEventStore(path) as log:
        assert log.id == mine
    assert SQLiteEventReader(path).id == mine


def test_an_empty_log_forgets_whom_it_belonged_to(path: Path) -> None:
    with SQLiteEventStore(path) as log:
        log.bind(SHOP)
        log.bind(OTHER)
        log.append([reaction(1)])
        log.check_origin(OTHER)
        with pytest.raises(SourceError, match="kept for other data"):
            log.check_origin(SHOP)


def test_a_log_of_before_origins_belongs_to_who_opens_it(path: Path) -> None:
    with SQLiteEventStore(path) as log:
        log.append([reaction(1)])
    connection = sqlite3.connect(path)
    connection.executescript("DROP TABLE origin; DROP TABLE log;")
    connection.close()
    assert (SQLiteEventReader(path).id, SQLiteEventReader(path).origins()) == ("", ())
    with SQLiteEventStore(path) as log:
        assert log.id
        log.bind(SHOP)
        with pytest.raises(SourceError, match="kept for other data"):
            log.bind(OTHER)


def test_a_reader_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be used"):
        SQLiteEventReader(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty.db").touch()
    with pytest.raises(SourceError, match="no event log yet"):
        SQLiteEventReader(tmp_path / "empty.db")
