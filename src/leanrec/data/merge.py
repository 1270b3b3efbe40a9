"""Merging of interaction logs: new events, users and items join a data set."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.table import Table
from leanrec.data.vocabulary import Id, Vocabulary
from leanrec.errors import DataError
from leanrec.types import Events, IdArray

__all__ = [
    "MAX_EVENT_TYPES",
    "add_ids",
    "append_rows",
    "concat_events",
    "extend_vocabulary",
    "find_new_events",
    "find_new_ids",
    "join_events",
    "merge_events",
]

MAX_EVENT_TYPES = 120  # codes are int8
# What a column holds where it is unknown; NaN for the others.
_UNKNOWN = {"request": "", "rank": -1}


def merge_events(data: Dataset, events: Events, new_items: tuple[IdArray, Table] | None = None) -> Dataset:
    """Return the data set with more events, given by external ids, including new users and items.

    Internal rows of existing users and items do not change. An event that the data set already has (user, item, event
    type and time) is not added again, however often it is merged; new events that are equal within one second all
    count. Text ids among whole numbers turn the ids of that vocabulary into text.

    Args:
        data: the data set to extend.
        events: (E,) with external ids.
        new_items: ids and content of items that may be new.

    Cost: O(E log E) time for all events together.
    """
    grown, joined, new = join_events(data, events, new_items)
    return grown.with_events(joined.take(np.concatenate([np.arange(len(data.events)), new])))


def join_events(
    data: Dataset, events: Events, new_items: tuple[IdArray, Table] | None = None
) -> tuple[Dataset, Events, NDArray[np.intp]]:
    """What ``merge_events`` puts together: for callers that must know which events are new, and in which order they came.

    Returns the data set with its old events and all users and items; the old events and all others behind them, in internal
    rows; and the positions of the new ones among these, in the order of ``events``.
    """
    if new_items is not None:
        fresh = find_new_ids(data.items, new_items[0])
        table = append_rows(data.item_table, len(data.items), new_items[1].take(fresh))
        items = extend_vocabulary(data.items, new_items[0][fresh])
        data = dataclasses.replace(data, items=items, item_table=None if table is None else table.pad_to(len(items)))
    grown = add_ids(data, extend_vocabulary(data.users, events.user), extend_vocabulary(data.items, events.item))
    added = dataclasses.replace(events, user=grown.users.rows(events.user), item=grown.items.rows(events.item))
    joined = concat_events(data.events, added)
    return grown, joined, find_new_events(len(data.events), joined.time, joined.event_type, joined.item, joined.user)


def extend_vocabulary(ids: Vocabulary, values: IdArray) -> Vocabulary:
    """Return the vocabulary with missing ids appended; its ids become text if one of the new ids is not a whole number."""
    try:
        return ids.with_ids(values)
    except (DataError, OverflowError):
        text = np.array([str(each) for each in ids.ids.tolist()], np.dtypes.StringDType())
        return Vocabulary(text, ids.entity).with_ids(values)


def add_ids(data: Dataset, users: Vocabulary, items: Vocabulary) -> Dataset:
    """Return the data set with larger vocabularies; the new rows of its tables hold missing values."""
    user_table = None if data.user_table is None else data.user_table.pad_to(len(users))
    item_table = None if data.item_table is None else data.item_table.pad_to(len(items))
    return dataclasses.replace(data, users=users, items=items, user_table=user_table, item_table=item_table)


def append_rows(table: Table | None, n_rows: int, below: Table) -> Table | None:
    """Return the table of ``n_rows`` rows with more rows below; without a table, the first rows hold missing values."""
    if not len(below):
        return table
    if table is None:
        return below.take(np.concatenate([np.full(n_rows, -1), np.arange(len(below))]))
    return table.concat(below)


def concat_events(first: Events, *others: Events) -> Events:
    """Concatenate logs of internal rows, with the event types of all; a column that a log lacks is unknown there.

    The event types are those of the first log, then those that occur in the others. Cost: O(E).
    """
    used = (log.event_types[code] for log in others for code in np.unique(log.event_type).tolist())
    event_types = tuple(dict.fromkeys([*first.event_types, *used]))
    if len(event_types) > MAX_EVENT_TYPES:
        raise DataError(f"A log must have at most {MAX_EVENT_TYPES} event types. Got {len(event_types)}.")
    columns = [first.columns()]
    for log in others:
        codes = [event_types.index(name) if name in event_types else -1 for name in log.event_types]
        columns.append({**log.columns(), "event_type": np.array(codes, np.int8)[log.event_type]})
    lengths = [len(first), *map(len, others)]
    joined = {}
    for name in (field.name for field in dataclasses.fields(Events)):
        like = next((each[name] for each in columns if name in each), None)
        if like is not None:
            unknown = _UNKNOWN.get(name, np.nan)
            blocks = [
                each[name].astype(like.dtype, copy=False) if name in each else np.full(length, unknown, like.dtype)
                for each, length in zip(columns, lengths, strict=True)
            ]
            joined[name] = np.concatenate(blocks)
    return Events(**joined, event_types=event_types)


def find_new_events(n_known: int, *columns: NDArray[Any]) -> NDArray[np.intp]:
    """Return the positions of the events that are not among the first ``n_known`` ones: (F,), in order. O(E log E).

    Events that agree in all columns are compared by count: of three equal new events of which two are known, the third
    is new. So a partly known log can be added as a whole, once or again.

    Args:
        n_known: number of known events; the new ones follow them.
        columns: (E,) each, of all events.
    """
    order = np.lexsort(columns)
    same = np.ones(len(order), np.bool_)
    for column in columns:
        same[1:] &= column[order][1:] == column[order][:-1]
    same[:1] = False
    begins = np.flatnonzero(~same)
    group = np.cumsum(~same) - 1
    position = np.arange(len(order)) - begins[group]
    known = np.bincount(group, order < n_known, len(begins))[group]
    # The sort is stable: known events come first in their group, and the k-th new one is at position k + known.
    return np.sort(order[(order >= n_known) & (position >= 2 * known)])


def find_new_ids(ids: Vocabulary, values: IdArray | Sequence[Id]) -> NDArray[np.intp]:
    """Return the positions of the values that the vocabulary lacks: the last of each id, in the order of the first ones.

    12 and "12" are one id.
    """
    positions = {str(value): position for position, value in enumerate(list(values)) if value not in ids}
    return np.array(list(positions.values()), np.intp)
