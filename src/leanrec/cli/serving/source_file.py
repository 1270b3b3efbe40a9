"""Files of sources: what ``--item-sources`` reads."""

import difflib
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leanrec.cli.options import parse_model
from leanrec.errors import SettingError

if TYPE_CHECKING:
    from leanrec.pipeline.lists.sources import CandidateSource

__all__ = ["read_sources"]

_KEYS = ("model", "quota", "positions", "where", "name")
_EXAMPLE = '[[source]] with model = "new_items"'


def read_sources(path: Path) -> tuple["CandidateSource", ...]:
    """Sources of items from a TOML file with one table ``[[source]]`` for each.

    A table has ``model`` ("new_items", or a model with settings after commas as on the command line), and optionally ``quota``,
    ``positions``, ``where`` and ``name``; see `CandidateSource`.

    Raises SettingError if the file cannot be read, for an unknown key, and for impossible values.
    """
    from leanrec.pipeline.lists.sources import CandidateSource, check_sources

    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"{path} must be TOML, such as {_EXAMPLE}. It is not: {error}.") from error
    except (OSError, UnicodeError) as error:
        raise SettingError(f"{path} must be a text file that can be read. It is not: {error}.") from error
    tables = found.get("source")
    if set(found) != {"source"} or not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise SettingError(
            f"{path} must have tables {_EXAMPLE}, and nothing else. Got {', '.join(found) or 'nothing'}."
        )
    sources = []
    for number, table in enumerate(tables, start=1):
        where = f"{path}, source {number}"
        for key in table:
            if key not in _KEYS:
                close = difflib.get_close_matches(key, _KEYS, n=1)
                hint = f" Did you mean {close[0]}?" if close else ""
                raise SettingError(f"{where}: a key must be one of {', '.join(_KEYS)}. Got {key}.{hint}")
        _check_types(where, table)
        others = {key: value for key, value in table.items() if key != "model"}
        try:
            sources.append(CandidateSource(_parse_source(table["model"]), **others))
        except SettingError as error:
            raise SettingError(f"{where}: {error}") from error
    return check_sources(sources)


def _check_types(where: str, table: dict[str, Any]) -> None:
    """Raise SettingError unless each value has the type of its key."""
    if not isinstance(table.get("model"), str):
        raise SettingError(f'{where}: model must be a text such as "new_items". Got {table.get("model")!r}.')
    if type(table.get("quota", 1)) is not int:
        raise SettingError(f"{where}: quota must be a whole number. Got {table['quota']!r}.")
    if not isinstance(table.get("positions", []), list):
        raise SettingError(f"{where}: positions must be an array such as [3]. Got {table['positions']!r}.")
    if not isinstance(table.get("where", {}), dict):
        raise SettingError(f'{where}: where must be a table such as {{genres = "Comedy"}}. Got {table["where"]!r}.')
    if not isinstance(table.get("name", ""), str):
        raise SettingError(f"{where}: name must be a text. Got {table['name']!r}.")


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
