"""Members of a file or a folder that holds several tables: which is the log, by the names of its columns and its own."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from leanrec.data.ingest.forms.delimiters import find_layout, split_records
from leanrec.data.ingest.forms.headers import score_header
from leanrec.data.ingest.meaning.column_names import guess_role, list_roles, split_words
from leanrec.errors import SourceError

__all__ = ["TABLE_ROLES", "Member", "choose_members", "read_columns"]

# Words for all events. Of views and purchases, none is the log.
_LOG_WORDS = frozenset(
    ["rating", "review", "interaction", "event", "log", "action", "behavior", "behaviour", "history"]
)
TABLE_ROLES = {"item_table": "item", "user_table": "user"}
"""What a table beside the log is for → role of the ids of its rows."""

_SHOWN = 12
_KEY = re.compile(r'"([^"\\]{1,80})"\s*:')


@dataclasses.dataclass(frozen=True)
class Member:
    """A table in a file that holds several.

    Attributes:
        name: its name in the file, such as ``ml/ratings.csv``.
        size: bytes.
        list_columns: returns the names of its columns, empty where it has none.
    """

    name: str
    size: int
    list_columns: Callable[[], Sequence[str]]

    @property
    def family(self) -> str:
        """The name without numbers, which all parts of one table have."""
        return re.sub(r"\d+", "", PurePosixPath(self.name).name)

    def means(self, role: str) -> bool:
        """Whether the name says that this is a log, a table of items or one of users."""
        words = split_words(PurePosixPath(self.name).name.partition(".")[0])
        if role == "log":
            return not _LOG_WORDS.isdisjoint(words)
        return any(guess_role(f"{word}_id") == role for word in words)


def read_columns(head: bytes) -> list[str]:
    """Return the names of columns in the first bytes of a text or of JSON; empty where there are none."""
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    if text.lstrip().startswith(("{", "[")):
        return list(dict.fromkeys(_KEY.findall(text[:4000])))
    lines = [line for line in text.splitlines()[:-1][:100] if line.strip()]
    if not lines or "\0" in text:
        return []
    records = split_records(lines, find_layout(lines))
    return records[0] if score_header(records[0], records[1:]) > 0 else []


def choose_members(label: str, members: Sequence[Member], role: str) -> tuple[list[Member], str]:
    """Return the parts of one table, and a sentence about the tables that are left out, "" where there are none.

    Args:
        label: the name of the file that holds them.
        members: its tables.
        role: "log", "item_table", "user_table", or another one, which must be named.

    A log has users and items. Of several such tables it is the one whose name says so, and without names of columns the name
    alone decides. Raises SourceError with the names of the members where none is certain.
    """
    families: dict[str, list[Member]] = {}
    for member in members:
        families.setdefault(member.family, []).append(member)
    firsts = [parts[0] for parts in families.values()]
    chosen = firsts if len(firsts) == 1 else _find_certain(firsts, role)
    if len(chosen) != 1:
        listed = ", ".join(member.name for member in members[:_SHOWN]) + (" …" if len(members) > _SHOWN else "")
        example = f"{label}/{(chosen or firsts)[0].name}"
        raise SourceError(
            f"{label} has several tables: {listed}. Pass the path of the one that is meant, such as {example!r}, or those of all that "
            "are parts of one log."
        )
    others = [member.name for member in members if member.family != chosen[0].family]
    note = ""
    if others:
        listed = ", ".join(others[:_SHOWN]) + (" …" if len(others) > _SHOWN else "")
        note = f"{label}: {chosen[0].name} was read, and not {listed}. Another one is named by its path, such as {label + '/' + others[0]!r}."
    return families[chosen[0].family], note


def _find_certain(tables: Sequence[Member], role: str) -> list[Member]:
    """Return the tables that may have the role; one where it is certain."""
    if role in TABLE_ROLES:
        return [table for table in tables if table.means(TABLE_ROLES[role]) and not table.means("log")]
    if role != "log":
        return []
    columns = {table.name: table.list_columns() for table in tables}
    found = [table for table in tables if {"user", "item"} <= list_roles(columns[table.name])]
    is_unnamed = not found
    found = found or [table for table in tables if not columns[table.name]]
    named = [table for table in found if table.means("log")]
    return named if len(named) == 1 else found if not is_unnamed else []
