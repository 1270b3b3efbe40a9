"""Training, validation and test parts of a data set, and a check of what each may know of the future.

A split gives every event one part. All parts share the vocabularies of the data, so a row means the same
user or item everywhere. Whoever asks in a part knows what happened before it: the history of a validation
query is the training part, the history of a test query is training and validation together.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import Cases, Leak, pair_keys
from leanrec.data.splits.predefined import join_given
from leanrec.errors import DataError, SettingError
from leanrec.settings import check_between, check_one_of
from leanrec.types import CSR, Events, Int64Array

__all__ = [
    "ASIDE",
    "HOW",
    "TEST",
    "TRAIN",
    "VALID",
    "Cases",
    "Leak",
    "Parts",
    "Split",
    "assemble",
    "clock_of",
    "known_of_new_users",
    "split",
]

HOW = ("auto", "time", "leave-one-out", "ratio", "random", "cold-users", "cold-items", "given")
TRAIN, VALID, TEST, ASIDE = range(4)  # aside: known of a new asker, but not trained on
_EPOCH_LIKE = 10**8  # seconds until 1973; an order within a user never gets there

Parts = NDArray[np.int8]
Clock = Literal["clock", "order", "none"]


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """A data set in three parts.

    Attributes:
        train: what models are fitted on.
        valid: cases to choose models and settings by; their histories are ``train``.
        test: cases to report; their histories are everything before the test part.
        how: the way the parts were made.
        leak: whether training holds the future of held-out events.
        note: what one should know of this split, in sentences; may be empty.
    """

    train: Dataset
    valid: Cases
    test: Cases
    how: str
    leak: Leak
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Counts for reports."""
        return {
            "how": self.how,
            "note": self.note,
            "train": dataclasses.asdict(self.train.shape),
            "valid": self.valid.to_dict(),
            "test": self.test.to_dict(),
            "leak": self.leak.to_dict(),
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
    repeats: bool = False,
) -> Split:
    """Cut a data set into training, validation and test. Cost O(E log E) time and about 60 E bytes.

    ``time`` cuts everybody at two moments, quantiles of the times of positive events, so nothing of the
    future is known. ``leave-one-out`` holds out each user's last positive event and, for validation, the one
    before it, with all that follows; a user with one positive event stays in training, one with two gives no
    validation event. ``ratio`` holds out the last shares of each user's positive events; one at least stays
    in training. ``random`` draws events. ``cold-users`` draws users of whom training knows nothing; each
    brings the first ``known`` share of the own events as history. ``cold-items`` draws items of which
    training knows nothing. ``given`` takes the events it is handed. ``auto`` is ``time`` where there is a
    clock, ``leave-one-out`` where there is only an order within each user, and ``random`` where there is
    neither.

    With ``valid=0`` the test part is the same and training is everything before it: for the last fit, once
    the choice is made.

    Truth is the held-out positive events. An item the asker touched before is no answer unless ``repeats``,
    because lists do not show seen items; what is left out this way is counted in ``Cases.dropped``.

    Args:
        data: the data set.
        how: one of ``HOW``.
        valid: share of positive events, users or items; leave-one-out only asks whether it is 0.
        test: the same for test.
        seed: what random, cold-users and cold-items draw from.
        valid_events: for given: a data set of its own (``ingest(file).data``; a part of this one is
            ``data.with_events(events)``), or Events with own ids. Users and items are matched by their own ids.
        test_events: the same for test.
        known: for cold-users: share of a new user's positive events that the query brings as history.
        repeats: count items the asker touched before as answers.

    Raises:
        SettingError: a share outside [0, 1), no such way to split, or given events that carry no own ids.
        DataError: the data cannot be split this way, with a way that would work.
    """
    _check(how, valid, test, known, valid_events, test_events)
    if how == "given":
        joined = join_given(data, valid_events, test_events, by_time=clock_of(data) == "clock")
        return assemble(joined.data, joined.part, how, joined.note, repeats)
    clock = clock_of(data)
    chosen, note = _choose(how, clock)
    part = _WAYS[chosen](_Plan(data, clock, valid, test, seed, known))
    return assemble(data, part, chosen, note, repeats)


