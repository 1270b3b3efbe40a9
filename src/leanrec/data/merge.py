"""Closing the loop: what was recorded joins what the model was fitted on."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.table import Table
from leanrec.data.vocabulary import Vocabulary
from leanrec.errors import DataError
from leanrec.types import Events, IdArray

__all__ = ["MAX_KINDS", "concatenated", "extended_ids", "extended_table", "merge", "not_yet_there"]

MAX_KINDS = 120  # codes are int8


def merge(data: Dataset, events: Events, new_items: tuple[IdArray, Table] | None = None) -> Dataset:
    """The data set with more events, in own ids, among them new users and items.

    Rows of users and items that were there stay what they were. An event that the data set has (user, item, kind
    and time) is not added again, however often it is merged; events of one second that come several times count
    as often. Text ids among whole numbers turn the ids of that vocabulary into text.

    Args:
        data: what there was.
        events: (E,) in own ids.
        new_items: ids and content of items that may be new.

    Cost: O(E log E) time for all events together.
    """
    items, item_table = data.items, data.item_table
    if new_items is not None:
        fresh = _fresh(items, new_items[0])
        item_table = extended_table(item_table, len(items), new_items[1].take(fresh))
        items = extended_ids(items, new_items[0][fresh])
    users, items = extended_ids(data.users, events.user), extended_ids(items, events.item)
    added = dataclasses.replace(events, user=users.rows(events.user), item=items.rows(events.item))
    bare = dataclasses.replace(data, events=added, users=users, items=items, item_table=None, user_table=None)
    every, known = concatenated(data.events, added), len(data.events)
    new = not_yet_there(known, every.time, every.kind, every.item, every.user)
    return dataclasses.replace(
        bare,
        item_table=_padded(item_table, len(items)),
        user_table=_padded(data.user_table, len(users)),
    ).with_events(every.take(np.concatenate([np.arange(known), new])))


def extended_ids(ids: Vocabulary, values: IdArray) -> Vocabulary:
    """The vocabulary with the ids it lacks appended; it becomes text if one of them is no whole number."""
    try:
        return ids.extended(values)
    except (DataError, OverflowError):
        text = np.array([str(each) for each in ids.ids.tolist()], np.dtypes.StringDType())
        return Vocabulary(text, ids.what).extended(values)


def extended_table(table: Table | None, known: int, below: Table) -> Table | None:
    """The table of ``known`` rows with more rows below; where there was none, nothing is known of the first rows."""
    if not len(below):
        return table
    if table is None:
        return below.take(np.concatenate([np.full(known, -1), np.arange(len(below))]))
    return table.concatenated(below)


def concatenated(first: Events, second: Events) -> Events:
    """Two row-indexed logs as one, the kinds joined; a column that one of them lacks is unknown there."""
    used = [second.kinds[code] for code in np.unique(second.kind).tolist()]
    kinds = tuple(dict.fromkeys([*first.kinds, *used]))
    if len(kinds) > MAX_KINDS:
        raise DataError(f"There can be at most {MAX_KINDS} kinds of events. Got {len(kinds)}.")
    code = np.array([kinds.index(name) if name in kinds else -1 for name in second.kinds], np.int8)
    one = first.columns()
    two = second.columns() | {"kind": code[second.kind]}
    names = [field.name for field in dataclasses.fields(Events) if field.name in one or field.name in two]
    joined = {}
    for name in names:
        head = one[name] if name in one else _unknown(name, len(first), two[name])
        tail = two[name] if name in two else _unknown(name, len(second), one[name])
        joined[name] = np.concatenate([head, tail.astype(head.dtype)])
    return Events(**joined, kinds=kinds)


def _unknown(name: str, count: int, like: NDArray[Any]) -> NDArray[Any]:
    missing = {"request": "", "rank": -1}.get(name, np.nan)
    return np.full(count, missing, like.dtype)


def not_yet_there(known: int, *columns: NDArray[Any]) -> NDArray[np.intp]:
    """Positions of the events that are not among the first ``known`` ones: (F,), in order. O(E log E).

    Events that agree in all columns are told apart by how often they come: of three new ones where two are known,
    the last is not yet there. So what is known in part can be added as a whole, once or again.

    Args:
        known: number of events that are there; the others follow them.
        columns: (E,) each, of all events.
    """
    order = np.lexsort(columns)
    same = np.ones(len(order), np.bool_)
    for column in columns:
        same[1:] &= column[order][1:] == column[order][:-1]
    same[:1] = False
    begins = np.flatnonzero(~same)
    group = np.cumsum(~same) - 1
    place = np.arange(len(order)) - begins[group]
    there = np.bincount(group, order < known, len(begins))[group]
    # The sort is stable: known events come first in their group, and the k-th new one stands at k + there.
    return np.sort(order[(order >= known) & (place >= 2 * there)])


def _fresh(ids: Vocabulary, values: IdArray) -> NDArray[np.intp]:
    """Positions of the values that the vocabulary lacks, each id once."""
    first: dict[str, int] = {}
    for position, value in enumerate(values.tolist()):
        if value not in ids:
            first.setdefault(str(value), position)
    return np.array(list(first.values()), np.intp)


def _padded(table: Table | None, length: int) -> Table | None:
    if table is None or len(table) == length:
        return table
    rows = np.full(length, -1, np.int64)
    rows[: len(table)] = np.arange(len(table))
    return table.take(rows)
