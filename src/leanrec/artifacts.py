"""Storage of frozen dataclasses of arrays: a folder with JSON and .npy files, no pickle.

``manifest.json`` has the type id, the plain fields, the versions of format and code, free-form provenance, the file, type,
shape and SHA-256 of every array, and the SHA-256 of all that. A folder loads only if every byte verifies, its arrays are as
long as their files, and every object is as its class declares (`leanrec.field_checks`). A new artifact
is moved into place by one rename, so that a partially written one never loads. Replacing an older one takes two renames;
a crash between them leaves the older one in ``.<name>-old-…``.
"""

import contextlib
import dataclasses
import glob
import hashlib
import importlib
import itertools
import json
import math
import os
import shlex
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec._version import __version__
from leanrec.errors import ArtifactError, LeanrecError, MissingExtraError
from leanrec.field_checks import check_bounds, check_codes, check_fields
from leanrec.finiteness import check_finite
from leanrec.pacing import pause

__all__ = [
    "FORMAT",
    "check_free",
    "copy",
    "load",
    "read_digest",
    "read_manifest",
    "replace_file",
    "save",
    "size_of",
    "type_id",
]

FORMAT = 3
_OLD = "artifact"  # in the folder for what is replaced
_MANIFEST = "manifest.json"
_MAPPED_FROM = 16_000_000
# JSON takes up to 20 times its size in memory; what is large is in arrays.
_MAX_MANIFEST = 16_000_000
_NUMBER_KINDS = "biufUS"
_TEXTS_AT_ONCE = 1_024
_HASHED_AT_ONCE = 2**20
# Modules of the saved classes outside the modules of models, by the first part of their type id. A module that moves
# changes its line here, and saved artifacts stay readable.
_HOMES = {
    "types": "leanrec.types",
    "conventions": "leanrec.data.conventions",
    "dataset": "leanrec.data.dataset",
    "table": "leanrec.data.table",
    "vocabulary": "leanrec.data.vocabulary",
    "links": "leanrec.data.links",
    "simulation": "leanrec.data.datasets.simulation",
    "pipeline": "leanrec.pipeline.snapshot",
    "recorded_state": "leanrec.pipeline.recorded_state",
    "sources": "leanrec.pipeline.lists.sources",
    "approximate": "leanrec.retrieval.approximate",
    "packed_weights": "leanrec.compression.weights.packed_weights",
    "compressed_weights": "leanrec.compression.weights.compressed_weights",
    "new_items": "leanrec.pipeline.lists.new_items",
    "rating_bias": "leanrec.kernels.solvers.rating_bias",
    "profiles": "leanrec.features.profiles",
    "aggregation": "leanrec.kernels.similarity.aggregation",
    "similarity": "leanrec.kernels.similarity.top_similar",
    "spectral": "leanrec.kernels.graph.spectral",
    "features.base": "leanrec.features.base",
    "features.categorical": "leanrec.features.categorical",
    "features.column_types": "leanrec.features.column_types",
    "features.embedding": "leanrec.features.embedding",
    "features.knowledge": "leanrec.features.knowledge",
    "features.numeric": "leanrec.features.numeric",
    "features.pipeline": "leanrec.features.pipeline",
    "features.reduction": "leanrec.features.reduction",
    "features.selection": "leanrec.features.selection",
    "features.sentiment": "leanrec.features.sentiment",
    "features.temporal": "leanrec.features.temporal",
    "features.text": "leanrec.features.text",
    "features.topics": "leanrec.features.topics",
    "fields": "leanrec.kernels.layers.field_layers",
    "ctr.models": "leanrec.models.ctr.core.models",
    "ctr.rows": "leanrec.models.ctr.core.rows",
    "ctr.examples": "leanrec.models.ctr.core.examples",
    "sequential.models": "leanrec.models.sequential.core.models",
    "sequential.item_content": "leanrec.models.sequential.core.item_content",
    "graph.training": "leanrec.models.graph.core.training",
    "deep.fold_in": "leanrec.models.deep.core.fold_in",
    "coded_network": "leanrec.compression.coded_network",
    "compressed_encoder": "leanrec.compression.compressed_encoder",
    "compressed_neumf": "leanrec.compression.compressed_neumf",
    "compressed_factors": "leanrec.compression.compressed_factors",
    "codes.half": "leanrec.compression.vectors.half",
    "codes.offsets": "leanrec.compression.vectors.offsets",
    "codes.mapped": "leanrec.compression.vectors.mapped",
    "codes.product": "leanrec.compression.vectors.product",
    "codes.axes": "leanrec.compression.vectors.axes",
    "codes.rows": "leanrec.kernels.topk.code_search",
    "codes.scalar": "leanrec.compression.vectors.scalar",
}
# Advice as calls of the library, which the command line shows as commands.
_FIT = "Pipeline.fit(get_model({!r})(), ingest({!r})[0]).save({!r})"
_INGEST = "save(ingest({!r})[0], {!r})"
# Artifacts that users save: a description, and advice where another one is expected.
_DESCRIPTIONS = {
    "Dataset": ("a data set", "Fit a model on it first: " + _FIT.format("MODEL", "{}", "FOLDER") + "."),
    "SavedPipeline": ("a fitted model", "Name a data set, or the log that the model was fitted on."),
}


