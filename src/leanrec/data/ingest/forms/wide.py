"""Wide matrices: a row for each user and a column for each item, or the other way round, with a rating in each cell."""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from leanrec.data.engine import SqlEngine, quote_identifier, quote_literal
from leanrec.data.event_types import normalize_name
from leanrec.data.ingest.forms.nested import find_role, is_nested
from leanrec.data.ingest.meaning.column_names import guess_role, is_title
from leanrec.data.ingest.timestamps import is_number
from leanrec.errors import SourceError

if TYPE_CHECKING:
    from leanrec.data.ingest.sources import SourcePart

__all__ = ["is_wide", "melt_matrix", "take_header"]

_MIN_ITEMS = 3
_SAMPLE = 1000
_TOTAL = re.compile(
    r"\W*(grand |sub|row |column )?(totals?|sum|summe|gesamt|gesamtsumme|all|mean|average|avg|median|count|std|min|max|n|mittelwert|durchschnitt|anzahl"
    r"|total général|totale?s?|somme|moyenne|suma|promedio|media|soma|média|somma|razem|итого|всего|среднее|合计|总计|平均|合計|n ratings)\W*",
    re.IGNORECASE,
)
_MIN_ROWS = 3
_TOTALED = 100  # first rows in which a column is compared with the sum of the others
_MAX_CELLS = 5  # columns in which a row of totals is compared with the rows above it
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
    engine: SqlEngine,
    part: "SourcePart",
    given: Mapping[str, str],
    role_names: Mapping[str, Collection[str]],
    *,
    is_given: bool,
) -> "SourcePart":
    """Return one row (user, item, rating) for each number of a matrix; cells without one are no events.

    Where the first column has items (``album``), the other columns are the users. Where it has numbers that repeat, it has
    ratings, and the users are the numbers of the rows. In a matrix without an empty cell that is mostly 0, a 0 is no event.
    Columns and rows that are totals of the others are left out.

    Args:
        engine: the connection.
        part: the table.
        given: role → column; the user column is the one given, or found by its name, or the first one.
        role_names: role → normalized common names.
        is_given: whether the layout was given, and not recognized.

    Raises:
        SourceError: there is no column besides that of the users.
    """
    axes = _find_axes(engine, part, given, role_names)
    cells = [each for each, column_type in part.types.items() if each != axes.column and not is_nested(column_type)]
    if not cells:
        raise SourceError(
            f"{part.label} must have a column of users and a column for each item. Got {axes.column!r} only. Pass another layout."
        )
    totals = _find_total_columns(engine, part, cells)
    cells = [each for each in cells if each not in totals]
    rows, row_totals = _find_total_rows(engine, part, axes.column, cells)
    column_type = "VARCHAR" if part.form == "csv" else "DOUBLE"
    names = _name_cells(cells)
    fields = ", ".join(f"{quote_identifier(each)}::{column_type} AS {name}" for each, name in names.items())
    key = "row_number() OVER ()" if axes.column is None else quote_identifier(axes.column)
    source = f"SELECT {key} AS leanrec_row, {fields} FROM {rows}"
    unpivot = f"UNPIVOT (rating FOR {axes.other} IN ({', '.join(names.values())}))"
    scan = f"(SELECT leanrec_row AS {quote_identifier(axes.rows)}, {axes.other}, rating FROM ({source}) {unpivot})"
    key_type = "BIGINT" if axes.column is None else part.types[axes.column]
    melted = dataclasses.replace(
        part,
        scan=scan,
        types={axes.rows: key_type, axes.other: "VARCHAR", "rating": "DOUBLE"},
        form="sql" if part.form == "parquet" else part.form,
        file=None,
        paths=part.paths if axes.column is None else {**part.paths, axes.column: axes.rows},
        notes=(
            *part.notes,
            axes.note + ("" if is_given else ' If that is wrong, pass layout="long".'),
            *_describe_totals(part, totals, row_totals),
        ),
    )
    sample = f"(SELECT rating FROM ({source} LIMIT {_SAMPLE}) {unpivot})"
    n_rows = int(
        engine.fetch_rows(f"SELECT count(*) FROM (SELECT 1 FROM {part.scan} LIMIT {_SAMPLE})", part.label)[0][0]
    )
    return _drop_zeros(engine, melted, sample, len(cells) * n_rows)


