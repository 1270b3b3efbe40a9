"""Live trial: the version that is tried in this process, which users get its lists, and how it does."""

import dataclasses
import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from leanrec.data.vocabulary import Id
from leanrec.errors import ArtifactError
from leanrec.events.user_events import UserEvent
from leanrec.online.experiments import Experiment
from leanrec.online.trials.guards import GuardedComparison, TrialGuards, Verdict
from leanrec.online.trials.shadow import ShadowLists
from leanrec.online.trials.trial_record import TrialRecord, TrialUser
from leanrec.online.versions import VersionTrial
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.responses import Recommendations

__all__ = ["CANDIDATE", "CONTROL", "OTHERS", "WITHOUT_USER", "LiveTrial"]

CONTROL, CANDIDATE = "control", "candidate"
OTHERS, WITHOUT_USER = "others", "without user"  # lists that take no part
_MAX_USERS = 500_000  # later ones are not judged
_LISTS_OF_A_USER = 5  # that are judged; a bot must not decide
_REWARDS_OF_A_USER = 20
_CHUNK = 1000  # users that are restored while the requests wait


@dataclasses.dataclass(slots=True)
class _UserCounts:
    """What is counted of a user.

    Attributes:
        is_candidate: whether the user gets lists of the version.
        lists: number of lists that are judged.
        rewards: number of positive events.
        has_failed: whether the version failed to make a list, of which one is judged.
    """

    is_candidate: bool
    lists: int = 0
    rewards: int = 0
    has_failed: bool = False


