"""The write-ahead log of an event store: damage behind which confirmed writes are lost is told, and nothing else is."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from leanrec.errors import SourceError
from leanrec.events.sqlite_reader import SQLiteEventReader
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.events.user_events import UserEvent
from leanrec.events.wal import check_wal

N_WRITES = 12
FRAME = 4096 + 24


def copy_log(source: Path, folder: Path, *endings: str) -> Path:
    for ending in ("", *endings):
        shutil.copy(f"{source}{ending}", folder / f"events.db{ending}")
    return folder / "events.db"


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that a server leaves which is killed after some writes."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "copy").mkdir()
    with SQLiteEventStore(folder / "events.db") as store:
        for number in range(N_WRITES):
            store.append([UserEvent(f"id-{number}", "ann", number, "click", 1_700_000_000 + number, 1.0)])
        return copy_log(folder / "events.db", folder / "copy", "-wal", "-shm")


def damage(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(content)


def count_frames(path: Path) -> int:
    return (Path(f"{path}-wal").stat().st_size - 32) // FRAME


def test_the_log_of_a_killed_server_is_whole(killed: Path, tmp_path: Path) -> None:
    for endings in (("-wal", "-shm"), ("-wal",)):
        with SQLiteEventStore(copy_log(killed, tmp_path, *endings)) as store:
            assert len(store) == N_WRITES
        check_wal(tmp_path / "events.db")  # closed: there is no write-ahead log


@pytest.mark.parametrize("has_index", [True, False])
@pytest.mark.parametrize("opener", [SQLiteEventStore, SQLiteEventReader])
@pytest.mark.parametrize("part", [8, 16, 24 + 4000])  # salts, checksum, and page of a frame
def test_writes_behind_damage_are_told(
    killed: Path, tmp_path: Path, opener: type[SQLiteEventReader], part: int, has_index: bool
) -> None:
    path = copy_log(killed, tmp_path, "-wal", *(["-shm"] if has_index else []))
    wal = Path(f"{path}-wal")
    damage(wal, 32 + (count_frames(path) // 2) * FRAME + part)
    before = wal.read_bytes()
    with pytest.raises(
        SourceError,
        match=rf"^The event log .* is damaged: .*cannot be read from frame {count_frames(path) // 2 + 1} on, and with it its last",
    ):
        opener(path)
    assert wal.read_bytes() == before


@pytest.mark.parametrize("cut", [1, FRAME, 4 * FRAME])
def test_a_log_that_is_cut_is_told_by_its_index(killed: Path, tmp_path: Path, cut: int) -> None:
    path = copy_log(killed, tmp_path, "-wal", "-shm")
    wal = Path(f"{path}-wal")
    wal.write_bytes(wal.read_bytes()[:-cut])
    with pytest.raises(SourceError, match="its last writes"):
        SQLiteEventStore(path)


def test_a_log_that_is_missing_or_without_a_header_is_told(killed: Path, tmp_path: Path) -> None:
    path = copy_log(killed, tmp_path, "-shm")
    with pytest.raises(SourceError, match="is missing or empty, and with it its last writes"):
        SQLiteEventStore(path)
    for endings in (("-wal", "-shm"), ("-wal",)):
        Path(f"{path}-shm").unlink(missing_ok=True)
        damage(Path(f"{copy_log(killed, tmp_path, *endings)}-wal"), 20)
        with pytest.raises(SourceError, match=r"cannot be read from frame 1 on, and with it its last \d+ writes"):
            SQLiteEventStore(path)


def test_the_advice_works(killed: Path, tmp_path: Path) -> None:
    """What was in the database itself is kept; the events of the damaged log are gone."""
    path = copy_log(killed, tmp_path, "-wal", "-shm")
    with SQLiteEventStore(path):
        pass
    with SQLiteEventStore(path) as store:
        store.append([UserEvent(f"more-{number}", "ann", 1, "click", 5, 1.0) for number in range(3)])
        store.append([UserEvent("last", "ann", 1, "click", 5, 1.0)])
        (tmp_path / "late").mkdir()
        late = copy_log(path, tmp_path / "late", "-wal", "-shm")
    damage(Path(f"{late}-wal"), 32 + 40)
    with pytest.raises(SourceError, match="events.db-shm away") as caught:
        SQLiteEventStore(late)
    assert f"move {late}-wal and" in str(caught.value)
    for ending in ("-wal", "-shm"):
        Path(f"{late}{ending}").rename(tmp_path / f"moved{ending}")
    with SQLiteEventStore(late) as store:
        assert len(store) == N_WRITES


def test_a_last_transaction_that_a_loss_of_power_cut_was_not_confirmed(killed: Path, tmp_path: Path) -> None:
    """The index does not survive it, and SQLite drops the half transaction."""
    path = copy_log(killed, tmp_path, "-wal")
    damage(Path(f"{path}-wal"), 32 + (count_frames(path) - 1) * FRAME + 100)
    with SQLiteEventStore(path) as store:
        assert len(store) == N_WRITES - 1


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "events.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t (a)")
    yield connection
    connection.close()


def test_a_log_that_starts_over_is_whole(database: sqlite3.Connection, tmp_path: Path) -> None:
    """After a checkpoint new frames overwrite the first ones, and old ones stay behind them."""
    path = tmp_path / "events.db"
    rng = np.random.default_rng(0)
    for number in range(60):
        database.execute("INSERT INTO t VALUES (?)", (rng.bytes(int(rng.integers(1, 20_000))),))
        if number % 7 == 0:
            database.execute("PRAGMA wal_checkpoint(PASSIVE)")
        check_wal(path)
    assert count_frames(path) > 20
    # Everything is in the database: damage loses nothing.
    database.execute("PRAGMA wal_checkpoint(PASSIVE)")
    (tmp_path / "copy").mkdir()
    copied = copy_log(path, tmp_path / "copy", "-wal", "-shm")
    damage(Path(f"{copied}-wal"), 10)
    check_wal(copied)


def test_a_reader_beside_a_server_does_not_check(tmp_path: Path) -> None:
    with SQLiteEventStore(tmp_path / "events.db") as store:
        store.append([UserEvent("a", "ann", 1, "click", 5, 1.0)])
        Path(f"{tmp_path / 'events.db'}-wal").rename(tmp_path / "away")
        (tmp_path / "away").rename(f"{tmp_path / 'events.db'}-wal")
        assert len(SQLiteEventReader(tmp_path / "events.db")) == 1


@pytest.mark.parametrize("length", [0, 20, 32, 40, 32 + FRAME - 1])
def test_a_log_without_a_whole_frame_is_read(killed: Path, tmp_path: Path, length: int) -> None:
    """A kill can leave a part of the header, the header alone, or a part of the first frame: nothing was confirmed in it."""
    path = copy_log(killed, tmp_path, "-wal")
    wal = Path(f"{path}-wal")
    wal.write_bytes(wal.read_bytes()[:length])
    check_wal(path)
