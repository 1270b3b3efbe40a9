"""Columns of a log that have no role: what each holds, and how to use it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from leanrec.data.engine import SqlEngine, quote_identifier, quote_literal
from leanrec.data.event_types import resolve_event_weights, takes_back
from leanrec.data.ingest.meaning.column_names import describes_item, holds_codes, names_amount, names_time
from leanrec.data.ingest.meaning.time_counts import CERTAIN_COUNTS, guess_count
from leanrec.data.ingest.sources import SourcePart

__all__ = ["describe_unused", "suggest_roles"]

_SAMPLE = 1000
_MAX_COLUMNS = 20
_MAX_TEXT = 30
# Numbers that are more likely the clock than an amount: from 1995 to 2065, in seconds, milli-, micro- and nanoseconds.
_CLOCK = (8e8, 3e9)
_CLOCK_UNITS = (1.0, 1e3, 1e6, 1e9)
_FEW = 20  # distinct texts of a column that may name event types
_YES_NO = frozenset(["true", "false", "yes", "no", "y", "n", "t", "f"])
_MARKS = _YES_NO | {"0", "1", "0.0", "1.0"}
# Scales of stars and points begin at 0, .5 or 1 (few users give the lowest ones), have steps of a half, and end at 3 to 10.
_LOWEST = 3
_HIGHEST = (3, 10)
_NO_OPINION = -1
# 4/5, 4 out of 5, 4 stars, 80% and ★★★★ say that they are ratings, whatever the name of the column.
_SCALED = quote_literal(
    r"^\s*([0-9]+([.,][0-9]+)?\s*((/|out of)\s*(5|7|10|20|100)|stars?|★|⭐|%)|[★⭐🌟✮☆✩½\x{FE0F}]+)\s*$"
)
# 13.3.2024 14:05 and 3/13/24; 13 Mar 2024 14:05, Wed Mar 13 14:05:00 +0000 2024 and Mar 13, 2024.
_MONTH = "(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DATE = quote_literal(
    "(?i)"
    r"([0-9]{1,2}([-./])[0-9]{1,2}[-./]([0-9]{4}|[0-9]{2})([ T].*)?"
    rf"|([a-z]+,? )?[0-9]{{1,2}}[-/. ]+{_MONTH}[-/., ]+([0-9]{{4}}|[0-9]{{2}})([ :T,].*)?"
    rf"|([a-z]+,? )?{_MONTH}[. ]+[0-9]{{1,2}}(,? [0-9]{{4}}(,? .*)?| [0-9]{{1,2}}:.* [0-9]{{4}}))"
)
_HOW = {
    "rating": "as the rating",
    "weight": "as the weight",
    "time": "as the time",
    "event_type": "as the event type",
    "label": "as the label, 1 or yes for what the user liked or chose",
    "content": "about the item",
}


class _Values(NamedTuple):
    """Counts of the first values of a column: of those that are filled, and of those that are numbers, their range and halves."""

    filled: int
    numbers: int
    halves: int
    low: float | None
    high: float | None
    distinct: int
    example: str
    dates: int
    scaled: int
    texts: Sequence[str] | None


def describe_unused(
    engine: SqlEngine, parts: Sequence[SourcePart], used: Sequence[set[str]], typed: Sequence[bool]
) -> list[str]:
    """Return a sentence about each column that is not used: its first values, and the argument that uses it.

    Args:
        engine: the connection.
        parts: the tables of the log.
        used: the columns of each table that are used.
        typed: whether each table has the event types of its rows, beside which a label has no meaning.

    Cost: a look at the first thousand rows of each table that has a column of a new name.
    """
    notes: list[str] = []
    seen: set[str] = {name for names in used for name in names}
    for part, names, has_types in zip(parts, used, typed, strict=True):
        new = [name for name in part.names if name not in names and name not in seen]
        seen.update(new)
        # A list or a struct has no role; what it holds would be the notation of DuckDB.
        notes += [f"Not used: {name} (lists or objects)." for name in new if name in part.nested]
        unused = [name for name in new if name not in part.nested]
        if unused and len(notes) < _MAX_COLUMNS:
            notes += _describe_columns(engine, part, unused[: _MAX_COLUMNS - len(notes)], has_types=has_types)
        if len(unused) > _MAX_COLUMNS:
            notes.append(f"Not used: {len(unused) - _MAX_COLUMNS:,} more columns of {part.label}.")
    return notes


def suggest_roles(engine: SqlEngine, part: SourcePart, names: Sequence[str]) -> str:
    """Return a sentence about the columns that look like ratings, labels or times, for a table that lacks others; "" where none does.

    Args:
        engine: the connection.
        part: the table.
        names: its columns whose names mean nothing.

    Cost: a look at the first thousand rows.
    """
    found = []
    for name, values in _count_values(engine, part, list(names)[:_MAX_COLUMNS]).items() if names else ():
        roles = _find_roles(name, values, has_types=False) if values.filled else []
        if roles[:1] in (["rating"], ["label"], ["time"]) and values.distinct > 1:
            found.append(f"{name!r} {_list_roles(name, values, [role for role in roles if role != 'content'])}")
    return f" Other columns may be used too: {'; '.join(found)}." if found else ""


def _count_values(engine: SqlEngine, part: SourcePart, names: Sequence[str]) -> dict[str, _Values]:
    """Count the first values of columns."""
    scan = part.scan if part.file is None else part.file.preview_scan()
    fields = ", ".join(f"{quote_identifier(name)}::VARCHAR AS c{i}" for i, name in enumerate(names))
    facts = ", ".join(
        f"count(nullif(trim(c{i}), '')), count(n{i}), count_if(2 * n{i} = floor(2 * n{i})), min(n{i}), max(n{i}), count(DISTINCT c{i}), "
        f"min(nullif(trim(c{i}), '')), count_if(try_cast(c{i} AS TIMESTAMP) IS NOT NULL OR regexp_full_match(trim(c{i}), {_DATE})), "
        f"count_if(regexp_matches(lower(c{i}), {_SCALED})), "
        f"CASE WHEN count(DISTINCT c{i}) <= {_FEW} THEN list(DISTINCT c{i}) END"
        for i in range(len(names))
    )
    numbers = ", ".join(f"try_cast(c{i} AS DOUBLE) AS n{i}" for i in range(len(names)))
    first = f"SELECT {fields} FROM {scan} LIMIT {_SAMPLE}"
    row = engine.fetch_rows(f"SELECT {facts} FROM (SELECT *, {numbers} FROM ({first}))", part.label)[0]
    size = len(_Values._fields)
    return {name: _Values(*row[size * i : size * (i + 1)]) for i, name in enumerate(names)}


def _describe_columns(engine: SqlEngine, part: SourcePart, names: Sequence[str], *, has_types: bool) -> Iterator[str]:
    for name, values in _count_values(engine, part, names).items():
        texts = values.texts
        if not values.filled:
            yield f"Not used: {name} (no values in the first rows)."
            continue
        if (back := next((each for each in sorted(filter(None, texts or ())) if takes_back(each)), None)) is not None:
            yield (
                f"Not used: {name}, although values such as {back!r} say that a purchase was taken back. Such rows count as any other; "
                f'for no weight pass columns={{"event_type": "{name}"}}.'
            )
            continue
        if _is_opposite(name) and (texts and {str(each).strip().lower() for each in texts if each} <= _MARKS):
            yield (
                f"Not used: {name}, which marks the opposite of a preference. Such rows count as any other; for no weight remove them from the "
                "log, or write their event type, such as dislike or return, into a column."
            )
            continue
        roles = _find_roles(name, values, has_types=has_types)
        yield f"Not used: {name} ({_describe_values(name, values)}; {_list_roles(name, values, roles)})."


def _list_roles(name: str, values: _Values, roles: Sequence[str]) -> str:
    """Return the arguments that give a column each of the roles; the first one, which is most likely, ends in a colon."""
    told = [f'{_HOW[role]}{"" if i else ":"} columns={{"{role}": "{name}"}}' for i, role in enumerate(roles)]
    count = None if values.low is None or values.high is None else guess_count(values.low, values.high)
    if roles[:1] == ["time"] and count not in {None, *CERTAIN_COUNTS}:
        told[0] += f' with time_format="{count}"'
    return ", ".join(told)


def _describe_values(name: str, values: _Values) -> str:
    """Return what a column holds, in words."""
    low, high, example = values.low, values.high, values.example
    shown = repr(example if len(example) <= _MAX_TEXT else f"{example[:_MAX_TEXT]}…")
    if values.numbers >= 0.9 * values.filled:
        return f"numbers from {low:.10g} to {high:.10g}" if low != high else f"the number {low:.10g}"
    if values.dates >= 0.9 * values.filled:
        return f"dates such as {shown[1:-1]}"
    if values.distinct == 1:
        return f"only {example!r}"
    is_time = names_time(name) and any(map(str.isdigit, example))
    if not is_time and values.distinct <= _FEW and values.distinct * 2 <= values.filled and not holds_codes(name):
        return f"{values.distinct} different texts such as {shown}"
    return f"texts such as {shown}"


def _find_roles(name: str, values: _Values, *, has_types: bool) -> list[str]:
    """Return the roles that a column may have by its name and its values, the most likely one first."""
    if values.numbers >= 0.9 * values.filled:
        return _find_roles_of_numbers(name, values, has_types=has_types)
    if values.dates >= 0.9 * values.filled:
        return ["content", "time"] if describes_item(name) else ["time"]
    if values.distinct == 1:
        return ["content"]
    if values.scaled >= 0.9 * values.filled:
        return ["rating", "content"]
    if names_time(name) and any(map(str.isdigit, values.example)):
        return ["time"]
    if values.distinct <= _FEW and values.distinct * 2 <= values.filled and not holds_codes(name):
        words = {str(each).strip().lower() for each in values.texts or () if each}
        if words <= _YES_NO:
            return ["content"] if has_types else ["label", "content"]
        return ["event_type", "content"]
    return ["content"]


def _find_roles_of_numbers(name: str, values: _Values, *, has_types: bool) -> list[str]:
    low, high = values.low or 0.0, values.high or 0.0
    if holds_codes(name):
        return ["content"]
    if any(_CLOCK[0] * unit <= low and high <= _CLOCK[1] * unit for unit in _CLOCK_UNITS) or (
        _is_day(low) and _is_day(high)
    ):
        return ["content", "time"] if describes_item(name) else ["time"]
    if low == high:
        return ["content"]
    if guess_count(low, high) is not None:
        return ["time", "weight", "content"]
    marks = {(0, 1, 2), (_NO_OPINION, 1, 2), (_NO_OPINION, 1, 3)}
    if (low, high, values.distinct) in marks and not has_types:
        return ["label", "content"]
    is_scale = low <= _LOWEST and _HIGHEST[0] <= high <= _HIGHEST[1] and values.halves == values.numbers
    if low >= _NO_OPINION and low < high and is_scale and not names_amount(name):
        return ["rating", "content"] if low < 0 else ["rating", "weight", "content"]
    if low < 0:  # a weight is at least 0
        return ["rating", "content"]
    return ["weight", "content"]


def _is_opposite(name: str) -> bool:
    """Whether a name says that something was skipped, hidden, disliked or taken back."""
    return resolve_event_weights([name], None)[0][name] == 0


def _is_day(number: float) -> bool:
    """Whether a number is a day such as 20240131."""
    # NaN and infinite numbers are no days either.
    if not 19_000_101 <= number <= 21_001_231 or number != int(number):
        return False
    return 1 <= int(number) // 100 % 100 <= 12 and 1 <= int(number) % 100 <= 31
