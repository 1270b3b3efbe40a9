"""Held-out events that the user brings: joined with the training events into one data set."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.table import Table
from leanrec.data.vocabulary import Vocabulary
from leanrec.errors import SettingError
from leanrec.types import Events, IdArray

__all__ = ["Joined", "join_given"]


class Joined(NamedTuple):
    """One data set with all events, the part (E,) of each (0 train, 1 valid, 2 test), and what changed."""

    data: Dataset
    part: NDArray[np.int8]
    note: str


def join_given(
    data: Dataset, valid: Dataset | Events | None, test: Dataset | Events | None, *, by_time: bool
) -> Joined:
    """Index the given events with the vocabularies of ``data`` and join all into one data set. O(E log E).

    Ids that ``data`` does not have are appended, so an item that training never saw counts as a miss. Held-out
    events that ``data`` holds too are taken out of training: found by user, item and time, or by user and item
    where ``by_time`` is False. Raises SettingError for what is neither a data set nor events with own ids.
    """
    before = data
    held: list[Events | None] = []
    for name, given in (("valid_events", valid), ("test_events", test)):
        if given is None:
            held.append(None)
            continue
        data, events = _indexed(data, name, given)  # the vocabularies grow as the events come
        held.append(events)
    parts = [data.events, *(each for each in held if each is not None)]
    codes = [0, *(code for code, each in zip((1, 2), held, strict=True) if each is not None)]
    train, moved = _take_out(data, parts[0], parts[1:], by_time=by_time)
    parts[0] = train
    part = np.repeat(np.array(codes, np.int8), [len(each) for each in parts])
    events = _concatenated(parts)
    order = np.lexsort((events.time, events.user) if by_time else (events.time, part, events.user))
    joined = dataclasses.replace(data, events=events.take(order))
    return Joined(joined, part[order], _note(before, joined, moved))


def _note(before: Dataset, after: Dataset, moved: int) -> str:
    notes = [f"{moved} given events were also in the training data and were taken out of it."] if moved else []
    new = (len(after.users) - len(before.users), len(after.items) - len(before.items))
    if any(new):
        notes.append(f"The given events bring {new[0]} users and {new[1]} items that training does not have.")
    return " ".join(notes)


def _indexed(data: Dataset, name: str, given: Dataset | Events) -> tuple[Dataset, Events]:
    """The data set with the ids of the given events too, and the events as its rows."""
    user, item, events = _own_ids(name, given)
    users, items = data.users.extended(user), data.items.extended(item)
    data = dataclasses.replace(
        data,
        users=users,
        items=items,
        user_table=_longer(data.user_table, users),
        item_table=_longer(data.item_table, items),
    )
    if isinstance(given, Dataset):
        # A vocabulary has far fewer ids than the events.
        user, item = users.rows(user)[events.user], items.rows(item)[events.item]
    else:
        user, item = users.rows(user), items.rows(item)
    return data, dataclasses.replace(events, user=user, item=item)


def _own_ids(name: str, given: Dataset | Events) -> tuple[IdArray, IdArray, Events]:
    """Own ids of users and items, of a whole data set or of each event, and the events."""
    if isinstance(given, Dataset):
        # Only ids that occur: a part of a data set has the ids of the whole, and a table ids that nobody touched.
        rows = [np.unique(column, return_inverse=True) for column in (given.events.user, given.events.item)]
        events = dataclasses.replace(given.events, user=rows[0][1], item=rows[1][1])
        return given.users.ids[rows[0][0]], given.items.ids[rows[1][0]], events
    if not isinstance(given, Events):
        raise SettingError(
            f"{name} must be a Dataset, or Events with own ids. Got {type(given).__name__}. "
            "Read it first: ingest(source).data takes files and frames."
        )
    if np.int32 in (given.user.dtype, given.item.dtype):
        raise SettingError(
            f"{name} holds Events with int32 columns, which are rows of some data set, and nothing says of which. "
            f"Hand in the data set: {name}=ingest(source).data, or {name}=data.with_events(events) for rows of this one. "
            "Own ids must be int64 or strings."
        )
    return given.user, given.item, given


def _longer(table: Table | None, ids: Vocabulary) -> Table | None:
    """The table with rows of missing values for ids it does not have."""
    if table is None or len(table) == len(ids):
        return table
    rows = np.arange(len(ids))
    return table.take(np.where(rows < len(table), rows, -1))


def _take_out(data: Dataset, train: Events, held: list[Events], *, by_time: bool) -> tuple[Events, int]:
    """Training without the events that are held out too."""
    parts = [train, *held]
    keys = np.concatenate([part.user.astype(np.int64) * len(data.items) + part.item for part in parts])
    if by_time:
        # Counting the distinct values first keeps the product below E².
        times, when = np.unique(np.concatenate([part.time for part in parts]), return_inverse=True)
        keys = np.unique(keys, return_inverse=True)[1] * len(times) + when
    taken = np.isin(keys[: len(train)], keys[len(train) :])
    return (train.take(~taken), int(taken.sum())) if taken.any() else (train, 0)


def _concatenated(parts: list[Events]) -> Events:
    """One log of several, with the kinds of behaviour of all; ratings that a part lacks are NaN."""
    kinds = tuple(dict.fromkeys(kind for part in parts for kind in part.kinds))
    columns: dict[str, NDArray[Any]] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in ("time", "weight")
    }
    for name in ("user", "item"):
        columns[name] = np.concatenate([getattr(part, name).astype(np.int32) for part in parts])
    columns["kind"] = np.concatenate([_recoded(part, kinds) for part in parts])
    if any(part.value is not None for part in parts):
        columns["value"] = np.concatenate(
            [np.full(len(part), np.nan, np.float32) if part.value is None else part.value for part in parts]
        )
    return Events(**columns, kinds=kinds)


def _recoded(part: Events, kinds: tuple[str, ...]) -> NDArray[np.int8]:
    codes = np.array([kinds.index(kind) for kind in part.kinds], np.int8)
    return codes[part.kind]
