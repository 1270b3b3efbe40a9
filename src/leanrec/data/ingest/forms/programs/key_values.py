"""Lines of pairs, ``ts=2024-03-13T13:05:00Z user_id=7 product_id=9``, as programs log them, and query strings."""

import re
from collections.abc import Sequence

from leanrec.data.engine import quote_literal
from leanrec.data.ingest.meaning.column_names import list_roles

__all__ = ["find_keys", "write_values"]

# RE2 and Python read these patterns alike.
_BEFORE, _VALUE = r'(?:^|[\s&?;,|{\[(])"?', r'"?=(?:"([^"]*)"|([^\s&;,|"]*))'
_PAIR = re.compile(rf"{_BEFORE}([A-Za-z_][\w.-]*){_VALUE}")
_STAMP = r"^\W*([0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)"
_STAMP_NAME = "time"
_NEARLY_ALL = 0.9


def find_keys(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the keys that nearly all lines have, among them a user and an item; none where the lines are no such pairs.

    The key ``time`` is that of the date at the begin of nearly all lines, where no key means a time.
    """
    # A line of names has no pairs.
    if not lines or not _PAIR.search(lines[0]):
        return ()
    found = [[match[1] for match in _PAIR.finditer(line)] for line in lines]
    keys = [key for key in dict.fromkeys(found[0]) if sum(key in each for each in found) >= _NEARLY_ALL * len(lines)]
    roles = list_roles(keys)
    if not {"user", "item"} <= roles:
        return ()
    stamped = sum(re.match(_STAMP, line) is not None for line in lines) >= _NEARLY_ALL * len(lines)
    return (*keys, _STAMP_NAME) if stamped and "time" not in roles else tuple(keys)


def write_values(keys: Sequence[str], lines: Sequence[str], delimiter: str) -> str:
    """SQL: a line with a delimiter between the values of its keys. Values of query strings are decoded."""
    is_query = all("&" in line and not re.search(r"\s", line.strip()) for line in lines)
    # Row(user=7, item=9) ends in a bracket that belongs to no value.
    text = r"regexp_replace(line, '\)\s*$', '')" if all(line.rstrip().endswith(")") for line in lines) else "line"
    fields = []
    for key in keys:
        pattern = quote_literal(rf"{_BEFORE}{re.escape(key)}{_VALUE}")
        value = f"(regexp_extract({text}, {pattern}, 1) || regexp_extract({text}, {pattern}, 2))"
        if key == _STAMP_NAME and not any(re.search(rf"{_BEFORE}{_STAMP_NAME}{_VALUE}", line) for line in lines):
            value = f"regexp_extract(line, {quote_literal(_STAMP)}, 1)"
        fields.append(f"coalesce(try(url_decode(replace({value}, '+', ' '))), {value})" if is_query else value)
    return f" || {quote_literal(delimiter)} || ".join(fields)
