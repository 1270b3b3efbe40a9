"""Cross-validation folds: several splits of one data set."""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np

from leanrec.data.dataset import Dataset
from leanrec.data.splits.split import HISTORY_ONLY, TEST, Parts, Split, build_split, mark_history
from leanrec.data.time_kind import TimeKind
from leanrec.errors import DataError, SettingError
from leanrec.settings import check_at_least, check_between, check_one_of

__all__ = ["FOLDS", "make_folds"]

FOLDS = ("auto", "time", "users", "random")
_AUTO = {
    TimeKind.TIMESTAMP: "time",
    TimeKind.COMPARABLE: "time",
    TimeKind.ORDER: "users",
    TimeKind.NONE: "random",
}


def make_folds(
    data: Dataset,
    n: int = 5,
    how: str = "auto",
    *,
    first: float = 0.5,
    known: float = 0.8,
    seed: int = 0,
    allow_repeats: bool = False,
) -> Iterator[Split]:
    """Yield ``n`` splits, each with a test part and no validation part. Each costs O(E log E).

    ``time`` is a rolling origin: the first ``first`` of the positive events are for training only, the others are cut into n
    spans with equal numbers of events. Each span is the test part of a fold that trains on everything before it and contains
    nothing after it. ``users`` assigns the users at random to n groups; each group is held out once, and its users bring the
    first ``known`` share of their events as history. ``random`` does the same with events, and has temporal leakage. ``auto``
    is ``time`` where times are comparable between users, ``users`` where there is an order within each, else ``random``.

    Raises:
        SettingError: fewer than two folds, or an unknown way.
        DataError: the data cannot be split this way, or into so many folds.
    """
    check_at_least("folds", n, 2)
    check_one_of("how", how, FOLDS)
    check_between("first", first, 0.01, 0.99)
    check_between("known", known, 0, 1)
    if how == "auto":
        how = _AUTO[data.time_kind]
    if how == "time" and not data.time_kind.is_comparable:
        raise DataError(
            "Folds by time need times that are comparable between users. This log has none; use how='users'."
        )
    make = {"time": _by_time, "users": _by_users, "random": _at_random}[how]
    for i, (fold_data, part) in enumerate(make(data, n, first, known, seed)):
        try:
            yield build_split(
                fold_data, part, how, "", allow_repeats, "Make fewer folds, or other ones with how='users'."
            )
        except DataError as error:
            raise DataError(f"Fold {i + 1} of {n}: {error}") from error


def _by_time(data: Dataset, n: int, first: float, known: float, seed: int) -> Iterator[tuple[Dataset, Parts]]:
    del known, seed
    time, ordered = data.events.time, np.sort(data.events.time[data.is_positive])
    _check_enough(len(ordered), n, "positive events")
    at = np.floor(np.round(len(ordered) * (first + (1 - first) * np.arange(n) / n), 9)).astype(np.int64)
    cuts = [*ordered[at].tolist(), int(time.max()) + 1]
    if len(set(cuts)) < len(cuts):
        raise DataError(
            f"Folds by time need different times at the {n} cuts. Too many events have the same time; make fewer folds, "
            "or use how='users'."
        )
    for begin, end in itertools.pairwise(cuts):
        past = dataclasses.replace(data, events=data.events.take(time < end))
        yield past, np.where(past.events.time >= begin, TEST, 0).astype(np.int8)


def _by_users(data: Dataset, n: int, first: float, known: float, seed: int) -> Iterator[tuple[Dataset, Parts]]:
    del first
    eligible = np.unique(data.events.user[data.is_positive])
    _check_enough(len(eligible), n, "users with a positive event")
    for held_out in np.array_split(np.random.default_rng(seed).permutation(eligible), n):
        code = np.zeros(len(data.users), np.int8)
        code[held_out] = TEST
        yield data, np.where(mark_history(data, code > 0, known), HISTORY_ONLY, code[data.events.user]).astype(np.int8)


def _at_random(data: Dataset, n: int, first: float, known: float, seed: int) -> Iterator[tuple[Dataset, Parts]]:
    del first, known
    _check_enough(len(data.events), n, "events")
    for held_out in np.array_split(np.random.default_rng(seed).permutation(len(data.events)), n):
        part = np.zeros(len(data.events), np.int8)
        part[held_out] = TEST
        yield data, part


def _check_enough(available: int, n: int, what: str) -> None:
    if available < 2 * n:
        raise SettingError(f"{n} folds need at least {2 * n} {what}. Got {available}; make fewer folds.")
