"""Degradation of a list: what is left out of the work for want of time or under load, and what is shown instead."""

import dataclasses
import math
import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from leanrec.pipeline.lists.stage_trace import StageTimer
from leanrec.pipeline.responses import RUNGS, DroppedStage, Recommendations, RecommendedItem, StageTrace
from leanrec.pipeline.snapshot import Snapshot
from leanrec.protocols import Context
from leanrec.retrieval.exact import build_item_mask, find_excluded
from leanrec.retrieval.stages import RankedItems
from leanrec.settings import check_between, check_one_of, check_positive
from leanrec.types import Queries

__all__ = ["ListOptions", "OldList", "StageTimes", "fill_with_popular", "trace_without_model"]

_LONG_LIST = 100  # items; longer lists have times of their own
_SMOOTHING = 0.1
_TRY_EVERY = 100


@dataclasses.dataclass(frozen=True)
class OldList:
    """An earlier list of the same user.

    Attributes:
        shown: `Snapshot.shown` of what made it.
        recommendations: the list.
    """

    shown: NDArray[np.bool_] | None
    recommendations: Recommendations

    def find_allowed(self, snapshot: Snapshot, seen: np.ndarray) -> tuple[list[RecommendedItem], np.ndarray]:
        """The items that may still be shown to a user who has seen these rows, and the rows of all items of the list.

        The reasons are left out if other items are hidden now, because no reason may name a hidden item.
        """
        items = self.recommendations.items
        rows = snapshot.catalog.items.rows([each.id for each in items], missing=-1)
        kept = (rows >= 0) & snapshot.is_shown(rows) & ~np.isin(rows, seen)
        allowed = [each for each, is_kept in zip(items, kept, strict=True) if is_kept]
        if self.shown is not snapshot.shown:
            allowed = [dataclasses.replace(each, reasons=()) for each in allowed]
        return allowed, rows


class ListOptions(NamedTuple):
    """How a list is asked for; see ``Pipeline.recommend``.

    Attributes:
        n: length of the list.
        exclude_seen: leave out items of the history.
        reasons: explain each item.
        rung: the best that the list may have.
        end: when it must be ready, by ``time.perf_counter``; infinite where there is no limit.
        explore: probability with which each place shows another of the best items.
    """

    n: int
    exclude_seen: bool
    reasons: bool
    rung: str
    end: float
    explore: float = 0.0

    @classmethod
    def check(
        cls,
        n: int,
        rung: str,
        time_limit_ms: float | None,
        *,
        exclude_seen: bool,
        reasons: bool,
        explore: float = 0.0,
    ) -> "ListOptions":
        """The options with a deadline so many milliseconds from now. Raises SettingError."""
        if rung not in RUNGS:
            check_one_of("rung", rung, RUNGS)
        if explore:
            check_between("explore", explore, 0, 1)
        end = math.inf
        if time_limit_ms is not None:
            check_positive("time_limit_ms", time_limit_ms)
            end = time.perf_counter() + time_limit_ms / 1e3
        return cls(n, exclude_seen, reasons, rung, end, explore)

    @property
    def is_limited(self) -> bool:
        """Whether anything may be left out: under load, or for want of time."""
        return self.rung != "full" or self.end < math.inf

    @property
    def is_long(self) -> bool:
        """Whether the times of most lists tell nothing of this one."""
        return self.n > _LONG_LIST

    def find_late(self, stage: str, times: "StageTimes") -> DroppedStage | None:
        """The stage as one that is left out for want of time, if it is."""
        if self.end == math.inf or times.is_in_time(stage, self.end - time.perf_counter(), is_long=self.is_long):
            return None
        return DroppedStage(stage, "deadline", 1e3 * times.estimate(stage, is_long=self.is_long))

    def find_dropped(self, stage: str, times: "StageTimes", *, has_old_list: bool = False) -> DroppedStage | None:
        """The stage as one that is left out, if it is: for the rung, or for want of time."""
        if not self.is_limited:
            return None
        last = "no_reasons" if stage == "explain" else "cached" if has_old_list else "popular"
        is_loaded = RUNGS.index(self.rung) >= RUNGS.index(last)
        if not is_loaded and times.is_in_time(stage, self.end - time.perf_counter(), is_long=self.is_long):
            return None
        milliseconds = 1e3 * times.estimate(stage, is_long=self.is_long)
        return DroppedStage(stage, "load" if is_loaded else "deadline", milliseconds)


