"""JSON objects behind other text in each line, as syslog, containers and loggers write them."""

import ast
import contextlib
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from leanrec.data.engine import SqlEngine, quote_literal
from leanrec.data.ingest.meaning.column_names import list_roles
from leanrec.data.ingest.text_files import line_scan
from leanrec.errors import SourceError

__all__ = ["convert_prefixed", "find_objects"]

# RE2 and Python read these patterns alike.
_OBJECT = r"^([^{]*)(\{.*\})[\s;]*$"
_STAMP = r"^[^{]*?([0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)[^{]*\{"
# Fields between tabs and marks are those of a table, unless the mark is that of docker compose: web_1  | {…}.
_FIELDS = re.compile(r"\t|[,;|]\s*$")
_SERVICE = re.compile(r"[\w.-]+ +\| *")
_NEARLY_ALL = 0.9
_FEW = 0.05
_MIN_LINES = 2
_MAX_LINES = 500
_MAX_DEPTH = 3
_BUFFER = 34_000_000


def find_objects(lines: Sequence[str]) -> list[dict[str, Any] | None]:
    """Return the object behind the other text of each line, None where there is none or where the text is that of a table."""
    found: list[dict[str, Any] | None] = []
    for line in lines:
        match, value = re.match(_OBJECT, line), None
        if match and match[1] and (_SERVICE.fullmatch(match[1]) or not _FIELDS.search(match[1])):
            with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
                value = json.loads(match[2])
            if value is None:
                with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
                    value = ast.literal_eval(match[2])
        found.append(value if isinstance(value, dict) else None)
    return found


def convert_prefixed(engine: SqlEngine, path: Path, head: bytes, label: str) -> tuple[Path, str] | None:
    """Return a copy of the objects alone, and a sentence about it; None for other text.

    Nearly all lines must have an object with a user and an item. Lines without one are kept, so that they are rejected and counted.
    Where the objects have no time, that of the text before them becomes the field ``time``. Cost: O(bytes) time and disk.

    Raises SourceError where only some of the lines have such an object.
    """
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    if text[:1] in {"", "{", "["} or "{" not in text:
        return None
    # splitlines also splits at the mark before each object of a JSON text sequence.
    lines = [line.rstrip("\r") for line in text.split("\n")[:-1] if line.strip()][:_MAX_LINES]
    objects = [each for each in find_objects(lines) if each is not None]
    roles = list_roles({key for each in objects for key in _list_keys(each)})
    if len(objects) < max(_MIN_LINES, _FEW * len(lines)) or not {"user", "item"} <= roles:
        return None
    if len(objects) < _NEARLY_ALL * len(lines):
        raise SourceError(
            f"{label} has JSON objects in {len(objects)} of its first {len(lines)} lines, and other text. Write the objects alone: "
            f"grep -o '{{.*}}' {shlex.quote(label)} > log.jsonl, and pass log.jsonl."
        )
    stamped = sum(re.match(_STAMP, line) is not None for line in lines) >= _NEARLY_ALL * len(lines)
    value = f"regexp_extract(line, {quote_literal(_OBJECT)}, 2)"
    note = "the text before the JSON object of each line was left out"
    if stamped and "time" not in roles:
        value = f"'{{\"time\": \"' || regexp_extract(line, {quote_literal(_STAMP)}, 1) || '\", ' || substr({value}, 2)"
        note += ", but for its time"
    target = engine.new_path(f"{path.name.partition('.')[0]}.jsonl")
    rows = f"SELECT CASE WHEN regexp_matches(line, {quote_literal(_OBJECT)}) THEN {value} ELSE line END FROM {line_scan(path, _BUFFER)}"
    engine.execute(
        f"COPY ({rows} WHERE trim(coalesce(line, '')) <> '') TO {quote_literal(target)} (FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIM '\x1d')",
        label,
    )
    return target, f"{label}: {note}."


def _list_keys(value: dict[str, Any], depth: int = 0) -> Iterator[str]:
    """Yield the keys of an object and of those inside it."""
    for key, inner in value.items():
        yield str(key)
        if isinstance(inner, dict) and depth < _MAX_DEPTH:
            yield from _list_keys(inner, depth + 1)
