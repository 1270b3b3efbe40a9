"""Versions of a served model, their promotions and their trials, as a version store records them."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["Promotion", "Version", "VersionChanges", "VersionTrial"]


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
        refit: what `refit` has measured, for a version that it has proposed: see ``Judgment.to_dict``, and "against", the
            id of the version that was served.
    """

    id: str
    path: Path
    model: str | None
    settings: str | None
    created: str | None
    events: int | None
    n_bytes: int
    is_current: bool
    refit: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Promotion:
    """A change of the current version.

    Attributes:
        fence: fencing number, 1 for the first change of a store and one more for each other change, also of a trial.
        version: id of the version.
        time: when, in ISO format.
        reason: what for: "promote" or "rollback".
    """

    fence: int
    version: str
    time: str
    reason: str


@dataclasses.dataclass(frozen=True)
class VersionTrial:
    """A version that is tried beside the current one.

    Attributes:
        fence: fencing number of its last change.
        version: id of the version.
        share: share of the users who get its lists; of a shadow, share of the lists that it makes too.
        is_shadow: its lists are only compared, not served.
        salt: key of the hash by which users are divided. A trial with another share of the same version keeps it.
        started: when, in ISO format.
        ended: when, or None while it runs.
        outcome: None while it runs, then "stopped", "aborted" (by a guard), "promoted" or "replaced" (another version was promoted).
        reason: why it ended.
        ended_by: who ended it.
    """

    fence: int
    version: str
    share: float
    is_shadow: bool
    salt: str
    started: str
    ended: str | None = None
    outcome: str | None = None
    reason: str | None = None
    ended_by: str | None = None


@dataclasses.dataclass(frozen=True)
class VersionChanges:
    """The content of the file of a store."""

    promotions: tuple[Promotion, ...] = ()
    trials: tuple[VersionTrial, ...] = ()

    @property
    def fence(self) -> int:
        """Number of the last change."""
        last = [each.fence for each in self.promotions[-1:]] + [each.fence for each in self.trials[-1:]]
        return max(last, default=0)

    @property
    def running(self) -> VersionTrial | None:
        """The trial that has not ended."""
        return self.trials[-1] if self.trials and self.trials[-1].ended is None else None

    def end_trial(self, **changes: Any) -> "VersionChanges":
        """The same with another state of the last trial."""
        return dataclasses.replace(self, trials=(*self.trials[:-1], dataclasses.replace(self.trials[-1], **changes)))
