"""Trace of a list: the times of its stages, and what each of them dropped."""

import math
import time
from collections.abc import Mapping

import numpy as np

from leanrec.pipeline.catalog import ItemRules
from leanrec.pipeline.responses import StageTrace
from leanrec.protocols import Context
from leanrec.retrieval.exact import find_excluded
from leanrec.retrieval.stages import RankedItems
from leanrec.types import Queries

__all__ = ["StageTimer", "trace_stages"]


class StageTimer:
    """Times the stages of one list.

    Attributes:
        milliseconds: those of each stage so far.
        budgets: milliseconds that were left until the deadline when each stage began; None without a deadline.
    """

    def __init__(self, end: float = math.inf) -> None:
        """Begin; ``end`` is the deadline, by ``time.perf_counter``."""
        self.milliseconds: dict[str, float] = {}
        self.budgets: dict[str, float | None] = {}
        self._end, self._since = end, time.perf_counter()

    def end_stage(self, stage: str) -> None:
        """Add the time since the end of the last stage to this one."""
        now = time.perf_counter()
        self.budgets.setdefault(stage, 1e3 * (self._end - self._since) if self._end < math.inf else None)
        self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + 1e3 * (now - self._since)
        self._since = now


def trace_stages(
    timer: StageTimer,
    found: RankedItems,
    queries: Queries,
    n_items: int,
    rules: ItemRules,
    context: Context,
    n_candidates: Mapping[str, int],
) -> tuple[StageTrace, ...]:
    """The stages of the list of one query (B = 1) over N items. O(N), after the list was made and timed.

    ``n_candidates`` has the number of candidates of each source that was asked.
    """
    dropped = _count_dropped(queries, n_items, rules, context)
    n_allowed, n_listed = n_items - sum(dropped.values()), len(found.rows)
    n_ranked = 0 if found.from_fallback else found.n_from_model
    lower = {"no evidence" if n_ranked < len(found.own_ranks) else "lower score": n_allowed - n_ranked}
    n_own = len(found.own_ranks)
    counts: dict[str, tuple[int, int, dict[str, int]]] = {
        "rules": (n_items, n_allowed, dropped),
        "retrieve": (n_allowed, n_ranked, {reason: count for reason, count in lower.items() if count}),
        "fill": (n_ranked, n_own, {}),
        "explore": (n_listed, n_listed, {}),
        "explain": (n_listed, n_listed, {}),
    }
    for name, n_found in n_candidates.items():
        n_placed = found.sources.count(name)
        unused = {"no place": n_found - n_placed} if n_found > n_placed else {}
        counts[f"source {name}"] = (n_found, n_placed, unused)
    return tuple(
        StageTrace(stage, spent, *counts[stage], timer.budgets[stage]) for stage, spent in timer.milliseconds.items()
    )


def _count_dropped(queries: Queries, n_items: int, rules: ItemRules, context: Context) -> dict[str, int]:
    """Number of items that the rules leave out, by the first reason that applies."""
    seen = find_excluded(context, queries)
    kept_rows = {"not allowed": rules.listed, "condition": rules.allow}
    left_out_rows = {
        "hidden": None if context.shown is None else np.flatnonzero(~context.shown),
        "denied": rules.deny,
        "seen": None if seen is None else seen.indices,
    }
    dropped, left = {}, np.ones(n_items, np.bool_)
    for reason in ("hidden", "denied", "not allowed", "condition", "seen"):
        kept, left_out = kept_rows.get(reason), left_out_rows.get(reason)
        before = np.count_nonzero(left)
        if kept is not None:
            left &= np.isin(np.arange(n_items), kept)
        elif left_out is not None:
            left[left_out] = False
        if before > np.count_nonzero(left):
            dropped[reason] = int(before - np.count_nonzero(left))
    return dropped
