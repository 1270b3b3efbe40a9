"""Known data sets: how published files are read, declared in ``known_sets.toml`` or in a file of the user."""

import bz2
import dataclasses
import difflib
import fnmatch
import functools
import gzip
import lzma
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import duckdb

from leanrec.errors import SettingError, SourceError

__all__ = ["KnownDataset", "find_known", "list_known", "recognize"]

_BUILT_IN = Path(__file__).with_name("known_sets.toml")
_PACKED = ("", ".gz", ".zst", ".bz2", ".xz", ".zip", ".parquet")
# Forms into which the text of a data set is often converted: those with types, and other text.
_TYPED = (".parquet", ".feather", ".arrow", ".orc", ".avro", ".xlsx", ".jsonl", ".ndjson", ".json")
_TEXTS = (".csv", ".tsv", ".txt")
_OF_TEXT = ("names", "delimiter", "encoding")
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
# Table → settings of ingest about it, and what the roles of its columns begin with.
_TABLES = {
    "items": ("item_names", "items."),
    "users": ("user_names", "users."),
    "item_links": ("", "item_links."),
    "user_links": ("", "user_links."),
}
_HEAD = 65_536


@dataclasses.dataclass(frozen=True)
class KnownDataset:
    r"""How the files of one data set are read.

    Attributes:
        name: its name, for ``known_as``.
        about: what it is.
        log: file of the log in the folder, or several names of which the first that exists is read, or event type → file, or
            ``"sql:SELECT …"`` in which ``{folder}`` stands for the folder.
        certain: patterns of files that must all exist for the folder to be recognized; empty = it never is.
        shape: regular expression for the first line of a recognized log (the columns of Parquet, with commas), and for the second
            after ``\n``; empty = a single file is not recognized.
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

    def to_arguments(self, source: Any, given: Mapping[str, Any], *, alone: bool = False) -> dict[str, Any]:
        """Return the arguments of ``leanrec.ingest`` for a folder, or for files of the log in it.

        Args:
            source: the folder, a file, or a list of files.
            given: tables that are given, which take precedence over those of the folder.
            alone: read no tables beside a file.

        Raises SourceError if the log is not there.
        """
        first = Path(source[0] if isinstance(source, list | tuple) else source).expanduser()
        found = {} if alone and not (first.is_dir() or self.is_query) else self.find_tables(first)
        found |= {role: given[role] for role in _TABLES if given.get(role) is not None}
        settings = dict(self.settings)
        for role, (names, begin) in _TABLES.items():
            # The settings of a table hold for the file of that name, and for no other one.
            paths = found.get(role, ())
            paths = paths if isinstance(paths, list | tuple) else [paths]
            declared = self.tables.get(role, ())
            if not paths or not all(isinstance(each, str | os.PathLike) and _matches(each, declared) for each in paths):
                settings.pop(names, None)
                columns = settings.get("columns", {})
                settings["columns"] = {key: name for key, name in columns.items() if not key.startswith(begin)}
            elif any(_find_form(each, declared) in _TYPED for each in paths):
                settings.pop(names, None)
        log = source if isinstance(source, list | tuple) else self._find_log(first)
        if not self.is_query:
            settings = self._fit_settings(settings, log)
        return {"source": log, **settings, **found}

    def _fit_settings(self, settings: Mapping[str, Any], log: Any) -> dict[str, Any]:
        """Return the settings without those about the text of the log, where its files were converted into another form."""
        paths = list(log.values()) if isinstance(log, Mapping) else log if isinstance(log, list | tuple) else [log]
        names = [name for each in self._logs.values() for name in _list_names(each)]
        forms = {_find_form(each, names) for each in paths if isinstance(each, str | os.PathLike)}
        lost = _OF_TEXT if forms & {*_TYPED} else ("delimiter",) if forms & {*_TEXTS} else ()
        return {name: value for name, value in settings.items() if name not in lost}

    def explain(self, source: Any) -> str:
        """Return the sentence of a report about a source that was recognized, and how to read it otherwise."""
        first = Path(source[0] if isinstance(source, list | tuple) else source).expanduser()
        note = f"Read as the known data set {self.name} ({self.about})."
        if not first.is_dir() and not self.is_query and (tables := self.find_tables(first)):
            beside = [path.name for each in tables.values() for path in (each if isinstance(each, list) else [each])]
            note += f' To read {", ".join(beside)} beside it too, pass known_as="{self.name}".'
        what = "folder" if first.is_dir() else "file"
        return f'{note} To read it as any other {what}, pass known_as="none".'

    def find_tables(self, source: Path) -> dict[str, Any]:
        """Return table → its file, or files, that are in a folder, or beside a file of the log and named like it."""
        folder, stem = source, ""
        if not source.is_dir():
            folder, stem = source.parent, _strip_packing(source.name).partition(".")[0].removeprefix("reviews_")
        found: dict[str, Any] = {}
        for role, names in self.tables.items():
            own = [name.replace("*", stem) for name in _list_names(names) if "*" in name] if stem else []
            paths = _find_files(folder, own, any_form=True) or _find_files(folder, names, any_form=True)
            if paths and (len(paths) == 1 or not stem):
                found[role] = paths[0] if len(paths) == 1 else list(paths)
        return found

    def names_log(self, path: Path) -> bool:
        """Whether a file has a name of the log, or is one of the files that the query of the log reads."""
        names = self.certain if self.is_query else [name for each in self._logs.values() for name in _list_names(each)]
        return _matches(path, names)

    @property
    def is_query(self) -> bool:
        """Whether the log is a query over several files."""
        return isinstance(self.log, str) and self.log.startswith("sql:")

    @property
    def _logs(self) -> Mapping[str, Any]:
        """Event type → names of the file, or "" → names of the log."""
        return self.log if isinstance(self.log, Mapping) else {"": self.log}

    def _find_log(self, source: Path) -> Any:
        folder = source if source.is_dir() else source.parent
        if self.is_query:
            return self.log.replace("{folder}", str(folder).replace("'", "''"))
        if not source.is_dir():
            kind = next((kind for kind, names in self._logs.items() if _matches(source, names)), "")
            return {kind: source} if kind else source
        found = {
            kind: paths for kind, names in self._logs.items() if (paths := _find_files(source, names, any_form=True))
        }
        if not found:
            wanted = " or ".join(", ".join(_list_names(names)) for names in self._logs.values())
            there = ", ".join(sorted(path.name for path in source.iterdir())[:10]) or "nothing"
            raise SourceError(f"{self.name} needs {wanted} in {source}. There is: {there}.")
        if isinstance(self.log, Mapping):
            return {kind: paths[0] for kind, paths in found.items()}
        return list(found[""]) if len(found[""]) > 1 else found[""][0]


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
    """Return the known data set that a source certainly is, None where there is a doubt.

    A folder is known by the names of its files and the first line of its log. A file of a log is known by its name and first
    line, unless the declaration would change nothing. Of several files each must be of the same data set.
    """
    if isinstance(source, list | tuple):
        found = [None if isinstance(each, list | tuple) else recognize(each) for each in source]
        if any(
            known is not None and Path(each).expanduser().is_dir() for each, known in zip(source, found, strict=True)
        ):
            return None
        known = found[0] if found and all(each is found[0] for each in found) else None
        return None if known is None or isinstance(known.log, Mapping) or known.is_query else known
    if not isinstance(source, str | Path):
        return None
    # Unlike Path.exists, this has an answer for a query that is longer than any name of a file.
    if not os.path.exists(os.path.expanduser(source)):  # noqa: PTH110, PTH111
        return None
    path = Path(source).expanduser()
    return next((known for known in list_known().values() if _is_certain(known, path)), None)


def _is_certain(known: KnownDataset, path: Path) -> bool:
    """Whether a folder has the files of a data set, or a file is the log of one for which settings are declared."""
    if not path.is_dir():
        if not known.names_log(path) or not (known.settings or known.is_query or isinstance(known.log, Mapping)):
            return False
        if not known.is_query:
            return bool(known.shape) and _has_shape(known, path)
        path = path.parent
    if not known.certain or not all(_find_files(path, name) for name in known.certain):
        return False
    if not known.shape:
        return True
    names = next(iter(known.log.values())) if isinstance(known.log, Mapping) else known.log
    found = _find_files(path, known.certain[0] if known.is_query else names)
    return bool(found) and _has_shape(known, found[0])


def _has_shape(known: KnownDataset, path: Path) -> bool:
    """Whether the first line of a file is that of the log; of Parquet, the names of its columns with commas."""
    try:
        if path.suffix.lower() == ".parquet":
            with duckdb.connect() as connection:
                described = connection.execute("SELECT * FROM read_parquet(?) LIMIT 0", [str(path)]).description
            return re.fullmatch(known.shape, ",".join(column[0] for column in described or ())) is not None
        with _OPENERS.get(path.suffix.lower(), open)(path, "rb") as handle:
            head = handle.read(_HEAD)
    except (OSError, EOFError, lzma.LZMAError, duckdb.Error):
        return False
    lines = re.split(r"\r\n|\n|\r", head.decode("utf-8-sig", errors="replace"))
    return re.fullmatch(known.shape, "\n".join(lines[: 1 + known.shape.count("\\n")])) is not None


def _list_names(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _strip_packing(name: str) -> str:
    """Return the name of a file without the ending of its packing."""
    return next((name[: -len(ending)] for ending in _PACKED[1:] if name.lower().endswith(ending)), name)


def _matches(path: str | os.PathLike[str], names: Any) -> bool:
    """Whether a file, packed or converted or not, has one of the names or patterns."""
    return _find_form(path, names) is not None


def _find_form(path: str | os.PathLike[str], names: Any) -> str | None:
    """Return "" for a file that has one of the names or patterns, the ending of another form of it, None for another file."""
    name = Path(path).name
    plain = {name, _strip_packing(name)}
    patterns = [pattern.rpartition("/")[2] for pattern in _list_names(names)]
    if any(fnmatch.fnmatchcase(each, pattern) for each in plain for pattern in patterns):
        is_declared = any(pattern.lower().endswith(".parquet") for pattern in patterns)
        return ".parquet" if name.lower().endswith(".parquet") and not is_declared else ""
    if name.lower().endswith(".zip"):
        plain |= {f"{_strip_packing(name)}{Path(pattern).suffix}" for pattern in patterns}
        return "" if any(fnmatch.fnmatchcase(each, pattern) for each in plain for pattern in patterns) else None
    for pattern in patterns:
        for form, other in _list_other_names(pattern):
            if any(fnmatch.fnmatchcase(each, other) for each in plain):
                return form
    return None


@functools.cache
def _list_other_names(name: str) -> tuple[tuple[str, str], ...]:
    """Return (ending, name) of the other forms of a file. Kept, because every file is compared with all that are known."""
    return tuple((form, Path(name).stem + form) for form in _list_forms(name))


def _list_forms(name: str) -> list[str]:
    """Return the endings of the other forms of a file; none where its name has no ending of a table."""
    ending = Path(name).suffix.lower()
    return (
        [form for form in (*_TYPED, *_TEXTS) if form != ending] if ending in {*_TEXTS, *_TYPED, ".dat", ".data"} else []
    )


def _find_files(folder: Path, names: Any, *, any_form: bool = False) -> tuple[Path, ...]:
    """Return the files of the first name or pattern that has any; packed files count, and with ``any_form`` converted ones.

    A file in the form that is declared comes first.
    """
    wanted = _list_names(names)
    if any_form:
        wanted += [str(Path(name).with_suffix(form)) for name in wanted for form in (*_list_forms(name), ".zip")]
    for name in wanted:
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
