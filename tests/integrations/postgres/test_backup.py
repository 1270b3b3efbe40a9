"""Backups of a log in PostgreSQL: one state of it, which a server can go on with."""

import threading
from pathlib import Path

import pytest

from contracts.event_store import fill_store, make_event
from contracts.postgres import PostgresServer
from leanrec.errors import SourceError
from leanrec.events.locations import open_reader, open_store
from leanrec.integrations.postgres import reader

pytestmark = [pytest.mark.system, pytest.mark.postgres]


def test_a_backup_is_one_state_while_events_are_written(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_BLOCK_SIZE", 16)
    with open_store(url) as log:
        stopping = threading.Event()

        def write() -> None:
            number = 0
            while not stopping.is_set():
                log.append([make_event(number), make_event(number + 1)])
                number += 2

        writing = threading.Thread(target=write)
        writing.start()
        summaries = [log.back_up(tmp_path / f"{number}.db") for number in range(3)]
        stopping.set()
        writing.join()
    assert all(each.events == each.last_seq and each.events % 2 == 0 for each in summaries)


def test_a_server_goes_on_with_a_backup(url: str, tmp_path: Path) -> None:
    fill_store(url)
    open_reader(url).back_up(tmp_path / "backup.db")
    with open_store(tmp_path / "backup.db") as log:
        assert log.append([make_event(4), make_event(9)]).last_seq == 6
        assert log.forget_user(0).number == 2


def test_a_damaged_log_gives_no_backup(server: PostgresServer, url: str, tmp_path: Path) -> None:
    fill_store(url)
    server.query(url, "UPDATE leanrec.event SET weight = 3 WHERE seq = 5")
    with pytest.raises(SourceError, match="checksum"):
        open_reader(url).back_up(tmp_path / "backup.db")
    with pytest.raises(SourceError, match="no such folder"):
        open_reader(url).back_up(tmp_path / "missing" / "backup.db")
    assert list(tmp_path.iterdir()) == []
