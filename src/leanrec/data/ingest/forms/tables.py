"""Tables of other programs, by optional packages: Arrow, Feather and ORC (pyarrow), Avro (fastavro), Excel (openpyxl)."""

import csv
import datetime
import importlib
import itertools
import json
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from leanrec.data.engine import SqlEngine
from leanrec.data.event_types import normalize_name
from leanrec.data.ingest.forms.containers.members import TABLE_ROLES, Member
from leanrec.data.ingest.forms.headers import count_above_names, score_header
from leanrec.data.ingest.meaning.column_names import list_roles
from leanrec.errors import SourceError

__all__ = ["open_arrow", "write_avro_lines", "write_workbook"]

_TITLES = {
    "arrow": "an Arrow file (Feather)",
    "feather": "a Feather file",
    "orc": "an ORC file",
    "avro": "an Avro file",
}
_SHEET = "an Excel workbook"
_FIRST_LINES = 100


def _import_reader(module: str, label: str, what: str, instead: str) -> ModuleType:
    """Import a library of the extra ``formats``. Raises SourceError that says what the file is and what to do."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise SourceError(
            f"{label} is {what}, which {package} reads. Install it: pip install {package} (it is part of "
            f'"leanrec[formats]"); or {instead}.'
        ) from error


def open_arrow(path: Path, form: str, label: str) -> Any:
    """Return a dataset of pyarrow, which DuckDB reads in blocks. Raises SourceError where it is damaged."""
    instead = "save the table as Parquet"
    dataset = _import_reader("pyarrow.dataset", label, _TITLES[form], instead)
    try:
        if form == "feather":
            return _import_reader("pyarrow.feather", label, _TITLES[form], instead).read_table(path)
        return dataset.dataset(str(path), format="ipc" if form == "arrow" else form)
    except (OSError, ValueError) as error:
        raise SourceError(f"{label} is {_TITLES[form]} that cannot be read: {error}. Write it again.") from error


def write_avro_lines(engine: SqlEngine, path: Path, label: str) -> Path:
    """Return a copy of an Avro file as JSON lines. Cost: O(bytes), about 20 microseconds a row."""
    reader = _import_reader("fastavro", label, _TITLES["avro"], "save the table as Parquet")
    target = engine.new_path(f"{path.stem}.jsonl")
    try:
        with path.open("rb") as source, target.open("w", encoding="utf-8") as copy:
            for row in reader.reader(source):
                copy.write(json.dumps(row, default=_to_text) + "\n")
    except (ValueError, EOFError, OSError) as error:
        raise SourceError(f"{label} is an Avro file that cannot be read: {error}. Write it again.") from error
    return target


class Sheet(NamedTuple):
    """A sheet of a workbook: its title, the copy of it as delimited text, and the number of its lines."""

    title: str
    path: Path
    lines: int

    def list_columns(self) -> list[str]:
        """Return the names of the columns: of the line that names users and items, otherwise of the first one; empty where it has none."""
        with self.path.open(encoding="utf-8", newline="") as text:
            records = list(itertools.islice(csv.reader(text), _FIRST_LINES))
        above = count_above_names(records)
        return records[above] if above or score_header(records[0], records[1:]) > 0 else []


def write_workbook(engine: SqlEngine, path: Path, role: str = "log", title: str = "") -> tuple[list[Sheet], str]:
    """Return copies of the sheets of a workbook that are one table, as delimited text, and a sentence about them.

    That is the sheet with this title, the only one with rows, or the one that has users and items, or is called like the items or
    users that ``role`` says, and all sheets with the same columns: one for each month. Otherwise it is the first one.

    Raises SourceError where a workbook is damaged, has no such sheet, or where several may be the log. Cost: O(cells).
    """
    reader = _import_reader("openpyxl", str(path), _SHEET, "save the sheet as CSV")
    sheets: list[Sheet] = []
    try:
        book = reader.load_workbook(path, read_only=True, data_only=True)
        try:
            titles = [each.title for each in book.worksheets]
            for sheet in book.worksheets:
                target = engine.new_path(f"{path.stem}.csv")
                if title in {"", sheet.title} and (lines := _write_sheet(sheet, target)):
                    sheets.append(Sheet(sheet.title, target, lines))
        finally:
            book.close()
    except (ValueError, KeyError, OSError) as error:
        raise SourceError(f"{path} is {_SHEET} that cannot be read: {error}. Save the sheet as CSV.") from error
    if not sheets:
        which = f"without rows in the sheet {title!r}. Its sheets are: {', '.join(titles)}" if title else "without rows"
        raise SourceError(f"{path} is {_SHEET} {which}. Check how it was written.")
    chosen = _choose_sheets(path, sheets, role)
    others = [sheet.title for sheet in sheets if sheet not in chosen]
    what = "the sheet" if len(chosen) == 1 else f"{len(chosen)} sheets with the same columns,"
    read = f"{what} {', '.join(repr(sheet.title) for sheet in chosen)} {'was' if len(chosen) == 1 else 'were'} read"
    more = (
        f" Other sheets were not read: {', '.join(others)}. To read one, pass its path, such as {f'{path}/{others[0]}'!r}."
        if others and not title
        else ""
    )
    return chosen, f"{path}: {read}, {sum(sheet.lines for sheet in chosen):,} lines.{more}"


def _choose_sheets(path: Path, sheets: list[Sheet], role: str) -> list[Sheet]:
    """Return the sheets that are one table. See ``write_workbook``."""
    if len(sheets) == 1:
        return sheets
    members = [Member(sheet.title, sheet.lines, sheet.list_columns) for sheet in sheets]
    columns = [frozenset(map(normalize_name, member.list_columns())) for member in members]
    found = [i for i, member in enumerate(members) if {"user", "item"} <= list_roles(member.list_columns())]
    if role in TABLE_ROLES:
        found = [i for i, member in enumerate(members) if member.means(TABLE_ROLES[role]) and i not in found]
    first = found[0] if found else 0
    if len({columns[i] for i in found}) > 1:
        named = [i for i in found if members[i].means("log")]
        if role != "log" or len({columns[i] for i in named}) != 1:
            raise SourceError(
                f"{path} has several sheets that may be meant: {', '.join(sheets[i].title for i in found)}. Pass the path of one, such as "
                f"{f'{path}/{sheets[first].title}'!r}."
            )
        first = named[0]
    return [sheet for i, sheet in enumerate(sheets) if i == first or (columns[first] and columns[i] == columns[first])]


def _write_sheet(sheet: Any, target: Path) -> int:
    """Write the rows of a sheet that have a value; return their number."""
    rows = 0
    with target.open("w", encoding="utf-8", newline="") as copy:
        out = csv.writer(copy, lineterminator="\n")
        for row in sheet.iter_rows(values_only=True):
            if any(cell is not None for cell in row):
                out.writerow(["" if cell is None else _to_text(cell) for cell in row])
                rows += 1
    return rows


def _to_text(value: object) -> str:
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)
