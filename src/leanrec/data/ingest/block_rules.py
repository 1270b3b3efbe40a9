"""The rules that need a user's events together, or the whole log, applied to the ordered log block by block."""

import collections
import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.ingest.cleaning import CleaningRules, busiest_day, find_duplicates, log_limit
from leanrec.data.ingest.encoding import EncodedLog, LogBlock
from leanrec.data.ingest.reject_reasons import CODE
from leanrec.types import Float32Array

__all__ = ["reject_events"]

_BINS = 64  # to the factor e: a limit is then exact to 1.6 %


@dataclasses.dataclass(frozen=True, eq=False)
class _Rules:
    """What a block is judged by.

    Attributes:
        drop_duplicates: look for duplicates.
        timed: events of one user are told apart by their time first.
        per_day: events that a user may have on one day, None = any number.
        bots: (users,) who has far more events than the others, None = nobody.
        heaviest: (event types,) largest weight, None = any.
    """

    drop_duplicates: bool
    timed: bool
    per_day: int | None
    bots: NDArray[np.bool_] | None
    heaviest: Float32Array | None

    @property
    def idle(self) -> bool:
        """Whether no rule can take anything."""
        return not self.drop_duplicates and self.per_day is None and self.bots is None and self.heaviest is None


def reject_events(log: EncodedLog, cleaning: CleaningRules, *, clock: bool, comparable: bool) -> NDArray[np.int8]:
    """(E,) why each row of the ordered log is set aside, as a code into ``REASONS``; 0 = kept.

    Args:
        log: the ordered log.
        cleaning: the rules.
        clock: times are a clock, so that days can be counted.
        comparable: the log has times or ratings, so that equal rows are duplicates.

    Cost: one scan, one more for weights, and one for each round of the k-core; a byte for each event.
    """
    reason = np.zeros(log.events, np.int8)
    rules = _Rules(
        drop_duplicates=comparable and cleaning.duplicates == "drop",
        timed=log.timed,
        per_day=cleaning.max_per_day if clock else None,
        bots=_many_events(log, cleaning),
        heaviest=_heaviest(log, cleaning),
    )
    if not rules.idle:
        for block in log.blocks():
            _mark(block, reason[block.start : block.start + len(block)], rules)
    if cleaning.min_user > 1 or cleaning.min_item > 1:
        _core(log, cleaning, reason)
    return reason


def _mark(block: LogBlock, reason: NDArray[np.int8], rules: _Rules) -> None:
    """Write the reasons of one block. A later rule wins, so that all events of a bot have one reason."""
    if rules.drop_duplicates:
        keys: list[NDArray[Any]] = [block.user]
        tied = block.user[1:] == block.user[:-1]
        if rules.timed:
            keys.append(block.time)
            tied &= block.time[1:] == block.time[:-1]
        optional = (column for column in (block.amount, block.rating) if column is not None)
        reason[find_duplicates([*keys, block.item, block.event_type, *optional], tied)] = CODE["duplicate"]
    if rules.heaviest is not None:
        reason[_amount(block) > rules.heaviest[block.event_type]] = CODE["outlier: weight far above the others"]
    if rules.per_day is not None:
        users, most = busiest_day(block.user.astype(np.int64), block.time)
        reason[np.isin(block.user, users[most > rules.per_day])] = CODE["bot: too many events in one day"]
    if rules.bots is not None:
        reason[rules.bots[block.user]] = CODE["bot: far more events than other users"]


def _many_events(log: EncodedLog, cleaning: CleaningRules) -> NDArray[np.bool_] | None:
    """(users,) who has far more events than the others; None = nobody."""
    if cleaning.bot_sigmas is None:
        return None
    bots = log.per_user > log_limit(log.per_user[log.per_user > 0], cleaning.bot_sigmas)
    return bots if bots.any() else None


def _heaviest(log: EncodedLog, cleaning: CleaningRules) -> Float32Array | None:
    """(event types,) the largest weight of each event type that is no outlier; None = the log has no weights, or no such rule."""
    if cleaning.outlier_sigmas is None or "w" not in log.columns:
        return None
    bins: list[collections.Counter[int]] = [collections.Counter() for _ in log.event_types]
    for block in log.blocks():
        for code, counter in enumerate(bins):
            amount = _amount(block)[block.event_type == code]
            logs = np.round(np.log(amount[amount > 0].astype(np.float64)) * _BINS).astype(np.int64)
            values, counts = np.unique(logs, return_counts=True)
            counter.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    limits = [
        log_limit(np.exp(np.array(list(each)) / _BINS), cleaning.outlier_sigmas, np.array(list(each.values())))
        for each in bins
    ]
    return np.minimum(limits, np.finfo(np.float32).max).astype(np.float32)


def _amount(block: LogBlock) -> Float32Array:
    return block.amount if block.amount is not None else np.ones(len(block), np.float32)


def _core(log: EncodedLog, cleaning: CleaningRules, reason: NDArray[np.int8]) -> None:
    """Set events aside until every user and every item left has enough of them."""
    users, items = np.ones(log.users, bool), np.ones(log.items, bool)
    while True:
        of_user, of_item = np.zeros(log.users, np.int64), np.zeros(log.items, np.int64)
        for block in log.blocks():
            alive = (reason[block.start : block.start + len(block)] == 0) & users[block.user] & items[block.item]
            of_user += np.bincount(block.user[alive], minlength=log.users)
            of_item += np.bincount(block.item[alive], minlength=log.items)
        short = (users & (of_user < cleaning.min_user)).any() or (items & (of_item < cleaning.min_item)).any()
        users &= of_user >= cleaning.min_user
        items &= of_item >= cleaning.min_item
        if not short:
            break
    for block in log.blocks():
        mine = reason[block.start : block.start + len(block)]
        mine[(mine == 0) & ~(users[block.user] & items[block.item])] = CODE["fewer events than the k-core asks"]
