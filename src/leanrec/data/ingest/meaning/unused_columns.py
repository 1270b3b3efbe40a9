"""Columns of a log that have no role: what each holds, and how to use it."""

from collections.abc import Iterator, Sequence

from leanrec.data.engine import SqlEngine, quote_identifier
from leanrec.data.event_types import takes_back
from leanrec.data.ingest.meaning.column_names import holds_codes
from leanrec.data.ingest.sources import SourcePart

__all__ = ["describe_unused"]

_SAMPLE = 1000
_MAX_COLUMNS = 20
_MAX_TEXT = 30
# Numbers that are more likely the clock than an amount: from 1995 to 2065, in seconds, milli-, micro- and nanoseconds.
_CLOCK = (8e8, 3e9)
_CLOCK_UNITS = (1.0, 1e3, 1e6, 1e9)
_FEW = 20  # distinct texts of a column that may name event types


def describe_unused(engine: SqlEngine, parts: Sequence[SourcePart], used: Sequence[set[str]]) -> list[str]:
    """Return a sentence about each column that is not used: its first values, and the argument that uses it.

    Args:
        engine: the connection.
        parts: the tables of the log.
        used: the columns of each table that are used.

    Cost: a look at the first thousand rows of each table that has a column of a new name.
    """
    notes: list[str] = []
    seen: set[str] = {name for names in used for name in names}
    for part, names in zip(parts, used, strict=True):
        # A list or a struct has no role; what it holds would be the notation of DuckDB.
        unused = [name for name in part.names if name not in names and name not in seen and name not in part.nested]
        seen.update(unused)
        if unused and len(notes) < _MAX_COLUMNS:
            notes += _describe_columns(engine, part, unused[: _MAX_COLUMNS - len(notes)])
        if len(unused) > _MAX_COLUMNS:
            notes.append(f"Not used: {len(unused) - _MAX_COLUMNS:,} more columns of {part.label}.")
    return notes


def _describe_columns(engine: SqlEngine, part: SourcePart, names: Sequence[str]) -> Iterator[str]:
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
        n, numbers, low, high, distinct, example, dates, texts = rows[8 * i : 8 * i + 8]
        shown = example if example is None or len(example) <= _MAX_TEXT else f"{example[:_MAX_TEXT]}…"
        if not n:
            yield f"Not used: {name} (no values in the first rows)."
            continue
        if (back := next((each for each in sorted(filter(None, texts or ())) if takes_back(each)), None)) is not None:
            yield (
                f"Not used: {name}, although values such as {back!r} say that a purchase was taken back. Such rows count as any other; "
                f'for no weight pass columns={{"event_type": "{name}"}}.'
            )
            continue
        if numbers >= 0.9 * n:
            what = f"numbers from {low:.10g} to {high:.10g}" if low != high else f"the number {low:.10g}"
            is_clock = any(_CLOCK[0] * unit <= low and high <= _CLOCK[1] * unit for unit in _CLOCK_UNITS)
            role = "content" if holds_codes(name) else "time" if is_clock else "weight"
        elif dates >= 0.9 * n:
            what, role = f"dates such as {shown}", "time"
        elif distinct == 1:
            what, role = f"only {shown!r}", "content"
        elif distinct <= _FEW and distinct * 2 <= n:
            what, role = f"{distinct} different texts such as {shown!r}", "event_type"
        else:
            what, role = f"texts such as {shown!r}", "content"
        how = {
            "weight": "as the weight",
            "time": "as the time",
            "event_type": "as the event type",
            "content": "about the item",
        }
        more = "" if role in {"content", "time"} else f', about the item columns={{"content": "{name}"}}'
        yield f'Not used: {name} ({what}; {how[role]}: columns={{"{role}": "{name}"}}{more}).'
