"""Reading an event log in PostgreSQL: block by block, and not past a missing event."""

import pytest

from contracts.event_store import fill_store, make_event
from contracts.postgres import PostgresServer
from leanrec.errors import SourceError
from leanrec.events.locations import open_reader, open_store
from leanrec.integrations.postgres import reader

pytestmark = [pytest.mark.system, pytest.mark.postgres]


def test_blocks_are_joined_in_order(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(url) as log:
        log.append([make_event(number) for number in range(11)])
        expected = [event.id for event in log.user_events()]
        for size in (1, 4, 11, 50):
            monkeypatch.setattr(reader, "_BLOCK_SIZE", size)
            assert [event.id for event in log.user_events()] == expected
            assert sum(len(block) for block, _ in log.event_blocks(after=2, until=11)) == 9


def test_a_missing_event_is_damage(server: PostgresServer, url: str) -> None:
    fill_store(url)
    server.query(url, "DELETE FROM leanrec.event WHERE seq = 3")
    log = open_reader(url)
    with pytest.raises(SourceError, match="it has 2 of 3 events"):
        log.verify()
    with pytest.raises(SourceError, match="it has 2 of 3 events"):
        list(log.event_blocks(until=5))


def test_a_log_without_rows_can_be_read(url: str) -> None:
    open_store(url).close()
    log = open_reader(url)
    assert log.is_empty
    assert (log.last_seq, len(log), log.user_events(), list(log.event_blocks(until=0))) == (0, 0, [], [])
    assert log.count_by_rank().shown.tolist() == []
    assert log.snapshot_path is None
