"""Files of a path: a file, the files of a folder or of a pattern in natural order, and the partitions of their folders."""

import dataclasses
import glob
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from leanrec.data.ingest.forms.formats import SUFFIXES, name_format
from leanrec.errors import SourceError

__all__ = ["FoundFile", "find_files", "natural_key"]

# Files of formats that keep the rows of earlier versions.
_LAKEHOUSES = {
    "_delta_log/*.json": "Delta Lake",
    ".hoodie/*": "Apache Hudi",
    "metadata/*.metadata.json": "Apache Iceberg",
}
_HIDDEN = (".", "_")
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
# Parts of Hadoop and Spark (part-r-00000), Hive (000000_0_copy_1) and Redshift (unload_0000_part_00).
_PART = re.compile(
    r"(part-[\w-]+|\d+_\d+(_copy_\d+)?|[\w.-]*\d+_part_\d+)(\.(txt|dat|data|feather|arrow|orc|avro|snappy|c000))*(\.(gz|bz2|xz|zst))?"
)
# What differs between the parts of one table: numbers, times and hexadecimal digits.
_NUMBERS = re.compile(r"[0-9a-f]*\d[0-9a-f]*", re.IGNORECASE)
_ABOUT = re.compile(
    r"(readme|licen[cs]e|changelog|citation|manifest).*|.*\.(crc|md5|sha\d*|md|pdf|html?)", re.IGNORECASE
)
_PATTERN = re.compile(r"[*?\[]")


@dataclasses.dataclass(frozen=True)
class FoundFile:
    """A file of a source.

    Attributes:
        path: the file.
        partitions: name → value of the folders ``NAME=VALUE`` below the given one; None is a missing value.
        is_part: whether it was found in a folder or by a pattern, beside others.
        member: the name of a member of the file, an archive or a dump; "" where it is to be found.
    """

    path: Path
    partitions: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    is_part: bool = False
    member: str = ""


def natural_key(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts ``part-2`` before ``part-10``."""
    return [(int(each), "") if each.isdecimal() else (-1, each) for each in re.split(r"(\d+)", text)]


def find_files(path: Path) -> list[FoundFile]:
    """Return the files of a path. A file of that very name is the only one; a pattern is expanded where there is none.

    A path below a file, such as ``ml.zip/ratings.csv``, is a member of that file.

    Hidden files and folders, and names that begin with ``_``, are left out of folders. Raises SourceError where there is
    no file.
    """
    if (path / "manifest.json").is_file():
        raise SourceError(
            f"{path} is a folder that leanrec wrote, not a log, and cannot be read beside other files or as a table. "
            "If it is a data set, pass it alone; otherwise pass the log that it was made from."
        )
    if path.is_dir():
        for pattern, name in _LAKEHOUSES.items():
            if any(path.rglob(pattern)) or any(path.parent.glob(pattern)):
                raise SourceError(
                    f"{path} is a table of {name}: its files hold removed rows too. Read the table with the library that "
                    "wrote it, and pass the frame in Python: ingest(table.to_pandas()); or export it as Parquet."
                )
        return _list_folder(path)
    if path.exists():
        return [FoundFile(path)]
    if (container := next((each for each in path.parents if each.is_file()), None)) is not None:
        return [FoundFile(container, member=path.relative_to(container).as_posix())]
    if _PATTERN.search(str(path)):
        return _expand_pattern(path)
    try:
        near = sorted(each.name for each in path.parent.iterdir() if name_format(each))[:8]
    except OSError:
        near = []
    there = f" In {path.parent} there is: {', '.join(near)}." if near else ""
    raise SourceError(f"{path} does not exist.{there} Check the path.")


def _expand_pattern(path: Path) -> list[FoundFile]:
    names = [Path(name) for name in glob.glob(str(path), recursive=True)]  # noqa: PTH207 - the pattern may be absolute
    files = [each for each in names if each.is_file() and not each.name.startswith(_HIDDEN)]
    if not files:
        raise SourceError(f"No file matches {path}. Check the pattern; it is relative to {Path.cwd()}.")
    # The first folders, which every match has, are no partitions.
    fixed = itertools.takewhile(lambda part: not _PATTERN.search(part), path.parts)
    return _sort_files(files, Path(*fixed))


def _list_folder(path: Path) -> list[FoundFile]:
    visible = [
        each
        for each in path.rglob("*")
        if not any(part.startswith(_HIDDEN) for part in each.relative_to(path).parts) and each.is_file()
    ]
    files = [each for each in visible if name_format(each)]
    if not files:
        # Parts have no suffix, or one that says nothing about the format.
        others = [each for each in visible if not _ABOUT.fullmatch(each.name)]
        is_one = len({_NUMBERS.sub("", each.name) for each in others}) == 1
        files = others if is_one else [each for each in others if _PART.fullmatch(each.name)]
    if not files:
        listed = ", ".join(each.relative_to(path).as_posix() for each in sorted(visible)[:8]) or "none"
        raise SourceError(
            f"The folder {path} has no data. It must have files ending in {', '.join(SUFFIXES)}, or parts whose names differ in "
            f"numbers only. It has: {listed}. Pass the file that is the log."
        )
    return _sort_files(files, path)


def _sort_files(files: Sequence[Path], base: Path) -> list[FoundFile]:
    ordered = sorted(files, key=lambda each: [natural_key(part) for part in each.parts])
    return [FoundFile(each, _read_partitions(each, base), is_part=True) for each in ordered]


def _read_partitions(path: Path, base: Path) -> dict[str, str | None]:
    """Return the name and value of each folder ``NAME=VALUE`` between ``base`` and the file."""
    found: dict[str, str | None] = {}
    folders = path.parent.parts[len(base.parts) :]
    for folder in folders:
        name, equals, value = folder.partition("=")
        if equals and name:
            found[unquote(name)] = None if value == _NULL_PARTITION else unquote(value)
    return found
