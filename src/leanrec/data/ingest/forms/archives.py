"""Archives and packed files that DuckDB does not read: zip, bzip2, xz and tar are unpacked beside the spill files."""

import bz2
import contextlib
import dataclasses
import gzip
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from leanrec.data.engine import SqlEngine
from leanrec.data.ingest.forms.containers.members import Member, choose_members, read_columns
from leanrec.data.ingest.forms.containers.sql_dumps import is_dump, write_tables
from leanrec.data.ingest.forms.folders import natural_key
from leanrec.data.ingest.forms.formats import read_head
from leanrec.data.ingest.forms.refusals.arrays import advise_archive
from leanrec.data.ingest.forms.tables import write_workbook
from leanrec.errors import SourceError
from leanrec.units import format_bytes

__all__ = ["UnpackedFile", "unpack_file"]

_PACKERS: Mapping[bytes, Callable[[Path], Any]] = {
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"\x1f\x8b": gzip.open,
}
_TAR_MAGIC = slice(257, 262)
_HEAD = 65_536
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, NotImplementedError)
_IGNORED = re.compile(
    r"(^|/)(?:\.(?!\.?/)|_)|(^|/)(readme|licen[cs]e|changelog|citation)[^/]*$|\.(md|html?|pdf)$", re.IGNORECASE
)


@dataclasses.dataclass(frozen=True)
class UnpackedFile:
    """A file to read.

    Attributes:
        path: where its bytes are.
        label: its name in messages: ``log.zip/ratings.csv`` for a member of an archive.
        note: how it was unpacked, in a sentence; "" where it was not.
    """

    path: Path
    label: str
    note: str = ""


def unpack_file(engine: SqlEngine, path: Path, role: str = "log", member: str = "") -> list[UnpackedFile]:
    """Return the file itself, or the files of one table in it. Copies are in the folder of the engine and are removed with it.

    Args:
        engine: the connection.
        path: the file.
        role: what the table is: "log", "item_table", "user_table" or another name.
        member: the name of the member of the file that is meant, "" where it is to be found.

    Raises SourceError where an archive is damaged or it is not certain which of its tables is meant, and BudgetError where
    the disk is too small. Cost: O(bytes unpacked) time and disk.
    """
    wanted = _Wanted(role, member)
    files = _unpack_archive(engine, path, wanted)
    file, is_archive = files[0], files[0].label != str(path)
    if len(files) > 1 or not file.path.stat().st_size:
        return files
    head = read_head(engine, file.path)
    if is_dump(head.data):
        target, table, note = write_tables(engine, head.path, file.label, role, "" if is_archive else member)
        return [UnpackedFile(target, f"{file.label}/{table}", " ".join(each for each in (file.note, note) if each))]
    if member and not is_archive:
        raise SourceError(f"{path / member} does not exist: {path} is a file that holds no others. Pass {str(path)!r}.")
    return files


class _Wanted(NamedTuple):
    """What the table of a file is for, and the name of the member that is meant, "" where it is to be found."""

    role: str
    member: str

    def choose(self, path: Path, members: Sequence[Member]) -> tuple[list[str], str]:
        """Return the names of the members that are parts of the table, and a sentence about the others."""
        if self.member:
            found = [each.name for each in members if each.name.removeprefix("./") == self.member]
            if not found:
                raise SourceError(
                    f"{path} has no member {self.member!r}. It has: {', '.join(each.name for each in members[:12]) or 'none'}."
                )
            return found, ""
        tables = [each for each in members if each.size and not _IGNORED.search(each.name)]
        if not tables:
            raise SourceError(
                f"{path} has no file with data. It has: {', '.join(each.name for each in members[:8]) or 'none'}."
            )
        chosen, note = choose_members(str(path), tables, self.role)
        return sorted((each.name for each in chosen), key=natural_key), note