def clock_of(data: Dataset) -> Clock:
    """What the times of the events are good for. Cost O(E).

    "none": all are equal. "order": small whole numbers that count up within each user, so users cannot be
    compared with each other. "clock": anything else.
    """
    time = data.events.time
    if not len(time) or time.min() == time.max():
        return "none"
    if time.max() >= _EPOCH_LIKE:
        return "clock"
    same = np.diff(data.events.user) == 0
    if not same.any():
        return "clock"
    firsts = time[data.indptr[:-1][np.diff(data.indptr) > 0]]
    counting = (np.diff(time)[same] == 1).mean() >= 0.5
    return "order" if counting and (firsts <= time.min() + 1).mean() >= 0.5 else "clock"


def _check(how: str, valid: float, test: float, known: float, *events: Dataset | Events | None) -> None:
    check_one_of("how", how, HOW)
    for name, share in (("valid", valid), ("test", test), ("known", known)):
        check_between(name, share, 0, 1)
    if not 0 < valid + test < 1:
        raise SettingError(f"valid + test must be above 0 and below 1. Got {valid} + {test}.")
    has_events = any(each is not None for each in events)
    if has_events != (how == "given"):
        raise SettingError(
            "how='given' needs valid_events or test_events."
            if how == "given"
            else f"valid_events and test_events go with how='given'. Got how={how!r}."
        )


def _choose(how: str, clock: Clock) -> tuple[str, str]:
    if how != "auto":
        return how, ""
    return {
        "clock": ("time", ""),
        "order": (
            "leave-one-out",
            "The times only give the order within each user, so the last event of each user is held out.",
        ),
        "none": (
            "random",
            "The log has no times, so events are held out at random. If its rows are in time order, split with leave-one-out.",
        ),
    }[clock]


