"""Online learner: a thread that updates the model of a served pipeline with the events of all users."""

import dataclasses
import time
from collections.abc import Callable

import numpy as np

from leanrec.budget import Budget
from leanrec.errors import LeanrecError
from leanrec.finiteness import check_finite
from leanrec.kernels.threads import concurrent_kernels
from leanrec.online.background_loop import BackgroundLoop
from leanrec.online.learning.learned_data import LearnedData
from leanrec.online.live_pipeline import LivePipeline
from leanrec.pipeline.pipeline import Pipeline
from leanrec.protocols import Scorer, Updatable
from leanrec.run import Run, release_free_memory
from leanrec.settings import check_at_least, check_between
from leanrec.types import Int32Array

__all__ = ["LearningSettings", "OnlineLearner", "PipelineLearner"]

_NICENESS = 10
_LOOK_SECONDS = 0.1  # between two looks at the events
_MEMORY_SHARE = 0.5  # of what is free, for an update
_RELEASE_SECONDS = 10.0  # between two returns of freed memory
# Seconds from one update to the next, of what is popular, of items with new events, and of all items.
_INTERVALS = {"fallback": 0.4, "changed": 4.0, "all": 30.0}


@dataclasses.dataclass(frozen=True)
class LearningSettings:
    """How a server learns from events.

    Attributes:
        max_share: share of one core that each kind of update may take, on average: of what is popular, of the items with new
            events, and of all items. Where an update takes longer, the next one comes later.
        max_user_events: of a user with more events than this since the fit, nothing is learned but what the fit knew, so
            that no program moves the lists of people. The user's own lists follow all events.
    """

    max_share: float = 0.1
    max_user_events: int = 1_000

    def __post_init__(self) -> None:
        check_between("max_share", self.max_share, 0.001, 1)
        check_at_least("max_user_events", self.max_user_events, 1)


class PipelineLearner:
    """Updates model and fallback of one pipeline.

    The numbers of users of each item are counted again within a second of an event, the items with new events get
    their neighbors or embeddings within ten, and all other items follow within a minute or two; longer where an update takes
    more than ``LearningSettings.max_share`` of a core. A model that is not `Updatable` follows the histories of its users
    alone.

    Attributes:
        learns_model: whether the model is updated; False if it cannot be, or once an update has failed.
        n_updates: number of updates so far, by kind: "fallback", "changed", "all".
    """

    def __init__(self, pipeline: Pipeline, settings: LearningSettings = LearningSettings()) -> None:
        """Start from the fit of a pipeline.

        Args:
            pipeline: the pipeline, for which ``Pipeline.start_learning`` was called before items were added.
            settings: limits.
        """
        self._pipeline, self._settings = pipeline, settings
        self._model, self._fallback = pipeline.fitted_scorers
        self._learned: LearnedData | None = None
        self._changed = np.zeros(0, np.int32)
        self._is_behind = False  # in what it knows of items without new events
        self.learns_model = isinstance(self._model, Updatable)
        self._next = dict.fromkeys(_INTERVALS, 0.0)
        self.n_updates = dict.fromkeys(_INTERVALS, 0)

    def update_due(self, now: float | None = None) -> None:
        """Update what is due. O(1) if no history has changed.

        Args:
            now: seconds on a clock that only goes forward; None = ``time.monotonic()``.
        """
        now = time.monotonic() if now is None else now
        if now >= self._next["fallback"]:
            self._run("fallback", now, self._update_fallback)
        if self._is_behind and now >= self._next["all"]:
            self._run("all", now, lambda: self._update_model(None))
        elif len(self._changed) and now >= self._next["changed"]:
            self._run("changed", now, lambda: self._update_model(self._changed))

    def _run(self, kind: str, now: float, update: Callable[[], bool]) -> None:
        """Do one kind of update, and set the time of the next."""
        start = time.thread_time()
        self.n_updates[kind] += update()
        cost = time.thread_time() - start
        self._next[kind] = now + max(_INTERVALS[kind], cost / self._settings.max_share)

    def _update_fallback(self) -> bool:
        if self._learned is None:
            self._learned = LearnedData(self._pipeline, self._settings.max_user_events)
        changed = self._learned.refresh()
        if changed is None:
            return False
        if self.learns_model:
            self._changed, self._is_behind = np.union1d(self._changed, changed).astype(np.int32), True
        if self._fallback is not None and isinstance(self._fallback, Updatable):
            self._fallback = self._update(self._fallback, changed)
            self._pipeline.use_updated(fallback=self._fallback)
        return True

    def _update_model(self, changed: Int32Array | None) -> bool:
        assert self._learned is not None  # noqa: S101 - what has changed is known from it
        self.learns_model = False  # unless the update succeeds
        behind, self._is_behind, self._changed = self._is_behind, False, np.zeros(0, np.int32)
        updated = self._update(self._model, changed)
        self.learns_model, self._is_behind = True, behind and changed is not None
        if updated is not self._model:
            self._model = updated
            self._pipeline.use_updated(model=updated, n_users=len(self._learned.data.users))
        return True

    def _update(self, scorer: Scorer, changed: Int32Array | None) -> Scorer:
        assert self._learned is not None  # noqa: S101
        assert isinstance(scorer, Updatable)  # noqa: S101
        free = Run().available_memory()
        run = Run(threads=1, budget=Budget(memory=int(_MEMORY_SHARE * free)))
        with concurrent_kernels():
            updated = scorer.update(self._learned.data, changed, run)
        check_finite(updated, "Fit it again on the log, with a larger l2 or a weighting that damps large weights.")
        return updated


