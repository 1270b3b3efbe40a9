"""Rules that need all events of a user, or the whole log, applied to the ordered log block by block."""

import collections
import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.ingest.cleaning import CleaningRules, count_busiest_day, find_duplicates, robust_log_limit
from leanrec.data.ingest.encoding import EncodedLog, LogBlock
from leanrec.data.ingest.rejects import CODE
from leanrec.data.vocabulary import Vocabulary
from leanrec.types import Float32Array, Int64Array

__all__ = ["describe_constant", "describe_largest", "describe_spared_bots", "reject_events"]

_LARGE_SHARE = 0.1
_MIN_IDS = 5
_MANY_EVENTS = 10
_BINS = 64  # to the factor e: a limit is then exact to 1.6 %


@dataclasses.dataclass(frozen=True, eq=False)
class _BlockRules:
    """The rules and limits for a block.

    Attributes:
        drop_duplicates: reject duplicates.
        has_time: events of a user are sorted by time.
        max_per_day: maximum number of events of a user on one day, None = no limit.
        bots: (users,) whether the user has far more events than the others, None = no user has.
        max_weight: (event types,) largest weight, None = no limit.
    """

    drop_duplicates: bool
    has_time: bool
    max_per_day: int | None
    bots: NDArray[np.bool_] | None
    max_weight: Float32Array | None

    @property
    def is_empty(self) -> bool:
        """Whether no rule can reject anything."""
        return not self.drop_duplicates and self.max_per_day is None and self.bots is None and self.max_weight is None


def reject_events(log: EncodedLog, cleaning: CleaningRules, *, has_clock: bool, comparable: bool) -> NDArray[np.int8]:
    """(E,) the reject reason of each row of the ordered log, as a code into ``REASONS``; 0 = kept.

    Args:
        log: the ordered log.
        cleaning: the rules.
        has_clock: times are seconds since 1970, so that days can be counted.
        comparable: the log has times or ratings, so that equal rows are duplicates.

    Cost: one scan, one more for weights, and one for each round of the k-core; one byte per event.
    """
    reason = np.zeros(log.events, np.int8)
    bots = _find_bots(log, cleaning)
    if _is_large(log, bots, cleaning):
        bots = None
    rules = _BlockRules(
        drop_duplicates=comparable and cleaning.duplicates == "drop",
        has_time=log.has_time,
        max_per_day=cleaning.max_per_day if has_clock else None,
        bots=bots if bots is not None and bots.any() else None,
        max_weight=_find_max_weights(log, cleaning),
    )
    if not rules.is_empty:
        for block in log.blocks():
            _reject_in_block(block, reason[block.start : block.start + len(block)], rules)
    if cleaning.min_user > 1 or cleaning.min_item > 1:
        _apply_core(log, cleaning, reason)
    return reason


def _find_bots(log: EncodedLog, cleaning: CleaningRules) -> NDArray[np.bool_] | None:
    """(users,) whether the user has far more events than the others, None without such a rule."""
    if cleaning.bot_sigmas is None:
        return None
    # Few numbers of events differ, however many users there are.
    events, users = np.unique(log.per_user[log.per_user > 0], return_counts=True)
    return log.per_user > robust_log_limit(events, cleaning.bot_sigmas, users)


def _is_large(log: EncodedLog, bots: NDArray[np.bool_] | None, cleaning: CleaningRules) -> bool:
    """Whether the bots have so many of the events that the rule may be wrong about them."""
    return bots is not None and int(log.per_user[bots].sum()) > cleaning.max_bot_share * log.events


def describe_spared_bots(log: EncodedLog, cleaning: CleaningRules) -> str | None:
    """Say which users look like bots and were kept because of their share of the events; None where there are none."""
    bots = _find_bots(log, cleaning)
    if bots is None or not _is_large(log, bots, cleaning):
        return None
    events, n = int(log.per_user[bots].sum()), int(np.count_nonzero(bots))
    users = "1 user has" if n == 1 else f"{n:,} users have"
    return (
        f"{users} far more events than the others, and {events / log.events:.0%} of all events, and may be bots. The events were "
        "kept; to reject them pass CleaningRules(max_bot_share=1)."
    )


