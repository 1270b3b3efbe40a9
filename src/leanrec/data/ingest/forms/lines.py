"""Text whose lines have no columns: adjacency lists, sequences, counted lists, and blocks under a line with their id.

The layout is recognized from the first lines, where they leave no doubt, or given. The lines are read by DuckDB in one
stream, and nothing is kept of them but the current block.
"""

import gzip
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from leanrec.data.engine import quote_identifier, quote_literal
from leanrec.data.ingest.text_files import line_scan
from leanrec.errors import SettingError, SourceError

__all__ = ["LAYOUTS", "LineTable", "check_layout", "find_line_layout", "open_lines"]

LAYOUTS = ("long", "adjacency", "sequences", "counted", "blocks", "wide")
"""Layouts of a log: one event in each row, a user and all items of the user, the items alone or after their number, blocks, and a matrix."""

_HEAD = 65_536
_BUFFER = 16_000_000
_MIN_LINES = 3
_BLANKS = r"\s+"
_ALL = r"^()(.*)$"
_ALL_AFTER_BLANK = r"^\s*(\S*)(.*)$"
_USERS = (r"^\s*([^\s,;:]+)\s*:(?:\s(.*))?$", r"^\s*([^\t]+)\t(.*)$")
_NUMBERS = re.compile(r"\d+(?:[ \t]\d+)*[ \t]*|\d+(?:,\d+)*")
_BLOCK_ID = re.compile(r"[^\s,;:]+:")
_BLOCK_LINE = re.compile(r"[^\s,;:]+:?|\d+,\d+(?:\.\d+)?,\d{4}-\d{2}-\d{2}")
_RATED = re.compile(r"\d+,\d+(?:\.\d+)?,\d{4}-\d{2}-\d{2}")


class LineTable(NamedTuple):
    """Lines of text as a table.

    Attributes:
        scan: SQL table expression.
        types: column name → DuckDB type.
        note: how the lines were read, in a sentence.
    """

    scan: str
    types: dict[str, str]
    note: str


def check_layout(layout: str | None) -> None:
    """Raise SettingError unless ``layout`` is one of ``LAYOUTS``, or None."""
    if layout is not None and layout not in LAYOUTS:
        raise SettingError(f"layout must be one of {', '.join(LAYOUTS)}. Got {layout!r}.")


def open_lines(path: Path, layout: str | None, label: str) -> LineTable | None:
    """Return a text file as a table of events, where its lines have no columns; None where they have.

    Args:
        path: the file; ``.gz`` is unpacked.
        layout: one of ``LAYOUTS``; None: found from the first lines.
        label: name of the file in messages.

    Raises:
        SourceError: the lines are lists of numbers of different lengths, and do not say whether the first is a user.
    """
    if layout in {"long", "wide"}:
        return None
    lines = _read_head(path)
    found = layout or find_line_layout(lines, label)
    if found is None:
        return None
    how = "" if layout else ' If that is wrong, pass layout="long".'
    scan = line_scan(path, _BUFFER)
    line, separator = _split_user(lines) if found == "adjacency" else (_ALL, _find_separator(lines))
    rest = f"regexp_extract(line, {quote_literal(line)}, 2, 's')"
    values = f"list_filter(list_transform(string_split_regex({rest}, {quote_literal(separator)}), lambda x: trim(x)), lambda x: x <> '')"
    if found == "blocks":
        return _read_blocks(
            scan,
            lines,
            f"{label}: each line that ends in a colon was read as the id of the block of lines below it.{how}",
        )
    if found == "adjacency":
        user = f"trim(regexp_extract(line, {quote_literal(line)}, 1, 's'))"
        rows = f'(SELECT {user} AS "user", unnest({values}) AS item FROM {scan} WHERE line IS NOT NULL)'
        note = f"{label}: each line was read as a user and the items of the user.{how}"
    else:
        items = "v[2:]" if found == "counted" else "v"
        rows = (
            f'(SELECT n::VARCHAR AS "user", unnest({items}) AS item FROM (SELECT row_number() OVER () AS n, {values} AS v '
            f"FROM {scan} WHERE line IS NOT NULL))"
        )
        what = (
            "the number of the items of one user and these items"
            if found == "counted"
            else "the items of one user in their order"
        )
        note = f"{label}: each line was read as {what}; users are the numbers of the lines.{how}"
    return LineTable(rows, {"user": "VARCHAR", "item": "VARCHAR"}, note)


