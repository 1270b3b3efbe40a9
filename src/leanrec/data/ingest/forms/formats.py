"""What a file is, by its first bytes: a format that can be read, or one that is named with the way out."""

import dataclasses
import gzip
import re
import zlib
from pathlib import Path
from typing import BinaryIO, cast

from leanrec.data.engine import SqlEngine
from leanrec.data.ingest.forms.json_text import find_json_layout
from leanrec.data.ingest.forms.refusals.binary_files import refuse_binary
from leanrec.data.ingest.forms.refusals.other_text import refuse_text
from leanrec.data.ingest.forms.refusals.wrapped_text import refuse_wrapped
from leanrec.data.ingest.forms.typed_header import TYPED_SUFFIXES
from leanrec.data.ingest.text_files import PACKED, line_scan
from leanrec.errors import SourceError

__all__ = ["SUFFIXES", "FileHead", "detect_format", "name_format", "read_head"]

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    **dict.fromkeys(TYPED_SUFFIXES, "csv"),
}
"""Suffix → format, for the choice of files in a folder."""

_ARCHIVES = (".bz2", ".xz", ".zip")
# Numbers and days behind the suffix: data.csv.gz.1, log.csv.2024-01-31.
_ROTATED = re.compile(r"(?<=[a-z])(\.[\d_-]+)+$")
_HEAD = 262_144
# Lines such as ["ann", 7, 5], which are rows of a table.
_ARRAYS = re.compile(r"\[[^\[\]{}\n]*\]\s*\n\[[^\[\]{}\n]*\]")
# First bytes → format that is read by another library.
_READABLE = {b"PAR1": "parquet", b"ARROW1": "arrow", b"FEA1": "feather", b"ORC": "orc", b"Obj\x01": "avro"}


@dataclasses.dataclass(frozen=True)
class FileHead:
    """The begin of a file.

    Attributes:
        path: the file, under a name that says how it is packed.
        data: the first bytes, unpacked.
        complete: whether these are all bytes.
    """

    path: Path
    data: bytes
    complete: bool


def name_format(path: Path) -> str:
    """Return the format that the name of a file means, "" for other names."""
    name = _ROTATED.sub("", path.name.lower())
    for packed in (*PACKED, *_ARCHIVES):
        name = name.removesuffix(packed)
    return next((form for suffix, form in SUFFIXES.items() if name.endswith(suffix)), "")


def read_head(engine: SqlEngine, path: Path) -> FileHead:
    """Read the first bytes of a file that is plain, or packed with gzip or Zstandard under any name.

    Raises SourceError where it is empty or cannot be read.
    """
    try:
        with path.open("rb") as handle:
            raw = handle.read(_HEAD)
        if not raw:
            raise SourceError(f"{path} is empty: it has no bytes. Check how it was written.")
        packed = ".gz" if raw.startswith(b"\x1f\x8b") else ".zst" if raw.startswith(b"\x28\xb5\x2f\xfd") else ""
        named = path.suffix.lower() if path.suffix.lower() in PACKED else ""
        if packed != named:
            # DuckDB unpacks by the name.
            path = engine.link_file(path, path.name.removesuffix(path.suffix if named else "") + packed)
        if packed == ".gz":
            with cast("BinaryIO", gzip.open(path)) as handle:
                data = handle.read(_HEAD)
        elif packed == ".zst":
            rows = engine.fetch_rows(f"SELECT line FROM {line_scan(path, 4_000_000, 'latin-1')} LIMIT 1000", str(path))
            data = "".join(f"{line or ''}\n" for (line,) in rows).encode("latin-1")[:_HEAD]
        else:
            data = raw
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SourceError(f"{path} cannot be read: {reason}. Check the file and its permissions.") from error
    return FileHead(path, data, len(data) < _HEAD and packed != ".zst")


def detect_format(head: FileHead, label: str, *, known_encoding: bool = False) -> str:
    """Return "parquet", "arrow", "feather", "orc", "avro", "csv", or the layout of JSON: see ``find_json_layout``.

    Raises SourceError where the file is none of these: what it is, and what to do.
    """
    data = head.data
    if form := next((form for magic, form in _READABLE.items() if data.startswith(magic)), ""):
        return form
    refuse_binary(head.path, data, label)
    named = name_format(head.path)
    if named == "parquet":
        raise SourceError(
            f"{label} is named as Parquet but does not begin with PAR1. It is damaged or has another format."
        )
    refuse_wrapped(data, label)
    if not known_encoding and b"\0" in data:
        raise SourceError(
            f"{label} is a binary file (a zero byte at offset {data.index(0)}), not delimited text, JSON lines or "
            "Parquet. Export it as one of these."
        )
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    refuse_text(data, text, label)
    stripped = text.lstrip()
    if _ARRAYS.match(stripped):
        return "csv"
    if named == "json" or stripped.startswith(("{", "[{")) or re.match(r"\[\s*\{", stripped):
        return find_json_layout(stripped)
    return "csv"
