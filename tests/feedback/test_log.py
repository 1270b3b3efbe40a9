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

from leanrec.errors import DataError, SourceError
from leanrec.feedback.log import EventLog, ServedList, table_of
from leanrec.feedback.reactions import Reaction


def reaction(number: int = 0, **changes: object) -> Reaction:
    plain = {
        "id": f"e{number}",
        "user": 1,
        "item": 10 + number,
        "kind": "click",
        "time": number,
        "weight": 1.0,
    }
    return Reaction(**plain | changes)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "events.db"


def test_events_come_back_in_order_after_reopening(path: Path) -> None:
    with EventLog(path) as log:
        log.append([reaction(1), reaction(0, user="guest", value=4.5, kind="rating")])
        log.append([reaction(2, weight=0.0)])
    with EventLog(path) as log:
        events = log.events()
    assert events.user.tolist() == ["1", "guest", "1"]
    assert events.item.tolist() == [11, 10, 12]
    assert [events.kinds[code] for code in events.kind] == ["click", "rating", "click"]
    assert events.weight.tolist() == [1.0, 1.0, 0.0]
    assert events.value is not None
    assert events.value[1] == 4.5
    assert np.isnan(events.value[0])


def test_an_id_counts_once_within_and_across_batches(path: Path) -> None:
    with EventLog(path) as log:
        first = log.append([reaction(1), reaction(1), reaction(2)])
        again = log.append([reaction(2), reaction(3)])
        assert [each.id for each in first.new] == ["e1", "e2"]
        assert first.duplicates == 1
        assert [each.id for each in again.new] == ["e3"]
        assert again.duplicates == 1
        assert len(log) == 3


def test_many_threads_send_the_same_events_and_each_is_new_once(path: Path) -> None:
    news: list[str] = []

    def send(log: EventLog) -> None:
        for number in range(30):
            news.extend(each.id for each in log.append([reaction(number)]).new)

    with EventLog(path) as log:
        threads = [threading.Thread(target=send, args=(log,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(news) == sorted(f"e{number}" for number in range(30))
        assert len(log) == 30


def test_a_reaction_is_attributed_to_its_place_in_the_list(path: Path) -> None:
    with EventLog(path) as log:
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
    with EventLog(path) as log:
        assert log.reactions().shown.tolist() == []
        log.served(ServedList("a", 1, 1, (10, 11, 12), (3.0, 2.0, 1.0)))
        log.served(ServedList("b", 2, None, (10,), (3.0,)))
        log.served(ServedList("c", 2, None, (), ()))
        log.append([reaction(0, request="a"), reaction(1, request="a"), reaction(2, request="a", weight=0.0)])
        counts = log.reactions()
    assert counts.shown.tolist() == [2, 1, 1]
    assert counts.reacted.tolist() == [1, 1, 0]


def test_new_items_come_back_with_their_content(path: Path) -> None:
    with EventLog(path) as log:
        log.add_items({7: {"title": "Seven", "year": 1995}, "x": {"title": None}})
        log.add_items({7: {"title": "changed"}})
        ids, table = log.items()
    assert ids.tolist() == ["7", "x"]
    assert table.row(0) == {"title": "Seven", "year": 1995.0}
    assert table.row(1) == {}


def test_a_table_of_contents_has_numbers_where_all_are() -> None:
    table = table_of([{"a": 1, "b": "x"}, {"a": None, "b": 2}, {}])
    assert table.columns["a"].dtype == np.float64
    assert table.columns["b"].tolist() == ["x", "2", ""]


def test_one_bad_event_does_not_harm_the_others(path: Path) -> None:
    with EventLog(path) as log:
        log.append([reaction(0)])
        with pytest.raises(DataError, match="64 bits"):
            log.append([reaction(1), reaction(2, user=2**70)])
        with pytest.raises(DataError, match="valid text"):
            log.append([reaction(3, user="\ud800")])
        assert len(log) == 1
        log.append([reaction(4)])
        assert log.events().item.tolist() == [10, 14]


def test_a_list_that_cannot_be_written_is_counted(path: Path) -> None:
    with EventLog(path) as log:
        log.served(ServedList("\ud800", 1, 1, (1,), (1.0,)))
        log.flush()
        assert log.lost == 1
        assert list(log.lists()) == []


def test_a_closed_log_says_so(path: Path) -> None:
    log = EventLog(path)
    log.close()
    log.close()
    with pytest.raises(SourceError, match="is closed"):
        log.append([reaction()])


def test_what_is_no_event_log_is_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, and longer than the header of one " * 40)
    with pytest.raises(SourceError, match="cannot be used"):
        EventLog(text)
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(SourceError, match="another program"):
        EventLog(other)
    with pytest.raises(SourceError, match="cannot be used"):
        EventLog(tmp_path)
    newer = tmp_path / "newer.db"
    EventLog(newer).close()
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(SourceError, match="version 99"):
        EventLog(newer)


_WRITER = """
import sys
from leanrec.feedback.log import EventLog
from leanrec.feedback.reactions import Reaction
log = EventLog(sys.argv[1])
for number in range(10**9):
    log.append([Reaction(f"e{number}", 1, number, "click", number, 1.0)])
    print(number, flush=True)
"""


def test_accepted_events_survive_a_kill(path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    seen = [int(writer.stdout.readline()) for _ in range(20)]
    os.kill(writer.pid, signal.SIGKILL)
    seen += [int(line) for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    writer.wait()
    writer.stdout.close()
    with EventLog(path) as log:
        assert set(seen) <= set(log.events().item.tolist())
