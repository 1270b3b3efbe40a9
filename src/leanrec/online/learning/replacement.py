"""Replacement of the histories of some users, at the cost of a copy of the log."""

import dataclasses

import numpy as np

from leanrec.data.dataset import Dataset
from leanrec.data.merge import concat_events
from leanrec.data.vocabulary import Vocabulary
from leanrec.kernels.csr import replace_rows, resize_csr
from leanrec.types import Events, Int32Array

__all__ = ["replace_histories"]


def replace_histories(data: Dataset, users: Int32Array, events: Events, n_users: int | None = None) -> Dataset:
    """Return the data set with other events of some users; all others keep theirs.

    The result has what ``with_events`` of all events would give. `Dataset.interactions` and `Dataset.is_positive` are not
    computed again: the rows of these users are replaced. O(E), without a sort of the log.

    Args:
        data: the data set.
        users: (C,) rows of the users, all different; from ``len(data.users)`` on, those of new users.
        events: all events of these users, in rows of users and items, in any order; equal times stay in their order.
        n_users: number of users of the result, whose ids are then numbers if there are new ones; None = as before.
    """
    n_before, n_users = len(data.users), len(data.users) if n_users is None else n_users
    # The kind of the times is that of the whole log, and a part of it could look different.
    part = dataclasses.replace(
        data, users=Vocabulary(np.arange(n_users), "user"), user_table=None, user_links=None
    ).with_events(events, data.time_kind)
    is_kept = np.ones(n_users, np.bool_)
    is_kept[users] = False
    kept = np.flatnonzero(is_kept[data.events.user])
    merged = concat_events(data.events.take(kept), part.events)
    order = np.argsort(merged.user, kind="stable")  # two ascending runs, which are merged
    larger = data if n_users == n_before else dataclasses.replace(part, user_table=None, user_links=None)
    replaced = dataclasses.replace(larger, events=merged.take(order))
    old = resize_csr(data.interactions, n_users, len(data.items))
    vars(replaced)["interactions"] = replace_rows(old, users, part.interactions[users])
    vars(replaced)["is_positive"] = np.concatenate([data.is_positive[kept], part.is_positive])[order]
    return replaced
