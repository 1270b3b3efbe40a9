"""Staging: every source in one common form, with the reason why a row must be rejected.

``stage_log`` makes the table ``staged``: one row for each row read, in the order read. ``validate_rows`` adds the rules that
need the whole log (are times timestamps, which ratings are outside the scale) as the view ``validated``.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence

from leanrec.data.engine import SqlEngine, match_words, quote_identifier, quote_literal
from leanrec.data.event_types import name_label, normalize_name
from leanrec.data.ingest.cleaning import CleaningRules
from leanrec.data.ingest.csv_repair import copy_parts
from leanrec.data.ingest.forms.values import number_of_text, text_expression
from leanrec.data.ingest.meaning.id_forms import IdForms, is_missing
from leanrec.data.ingest.meaning.rating_text import rating_of_text
from leanrec.data.ingest.meaning.ratings import count_ratings, find_no_rating
from leanrec.data.ingest.meaning.retail import PURCHASE, RETURN, find_returned
from leanrec.data.ingest.rejects import CODE
from leanrec.data.ingest.schema import ColumnRoles
from leanrec.data.ingest.sources import SourcePart
from leanrec.data.ingest.text_files import decimal_comma
from leanrec.data.ingest.timestamps import (
    FIRST_TIMESTAMP,
    TimeFormat,
    find_fractions,
    find_time_format,
    is_integer,
    is_number,
)
from leanrec.errors import SettingError

__all__ = [
    "LogProfile",
    "RowReader",
    "StagedLog",
    "clean_ids",
    "find_example",
    "id_expression",
    "stage_log",
    "trimmed",
    "validate_rows",
]

# Names of the last row of a report, in its columns of users and items.
_TOTALS = ("total", "totals", "grand total", "sum", "summe", "gesamt", "gesamtsumme", "total général", "合计", "总计")
_DAY = 86_400
_BLANKS = quote_literal(" \t\u00a0")
# From this size on, a look at the first event types saves more than it takes.
_LARGE = 1_000_000
_FIRST_ROWS = 10_000
_MOST_TYPES = 12
_RAW_ROLES = ("user", "item", "time", "rating", "weight")


def trimmed(value: str) -> str:
    """SQL: an id without surrounding blanks, which are not part of ids in delimited text."""
    return f"trim({value}, {_BLANKS})"


def id_expression(name: str, column_type: str, integer: bool, *, trim: bool = False) -> str:
    """SQL: an external id as BIGINT or VARCHAR; NULL where it is missing."""
    column = quote_identifier(name)
    if integer:
        return f"{column}::BIGINT"
    if column_type in {"DOUBLE", "FLOAT", "REAL"}:
        whole = f"{column} = trunc({column}) AND abs({column}) < 9e15"
        return f"CASE WHEN isnan({column}) THEN NULL WHEN {whole} THEN {column}::BIGINT::VARCHAR ELSE {column}::VARCHAR END"
    value = _text_expression(name, column_type)
    return f"nullif({trimmed(value) if trim else value}, '')"


def _text_expression(name: str, column_type: str) -> str:
    # A cast of JSON text keeps the quotation marks.
    return f"({quote_identifier(name)} ->> '$')" if column_type == "JSON" else f"{quote_identifier(name)}::VARCHAR"


@dataclasses.dataclass(frozen=True)
class RowReader:
    """Writes the SQL that reads the tables of a log in the common form.

    Attributes:
        columns: column roles of each table.
        integer: whether the ids of users, and of items, are BIGINT in SQL; otherwise VARCHAR.
        has_event_types: whether the log names the event type of each row.
        times: how times are written.
        raw: also keep the original text of each field.
    """

    columns: tuple[ColumnRoles, ...]
    integer: tuple[bool, bool]
    has_event_types: bool
    times: TimeFormat
    raw: bool

    def select_rows(self, part: SourcePart, number: int) -> str:
        """SQL: the rows of a table. Three levels, so that each cast is written, and done, once."""
        cols = self.columns[number]
        types = {role: "VARCHAR" if part.form == "csv" else part.types[name] for role, name in cols.to_dict().items()}
        fields = {"part": f"{number}::SMALLINT"} | self._select_fields(part, cols, types)
        extra = {"file_row_number": "file_row_number"} if part.form == "parquet" else {}
        if self.raw:
            found = cols.to_dict()
            extra |= {
                f"raw_{role}": _text_expression(found[role], types[role]) if role in found else "NULL::VARCHAR"
                for role in _RAW_ROLES
            }
        original = [
            f"{quote_identifier(column)} AS o_{role}"
            for role in ("time", "rating", "weight")
            if (column := getattr(cols, role)) is not None
        ]
        time_number = ""
        if cols.time is not None and (types["time"] == "VARCHAR" or is_number(types["time"])):
            column, marks = quote_identifier(cols.time), cols.notations.get(cols.time)
            time_number = f", {f'try_cast({column} AS DOUBLE)' if marks is None else marks.read(column)} AS n_time"
        inner = ", ".join([*(f"{value} AS {name}" for name, value in (fields | extra).items()), *original])
        bad = f"({self._reject_code(part, cols, types, timed='t' in fields)})::TINYINT AS bad"
        outer = ", ".join([*fields, *extra, bad])
        return f"SELECT {outer} FROM (SELECT {inner} FROM (SELECT *{time_number} FROM {part.scan}))"

    def _has(self, role: str) -> bool:
        return any(getattr(cols, role) for cols in self.columns)

    def _select_fields(self, part: SourcePart, cols: ColumnRoles, types: Mapping[str, str]) -> dict[str, str]:
        """Return the name and the SQL of each field of the common form."""
        fields = {
            name: quote_identifier(column) if part.is_field(column) else id_expression(column, types[role], integer)
            for name, role, column, integer in (
                ("usr", "user", cols.user, self.integer[0]),
                ("itm", "item", cols.item, self.integer[1]),
            )
        }
        if self._has("time"):
            fields |= self._select_time(cols, types)
        if self._has("rating"):
            fields["v"] = "NULL::FLOAT"
            if cols.rating is not None:
                number = _rating_expression(cols.rating, part, cols)
                fields["v"] = f"nullif({number}, 'nan'::FLOAT)" if types["rating"] == "VARCHAR" else number
        if self._has("weight"):
            fields["w"] = "1::FLOAT" if cols.weight is None else _number_expression(cols.weight, part, cols)
            if cols.retail is not None and cols.weight == cols.retail.quantity:
                fields["w"] = f"abs({fields['w']})"  # a return says so by its type
        if not self.has_event_types:
            return fields
        fields["event_type"] = "'interaction'"
        if part.event_type is not None:
            fields["event_type"] = quote_literal(part.event_type)
        elif cols.event_type is not None:
            fields["event_type"] = _text_expression(cols.event_type, types["event_type"])
        elif cols.label is not None:
            label = _number_expression(cols.label, part, cols)
            yes, no = name_label(cols.label)
            fields["event_type"] = f"CASE {label} WHEN 1 THEN '{yes}' WHEN 0 THEN '{no}' WHEN -1 THEN 'dislike' END"
        return fields | self._select_retail(part, cols, fields["event_type"])

    def _select_retail(self, part: SourcePart, cols: ColumnRoles, event_type: str) -> dict[str, str]:
        """Return the SQL of the units and of the event type of rows that are purchases or returns."""
        if not self._has("retail"):
            return {}
        if cols.retail is None:
            return {"q": "NULL::FLOAT"}
        units = "1::FLOAT" if cols.retail.quantity is None else _number_expression(cols.retail.quantity, part, cols)
        units = cols.retail.count_units(units)
        kind = event_type if cols.retail.document is None else quote_literal(PURCHASE)
        return {"q": units, "event_type": f"CASE WHEN {units} < 0 THEN {quote_literal(RETURN)} ELSE {kind} END"}

    def _select_time(self, cols: ColumnRoles, types: Mapping[str, str]) -> dict[str, str]:
        """Return the SQL of the seconds and, where some times have one, of the fraction of a second.

        Times are whole seconds; what is below a second decides about the order, and about duplicates.
        """
        if cols.time is None:
            fields = {"t": "NULL::BIGINT", "f": "0::INTEGER"}
        else:
            seconds = self.times.to_seconds(cols.time, types["time"], is_order=cols.is_order)
            fields = {"t": seconds, "f": self.times.to_fraction(cols.time, types["time"])}
        return fields if self.times.has_fractions else {"t": fields["t"]}

    def _reject_code(self, part: SourcePart, cols: ColumnRoles, types: Mapping[str, str], *, timed: bool) -> str:
        """SQL: code of the first reason to reject a row of the inner select, 0 = none."""
        # Spreadsheets write rows of delimiters below the last one.
        texts = [f"o_{role}" for role in ("time", "rating", "weight") if getattr(cols, role) is not None]
        empty = " AND ".join(f"{each} IS NULL" for each in ("usr", "itm", *texts))
        cases = [(empty, "empty row"), ("usr IS NULL", "missing user"), ("itm IS NULL", "missing item")]
        if not (self.integer[0] or self.integer[1]):
            cases.append((f"usr = itm AND {match_words('usr', _TOTALS)}", "row of totals"))
        if not (self.integer[0] or self.integer[1]) and (part.file is None or part.file.header):
            # Concatenated files repeat the line of names, some with the byte order mark before it, or in another spelling.
            above = [(cols.user, cols.item)]
            if part.file is not None:
                above = list(zip(part.file.find_cells(cols.user), part.file.find_cells(cols.item), strict=True))
            spelled = dict.fromkeys(
                (spell(user), spell(item))
                for user, item in above
                for spell in (str, str.lower, str.upper, normalize_name)
            )
            # The name of a time is no time: nearly all rows need no comparison of text.
            first = "t IS NULL AND " if timed and cols.time is not None else ""
            cases[:0] = [
                (
                    f"{first}itm = {quote_literal(item)} AND ltrim(usr, '\ufeff') = {quote_literal(user)}",
                    "repeated line of names",
                )
                for user, item in spelled
            ]
        if part.event_type is None and (cols.event_type or cols.label):
            cases.append(("event_type IS NULL", "missing event type" if cols.event_type else "label is not 0 or 1"))
        if timed:
            empty = "true" if cols.time is None else _is_empty("o_time", types["time"])
            if types.get("time") == "VARCHAR":
                empty = f"({empty} OR starts_with(o_time, '0000-00-00'))"
            cases += [(f"t IS NULL AND {empty}", "missing time"), ("t IS NULL", "time not understood")]
        if cols.rating is not None:
            empty = _is_empty("o_rating", types["rating"])
            cases.append((f"(v IS NULL AND NOT {empty}) OR NOT isfinite(v)", "rating is not a finite number"))
        if cols.weight is not None:
            cases += [
                (f"w IS NULL AND {_is_empty('o_weight', types['weight'])}", "missing weight"),
                ("w IS NULL OR NOT isfinite(w)", "weight is not a finite number"),
                ("w < 0", "negative weight"),
            ]
        return f"CASE {' '.join(f'WHEN {test} THEN {CODE[reason]}' for test, reason in cases)} ELSE 0 END"


def _number_expression(name: str, part: SourcePart, cols: ColumnRoles) -> str:
    if name in cols.notations:
        return f"{cols.notations[name].read(text_expression(name, part.types[name]))}::FLOAT"
    if part.types[name] in {"VARCHAR", "JSON"}:
        return number_of_text(text_expression(name, part.types[name]), "FLOAT")
    number = f"try_cast({quote_identifier(name)} AS FLOAT)"
    if part.file is None:
        return number
    return f"coalesce({number}, {decimal_comma(quote_identifier(name), part.file.delimiter, 'FLOAT')})"


def _rating_expression(name: str, part: SourcePart, cols: ColumnRoles) -> str:
    if name in cols.notations:
        return _number_expression(name, part, cols)
    if part.types[name] in {"VARCHAR", "JSON"}:
        return f"{rating_of_text(text_expression(name, part.types[name]))}::FLOAT"
    number = _number_expression(name, part, cols)
    if part.file is None:
        return number
    # Between numbers, 3½ is one too.
    return f"coalesce({number}, try_cast(regexp_replace({quote_identifier(name)}, ' *½ *$', '.5') AS FLOAT))"


def _is_empty(column: str, column_type: str) -> str:
    return f"({column} IS NULL OR {is_missing(column)})" if column_type == "VARCHAR" else f"({column} IS NULL)"


@dataclasses.dataclass(frozen=True)
class RowPacking:
    """How the table ``staged_rows`` keeps rows: as few bytes as their values allow before all of them are known.

    Attributes:
        has_parts: rows come from several tables and say from which.
        event_types: event types that rows have as their position here (``k``, which is NULL for others).
    """

    has_parts: bool = True
    event_types: tuple[str, ...] = ()

    def pack(self, select: str) -> str:
        """SQL: the rows of a query for the common form, as the table keeps them."""
        packed = "*" if self.has_parts else "* EXCLUDE (part)"
        if self.event_types:
            cases = " ".join(f"WHEN {quote_literal(name)} THEN {k}" for k, name in enumerate(self.event_types))
            packed += " REPLACE (CASE WHEN k IS NULL THEN event_type END AS event_type)"
            select = f"SELECT *, (CASE event_type {cases} END)::TINYINT AS k FROM ({select})"
        return f"SELECT {packed} FROM ({select})"

    def unpack(self) -> str:
        """SQL: the rows of the table in the common form, with their number."""
        part = "" if self.has_parts else "0::SMALLINT AS part, "
        names = ""
        if self.event_types:
            cases = " ".join(f"WHEN {k} THEN {quote_literal(name)}" for k, name in enumerate(self.event_types))
            names = f" REPLACE (CASE k {cases} ELSE event_type END AS event_type)"
        return f"SELECT rowid AS seq, {part}*{names} FROM staged_rows"


@dataclasses.dataclass(frozen=True)
class StagedLog:
    """The result of ``stage_log``.

    Attributes:
        parts: the tables that were read.
        reader: the SQL that brings them to the common form.
        firsts: number of rows before each table.
        rows: rows read, without unreadable lines.
        untyped_users: user ids come from text only, so that "12" may be the number 12.
        untyped_items: the same for items.
        packing: how the table of the rows keeps them; None where they stay in their files and are read again by each query.
    """

    parts: tuple[SourcePart, ...]
    reader: RowReader
    firsts: tuple[int, ...]
    rows: int
    untyped_users: bool
    untyped_items: bool
    packing: RowPacking | None

    def has(self, role: str) -> bool:
        """Whether any table has a column for ``role``."""
        return any(getattr(columns, role) is not None for columns in self.columns)

    @property
    def columns(self) -> tuple[ColumnRoles, ...]:
        """Column roles of each table."""
        return self.reader.columns

    @property
    def is_view(self) -> bool:
        """Whether the rows stay in their files and are read again by each query."""
        return self.packing is None

    @property
    def short_types(self) -> tuple[str, ...]:
        """Event types that rows have as their position here, as ``k``."""
        return () if self.packing is None else self.packing.event_types

    @property
    def integer_users(self) -> bool:
        """Whether user ids are BIGINT in SQL; otherwise they are VARCHAR."""
        return self.reader.integer[0]

    @property
    def integer_items(self) -> bool:
        """The same for items."""
        return self.reader.integer[1]

    @property
    def has_fractions(self) -> bool:
        """Whether times have fractions of a second."""
        return self.reader.times.has_fractions and self.has("time")

    @property
    def has_event_types(self) -> bool:
        """Whether the log names the event type of each row."""
        return self.reader.has_event_types


@dataclasses.dataclass(frozen=True)
class LogProfile:
    """Properties of the whole log that decide about single rows.

    Attributes:
        has_clock: times are seconds since 1970 (otherwise an order, or missing).
        scale: lowest and highest rating allowed, or None.
        inferred: whether the scale was inferred from the ratings.
        outside: a rating outside an inferred scale, or None.
        no_rating: rating that means "not rated" → rows.
        unrated: rows without a rating, where no event type says that they have none.
        zeros: rows with the rating 0 where the others are at least 1, so that 0 might mean "not rated" too.
        only_days: times have no time of day.
        span: first and last time or order, None where there is none.
        returns: rows whose units came back.
    """

    has_clock: bool
    scale: tuple[float, float] | None
    inferred: bool = False
    outside: float | None = None
    no_rating: Mapping[float, int] = dataclasses.field(default_factory=dict)
    unrated: int = 0
    zeros: int = 0
    only_days: bool = False
    span: tuple[int, int] | None = None
    returns: int = 0


def stage_log(
    engine: SqlEngine,
    parts: Sequence[SourcePart],
    columns: Sequence[ColumnRoles],
    *,
    raw: bool,
    key_types: tuple[str | None, str | None],
    time_format: str | None = None,
    settled_times: TimeFormat | None = None,
) -> StagedLog:
    """Make ``staged``. Parquet files stay where they are, behind a view; anything else is read once, into a table.

    Text in which lines or quotes do not add up is read once more, repaired.

    Args:
        engine: the connection.
        parts: the tables.
        columns: column roles of each table.
        raw: keep the original text of each field for a quarantine file.
        key_types: types of the id columns of the user and the item table, None where there is no table.
        time_format: how times are written, in strptime format; None = in any common format.
        settled_times: how an earlier log writes its times, if that is not a common format.
    """
    integer: list[bool] = []
    untyped: list[bool] = []
    for role, key_type in zip(("user", "item"), key_types, strict=True):
        types = [
            "TEXT" if part.form == "csv" else part.types[getattr(cols, role)]
            for part, cols in zip(parts, columns, strict=True)
        ]
        integer.append(all(map(is_integer, types)) and (key_type is None or is_integer(key_type)))
        # Text files have no types, and other types than text (doubles, big integers) print as numbers.
        untyped.append(all(each not in {"VARCHAR", "JSON"} for each in types))
    has_types = any(cols.event_type or cols.label or cols.retail for cols in columns)
    has_types = has_types or any(part.event_type for part in parts)
    times = settled_times
    if times is None or time_format is not None:
        times = find_time_format(engine, parts, columns, time_format)
    times = find_fractions(engine, parts, columns, times)
    reader = RowReader(tuple(columns), (integer[0], integer[1]), has_types, times, raw)
    packing = None
    if not raw and all(part.form == "parquet" for part in parts):
        counts = [int(engine.fetch_rows(f"SELECT count(*) FROM {part.scan}", part.label)[0][0]) for part in parts]
        selects = [
            f"SELECT file_row_number + {sum(counts[:i])} AS seq, * FROM ({reader.select_rows(part, i)})"
            for i, part in enumerate(parts)
        ]
        engine.execute(f"CREATE TEMP VIEW staged AS {' UNION ALL BY NAME '.join(selects)}", parts[0].label)
    else:
        packing = RowPacking(len(parts) > 1, _find_types(engine, parts, columns))
        parts, counts = copy_parts(engine, parts, lambda each: _copy_rows(engine, each, reader, packing))
        engine.execute(f"CREATE TEMP VIEW staged AS {packing.unpack()}")
    firsts = tuple(sum(counts[:i]) for i in range(len(parts)))
    return StagedLog(tuple(parts), reader, firsts, sum(counts), untyped[0], untyped[1], packing)


def _find_types(engine: SqlEngine, parts: Sequence[SourcePart], columns: Sequence[ColumnRoles]) -> tuple[str, ...]:
    """Return the most frequent event types of the first rows of a large log, those that need no cleaning."""
    if sum(part.size for part in parts) < _LARGE:
        return ()
    for part, cols in zip(parts, columns, strict=True):
        if cols.event_type is not None and (part.file is None or part.is_field(cols.event_type)):
            scan = part.scan if part.file is None else part.file.preview_scan()
            text = _text_expression(cols.event_type, part.types[cols.event_type])
            found = engine.fetch_rows(
                f"SELECT name FROM (SELECT {text} AS name FROM {scan} LIMIT {_FIRST_ROWS}) WHERE name = trim(name) "
                f"AND NOT {is_missing('name')} GROUP BY name ORDER BY count(*) DESC, name LIMIT {_MOST_TYPES}",
                part.label,
            )
            return tuple(str(name) for (name,) in found)
    return ()


def _copy_rows(engine: SqlEngine, parts: Sequence[SourcePart], reader: RowReader, packing: RowPacking) -> list[int]:
    """Read the tables into ``staged_rows``; return the number of rows of each."""
    rows = " UNION ALL BY NAME ".join(packing.pack(reader.select_rows(part, i)) for i, part in enumerate(parts))
    engine.execute(f"CREATE OR REPLACE TEMP TABLE staged_rows AS {rows}", parts[0].label)
    if not packing.has_parts:
        return [int(engine.fetch_rows("SELECT count(*) FROM staged_rows")[0][0])]
    by_part = dict(engine.fetch_rows("SELECT part, count(*) FROM staged_rows GROUP BY part"))
    return [int(by_part.get(i, 0)) for i in range(len(parts))]


def clean_ids(engine: SqlEngine, staged: StagedLog, forms: IdForms) -> int:
    """Read ids by their forms, without blanks around those of delimited text; return the number of rows that had blanks."""
    texts = [i for i, part in enumerate(staged.parts) if part.form == "csv"]
    # IN with five or more values would be a join, which reads every row and keeps no order.
    is_text = f"list_contains({texts}, part)" if texts and forms.trim else "false"
    engine.execute("ALTER VIEW staged RENAME TO staged_as_read")
    rows = 0
    if forms.trim:
        spaced = f"{is_text} AND (usr <> {trimmed('usr')} OR itm <> {trimmed('itm')})"
        rows = int(engine.fetch_rows(f"SELECT count(*) FROM staged_as_read WHERE {spaced}")[0][0])
    usr, itm = (
        form.apply(f"(CASE WHEN {is_text} THEN nullif({trimmed(name)}, '') ELSE {name} END)" if forms.trim else name)
        for name, form in (("usr", forms.users), ("itm", forms.items))
    )
    bad = (
        f"CASE WHEN ({usr}) IS NULL THEN {CODE['missing user']} WHEN ({itm}) IS NULL AND (bad = 0 OR bad > {CODE['missing item']}) "
        f"THEN {CODE['missing item']} ELSE bad END::TINYINT"
    )
    engine.execute(
        f"CREATE TEMP VIEW staged AS SELECT * REPLACE ({usr} AS usr, {itm} AS itm, {bad} AS bad) FROM staged_as_read"
    )
    return rows


def _count_types(engine: SqlEngine, staged: StagedLog) -> None:
    """Make ``types_found``, the event types and their rows, without blanks and words for nothing, which are missing types.

    Only the distinct types are checked, unless one must change.
    """
    if not staged.has_event_types:
        return
    counted = "SELECT event_type AS name, count(*) AS n FROM staged WHERE event_type IS NOT NULL GROUP BY event_type"
    if staged.short_types:
        # Numbers are counted faster than texts.
        names = ", ".join(map(quote_literal, staged.short_types))
        counted = counted.replace("WHERE", "WHERE k IS NULL AND")
        counted += f" UNION ALL SELECT [{names}][k + 1], n FROM (SELECT k, count(*) AS n FROM staged WHERE k IS NOT NULL GROUP BY k)"
        counted = f"SELECT name, sum(n)::BIGINT AS n FROM ({counted}) GROUP BY name"
    engine.execute(f"CREATE OR REPLACE TEMP TABLE types_found AS {counted}")
    if not any(columns.event_type for columns in staged.columns):
        return
    if not engine.fetch_rows(f"SELECT 1 FROM types_found WHERE name <> trim(name) OR {is_missing('name')} LIMIT 1"):
        return
    name, code = "trim(event_type)", CODE["missing event type"]
    name = f"CASE WHEN NOT {is_missing(name)} THEN {name} END"
    # Reasons that are found before this one remain.
    later = f"bad BETWEEN {CODE['missing time']} AND {CODE['negative weight']}"
    bad = f"CASE WHEN (bad = 0 OR {later}) AND ({name}) IS NULL THEN {code} ELSE bad END::TINYINT"
    engine.execute("ALTER VIEW staged RENAME TO staged_with_types")
    engine.execute(
        f"CREATE TEMP VIEW staged AS SELECT * REPLACE ({name} AS event_type, {bad} AS bad) FROM staged_with_types"
    )
    engine.execute(f"CREATE OR REPLACE TEMP TABLE types_found AS {counted}")


def find_example(engine: SqlEngine, staged: StagedLog, reason: str) -> str | None:
    """Return the original text of a field that was rejected for this reason; reads the first rows again."""
    role = "time" if reason == "negative order" else reason.partition(" ")[0]
    reader = dataclasses.replace(staged.reader, raw=True)
    test = f"bad = {CODE[reason]}"
    if reason == "time before 1990 or in the future":
        test = f"t < {FIRST_TIMESTAMP} OR t > {_latest_time()}"
    elif reason == "negative order":
        test = "t < 0"
    for i, part in enumerate(staged.parts):
        if getattr(staged.columns[i], role, None) is not None:
            select = f"SELECT raw_{role} FROM ({reader.select_rows(part, i)}) WHERE {test} LIMIT 1"
            if found := engine.fetch_rows(select, part.label):
                return str(found[0][0])
    return None


def _latest_time() -> int:
    """Tomorrow: later times are in the future in every time zone."""
    return int(time.time()) + _DAY


def validate_rows(
    engine: SqlEngine,
    staged: StagedLog,
    cleaning: CleaningRules,
    *,
    has_clock: bool | None = None,
    known_scale: tuple[float, float] | None = None,
) -> LogProfile:
    """Make the view ``validated``: ``staged`` with the code of the reason to reject each row, 0 = kept.

    ``has_clock`` is what an earlier log settled about the times; None: the values decide. ``known_scale`` is the scale of the
    ratings of an earlier log: the inferred one contains it.
    """
    _count_types(engine, staged)
    profile = _profile_log(engine, staged, cleaning, known_scale)
    if has_clock is not None and staged.has("time"):
        profile = dataclasses.replace(profile, has_clock=has_clock)
    cases = ["WHEN bad > 0 THEN bad"]
    if profile.has_clock:
        test = f"t < {FIRST_TIMESTAMP} OR t > {_latest_time()}"
        cases.append(f"WHEN {test} THEN {CODE['time before 1990 or in the future']}")
    elif staged.has("time"):
        cases.append(f"WHEN t < 0 THEN {CODE['negative order']}")
    if profile.returns:
        code = CODE["returned: all units came back"]
        cases.append(f"WHEN q > 0 AND (usr, itm) IN (SELECT (usr, itm) FROM returned) THEN {code}")
    if profile.scale is not None:
        low, high = profile.scale
        cases.append(f"WHEN v NOT BETWEEN {low!r} AND {high!r} THEN {CODE['rating outside the range']}")
    since, until = cleaning.time_window()
    if not profile.has_clock and (since, until) != (None, None):
        raise SettingError(
            "since and until need times that are seconds since 1970. This log has an order, or no times; leave them out."
        )
    if since is not None:
        cases.append(f"WHEN t < {since!r} THEN {CODE['before since']}")
    if until is not None:
        cases.append(f"WHEN t >= {until!r} THEN {CODE['from until on']}")
    kept = "*"
    if profile.no_rating:
        kept = f"* REPLACE (CASE WHEN list_contains({list(profile.no_rating)}, v) THEN NULL ELSE v END AS v)"
    source = f"(SELECT {kept} FROM staged)"
    select = f"SELECT *, CASE {' '.join(cases)} ELSE 0 END::TINYINT AS reason FROM {source}"
    engine.execute(f"CREATE TEMP VIEW validated AS {select}")
    return profile


def _profile_log(
    engine: SqlEngine, staged: StagedLog, cleaning: CleaningRules, known_scale: tuple[float, float] | None
) -> LogProfile:
    """Decide whether times are timestamps, which is so if most of them are after 1990, and find the scale of the ratings."""
    has_clock = only_days = False
    span = None
    if staged.has("time") and not any(columns.is_order for columns in staged.columns):
        times, late, clock, first, last = engine.fetch_rows(
            f"SELECT count(t), count_if(t >= {FIRST_TIMESTAMP}), count_if(t % {_DAY} <> 0), min(t), max(t) FROM staged"
        )[0]
        span = (first, last) if times else None
        has_clock = bool(times) and late * 2 > times
        only_days = has_clock and not clock
    returns = find_returned(engine) if staged.has("retail") else 0
    profile = LogProfile(has_clock, None, only_days=only_days, span=span, returns=returns)
    if not staged.has("rating"):
        return profile
    return _profile_ratings(engine, profile, cleaning, known_scale, has_event_types=staged.has_event_types)


def _profile_ratings(
    engine: SqlEngine,
    profile: LogProfile,
    cleaning: CleaningRules,
    known_scale: tuple[float, float] | None,
    *,
    has_event_types: bool,
) -> LogProfile:
    """Find which values are no ratings, and the scale of the others."""
    every = count_ratings(engine)
    profile = dataclasses.replace(profile, unrated=0 if has_event_types else every.missing)
    nothing = cleaning.list_no_ratings()
    if nothing is None:
        nothing = find_no_rating(every, cleaning.rating_range)
    ratings = every.drop(nothing)
    profile = dataclasses.replace(profile, no_rating={each: n for each in nothing if (n := every.count(each))})
    if cleaning.rating_range is not None:
        return dataclasses.replace(profile, scale=cleaning.rating_range)
    if not len(ratings.values):
        return profile
    scale = ratings.infer_scale(known_scale)
    # A 0 outside the scale is rejected, and told there.
    is_open = cleaning.no_rating is None and len(ratings.values) > 2 and ratings.values[1] >= 1
    is_open = is_open and scale[0] <= 0 and scale[1] <= 10
    return dataclasses.replace(
        profile,
        scale=scale,
        inferred=True,
        outside=ratings.find_outside(scale),
        zeros=ratings.count(0) if is_open else 0,
    )
