"""Splits of a data set into training, validation and test parts.

A split assigns every event to one part. All parts share the vocabularies of the data, so an internal row means the same
user or item everywhere. The history of a validation query is the training part; the history of a test query is training
and validation together.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet, LeakageReport, pair_keys
from leanrec.data.splits.predefined import join_held_out
from leanrec.data.time_kind import TimeKind
from leanrec.errors import DataError, SettingError
from leanrec.settings import check_between, check_one_of
from leanrec.types import CSR, Events, Int64Array

__all__ = [
    "HISTORY_ONLY",
    "HOW",
    "TEST",
    "TRAIN",
    "VALID",
    "EvaluationSet",
    "LeakageReport",
    "Parts",
    "Split",
    "build_split",
    "mark_history",
    "split",
]

HOW = ("auto", "time", "leave-one-out", "ratio", "random", "cold-users", "cold-items", "given")
TRAIN, VALID, TEST, HISTORY_ONLY = range(4)  # history only: known for a new query user, but not used in training

Parts = NDArray[np.int8]


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """A data set in three parts.

    Attributes:
        train: the training part.
        valid: the evaluation set for model selection; its histories are ``train``.
        test: the evaluation set for reported results; its histories are everything before the test part.
        how: the way the parts were made.
        leakage: how many held-out events are earlier than known events.
        note: properties of this split that matter for its results, in sentences; may be empty.
    """

    train: Dataset
    valid: EvaluationSet
    test: EvaluationSet
    how: str
    leakage: LeakageReport
    note: str = ""

    def require(self, name: str) -> EvaluationSet:
        """Return the part ``name`` ("valid" or "test"). Raises DataError with advice if it holds nothing to rank."""
        part: EvaluationSet = getattr(self, name)
        if part.ground_truth.nnz:
            return part
        advice = f"Hold out more with {name}=0.2, or hold out the last events of each user with how='leave-one-out'."
        if self.how == "given":
            advice = f"Pass {name}_events with liked items that are new to their users."
        if part.n_dropped:
            advice = f"Its {part.n_dropped:,} pairs are repeats of the history: count them with allow_repeats=True."
        raise DataError(
            f"The {name} part of the split {self.how!r} must hold at least one relevant item. It holds none. {advice}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return counts for reports."""
        return {
            "how": self.how,
            "note": self.note,
            "train": dataclasses.asdict(self.train.shape),
            "valid": self.valid.to_dict(),
            "test": self.test.to_dict(),
            "leakage": self.leakage.to_dict(),
        }


def split(
    data: Dataset,
    how: str = "auto",
    *,
    valid: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    valid_events: Dataset | Events | None = None,
    test_events: Dataset | Events | None = None,
    known: float = 0.8,
    allow_repeats: bool = False,
) -> Split:
    """Split a data set into training, validation and test. Cost: O(E log E) time and about 60 E bytes.

    ``time`` cuts the events of all users at two moments, quantiles of the times of positive events, so there is no temporal
    leakage. ``leave-one-out`` holds out each user's last positive event and, for validation, the one before it, with all
    events that follow; a user with one positive event stays in training, one with two has no validation event. ``ratio`` holds
    out the last shares of each user's positive events; at least one stays in training. ``random`` draws events.
    ``cold-users`` draws users that are not in training; each brings the first ``known`` share of their events as history.
    ``cold-items`` draws items that are not in training. ``given`` takes predefined held-out events. ``auto`` is ``time`` where
    times are comparable between users, ``leave-one-out`` where there is only an order within each user, and ``random`` where
    there is neither.

    With ``valid=0`` the test part is the same and training is everything before it: for the final fit after model selection.

    The ground truth is the positive held-out events. An item that the user interacted with before is not relevant unless
    ``allow_repeats``, because recommendation lists exclude seen items; ``EvaluationSet.n_dropped`` counts these pairs.

    Args:
        data: the data set.
        how: one of the ways above.
        valid: share of positive events, users or items; leave-one-out only checks whether it is 0. A split by time does not
            divide events of the same time: a part may be larger, and ``Split.note`` says so.
        test: the same for test.
        seed: random seed of random, cold-users and cold-items.
        valid_events: for given: a data set (``ingest(file).data``; for a part of this one
            ``data.with_events(events)``), or Events with external ids. Users and items are matched by external id.
        test_events: the same for test.
        known: for cold-users: share of a new user's positive events that is the history of the query.
        allow_repeats: count items that the user interacted with before as relevant.

    Raises:
        SettingError: a share outside [0, 1), an unknown way to split, or given events without external ids.
        DataError: the data cannot be split this way; the message names a way that works.
    """
    check_one_of("how", how, HOW)
    for name, share in (("valid", valid), ("test", test), ("known", known)):
        check_between(name, share, 0, 1)
    if not 0 < valid + test < 1:
        raise SettingError(f"valid + test must be above 0 and below 1. Got {valid} + {test}.")
    has_events = valid_events is not None or test_events is not None
    if how == "given":
        if not has_events:
            raise SettingError("how='given' needs valid_events or test_events. Got neither.")
        joined = join_held_out(data, valid_events, test_events)
        return build_split(joined.data, joined.part, how, joined.note, allow_repeats)
    if has_events:
        raise SettingError(f"valid_events and test_events need how='given'. Got how={how!r}.")
    chosen, note = _AUTO[data.time_kind] if how == "auto" else (how, "")
    plan = _SplitPlan(data, valid, test, seed, known)
    part = _METHODS[chosen](plan)
    if chosen == "time":
        note = " ".join(filter(None, (note, plan.explain_ties(part))))
    return build_split(data, part, chosen, note, allow_repeats)


