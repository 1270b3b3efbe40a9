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
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

from leanrec.data.engine import SqlEngine
from leanrec.data.ingest.forms.folders import natural_key
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


def unpack_file(engine: SqlEngine, path: Path) -> list[UnpackedFile]:
    """Return the file itself, or the files in it. Copies are in the folder of the engine and are removed with it.

    Raises SourceError where an archive is damaged or has several tables, and BudgetError where the disk is too small.
    Cost: O(bytes unpacked) time and disk.
    """
    try:
        with path.open("rb") as handle:
            head = handle.read(512)
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return _unpack_zip(engine, path)
        packer = next((magic for magic in _PACKERS if head.startswith(magic)), None)
        if packer is None:
            return _unpack_tar(engine, path) if head[_TAR_MAGIC] == b"ustar" else [UnpackedFile(path, str(path))]
        with _PACKERS[packer](path) as unpacked:
            is_tar = unpacked.read(512)[_TAR_MAGIC] == b"ustar"
        if is_tar:
            return _unpack_tar(engine, path)
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


def _unpack_zip(engine: SqlEngine, path: Path) -> list[UnpackedFile]:
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        names = [member.filename for member in members]
        if "[Content_Types].xml" in names and any(name.startswith("xl/") for name in names):
            target, note = write_workbook(engine, path)
            return [UnpackedFile(target, str(path), note)]
        if names and all(name.endswith(".npy") for name in names):
            raise SourceError(
                f"{path} has NumPy arrays, not a log. Pass them in Python: ingest(pandas.DataFrame({{…}}))."
            )
        if any(member.flag_bits & 1 for member in members):
            raise SourceError(f"{path} is protected by a password. Unpack it, and pass the files.")
        chosen = _choose_members(path, [(member.filename, member.file_size) for member in members])
        return _copy_members(engine, path, [(name, size, archive.open(name)) for name, size in chosen])


def _unpack_tar(engine: SqlEngine, path: Path) -> list[UnpackedFile]:
    with tarfile.open(path) as archive:
        members = {member.name: member for member in archive if member.isfile()}
        chosen = _choose_members(path, [(name, member.size) for name, member in members.items()])

        def read(name: str) -> IO[bytes]:
            found = archive.extractfile(members[name])
            assert found is not None  # noqa: S101 - a plain file has content
            return found

        return _copy_members(engine, path, [(name, size, read(name)) for name, size in chosen])


def _choose_members(path: Path, members: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return the name and size of the members that are parts of one table."""
    tables = [(name, size) for name, size in members if size and not _IGNORED.search(name)]
    if not tables:
        raise SourceError(
            f"{path} has no file with data. It has: {', '.join(name for name, _ in members[:8]) or 'none'}."
        )
    # Parts of one table differ in their numbers only.
    if len({re.sub(r"\d+", "", PurePosixPath(name).name) for name, _ in tables}) > 1:
        raise SourceError(
            f"{path} must have one table, in one file or in parts with numbered names. It has "
            f"{', '.join(name for name, _ in tables[:8])}. Unpack it, and pass the file that is the log."
        )
    return sorted(tables, key=lambda member: natural_key(member[0]))


def _copy_members(engine: SqlEngine, path: Path, members: list[tuple[str, int, IO[bytes]]]) -> list[UnpackedFile]:
    total = sum(size for _, size, _ in members)
    engine.check_disk(total, str(path))
    files: list[UnpackedFile] = []
    for name, _, source in members:
        target = engine.new_path(PurePosixPath(name).name)
        with contextlib.closing(source), target.open("wb") as copy:
            engine.copy_stream(source, copy, str(path))
        files.append(UnpackedFile(target, f"{path}/{name}", "" if files else _tell(path, total)))
    return files