def save(
    value: Any, path: str | Path, *, provenance: Mapping[str, Any] | None = None, link_from: Path | None = None
) -> Path:
    """Write a frozen dataclass to the folder ``path``, replacing an older artifact there.

    Fields may be numbers, strings, None, arrays, CSR matrices, tuples, dictionaries with string keys, and
    dataclasses of these. Raises ArtifactError if ``path`` exists and is not an artifact, if it cannot be written, or if
    ``value`` holds anything else, and DataError if an object is not as its class declares or a model is not finite.

    Args:
        value: what to save.
        path: the folder.
        provenance: free-form description of the origin of the value.
        link_from: a folder of .npy files that are no longer written to. An array that maps a whole one of them is saved
            by a hard link, without reading it into memory.
    """
    target = Path(path)
    check_free(target)
    with _stage_artifact(target) as staging:
        writer = _Writer(staging, link_from)
        manifest = {
            "format": FORMAT,
            "leanrec": __version__,
            "value": writer.encode(value, "value"),
            "arrays": writer.arrays,
            "provenance": dict(provenance or {}),
        }
        text = json.dumps(manifest | {"sha256": _manifest_digest(manifest)}, indent=1).encode()
        if len(text) > _MAX_MANIFEST:
            raise ArtifactError(
                f"{target} must have a manifest of at most {_MAX_MANIFEST} bytes. Got {len(text)}. Use arrays."
            )
        _write(staging / _MANIFEST, text)
    return target