def _name_cells(cells: Sequence[str]) -> dict[str, str]:
    """Return column → the name of its item in SQL. Fields of one struct are named by the path to it: ratings.17."""
    prefixes = {each.partition(".")[0] for each in cells if "." in each}
    common = f"{prefixes.pop()}." if len(prefixes) == 1 and all("." in each for each in cells) else ""
    return {each: quote_identifier(each.removeprefix(common)) for each in cells}


# Columns of a matrix that are users: User1, customer_17.
_USER_COLUMN = re.compile(r"(?:user|customer|member|person|participant|subject|rater)s?[ _-]?\d+", re.IGNORECASE)


class _Axes(NamedTuple):
    """What the rows and the columns of a matrix are.

    Attributes:
        rows: name of the column with the ids of the rows.
        column: the column of the table that has them, None where users are the numbers of the rows.
        other: what the columns are, user or item.
        note: the sentence about both.
    """

    rows: str
    column: str | None
    other: str
    note: str


def _find_axes(
    engine: SqlEngine, part: "SourcePart", given: Mapping[str, str], role_names: Mapping[str, Collection[str]]
) -> _Axes:
    """Find whether rows are users or items: by the column that is given, or found by its name, or by the first one."""
    first = next(iter(part.types))
    user = find_role(part, "user", given, role_names)
    item = find_role(part, "item", given, role_names) if "item" in given else None
    if (
        item is None
        and user is None
        and (
            "item" in {guess_role(first), guess_role(f"{first}_id")}
            or is_title("item", first)
            or all(map(_USER_COLUMN.fullmatch, list(part.types)[1:]))
        )
    ):
        item = first
    if item is not None and "user" not in given:
        note = f"{part.label}: the column {item!r} was read as the item, and each other column as a user with ratings."
        return _Axes(item if find_role(part, "item", given, role_names) == item else "item", item, "user", note)
    if user is None and _repeats_numbers(engine, part, first):
        note = (
            f"{part.label}: the numbers in the first column, {first!r}, repeat, so that they are no ids: users are the numbers of the "
            "rows, and each column was read as an item with ratings."
        )
        return _Axes("user", None, "item", note)
    note = f"{part.label}: the column {user or first!r} was read as the user, and each other column as an item with ratings."
    return _Axes(user or "user", user or first, "item", note)


def _find_total_columns(engine: SqlEngine, part: "SourcePart", cells: Sequence[str]) -> list[str]:
    """Return the columns that are the sum, the mean or the count of the others in nearly all of the first rows.

    Any name may be that of a total in the last column. A column in between must have such a name too: an item may be called so.
    """
    named = [each for each in cells if _TOTAL.fullmatch(each.replace("_", " "))]
    asked = named or [cells[-1]]
    others = [each for each in cells if each not in asked]
    if len(others) < 2:
        return []
    numbers = ", ".join(f"try_cast({quote_identifier(each)} AS DOUBLE)" for each in others)
    fields = ", ".join(f"try_cast({quote_identifier(each)} AS DOUBLE) AS c{i}" for i, each in enumerate(asked))
    facts = ", ".join(
        f"count(c{i}), count_if(abs(c{i} - t) <= 0.01 AND n > 1), count_if(abs(c{i} - t / n) <= 0.051 AND n > 1), count_if(c{i} = n), "
        f"count(DISTINCT c{i})"
        for i in range(len(asked))
    )
    row = engine.fetch_rows(
        f"SELECT {facts} FROM (SELECT {fields}, coalesce(list_sum(x), 0) AS t, list_count(x) AS n FROM (SELECT *, [{numbers}] AS x "
        f"FROM {part.scan} LIMIT {_TOTALED}))",
        part.label,
    )[0]
    found = []
    for i, name in enumerate(asked):
        filled, *equal, distinct = row[5 * i : 5 * i + 5]
        # A rating may be the mean of the others, or their number, by chance.
        is_equal = max(equal if named else equal[:1]) >= 0.9 * filled
        if filled >= _MIN_ROWS and distinct > 1 and is_equal:
            found.append(name)
    return found


