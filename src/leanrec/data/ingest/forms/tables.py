"""Tables of other programs, by optional packages: Arrow, Feather and ORC (pyarrow), Avro (fastavro), Excel (openpyxl)."""

import csv
import datetime
import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

from leanrec.data.engine import SqlEngine
from leanrec.errors import SourceError

__all__ = ["open_arrow", "write_avro_lines", "write_workbook"]

_TITLES = {
    "arrow": "an Arrow file (Feather)",
    "feather": "a Feather file",
    "orc": "an ORC file",
    "avro": "an Avro file",
}
_SHEET = "an Excel workbook"


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


def write_workbook(engine: SqlEngine, path: Path) -> tuple[Path, str]:
    """Return a copy of the first sheet with rows as delimited text, and a sentence about it. Cost: O(cells)."""
    reader = _import_reader("openpyxl", str(path), _SHEET, "save the sheet as CSV")
    target = engine.new_path(f"{path.stem}.csv")
    try:
        book = reader.load_workbook(path, read_only=True, data_only=True)
        try:
            for sheet in book.worksheets:
                if rows := _write_sheet(sheet, target):
                    others = [each.title for each in book.worksheets if each.title != sheet.title]
                    more = f" The other sheets were not read: {', '.join(others)}." if others else ""
                    return target, f"{path}: the sheet {sheet.title!r} was read, {rows:,} lines.{more}"
        finally:
            book.close()
    except (ValueError, KeyError, OSError) as error:
        raise SourceError(f"{path} is {_SHEET} that cannot be read: {error}. Save the sheet as CSV.") from error
    raise SourceError(f"{path} is {_SHEET} without rows. Check how it was written.")


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