_KNOWN_USERS = " To compare models on known users, split with how='leave-one-out' or how='ratio'."
_AUTO = {
    TimeKind.TIMESTAMP: ("time", ""),
    TimeKind.COMPARABLE: ("time", ""),
    TimeKind.ORDER: (
        "leave-one-out",
        "The times only give the order within each user, so the last event of each user is held out.",
    ),
    TimeKind.NONE: (
        "random",
        "The log has no times, so events are held out at random. If its rows are in time order, split with how='leave-one-out'.",
    ),
}


@dataclasses.dataclass(frozen=True, eq=False)
class _SplitPlan:
    """The data and the settings that a split method reads."""

    data: Dataset
    valid: float
    test: float
    seed: int
    known: float

    @functools.cached_property
    def positive(self) -> NDArray[np.bool_]:
        return self.data.is_positive

    @functools.cached_property
    def rank(self) -> Int64Array:
        """(E,) number of positive events of the user up to and including this one."""
        total = np.concatenate([[0], np.cumsum(self.positive)])
        rank: Int64Array = total[1:] - total[self.data.indptr[self.data.events.user]]
        return rank

    @functools.cached_property
    def n_positives(self) -> Int64Array:
        """(U,) number of positive events of each user."""
        user = self.data.events.user[self.positive]
        return np.bincount(user, minlength=len(self.data.users)).astype(np.int64)

    def hold_out_after(self, n_before_valid: Int64Array, n_before_test: Int64Array) -> Parts:
        """Hold out everything after the first (U,) positive events of each user."""
        user, part = self.data.events.user, np.zeros(len(self.data.events), np.int8)
        part[self.rank > n_before_valid[user]] = VALID
        part[self.rank > n_before_test[user]] = TEST
        return part

    def sample(self, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw positions out of n for validation and test; the test sample does not depend on ``valid``."""
        order = np.random.default_rng(self.seed).permutation(n)
        n_test = max(1, round(self.test * n)) if self.test else 0
        n_valid = max(1, round(self.valid * n)) if self.valid else 0
        return order[n_test : n_test + n_valid], order[:n_test]

    def split_by_time(self) -> Parts:
        """Cut the events of all users at two moments."""
        if not self.data.time_kind.is_comparable:
            found, instead = {
                TimeKind.ORDER: ("they only count up within each user", "how='leave-one-out' or how='ratio'"),
                TimeKind.NONE: (
                    "all events have the same time",
                    "how='random', or how='leave-one-out' if the log is in order",
                ),
            }[self.data.time_kind]
            raise DataError(
                f"A split by time needs times that are comparable between users. Here {found}. Use {instead}."
            )
        time = self.data.events.time
        ordered = np.sort(time[self.positive])
        part = np.zeros(len(time), np.int8)
        # Events of one time are not divided; those of the first time are for training.
        later = ordered[np.searchsorted(ordered, ordered[:1], side="right").sum() :]
        if not len(later):
            raise DataError(
                "A split by time needs positive events at two times or more. Here there is one time; use "
                "how='leave-one-out', how='ratio' or how='random'."
            )
        test = max(ordered[_floor(len(ordered) * (1 - self.test))], later[0]) if self.test else ordered[-1] + 1
        if self.valid:
            valid = ordered[_floor(len(ordered) * (1 - self.valid - self.test))]
            if valid >= test:
                # The tie takes the test share and the validation share, so validation takes its share before.
                valid = ordered[np.searchsorted(ordered, test) - max(1, round(self.valid * len(ordered)))]
            part[time >= min(max(valid, later[0]), test)] = VALID
        if self.test:
            part[time >= test] = TEST
        return part

    def explain_ties(self, part: Parts) -> str:
        """Return a note where events of the same time make a part of a split by time far larger than asked for, else ""."""
        n = max(1, int(self.positive.sum()))
        for name, share, code in (("test", self.test, TEST), ("validation", self.valid, VALID)):
            found = int(np.count_nonzero(self.positive & (part == code))) / n
            if share and found > 1.5 * share and (found - share) * n >= 3:
                return (
                    f"Many events have the same time and are not divided, so the {name} part has {found:.0%} of the positive "
                    f"events instead of {share:.0%}. how='leave-one-out' and how='ratio' hold out shares of each user's events."
                )
        return ""

    def split_leave_one_out(self) -> Parts:
        """Hold out the last positive events of each user."""
        before_test = self.n_positives - ((self.n_positives >= 2) if self.test else 0)
        before_valid = before_test - ((before_test >= 2) if self.valid else 0)
        return self.hold_out_after(before_valid, before_test)

    def split_by_ratio(self) -> Parts:
        """Hold out the last shares of the positive events of each user."""
        before_test = np.maximum(_floor(self.n_positives * (1 - self.test)), 1)
        before_valid = np.maximum(_floor(self.n_positives * (1 - self.test - self.valid)), 1)
        return self.hold_out_after(before_valid, before_test)

    def split_at_random(self) -> Parts:
        """Draw events."""
        part = np.zeros(len(self.data.events), np.int8)
        valid, test = self.sample(len(part))
        part[valid], part[test] = VALID, TEST
        return part

    def split_cold_users(self) -> Parts:
        """Draw users; the first events of each are the history."""
        eligible = np.flatnonzero(self.n_positives)
        valid, test = self.sample(len(eligible))
        code = np.zeros(len(self.data.users), np.int8)
        code[eligible[valid]], code[eligible[test]] = VALID, TEST
        history = mark_history(self.data, code != TRAIN, self.known)
        return np.where(history, np.int8(HISTORY_ONLY), code[self.data.events.user])

    def split_cold_items(self) -> Parts:
        """Draw items."""
        item = self.data.events.item
        eligible = np.flatnonzero(np.bincount(item[self.positive], minlength=len(self.data.items)))
        valid, test = self.sample(len(eligible))
        code = np.zeros(len(self.data.items), np.int8)
        code[eligible[valid]], code[eligible[test]] = VALID, TEST
        return code[item]


def mark_history(data: Dataset, new: NDArray[np.bool_], known: float) -> NDArray[np.bool_]:
    """(E,) the first ``known`` share of the positive events of each ``new`` user (U,), and all events up to these."""
    plan = _SplitPlan(data, 0, 0, 0, known)
    # At least one event is held out; at least one is known where there are two and ``known`` is not 0.
    most = np.maximum(plan.n_positives - 1, 0)
    kept = np.clip(_floor(plan.n_positives * known), int(known > 0), most)
    user = data.events.user
    history: NDArray[np.bool_] = new[user] & (plan.rank <= kept[user])
    return history


_METHODS: dict[str, Callable[[_SplitPlan], Parts]] = {
    "time": _SplitPlan.split_by_time,
    "leave-one-out": _SplitPlan.split_leave_one_out,
    "ratio": _SplitPlan.split_by_ratio,
    "random": _SplitPlan.split_at_random,
    "cold-users": _SplitPlan.split_cold_users,
    "cold-items": _SplitPlan.split_cold_items,
}


def _floor(values: Any) -> Any:
    # 10 * (1 - 0.1 - 0.2) is 6.999… in floating point and must be 7.
    return np.floor(np.round(values, 9)).astype(np.int64)


def build_split(
    data: Dataset,
    part: Parts,
    how: str,
    note: str = "",
    allow_repeats: bool = False,
    advice: str = "Hold out more with test=0.2, or split another way.",
) -> Split:
    """Build a split from the part of each event: (E,) of TRAIN, VALID, TEST and HISTORY_ONLY.

    Raises DataError if there is no positive event to train on, or none to evaluate, with ``advice`` in the latter case.
    """
    train = _select_events(data, part == TRAIN)
    if not (train.events.weight > 0).any():
        raise DataError(f"The split {how!r} leaves no positive event to train on. Hold out less, or split another way.")
    has_new_users = (part == HISTORY_ONLY).any()
    known = _select_events(data, (part == TRAIN) | (part == HISTORY_ONLY)) if has_new_users else train
    valid = _build_evaluation_set(train, data, part, VALID, known, allow_repeats)
    test = _build_evaluation_set(train, data, part, TEST, None, allow_repeats)
    if not (valid.ground_truth.nnz or test.ground_truth.nnz):
        raise DataError(
            f"The split {how!r} holds out no positive event with an item that is new to its user. "
            f"{_explain_repeats(valid, test) or advice}"
        )
    note = " ".join(filter(None, (note, _explain_repeats(valid, test))))
    n_empty = int((np.diff(test.queries.history.indptr) == 0).sum())
    if n_empty > len(test) / 2:
        note = (
            f"{note} {n_empty} of {len(test)} test queries come from users without a history, so most lists come from the "
            f"fallback.{_KNOWN_USERS if how != 'given' else ''}"
        ).strip()
    return Split(train, valid, test, how, _measure_leakage(data, part), note)


def _explain_repeats(*parts: EvaluationSet) -> str:
    """Return a note on held-out pairs that were left out because the user had the item before, "" without any."""
    n_dropped = sum(part.n_dropped for part in parts)
    if not n_dropped:
        return ""
    n_pairs = n_dropped + sum(int(part.ground_truth.nnz) for part in parts)
    return (
        f"{n_dropped:,} of {n_pairs:,} held-out pairs of user and item ({n_dropped / n_pairs:.1%}) are repeats of the history and "
        "do not count as relevant. Where people come back to the same items, count them with allow_repeats=True."
    )


def _select_events(data: Dataset, which: NDArray[np.bool_]) -> Dataset:
    """Return the data set with some of its events; a part of a sorted log is sorted."""
    return dataclasses.replace(data, events=data.events.take(which))


def _build_evaluation_set(
    train: Dataset, data: Dataset, part: Parts, code: int, known: Dataset | None, allow_repeats: bool
) -> EvaluationSet:
    """Queries with the history ``known`` (None: all events of other parts), and ground truth from the part ``code``."""
    held_out = _select_events(data, part == code)
    positive = held_out.is_positive
    answers = positive if held_out.events.rating is None else positive | np.isfinite(held_out.events.rating)
    has_query = np.bincount(held_out.events.user[answers], minlength=len(data.users)) > 0
    users = np.flatnonzero(has_query).astype(np.int32)
    if known is None:
        known = _select_events(data, (part != code) & has_query[data.events.user])
    queries = dataclasses.replace(
        known.queries(users),
        is_stale=np.zeros(len(users), np.bool_) if known is train else _differs(known, train, users),
        time=_find_query_times(held_out, users, positive) if data.time_kind.is_comparable else None,
    )
    ground_truth, n_dropped = held_out.interactions[users], 0
    if not allow_repeats and queries.seen is not None:
        ground_truth, n_dropped = _drop_seen(ground_truth, queries.seen)
    ratings = None if held_out.ratings is None else held_out.ratings[users]
    return EvaluationSet(queries, ground_truth, ratings, allow_repeats=allow_repeats, n_dropped=n_dropped)


def _differs(known: Dataset, train: Dataset, users: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(B,) whether two histories of a user differ in an item or a weight. O(entries)."""
    unequal: Any = known.interactions[users] != train.interactions[users]
    unequal.eliminate_zeros()
    return np.asarray(np.diff(unequal.indptr) > 0)


def _find_query_times(held_out: Dataset, users: NDArray[np.int32], positive: NDArray[np.bool_]) -> Int64Array:
    """(B,) time of each user's first positive held-out event, or of the first event if none is positive."""
    times = held_out.events.time[held_out.indptr[users]]
    with_positive, at = np.unique(held_out.events.user[positive], return_index=True)
    times[np.searchsorted(users, with_positive)] = held_out.events.time[positive][at]
    return times


def _drop_seen(ground_truth: CSR, seen: CSR) -> tuple[CSR, int]:
    """Return the ground truth without the pairs of ``seen``, and how many were dropped. O(entries · log)."""
    keys, known = pair_keys(ground_truth), pair_keys(seen)
    fresh = np.append(known, -1)[np.searchsorted(known, keys)] != keys
    rows = np.repeat(np.arange(ground_truth.shape[0]), np.diff(ground_truth.indptr))[fresh]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=ground_truth.shape[0]))])
    kept = sp.csr_array((ground_truth.data[fresh], ground_truth.indices[fresh], indptr), shape=ground_truth.shape)
    return kept, int((~fresh).sum())


def _measure_leakage(data: Dataset, part: Parts) -> LeakageReport:
    """Compare the held-out events (validation if there is no test) with all other events."""
    code = TEST if (part == TEST).any() else VALID
    held_out, known = (part == code) & data.is_positive, part != code
    user, time, n = data.events.user, data.events.time, int(held_out.sum())
    if data.time_kind is TimeKind.NONE or not n:
        return LeakageReport(None, None, n)
    last = np.full(len(data.users), time.min(), np.int64)
    np.maximum.at(last, user[known], time[known])
    same_user = float((time[held_out] < last[user[held_out]]).mean())
    overall = float((time[held_out] < time[known].max()).mean()) if data.time_kind.is_comparable else None
    return LeakageReport(overall, same_user, n)