def _find_total_rows(
    engine: SqlEngine, part: "SourcePart", key: str | None, cells: Sequence[str]
) -> tuple[str, list[str]]:
    """Return the rows without those of totals, as SQL, and the names of these: sums or means of the rows above them."""
    if key is None or is_number(part.types[key]):
        return part.scan, []
    name = f"trim({quote_identifier(key)}::VARCHAR)"
    pattern = quote_literal(f"(?i){_TOTAL.pattern}")
    compared = cells[:_MAX_CELLS]
    numbers = ", ".join(f"try_cast({quote_identifier(each)} AS DOUBLE) AS c{i}" for i, each in enumerate(compared))
    table = f"(SELECT {name} AS k, coalesce(regexp_full_match({name}, {pattern}), false) AS is_total, {numbers} FROM {part.scan})"
    above = ", ".join(f"sum(c{i}) AS s{i}, avg(c{i}) AS m{i}, count(c{i}) AS n{i}" for i in range(len(compared)))
    equal = [
        " + ".join(f"coalesce(abs(c{i} - {kind}{i}) <= {gap}, c{i} IS NULL)::INTEGER" for i in range(len(compared)))
        for kind, gap in (("s", 0.01), ("m", 0.051), ("n", 0))
    ]
    keys = engine.fetch_rows(
        f"SELECT DISTINCT k FROM (SELECT * FROM {table} WHERE is_total), (SELECT count(*) AS n, {above} FROM {table} WHERE NOT is_total) "
        f"WHERE n >= {_MIN_ROWS} AND greatest({', '.join(equal)}) >= {0.9 * len(compared)} ORDER BY k",
        part.label,
    )
    found = [str(each) for (each,) in keys]
    if not found:
        return part.scan, []
    listed = ", ".join(map(quote_literal, found))
    return f"(SELECT * FROM {part.scan} WHERE coalesce(NOT list_contains([{listed}], {name}), true))", found


def _describe_totals(part: "SourcePart", columns: Sequence[str], rows: Sequence[str]) -> list[str]:
    """Return a sentence about the columns and one about the rows that are totals of the others, and are left out."""
    told = []
    for what, names in (("column", columns), ("row", rows)):
        if names:
            listed, verb = ", ".join(map(repr, names)), "is" if len(names) == 1 else "are"
            told.append(
                f"{part.label}: the {what}{'s' * (len(names) > 1)} {listed} {verb} the sum, the mean or the number of the other {what}s, and "
                f"{verb} left out."
            )
    return told


def _repeats_numbers(engine: SqlEngine, part: "SourcePart", column: str) -> bool:
    """Whether the first thousand rows of a column have numbers only, and one of them twice, or a row without one."""
    text = f"nullif(trim({quote_identifier(column)}::VARCHAR), '')"
    rows, filled, numbers, distinct = engine.fetch_rows(
        f"SELECT count(*), count(t), count(try_cast(t AS DOUBLE)), count(DISTINCT t) FROM (SELECT {text} AS t FROM {part.scan} LIMIT {_SAMPLE})",
        part.label,
    )[0]
    return bool(filled == numbers and distinct < rows)


def _drop_zeros(engine: SqlEngine, melted: "SourcePart", sample: str, n_cells: int) -> "SourcePart":
    """Return a matrix without its zeros where a 0 stands for an empty cell: no cell is empty, and most are 0.

    Where all other numbers are 1, they are events without a rating. Numbers below 0 say that 0 is a rating.

    Args:
        engine: the connection.
        melted: one row for each number.
        sample: the numbers of the first rows.
        n_cells: cells of the first rows, empty ones too.
    """
    filled, zeros, ones, low = engine.fetch_rows(
        "SELECT count(x), count_if(x = 0), count_if(x = 1), min(x) "
        f"FROM (SELECT try_cast(rating AS DOUBLE) AS x FROM {sample})",
        melted.label,
    )[0]
    if filled < n_cells or not filled or low < 0 or not filled > zeros > filled / 2:
        return melted
    is_mark = zeros + ones == filled
    meaning = "so a 0 is no event, and a 1 is an event without a rating" if is_mark else "so a 0 is no event"
    note = (
        f"{melted.label}: no cell is empty and most are 0, {meaning}. Where 0 is a rating, pass one row for each rating: user, item, "
        "rating."
    )
    left_out = " EXCLUDE (rating)" if is_mark else ""
    scan = f"(SELECT *{left_out} FROM {melted.scan} WHERE try_cast(rating AS DOUBLE) IS DISTINCT FROM 0)"
    types = {name: each for name, each in melted.types.items() if not (is_mark and name == "rating")}
    return dataclasses.replace(melted, scan=scan, types=types, notes=(*melted.notes, note))
