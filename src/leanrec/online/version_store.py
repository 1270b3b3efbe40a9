"""Version store: immutable versions of a saved pipeline, which of them is served, and which one is on trial.

A store is a folder::

    versions/<id>/    an artifact that is never changed; its id is the start of its SHA-256
    current.json      the promotions and the trials, newest last, each with its fencing number
    trials/<salt>.db  what is counted of the last trial, by all processes

``current.json`` is replaced by one rename, under a file lock. So a crash at any moment leaves either the old or the new
state, and of two processes that change it at once one is told that it came second.
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
from leanrec.online.trials.trial_record import TrialRecord
from leanrec.online.versions import Promotion, Version, VersionChanges, VersionTrial
from leanrec.pipeline.pipeline import VERSION_LENGTH
from leanrec.pipeline.snapshot import SavedPipeline
from leanrec.settings import check_between

if sys.platform != "win32":
    import fcntl

__all__ = ["VersionStore", "find_pipeline_path", "is_version_store"]

_POINTER = "current.json"
_FOLDER = "versions"
_RECORDS = "trials"
_MAX_PROMOTIONS = 1000
_MAX_TRIALS = 1000
_MIN_SHARE = 0.0001
_MAX_SHARE = 0.5  # of a canary: as many users are its control


class VersionStore:
    """Versions of a saved pipeline in a folder, one of which is current.

    Several processes may use a store at the same time. Versions are never changed, so a reader keeps one until
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
        digest = artifacts.read_digest(source)
        identifier = digest[:VERSION_LENGTH]
        target = self.path / _FOLDER / identifier
        with self._lock():
            if not target.exists():
                artifacts.copy(source, target, digest=digest)
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
        return self._read_changes().promotions

    def trials(self) -> tuple[VersionTrial, ...]:
        """The trials, oldest first."""
        return self._read_changes().trials

    def trial(self) -> VersionTrial | None:
        """The trial that runs, or None."""
        return self._read_changes().running

    def get_record(self, trial: VersionTrial) -> TrialRecord:
        """What is counted of the trial that runs, or of the last one; records of trials before it are removed."""
        return TrialRecord(self.path / _RECORDS / f"{trial.salt}.db")

    @property
    def fence(self) -> int:
        """Fencing number of the last change, 0 if there was none."""
        return self._read_changes().fence

    def _read_changes(self) -> VersionChanges:
        file = self.path / _POINTER
        try:
            listed = json.loads(file.read_text(encoding="utf-8"))
            return VersionChanges(
                tuple(Promotion(**each) for each in listed["promotions"]),
                tuple(VersionTrial(**each) for each in listed.get("trials", ())),
            )
        except FileNotFoundError:
            return VersionChanges()
        except (OSError, ValueError, TypeError, LookupError) as error:
            raise ArtifactError(
                f"{file} cannot be read: {error}. Remove it, and promote the version that must be served."
            ) from error

    def current(self) -> Version | None:
        """The version to serve, or None if none was promoted. Raises ArtifactError if it is missing."""
        current = self._current_id()
        return None if current is None else self.find(current)

    def promote(self, version: str, *, fence: int | None = None) -> Promotion:
        """Make a version the current one. A trial that runs ends.

        Args:
            version: its id, or the start of it.
            fence: the fencing number of the change that the caller has seen last; None = whichever it is.

        Raises ConflictError, and changes nothing, if there was another change meanwhile.
        """
        return self._promote(self.find(version).id, "promote", fence)

    def start_trial(
        self, version: str, share: float = 0.05, *, is_shadow: bool = False, fence: int | None = None
    ) -> VersionTrial:
        """Try a version beside the current one, or go on with another share where it is tried already.

        Args:
            version: its id, or the start of it.
            share: share of the users who get its lists, from 0.0001 to 0.5; of a shadow, share of the lists, at most 1.
            is_shadow: make its lists only to compare them. They are not served.
            fence: see ``promote``.

        With a larger share users join and none leaves. Raises ConflictError if another version is on trial, or if there was
        another change meanwhile, and ArtifactError if the version is the current one or none is.
        """
        check_between("share", share, _MIN_SHARE, 1.0 if is_shadow else _MAX_SHARE)
        identifier = self.find(version).id
        with self._lock():
            changes = self._read_changes()
            self._check_fence(changes, fence)
            running = changes.running
            if not changes.promotions or changes.promotions[-1].version == identifier:
                raise ArtifactError(
                    f"A version on trial must be another one than the current version of {self.path}. Got {identifier}; the "
                    f"current one is {changes.promotions[-1].version if changes.promotions else None}."
                )
            if running is not None and (running.version, running.is_shadow) != (identifier, is_shadow):
                raise ConflictError(
                    f"Only one version of {self.path} can be on trial. {running.version} is. Stop that trial first."
                )
            now, number = _get_time(), changes.fence + 1
            if running is None:
                trial = VersionTrial(number, identifier, share, is_shadow, f"{identifier}-{number}", now)
                shutil.rmtree(self.path / _RECORDS, ignore_errors=True)
                changes = dataclasses.replace(changes, trials=(*changes.trials, trial))
            else:
                trial = dataclasses.replace(running, fence=number, share=share)
                changes = changes.end_trial(fence=number, share=share)
            self._write_changes(changes)
        return trial

    def stop_trial(
        self,
        reason: str | None = None,
        by: str | None = None,
        *,
        outcome: str = "stopped",
        trial: VersionTrial | None = None,
        fence: int | None = None,
    ) -> VersionTrial | None:
        """End the trial that runs; all users get lists of the current version again.

        Args:
            reason: why.
            by: who.
            outcome: "stopped", or "aborted" by a guard.
            trial: end only this one, whatever its share is by now; nothing happens if it does not run any more.
            fence: see ``promote``.

        Returns the trial, or None if it had ended. Without ``trial`` one must run: raises ArtifactError otherwise.
        """
        with self._lock():
            changes = self._read_changes()
            self._check_fence(changes, fence)
            running = changes.running
            if running is None or (trial is not None and running.salt != trial.salt):
                if trial is not None:
                    return None
                raise ArtifactError(f"{self.path} must have a version on trial. None is. Start one with start_trial.")
            number = changes.fence + 1
            changes = changes.end_trial(fence=number, ended=_get_time(), outcome=outcome, reason=reason, ended_by=by)
            self._write_changes(changes)
        return changes.trials[-1]

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
        """Remove versions other than the ``keep`` last promoted ones, the one on trial, and those that were never promoted.

        Returns their ids. A process that has a removed version loaded or mapped keeps it on Linux and macOS.
        """
        with self._lock():
            for hidden in (self.path / _FOLDER).glob(".*"):  # left by a crash; the lock keeps other writers out
                shutil.rmtree(hidden, ignore_errors=True)
            changes = self._read_changes()
            last: dict[str, None] = {}
            for each in reversed(changes.promotions):
                last[each.version] = None
            used = set(list(last)[: max(1, keep)])
            if changes.running is not None:
                used.add(changes.running.version)
            removed = sorted(each.id for each in self.versions() if each.id in last and each.id not in used)
            for identifier in removed:
                self._remove(identifier)
        return tuple(removed)

    def discard(self, version: str) -> bool:
        """Remove a version that was never promoted and never tried. Returns whether it was one."""
        identifier = self.find(version).id
        with self._lock():
            changes = self._read_changes()
            used = {each.version for each in changes.promotions} | {each.version for each in changes.trials}
            is_unused = identifier not in used
            if is_unused:
                self._remove(identifier)
        return is_unused

    def _remove(self, identifier: str) -> None:
        folder = self.path / _FOLDER / identifier
        # One rename, so that no reader finds half a version.
        hidden = folder.with_name(f".removed-{identifier}")
        folder.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)

    def _promote(self, version: str, reason: str, fence: int | None) -> Promotion:
        with self._lock():
            changes = self._read_changes()
            self._check_fence(changes, fence)
            now = _get_time()
            promotion = Promotion(changes.fence + 1, version, now, reason)
            running = changes.running
            if running is not None:
                is_promoted = reason == "promote" and running.version == version
                outcome = "promoted" if is_promoted else "replaced"
                changes = changes.end_trial(
                    fence=promotion.fence, ended=now, outcome=outcome, reason=f"{reason} of {version}"
                )
            self._write_changes(dataclasses.replace(changes, promotions=(*changes.promotions, promotion)))
        return promotion

    def _check_fence(self, changes: VersionChanges, fence: int | None) -> None:
        if fence is not None and fence != changes.fence:
            current = changes.promotions[-1].version if changes.promotions else None
            raise ConflictError(
                f"The last change of {self.path} must be number {fence}. It is number {changes.fence}, and version {current} "
                "is current: there was another promotion or trial meanwhile. List the versions, and try again."
            )

    def _write_changes(self, changes: VersionChanges) -> None:
        listed = {
            "promotions": [dataclasses.asdict(each) for each in changes.promotions[-_MAX_PROMOTIONS:]],
            "trials": [dataclasses.asdict(each) for each in changes.trials[-_MAX_TRIALS:]],
        }
        try:
            artifacts.replace_file(self.path / _POINTER, json.dumps(listed, indent=1).encode())
        except OSError as error:
            raise ArtifactError(f"Cannot write {self.path}: {error.strerror or error}. Nothing was changed.") from error

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
            refit=made.get("refit"),
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


def _get_time() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


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
