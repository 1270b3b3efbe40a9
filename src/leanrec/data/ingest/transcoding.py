"""Text in another encoding, written anew as UTF-8 before it is read."""

import codecs
import gzip
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from leanrec.errors import SettingError, SourceError

if TYPE_CHECKING:
    from leanrec.data.engine import SqlEngine

__all__ = ["check_encoding", "recoded"]

_BLOCK = 1_000_000
_EXAMPLES = "cp1252, latin-1, gbk, big5, shift_jis, euc_kr or utf-16"


def check_encoding(name: str) -> None:
    """Raise SettingError unless ``name`` is an encoding of text."""
    try:
        known = codecs.lookup(name)._is_text_encoding  # noqa: SLF001 - there is no public way to tell base64 from text
    except LookupError:
        known = False
    if not known:
        raise SettingError(f"encoding must be one that Python knows, such as {_EXAMPLES}. Got {name!r}.")


def recoded(engine: "SqlEngine", path: Path) -> Path:
    """The file itself where its text is read as it is; else a copy in UTF-8, which goes with the engine.

    Cost O(bytes), and as much disk. Raises SourceError with file, line and option where the bytes are none of
    ``engine.encoding``.
    """
    if engine.encoding is None or _is_parquet(path):
        return path
    if path.suffix.lower() == ".zst":
        raise SourceError(f"{path}: text in another encoding is read as it is or packed as .gz. Unpack the file first.")
    folder = engine.folder / "recoded" / str(engine.next_number())
    target = folder / (path.stem if path.suffix.lower() == ".gz" else path.name)
    try:
        folder.mkdir(parents=True)
        with _opened(path) as source, target.open("wb") as copy:
            _write(source, copy, engine.encoding, path)
    except OSError as error:
        raise SourceError(f"{path} cannot be read as {engine.encoding}: {error.strerror or error}.") from error
    return target


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            return handle.read(4) == b"PAR1"
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error


def _opened(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


def _write(source: BinaryIO, copy: BinaryIO, encoding: str, path: Path) -> None:
    decoder, lines, first = codecs.getincrementaldecoder(encoding)("strict"), 1, True
    while True:
        data = source.read(_BLOCK)
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(encoding, "ignore").count("\n")
            raise SourceError(
                f"{path}, line {lines + before:,}: byte 0x{error.object[error.start]:02x} is no {encoding}. "
                f"Name the encoding that the file has: --encoding NAME, or encoding=NAME, such as {_EXAMPLES}."
            ) from error
        copy.write((text.removeprefix("\ufeff") if first else text).encode("utf-8", "replace"))
        lines, first = lines + text.count("\n"), first and not text
        if not data:
            return
