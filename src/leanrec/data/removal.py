"""Removal of users from a data set: their events, ids, rows of the user table, and links."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.links import UserLinks
from leanrec.data.vocabulary import Vocabulary
from leanrec.types import IdArray, Int32Array, Int64Array

__all__ = ["remove_users", "replace_users"]


def remove_users(data: Dataset, rows: Int32Array) -> Dataset:
    """Return the data set without these users. The rows of the others move up. O(E + U).

    Args:
        data: the data set.
        rows: (F,) rows of the users.
    """
    kept = _find_kept(data, rows)
    if kept.all():
        return data
    new_rows = (np.cumsum(kept) - 1).astype(np.int32)
    events = data.events.take(kept[data.events.user])
    return dataclasses.replace(
        data,
        events=dataclasses.replace(events, user=new_rows[events.user]),
        users=dataclasses.replace(data.users, ids=data.users.ids[kept]),
        user_table=None if data.user_table is None else data.user_table.take(np.flatnonzero(kept)),
        user_links=_remove_links(data.user_links, data.users.ids[~kept]),
    )


def replace_users(data: Dataset, rows: Int32Array) -> Dataset:
    """Return the data set without what is known of these users. Their rows stay, under other ids and empty. O(E + U).

    For the data of a fitted model, which has a vector for each row.
    """
    kept = _find_kept(data, rows)
    if kept.all():
        return data
    table_rows = np.where(kept, np.arange(len(kept)), -1)
    return dataclasses.replace(
        data,
        events=data.events.take(kept[data.events.user]),
        users=_replace_ids(data.users, np.flatnonzero(~kept)),
        user_table=None if data.user_table is None else data.user_table.take(table_rows),
        user_links=_remove_links(data.user_links, data.users.ids[~kept]),
    )


def _find_kept(data: Dataset, rows: Int32Array) -> NDArray[np.bool_]:
    kept = np.ones(len(data.users), np.bool_)
    kept[rows] = False
    return kept


def _replace_ids(users: Vocabulary, rows: Int64Array) -> Vocabulary:
    """The vocabulary with ids in these rows that are not in use: numbers from the least one on, or texts with a number."""
    ids = users.ids.copy()
    number = int(np.iinfo(np.int64).min) if ids.dtype.kind == "i" else 0
    for row in rows.tolist():
        while (new := number if ids.dtype.kind == "i" else f"(forgotten {number})") in users:
            number += 1
        ids[row] = new
        number += 1
    return dataclasses.replace(users, ids=ids)


def _remove_links(links: UserLinks | None, ids: IdArray) -> UserLinks | None:
    """The links without those from and to these users, who are no longer among the people."""
    if links is None:
        return None
    removed = set(map(str, ids.tolist()))
    kept = np.array([person not in removed for person in links.people.ids.tolist()], np.bool_)
    if kept.all():
        return links
    used = kept[links.user] & kept[links.friend]
    codes = (np.cumsum(kept) - 1).astype(np.int32)
    people = dataclasses.replace(links.people, ids=links.people.ids[kept])
    return UserLinks(codes[links.user[used]], codes[links.friend[used]], links.weight[used], people)