class LiveTrial:
    """A version beside the current one.

    The users of a canary are divided by a keyed hash of their id: twice its share takes part, half of those gets the lists of the
    version and the other half is the control. So a user has the same arm in every process, after every restart and with every
    larger share. Requests without a user take no part; they are counted.

    Where the version fails, or lists nothing, its users get the list of the current version, and it is counted. As soon
    as a guard ends the trial, all users get lists of the current version.

    Thread-safe.

    Attributes:
        pipeline: the version.
        n_replayed: the first events of the log, which the pipeline has from the start.
        trial: what was asked for.
        shadow: makes the lists of a shadow; None for a canary.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        n_replayed: int,
        trial: VersionTrial,
        guards: TrialGuards,
        n_processes: int = 1,
    ) -> None:
        """Prepare.

        Args:
            pipeline: the version, with the events of the log.
            n_replayed: sequence number of the last of them.
            trial: what was asked for.
            guards: what ends it.
            n_processes: number of processes in which it is judged.
        """
        self.pipeline, self.n_replayed, self.trial = pipeline, n_replayed, trial
        self.shadow = ShadowLists(pipeline, trial.share) if trial.is_shadow else None
        self._experiment = _make_experiment(trial)
        self._comparison = GuardedComparison(guards, n_processes)
        self._lists = {CONTROL: 0, CANDIDATE: 0, OTHERS: 0, WITHOUT_USER: 0}
        self._seen: dict[int, _UserCounts] = {}  # by key of the experiment
        self._own_users = {CONTROL: 0, CANDIDATE: 0}  # who came to this process first
        self._changed: dict[
            int, None
        ] = {}  # users whose counts are not in the record yet, in the order in which they came
        self._recorded: dict[str, float] = {}  # the totals of this process and of the record when it was restored
        self._restored: dict[str, float] | None = None  # those of the record alone
        self._lock = threading.Lock()

    @property
    def verdict(self) -> Verdict | None:
        """Why a guard has ended the trial in this process, or None."""
        return self._comparison.verdict

    def change_share(self, trial: VersionTrial) -> None:
        """Go on with another share of the same trial."""
        self.trial = trial
        self._experiment = _make_experiment(trial)
        if self.shadow is not None:
            self.shadow.share = trial.share

    def close(self) -> None:
        """End the thread of a shadow."""
        if self.shadow is not None:
            self.shadow.close()

    def find_arm(self, user: Id | None) -> str | None:
        """The arm of a user: "control", "candidate", or None for a user who takes no part."""
        if user is None or self.shadow is not None or self.verdict is not None:
            return None
        return self._experiment.assign(user)

    def recommend(self, current: Pipeline, user: Id | None, options: Mapping[str, Any]) -> Recommendations:
        """The list of the version that is due to the user; see ``Pipeline.recommend`` for the options and the errors."""
        if self.shadow is not None:
            begin = time.thread_time()
            made = current.recommend(user, **options)
            if made.rung == "full":  # a server under load makes no list twice
                self.shadow.offer(user, options, made, time.thread_time() - begin)
            return made
        arm = self.find_arm(user)
        if arm == CANDIDATE:
            made, seconds, has_failed = self._make_list(current, user, options)
        else:
            start = time.perf_counter()
            made, has_failed = current.recommend(user, **options), False
            seconds = time.perf_counter() - start
        if options.get("rung", "full") != "full" and not has_failed:
            self._count_list(user, arm)  # simpler lists were asked for: their time tells nothing
        else:
            is_whole = made.rung == "full" or has_failed
            self._count_list(user, arm, seconds if is_whole else math.inf, has_failed=has_failed)  # out of time
        return made if arm is None else dataclasses.replace(made, arm=arm)

    def find_cached(self, current: Pipeline, user: Id, options: Mapping[str, Any]) -> Recommendations | None:
        """The same list, if the version has it in its cache."""
        arm = self.find_arm(user)
        if arm != CANDIDATE:
            cached = current.find_cached(user, **options)
        else:
            try:
                cached = self.pipeline.find_cached(user, **options)
            except Exception:  # noqa: BLE001 - ``recommend`` follows, which counts it
                return None
        if cached is None:
            return None
        self._count_list(user, arm)
        return cached if arm is None else dataclasses.replace(cached, arm=arm)

    def count_events(self, user_events: Sequence[UserEvent]) -> None:
        """Count positive events of the users who have got a list."""
        if not self._seen or self.verdict is not None:
            return
        for each in user_events:
            key = self._experiment.find_key(each.user) if each.weight > 0 else 0
            known = self._seen.get(key) if each.weight > 0 else None
            if known is not None and known.rewards < _REWARDS_OF_A_USER:
                with self._lock:
                    known.rewards += 1
                    self._changed[key] = None
                    self._comparison.add_reward(key)

    def restore(self, record: TrialRecord) -> None:
        """Add what other processes have counted of the trial, among them those before a restart. Only once.

        Args:
            record: the record of the trial.

        Requests are answered meanwhile. Cost: O(users), about 5 microseconds each. Raises ArtifactError.
        """
        if self._restored is not None:
            return
        totals, users = record.read()
        for start in range(0, len(users), _CHUNK):
            with self._lock:
                for each in users[start : start + _CHUNK]:
                    self._restore_user(each)
        with self._lock:
            for name in self._lists:
                self._lists[name] += int(totals.get(f"lists {name}", 0))
            self._comparison.add_totals(totals)
            self._restored, self._recorded = totals, dict(totals)

    def save(self, record: TrialRecord) -> None:
        """Add to the record what this process has counted since the last call; `restore` comes first. Raises ArtifactError."""
        with self._lock:
            totals = self._get_totals()
            changed, self._changed = self._changed, {}
            users = [TrialUser(key, **dataclasses.asdict(self._seen[key])) for key in changed]
        grown = {name: value - self._recorded.get(name, 0.0) for name, value in totals.items()}
        if not users and not any(grown.values()):
            return
        try:
            record.add(grown, users)
        except ArtifactError:
            with self._lock:
                self._changed = changed | self._changed
            raise
        self._recorded = totals

    @property
    def is_restored(self) -> bool:
        """Whether what was counted before is known."""
        return self._restored is not None

    def count_own(self) -> dict[str, float]:
        """Lists of each kind, "lists <kind>", users, "users <arm>", and failures, "failures n_happened", of this process alone."""
        with self._lock:
            totals, restored = self._get_totals(), self._restored or {}
            counted = {name: value - restored.get(name, 0.0) for name, value in totals.items()}
            return counted | {f"users {arm}": float(n) for arm, n in self._own_users.items()}

    def _get_totals(self) -> dict[str, float]:
        return self._comparison.get_totals() | {f"lists {name}": float(n) for name, n in self._lists.items()}

    def _restore_user(self, user: TrialUser) -> None:
        known = self._seen.get(user.key)
        if known is None:
            known = self._seen[user.key] = _UserCounts(user.is_candidate)
            self._comparison.add_user(user.key, is_candidate=user.is_candidate)
        known.lists, known.has_failed = max(known.lists, user.lists), known.has_failed or user.has_failed
        if user.rewards > known.rewards:
            self._comparison.add_reward(user.key, user.rewards - known.rewards)
            known.rewards = user.rewards

    def describe(self) -> dict[str, Any]:
        """The trial in this process so far, for JSON: users, lists, failures, milliseconds and positive events of both arms."""
        with self._lock:
            comparison = self._comparison
            described: dict[str, Any] = dataclasses.asdict(self.trial) | {
                "model": self.pipeline.name,
                "verdict": None if comparison.verdict is None else comparison.verdict._asdict(),
                "other_lists": self._lists[OTHERS],
                "lists_without_user": self._lists[WITHOUT_USER],
            }
            if self.shadow is not None:
                return described | {"shadow": self.shadow.describe()}
            found = comparison.rewards.find_interval()
            arms = {}
            for position, arm in enumerate((CONTROL, CANDIDATE)):
                seconds = [each for each in comparison.slowdown.seconds[position] if math.isfinite(each)]
                p50, p99 = np.percentile(seconds, (50, 99)).tolist() if seconds else (None, None)
                arms[arm] = {
                    "users": comparison.ratio.counts[position],
                    "lists": self._lists[arm],
                    "failures": comparison.failures.n_happened if position else 0,
                    "p50_ms": None if p50 is None else p50 * 1e3,
                    "p99_ms": None if p99 is None else p99 * 1e3,
                    "reward": comparison.rewards.means[position],
                }
            finite = bool(np.isfinite([found.low, found.high]).all())
            difference = {"value": found.value, "low": found.low, "high": found.high} if finite else None
            return described | {"arms": arms, "difference": difference, "ratio_p_value": comparison.ratio.p_value}

    def _make_list(
        self, current: Pipeline, user: Id | None, options: Mapping[str, Any]
    ) -> tuple[Recommendations, float, bool]:
        """A list of the version, its seconds, and False; or one of the current version and True where this one has none."""
        start = time.perf_counter()
        try:
            made = self.pipeline.recommend(user, **options)
        except Exception:  # noqa: BLE001 - the current version has the last word
            return current.recommend(user, **options), 0.0, True
        seconds = time.perf_counter() - start
        if not made.items:
            other = current.recommend(user, **options)
            if other.items:
                return other, 0.0, True
        return made, seconds, False

    def _count_list(
        self, user: Id | None, arm: str | None, seconds: float | None = None, *, has_failed: bool = False
    ) -> None:
        """Count a list before it is served; ``seconds`` if it was made and not cached."""
        is_candidate = arm == CANDIDATE
        with self._lock:
            self._lists[arm or (WITHOUT_USER if user is None else OTHERS)] += 1
            if arm is not None and user is not None:
                key = self._experiment.find_key(user)
                known = self._seen.get(key)
                if known is None and len(self._seen) < _MAX_USERS:
                    known = self._seen[key] = _UserCounts(is_candidate)
                    self._changed[key] = None
                    self._own_users[arm] += 1
                    self._comparison.add_user(key, is_candidate=is_candidate)
                if known is None or known.lists >= _LISTS_OF_A_USER or (has_failed and known.has_failed):
                    return
                if seconds is not None or has_failed:
                    self._changed[key] = None
                known.lists += seconds is not None
                known.has_failed |= has_failed
            if seconds is not None:
                self._comparison.add_list(seconds, is_candidate=is_candidate, has_failed=has_failed)


def _make_experiment(trial: VersionTrial) -> Experiment:
    share = 0.0 if trial.is_shadow else min(1.0, 2 * trial.share)
    return Experiment(trial.salt, share, (CONTROL, CANDIDATE))
