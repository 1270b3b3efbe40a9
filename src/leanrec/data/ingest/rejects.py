"""Rejected rows: the reasons, and the quarantine file that lists every rejected row with its reason and origin."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from leanrec.data.engine import SqlEngine, quote_literal
from leanrec.errors import SettingError

if TYPE_CHECKING:
    from leanrec.data.ingest.encoding import EncodedLog
    from leanrec.data.ingest.staging import StagedLog

__all__ = ["CHOSEN_REASONS", "CODE", "FOREIGN", "REASONS", "UNREADABLE", "check_quarantine_path", "write_quarantine"]

REASONS = (
    "",
    "missing user",
    "missing item",
    "missing event type",
    "missing time",
    "time not understood",
    "rating is not a finite number",
    "missing weight",
    "weight is not a finite number",
    "negative weight",
    "label is not 0 or 1",
    "time before 1990 or in the future",
    "negative order",
    "rating outside the range",
    "before since",
    "from until on",
    "duplicate",
    "bot: far more events than other users",
    "bot: too many events in one day",
    "outlier: weight far above the others",
    "fewer events than the k-core requires",
    "returned: all units came back",
    "empty row",
    "repeated line of names",
    "row of totals",
)
"""Reject reasons of rows that were read; the position is the code, 0 = kept."""

CHOSEN_REASONS = frozenset(
    reason
    for reason in REASONS
    if reason.startswith(
        (
            "before since",
            "from until on",
            "duplicate",
            "bot:",
            "outlier:",
            "fewer events than",
            "returned:",
            "empty row",
            "row of totals",
        )
    )
)
"""Reject reasons of rows that can be read and are left out by a rule: dates, duplicates, bots, outliers, k-core, returns, empty rows, totals."""

CODE = {reason: code for code, reason in enumerate(REASONS)}
"""Reject reason → code."""

UNREADABLE = "unreadable line"
"""Reject reason of a line of text that is not a row."""

FOREIGN = "line is not UTF-8 text"
"""Reject reason of a line whose encoding is unknown."""


_CELLS = ("user", "item", "time", "event_type", "rating", "weight", "line")


def check_quarantine_path(path: Path) -> None:
    """Raise SettingError before anything is read if the quarantine file cannot be written."""
    if path.suffix.lower() not in {".csv", ".parquet"}:
        raise SettingError(f"The quarantine file must end in .csv or .parquet. Got {str(path)!r}.")
    if path.is_dir():
        raise SettingError(f"The quarantine file {path} is a folder. Name a file.")


def write_quarantine(
    engine: SqlEngine, staged: "StagedLog", log: "EncodedLog", reason: NDArray[np.int8], path: Path
) -> None:
    """Write every rejected row: reason, file, row (1 = first row of data; for unreadable lines: line) and original text.

    The file is written atomically: complete, or not at all.
    """
    engine.execute("CREATE TEMP TABLE rejected (seq BIGINT, reason TINYINT)")
    engine.execute("INSERT INTO rejected SELECT seq, reason FROM validated WHERE reason <> 0")
    for block in log.blocks():
        codes = reason[block.start : block.start + len(block)]
        which = codes != 0
        if which.any() and block.sequence is not None:
            engine.register_table("block", {"seq": block.sequence[which], "reason": codes[which]})
            engine.execute("INSERT INTO rejected SELECT seq, reason FROM block")
    select = f"SELECT * FROM ({_select_rejected(staged)}) ORDER BY file, row"
    engine.export_rows(select, path, f"The quarantine file {path}", _CELLS)


def _select_rejected(staged: "StagedLog") -> str:
    """SQL: the rejected rows and the unreadable lines."""
    reasons = ", ".join(f"({code}, {quote_literal(name)})" for code, name in enumerate(REASONS))
    files = ", ".join(
        f"({i}, {quote_literal(part.label)}, {first})"
        for i, (part, first) in enumerate(zip(staged.parts, staged.firsts, strict=True))
    )
    event_type = "event_type" if staged.has_event_types else "NULL"
    rows = (
        f'SELECT r.name AS reason, p.file AS file, seq - p.first + 1 AS row, raw_user AS "user", raw_item AS item, '
        f"raw_time AS time, {event_type} AS event_type, raw_rating AS rating, raw_weight AS weight, NULL::VARCHAR AS line "
        f"FROM rejected AS a JOIN staged AS s USING (seq) JOIN (VALUES {reasons}) AS r(code, name) ON a.reason = r.code "
        f"JOIN (VALUES {files}) AS p(number, file, first) ON s.part = p.number"
    )
    lines = [
        f"SELECT reason, {quote_literal(part.label)}, line, NULL, NULL, NULL, NULL, NULL, NULL, csv_line FROM {part.rejected}"
        for part in staged.parts
        if part.rejected
    ]
    return " UNION ALL ".join([rows, *lines])
