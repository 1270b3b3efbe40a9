"""Shared lists: lists that several servers keep in one store, for users about whom nothing has changed since."""

import hashlib
import time
from typing import Protocol

import msgspec
import numpy as np

from leanrec._version import __version__
from leanrec.data.vocabulary import Id
from leanrec.events.user_history import UserHistory
from leanrec.pipeline.lists.list_cache import CacheKey
from leanrec.pipeline.lists.unique_ids import make_id
from leanrec.pipeline.responses import Recommendations, RecommendedItem
from leanrec.pipeline.snapshot import Snapshot
from leanrec.pipeline.user_histories import UserHistories

__all__ = ["ListStore", "SharedLists"]

_DIGEST_BYTES = 16


class ListStore(Protocol):
    """Keeps lists as bytes, by user and by what they were made of, for a minute at most.

    It waits for milliseconds at most, and answers None where it has nothing and where it does not answer.
    """

    wait_seconds: float

    def find(self, user: bytes, field: bytes) -> bytes | None:
        """The list, or None."""

    def keep(self, user: bytes, field: bytes, content: bytes) -> None:
        """Keep a list, unless the user was closed in the last minute. Does not wait."""

    def close_user(self, user: bytes) -> None:
        """Drop the lists of a user, and keep none for a minute. Does not wait."""

    def note_damage(self) -> None:
        """Count a list that cannot be read."""


class _Content(msgspec.Struct, array_like=True, frozen=True):
    """A list in the store. Titles and images are those of the catalog, and the user is in the key alone."""

    rows: bytes
    scores: bytes
    reasons: list[tuple[str, ...]] | None
    fallback: str | None
    note: str | None
    sources: list[str]


class SharedLists:
    """The lists of one version of a pipeline in a store that other servers use too.

    A list is found only by a digest of everything that it was made of: the release and the version, the items with their
    content, the hidden items, all events of the user, and the parameters. So it can never show an item that the user has acted
    on, also where the servers have different event logs. The cost is that of the digest, O(L), and of a round trip. A list is a
    minute old at most, since some models read the time of a request. Users are in the store as digests of their ids. Thread-safe.

    Attributes:
        store: where the lists are.
    """

    def __init__(
        self, store: ListStore, histories: UserHistories, name: str, version: str, policy: str, n_fitted_items: int
    ) -> None:
        """Share the lists of a version.

        Args:
            store: where the lists are.
            histories: the histories of the users.
            name: name of the model.
            version: id of the version, which tells it from every other one.
            policy: what the lists are made by.
            n_fitted_items: number of items of the version, before others were added.
        """
        self.store = store
        self._histories, self._name, self._version, self._policy = histories, name, version, policy
        self._n_fitted_items = n_fitted_items
        self._added: tuple[object, bytes] | None = None  # digest of the items that were added to a catalog
        self._items: tuple[object, bytes] | None = None  # digest of the items of a snapshot
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(_Content).decode

    def is_quick_enough(self, end: float) -> bool:
        """Whether there is time to ask the store and still make the list until ``end``, by ``time.perf_counter``."""
        return time.perf_counter() + 2 * self.store.wait_seconds < end

    def get(self, key: CacheKey, snapshot: Snapshot, history: UserHistory | None) -> Recommendations | None:
        """The list of this key under a new request id, or None.

        Args:
            key: what is asked for.
            snapshot: the version of model and catalog.
            history: the history with the events that were recorded since the fit, None if there are none.
        """
        user = self._histories.external_id(key.user)
        content = self.store.find(_digest_user(user), self._digest_list(key, snapshot, history))
        if content is None:
            return None
        try:
            return self._restore(user, snapshot, self._decode(content))
        except (ValueError, IndexError):  # msgspec's errors are ValueErrors
            self.store.note_damage()
            return None

    def put(
        self, key: CacheKey, snapshot: Snapshot, history: UserHistory | None, recommendations: Recommendations
    ) -> None:
        """Keep a list that was made from this snapshot and history."""
        user = self._histories.external_id(key.user)
        if user == "":  # forgotten meanwhile
            return
        items = recommendations.items
        rows = np.array(snapshot.catalog.items.rows([item.id for item in items]), np.int32)
        content = _Content(
            rows.tobytes(),
            np.array([item.score for item in items], np.float64).tobytes(),
            [item.reasons for item in items] if key.reasons else None,
            recommendations.fallback,
            recommendations.note,
            [item.source for item in items],
        )
        field = self._digest_list(key, snapshot, history)
        self.store.keep(_digest_user(user), field, self._encode(content))

    def close_user(self, user: int) -> None:
        """Drop the lists of a user row, before it is forgotten, and keep none of that id for a minute."""
        self.store.close_user(_digest_user(self._histories.external_id(user)))

    def _restore(self, user: Id, snapshot: Snapshot, content: _Content) -> Recommendations:
        rows, scores = np.frombuffer(content.rows, np.int32), np.frombuffer(content.scores, np.float64)
        reasons = [()] * len(rows) if content.reasons is None else content.reasons
        catalog = snapshot.catalog
        items = []
        for row, score, texts, source in zip(rows.tolist(), scores.tolist(), reasons, content.sources, strict=True):
            if row < 0:
                raise IndexError
            item, title, image_url = catalog.label(row)
            items.append(RecommendedItem(item, title, score, tuple(texts), image_url, source))
        return Recommendations(
            request=make_id(),
            items=tuple(items),
            fallback=content.fallback,
            user=user,
            note=content.note,
            model=self._name,
            version=self._version,
            policy=self._policy,
        )

    def _digest_list(self, key: CacheKey, snapshot: Snapshot, history: UserHistory | None) -> bytes:
        histories = self._histories
        fitted_row = histories.fitted_row(key.user)  # −1 for an id of the fit that was forgotten and came again
        parts = (__version__, self._version, self._policy, fitted_row, *key[1:], histories.event_types)
        digest = hashlib.blake2b(repr(parts).encode(), digest_size=_DIGEST_BYTES)
        digest.update(self._digest_items(snapshot))
        if history is not None:
            for column in history.columns().values():
                digest.update(column.tobytes())
                digest.update(b"|")
        return digest.digest()

    def _digest_items(self, snapshot: Snapshot) -> bytes:
        """Digest of the hidden items, and of those that were added since the fit in their order. O(1), O(N) after a change."""
        kept = self._items
        if kept is not None and kept[0] is snapshot.basis:
            return kept[1]
        catalog, known = snapshot.catalog, self._added
        if known is None or known[0] is not catalog:
            rows = range(self._n_fitted_items, len(catalog))
            added = repr([(catalog.external_id(row), catalog.content(row)) for row in rows])
            known = catalog, hashlib.blake2b(added.encode("utf-8", "surrogatepass")).digest()
            self._added = known
        digest = hashlib.blake2b(known[1], digest_size=_DIGEST_BYTES)
        if snapshot.shown is not None:
            digest.update(np.flatnonzero(~snapshot.shown).astype(np.int64).tobytes())
        self._items = snapshot.basis, digest.digest()
        return self._items[1]


def _digest_user(user: Id) -> bytes:
    return hashlib.blake2b(str(user).encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()
