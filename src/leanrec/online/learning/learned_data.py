"""Learned data: the data of a fit with the histories of now, as far as they may teach the model."""

import dataclasses

import numpy as np

from leanrec.kernels.csr import resize_csr
from leanrec.online.learning.replacement import replace_histories
from leanrec.pipeline.pipeline import Pipeline
from leanrec.types import Events, Int32Array

__all__ = ["LearnedData"]


class LearnedData:
    """The data of a pipeline's fit, in which the histories that have changed since are replaced.

    It is a function of the histories of now: what is learned is the same in whatever order the events came, and once
    a user is forgotten, nothing of the user is in it. Two limits keep one user from moving the lists of the others: of a
    user with more than ``max_user_events`` events since the fit nothing is learned but what the fit knew, and no event
    weighs more than the heaviest of the fit.

    Memory: about 26 bytes an event and 8 bytes for each pair of user and item, and that twice while histories are replaced.

    Attributes:
        data: the data so far. Users have the rows of the pipeline's histories; new ones have no ids.
    """

    def __init__(self, pipeline: Pipeline, max_user_events: int) -> None:
        """Start from the data of the fit.

        Args:
            pipeline: the pipeline.
            max_user_events: how many events since the fit one user may have.
        """
        self._pipeline, self._max_user_events = pipeline, max_user_events
        self.data = dataclasses.replace(pipeline.fitted_data, user_table=None, user_links=None)
        self._max_weight = float(self.data.events.weight.max(initial=0)) or 1.0

    def refresh(self) -> Int32Array | None:
        """Take over the histories that have changed since the last call. Cost: a copy of the log, if there are any.

        Returns the rows of the items whose users or weights are others now; None if no history has changed.
        """
        histories = self._pipeline.histories
        users = histories.take_touched()
        if not users:
            return None
        catalog = self._pipeline.catalog  # after the histories were marked, so it has their items
        data = dataclasses.replace(self.data, items=catalog.items, item_table=catalog.table)
        for computed in ("is_positive", "interactions"):
            vars(data)[computed] = getattr(self.data, computed)
        n_users = max(histories.n_rows, len(data.users))
        changed = np.array(users, np.int32)
        before = data.interactions[changed[changed < len(data.users)]]
        self.data = replace_histories(data, changed, self._gather_events(users), n_users)
        after = self.data.interactions[changed]
        difference = after - resize_csr(before, *after.shape)
        return np.unique(difference.nonzero()[1]).astype(np.int32)

    def _gather_events(self, users: list[int]) -> Events:
        """The events of these users, as far as they may teach the model."""
        histories = self._pipeline.histories
        pasts = []
        for row in users:
            past, stored = histories.get(row), histories.get_stored(row)
            pasts.append(past if len(past) <= len(stored) + self._max_user_events else stored)
        columns = {name: np.concatenate([past.columns()[name] for past in pasts]) for name in pasts[0].columns()}
        user = np.repeat(np.array(users, np.int32), [len(past) for past in pasts])
        columns["weight"] = np.minimum(columns["weight"], np.float32(self._max_weight))
        return Events(user=user, **columns, event_types=histories.event_types)
