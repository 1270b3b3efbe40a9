"""Matches between a log and its tables: which columns hold the same ids, and how many ids of the log a table has."""

from collections.abc import Sequence

from leanrec.data.engine import SqlEngine, quote_identifier
from leanrec.data.ingest.sources import SourcePart
from leanrec.errors import DataError

__all__ = ["best_pair", "describe_matches"]

_SAMPLE = 1000
# SQL of what ids have in common → how they differ, and what to do.
_DIFFERENCES = (
    ("ltrim(id::VARCHAR, '0')", "zeros at the beginning: write the ids of both with the same zeros, as text"),
    ("lower(id::VARCHAR)", "upper and lower case: write the ids of both in lower case"),
    (
        "lower(regexp_replace(nfc_normalize(id::VARCHAR), '[^\\pL\\pN]', '', 'g'))",
        "marks, blanks or case: write the ids of both without them",
    ),
    (
        "lower(regexp_extract(id::VARCHAR, '([^:/#|=]+)/?$', 1))",
        "what is before the last mark, such as item:7 and 7: write the ids of both with it, or without",
    ),
)


def describe_matches(engine: SqlEngine, role: str, label: str, key: str) -> str | None:
    """Say how many users or items of the log the table of that role has; None where the log has no id.

    ``<role>s_found`` has the ids of the log, ``<role>_rows`` those of the table. Raises DataError where none is in both.
    Cost: a hash join of distinct ids.
    """
    matched = f"SELECT count(*) FROM {role}s_found SEMI JOIN {role}_rows USING (id)"
    total, found = engine.fetch_rows(f"SELECT (SELECT count(*) FROM {role}s_found), ({matched})")[0]
    rows = engine.fetch_rows(f"SELECT min(id)::VARCHAR, max(id)::VARCHAR FROM {role}_rows")[0]
    if not total:
        return None
    if not found and rows[0] is not None:
        of_log = engine.fetch_rows(f"SELECT min(id)::VARCHAR FROM {role}s_found")[0][0]
        why = f'Name the column with the ids of the log: columns={{"{role}s.id": "COLUMN"}}, or leave the table out.'
        for plain, differ in _DIFFERENCES:
            alike = (
                f"SELECT count(*) FROM (SELECT nullif({plain}, '') AS id FROM {role}s_found) "
                f"SEMI JOIN (SELECT nullif({plain}, '') AS id FROM {role}_rows) USING (id)"
            )
            # A few may meet by chance.
            if 2 * engine.fetch_rows(alike)[0][0] >= total:
                why = f"They differ only in {differ}."
                break
        raise DataError(
            f"The {role} table must have ids of the log. The table matches 0 of {total:,} {role}s: the log has ids such as "
            f"{of_log!r}, the column {key!r} of {label} has {rows[0]!r}. {why}"
        )
    return f"The {role} table matches {found:,} of {total:,} {role}s of the log."


def best_pair(
    engine: SqlEngine, part: SourcePart, columns: Sequence[str], table: SourcePart, keys: Sequence[str]
) -> tuple[str, str] | None:
    """Return the column of the log and the column of the table that share the most ids, None where none share one.

    The first pair stays unless another one shares more than twice as many.

    Args:
        engine: the connection.
        part: the first table of the log.
        columns: its columns that may hold the ids, in order of preference.
        table: the item or user table.
        keys: its columns that may hold the ids, in order of preference.

    Cost: the first thousand rows of the log, and one scan of the table.
    """
    sample = ", ".join(f"{quote_identifier(name)}::VARCHAR AS a{i}" for i, name in enumerate(columns))
    scan = part.scan if part.file is None else part.file.preview_scan()
    engine.execute(f"CREATE OR REPLACE TEMP TABLE id_sample AS SELECT {sample} FROM {scan} LIMIT {_SAMPLE}", part.label)
    every = " UNION ".join(f"SELECT a{i} AS id FROM id_sample" for i in range(len(columns)))
    fields = ", ".join(f"{quote_identifier(name)}::VARCHAR AS b{j}" for j, name in enumerate(keys))
    hits = " OR ".join(f"b{j} IN (SELECT id FROM id_sampled)" for j in range(len(keys)))
    engine.execute(f"CREATE OR REPLACE TEMP TABLE id_sampled AS SELECT DISTINCT id FROM ({every}) WHERE id IS NOT NULL")
    keep = table.scan if table.file is None else table.file.preview_scan()
    engine.execute(
        f"CREATE OR REPLACE TEMP TABLE id_keys AS SELECT * FROM (SELECT {fields} FROM {keep}) WHERE {hits}", table.label
    )
    pairs = [(i, j) for i in range(len(columns)) for j in range(len(keys))]
    counts = ", ".join(f"(SELECT count(*) FROM id_sample WHERE a{i} IN (SELECT b{j} FROM id_keys))" for i, j in pairs)
    found = engine.fetch_rows(f"SELECT {counts}")[0]
    best = max(range(len(pairs)), key=lambda each: (found[each], -each))
    # Small numbers match by chance: another pair must be far better than the one that the names mean.
    if 2 * found[0] >= found[best]:
        best = 0
    i, j = pairs[best]
    return (columns[i], keys[j]) if found[best] else None
