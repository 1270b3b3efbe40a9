"""Known data sets: how published files are read, declared in ``known_sets.toml`` or in a file of the user."""

import dataclasses
import difflib
import functools
import gzip
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leanrec.errors import SettingError, SourceError

__all__ = ["KnownDataset", "find_known", "list_known", "recognize"]

_BUILT_IN = Path(__file__).with_name("known_sets.toml")
_PACKED = ("", ".gz", ".zst", ".bz2", ".zip", ".parquet")
_TABLES = ("items", "users", "item_links", "user_links")
_HEAD = 65_536


@dataclasses.dataclass(frozen=True)
class KnownDataset:
    """How the files of one data set are read.

    Attributes:
        name: its name, for ``known_as``.
        about: what it is.
        log: file of the log in the folder, or several names of which the first that exists is read, or event type → file, or
            ``"sql:SELECT …"`` in which ``{folder}`` stands for the folder.
        certain: patterns of files that must all exist for the folder to be recognized; empty = it never is.
        shape: regular expression for the first line of a recognized log.
        tables: "items", "users", "item_links", "user_links" → file, or several names; read where they exist.
        settings: further arguments of ``leanrec.ingest``.
    """

    name: str
    about: str
    log: Any
    certain: tuple[str, ...]
    shape: str
    tables: Mapping[str, Any]
    settings: Mapping[str, Any]

    def to_arguments(self, source: Path) -> dict[str, Any]:
        """Return the arguments of ``leanrec.ingest`` for a folder, or for the file of the log in it.

        Raises SourceError if the log is not there.
        """
        folder = source if source.is_dir() else source.parent
        tables = {role: found for role, names in self.tables.items() if (found := _find_files(folder, names))}
        # One table is one file.
        return {"source": self._find_log(source), **self.settings, **{role: found[0] for role, found in tables.items()}}

    def _find_log(self, source: Path) -> Any:
        if not source.is_dir():
            return source
        if isinstance(self.log, str) and self.log.startswith("sql:"):
            return self.log.replace("{folder}", str(source).replace("'", "''"))
        if isinstance(self.log, Mapping):
            found = {kind: _find_files(source, names) for kind, names in self.log.items()}
            if any(found.values()):
                return {kind: paths[0] for kind, paths in found.items() if paths}
        elif paths := _find_files(source, self.log):
            return list(paths) if len(paths) > 1 else paths[0]
        wanted = (
            self.log.values()
            if isinstance(self.log, Mapping)
            else [self.log]
            if isinstance(self.log, str)
            else self.log
        )
        there = ", ".join(sorted(path.name for path in source.iterdir())[:10]) or "nothing"
        raise SourceError(f"{self.name} needs {' or '.join(map(str, wanted))} in {source}. There is: {there}.")


def find_known(name: str | Path) -> KnownDataset:
    """Return a known data set by name, or the one that a TOML file declares. Raises SettingError, with the nearest name."""
    if Path(name).suffix.lower() == ".toml":
        return next(iter(_read_declarations(Path(name)).values()))
    known = list_known()
    if str(name) in known:
        return known[str(name)]
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise SettingError(
        f"known_as must be none, the path of a .toml file, or one of {', '.join(known)}. Got {str(name)!r}.{hint}"
    )


@functools.cache
def list_known() -> dict[str, KnownDataset]:
    """Return name → known data set, of those that come with leanrec."""
    return _read_declarations(_BUILT_IN)


def recognize(source: object) -> KnownDataset | None:
    """Return the known data set that a folder certainly is, by the names of its files and the first line of its log."""
    if not isinstance(source, str | Path) or not Path(source).is_dir():
        return None
    folder = Path(source)
    return next((known for known in list_known().values() if _is_certain(known, folder)), None)


def _is_certain(known: KnownDataset, folder: Path) -> bool:
    if not known.certain or not all(_find_files(folder, name) for name in known.certain):
        return False
    if not known.shape:
        return True
    names = next(iter(known.log.values())) if isinstance(known.log, Mapping) else known.log
    found = _find_files(folder, names)
    if not found:
        return False
    try:
        with gzip.open(found[0]) if found[0].suffix == ".gz" else found[0].open("rb") as handle:
            head = handle.read(_HEAD)
    except OSError:
        return False
    first = head.decode("utf-8-sig", errors="replace").partition("\n")[0].rstrip("\r")
    return re.fullmatch(known.shape, first) is not None


def _find_files(folder: Path, names: Any) -> tuple[Path, ...]:
    """Return the files of the first name or pattern that has any; packed files count."""
    for name in [names] if isinstance(names, str) else names:
        for ending in _PACKED:
            if found := sorted(path for path in folder.glob(name + ending) if path.is_file()):
                return tuple(found)
    return ()


def _read_declarations(path: Path) -> dict[str, KnownDataset]:
    """Return name → data set of a TOML file: one table for each, or the fields of one at the top level."""
    try:
        declared = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror or error}. Check the path.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} must be TOML: {error}.") from error
    if "log" in declared:
        declared = {path.stem: declared}
    if not declared:
        raise SettingError(f'{path} must declare a data set: at least log = "FILE". It is empty.')
    allowed = {"about", "log", "certain", "shape", "settings", *_TABLES}
    found = {}
    for name, fields in declared.items():
        if not isinstance(fields, dict) or "log" not in fields:
            raise SettingError(f'{path}: {name} must have log = "FILE".')
        if unknown := sorted(fields.keys() - allowed):
            raise SettingError(f"{path}: {name} must have the fields {', '.join(sorted(allowed))}. Got {unknown[0]!r}.")
        found[name] = KnownDataset(
            name=name,
            about=fields.get("about", ""),
            log=fields["log"],
            certain=tuple(fields.get("certain", ())),
            shape=fields.get("shape", ""),
            tables={role: fields[role] for role in _TABLES if role in fields},
            settings=fields.get("settings", {}),
        )
    return found