def _split_user(lines: Sequence[str]) -> tuple[str, str]:
    """Return the pattern of a user and the rest of a line, and the pattern between items.

    The user ends at a colon or a tab where every line has one, at the first blank where no item has blanks, else where
    an item ends.
    """
    for pattern in _USERS:
        if all(re.fullmatch(pattern, line) for line in lines):
            return pattern, _find_separator([re.sub(pattern, r"\2", line) for line in lines])
    separator = _find_separator(lines)
    values = [re.split(separator, line.strip()) for line in lines]
    firsts, others = [each[0].split() for each in values], [cell for each in values for cell in each[1:]]
    is_blank = all(len(first) == 2 for first in firsts) and not any(" " in cell.strip() for cell in others)
    return (_ALL_AFTER_BLANK if is_blank or separator == _BLANKS else rf"^\s*(.*?)(?:{separator}(.*))?$"), separator


def _find_separator(lines: Sequence[str]) -> str:
    """Return the pattern between the values of lists: marks that most lines have, several tabs, or blanks."""
    marks = "".join(mark for mark in ",;|" if sum(mark in line for line in lines) * 2 > len(lines))
    if marks:
        return rf"\s*[{marks}]\s*"
    return r"\t+" if sum("\t" in line.strip() for line in lines) * 2 > len(lines) else _BLANKS


def _read_head(path: Path) -> list[str]:
    """Return the first complete lines with text."""
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    if path.suffix.lower() == ".zst":
        return []
    try:
        with opened(path, "rb") as handle:
            head = handle.read(_HEAD)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error}. Check it.") from error
    lines = head.decode("utf-8", "replace").removeprefix("\ufeff").splitlines()
    return [line for line in (lines[:-1] if len(head) == _HEAD and len(lines) > 1 else lines) if line.strip()]


def find_line_layout(lines: Sequence[str], label: str) -> str | None:
    """Return the layout that the first lines show without doubt; None for lines with columns.

    Raises SourceError where lists of numbers may be of users and items, or of items alone.
    """
    if len(lines) < _MIN_LINES:
        return None
    if _BLOCK_ID.fullmatch(lines[0].strip()) and all(_BLOCK_LINE.fullmatch(line.strip()) for line in lines):
        return "blocks"
    if not all(_NUMBERS.fullmatch(line) for line in lines):
        return None
    has_commas = any("," in line for line in lines)
    values = [line.replace(",", " ").split() for line in lines]
    lengths = {len(each) for each in values}
    # Damaged lines of delimited text have two lengths.
    if len(lengths) <= 1 + has_commas or max(lengths) < _MIN_LINES:
        return None
    if all(int(each[0]) == len(each) - 1 for each in values):
        return "counted"
    users = [int(each[0]) for each in values]
    if all(before < after for before, after in itertools.pairwise(users)):
        return "adjacency"
    raise SourceError(
        f"{label} has lines of {min(lengths)} to {max(lengths)} numbers, and not the same number of columns in each. Where each line "
        'is a user and the items of the user, pass layout="adjacency"; where each line is one sequence of items, pass '
        'layout="sequences".'
    )


def _read_blocks(scan: str, lines: Sequence[str], note: str) -> LineTable:
    """Return the fields of the lines below each id.

    The id is the item where the lines hold a user, or Netflix's ``user,rating,date``. Otherwise the column of the id is
    ``block``, and the others have numbers.
    """
    rows = [line.strip() for line in lines if not line.strip().endswith(":")]
    mark = next((each for each in (",", "\t", " ") if any(each in line for line in rows)), ",")
    n_fields = max((line.count(mark) + 1 for line in rows), default=1)
    names = ["block", *map(str, range(1, n_fields + 1))]
    if rows and all(_RATED.fullmatch(line) for line in rows):
        names = ["item", "user", "rating", "date"]
    elif n_fields == 1:
        names = ["item", "user"]
    fields = ", ".join(f"nullif(trim(f[{i}]), '') AS {quote_identifier(name)}" for i, name in enumerate(names[1:], 1))
    head = "CASE WHEN line LIKE '%:' THEN line[:-2] END"
    trimmed = f"SELECT rtrim(line) AS line FROM {scan} WHERE line IS NOT NULL"
    block = f"SELECT line, last_value({head} IGNORE NULLS) OVER (ROWS UNBOUNDED PRECEDING) AS block FROM ({trimmed})"
    split = f"SELECT block, string_split(line, {quote_literal(mark)}) AS f FROM ({block}) WHERE line NOT LIKE '%:'"
    types = {name: "DOUBLE" if name == "rating" else "VARCHAR" for name in names}
    return LineTable(f"(SELECT block AS {names[0]}, {fields} FROM ({split}))", types, note)
