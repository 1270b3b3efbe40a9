"""Files about lists: what ``--item-sources`` and ``--list-rules`` read."""

import difflib
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leanrec.cli.options import parse_model
from leanrec.cli.serving.config_file import read_toml
from leanrec.errors import SettingError

if TYPE_CHECKING:
    from leanrec.pipeline.lists.rules import ListRules
    from leanrec.pipeline.lists.sources import CandidateSource

__all__ = ["read_rules", "read_sources"]

_TEXT, _COUNT, _TABLE = ("a text", (str,)), ("a whole number", (int,)), ('a table such as {genre = "Comedy"}', (dict,))
# The keys of each kind of table with the types of their values. Those in capitals are needed.
_KEYS: Mapping[str, Mapping[str, tuple[str, tuple[type, ...]]]] = {
    "source": {
        "MODEL": _TEXT,
        "quota": _COUNT,
        "positions": ("an array such as [3]", (list,)),
        "where": _TABLE,
        "name": _TEXT,
    },
    "pin": {
        "ITEM": ("an id", (int, str)),
        "POSITION": _COUNT,
        "users": _TABLE,
        "until": ("a date or time without quotation marks, such as 2026-12-24T18:00:00Z", (datetime, date)),
    },
    "limit": {"COLUMN": _TEXT, "N": _COUNT},
}


def read_sources(path: Path) -> tuple["CandidateSource", ...]:
    """Sources of items from a TOML file with one table ``[[source]]`` for each.

    A table has ``model`` ("new_items", or a model with settings after commas as on the command line), and optionally ``quota``,
    ``positions``, ``where`` and ``name``; see `CandidateSource`.

    Raises SettingError if the file cannot be read, for an unknown key, and for impossible values.
    """
    from leanrec.pipeline.lists.sources import CandidateSource, check_sources

    sources = []
    for number, table in enumerate(_read_tables(path, "source")["source"], start=1):
        others = {key: value for key, value in table.items() if key != "model"}
        try:
            sources.append(CandidateSource(_parse_source(table["model"]), **others))
        except SettingError as error:
            raise SettingError(f"{path}, source {number}: {error}") from error
    try:
        return check_sources(sources)
    except SettingError as error:
        raise SettingError(f"{path}: {error}") from error


def read_rules(path: Path) -> "ListRules":
    """Rules of lists from a TOML file with tables ``[[pin]]`` and ``[[limit]]``.

    A pin has ``item`` and ``position``, and optionally ``users`` and ``until`` (in UTC unless it says otherwise); a limit has
    ``column`` and ``n``. See `PinnedItem` and `ColumnLimit`.

    Raises SettingError if the file cannot be read, for an unknown key, and for impossible values.
    """
    from leanrec.pipeline.lists.rules import ColumnLimit, ListRules, PinnedItem

    made: dict[str, list[Any]] = {"pin": [], "limit": []}
    for kind, tables in _read_tables(path, *made).items():
        for number, table in enumerate(tables, start=1):
            values = table | ({"until": _to_seconds(table["until"])} if "until" in table else {})
            try:
                made[kind].append(PinnedItem(**values) if kind == "pin" else ColumnLimit(**values))
            except SettingError as error:
                raise SettingError(f"{path}, {kind} {number}: {error}") from error
    try:
        return ListRules(tuple(made["pin"]), tuple(made["limit"]))
    except SettingError as error:
        raise SettingError(f"{path}: {error}") from error


def _read_tables(path: Path, *kinds: str) -> dict[str, list[dict[str, Any]]]:
    """The tables of a TOML file by kind, with known keys and the right types. Raises SettingError."""
    example = " and ".join(f"[[{kind}]]" for kind in kinds)
    found = read_toml(path, f"tables {example}")
    is_tables = [isinstance(each, list) and all(isinstance(row, dict) for row in each) for each in found.values()]
    if not found or set(found) - set(kinds) or not all(is_tables):
        got = ", ".join(found) or "nothing"
        raise SettingError(f"{path} must have tables {example}, and nothing else. Got {got}.")
    for kind, tables in found.items():
        for number, table in enumerate(tables, start=1):
            _check_keys(f"{path}, {kind} {number}", table, _KEYS[kind])
    return found


def _check_keys(where: str, table: Mapping[str, Any], keys: Mapping[str, tuple[str, tuple[type, ...]]]) -> None:
    """Raise SettingError unless a table has the needed keys and no unknown one, with values of their types."""
    types = {key.lower(): described for key, described in keys.items()}
    for key in table:
        if key not in types:
            close = difflib.get_close_matches(key, types, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise SettingError(f"{where}: a key must be one of {', '.join(types)}. Got {key}.{hint}")
    for key in keys:
        if key.isupper() and key.lower() not in table:
            raise SettingError(f"{where}: {key.lower()} must be given. It is missing.")
    for key, value in table.items():
        name, kinds = types[key]
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise SettingError(f"{where}: {key} must be {name}. Got {value!r}.")


def _to_seconds(value: date) -> float:
    """Seconds since 1970 of a date or time, in UTC unless it says otherwise."""
    at = value if isinstance(value, datetime) else datetime.combine(value, time())
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def _parse_source(text: str) -> Any:
    """The settings of a model, or of new items: ``new_items`` or ``new_items,column=released``."""
    from leanrec.pipeline.lists.new_items import NewItems

    name, _, settings = text.partition(",")
    if name.strip() != "new_items":
        return parse_model(text)
    key, equals, column = settings.partition("=")
    if settings and (key.strip() != "column" or not equals):
        raise SettingError(f"new_items must have no setting but column=NAME. Got {settings!r}.")
    return NewItems(column.strip())
