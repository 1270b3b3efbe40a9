"""Column names: whether the first line of a text has them, and what the columns are called where it does not."""

import re
from collections.abc import Sequence

from leanrec.data.event_types import normalize_name
from leanrec.data.ingest.forms.delimiters import FieldLayout, split_records
from leanrec.data.ingest.meaning.column_names import list_roles
from leanrec.errors import SettingError

__all__ = [
    "count_above_names",
    "find_index_column",
    "find_names_above",
    "join_names",
    "name_columns",
    "read_delimiter",
    "read_names",
    "score_header",
]

_MISSING = {"", "na", "n/a", "nan", "null", "none", "\\n", "-", "nil", "undefined"}
_WORDS = frozenset(
    (
        "user", "item", "id", "ids", "uid", "iid", "time", "timestamp", "ts", "date", "datetime", "unix", "rating", "ratings",
        "score", "stars", "event", "events", "type", "behavior", "behaviour", "action", "label", "click", "clicked", "title",
        "name", "movie", "product", "session", "visitor", "customer", "reviewer", "member", "artist", "artists", "track", "song",
        "book", "isbn", "asin", "parent", "sku", "article", "news", "video", "game", "anime", "recipe", "category", "categories",
        "genre", "genres", "tag", "tags", "price", "brand", "author", "year", "text", "content", "description", "weight",
        "plays", "count", "hours", "quantity", "value", "review", "url", "query", "index", "head", "relation", "tail", "friend",
        "from", "to", "source", "target", "subject", "predicate", "object", "trust", "token", "float", "seq", "code", "number",
        "userid", "itemid", "movieid", "visitorid", "itemid", "productid", "sessionid", "articleid", "customerid",
    )
)  # fmt: skip
_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")
_NUMBER = re.compile(r"\s*[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d+)?\s*")
_ATTRIBUTE = re.compile(r"\s*@attribute\s+(?:'(?P<quoted>[^']+)'|(?P<plain>\S+))\s+\S.*", re.IGNORECASE)
_FIELDS = re.compile(r"#\s*fields:?\s*", re.IGNORECASE)
# A blank before the mark makes a mark of the name a letter: "user", "item".
_IN_MARKS = re.compile(r'"([^"]*)"')
_CERTAIN = 1000
_FIXED_LENGTH = 8
_HASH_LENGTH = 16
_MAX_ABOVE = 20


def read_names(
    names: str | Sequence[str] | None,
    item_names: str | Sequence[str] | None = None,
    user_names: str | Sequence[str] | None = None,
) -> dict[str, tuple[str, ...]]:
    """Return source → given names of its columns. Raises SettingError where a list has no name or one twice."""
    found = {}
    given = {
        "log": ("names", names),
        "item_table": ("item_names", item_names),
        "user_table": ("user_names", user_names),
    }
    for source, (argument, value) in given.items():
        if value is None:
            continue
        listed = tuple(name.strip() for name in (value.split(",") if isinstance(value, str) else value))
        full = [name for name in listed if name]
        if not full or len({name.lower() for name in full}) < len(full):
            raise SettingError(f"{argument} must be different names of columns, such as user,item,time. Got {value!r}.")
        found[source] = listed
    return found


def read_delimiter(delimiter: str | None) -> str | None:
    r"""Return the delimiter; ``\t`` and ``tab`` are the tab. Raises SettingError for one that cannot be a delimiter."""
    if delimiter is None:
        return None
    delimiter = {"tab": "\t", "comma": ",", "blank": " ", "space": " "}.get(delimiter, delimiter).replace("\\t", "\t")
    if not delimiter or any(mark in delimiter for mark in '"\r\n'):
        raise SettingError(
            f"delimiter must be a text between two fields without quotation marks and line ends, such as '::'. Got {delimiter!r}."
        )
    return delimiter


