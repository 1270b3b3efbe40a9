"""Several splits of one data set, so that a result does not hang on one of them."""

import itertools
from collections.abc import Iterator

import numpy as np

from leanrec.data.dataset import Dataset
from leanrec.data.splits.split import ASIDE, TEST, Parts, Split, assemble, clock_of, known_of_new_users
from leanrec.errors import DataError, SettingError
from leanrec.settings import check_at_least, check_between, check_one_of

__all__ = ["FOLDS", "folds"]

FOLDS = ("auto", "time", "users", "random")


def folds(
    data: Dataset,
    n: int = 5,
    how: str = "auto",
    *,
    first: float = 0.5,
    known: float = 0.8,
    seed: int = 0,
    repeats: bool = False,
) -> Iterator[Split]:
    """``n`` splits, each with a test part and no validation part; made one at a time. Each costs O(E log E).

    ``time`` is a rolling origin: the first ``first`` of the positive events are training only, the others are cut into n
    spans of as many events each; a span is the test part of the fold that trains on all before it and knows nothing after it.
    ``users`` deals the users to n groups; each is held out once, and its users bring the first ``known`` share of their events
    as history. ``random`` does the same with events, and leaks the future. ``auto`` is ``time`` where times can be compared
    between users, ``users`` where there is an order within each, else ``random``.

    Raises:
        SettingError: fewer than two folds, or no such way.
        DataError: the data cannot be cut this way, or into so many folds.
    """
    check_at_least("folds", n, 2)
    check_one_of("how", how, FOLDS)
    check_between("first", first, 0.01, 0.99)
    check_between("known", known, 0, 1)
    clock = clock_of(data)
    if how == "auto":
        how = {"clock": "time", "order": "users", "none": "random"}[clock]
    if how == "time" and clock != "clock":
        raise DataError(
            "Folds in time need times that can be compared between users; here there are none. Use how='users'."
        )
    make = {"time": _by_time, "users": _by_users, "random": _at_random}[how]
    for i, (part_of, part) in enumerate(make(data, n, first, known, seed)):
        try:
            yield assemble(part_of, part, how, "", repeats)
        except DataError as error:
            raise DataError(f"Fold {i + 1} of {n}: {error}") from error


def _by_time(data: Dataset, n: int, first: float, known: float, seed: int) -> Iterator[tuple[Dataset, Parts]]:
    del known, seed
    time, ordered = data.events.time, np.sort(data.events.time[data.events.weight > 0])
    _enough(len(ordered), n, "positive events")
    at = np.floor(np.round(len(ordered) * (first + (1 - first) * np.arange(n) / n), 9)).astype(np.int64)
    cuts = [*ordered[at].tolist(), int(time.max()) + 1]
    if len(set(cuts)) < len(cuts):
        raise DataError(
            f"Too many events carry the same time for {n} folds in time. Make fewer folds, or use how='users'."
        )
    for begin, end in itertools.pairwise(cuts):
        past = data.with_events(data.events.take(time < end))
        yield past, np.where(past.events.time >= begin, TEST, 0).astype(np.int8)


def _by_users(data: Dataset, n: int, first: float, known: float, seed: int) -> Iterator[tuple[Dataset, Parts]]:
    del first
    able = np.unique(data.events.user[data.events.weight > 0])
    _enough(len(able), n, "users with a positive event")
    for held in np.array_split(np.random.default_rng(seed).permutation(able), n):
        code = np.zeros(len(data.users), np.int8)
        code[held] = TEST
        yield data, np.where(known_of_new_users(data, code > 0, known), ASIDE, code[data.events.user]).astype(np.int8)


def _at_random(data: Dataset, n: int, first: float, known: float, seed: int) -> Iterator[tuple[Dataset, Parts]]:
    del first, known
    _enough(len(data.events), n, "events")
    for held in np.array_split(np.random.default_rng(seed).permutation(len(data.events)), n):
        part = np.zeros(len(data.events), np.int8)
        part[held] = TEST
        yield data, part


def _enough(there: int, n: int, what: str) -> None:
    if there < 2 * n:
        raise SettingError(f"{n} folds need at least {2 * n} {what}. There are {there}; make fewer folds.")
