"""Event logs by location: a file on this machine, or a database that the scheme of a URL names."""

import importlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from leanrec.errors import MissingExtraError, SettingError
from leanrec.events.event_reader import EventReader
from leanrec.events.event_store import ClosableEventStore
from leanrec.events.records import RetentionPolicy, StorageLimits
from leanrec.events.sqlite_reader import SQLiteEventReader
from leanrec.events.sqlite_store import SQLiteEventStore

__all__ = ["hide_password", "is_url", "open_reader", "open_store", "parse_location"]

# Scheme → extra, the package of which is imported when it is asked for.
_EXTRAS = {"postgresql": "postgres", "postgres": "postgres"}


def is_url(location: str | Path) -> bool:
    """Whether a location is the URL of a database."""
    return isinstance(location, str) and "://" in location


def parse_location(text: str) -> str | Path:
    """The location in a text: a URL stays text, anything else is a path. Raises SettingError for a URL of an unknown kind."""
    if not is_url(text):
        return Path(text)
    _find_extra(text)
    return text


def hide_password(url: str) -> str:
    """The URL without its password and its parameters, for messages."""
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    user = login.partition(":")[0]
    return f"{parts.scheme}://{f'{user}@' if user else ''}{host}{parts.path}"


def open_reader(location: str | Path) -> EventReader:
    """Open an event log to read it.

    Args:
        location: path of an SQLite file, or a URL such as ``postgresql://user@host/database``.

    Raises SourceError if there is none, SettingError for a URL of an unknown kind.
    """
    if not is_url(location):
        return SQLiteEventReader(location)
    reader: EventReader = _import_backend(str(location)).open_reader(location)
    return reader


def open_store(
    location: str | Path, retention: RetentionPolicy = RetentionPolicy(), limits: StorageLimits | None = None
) -> ClosableEventStore:
    """Open an event log to write it, or create it.

    Args:
        location: path of an SQLite file, or a URL such as ``postgresql://user@host/database``.
        retention: how long served lists are kept.
        limits: how much space is left on the disk of a file; None = the defaults, the only ones for a URL.

    Raises SourceError if it cannot be written, SettingError for a URL of an unknown kind or for limits that cannot be kept.
    """
    if not is_url(location):
        return SQLiteEventStore(location, retention, limits)
    if limits not in {None, StorageLimits()}:
        raise SettingError(
            "The limits of free space and of the write-ahead log must be the defaults with an event log in a database, whose disk "
            f"cannot be seen from here. Got {limits}. Leave them out, and watch the disk of the database."
        )
    store: ClosableEventStore = _import_backend(str(location)).open_store(location, retention, limits)
    return store


def _find_extra(url: str) -> str:
    scheme = url.partition("://")[0]
    if scheme not in _EXTRAS:
        raise SettingError(
            f"The URL of an event log must begin with postgresql://. Got {scheme}://. Give such a URL, or the path of a file."
        )
    return _EXTRAS[scheme]


def _import_backend(url: str) -> Any:
    extra = _find_extra(url)
    try:
        return importlib.import_module(f"leanrec.integrations.{extra}")
    except ModuleNotFoundError as error:
        if str(error.name).startswith("leanrec"):
            raise
        raise MissingExtraError(f"An event log at {url.partition('://')[0]}://", extra) from error
