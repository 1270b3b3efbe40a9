"""Wide matrices: the first column has the users, and each other column is an item with the ratings of the users."""

import dataclasses
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from leanrec.data.engine import quote_identifier
from leanrec.data.event_types import normalize_name
from leanrec.data.ingest.forms.nested import find_role, is_nested
from leanrec.data.ingest.timestamps import is_number
from leanrec.errors import SourceError

if TYPE_CHECKING:
    from leanrec.data.ingest.sources import SourcePart

__all__ = ["is_wide", "melt_matrix", "take_header"]

_MIN_ITEMS = 3
_NUMBERED = re.compile(r"(?P<prefix>\D*?)[ _.-]?\d+")


def take_header(part: "SourcePart", role_names: Mapping[str, Collection[str]], *, is_given: bool) -> "SourcePart":
    """Return a text file with the names of its first line, where that is the header of a matrix: a name, then item ids.

    Numbers as item ids make such a line look like data. With ``is_given`` any first cell that is no number will do.
    """
    file = part.file
    if file is None or (file.header and not file.ignored):
        return part
    cells = list(file.names if file.header else file.first)
    numbers = {cell.strip() for cell in cells[1:] if cell.strip().isdecimal()}
    is_header = normalize_name(cells[0]) in role_names["user"] and len(numbers) == len(cells) - 1 >= _MIN_ITEMS
    if len(cells) != len(file.names) or not (is_header or (is_given and not cells[0].strip().isdecimal())):
        return part
    names = tuple(cell.strip() or f"column{number}" for number, cell in enumerate(cells, 1))
    named = dataclasses.replace(file, names=names, header=True, ignored=())
    numeric = part.types.values() if len(part.types) == len(names) else ["VARCHAR", *part.types.values()]
    types = dict.fromkeys(names, "DOUBLE") | {names[0]: next(iter(numeric))}
    return dataclasses.replace(part, scan=named.scan(), types=types, file=named)


def is_wide(part: "SourcePart", given: Mapping[str, str], role_names: Mapping[str, Collection[str]]) -> bool:
    """Whether a table is certainly a matrix: a user, no item, and numbered columns of numbers (``item_1``, ``item_2`` …)."""
    user = find_role(part, "user", given, role_names)
    if user is None or "item" in given:
        return False
    others = [name for name in part.types if name != user]
    numbered = [_NUMBERED.fullmatch(name) for name in others]
    prefixes = {match["prefix"] for match in numbered if match is not None}
    has_items = any(normalize_name(name) in role_names["item"] for name in others)
    has_numbers = not has_items and all(is_number(part.types[name]) for name in others)
    return len(others) >= _MIN_ITEMS and all(numbered) and len(prefixes) == 1 and has_numbers


def melt_matrix(
    part: "SourcePart", given: Mapping[str, str], role_names: Mapping[str, Collection[str]], *, is_given: bool
) -> "SourcePart":
    """Return one row (user, item, rating) for each number of a matrix; cells without one are no events.

    Args:
        part: the table.
        given: role → column; the user column is the one given, or found by its name, or the first one.
        role_names: role → normalized common names.
        is_given: whether the layout was given, and not recognized.

    Raises:
        SourceError: there is no column besides that of the users.
    """
    found = find_role(part, "user", given, role_names)
    user, name = (found, found) if found is not None else (next(iter(part.types)), "user")
    items = [each for each, column_type in part.types.items() if each != user and not is_nested(column_type)]
    if not items:
        raise SourceError(
            f"{part.label} must have a column of users and a column for each item. Got {user!r} only. Pass another layout."
        )
    is_text = part.form == "csv"
    column_type = "VARCHAR" if is_text else "DOUBLE"
    # Fields of one struct are named by the path to it: ratings.17.
    prefixes = {each.partition(".")[0] for each in items if "." in each}
    common = f"{prefixes.pop()}." if len(prefixes) == 1 and all("." in each for each in items) else ""
    ids = {each: quote_identifier(each.removeprefix(common)) for each in items}
    cells = ", ".join(f"{quote_identifier(each)}::{column_type} AS {name}" for each, name in ids.items())
    columns = ", ".join(ids.values())
    source = f"SELECT {quote_identifier(user)} AS leanrec_user, {cells} FROM {part.scan}"
    melted = f"FROM ({source}) UNPIVOT (rating FOR item IN ({columns}))"
    scan = f"(SELECT leanrec_user AS {quote_identifier(name)}, item, rating {melted})"
    types = {name: part.types[user], "item": "VARCHAR", "rating": "DOUBLE"}
    note = f"{part.label}: the column {user!r} was read as the user, and each other column as an item with ratings."
    note += "" if is_given else ' If that is wrong, pass layout="long".'
    form = "sql" if part.form == "parquet" else part.form
    paths = {**part.paths, user: name}
    return dataclasses.replace(
        part, scan=scan, types=types, form=form, file=None, paths=paths, notes=(*part.notes, note)
    )