def score_header(cells: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Compare the first line with the following ones: above 0 it has names, below 0 data, 0 = nothing speaks for either.

    A cell that has the type or the form of the values below it is data; a common name, or a word above numbers, is a name.
    """
    score = 0
    for i, raw in enumerate(cells):
        cell = raw.strip().strip('"')
        values = [row[i].strip().strip('"') for row in rows if i < len(row) and row[i].strip()]
        if cell.lower() in _MISSING:
            continue
        if _NUMBER.fullmatch(cell):
            score -= 1 if not values or _share(values, _NUMBER) > 0.5 else 0
        elif _is_name(cell):
            score += 0 if cell in values else _CERTAIN if _is_above_digits(cell, values) else 1
        elif cell in values or (len(cell) >= _HASH_LENGTH and {len(value) for value in values} == {len(cell)}):
            score -= 1
        elif values and _share(values, _NUMBER) > 0.9:
            score += 1
        elif values and _has_form(cell, values):
            score -= 1
    return score


def count_above_names(records: Sequence[Sequence[str]]) -> int:
    """Return the number of records above the one that names users and items, such as the title of a report with as many fields.

    0 where the first one does, or none of the first twenty.
    """
    for number, cells in enumerate(records[:_MAX_ABOVE]):
        # Ids such as user1 and item1 have the words of names, and digits.
        words = [cell for cell in cells if not any(map(str.isdigit, cell))]
        if {"user", "item"} <= list_roles(words):
            return number if score_header(cells, records[number + 1 :]) > 0 else 0
    return 0


def join_names(records: Sequence[Sequence[str]]) -> list[str]:
    """Return the names of a header of two lines, ``customer,,product`` above ``id,name,id``; empty where it has one line.

    A name in the first line is that of a group, and holds for the cells after it that are empty.
    """
    groups, names = ([cell.strip() for cell in record] for record in (*records[:2], [], [])[:2])
    rows, full = records[2:], [cell for cell in groups if cell]
    if not names or len(groups) != len(names) or len(full) < 2 or len(set(full)) == len(groups):
        return []
    if any(map(_NUMBER.fullmatch, full)) or not all(
        _is_name(cell) or score_header([cell], [[row[i]] for row in rows if i < len(row)]) > 0
        for i, cell in enumerate(names)
        if cell
    ):
        return []
    joined, group = [], ""
    for head, name in zip(groups, names, strict=True):
        group = head or group
        joined.append(f"{group} {name}".strip())
    return joined


def find_names_above(titles: Sequence[str], layout: FieldLayout, records: Sequence[Sequence[str]]) -> list[str] | None:
    """Return the names in the lines above a table without a header; None where there are none.

    They are in the last comment, in a comment that begins with ``#Fields`` (the logs of servers), or in a line
    ``@attribute NAME TYPE`` for each column (ARFF).
    """
    attributes = [match["plain"] or match["quoted"] for match in map(_ATTRIBUTE.fullmatch, titles) if match]
    if len(attributes) == layout.columns:
        return attributes
    fields = next((line for line in reversed(titles) if _FIELDS.match(line)), "")
    names = next(iter(split_records([_FIELDS.sub("", fields or titles[-1]).lstrip("#% ")], layout)), [])
    if len(names) == layout.columns and (fields or score_header(names, records) > 0):
        return names
    return None


def _share(values: Sequence[str], pattern: re.Pattern[str]) -> float:
    return sum(pattern.fullmatch(value) is not None for value in values) / len(values)


def _is_above_digits(cell: str, values: Sequence[str]) -> bool:
    """Whether a cell without digits is above values with digits, so that it is none of them."""
    digits = re.compile(r".*\d.*", re.DOTALL)
    return bool(values) and digits.fullmatch(cell) is None and _share(values, digits) > 0.9


def _is_name(cell: str) -> bool:
    tokens = [token.lower() for token in _TOKEN.findall(cell)]
    return 0 < len(tokens) <= 6 and all(token in _WORDS for token in tokens)


def _has_form(cell: str, values: Sequence[str]) -> bool:
    """Whether a cell with digits has the form of most values (``u12`` and ``u7``, two dates), or their fixed length."""
    if _is_above_digits(cell, values):
        return False
    if len(values) > 1 and len(cell) >= _FIXED_LENGTH and {len(value) for value in values} == {len(cell)}:
        return True
    form = _to_form(cell)
    return "9" in form and sum(_to_form(value) == form for value in values) * 2 > len(values)


def _to_form(text: str) -> str:
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", text))


def name_columns(
    cells: Sequence[str], columns: int, names: Sequence[str] | None, *, header: bool, where: str
) -> list[str]:
    """Return one distinct name for each column: given, of the header, or "1", "2", ….

    Raises SettingError where more names are given than there are columns.
    """
    if names is not None:
        if len(names) > columns:
            raise SettingError(
                f"names must have one name for each column, at most {columns} for {where}. Got {len(names)}: "
                f"{', '.join(names[:10])}."
            )
        wanted = [name.strip() for name in names] + [""] * (columns - len(names))
    elif header:
        wanted = [_IN_MARKS.sub(r"\1", cell.strip()) or f"column{number}" for number, cell in enumerate(cells, 1)]
    else:
        wanted = [""] * columns
    found: list[str] = []
    for number, wish in enumerate(wanted, 1):
        name = wish or str(number)
        found.append(name if name.lower() not in {each.lower() for each in found} else f"{name}_{number}")
    return found


def find_index_column(cells: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first column has no name and counts the rows, as pandas and R write the index of a frame."""
    if len(cells) < 2 or normalize_name(cells[0].strip().strip('"')) not in {"", "unnamed:0", "unnamed0"}:
        return False
    values = [row[0].strip().strip('"') for row in rows if row]
    return all(value.isdigit() for value in values) and len(set(values)) == len(values)
