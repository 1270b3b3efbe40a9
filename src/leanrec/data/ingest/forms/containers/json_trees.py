"""Trees of JSON objects, as document databases export them: what users did with items, by the keys of users and items."""

import json
import shlex
from collections.abc import Sequence
from typing import NamedTuple

from leanrec.data.engine import SqlEngine, quote_literal
from leanrec.data.ingest.forms.nested import is_sequence, name_singular
from leanrec.data.ingest.meaning.column_names import list_roles
from leanrec.errors import SourceError

__all__ = ["find_table", "read_tree"]

_FIRST_TIME = 631_152_000  # 1990-01-01
_MAX_NAMES = 1000
_MAX_TABLES = 50
_NUMBERS = "('UBIGINT', 'BIGINT', 'DOUBLE', 'HUGEINT')"


class _Leaves(NamedTuple):
    """What is below the keys of items in a tree.

    Attributes:
        size: number of leaves.
        objects: those that are objects.
        numbers: those that are numbers.
        truths: those that are true or false.
        untrue: those that are false.
        times: texts that are times.
        least: the smallest number.
        keys: keys of the objects.
    """

    size: int
    objects: int
    numbers: int
    truths: int
    untrue: int
    times: int
    least: float | None
    keys: Sequence[str] | None


def find_table(engine: SqlEngine, entries: str, label: str) -> str | None:
    """Return the key of the only entry that is a table, an object of objects with a name of one; None where the keys are ids.

    Args:
        engine: the connection.
        entries: SQL of the entries: ``k`` and ``v``.
        label: name of the file in messages.

    Raises SourceError where there are several tables: with the command that writes one of them.
    """
    rows = engine.fetch_rows(
        f"SELECT k, json_type(v) = 'OBJECT' AND len(json_keys(v)) > 0 AND "
        f"len(list_filter(json_extract(v, '$.*'), lambda x: json_type(x) <> 'OBJECT')) = 0 FROM ({entries}) LIMIT {_MAX_TABLES + 1}",
        label,
    )
    names = [str(name) for name, is_table in rows if is_table]
    called = {name: list_roles([name, name_singular(name)]) for name in names}
    if len(rows) > _MAX_TABLES or not any(called[name] or is_sequence(name) for name in names):
        return None
    if len(names) == 1:
        return names[0] if len(rows) > 1 else None
    log = next((name for name in names if not called[name] & {"user", "item"}), names[0])
    program = f'import json; json.dump(json.load(open({json.dumps(label)}))[{json.dumps(log)}], open("log.json", "w"))'
    raise SourceError(
        f"{label} holds several tables: {', '.join(names[:12])}. Write the one that is the log, such as {log}: "
        f"python -c {shlex.quote(program)}, and pass log.json."
    )


def read_tree(engine: SqlEngine, entries: str, label: str) -> tuple[str, str] | None:
    """Return the query of the events in objects of users, whose entries are items or events, and a note; None for other objects.

    An entry is a rating, a time, true, or an object with the fields of an event.
    """
    leaves = f"SELECT k AS u, unnest(json_keys(v)) AS i, unnest(json_extract(v, '$.*')) AS x FROM ({entries})"
    kinds = (
        f"SELECT *, json_type(x) AS t, CASE WHEN json_type(x) = 'OBJECT' THEN json_keys(x) END AS ks FROM ({leaves})"
    )
    tests = (
        f"count(*), count_if(t = 'OBJECT'), count_if(t IN {_NUMBERS}), count_if(t = 'BOOLEAN'), count_if(x = 'false'), "
        "count_if(t = 'VARCHAR' AND try_cast(x ->> '$' AS TIMESTAMP) IS NOT NULL), min(try_cast(x AS DOUBLE)) FILTER (t <> 'BOOLEAN'), "
        f"list_distinct(flatten(list(ks)))[:{_MAX_NAMES}]"
    )
    found = _Leaves(*engine.fetch_rows(f"SELECT {tests} FROM ({kinds})", label)[0])
    begin = "each key was read as a user, and the entries of its object as"
    if not found.size:
        return None
    if found.objects == found.size:
        return _read_fields(leaves, set(found.keys or ()), begin)
    plain = 'SELECT u AS "user", i AS "item"'
    if found.truths == found.size:
        more = ", x AS label" if found.untrue else ""
        return f"{plain}{more} FROM ({leaves})", f"{begin} items."
    if found.times == found.size or (found.numbers == found.size and (found.least or 0) >= _FIRST_TIME):
        return f"{plain}, x AS time FROM ({leaves})", f"{begin} items with their times."
    if found.numbers == found.size:
        return f"{plain}, x AS rating FROM ({leaves})", f"{begin} items with their ratings."
    return None


def _read_fields(leaves: str, keys: set[str], begin: str) -> tuple[str, str] | None:
    """Return the query of events that are objects: with their item, or below the key of the item."""
    roles = list_roles(keys)
    if not roles or {"user", "item"} <= roles:
        return (
            (f"SELECT v FROM (SELECT x AS v FROM ({leaves}))", "each object under two keys was read as one row.")
            if roles
            else None
        )
    if "user" in roles:
        return None
    outer = {"user": "u"} if "item" in roles else {"user": "u", "item": "i"}
    fields = ", ".join(f"{quote_literal(name)}, {column}" for name, column in outer.items())
    what = "events" if "item" in roles else "items with fields"
    return f"SELECT v FROM (SELECT json_merge_patch(x, json_object({fields})) AS v FROM ({leaves}))", f"{begin} {what}."