def describe_largest(counts: Int64Array, ids: Vocabulary) -> str | None:
    """Name the id with more than a tenth of all events, None where there is no such id.

    ``counts`` is (n,), the events of each id. Where few ids share a log, one with more than thrice its equal share is named.
    """
    total, n = int(counts.sum()), int(np.count_nonzero(counts))
    largest = int(counts.argmax()) if n else 0
    if n < _MIN_IDS or counts[largest] <= max(_LARGE_SHARE * total, 3 * total / n):
        return None
    return (
        f"The {ids.entity} {str(ids.ids[largest])!r} has {counts[largest] / total:.0%} of all events. Where this is a placeholder, "
        "such as an id of visitors without an account, remove its rows from the log."
    )


def describe_constant(counts: Int64Array, role: str) -> str | None:
    """Say that all events have one user (or item), or that each has one of its own; None where that is not so.

    ``counts`` is (n,), the events of each id.
    """
    if len(counts) == 1 and counts[0] >= _MANY_EVENTS:
        return (
            f"All {counts[0]:,} events have one {role}, so there is nothing to compare. If another column holds the {role}, name it: "
            f'columns={{"{role}": …}}.'
        )
    if len(counts) >= _MANY_EVENTS and counts.max() == 1:
        return (
            f"No {role} has more than one event, so there is nothing to learn from. If the column of the {role}s numbers the rows, "
            f'name another one: columns={{"{role}": …}}.'
        )
    return None


def _reject_in_block(block: LogBlock, reason: NDArray[np.int8], rules: _BlockRules) -> None:
    """Write the reasons of one block. Later rules take precedence, so that all events of a bot have one reason."""
    if rules.drop_duplicates:
        keys: list[NDArray[Any]] = [block.user]
        tied = block.user[1:] == block.user[:-1]
        if rules.has_time:
            keys.append(block.time)
            tied &= block.time[1:] == block.time[:-1]
        if block.fraction is not None:
            keys.append(block.fraction)
            tied &= block.fraction[1:] == block.fraction[:-1]
        optional = (column for column in (block.amount, block.rating) if column is not None)
        reason[find_duplicates([*keys, block.item, block.event_type, *optional], tied)] = CODE["duplicate"]
    if rules.max_weight is not None:
        reason[_block_amounts(block) > rules.max_weight[block.event_type]] = CODE[
            "outlier: weight far above the others"
        ]
    if rules.max_per_day is not None:
        users, most = count_busiest_day(block.user.astype(np.int64), block.time)
        reason[np.isin(block.user, users[most > rules.max_per_day])] = CODE["bot: too many events in one day"]
    if rules.bots is not None:
        reason[rules.bots[block.user]] = CODE["bot: far more events than other users"]


def _find_max_weights(log: EncodedLog, cleaning: CleaningRules) -> Float32Array | None:
    """(event types,) largest weight of each event type that is not an outlier; None = no weights, or no such rule."""
    if cleaning.outlier_sigmas is None or "w" not in log.columns:
        return None
    bins: list[collections.Counter[int]] = [collections.Counter() for _ in log.event_types]
    for block in log.blocks():
        for code, counter in enumerate(bins):
            amount = _block_amounts(block)[block.event_type == code]
            logs = np.round(np.log(amount[amount > 0].astype(np.float64)) * _BINS).astype(np.int64)
            values, counts = np.unique(logs, return_counts=True)
            counter.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    limits = [
        robust_log_limit(np.exp(np.array(list(each)) / _BINS), cleaning.outlier_sigmas, np.array(list(each.values())))
        for each in bins
    ]
    return np.minimum(limits, np.finfo(np.float32).max).astype(np.float32)


def _block_amounts(block: LogBlock) -> Float32Array:
    return block.amount if block.amount is not None else np.ones(len(block), np.float32)


def _apply_core(log: EncodedLog, cleaning: CleaningRules, reason: NDArray[np.int8]) -> None:
    """Reject events until every remaining user and item has enough of them (k-core)."""
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
        codes = reason[block.start : block.start + len(block)]
        codes[(codes == 0) & ~(users[block.user] & items[block.item])] = CODE["fewer events than the k-core requires"]
