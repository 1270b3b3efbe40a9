"""The rows that were set aside, in a file, each with its reason and the place it came from."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leanrec.data.engine import SqlEngine, quote_literal
from leanrec.data.ingest.encoding import EncodedLog
from leanrec.data.ingest.reject_reasons import REASONS
from leanrec.data.ingest.staging import StagedLog
from leanrec.errors import SettingError, SourceError

__all__ = ["check_path", "write_quarantine"]


def check_path(path: Path) -> None:
    """Raise before anything is read if the file could not be written."""
    if path.suffix.lower() not in {".csv", ".parquet"}:
        raise SettingError(f"The quarantine file must end in .csv or .parquet. Got {str(path)!r}.")
    if path.is_dir():
        raise SettingError(f"The quarantine file {path} is a folder. Name a file.")


def write_quarantine(
    engine: SqlEngine, staged: StagedLog, log: EncodedLog | None, reason: NDArray[np.int8], path: Path
) -> None:
    """Write every set-aside row: reason, file, row (1 = the first row of data; for unreadable lines: line), own text.

    The file appears whole or not at all.
    """
    engine.execute("CREATE TEMP TABLE rejected (seq BIGINT, reason TINYINT)")
    engine.execute("INSERT INTO rejected SELECT seq, reason FROM judged WHERE reason <> 0")
    if log is not None:
        _add_later(engine, log, reason)
    named = ", ".join(f"({code}, {quote_literal(name)})" for code, name in enumerate(REASONS))
    places = ", ".join(
        f"({i}, {quote_literal(part.label)}, {first})"
        for i, (part, first) in enumerate(zip(staged.parts, staged.firsts, strict=True))
    )
    event_type = "event_type" if staged.has_event_types else "NULL"
    rows = (
        f'SELECT r.name AS reason, p.file AS file, seq - p.first + 1 AS row, raw_user AS "user", raw_item AS item, raw_time AS time, '
        f"{event_type} AS event_type, raw_rating AS rating, raw_weight AS weight, NULL::VARCHAR AS line "
        f"FROM rejected AS a JOIN staged AS s USING (seq) JOIN (VALUES {named}) AS r(code, name) ON "
        "a.reason = r.code "
        f"JOIN (VALUES {places}) AS p(number, file, first) ON s.part = p.number"
    )
    lines = [
        f"SELECT reason, {quote_literal(part.label)}, line, NULL, NULL, NULL, NULL, NULL, NULL, csv_line FROM {part.aside}"
        for part in staged.parts
        if part.aside
    ]
    form = "FORMAT parquet, COMPRESSION zstd" if path.suffix.lower() == ".parquet" else "FORMAT csv, HEADER"
    with _in_one_piece(path) as half:
        engine.execute(
            f"COPY ({' UNION ALL '.join([rows, *lines])} ORDER BY file, row) TO {quote_literal(half)} ({form})",
            f"The quarantine file {path}",
            "cannot be written",
        )


def _add_later(engine: SqlEngine, log: EncodedLog, reason: NDArray[np.int8]) -> None:
    for block in log.blocks():
        mine = reason[block.start : block.start + len(block)]
        which = mine != 0
        if which.any() and block.sequence is not None:
            engine.register_table("later", {"seq": block.sequence[which], "reason": mine[which]})
            engine.execute("INSERT INTO rejected SELECT seq, reason FROM later")


@contextlib.contextmanager
def _in_one_piece(path: Path) -> Iterator[Path]:
    half = path.with_name(f".{path.name}.half")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield half
        half.replace(path)
    except OSError as error:
        raise SourceError(
            f"The quarantine file {path} cannot be written: {error.strerror or error}. Choose another path."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            half.unlink()
