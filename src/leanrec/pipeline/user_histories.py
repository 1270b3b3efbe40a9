"""User histories in memory: the events of the fit, and the events recorded since."""

import dataclasses
import functools
import threading
from typing import Any

import numpy as np

from leanrec.data.dataset import Dataset
from leanrec.data.merge import MAX_EVENT_TYPES, concat_events, extend_vocabulary
from leanrec.data.removal import replace_users
from leanrec.data.vocabulary import Id
from leanrec.events.user_history import UserHistory
from leanrec.pipeline.recorded_state import OF_BOTH, RecordedState
from leanrec.types import Events, Int32Array

__all__ = ["UserHistories"]


_MAX_RECENT = 16

_NO_EVENTS = UserHistory(
    np.zeros(0, np.int32),
    np.zeros(0, np.int8),
    np.zeros(0, np.int64),
    np.zeros(0, np.float32),
    np.zeros(0, np.float32),
)


class UserHistories:
    """The histories of all users.

    Cost: O(L log L) to read a user with new events, O(1) to read any other and to record an event, whatever the size of
    the log. Thread-safe: a history is replaced, never changed.
    """

    def __init__(
        self,
        data: Dataset,
        stale: Int32Array,
        n_fitted_users: int | None = None,
        forgotten: Int32Array | None = None,
    ) -> None:
        """Start from the events of a fit.

        Args:
            data: the fitted data set.
            stale: rows of users whose history is not the one that the model was fitted on.
            n_fitted_users: the first users of ``data``, whom the model was fitted on; None = all.
            forgotten: rows of users who were forgotten; None = none.
        """
        self._data = data
        self.n_fitted_users = len(data.users) if n_fitted_users is None else n_fitted_users
        self._lock = threading.Lock()
        self._recorded = RecordedState.empty(data)  # of the log, before the events that were recorded since
        self._stale = set(stale.tolist())
        self._changed: dict[int, UserHistory] = {}
        self._known: dict[int, UserHistory] = {}  # events that came again: the fit has them
        self._recent: dict[int, list[UserHistory]] = {}  # merged when the user is read, or has too many of them
        self._forgotten: set[int] = set() if forgotten is None else set(forgotten.tolist())
        self._touched: set[int] | None = None
        self._new_rows: dict[str, int] = {}
        self._new_ids: list[Id] = []
        self.event_types: tuple[str, ...] = data.events.event_types

    @property
    def n_users(self) -> int:
        """Number of users, new ones included and forgotten ones left out."""
        return self.n_rows - len(self._forgotten)

    @property
    def n_rows(self) -> int:
        """Number of user rows, those of forgotten users included."""
        return self._n_first + len(self._new_ids)

    def take_touched(self) -> list[int]:
        """Rows of the users whose histories have changed since the last call; at the first call, since the fit."""
        with self._lock:
            touched, self._touched = self._touched, set()
            if touched is None:
                late = range(self.n_fitted_users, len(self._data.users))
                recorded = self._recorded.rows.tolist()
                touched = {*self._stale, *self._changed, *self._recent, *self._forgotten, *late, *recorded}
            return sorted(touched)

    def _touch(self, row: int) -> None:
        if self._touched is not None:
            self._touched.add(row)

    @property
    def _n_first(self) -> int:
        """The row of the first user who is not in the data and not in the recorded state."""
        return len(self._data.users) + len(self._recorded.new_ids)

    @property
    def is_untouched(self) -> bool:
        """Whether nothing was recorded so far."""
        return not (self._changed or self._recent or self._new_ids or len(self._recorded.rows))

    def start_from(self, recorded: RecordedState) -> None:
        """Take the state of a log, before anything is recorded. O(1)."""
        with self._lock:
            assert self.is_untouched  # noqa: S101 - the rows of users recorded before would change
            self._recorded = recorded
            self.event_types = recorded.event_types

    def find_row(self, user: Id) -> int | None:
        """Row of a user, or None."""
        row = self._data.users.find_row(user)
        if (row is None or row in self._forgotten) and len(self._recorded.new_ids):
            at = self._recorded.users.find_row(user)
            row = None if at is None else len(self._data.users) + at
        return self._new_rows.get(str(user)) if row is None or row in self._forgotten else row

    def forget(self, user: Id) -> int | None:
        """Forget a user: no row has the id, and the row has no events. Events that come later are those of a new user.

        Returns the row, or None if the user is unknown.
        """
        with self._lock:
            row = self.find_row(user)
            if row is None:
                return None
            self._forgotten.add(row)
            if row >= self._n_first:
                del self._new_rows[str(user)]
                self._new_ids[row - self._n_first] = ""
            for recorded in (self._recent, self._changed, self._known):
                recorded.pop(row, None)
            self._touch(row)
            return row

    @property
    def forgotten(self) -> Int32Array:
        """Rows of the users at the start who are forgotten."""
        return np.array(sorted(row for row in self._forgotten if row < len(self._data.users)), np.int32)

    def external_id(self, row: int) -> Id:
        """External id of a user row."""
        n_fitted = len(self._data.users)
        if row in self._forgotten:
            return ""  # to a request that found the user before
        if row < n_fitted:
            known: Id = self._data.users.ids.item(row)
            return known
        if row < self._n_first:
            return self._data.users.normalize_id(str(self._recorded.new_ids[row - n_fitted]))
        return self._new_ids[row - self._n_first]

    def get(self, row: int) -> UserHistory:
        """The history of a user row."""
        changed = self.find_recorded(row)
        return self.get_stored(row) if changed is None else changed

    def _find_recorded_at_start(self, row: int) -> UserHistory | None:
        """The history of a user row in the state of the log, None if it has none."""
        block = None if row in self._forgotten else self._recorded.find(row)
        if block is None:
            return None
        all_of = self._recorded
        return UserHistory(
            all_of.item[block], all_of.event_type[block], all_of.time[block], all_of.weight[block], all_of.rating[block]
        )

    def _find_latest(self, row: int) -> UserHistory:
        """The history of a user row without the events that wait to be merged."""
        for found in (self._changed.get(row), self._find_recorded_at_start(row)):
            if found is not None:
                return found
        return self.get_stored(row)

    def get_stored(self, row: int) -> UserHistory:
        """The history of a user row at the start, without what was recorded since."""
        if row >= len(self._data.users) or row in self._forgotten:
            return _NO_EVENTS
        return UserHistory.from_data(self._data, row)

    def find_recorded(self, row: int) -> UserHistory | None:
        """The history of a user with events recorded since the fit, None for another; a new object after each event."""
        if row in self._recent:
            with self._lock:
                self._merge_recent(row)
        changed = self._changed.get(row)
        if changed is None and len(self._recorded.rows):
            with self._lock:
                if row not in self._changed and (found := self._find_recorded_at_start(row)) is not None:
                    self._changed[row] = found  # the same object from now on, by which cached lists are recognized
                changed = self._changed.get(row)
        return changed

    def _merge_recent(self, row: int) -> None:
        """Merge the events that were recorded since the last reading. The lock must be held."""
        recent = self._recent.get(row)
        if recent:
            self._changed[row] = self._find_latest(row).merge(*recent)
            del self._recent[row]  # only now: another thread reads what has changed once nothing is left here

    def fitted_row(self, row: int) -> int:
        """The row of the user in the fit, or −1 for a user who came later or was forgotten."""
        return row if row < self.n_fitted_users and row not in self._forgotten else -1

    def is_stale(self, row: int, history: UserHistory | None) -> bool:
        """Whether the model was fitted on another history of this user row. O(L log L), or O(1) for None: the one at the start.

        An event without evidence changes nothing, and neither does a history that is given again.
        """
        if row in self._stale or history is None:
            return row in self._stale
        stored = self.get_stored(row)
        pairs = zip(stored.columns().items(), history.columns().values(), strict=True)
        if all(np.array_equal(mine, theirs, equal_nan=True) for (name, mine), theirs in pairs if name != "time"):
            return False
        n_items = 1 + max(stored.item.max(initial=0), history.item.max(initial=0))
        mine, theirs = (each.to_queries(row, n_items).history for each in (stored, history))
        return not (np.array_equal(mine.indices, theirs.indices) and np.array_equal(mine.data, theirs.data))

    def count_events(self, row: int) -> int:
        """Number of events of a user row."""
        changed = self.find_recorded(row)
        if changed is not None:
            return len(changed)
        return 0 if row >= len(self._data.users) else int(self._data.indptr[row + 1] - self._data.indptr[row])

    def find_by_prefix(self, prefix: str, limit: int) -> list[int]:
        """Rows of users whose id starts with the prefix, new users first. O(U)."""
        with self._lock:
            new = [row for user, row in self._new_rows.items() if user.startswith(prefix)]
            of_log = np.flatnonzero(np.strings.startswith(self._recorded.new_ids, prefix)) + len(self._data.users)
            new = [*(row for row in of_log.tolist() if row not in self._forgotten), *new]
        matching = np.flatnonzero(np.strings.startswith(self._ids_as_text, prefix))[: limit + len(self._forgotten)]
        fitted = [row for row in matching.tolist() if row not in self._forgotten]
        return [*reversed(new), *fitted][:limit]

    @functools.cached_property
    def _ids_as_text(self) -> np.ndarray:
        return np.array([str(each) for each in self._data.users.ids.tolist()], np.dtypes.StringDType())

    def encode_event_type(self, name: str) -> int | None:
        """Code of an event type, added if it is new; None if there are no codes left."""
        known = self.event_types  # replaced, never changed
        if name in known:
            return known.index(name)
        with self._lock:
            if name not in self.event_types:
                if len(self.event_types) >= MAX_EVENT_TYPES:
                    return None
                self.event_types = (*self.event_types, name)
            return self.event_types.index(name)

    def add(self, user: Id, events: UserHistory, *, replayed: bool = False) -> int:
        """Record events of one user, who may be new, and return how many were added.

        An event of the fit that comes again is left out, as often as the fit has it: so the order of recording and replaying
        changes nothing. With ``replayed``, all events that are already in the history are left out.
        """
        with self._lock:
            row = self._find_or_add(user)
            events = self._leave_out_known(row, events, replayed=replayed)
            if len(events):
                self._touch(row)
                recent = self._recent.setdefault(row, [])
                recent.append(events)
                if len(recent) >= _MAX_RECENT:
                    self._merge_recent(row)
            return len(events)

    def replace(self, user: Id, events: UserHistory) -> None:
        """Make the history of a user, who may be new, that of the start and these events, instead of those recorded before."""
        with self._lock:
            row = self._find_or_add(user)
            stored = self.get_stored(row)
            self._recent.pop(row, None)
            self._known[row] = _NO_EVENTS
            new = self._leave_out_known(row, events, replayed=False)
            self._changed[row] = stored.merge(new)
            self._touch(row)

    def _find_or_add(self, user: Id) -> int:
        row = self.find_row(user)
        if row is None:
            row = self.n_rows
            self._new_ids.append(user)
            self._changed[row] = _NO_EVENTS
            self._new_rows[str(user)] = row
        return row

    def _leave_out_known(self, row: int, events: UserHistory, *, replayed: bool) -> UserHistory:
        """The events that the history does not have yet. O(E log L), or O(L log L) for users with events of the same second."""
        if not replayed and self._is_after_start(row, events):
            return events
        stored = self.get_stored(row)
        at = np.searchsorted(stored.time, events.time)
        is_same_second = len(stored) > 0 and (stored.time[np.minimum(at, len(stored) - 1)] == events.time).any()
        known = self._find_known(row)
        if replayed:
            self._merge_recent(row)
            common = stored.find_common(events) if is_same_second else _NO_EVENTS
            if len(common) > len(known):
                self._known[row] = common
            return self._find_latest(row).find_missing(events)
        if is_same_second:
            left = known.find_missing(stored)
            common = left.find_common(events)
            if len(common):
                self._known[row] = known.merge(common)
            return left.find_missing(events)
        return events

    def _is_after_start(self, row: int, events: UserHistory) -> bool:
        """Whether the events are later than all that the user row had at the start. O(E)."""
        first, end = self._data.indptr[row : row + 2].tolist() if row < len(self._data.users) else (0, 0)
        return first == end or not len(events) or bool(events.time.min() > self._data.events.time[end - 1])

    def _find_known(self, row: int) -> UserHistory:
        """The events of the fit that came again."""
        block = None if row in self._known else self._recorded.find(row)
        if block is None:
            return self._known.get(row, _NO_EVENTS)
        past = self._find_recorded_at_start(row)
        return _NO_EVENTS if past is None else past.take(np.flatnonzero(self._recorded.origin[block] == OF_BOTH))

    def merge_into(self, data: Dataset) -> tuple[Dataset, Int32Array]:
        """``data`` with all recorded events, and the rows of users with another history than that of the fit.

        O(E), and nothing is copied of a log to which nothing has been added.

        Forgotten users of the fit keep their rows, empty and under other ids; later ones have none.

        Args:
            data: the data set of the fit; items may have been added since.
        """
        with self._lock:
            for row in list(self._recent):
                self._merge_recent(row)
            of_log = [row for row in self._recorded.rows.tolist() if row not in self._changed]
            self._changed |= {row: past for row in of_log if (past := self._find_recorded_at_start(row)) is not None}
            changed, event_types = dict(self._changed), self.event_types
            new_ids = [*self._recorded.new_ids.tolist(), *self._new_ids]
            stale_rows = self._stale | {row for row, past in changed.items() if self.is_stale(row, past)}
            gone, forgotten = self._forgotten.copy(), self.forgotten
        n_known = len(data.users)
        kept = [row for row in range(n_known, n_known + len(new_ids)) if row not in gone]
        new_rows = np.arange(n_known + len(new_ids), dtype=np.int32)
        new_rows[kept] = np.arange(n_known, n_known + len(kept))
        stale = np.sort(new_rows[np.fromiter(stale_rows, np.int32, len(stale_rows))])
        if not (changed or new_ids or len(forgotten)):
            return data, stale
        data = replace_users(data, forgotten)
        users, table = data.users, data.user_table
        if kept:
            users = extend_vocabulary(
                users, np.array([str(new_ids[row - n_known]) for row in kept], np.dtypes.StringDType())
            )
            if table is not None:
                table = table.pad_to(len(users))
        rows = np.fromiter(changed, np.int32, len(changed))
        events = data.events.take(~np.isin(data.events.user, rows))
        if changed:
            pasts = list(changed.values())
            columns: dict[str, Any] = {
                name: np.concatenate([past.columns()[name] for past in pasts]) for name in pasts[0].columns()
            }
            user = np.repeat(new_rows[rows], [len(past) for past in pasts])
            events = concat_events(events, Events(user=user, **columns, event_types=event_types))
        return dataclasses.replace(data, users=users, user_table=table).with_events(events), stale