def _unpack_archive(engine: SqlEngine, path: Path, wanted: _Wanted) -> list[UnpackedFile]:
    """Return the file itself, or the files of one table in an archive."""
    try:
        with path.open("rb") as handle:
            head = handle.read(512)
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return _unpack_zip(engine, path, wanted)
        packer = next((magic for magic in _PACKERS if head.startswith(magic)), None)
        if packer is None:
            return (
                _unpack_tar(engine, path, wanted) if head[_TAR_MAGIC] == b"ustar" else [UnpackedFile(path, str(path))]
            )
        with _PACKERS[packer](path) as unpacked:
            is_tar = unpacked.read(512)[_TAR_MAGIC] == b"ustar"
        if is_tar:
            return _unpack_tar(engine, path, wanted)
        if packer == b"\x1f\x8b":
            return [UnpackedFile(path, str(path))]  # DuckDB reads it
        target = engine.new_path(path.name.removesuffix(path.suffix) if path.suffix in {".bz2", ".xz"} else path.name)
        with _PACKERS[packer](path) as source, target.open("wb") as copy:
            engine.copy_stream(source, copy, str(path))
        return [UnpackedFile(target, str(path), _tell(path, target.stat().st_size))]
    except _DAMAGED as error:
        raise SourceError(
            f"{path} cannot be unpacked: {error or 'it is cut'}. Check that it was copied completely, or unpack it "
            "yourself and pass the files."
        ) from error
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror or error}. Check the file and its permissions."
        ) from error


def _tell(path: Path, size: int) -> str:
    return f"{path} was unpacked to a temporary file of {format_bytes(size)}."


def _unpack_zip(engine: SqlEngine, path: Path, wanted: _Wanted) -> list[UnpackedFile]:
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        names = [member.filename for member in members]
        if "[Content_Types].xml" in names and any(name.startswith("xl/") for name in names):
            sheets, note = write_workbook(engine, path, wanted.role, wanted.member)
            is_whole = len(sheets) == 1 and not wanted.member
            labels = [str(path) if is_whole else f"{path}/{sheet.title}" for sheet in sheets]
            return [
                UnpackedFile(sheet.path, label, note if sheet is sheets[0] else "")
                for sheet, label in zip(sheets, labels, strict=True)
            ]
        if {"mimetype", "content.xml"} <= set(names):
            raise SourceError(
                f"{path} is a document of OpenOffice, not a log. Save its table as CSV, or as .xlsx; or pass it in Python: "
                f"ingest(pandas.read_excel({str(path)!r}, engine='odf'))."
            )
        if names and all(name.endswith(".npy") for name in names):
            raise SourceError(f"{path} has NumPy arrays, not a log. {advise_archive(archive, names, str(path))}")
        if any(member.flag_bits & 1 for member in members):
            raise SourceError(f"{path} is protected by a password. Unpack it, and pass the files.")

        def list_columns(name: str) -> list[str]:
            with archive.open(name) as begin:
                return read_columns(_unpack_head(begin.read(_HEAD)))

        sizes = {member.filename: member.file_size for member in members}
        chosen, note = wanted.choose(path, [Member(*each, partial(list_columns, each[0])) for each in sizes.items()])
        return _copy_members(engine, path, [(name, sizes[name], archive.open(name)) for name in chosen], note)


def _unpack_tar(engine: SqlEngine, path: Path, wanted: _Wanted) -> list[UnpackedFile]:
    with tarfile.open(path) as archive:
        members = {member.name: member for member in archive if member.isfile()}

        def read(name: str) -> IO[bytes]:
            found = archive.extractfile(members[name])
            assert found is not None  # noqa: S101 - a plain file has content
            return found

        def list_columns(name: str) -> list[str]:
            return read_columns(_unpack_head(read(name).read(_HEAD)))

        found = [Member(name, member.size, partial(list_columns, name)) for name, member in members.items()]
        chosen, note = wanted.choose(path, found)
        return _copy_members(engine, path, [(name, members[name].size, read(name)) for name in chosen], note)


def _unpack_head(data: bytes) -> bytes:
    """Return the first bytes of a member, unpacked where it is packed with gzip."""
    return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data) if data.startswith(b"\x1f\x8b") else data


def _copy_members(
    engine: SqlEngine, path: Path, members: list[tuple[str, int, IO[bytes]]], note: str
) -> list[UnpackedFile]:
    total = sum(size for _, size, _ in members)
    engine.check_disk(total, str(path))
    files: list[UnpackedFile] = []
    for name, _, source in members:
        target = engine.new_path(PurePosixPath(name).name)
        with contextlib.closing(source), target.open("wb") as copy:
            engine.copy_stream(source, copy, str(path))
        files.append(UnpackedFile(target, f"{path}/{name}", "" if files else f"{_tell(path, total)} {note}".strip()))
    return files