class StageTimes:
    """Estimates of the seconds that stages take, of one version of a model. O(1).

    An estimate follows the latest times: their mean, and twice their mean deviation, so that most lists take less (as
    TCP estimates round trips; Jacobson 1988). A stage that is skipped because of it is not timed, so one of a hundred times
    it is not skipped: a single slow list does not keep it out for ever.
    """

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, bool], tuple[float, float]] = {}  # mean and mean deviation
        self._n_skipped: dict[tuple[str, bool], int] = {}

    def estimate(self, stage: str, *, is_long: bool = False) -> float:
        """Seconds of a stage, 0.0 before it was timed; ``is_long``: of lists of more than a hundred items."""
        mean, deviation = self._seconds.get((stage, is_long), (0.0, 0.0))
        return mean + 2 * deviation

    def add(self, stage: str, seconds: float, *, is_long: bool = False) -> None:
        """Take the time of a stage."""
        key = stage, is_long
        old = self._seconds.get(key)
        # After it was skipped many times the old estimate tells nothing.
        if old is None or self._n_skipped.get(key, 0) >= _TRY_EVERY:
            self._seconds[key] = seconds, 0.0
        else:
            mean, deviation = old
            change = seconds - mean
            self._seconds[key] = mean + _SMOOTHING * change, deviation + _SMOOTHING * (abs(change) - deviation)
        self._n_skipped[key] = 0

    def is_in_time(self, stage: str, seconds: float, *, is_long: bool = False) -> bool:
        """Whether a stage should begin with so many seconds left."""
        if self.estimate(stage, is_long=is_long) <= seconds:
            return True
        key = stage, is_long
        self._n_skipped[key] = self._n_skipped.get(key, 0) + 1
        return seconds > 0 and self._n_skipped[key] >= _TRY_EVERY

    def clear(self) -> None:
        """Forget the times, such as those of first lists, for which kernels were compiled."""
        self._seconds.clear()


def fill_with_popular(
    snapshot: Snapshot, queries: Queries, context: Context, n: int, old: OldList | None
) -> tuple[list[RecommendedItem], RankedItems]:
    """A list for one query (B = 1) without the model: what may still be shown of an earlier list, and what is popular with all.

    O(n + items of the history); O(N) with items that are allowed or denied.
    """
    seen = find_excluded(context, queries)
    left_out = np.zeros(0, np.int32) if seen is None else seen.indices
    items: list[RecommendedItem] = []
    if old is not None:
        items, old_rows = old.find_allowed(snapshot, left_out)
        left_out = np.concatenate([left_out, old_rows])
    rows, scores = snapshot.popular
    if context.allow is not None or context.deny is not None:
        allowed = build_item_mask(context, len(snapshot.catalog))
        rows, scores = (rows, scores) if allowed is None else (rows[allowed[rows]], scores[allowed[rows]])
    n_missing = n - len(items)
    head = slice(0, n_missing + len(left_out))
    kept = np.flatnonzero(~np.isin(rows[head], left_out))[:n_missing]
    rows, scores = rows[kept], scores[kept]
    if items:
        scores = np.zeros(len(rows), np.float32)  # those of the model have another scale
    return items, RankedItems(tuple(rows.tolist()), tuple(scores.tolist()), len(rows), from_fallback=True)


def trace_without_model(timer: StageTimer, rung: str, n_items: int, n_listed: int) -> tuple[StageTrace, ...]:
    """The one stage of a list that was made without the model."""
    timer.end_stage(rung)
    return (StageTrace(rung, sum(timer.milliseconds.values()), n_items, n_listed, {}, timer.budgets[rung]),)
