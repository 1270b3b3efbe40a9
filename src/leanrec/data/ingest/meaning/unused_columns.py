"""Columns of a log that have no role: what each holds, and how to use it."""

from collections.abc import Iterator, Sequence
from typing import Any

from leanrec.data.engine import SqlEngine, quote_identifier
from leanrec.data.event_types import resolve_event_weights, takes_back
from leanrec.data.ingest.meaning.column_names import holds_codes, names_time
from leanrec.data.ingest.sources import SourcePart

__all__ = ["describe_unused"]

_SAMPLE = 1000
_MAX_COLUMNS = 20
_MAX_TEXT = 30
# Numbers that are more likely the clock than an amount: from 1995 to 2065, in seconds, milli-, micro- and nanoseconds.
_CLOCK = (8e8, 3e9)
_CLOCK_UNITS = (1.0, 1e3, 1e6, 1e9)
_FEW = 20  # distinct texts of a column that may name event types
_YES_NO = frozenset(["true", "false", "yes", "no", "y", "n", "t", "f"])
_MARKS = _YES_NO | {"0", "1", "0.0", "1.0"}


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
        # A list or a struct has no role; what it holds would be the notation of DuckDB.
        unused = [name for name in part.names if name not in names and name not in seen and name not in part.nested]
        seen.update(unused)
        if unused and len(notes) < _MAX_COLUMNS:
            notes += _describe_columns(engine, part, unused[: _MAX_COLUMNS - len(notes)], has_types=has_types)
        if len(unused) > _MAX_COLUMNS:
            notes.append(f"Not used: {len(unused) - _MAX_COLUMNS:,} more columns of {part.label}.")
    return notes


def _describe_columns(engine: SqlEngine, part: SourcePart, names: Sequence[str], *, has_types: bool) -> Iterator[str]:
    scan = part.scan if part.file is None else part.file.preview_scan()
    fields = ", ".join(f"{quote_identifier(name)}::VARCHAR AS c{i}" for i, name in enumerate(names))
    facts = ", ".join(
        f"count(nullif(trim(c{i}), '')), count(try_cast(c{i} AS DOUBLE)), min(try_cast(c{i} AS DOUBLE)), "
        f"max(try_cast(c{i} AS DOUBLE)), count(DISTINCT c{i}), min(nullif(trim(c{i}), '')), count(try_cast(c{i} AS TIMESTAMP)), "
        f"CASE WHEN count(DISTINCT c{i}) <= {_FEW} THEN list(DISTINCT c{i}) END"
        for i in range(len(names))
    )
    rows = engine.fetch_rows(f"SELECT {facts} FROM (SELECT {fields} FROM {scan} LIMIT {_SAMPLE})", part.label)[0]
    for i, name in enumerate(names):
        texts = rows[8 * i + 7]
        if not rows[8 * i]:
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
        what, role = _describe_values(name, rows[8 * i : 8 * i + 8], has_types=has_types)
        how = {
            "weight": "as the weight",
            "time": "as the time",
            "event_type": "as the event type",
            "label": "as the label, 1 or yes for what the user liked or chose",
            "content": "about the item",
        }
        more = "" if role in {"content", "time"} else f', about the item columns={{"content": "{name}"}}'
        yield f'Not used: {name} ({what}; {how[role]}: columns={{"{role}": "{name}"}}{more}).'


def _describe_values(name: str, facts: Sequence[Any], *, has_types: bool) -> tuple[str, str]:
    """Return what a column holds, in words, and the role that it would best have. ``facts`` are those of ``_describe_columns``."""
    n, numbers, low, high, distinct, example, dates, texts = facts
    shown = example if len(example) <= _MAX_TEXT else f"{example[:_MAX_TEXT]}…"
    words = {str(each).strip().lower() for each in texts or () if each}
    if numbers >= 0.9 * n:
        what = f"numbers from {low:.10g} to {high:.10g}" if low != high else f"the number {low:.10g}"
        is_clock = any(_CLOCK[0] * unit <= low and high <= _CLOCK[1] * unit for unit in _CLOCK_UNITS)
        is_mark = (low, high, distinct) == (0, 1, 2) and not has_types
        is_time = is_clock or (_is_day(low) and _is_day(high))
        return what, "content" if holds_codes(name) else "time" if is_time else "label" if is_mark else "weight"
    if dates >= 0.9 * n:
        return f"dates such as {shown}", "time"
    if distinct == 1:
        return f"only {shown!r}", "content"
    if names_time(name) and any(map(str.isdigit, example)):
        return f"texts such as {shown!r}", "time"
    if distinct <= _FEW and distinct * 2 <= n and not holds_codes(name):
        role = "event_type" if not words <= _YES_NO else "content" if has_types else "label"
        return f"{distinct} different texts such as {shown!r}", role
    return f"texts such as {shown!r}", "content"


def _is_opposite(name: str) -> bool:
    """Whether a name says that something was skipped, hidden, disliked or taken back."""
    return resolve_event_weights([name], None)[0][name] == 0


def _is_day(number: float) -> bool:
    """Whether a number is a day such as 20240131."""
    # NaN and infinite numbers are no days either.
    if not 19_000_101 <= number <= 21_001_231 or number != int(number):
        return False
    return 1 <= int(number) // 100 % 100 <= 12 and 1 <= int(number) % 100 <= 31
