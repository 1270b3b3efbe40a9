"""Predefined splits: held-out events that come as separate logs are joined with the training events."""

import dataclasses
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.event_types import normalize_name
from leanrec.data.merge import add_ids, concat_events, extend_vocabulary
from leanrec.data.time_kind import TimeKind
from leanrec.errors import SettingError
from leanrec.types import Events, IdArray

__all__ = ["JoinedEvents", "join_held_out"]

_TRAIN, _VALID, _TEST = range(3)


class JoinedEvents(NamedTuple):
    """One data set with all events, the part (E,) of each event (0 train, 1 valid, 2 test), and a note on what changed."""

    data: Dataset
    part: NDArray[np.int8]
    note: str


def join_held_out(data: Dataset, valid: Dataset | Events | None, test: Dataset | Events | None) -> JoinedEvents:
    """Index the held-out events with the vocabularies of ``data`` and join all events into one data set. O(E log E).

    Ids that ``data`` does not have are appended, so an item that is not in training counts as a miss; the ids of ``data``
    become text where a held-out one is not a whole number. Event types are those of ``data``, whatever their capital letters.
    What the times mean is what they mean in ``data``; held-out events without such times follow all others. Held-out events
    that ``data`` also contains are removed from training: matched by user, item and time, or by user and item where
    times are not comparable between users. Raises SettingError for anything but data sets and events with external ids.
    """
    by_time, grown = data.time_kind.is_comparable, data
    held_out: list[Events] = []
    codes: list[int] = []
    untimed = []
    for name, given, code in (("valid_events", valid, _VALID), ("test_events", test, _TEST)):
        if given is not None:
            grown, events = _index_events(grown, name, given)
            if by_time and isinstance(given, Dataset) and (given.time_kind is TimeKind.ORDER or not events.time.any()):
                untimed.append(name)
                latest = max(int(log.time.max()) for log in (data.events, *held_out))
                events = dataclasses.replace(events, time=latest + 1 + events.time - events.time.min())
            held_out.append(_name_types(data, events))
            codes.append(code)
    overlap = _find_overlap(grown, held_out, by_time=by_time)
    train = data.events.take(~overlap) if overlap.any() else data.events
    part = np.repeat(np.array([_TRAIN, *codes], np.int8), [len(each) for each in (train, *held_out)])
    events = concat_events(train, *held_out)
    order = np.lexsort((events.time, events.user) if by_time else (events.time, part, events.user))
    kind = TimeKind.UNKNOWN if data.time_kind is TimeKind.NONE else data.time_kind
    joined = dataclasses.replace(grown, events=events.take(order), time_kind=kind)
    notes = [f"{name} has no times like those of the log, so its events follow all others." for name in untimed]
    if overlap.any():
        notes.append(f"{overlap.sum()} held-out events were also in the training data and were removed from it.")
    new_users, new_items = len(joined.users) - len(data.users), len(joined.items) - len(data.items)
    if new_users or new_items:
        notes.append(f"The held-out events have {new_users} users and {new_items} items that are not in training.")
    return JoinedEvents(joined, part[order], " ".join(notes))


def _name_types(data: Dataset, events: Events) -> Events:
    """Return the events with the spelling that ``data`` has of their types: ``View`` becomes ``view``."""
    spelling = {normalize_name(name): name for name in reversed(data.events.event_types)}
    names = tuple(spelling.get(normalize_name(name), name) for name in events.event_types)
    return dataclasses.replace(events, event_types=names)


def _index_events(data: Dataset, name: str, given: Dataset | Events) -> tuple[Dataset, Events]:
    """Return the data set with the ids of the given events added, and the events with its internal rows."""
    user, item, events = _external_ids(name, given)
    data = add_ids(data, extend_vocabulary(data.users, user), extend_vocabulary(data.items, item))
    user, item = data.users.rows(user), data.items.rows(item)
    if isinstance(given, Dataset):
        # A vocabulary has far fewer ids than the events.
        user, item = user[events.user], item[events.item]
    return data, dataclasses.replace(events, user=user, item=item)


def _external_ids(name: str, given: Dataset | Events) -> tuple[IdArray, IdArray, Events]:
    """Return external ids of users and items, and the events: one id per row of a data set, or per event of a log."""
    if isinstance(given, Dataset):
        # Only ids that occur: a part of a data set has the vocabulary of the whole, and items without events.
        rows = [np.unique(column, return_inverse=True) for column in (given.events.user, given.events.item)]
        events = dataclasses.replace(given.events, user=rows[0][1], item=rows[1][1])
        return given.users.ids[rows[0][0]], given.items.ids[rows[1][0]], events
    if not isinstance(given, Events):
        raise SettingError(
            f"{name} must be a Dataset, or Events with external ids. Got {type(given).__name__}. "
            "Read it first: ingest(source).data takes files and frames."
        )
    if np.int32 in (given.user.dtype, given.item.dtype):
        raise SettingError(
            f"{name} must be Events with external ids, which are int64 or strings. Got int32 columns, which are internal "
            f"rows of an unknown data set. Pass the data set: {name}=ingest(source).data, or "
            f"{name}=data.with_events(events) for rows of this one."
        )
    return given.user, given.item, given


def _find_overlap(data: Dataset, held_out: list[Events], *, by_time: bool) -> NDArray[np.bool_]:
    """(E,) whether a training event of ``data`` is also held out."""
    n_train, logs = len(data.events), [data.events, *held_out]
    keys = np.concatenate([log.user.astype(np.int64) * len(data.items) + log.item for log in logs])
    if by_time:
        # Counting the distinct values first keeps the product below E².
        times, time = np.unique(np.concatenate([log.time for log in logs]), return_inverse=True)
        keys = np.unique(keys, return_inverse=True)[1] * len(times) + time
    return np.isin(keys[:n_train], keys[n_train:])