@dataclasses.dataclass(frozen=True, eq=False)
class _Plan:
    """What a way to split looks at."""

    data: Dataset
    clock: Clock
    valid: float
    test: float
    seed: int
    known: float

    @functools.cached_property
    def positive(self) -> NDArray[np.bool_]:
        return self.data.events.weight > 0

    @functools.cached_property
    def rank(self) -> Int64Array:
        """(E,) how many positive events of the user there are up to and with this one."""
        total = np.concatenate([[0], np.cumsum(self.positive)])
        rank: Int64Array = total[1:] - total[self.data.indptr[self.data.events.user]]
        return rank

    @functools.cached_property
    def positives(self) -> Int64Array:
        """(U,) positive events of each user."""
        user = self.data.events.user[self.positive]
        return np.bincount(user, minlength=len(self.data.users)).astype(np.int64)

    def by_rank(self, keep_valid: Int64Array, keep_test: Int64Array) -> Parts:
        """Hold out all that follows the first ``keep`` positive events of each user."""
        user, part = self.data.events.user, np.zeros(len(self.data.events), np.int8)
        part[self.rank > keep_valid[user]] = VALID
        part[self.rank > keep_test[user]] = TEST
        return part

    def draw(self, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions out of n for validation and test; the test draw does not depend on ``valid``."""
        order = np.random.default_rng(self.seed).permutation(n)
        n_test = max(1, round(self.test * n)) if self.test else 0
        n_valid = max(1, round(self.valid * n)) if self.valid else 0
        return order[n_test : n_test + n_valid], order[:n_test]


def _by_time(plan: _Plan) -> Parts:
    if plan.clock != "clock":
        here, instead = {
            "order": ("they only count up within each user", "how='leave-one-out' or how='ratio'"),
            "none": (
                "all events carry the same time",
                "how='random', or how='leave-one-out' if the log is in order",
            ),
        }[plan.clock]
        raise DataError(f"A split by time needs times that can be compared between users. Here {here}. Use {instead}.")
    time = plan.data.events.time
    ordered = np.sort(time[plan.positive])
    part = np.zeros(len(time), np.int8)
    for share, code in ((plan.valid + plan.test, VALID), (plan.test, TEST)):
        if share and len(ordered):
            part[time >= ordered[_floor(len(ordered) * (1 - share))]] = code
    return part


def _leave_one_out(plan: _Plan) -> Parts:
    keep_test = plan.positives - ((plan.positives >= 2) if plan.test else 0)
    keep_valid = keep_test - ((keep_test >= 2) if plan.valid else 0)
    return plan.by_rank(keep_valid, keep_test)


def _by_ratio(plan: _Plan) -> Parts:
    keep_test = np.maximum(_floor(plan.positives * (1 - plan.test)), 1)
    keep_valid = np.maximum(_floor(plan.positives * (1 - plan.test - plan.valid)), 1)
    return plan.by_rank(keep_valid, keep_test)


def _at_random(plan: _Plan) -> Parts:
    part = np.zeros(len(plan.data.events), np.int8)
    valid, test = plan.draw(len(part))
    part[valid], part[test] = VALID, TEST
    return part


def _cold_users(plan: _Plan) -> Parts:
    able = np.flatnonzero(plan.positives)
    valid, test = plan.draw(len(able))
    code = np.zeros(len(plan.data.users), np.int8)
    code[able[valid]], code[able[test]] = VALID, TEST
    brought = known_of_new_users(plan.data, code != TRAIN, plan.known)
    return np.where(brought, np.int8(ASIDE), code[plan.data.events.user])


def known_of_new_users(data: Dataset, new: NDArray[np.bool_], known: float) -> NDArray[np.bool_]:
    """(E,) the first ``known`` share of the positive events of each ``new`` user (U,), and all up to these: their history."""
    plan = _Plan(data, "none", 0, 0, 0, known)
    # At least one event is asked for; at least one is known where there are two and any is to be known.
    most = np.maximum(plan.positives - 1, 0)
    kept = np.clip(_floor(plan.positives * known), int(known > 0), most)
    user = data.events.user
    brought: NDArray[np.bool_] = new[user] & (plan.rank <= kept[user])
    return brought


def _cold_items(plan: _Plan) -> Parts:
    item = plan.data.events.item
    able = np.flatnonzero(np.bincount(item[plan.positive], minlength=len(plan.data.items)))
    valid, test = plan.draw(len(able))
    code = np.zeros(len(plan.data.items), np.int8)
    code[able[valid]], code[able[test]] = VALID, TEST
    return code[item]


_WAYS: dict[str, Callable[[_Plan], Parts]] = {
    "time": _by_time,
    "leave-one-out": _leave_one_out,
    "ratio": _by_ratio,
    "random": _at_random,
    "cold-users": _cold_users,
    "cold-items": _cold_items,
}


def _floor(values: Any) -> Any:
    # 10 * (1 - 0.1 - 0.2) is 6.999… in floating point and must be 7.
    return np.floor(np.round(values, 9)).astype(np.int64)


def assemble(data: Dataset, part: Parts, how: str, note: str = "", repeats: bool = False) -> Split:
    """A split from the part of each event: (E,) of TRAIN, VALID, TEST and ASIDE. Raises DataError if it trains on nothing or asks nothing."""
    train = _part(data, part == TRAIN)
    if not (train.events.weight > 0).any():
        raise DataError(f"The split {how!r} leaves no positive event to train on. Hold out less, or split another way.")
    known = _part(data, (part == TRAIN) | (part == ASIDE)) if (part == ASIDE).any() else train
    valid = _cases(data, part, VALID, known, repeats)
    test = _cases(data, part, TEST, None, repeats)
    if not (valid.truth.nnz or test.truth.nnz):
        raise DataError(
            f"The split {how!r} holds out no positive event that its asker had not touched before. "
            "Hold out more, split another way, or count repeated items with repeats=True."
        )
    return Split(train, valid, test, how, _leak(data, part), " ".join(filter(None, [note, _lonely(test)])))


def _part(data: Dataset, which: NDArray[np.bool_]) -> Dataset:
    """The data set with some of its events; a part of a sorted log is sorted."""
    return dataclasses.replace(data, events=data.events.take(which))


def _cases(data: Dataset, part: Parts, code: int, known: Dataset | None, repeats: bool) -> Cases:
    held = _part(data, part == code)
    positive = held.events.weight > 0
    answers = positive if held.events.value is None else positive | np.isfinite(held.events.value)
    asks = np.bincount(held.events.user[answers], minlength=len(data.users)) > 0
    users = np.flatnonzero(asks).astype(np.int32)
    if known is None:
        known = _part(data, (part != code) & asks[data.events.user])
    queries = dataclasses.replace(
        known.queries(users),
        users=np.where(_as_trained(data, part, known)[users], users, -1).astype(np.int32),
        time=_first(held, users, positive) if clock_of(data) == "clock" else None,
    )
    truth = held.interactions[users]
    truth, dropped = (truth, 0) if repeats or queries.seen is None else _without(truth, queries.seen)
    ratings = None if held.ratings is None else held.ratings[users]
    return Cases(queries, truth, ratings, repeats=repeats, dropped=dropped)


def _as_trained(data: Dataset, part: Parts, known: Dataset) -> NDArray[np.bool_]:
    """(U,) whether the training part holds events or links of the user, and all events that are known of the user."""
    trained = np.bincount(data.events.user[part == TRAIN], minlength=len(data.users))
    linked = False if data.friends is None else np.diff(data.friends.indptr) > 0
    same: NDArray[np.bool_] = ((trained > 0) | linked) & (trained == np.diff(known.indptr))
    return same


def _first(held: Dataset, users: NDArray[np.int32], positive: NDArray[np.bool_]) -> Int64Array:
    """(B,) time of each user's first positive held-out event, or of the first event if none is positive."""
    first = held.events.time[held.indptr[users]]
    asked, at = np.unique(held.events.user[positive], return_index=True)
    where = np.searchsorted(users, asked)
    first[where] = held.events.time[positive][at]
    return first


def _without(truth: CSR, seen: CSR) -> tuple[CSR, int]:
    """Truth without the pairs that ``seen`` holds, and how many these were. O(entries · log)."""
    keys, known = pair_keys(truth), pair_keys(seen)
    at = np.searchsorted(known, keys)
    fresh = np.append(known, -1)[at] != keys
    rows = np.repeat(np.arange(truth.shape[0]), np.diff(truth.indptr))[fresh]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=truth.shape[0]))])
    kept = sp.csr_array((truth.data[fresh], truth.indices[fresh], indptr), shape=truth.shape)
    return kept, int((~fresh).sum())


def _leak(data: Dataset, part: Parts) -> Leak:
    """Compare the held-out events (validation if there is no test) with all that is known before them."""
    code = TEST if (part == TEST).any() else VALID
    held = (part == code) & (data.events.weight > 0)
    known, clock = part != code, clock_of(data)
    user, time, n = data.events.user, data.events.time, int(held.sum())
    if clock == "none" or not n:
        return Leak(None, None, n)
    last = np.full(len(data.users), time.min(), np.int64)
    np.maximum.at(last, user[known], time[known])
    same = float((time[held] < last[user[held]]).mean())
    return Leak(float((time[held] < time[known].max()).mean()) if clock == "clock" else None, same, n)


def _lonely(test: Cases) -> str:
    lonely = int((np.diff(test.queries.history.indptr) == 0).sum())
    if not len(test) or lonely <= len(test) / 2:
        return ""
    return (
        f"{lonely} of {len(test)} test queries come from users without a history, so most lists will be the "
        "fallback's. To compare models on users they know, split with how='leave-one-out' or how='ratio'."
    )
