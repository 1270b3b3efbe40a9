"""Cache of recommendation lists, for users about whom nothing has changed since."""

import threading
import time
import weakref
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from leanrec.events.user_history import UserHistory
from leanrec.pacing import pause
from leanrec.pipeline.responses import Recommendations
from leanrec.pipeline.snapshot import Snapshot

__all__ = ["Cache", "CacheKey", "ListCache"]

# Some models read the time of a request, so a list must not become old.
_MAX_SECONDS = 60.0
_MAX_OLD_SECONDS = 600.0  # under load
# Of a list from before the last update of the model, and of one with popular items from before that of their numbers.
_MAX_SECONDS_OVER_UPDATES, _MAX_POPULAR_SECONDS = 3.0, 0.25
_CLEARED_AT_ONCE = 200


class CacheKey(NamedTuple):
    """What a list was asked for: the row of a user, and the parameters.

    Attributes:
        user: row of the user.
        n: length of the list.
        exclude_seen: whether items of the history are left out.
        reasons: whether items are explained.
        explore: probability with which each place shows another of the best items.
    """

    user: int
    n: int
    exclude_seen: bool
    reasons: bool
    explore: float = 0.0


class Cache(Protocol):
    """Keeps lists of a pipeline, and has none that an event, a change of the items or another version has made wrong.

    ``history`` is what `UserHistories.find_recorded` has for the user, which is another object after each event.
    """

    def get(self, key: CacheKey, snapshot: Snapshot, history: UserHistory | None) -> Recommendations | None:
        """The list of this key, or None."""

    def put(
        self, key: CacheKey, snapshot: Snapshot, history: UserHistory | None, recommendations: Recommendations
    ) -> None:
        """Keep a list that was made from this snapshot and history."""

    def close_user(self, user: int) -> None:
        """Drop the lists of a user row, and keep no list of it that is still being made."""


class _CachedList(NamedTuple):
    """A list, and what it was made from. It keeps neither model nor history: a server that learns makes several a second.

    Attributes:
        recommendations: the list.
        snapshot: reference to what made it.
        basis: `Snapshot.basis` of it.
        shown: `Snapshot.shown` of it.
        history: reference to the history, None if there was none.
        when: seconds by ``time.monotonic``.
    """

    recommendations: Recommendations
    snapshot: weakref.ref[Snapshot]
    basis: object
    shown: NDArray[np.bool_] | None
    history: weakref.ref[UserHistory] | None
    when: float


class ListCache:
    """The last lists of a pipeline. A cached list is used again only while snapshot and history are the very same objects.

    Both are replaced and never changed, so a cached list can never show an item that the user has just acted on, nor one of an
    earlier version. A snapshot with updates of the model that has been replaced by one with later updates counts for three
    seconds, or for a quarter of a second where popular items are in the list: else each update would empty the cache. O(1) to
    find and to keep. Memory: 1.5 to 4 kB a list of ten; snapshots and histories are not kept. Thread-safe.

    Attributes:
        capacity: largest number of lists; the oldest are dropped first. 0 keeps none.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._lists: dict[CacheKey, _CachedList] = {}
        self._closed: set[int] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._lists)

    def get(self, key: CacheKey, snapshot: Snapshot, history: UserHistory | None) -> Recommendations | None:
        """The list of this key, or None.

        Args:
            key: what is asked for.
            snapshot: the version of model and catalog that must have made it.
            history: the history that it must have been made from.
        """
        found = self._lists.get(key)
        if found is None:
            return None
        past = found.history
        if past is None or history is None:  # the reference to a history that is gone gives None too
            if past is not None or history is not None:
                return None
        elif past() is not history:
            return None
        longest = _MAX_SECONDS
        if found.snapshot() is not snapshot:
            if found.basis is not snapshot.basis:
                return None
            has_popular = found.recommendations.fallback is not None or found.recommendations.note is not None
            longest = _MAX_POPULAR_SECONDS if has_popular else _MAX_SECONDS_OVER_UPDATES
        return found.recommendations if time.monotonic() - found.when < longest else None

    def get_old(self, key: CacheKey) -> tuple[NDArray[np.bool_] | None, Recommendations] | None:
        """`Snapshot.shown` of then and the last list of this key, up to ten minutes old, or None.

        The user may have acted since, and items may have been hidden, so the caller must apply the rules of now.
        """
        found = self._lists.get(key)
        is_old = found is None or time.monotonic() - found.when >= _MAX_OLD_SECONDS
        return None if found is None or is_old else (found.shown, found.recommendations)

    def put(
        self, key: CacheKey, snapshot: Snapshot, history: UserHistory | None, recommendations: Recommendations
    ) -> None:
        """Keep a list that was made from this snapshot and history."""
        if not self.capacity:
            return
        past = None if history is None else weakref.ref(history)
        made = _CachedList(
            recommendations, weakref.ref(snapshot), snapshot.basis, snapshot.shown, past, time.monotonic()
        )
        with self._lock:
            if key.user in self._closed:
                return
            self._lists.pop(key, None)
            while len(self._lists) >= self.capacity:
                del self._lists[next(iter(self._lists))]
            self._lists[key] = made

    def clear(self) -> None:
        """Drop all lists, a few at a time: to free 10,000 at once takes 20 ms in which no other thread works."""
        keys = list(self._lists)
        for start in range(0, len(keys), _CLEARED_AT_ONCE):
            with self._lock:
                for key in keys[start : start + _CLEARED_AT_ONCE]:
                    self._lists.pop(key, None)
            pause()

    def close_user(self, user: int) -> None:
        """Drop the lists of a user row and keep none of it from now on, whatever is still being made. O(lists)."""
        with self._lock:
            self._closed.add(user)
            for key in [key for key in self._lists if key.user == user]:
                del self._lists[key]
