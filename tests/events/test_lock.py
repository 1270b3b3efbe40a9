"""The file lock of an event store."""

import os
from pathlib import Path

import pytest

from leanrec.errors import SourceError
from leanrec.events.lock import FileLock, is_locked


def test_a_taken_lock_names_the_process_that_holds_it(tmp_path: Path) -> None:
    with FileLock(tmp_path / "events.db"), pytest.raises(SourceError, match=f"process {os.getpid()} on .* since "):
        FileLock(tmp_path / "events.db")


def test_a_released_lock_can_be_taken_again(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "events.db")
    lock.close()
    lock.close()
    with FileLock(tmp_path / "events.db"):
        assert (tmp_path / "events.db.lock").stat().st_size > 0
    assert (tmp_path / "events.db.lock").stat().st_size == 0


def test_a_file_with_a_second_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "events.db").write_bytes(b"")
    (tmp_path / "other.db").hardlink_to(tmp_path / "events.db")
    with pytest.raises(SourceError, match="must have one name"):
        FileLock(tmp_path / "other.db")


def test_a_lock_is_seen_without_being_taken(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    assert not is_locked(path)
    with FileLock(path):
        assert is_locked(path)
    assert not is_locked(path)
    with FileLock(path):
        pass