def check_free(path: str | Path) -> None:
    """Raise ArtifactError if ``path`` is something else than an artifact, or in a folder that cannot be written to."""
    target = Path(path)
    if target.exists() and not (target / _MANIFEST).exists():
        raise ArtifactError(f"{target} exists and is not a leanrec artifact, so it is left alone. Choose another path.")
    parent = next(each for each in target.absolute().parents if each.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise ArtifactError(f"Cannot write {target}: {parent} is not a folder that may be written to.")


def load(path: str | Path, kind: type | None = None, *, mapped: bool = False) -> Any:
    """Read what ``save`` wrote. Raises ArtifactError unless every byte verifies and every object is as its class declares.

    An artifact that is replaced meanwhile is read again, so that what is returned is one of the two as a whole. Raises MissingExtraError if it is of a class that needs a package which is not installed. Memory: at most three times
    the size of the folder, whatever it holds. A class with the attribute ``MAPPED_FROM`` has its arrays of so many bytes and more
    mapped from their files in any case.

    Args:
        path: the folder.
        kind: the class it must be, or None for any.
        mapped: map arrays of 16 MB and more from their files, read-only, instead of reading them into memory.
    """
    folder = Path(path)
    while True:
        before = _identify(folder)
        try:
            value = _read(folder, kind, mapped=mapped)
        except ArtifactError:
            if _identify(folder) == before:
                raise
        else:
            if _identify(folder) == before:
                return value


def _identify(folder: Path) -> tuple[int, int, int] | None:
    """What tells a folder from another one that has taken its place. None if there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _read(folder: Path, kind: type | None, *, mapped: bool) -> Any:
    manifest = read_manifest(folder)
    _check_kind(folder, manifest["value"], kind)
    try:
        value = _Reader(folder, manifest, mapped=mapped).decode(manifest["value"])
    except (ArtifactError, MissingExtraError):
        raise
    except (
        LeanrecError,
        ArithmeticError,
        AttributeError,
        LookupError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise ArtifactError(f"{folder} does not verify: {reason}. {_describe_versions(manifest)}") from error
    if kind is not None and not isinstance(value, kind):
        raise ArtifactError(f"{folder} must hold a {kind.__name__}. It holds a {type(value).__name__}.")
    return value


def copy(source: str | Path, target: str | Path, *, digest: str | None = None) -> Path:
    """Copy an artifact to a new folder, by hard links where the file system has them. Raises ArtifactError.

    Every byte is verified, so a damaged artifact is not copied. The files of an artifact are replaced, never changed, so
    the copy stays as it is when the source is replaced. Cost: one pass over the files.

    Args:
        source: the artifact.
        target: the new folder.
        digest: SHA-256 that the artifact must have; None = any.
    """
    folder, path = Path(source), Path(target)
    before = _identify(folder)
    manifest = read_manifest(folder)
    reader = _Reader(folder, manifest)
    if path.exists():
        raise ArtifactError(f"{path} must be a new folder. It exists; choose another path.")
    with _stage_artifact(path) as staging:
        try:
            for name in reader.arrays:
                file = reader.find_file(name)
                _link_or_copy(file, staging / file.name)
            _link_or_copy(folder / _MANIFEST, staging / _MANIFEST)
        finally:  # says so instead of what was found in the middle
            if _identify(folder) != before or digest not in {None, _manifest_digest(manifest)}:
                raise ArtifactError(f"{folder} must not be replaced while it is copied. It was; copy it again.")
    return path


@contextlib.contextmanager
def _stage_artifact(target: Path) -> Iterator[Path]:
    """A temporary folder for the files of an artifact, moved to ``target`` at the end of the block.

    Raises ArtifactError if they cannot be written; what was at ``target`` then stays.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise ArtifactError(f"Cannot write {target}: {error.strerror or error}.") from error
    try:
        yield staging
        _move_into_place(staging, target)
    except OSError as error:
        raise ArtifactError(f"Cannot write {target}: {error.strerror or error}. Nothing was changed there.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def read_digest(path: str | Path) -> str:
    """SHA-256 of an artifact: of its manifest, which has that of every array. Raises ArtifactError."""
    return _manifest_digest(read_manifest(path))


def _check_kind(folder: Path, value: Any, kind: type | None) -> None:
    """Raise for a data set where a model is expected and vice versa, before reading arrays."""
    held = value.get("$type", "") if isinstance(value, dict) else ""
    held = held.partition("/")[0].rpartition(".")[2] if isinstance(held, str) else ""
    if kind is None or kind.__name__ == held or {held, kind.__name__} - set(_DESCRIPTIONS):
        return
    raise ArtifactError(
        f"{folder} is {_DESCRIPTIONS[held][0]}, not {_DESCRIPTIONS[kind.__name__][0]}. {_DESCRIPTIONS[held][1].format(folder)}"
    )


def read_manifest(path: str | Path) -> dict[str, Any]:
    """The manifest of an artifact, checked for its format. Raises ArtifactError."""
    file = Path(path) / _MANIFEST
    try:
        if file.stat().st_size > _MAX_MANIFEST:
            raise ArtifactError(
                f"{file} must have at most {_MAX_MANIFEST} bytes. It has more, so it was not read. Make it again."
            )
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        if not Path(path).exists():
            raise ArtifactError(_describe_missing(Path(path))) from error
        what = f"a folder without {_MANIFEST}" if Path(path).is_dir() else "a file"
        fit = _FIT.format("MODEL", str(path), "FOLDER")
        raise ArtifactError(
            f"{path} is not a leanrec artifact: it is {what}. If it is a log, fit a model on it: {fit}."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{file} cannot be read: {error}. The artifact is damaged; make it again.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or "value" not in manifest:
        raise ArtifactError(_describe_format(Path(path), manifest))
    if manifest.pop("sha256", None) != _manifest_digest(manifest):
        raise ArtifactError(f"{file} is damaged or was edited: its SHA-256 is not the one it names. Make it again.")
    return manifest


def _describe_missing(path: Path) -> str:
    """Message for a path at which nothing is, because it is wrong, or because a process ended while it replaced an artifact."""
    for before in path.parent.glob(f"{glob.escape(_name_old(path))}*/{_OLD}"):
        move = shlex.join(["mv", str(before), str(path)])
        return (
            f"{path} must be an artifact. It was being replaced when that was cut off. Move back what was there: {move}"
        )
    return f"{path} does not exist, so it is not a leanrec artifact. Check the path."


def _describe_format(path: Path, manifest: Any) -> str:
    """Message for an artifact of another format, with the call that makes it again where the origin is known."""
    found = manifest.get("format") if isinstance(manifest, dict) else None
    made = manifest.get("provenance") if isinstance(manifest, dict) else None
    made = made if isinstance(made, dict) else {}
    data = made["data"] if isinstance(made.get("data"), dict) else {}
    again = (
        _INGEST.format("LOG", str(path))
        if "report" in made
        else _FIT.format(made.get("model", "MODEL"), data.get("source") or "LOG", str(path))
    )
    wrote = manifest.get("leanrec", "of another version") if isinstance(manifest, dict) else "of another version"
    return (
        f"{path} must have the artifact format {FORMAT}. It has {found!r}, of another version of leanrec ({wrote}; this is "
        f"{__version__}), which this one does not read. Make it again: {again}"
    )


def _describe_versions(manifest: Mapping[str, Any]) -> str:
    """The versions that wrote and read an artifact, and what to do."""
    wrote = manifest.get("leanrec", "unknown")
    advice = "Make it again"
    if wrote != __version__:
        advice += f", or install the version that wrote it: pip install leanrec=={wrote}"
    return f"It was written by leanrec {wrote}, and this is leanrec {__version__}. {advice}."


def _manifest_digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest, independent of its formatting."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def size_of(path: str | Path) -> int:
    """Bytes of an artifact on disk."""
    return sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())


def _write(file: Path, data: bytes) -> None:
    with file.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def replace_file(file: Path, data: bytes) -> None:
    """Write a file in one step: a reader finds the old content or the new one, also after a crash."""
    staging = file.with_name(f".{file.name}-{os.getpid()}-{threading.get_ident()}")
    try:
        _write(staging, data)
        staging.replace(file)
        _sync_folder(file.parent)
    finally:
        staging.unlink(missing_ok=True)


def _find_mapped_file(array: NDArray[Any], folder: Path) -> Path | None:
    """The .npy file in ``folder`` that the array maps as a whole, or None."""
    name = getattr(array, "filename", None)
    file = None if name is None else Path(str(name))
    if file is None or file.parent != folder or file.suffix != ".npy":
        return None
    stored = np.load(file, mmap_mode="r", allow_pickle=False)
    # A slice or a reshaped view has the same file name; it is written like any array.
    whole = stored.shape == array.shape and stored.strides == array.strides and stored.dtype == array.dtype
    return file if whole else None


def _link_or_copy(source: Path, target: Path) -> None:
    """Create a hard link, or copy the file where the file system has none."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
    with target.open("rb") as handle:
        os.fsync(handle.fileno())


def _move_into_place(staging: Path, target: Path) -> None:
    staging.chmod(0o755)
    if not target.exists():
        staging.rename(target)
        _sync_folder(target.parent)
        return
    old = Path(tempfile.mkdtemp(prefix=_name_old(target), dir=target.parent))
    target.rename(old / _OLD)
    staging.rename(target)
    _sync_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _name_old(target: Path) -> str:
    """How the name of the folder begins to which an artifact is moved for the moment in which it is replaced."""
    return f".{target.name}-old-"


def _sync_folder(folder: Path) -> None:
    """Flush directory entries to the disk, so that a power failure cannot undo a rename."""
    with contextlib.suppress(OSError):  # not every file system can open a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class _Writer:
    """Encodes values as JSON and writes their arrays to files in ``folder``."""

    def __init__(self, folder: Path, link_from: Path | None = None) -> None:
        self.folder = folder
        self.link_from = link_from
        self.arrays: dict[str, dict[str, Any]] = {}

    def encode(self, value: Any, name: str) -> Any:
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, np.ndarray):
            return {"$array": self._strings(value, name) if value.dtype.kind == "T" else self._array(value, name)}
        if isinstance(value, sp.csr_array):
            parts = {
                part: self._array(getattr(value, part), f"{name}.{part}") for part in ("data", "indices", "indptr")
            }
            return {"$csr": parts, "shape": list(value.shape)}
        if isinstance(value, tuple):
            return {"$tuple": [self.encode(each, f"{name}.{i}") for i, each in enumerate(value)]}
        if isinstance(value, Mapping):
            return {"$dict": [[key, self.encode(each, f"{name}.{i}")] for i, (key, each) in enumerate(value.items())]}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            _check_object(value)
            fields = {
                f.name: self.encode(getattr(value, f.name), f"{name}.{f.name}")
                for f in dataclasses.fields(value)
                if f.init
            }
            return {"$type": type_id(type(value)), "fields": fields}
        raise ArtifactError(
            f"A {type(value).__name__} cannot be saved ({name}). Use arrays, numbers, strings, tuples and dataclasses."
        )

    def _array(self, array: NDArray[Any], name: str) -> str:
        if array.dtype.hasobject:
            raise ArtifactError(f"An array of Python objects cannot be saved ({name}). Use numbers or StringDType.")
        file = self.folder / f"{name}.npy"
        mapped_file = None if self.link_from is None else _find_mapped_file(array, self.link_from)
        if mapped_file is not None:
            _link_or_copy(mapped_file, file)
        else:
            with file.open("wb") as handle:
                np.save(handle, array, allow_pickle=False)
                handle.flush()
                os.fsync(handle.fileno())
        self.arrays[name] = {"sha256": _digest(file), "shape": list(array.shape), "dtype": array.dtype.str}
        return name

    def _strings(self, array: NDArray[Any], name: str) -> dict[str, Any]:
        encoded = [text.encode() for text in array.ravel().tolist()]
        lengths = np.array([len(each) for each in encoded], dtype=np.int64)
        blob = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        return {"utf8": self._array(blob, f"{name}.utf8"), "lengths": self._array(lengths, f"{name}.lengths")}


class _Reader:
    """Decodes what `_Writer` wrote."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any], *, mapped: bool = False) -> None:
        self.folder, self.manifest = folder, manifest
        self.arrays = dict(manifest.get("arrays", {}))  # those that are not read yet
        self.mapped_from = _MAPPED_FROM if mapped else math.inf  # bytes of a file

    def decode(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if "$array" in value:
            name = value["$array"]
            return self._array(name) if isinstance(name, str) else self._strings(name)
        if "$csr" in value:
            return self._matrix(value["$csr"], tuple(value["shape"]))
        if "$tuple" in value:
            return tuple(self.decode(each) for each in value["$tuple"])
        if "$dict" in value:
            return {key: self.decode(each) for key, each in value["$dict"]}
        kind, fields = _migrate(value["$type"], value["fields"], _describe_versions(self.manifest))
        before, self.mapped_from = self.mapped_from, min(self.mapped_from, getattr(kind, "MAPPED_FROM", math.inf))
        decoded = kind(**{name: self.decode(each) for name, each in fields.items()})
        self.mapped_from = before
        _check_object(decoded)
        return decoded

    def _array(self, name: str) -> NDArray[Any]:
        if name not in self.arrays or "/" in name or name.startswith("."):
            raise ArtifactError(
                f"{self.folder} does not verify: it lists no array {name!r}, or uses it twice. Make it again."
            )
        file = self.find_file(name)
        _check_header(file, self.arrays.pop(name))
        large = file.stat().st_size >= self.mapped_from
        array: NDArray[Any] = np.load(file, mmap_mode="r" if large else None, allow_pickle=False)
        pause()
        return array

    def find_file(self, name: str) -> Path:
        """The file of an array of the manifest. Raises ArtifactError unless its bytes verify."""
        file = self.folder / f"{name}.npy"
        if not file.is_file() or file.is_symlink() or _digest(file) != self.arrays[name]["sha256"]:
            raise ArtifactError(
                f"{file} is missing or damaged: its SHA-256 is not the one in the manifest. Make it again."
            )
        return file

    def _matrix(self, parts: Mapping[str, str], shape: tuple[int, int]) -> sp.csr_array:
        data, indices, indptr = (self._array(parts[part]) for part in ("data", "indices", "indptr"))
        if data.dtype.kind not in "biuf" or len(data) != len(indices) or (len(indptr) - 1,) != shape[:-1]:
            raise ArtifactError(f"{self.folder} does not verify: a matrix must have {shape} numbers. Make it again.")
        # SciPy looks at the bounds only after it has cut the entries by them.
        check_bounds(f"{self.folder / parts['indptr']}.npy", indptr, len(indices))
        check_codes(f"{self.folder / parts['indices']}.npy", indices, shape[1])
        return sp.csr_array((data, indices, indptr), shape=shape)

    def _strings(self, parts: Mapping[str, str]) -> NDArray[Any]:
        blob, lengths = self._array(parts["utf8"]), self._array(parts["lengths"])
        if blob.dtype != np.uint8 or lengths.dtype != np.int64 or blob.ndim != 1 or lengths.ndim != 1:
            raise ArtifactError(
                f"{self.folder} does not verify: strings must be stored as bytes and lengths. Make it again."
            )
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        check_bounds(f"{self.folder / parts['lengths']}.npy", bounds, len(blob))
        texts = np.empty(len(lengths), dtype=np.dtypes.StringDType())
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            ends = bounds[start : start + _TEXTS_AT_ONCE + 1].tolist()
            texts[start : start + len(ends) - 1] = [
                blob[first:last].tobytes().decode() for first, last in itertools.pairwise(ends)
            ]
            pause()
        return texts


def _check_header(file: Path, described: Mapping[str, Any]) -> None:
    """Raise ArtifactError unless a .npy file has the shape and type in the manifest, and as many bytes as they need."""
    with file.open("rb") as handle:
        version = np.lib.format.read_magic(handle)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(handle)
        n_bytes = file.stat().st_size - handle.tell()
    if list(shape) != described["shape"] or dtype.str != described["dtype"] or not dtype.isnative:
        raise ArtifactError(f"{file} does not verify: it must have the shape and type in the manifest. Make it again.")
    if dtype.kind not in _NUMBER_KINDS or min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != n_bytes:
        raise ArtifactError(
            f"{file} does not verify: {shape} of {dtype} do not fit its {n_bytes} bytes. Make it again."
        )


def _check_object(value: Any) -> None:
    """Raise DataError unless an object, at whatever depth of an artifact, is as its class declares, and a model finite."""
    check_fields(value)
    if callable(getattr(value, "score", None)) and hasattr(value, "n_items"):
        check_finite(value, "Fit it again.")


def type_id(kind: type) -> str:
    """The type id of a class: ``ease/1`` for the settings of a model, ``ease.EASEModel/1`` for another class there.

    The first part is the name of a model, or of one of the other modules whose values are saved; the number is the
    class attribute ``ARTIFACT_VERSION``, by default 1. Ids do not change when a module moves.
    A class of another package keeps its import path: ``package.module:Class/1``. Raises ArtifactError for a class of
    leanrec that has no id.
    """
    models = _models()
    version = getattr(kind, "ARTIFACT_VERSION", 1)
    if kind.__module__.partition(".")[0] != "leanrec":
        return f"{kind.__module__}:{kind.__qualname__}/{version}"
    if info := models.find_info(kind):
        return f"{info.name}/{version}"
    homes = {module: name for name, module in _HOMES.items()}
    homes |= {info.module: info.name for info in models.list_models().values() if not info.attribute}
    if kind.__module__ not in homes:
        raise ArtifactError(f"{kind.__name__} has no type id. Add {kind.__module__} to the homes in leanrec.artifacts.")
    return f"{homes[kind.__module__]}.{kind.__qualname__}/{version}"


def _migrate(identifier: str, fields: Mapping[str, Any], versions: str = "") -> tuple[type, Mapping[str, Any]]:
    """The class of a type id and its fields, migrated to the current version; ``versions`` is for messages.

    A module whose class has changed its fields or its name has a dictionary ``MIGRATIONS``: from an old id to a function
    that takes the fields as they are in the manifest and returns the next id with its fields.
    """
    for _ in range(100):
        module, attribute = _locate(identifier, versions)
        try:
            home = importlib.import_module(module)
        except ImportError as error:
            missing = MissingExtraError.from_import_error("This artifact", error)
            raise missing or ArtifactError(f"The artifact needs the module {module!r}, which is not there.") from error
        migrate = vars(home).get("MIGRATIONS", {}).get(identifier)
        if migrate is None:
            break
        identifier, fields = migrate(fields)
    kind = getattr(home, attribute, None)
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)) or type_id(kind) != identifier:
        raise ArtifactError(
            f"The artifact holds a value of the type {identifier!r}, which this version of leanrec does not have. {versions}"
        )
    return kind, fields


def _locate(identifier: str, versions: str = "") -> tuple[str, str]:
    """Module and class of a type id. Only modules of leanrec and of packages that register models are ever imported."""
    name = identifier.partition("/")[0]
    if ":" in name:
        module, _, attribute = name.partition(":")
        allowed = {point.module.partition(".")[0] for point in entry_points(group="leanrec.models")}
        if module.partition(".")[0] not in allowed:
            raise ArtifactError(
                f"The artifact names the class {name!r}, which is not of leanrec or of an installed package "
                "that registers models. It was not loaded."
            )
        return module, attribute
    home, _, attribute = name.rpartition(".") if "." in name else (name, "", "")
    if home in _HOMES:
        return _HOMES[home], attribute
    models = _models().list_models()
    if home not in models:
        raise ArtifactError(
            f"The artifact names the type {identifier!r}, which leanrec does not have. It was not loaded. {versions}"
        )
    return models[home].module, attribute or models[home].settings.__name__


def _models() -> Any:
    """The package of models, imported by name, since this module is below it."""
    return importlib.import_module("leanrec.models")


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb", buffering=0) as handle:
        while block := handle.read(_HASHED_AT_ONCE):
            digest.update(block)
            pause()
    return digest.hexdigest()
