"""Locations of event logs: a path or the URL of a database."""

import sys
from pathlib import Path

import pytest

from leanrec.errors import MissingExtraError, SettingError
from leanrec.events.locations import hide_password, is_url, open_reader, open_store, parse_location
from leanrec.events.sqlite_reader import SQLiteEventReader
from leanrec.events.sqlite_store import SQLiteEventStore


def test_what_has_no_scheme_is_a_file(tmp_path: Path) -> None:
    location = parse_location(str(tmp_path / "events.db"))
    assert isinstance(location, Path)
    assert not is_url(location)
    with open_store(location) as log:
        assert type(log) is SQLiteEventStore
    assert type(open_reader(str(location))) is SQLiteEventReader


def test_a_url_keeps_its_slashes() -> None:
    url = "postgresql://ada@db.example.org:5433/log"
    assert parse_location(url) == url
    assert is_url(url)


@pytest.mark.parametrize("url", ["mysql://localhost/log", "sqlite:///events.db", "http://localhost"])
@pytest.mark.parametrize("act", [parse_location, open_reader, open_store])
def test_a_url_of_another_kind_is_refused(url: str, act: object) -> None:
    with pytest.raises(SettingError, match="must begin with postgresql://. Got"):
        act(url)  # type: ignore[operator]


def test_a_missing_driver_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    for name in [name for name in sys.modules if name.startswith("leanrec.integrations.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=r"leanrec\[postgres\]"):
        open_reader("postgresql://localhost/log")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ada:secret@db:5433/log?sslmode=require", "postgresql://ada@db:5433/log"),
        ("postgresql://ada:se@cret@db/log", "postgresql://ada@db/log"),
        ("postgresql://db/log?password=secret", "postgresql://db/log"),
        ("postgresql:///log?host=/run/postgresql", "postgresql:///log"),
    ],
)
def test_messages_have_no_password(url: str, shown: str) -> None:
    assert hide_password(url) == shown
