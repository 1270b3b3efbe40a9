"""Records as blocks of lines ``key: value``, as the reviews of SNAP are written: one row for each block."""

import collections
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from leanrec.data.engine import SqlEngine, quote_identifier, quote_literal
from leanrec.data.ingest.meaning.column_names import list_roles
from leanrec.data.ingest.text_files import line_scan

__all__ = ["convert_blocks", "find_keys"]

_FIELD = re.compile(r"([A-Za-z][\w/.-]{0,60}(?: [\w/.-]{1,30}){0,3}):(?:\s.*)?")
_NEARLY_ALL = 0.9
_MIN_RECORDS = 2
_BUFFER = 16_000_000


def find_keys(lines: Sequence[str]) -> list[str]:
    """Return the keys where nearly all lines have one and few keys come again and again, in their order; else none.

    The first key begins each record, in which each key comes once.
    """
    lines = [line for line in lines if line.strip()]
    keys = [match[1] for line in lines if (match := _FIELD.fullmatch(line))]
    counts = collections.Counter(keys)
    if len(counts) < 2 or len(keys) < _NEARLY_ALL * len(lines):
        return []
    begins = [i for i, key in enumerate(keys) if key == keys[0]]
    records = [keys[begin:end] for begin, end in itertools.pairwise([*begins, len(keys)])]
    is_regular = len(records) >= _MIN_RECORDS and all(len(set(record)) == len(record) for record in records)
    # Lists of users, ann: i1, have keys that mean nothing.
    return list(counts) if is_regular and len(list_roles(counts)) > 1 else []


def convert_blocks(engine: SqlEngine, path: Path, head: bytes, label: str) -> tuple[Path, str] | None:
    """Return a copy with one row for each block, and a sentence about it; None for other text. Cost: O(bytes) time and disk."""
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    keys = find_keys(text.splitlines()[: None if text.endswith("\n") else -1][:2000])
    if not keys:
        return None
    pattern = quote_literal(f"^({'|'.join(map(re.escape, keys))}):(.*)$")
    split = f"regexp_extract(line, {pattern}, 1) AS k, trim(regexp_extract(line, {pattern}, 2)) AS v"
    lines = f"SELECT {split}, row_number() OVER () AS n FROM {line_scan(path, _BUFFER)} WHERE line IS NOT NULL"
    blocks = f"SELECT k, v, count_if(k = {quote_literal(keys[0])}) OVER (ORDER BY n ROWS UNBOUNDED PRECEDING) AS block FROM ({lines})"
    fields = ", ".join(f"max(v) FILTER (k = {quote_literal(key)}) AS {quote_identifier(key)}" for key in keys)
    rows = f"SELECT {fields} FROM ({blocks}) WHERE k <> '' GROUP BY block ORDER BY block"
    target = engine.new_path(f"{path.name.partition('.')[0]}.csv")
    engine.execute(f"COPY ({rows}) TO {quote_literal(target)} (FORMAT csv, HEADER true)", label)
    return (
        target,
        f"each block of lines from {keys[0]!r} on was read as one row, with the columns {', '.join(keys[:12])}; other lines were left out.",
    )
