"""Logs of web servers in the common and the combined format of Apache and nginx: one request in each line."""

import re
from collections.abc import Sequence

from leanrec.data.engine import quote_literal

__all__ = ["find_request_names", "write_requests"]

# RE2 and Python read this pattern alike. A field that is a dash is empty; the name of the server may come first.
_REQUEST = (
    r'^(?:\S+ )?(\S+) - (?:-|(.+?)) \[([^\]]+)\] "([A-Z]+) (\S+)(?: [^"]*)?" (\d{3}) (?:-|(\d+))'
    r'(?: "(?:-|((?:[^"\\]|\\.)*))" "(?:-|((?:[^"\\]|\\.)*))")?(?: .*)?$'
)
_NAMES = ("host", "user", "time", "method", "item", "status", "bytes", "referrer", "agent")
_NEARLY_ALL = 0.9


def find_request_names(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the fields where nearly all lines are requests, else none.

    The path of a request is the ``item``. Where no request has a ``user``, that column is called ``remote``.
    """
    found = [match for line in lines if (match := re.fullmatch(_REQUEST, line))]
    if not found or len(found) < _NEARLY_ALL * len(lines):
        return ()
    has_users = any(match[2] for match in found)
    return tuple("remote" if name == "user" and not has_users else name for name in _NAMES)


def write_requests(delimiter: str) -> str:
    """SQL: a line with a delimiter between the fields of its request. A line that is no request stays as it is."""
    fields = delimiter.join(rf"\{i}" for i in range(1, len(_NAMES) + 1))
    return f"regexp_replace(line, {quote_literal(_REQUEST)}, {quote_literal(fields)})"
