"""Version store: immutable versions of a saved pipeline, and which of them is served.

A store is a folder::

    versions/<id>/    an artifact that is never changed; its id is the start of its SHA-256
    current.json      the promotions, newest last, each with its fencing number

``current.json`` is replaced by one rename, under a file lock. So a crash at any moment leaves either the old or the new
version current, and of two processes that promote at once one is told that it came second.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from leanrec import artifacts
from leanrec.errors import ArtifactError, ConflictError
from leanrec.pipeline.pipeline import VERSION_LENGTH
from leanrec.pipeline.snapshot import SavedPipeline

if sys.platform != "win32":
    import fcntl

__all__ = ["Promotion", "Version", "VersionStore", "find_pipeline_path", "is_version_store"]

_POINTER = "current.json"
_FOLDER = "versions"
_MAX_PROMOTIONS = 1000


@dataclasses.dataclass(frozen=True)
class Version:
    """A version in a store.

    Attributes:
        id: the first 12 hexadecimal digits of the SHA-256 of the artifact.
        path: folder of the artifact.
        model: name of the model.
        settings: its settings, as code.
        created: time of the fit in ISO format.
        events: number of events of the fit.
        n_bytes: size on disk.
        is_current: whether it is the one to serve.
    """

    id: str
    path: Path
    model: str | None
    settings: str | None
    created: str | None
    events: int | None
    n_bytes: int
    is_current: bool


@dataclasses.dataclass(frozen=True)
class Promotion:
    """A change of the current version.

    Attributes:
        fence: fencing number, 1 for the first promotion of a store and one more for each other.
        version: id of the version.
        time: when, in ISO format.
        reason: what for: "promote" or "rollback".
    """

    fence: int
    version: str
    time: str
    reason: str


class VersionStore:
    """Versions of a saved pipeline in a folder, one of which is current.

    Several processes may use a store at the same time. Versions are never changed, so whoever reads one keeps it until
    `remove_unused` removes it.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a store. Raises ArtifactError if the folder is something else; see ``create``."""
        self.path = Path(path)
        if not (self.path / _FOLDER).is_dir():
            raise ArtifactError(
                f"{self.path} must be a store of versions. It has no folder {_FOLDER!r}. Create one: "
                f"VersionStore.create({str(self.path)!r})."
            )

    @classmethod
    def create(cls, path: str | Path) -> Self:
        """Open a store, and create it if there is none. Raises ArtifactError if the folder holds something else."""
        folder = Path(path)
        if not is_version_store(folder):
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise ArtifactError(
                    f"{folder} exists and is no store of versions, so it is left alone. Choose another."
                )
            try:
                (folder / _FOLDER).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ArtifactError(f"Cannot write {folder}: {error.strerror or error}.") from error
        return cls(folder)

    def add(self, artifact: str | Path) -> Version:
        """Add a saved pipeline as a version; an equal one is there only once. Its bytes are verified.

        Raises ArtifactError if it is damaged or no saved pipeline.
        """
        source = Path(artifact)
        manifest = artifacts.read_manifest(source)
        if not str(manifest["value"].get("$type", "")).startswith("pipeline.SavedPipeline/"):
            artifacts.load(source, SavedPipeline)  # raises, and says what it is
        identifier = artifacts.read_digest(source)[:VERSION_LENGTH]
        target = self.path / _FOLDER / identifier
        with self._lock():
            if not target.exists():
                artifacts.copy(source, target)
        return self.find(identifier)

    def versions(self) -> tuple[Version, ...]:
        """All versions, oldest fit first; of fits in the same second, the one added first."""
        current = self._current_id()
        found = [
            self._describe(folder, current)
            for folder in (self.path / _FOLDER).iterdir()
            if not folder.name.startswith(".")
        ]
        return tuple(sorted(found, key=lambda version: (version.created or "", version.path.stat().st_mtime_ns)))

    def find(self, version: str) -> Version:
        """The version whose id begins with the text. Raises ArtifactError if there is none or more than one."""
        names = [folder.name for folder in (self.path / _FOLDER).iterdir() if not folder.name.startswith(".")]
        matching = [name for name in names if version and name.startswith(version)]
        if len(matching) != 1:
            what = "several" if matching else "none"
            known = ", ".join(sorted(matching or names)) or "none; add one"
            raise ArtifactError(
                f"{version!r} must begin the id of one version of {self.path}, not {what}. Ids: {known}."
            )
        return self._describe(self.path / _FOLDER / matching[0], self._current_id())

    def promotions(self) -> tuple[Promotion, ...]:
        """The promotions, oldest first. Raises ArtifactError if the file cannot be read."""
        file = self.path / _POINTER
        try:
            listed = json.loads(file.read_text(encoding="utf-8"))
            return tuple(Promotion(**each) for each in listed["promotions"])
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, TypeError, LookupError) as error:
            raise ArtifactError(
                f"{file} cannot be read: {error}. Remove it, and promote the version that must be served."
            ) from error

    def current(self) -> Version | None:
        """The version to serve, or None if none was promoted. Raises ArtifactError if it is missing."""
        current = self._current_id()
        return None if current is None else self.find(current)

    def promote(self, version: str, *, fence: int | None = None) -> Promotion:
        """Make a version the current one.

        Args:
            version: its id, or the start of it.
            fence: the fencing number of the promotion that the caller has seen last; None = whichever it is.

        Raises ConflictError, and changes nothing, if there was another promotion meanwhile.
        """
        return self._promote(self.find(version).id, "promote", fence)

    def rollback(self, *, fence: int | None = None) -> Promotion:
        """Make the version current that was so before. A second rollback goes on to the one before that.

        Raises ArtifactError if there is none, and ConflictError like ``promote``.
        """
        history: list[str] = []
        for each in self.promotions():
            if each.reason == "rollback" and len(history) > 1:
                history.pop()
            elif not history or history[-1] != each.version:
                history.append(each.version)
        if len(history) < 2:
            raise ArtifactError(f"{self.path} has no version before the current one. Promote two versions first.")
        return self._promote(self.find(history[-2]).id, "rollback", fence)

    def remove_unused(self, keep: int = 3) -> tuple[str, ...]:
        """Remove versions other than the ``keep`` last promoted ones and those added after the last promotion.

        Returns their ids. A process that has a removed version loaded or mapped keeps it on Linux and macOS.
        """
        with self._lock():
            for hidden in (self.path / _FOLDER).glob(".*"):  # left by a crash; the lock keeps other writers out
                shutil.rmtree(hidden, ignore_errors=True)
            promotions = self.promotions()
            last: dict[str, None] = {}
            for each in reversed(promotions):
                last[each.version] = None
            used = set(list(last)[: max(1, keep)])
            removed = sorted(each.id for each in self.versions() if each.id in last and each.id not in used)
            for identifier in removed:
                folder = self.path / _FOLDER / identifier
                # One rename, so that no reader finds half a version.
                hidden = folder.with_name(f".removed-{identifier}")
                folder.rename(hidden)
                shutil.rmtree(hidden, ignore_errors=True)
        return tuple(removed)

    def _promote(self, version: str, reason: str, fence: int | None) -> Promotion:
        with self._lock():
            promotions = self.promotions()
            last = promotions[-1].fence if promotions else 0
            if fence is not None and fence != last:
                raise ConflictError(
                    f"The last promotion of {self.path} must be number {fence}. It is number {last}, of version "
                    f"{promotions[-1].version if promotions else None}: there was another promotion meanwhile. List the versions, and try again."
                )
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            promotion = Promotion(last + 1, version, now, reason)
            listed = [dataclasses.asdict(each) for each in (*promotions, promotion)][-_MAX_PROMOTIONS:]
            try:
                artifacts.replace_file(self.path / _POINTER, json.dumps({"promotions": listed}, indent=1).encode())
            except OSError as error:
                raise ArtifactError(
                    f"Cannot write {self.path}: {error.strerror or error}. Nothing was changed."
                ) from error
        return promotion

    def _current_id(self) -> str | None:
        promotions = self.promotions()
        return promotions[-1].version if promotions else None

    def _describe(self, folder: Path, current: str | None) -> Version:
        made: dict[str, Any] = artifacts.read_manifest(folder).get("provenance", {})
        data = made.get("data") or {}
        return Version(
            id=folder.name,
            path=folder,
            model=made.get("model"),
            settings=made.get("settings"),
            created=made.get("created"),
            events=data.get("events"),
            n_bytes=artifacts.size_of(folder),
            is_current=folder.name == current,
        )

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Wait for the other writers of this store. The system releases the lock when a process ends."""
        try:
            handle = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ArtifactError(f"Cannot write {self.path}: {error.strerror or error}.") from error
        try:
            if sys.platform != "win32":
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def find_pipeline_path(path: str | Path) -> Path:
    """The artifact to load for a saved pipeline or a store of versions: the path itself, or that of the current version.

    Raises ArtifactError if no version of the store was promoted.
    """
    if not is_version_store(path):
        return Path(path)
    current = VersionStore(path).current()
    if current is None:
        raise ArtifactError(f"{path} must have a current version. None was promoted: promote one first.")
    return current.path


def is_version_store(path: str | Path) -> bool:
    """Whether a folder is a store of versions."""
    return (Path(path) / _FOLDER).is_dir() and not (Path(path) / "manifest.json").exists()