class OnlineLearner(BackgroundLoop):
    """A thread that updates the versions of a live pipeline, the one on trial too, at low priority.

    An update that fails is reported, and this version then answers with what it has learned so far; what is popular is learned on
    if the model is what has failed.

    An update copies the log for a moment. The C library would keep the freed memory, more with every update, so it is returned
    every ten seconds in which there was one: 3 ms of this thread.
    """

    def __init__(
        self, live: LivePipeline, report: Callable[[str], None], settings: LearningSettings = LearningSettings()
    ) -> None:
        """Start the thread.

        Args:
            live: what serves.
            report: called with a sentence about each version that cannot learn on.
            settings: limits.
        """
        self._live, self._settings = live, settings
        self._learners: dict[Pipeline, PipelineLearner | None] = {}  # None where it has failed
        self._has_freed, self._next_release = False, 0.0
        super().__init__("leanrec-learning", report, _LOOK_SECONDS, niceness=_NICENESS)

    def look(self) -> None:
        """Update what is due of all versions."""
        learners = self._learners
        pipelines = [version.pipeline for version in self._live.versions]
        self._learners = learners = {
            each: learners[each] if each in learners else PipelineLearner(each, self._settings) for each in pipelines
        }
        for pipeline, learner in learners.items():
            if learner is not None and not self._update(pipeline, learner):
                learners[pipeline] = None
        if self._has_freed and time.monotonic() >= self._next_release:
            release_free_memory()
            self._has_freed, self._next_release = False, time.monotonic() + _RELEASE_SECONDS

    def _update(self, pipeline: Pipeline, learner: PipelineLearner) -> bool:
        """Update what is due; False if nothing more can be learned."""
        learned_model, n_before = learner.learns_model, sum(learner.n_updates.values())
        try:
            learner.update_due()
            self._has_freed |= sum(learner.n_updates.values()) > n_before
        except Exception as error:  # noqa: BLE001 - whatever it is, the server answers on
            reason = str(error) if isinstance(error, LeanrecError) else repr(error)
            self.report(f"{pipeline.name} answers with what it has learned so far: {reason}")
            return learned_model and not learner.learns_model
        return True
