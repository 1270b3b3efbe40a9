"""Lists in the cells of a log: ``N1 N2 N3``, ``1,2,3``, ``[1, 2, 3]`` and impressions such as ``N1-1 N2-0``.

A column is read as lists where the first rows leave no doubt: most cells hold several ids, and all cells have one form.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from leanrec.data.engine import SqlEngine, quote_identifier, quote_literal
from leanrec.data.event_types import normalize_name
from leanrec.data.ingest.forms.nested import describe_columns, find_parallel, find_role, is_sequence, name_singular

if TYPE_CHECKING:
    from leanrec.data.ingest.sources import SourcePart

__all__ = [
    "CellLists",
    "find_cell_lists",
    "find_earlier_items",
    "name_behaviors",
    "read_earlier_items",
    "read_impressions",
    "split_cells",
]

_SAMPLE = 1000
_DELIMITERS = (";", "|", ",", " ")
# An id with a digit, such as 17, N17, tt0114709 or sku-19; words without digits may be a title.
_ID = r"[A-Za-z_]{0,8}[-_:.]?[0-9][A-Za-z0-9_]*"
_NEARLY_ALL = 0.98
_MIN_CODES = 3
_BRACKETS = "["
# Lists of numbers, of texts in marks, or of several values. One word in brackets, such as [deleted], is an id.
_BRACKETED = r"\[\s*(['\"0-9-].*|.*,.*)?\]"
_QUOTES = quote_literal("'\"")
_BEHAVIORS = ("impression", "user", "time", "history", "impressions")
_IMPRESSIONS = r"\s*\S+-[01](\s+\S+-[01])*\s*"


class CellLists(NamedTuple):
    """The columns of a table whose cells are lists.

    Attributes:
        items: the column that lists the items of events, or None.
        delimiter: what separates the values in a cell; ``[`` for lists in brackets.
        parallel: other columns with as many values in each cell.
        impressions: the column that lists items that were shown, each with 1 (clicked) or 0 at its end, or None.
        history: the column that lists the items before the impressions, or None.
    """

    items: str | None = None
    delimiter: str = ""
    parallel: tuple[str, ...] = ()
    impressions: str | None = None
    history: str | None = None


@dataclasses.dataclass(frozen=True)
class _Survey:
    """What the first cells of a column hold.

    Attributes:
        cells: number of cells with text.
        several: delimiter → cells with more than one value.
        many: delimiter → cells with more than two values.
        ids: delimiter → cells in which every value looks like an id.
        single: delimiter → whether all cells are one value: numbers with thousands separators (12,001 and 7), or codes of one form (4 006381 333931).
        brackets: cells that are lists in brackets.
        impressions: cells that are impressions.
    """

    cells: int
    several: Mapping[str, int]
    many: Mapping[str, int]
    ids: Mapping[str, int]
    single: Mapping[str, bool]
    brackets: int
    impressions: int

    def find_delimiter(self, *, certain: bool) -> str:
        """Return the delimiter of the values, "" where the cells are no lists; with ``certain``, words may be values."""
        if not self.cells:
            return ""
        if self.brackets >= _NEARLY_ALL * self.cells:
            return _BRACKETS
        for mark in _DELIMITERS:
            if self.single[mark] and not certain:
                continue
            has_ids = self.ids[mark] >= _NEARLY_ALL * self.cells
            # A name such as items or friends says that cells are lists, although many have one value.
            share = 2 if not certain or (mark == " " and not has_ids) else 10
            if self.several[mark] * share >= self.cells and (certain or (has_ids and self.many[mark] > 0)):
                return mark
        return ""

    @property
    def is_history(self) -> bool:
        """Whether the cells list ids with blanks between them; beside impressions, two of them are enough."""
        return bool(self.cells) and self.several[" "] * 2 >= self.cells and self.ids[" "] >= _NEARLY_ALL * self.cells

    def is_impressions(self, *, certain: bool = False) -> bool:
        """Whether the cells list impressions; with ``certain``, all may be of one item, such as N21-1."""
        has_form = bool(self.cells) and self.impressions == self.cells
        return has_form and (certain or self.several[" "] * 2 >= self.cells)


def _survey_columns(engine: SqlEngine, part: "SourcePart", columns: Sequence[str]) -> dict[str, _Survey]:
    """Count the forms of the cells of each column in the first rows."""
    tests = []
    for column in map(quote_identifier, columns):
        text = f"trim({column})"
        tests += [f"count(nullif({text}, ''))"]
        tests += [f"count_if(contains({text}, {quote_literal(mark)}))" for mark in _DELIMITERS]
        twice = [f"%_{mark}_%{mark}_%" for mark in _DELIMITERS]
        tests += [f"count_if({text} LIKE {quote_literal(each)})" for each in twice]
        patterns = [rf"{_ID}(\s*[{mark}]\s*{_ID})*[{mark}]?" for mark in _DELIMITERS]
        tests += [f"count_if(regexp_full_match({text}, {quote_literal(each)}))" for each in patterns]
        numbers = [rf"[1-9][0-9]{{0,2}}([{mark}][0-9]{{3}})*" for mark in _DELIMITERS]
        tests += [f"count_if(regexp_full_match({text}, {quote_literal(each)}))" for each in numbers]
        # Lists of ids of three digits have no 001, and no number of two digits before one of three in all cells.
        sure = [rf"^[0-9]{{1,2}}[{mark}]|[{mark}]0" for mark in _DELIMITERS]
        tests += [f"count_if(regexp_matches({text}, {quote_literal(each)}))" for each in sure]
        shape = f"regexp_replace({text}, '[0-9]', '9', 'g')"
        tests += [f"CASE WHEN min({shape}) = max({shape}) THEN min({shape}) END"]
        bracketed = f"regexp_full_match({text}, {quote_literal(_BRACKETED)})"
        tests += [f"count_if({bracketed} AND try_cast({text} AS VARCHAR[]) IS NOT NULL)"]
        tests += [f"count_if(regexp_full_match({text}, {quote_literal(_IMPRESSIONS)}))"]
    scan = part.scan if part.file is None else part.file.preview_scan()
    row = engine.fetch_rows(f"SELECT {', '.join(tests)} FROM (SELECT * FROM {scan} LIMIT {_SAMPLE})", part.label)[0]
    width, n = len(tests) // len(columns), len(_DELIMITERS)
    found = {}
    for i, column in enumerate(columns):
        cells, *counts = row[i * width : (i + 1) * width]
        several, many, ids, whole, marked = (
            dict(zip(_DELIMITERS, counts[j : j + n], strict=True)) for j in range(0, 5 * n, n)
        )
        groups = {mark: (counts[5 * n] or "").split(mark) for mark in _DELIMITERS}
        single = {
            mark: (whole[mark] == cells and marked[mark] > 0) or (cells >= _MIN_CODES and _is_code(groups[mark]))
            for mark in _DELIMITERS
        }
        found[column] = _Survey(cells, several, many, ids, single, counts[-2], counts[-1])
    return found


def _is_code(groups: Sequence[str]) -> bool:
    """Whether groups of digits, the same in all cells, are those of a code: of several lengths, as the lists of a log would not keep them."""
    return len({*groups}) > 1 and all(group and set(group) == {"9"} for group in groups)


def find_cell_lists(
    engine: SqlEngine, part: "SourcePart", given: Mapping[str, str], role_names: Mapping[str, Collection[str]]
) -> CellLists | None:
    """Find the columns of a log whose cells are lists; None where each row is one event. Reads the first rows."""
    item, user = (find_role(part, role, given, role_names) for role in ("item", "user"))
    # Single numbers, and lists such as 9,12 that look like a decimal, have the guessed type of numbers.
    texts = [
        name
        for name, column_type in part.types.items()
        if column_type == "VARCHAR" or (part.form == "csv" and (name == item or _is_list_name(name, role_names)))
    ]
    if not texts or (item is not None and item not in texts):
        return None
    if item is not None:
        survey = _survey_columns(engine, part, [item])[item]
        if not survey.is_impressions(certain=_is_impressions_name(item)) and not survey.find_delimiter(
            certain=_is_list_name(item, role_names)
        ):
            return None
    columns = [name for name in texts if name != user]
    surveys = _survey_columns(engine, part, columns) if columns else {}
    shown = [
        name
        for name in columns
        if surveys[name].is_impressions(certain=_is_impressions_name(name)) and item in {None, name}
    ]
    if len(shown) == 1:
        before = [name for name in columns if name != shown[0] and surveys[name].is_history]
        return CellLists(impressions=shown[0], history=before[0] if len(before) == 1 else None)
    if item is None:
        listed = [
            name for name in columns if _is_list_name(name, role_names) and surveys[name].find_delimiter(certain=True)
        ]
        if len(listed) != 1:
            return None
        item = listed[0]
    delimiter = surveys[item].find_delimiter(certain=_is_list_name(item, role_names))
    lists = {name: _split(name, delimiter) for name in (item, *(each for each in columns if each != item))}
    return CellLists(item, delimiter, tuple(find_parallel(engine, part, lists)[1:]))


def find_earlier_items(
    engine: SqlEngine, part: "SourcePart", given: Mapping[str, str], role_names: Mapping[str, Collection[str]]
) -> CellLists | None:
    """Find a column that lists the items before the item of a row: ``item_id_list`` beside ``item_id``. None where there is none.

    The cells of rated items say nothing about the ratings of the earlier ones, so that they are not read.
    """
    texts = [name for name, column_type in part.types.items() if column_type == "VARCHAR"]
    item, user, rating = (find_role(part, role, given, role_names) for role in ("item", "user", "rating"))
    if item is None or user is None or rating is not None:
        return None
    lists = [name for name in texts if name not in {item, user} and name_singular(name) == item]
    if len(lists) != 1:
        return None
    delimiter = _survey_columns(engine, part, lists)[lists[0]].find_delimiter(certain=True)
    delimiter = " " if lists[0] in part.sequences else delimiter
    return CellLists(item, delimiter, history=lists[0]) if delimiter else None


def read_earlier_items(
    part: "SourcePart", lists: CellLists, given: Mapping[str, str], role_names: Mapping[str, Collection[str]]
) -> "SourcePart":
    """Return one row for each item: the items before the first row of each user, then the item of every row.

    Rows of a user go from the shortest list to the longest: such files repeat the items before each item. Where the log has
    times, these decide, and the earlier items have the time of the first row.
    """
    assert lists.items is not None  # noqa: S101 - the caller found both columns
    assert lists.history is not None  # noqa: S101
    user, label = (find_role(part, role, given, role_names) for role in ("user", "label"))
    kept = [name for name in part.types if name != lists.history]
    earlier = {lists.items: "v[j]", label: "'1'"}
    before = ", ".join(f"{earlier.get(name, quote_identifier(name))} AS {quote_identifier(name)}" for name in kept)
    fields = ", ".join(map(quote_identifier, kept))
    text = f"coalesce({_split(lists.history, lists.delimiter)}, [])"
    numbered = f"SELECT *, {text} AS v, len({text}) AS n, row_number() OVER () AS position FROM {part.scan}"
    time = find_role(part, "time", given, role_names)
    order = ", ".join([*([_sortable(time)] if time is not None else []), "n", "position"])
    first = f"SELECT * FROM ({numbered}) QUALIFY row_number() OVER (PARTITION BY {quote_identifier(user or '')} ORDER BY {order}) = 1"
    scan = (
        f"(SELECT {fields} FROM (SELECT {before}, 0 AS stage, position, n, j FROM (SELECT *, unnest(range(1, n + 1)) AS j FROM ({first})) "
        f"UNION ALL SELECT {fields}, 1, position, n, 0 FROM ({numbered})) "
        f"ORDER BY stage, CASE stage WHEN 1 THEN n ELSE 0 END, position, j)"
    )
    note = (
        f"{part.label}: {lists.history!r} lists the items before {lists.items!r}. Those of the first row of each user were read as "
        f'earlier events of the user. To read {lists.items!r} alone, pass layout="long".'
    )
    types = {name: each for name, each in part.types.items() if name != lists.history}
    form = "sql" if part.form == "parquet" else part.form
    return dataclasses.replace(part, scan=scan, types=types, form=form, file=None, notes=(*part.notes, note))


def name_behaviors(engine: SqlEngine, part: "SourcePart") -> "SourcePart":
    """Name the columns of a text file without names that is certainly a list of impressions as in the news data MIND.

    Its columns are a number, a user, a time, the history and the impressions.
    """
    file, numbers = part.file, tuple(map(str, range(1, len(_BEHAVIORS) + 1)))
    if file is None or part.names != numbers or file.names != numbers or part.types["1"] != "DOUBLE":
        return part
    surveys = _survey_columns(engine, part, ["4", "5"])
    if not (surveys["5"].is_impressions(certain=True) and surveys["4"].is_history):
        return part
    named = dataclasses.replace(file, names=_BEHAVIORS)
    types = dict(zip(_BEHAVIORS, part.types.values(), strict=True))
    return dataclasses.replace(part, scan=named.scan(), types=types, file=named)


def _is_impressions_name(name: str) -> bool:
    return normalize_name(name) == _BEHAVIORS[-1]


def _is_list_name(name: str, role_names: Mapping[str, Collection[str]]) -> bool:
    """Whether the name of a column says that its cells list items: ``history``, ``items``, ``movie_ids``."""
    one = normalize_name(name_singular(name))
    return is_sequence(name) or (normalize_name(name) not in role_names["item"] and one in role_names["item"])


def _split(column: str, delimiter: str) -> str:
    """SQL: the values of a cell as a list of text."""
    text = f"trim({quote_identifier(column)})"
    if delimiter == _BRACKETS:
        # NumPy prints lists without commas.
        spaced = f"NOT contains({text}, ',') AND contains({text}, ' ')"
        words = rf"list_transform(string_split_regex(trim({text}, '[] '), '\s+'), lambda x: trim(x, {_QUOTES}))"
        return f"CASE WHEN {spaced} THEN {words} ELSE try_cast({text} AS VARCHAR[]) END"
    mark = r"\s+" if delimiter == " " else rf"\s*[{delimiter}]\s*"
    return f"list_filter(string_split_regex({text}, {quote_literal(mark)}), lambda x: lower(x) NOT IN ('', 'none', 'null', 'nan'))"


def split_cells(part: "SourcePart", lists: CellLists) -> "SourcePart":
    """Return the table with lists in place of the text of the columns of ``lists``."""
    columns = [name for name in (lists.items, *lists.parallel) if name is not None]
    replaced = ", ".join(f"{_split(name, lists.delimiter)} AS {quote_identifier(name)}" for name in columns)
    scan = f"(SELECT * REPLACE ({replaced}) FROM {part.scan})"
    types = {name: "VARCHAR[]" if name in columns else each for name, each in part.types.items()}
    return dataclasses.replace(part, scan=scan, types=types, file=None)


def read_impressions(
    engine: SqlEngine,
    part: "SourcePart",
    lists: CellLists,
    given: Mapping[str, str],
    role_names: Mapping[str, Collection[str]],
) -> "SourcePart":
    """Return one row for each item that was shown, with its label (1: clicked), after the history of its user.

    The history is that of the earliest row of the user. Its events have no times of their own: they come before all others
    in their order, with the time of that row.
    """
    assert lists.impressions is not None  # noqa: S101 - the caller found it
    user, time = (find_role(part, role, given, role_names) for role in ("user", "time"))
    dropped = {lists.impressions, lists.history}
    kept = [name for name in part.types if name not in dropped]
    item, label = (name if name not in kept else f"shown_{name}" for name in ("item", "label"))
    fields = ", ".join(map(quote_identifier, kept))
    words = f"unnest({_split(lists.impressions, ' ')}) AS x"
    shown = (
        f"SELECT {fields}, x[:-3] AS {quote_identifier(item)}, x[-1:] AS {quote_identifier(label)} "
        f"FROM (SELECT {fields}, {words} FROM {part.scan})"
    )
    note = f"{part.label}: {lists.impressions!r} lists items that were shown, clicked where they end in -1."
    scan = f"({shown})"
    if lists.history is not None and user is not None:
        first = _select_first_rows(part, user, time)
        before = f"SELECT {fields}, unnest({_split(lists.history, ' ')}) AS {quote_identifier(item)}, '1' AS {quote_identifier(label)}"
        scan = f"({before} FROM ({first}) UNION ALL {shown})"
        note += (
            f" {lists.history!r} lists earlier clicks without times: those of the earliest row of each user come before it, "
            "in their order and with its time."
        )
    paths = {**part.paths, lists.impressions: item}
    note += ' To keep each cell as one id, pass layout="long".'
    types = describe_columns(engine, scan, part.label)
    form = "sql" if part.form == "parquet" else part.form
    return dataclasses.replace(
        part, scan=scan, types=types, form=form, file=None, paths=paths, notes=(*part.notes, note)
    )


def _select_first_rows(part: "SourcePart", user: str, time: str | None) -> str:
    """SQL: the earliest row of each user, or the first one where there are no times."""
    order = "position" if time is None else f"{_sortable(time)}, position"
    numbered = f"SELECT *, row_number() OVER () AS position FROM {part.scan}"
    chosen = f"QUALIFY row_number() OVER (PARTITION BY {quote_identifier(user)} ORDER BY {order}) = 1"
    return f"SELECT * FROM (SELECT * FROM ({numbered}) {chosen}) ORDER BY position"


def _sortable(time: str) -> str:
    """SQL: a column of times as numbers in their order."""
    column = f"{quote_identifier(time)}::VARCHAR"
    number, moment = f"try_cast({column} AS DOUBLE)", f"epoch(try_cast({column} AS TIMESTAMP))"
    other = f"epoch(try_strptime({column}, ['%m/%d/%Y %I:%M:%S %p', '%d/%m/%Y %H:%M:%S', '%m/%d/%Y %H:%M:%S']))"
    return f"coalesce({number}, {moment}, {other})"
