"""Query users: whom a list is made for, and the history that the model reads."""

import dataclasses
import functools
from collections.abc import Iterable, Sequence

import numpy as np

from leanrec.data.dataset import Dataset
from leanrec.data.vocabulary import Id
from leanrec.errors import SettingError, UnknownIdError
from leanrec.events.user_events import EvidenceWeights
from leanrec.events.user_history import UserHistory
from leanrec.pipeline.catalog import to_id_list
from leanrec.pipeline.explanations import get_verb
from leanrec.pipeline.snapshot import Snapshot
from leanrec.pipeline.user_histories import UserHistories
from leanrec.types import Int32Array, Queries

__all__ = ["QueryUser", "QueryUsers"]


@dataclasses.dataclass(frozen=True, eq=False)
class QueryUser:
    """The user of a request.

    Attributes:
        user: external id, or None.
        history: the stored history, or that of the call.
        row: row of the user that the model knows, or −1.
        is_stale: the model has learned from another history of the user.
        ignored: unknown ids of the history of the call.
    """

    user: Id | None
    history: UserHistory
    row: int
    is_stale: bool = False
    ignored: tuple[Id, ...] = ()

    def to_queries(self, n_items: int) -> Queries:
        """One query (B = 1) over N items."""
        return self.history.to_queries(self.row, n_items, is_stale=self.is_stale)


class QueryUsers:
    """Finds the users of requests by external id, and builds the histories that requests give."""

    def __init__(self, data: Dataset, histories: UserHistories, evidence_weights: EvidenceWeights) -> None:
        """Find users among those of the histories.

        Args:
            data: the data of the fit.
            histories: the histories of all users.
            evidence_weights: weights of the items of a history that is given without weights.
        """
        self._data, self._histories, self._evidence_weights = data, histories, evidence_weights

    def find_row(self, user: Id) -> int:
        """Row of a user in the histories. Raises UnknownIdError."""
        row = self._histories.find_row(user)
        if row is None and len(self._histories.forgotten):  # whose ids must not be in a hint
            raise UnknownIdError(f"No user with the id {str(user)!r} among {self._histories.n_users}.")
        return self._data.users.row(user) if row is None else row

    def find(
        self,
        snapshot: Snapshot,
        user: Id | None,
        history: Iterable[Id] | None,
        weights: Sequence[float] | None = None,
        ratings: Sequence[float | None] | None = None,
    ) -> QueryUser:
        """The user with the stored history, or with the one of the call; see ``Pipeline.recommend``.

        Raises UnknownIdError and SettingError.
        """
        if history is None:
            if user is None:
                raise SettingError(
                    "A user or a history must be given. Got neither; an empty history gives the list of the fallback."
                )
            if weights is not None or ratings is not None:
                raise SettingError("weights and ratings need a history. Got no history.")
            row = self.find_row(user)
            return self.describe(snapshot, row, self._histories.find_recorded(row))
        ids = to_id_list("history", history)
        for name, values in (("weights", weights), ("ratings", ratings)):
            if values is not None and len(values) != len(ids):
                raise SettingError(f"{name} must have {len(ids)} entries, as history has. Got {len(values)}.")
        rows = snapshot.catalog.items.rows(ids, missing=-1)
        ignored = tuple(item for item, row in zip(ids, rows, strict=True) if row < 0)
        given = self.build_history(rows, weights, ratings)
        known = None if user is None else self._histories.find_row(user)
        if known is None:
            return QueryUser(user, given, -1, ignored=ignored)
        return self.describe(snapshot, known, given, ignored)

    def describe(
        self, snapshot: Snapshot, row: int, changed: UserHistory | None, ignored: tuple[Id, ...] = ()
    ) -> QueryUser:
        """A user with a row.

        Args:
            snapshot: model and catalog.
            row: row of the user in the histories.
            changed: the history that a call gave, or the recorded one; None = that of the start.
            ignored: unknown ids of the history of a call.
        """
        fitted = self._histories.fitted_row(row)
        if fitted < 0 and row < snapshot.n_learned_users:
            fitted = row
        is_stale = fitted >= 0 and self._histories.is_stale(row, changed)
        history = self._histories.get_stored(row) if changed is None else changed
        return QueryUser(self._histories.external_id(row), history, fitted, is_stale, ignored)

    def build_history(
        self,
        rows: Int32Array,
        weights: Sequence[float] | None = None,
        ratings: Sequence[float | None] | None = None,
    ) -> UserHistory:
        """A history from item rows (−1 = unknown, left out) in time order."""
        values = [None] * len(rows) if ratings is None else ratings
        if weights is None:
            weights = [self._evidence_weights.weight(None, value) for value in values]
        history = UserHistory(
            item=rows,
            event_type=np.full(len(rows), self._main_event_type, np.int8),
            time=np.arange(len(rows), dtype=np.int64),
            weight=np.array(weights, np.float32),
            rating=np.array([np.nan if value is None else value for value in values], np.float32),
        )
        return UserHistory(**{name: column[rows >= 0] for name, column in history.columns().items()})

    def find_main_verb(self, history: UserHistory) -> str:
        """What the user did with most of the items: "watched"."""
        code = int(np.bincount(history.event_type).argmax()) if len(history) else self._main_event_type
        return get_verb(self._histories.event_types[code])

    @functools.cached_property
    def _main_event_type(self) -> int:
        """Code of the most frequent event type."""
        return int(np.bincount(self._data.events.event_type, minlength=1).argmax())
