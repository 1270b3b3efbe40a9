"""Simulated interaction logs with known user preferences, for cost measurements and for the best reachable quality.

Every user has a mixture of interests and every interest a distribution over items (probabilistic latent semantics:
Hofmann, "Latent Semantic Models for Collaborative Filtering", ACM TOIS 2004), so the probability that user u selects
item i next is a dot product of two known vectors, ``θ_u · φ_i``. Items have a popularity with a long tail
(Zipf–Mandelbrot), users an activity with a heavy tail (log-normal), and interests may drift over the time of the log.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.engine import open_engine
from leanrec.data.vocabulary import Vocabulary
from leanrec.errors import SettingError
from leanrec.run import Run
from leanrec.settings import check_at_least, check_between, check_positive
from leanrec.types import Events, Float32Array, Int32Array, Int64Array, Queries

__all__ = ["Simulation", "TruePreferences"]

Float64Array = NDArray[np.float64]

# The size of blocks is fixed, so that a seed gives one log.
_BLOCK = 2**20
_START = 1_600_000_000
_DAY = 86_400
# Redraws of items that the user already has, before the item is drawn uniformly.
_MAX_REDRAWS = 20
_EVENT_BYTES = 21
_WORK_BYTES = 200 * _BLOCK


@dataclasses.dataclass(frozen=True, eq=False)
class TruePreferences:
    """The preferences that generated a simulated log; a Scorer and an Embedder.

    Its recommendation lists are the best on average, so ``evaluate(preferences, test)`` is the best reachable quality.

    Attributes:
        start: (U, D) float32 share of each interest for each user at the beginning of the log; a row adds up to 1.
        end: (U, D) float32, the same for the interests that the users drift to.
        items: (N, D) float32 probability of each item in each interest; a column adds up to 1.
        drift: share of the way from start to end at the end of the log, from 0 to 1.
        moment: time of the queries as a share of the time of the log, from 0 to 1.
    """

    start: Float32Array
    end: Float32Array
    items: Float32Array
    drift: float = 0.0
    moment: float = 1.0

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return len(self.items)

    def at(self, moment: float) -> "TruePreferences":
        """Return the preferences at another moment, 0 = start and 1 = end of the log."""
        check_between("moment", moment, 0, 1)
        return dataclasses.replace(self, moment=moment)

    @functools.cached_property
    def _user_interests(self) -> Float32Array:
        share = self.drift * self.moment
        if share == 0:
            return self.start
        return np.asarray((1 - share) * self.start + share * self.end, dtype=np.float32)

    @functools.cached_property
    def _mean_interests(self) -> Float32Array:
        return np.asarray(self._user_interests.mean(axis=0, dtype=np.float64), dtype=np.float32)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D) interests of the users; the mean interests of all users for a new user (−1)."""
        new = queries.users < 0
        found = self._user_interests[np.where(new, 0, queries.users)]
        found[new] = self._mean_interests
        return found

    def embed_items(self) -> Float32Array:
        """(N, D) probability of each item in each interest."""
        return self.items

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Probability of each item to be the next: (B, N), or (B, K) for given items."""
        users = self.embed_queries(queries)
        if items is None or items.ndim == 1:
            return np.asarray(users @ (self.items if items is None else self.items[items]).T)
        return np.asarray(np.einsum("bd,bkd->bk", users, self.items[items]))


@dataclasses.dataclass(frozen=True)
class Simulation:
    """Settings of a simulated log.

    Without ``allow_repeats`` a user selects an item at most once, as in most public data sets, and at most half of the
    items. All random numbers follow from ``run.seed``; the log does not depend on threads or memory.

    Cost: O(E · (D + log N)) time on one core. Memory: 8 bytes per user and 20 per item for each interest, and 200 MB of
    work space; ``dataset`` needs 21 more bytes per event, ``stream`` none.

    Attributes:
        users: U, each with at least one event.
        items: N.
        events: E, exactly.
        n_interests: D, the number of interests.
        popularity: exponent of the long tail: the item of popularity rank r has the weight (r + 10)^−popularity.
        taste: deviation of an interest from popularity: standard deviation of the logarithm of the weight of an item.
        focus: share of a user's events that follow the interests of the user; the rest follow all interests equally.
        concentration: of the Dirichlet distribution of a user's interests; small = few interests.
        activity: standard deviation of the logarithm of the events per user; 0 = all users equal.
        drift: share of a user's interests that is replaced by the end of the log: 0 = none, 1 = all.
        days: days between the start and the end of the log.
        allow_repeats: whether a user may select an item again.
    """

    users: int = 10_000
    items: int = 5_000
    events: int = 500_000
    n_interests: int = 16
    popularity: float = 0.7
    taste: float = 1.5
    focus: float = 0.9
    concentration: float = 0.2
    activity: float = 1.0
    drift: float = 0.0
    days: float = 365.0
    allow_repeats: bool = False

    def __post_init__(self) -> None:
        for name in ("users", "items", "events", "n_interests"):
            check_at_least(name, getattr(self, name), 1)
        for name in ("popularity", "taste", "activity"):
            check_at_least(name, getattr(self, name), 0)
        for name in ("focus", "drift"):
            check_between(name, getattr(self, name), 0, 1)
        check_positive("concentration", self.concentration)
        check_positive("days", self.days)
        if self.users > 2**31 - 1 or self.items > 2**31 - 1:
            raise SettingError(f"users and items must be below 2³¹. Got {self.users} and {self.items}.")
        if not self.users <= self.events <= self.users * self._max_per_user:
            raise SettingError(
                f"events must be from {self.users}, one for each user, to {self.users * self._max_per_user}, half of the items "
                f"for each. Got {self.events}."
            )

    @property
    def _max_per_user(self) -> int:
        """Maximum number of events of a user."""
        return self.events if self.allow_repeats else max(1, self.items // 2)

    def true_preferences(self, run: Run = Run()) -> TruePreferences:
        """Return the preferences of the users, without making a log. O((U + N) · D)."""
        self._require_memory(run, 0)
        rng = np.random.default_rng([run.seed, 0])
        start = self._draw_interests(rng)
        end = self._draw_interests(rng) if self.drift else start
        return TruePreferences(start=start, end=end, items=self._draw_items(rng), drift=self.drift)

    def stream(self, run: Run = Run()) -> Iterator[Events]:
        """Yield the log in blocks of about a million events: internal rows, sorted by user, then time."""
        truth = self.true_preferences(run)
        # (D, N) cumulative sums: the position of a uniform number among them is the item.
        sums = np.cumsum(truth.items.T, axis=1, dtype=np.float64)
        sums /= sums[:, -1:]
        counts = self._draw_activity(np.random.default_rng([run.seed, 1]))
        bounds = _split_blocks(counts)
        for block, (first, last) in enumerate(itertools.pairwise(bounds)):
            rng = np.random.default_rng([run.seed, 2, block])
            yield self._draw_block(rng, truth, sums, first, counts[first:last])

    def dataset(self, run: Run = Run()) -> Dataset:
        """Return the log as a data set whose ids are row numbers. Raises BudgetError where it does not fit the memory."""
        self._require_memory(run, self.events)
        columns: dict[str, NDArray[Any]] = {
            "user": np.empty(self.events, np.int32),
            "item": np.empty(self.events, np.int32),
            "time": np.empty(self.events, np.int64),
        }
        start = 0
        for block in self.stream(run):
            for name, column in columns.items():
                column[start : start + len(block)] = getattr(block, name)
            start += len(block)
        return Dataset(
            events=_make_events(**columns),
            users=Vocabulary(np.arange(self.users), "user"),
            items=Vocabulary(np.arange(self.items), "item"),
            source=f"simulated, seed {run.seed}",
        )

    def write(self, path: str | Path, run: Run = Run()) -> Path:
        """Write the log for ``ingest``: columns user, item and timestamp; .csv, or Parquet for any other name."""
        target = Path(path)
        with open_engine(run) as engine:
            engine.execute('CREATE TABLE log ("user" INTEGER, item INTEGER, "timestamp" BIGINT)')
            for block in self.stream(run):
                engine.register_table("block", {"user": block.user, "item": block.item, "timestamp": block.time})
                engine.execute("INSERT INTO log FROM block")
            engine.export_rows("SELECT * FROM log", target, str(target))
        return target

    def _require_memory(self, run: Run, events: int) -> None:
        sides = self.n_interests * (8 * self.users + 20 * self.items) + 8 * self.users
        size = _WORK_BYTES + sides + events * _EVENT_BYTES
        run.require_memory(size, f"A simulation of {self.events:,} events", "Simulate fewer events or raise the limit.")

    def _draw_interests(self, rng: np.random.Generator) -> Float32Array:
        interests = rng.dirichlet(np.full(self.n_interests, self.concentration), self.users).astype(np.float32)
        return np.asarray(self.focus * interests + (1 - self.focus) / self.n_interests, dtype=np.float32)

    def _draw_items(self, rng: np.random.Generator) -> Float32Array:
        """(N, D) probability of each item in each interest: popularity times a random factor."""
        popularity = -self.popularity * np.log(rng.permutation(self.items) + 11.0)
        found = rng.standard_normal((self.items, self.n_interests), dtype=np.float32) * np.float32(self.taste)
        found += popularity.astype(np.float32)[:, None]
        np.exp(found - found.max(axis=0), out=found)
        return np.asarray(found / found.sum(axis=0, dtype=np.float64), dtype=np.float32)

    def _draw_activity(self, rng: np.random.Generator) -> Int64Array:
        """(U,) events of each user: at least one, at most ``_max_per_user``, E in total."""
        counts = np.ones(self.users, np.int64)
        share = np.exp(self.activity * rng.standard_normal(self.users))
        remaining = self.events - self.users
        while remaining:
            share[counts >= self._max_per_user] = 0
            counts += rng.multinomial(remaining, share / share.sum())
            remaining = int(np.maximum(counts - self._max_per_user, 0).sum())
            np.minimum(counts, self._max_per_user, out=counts)
        return counts

    def _draw_block(
        self, rng: np.random.Generator, truth: TruePreferences, sums: Float64Array, first: int, counts: Int64Array
    ) -> Events:
        """Draw the events of users ``first`` to ``first + len(counts)``."""
        users = np.repeat(np.arange(len(counts)), counts)
        # One flat sort orders the moments within each user.
        moments = np.sort(users + rng.random(len(users))) - users
        np.clip(moments, 0, np.nextafter(1, 0), out=moments)
        rows = (first + users).astype(np.int32)
        items = self._draw_events(rng, truth, sums, rows, moments)
        time = _START + (moments * (self.days * _DAY)).astype(np.int64)
        return _make_events(rows, items, time)

    def _draw_events(
        self,
        rng: np.random.Generator,
        truth: TruePreferences,
        sums: Float64Array,
        users: Int32Array,
        moments: Float64Array,
    ) -> Int32Array:
        """Draw an item for each event; without repeats, redraw until no user has an item twice."""
        items = _draw_items_at(rng, truth, sums, users, moments)
        if self.allow_repeats:
            return items
        missing, taken = np.arange(len(items)), np.zeros(0, np.int64)
        for attempt in itertools.count():
            keys = users[missing].astype(np.int64) * self.items + items[missing]
            new = _is_first(keys) & ~_is_member(taken, keys)
            # The kept items are sorted, so sorting them again is a merge.
            taken = np.sort(np.concatenate([taken, np.sort(keys[new])]), kind="stable")
            missing = missing[~new]
            if not len(missing):
                return items
            if attempt < _MAX_REDRAWS:
                items[missing] = _draw_items_at(rng, truth, sums, users[missing], moments[missing])
            else:
                items[missing] = rng.integers(self.items, size=len(missing), dtype=np.int32)
        raise AssertionError


def _draw_items_at(
    rng: np.random.Generator, truth: TruePreferences, sums: Float64Array, users: Int32Array, moments: Float64Array
) -> Int32Array:
    """Draw an item for each event: an interest of the user at that moment, then an item of that interest."""
    interest = _draw_interest(rng, truth.start, users)
    if truth.drift:
        moved = np.flatnonzero(rng.random(len(users)) < truth.drift * moments)
        interest[moved] = _draw_interest(rng, truth.end, users[moved])
    order = np.argsort(interest, kind="stable")
    ends = np.cumsum(np.bincount(interest, minlength=len(sums)))
    items = np.empty(len(users), np.int32)
    for each, (start, stop) in enumerate(itertools.pairwise([0, *ends.tolist()])):
        # Sorted numbers are found in one pass through the sums; the permutation makes them independent again.
        found = np.searchsorted(sums[each], np.sort(rng.random(stop - start)), side="right")
        items[order[start:stop]] = rng.permutation(found)
    # A cumulative sum may end a rounding error below the largest uniform number.
    np.minimum(items, sums.shape[1] - 1, out=items)
    return items


def _draw_interest(rng: np.random.Generator, shares: Float32Array, users: Int32Array) -> NDArray[np.int16]:
    """Draw an interest for each event, by the shares of its user."""
    first, last = (int(users.min()), int(users.max()) + 1) if len(users) else (0, 0)
    sums = np.ascontiguousarray(np.cumsum(shares[first:last], axis=1).T)
    where = rng.random(len(users), dtype=np.float32)
    interest = np.zeros(len(users), np.int16)
    for bound in sums[:-1]:
        interest += where > bound[users - first]
    return interest


def _is_first(keys: Int64Array) -> NDArray[np.bool_]:
    """(n,) whether no earlier key is equal."""
    first = np.zeros(len(keys), np.bool_)
    first[np.unique(keys, return_index=True)[1]] = True
    return first


def _is_member(taken: Int64Array, keys: Int64Array) -> NDArray[np.bool_]:
    """(n,) whether each key is in the sorted ``taken``."""
    if not len(taken):
        return np.zeros(len(keys), np.bool_)
    position = np.minimum(np.searchsorted(taken, keys), len(taken) - 1)
    return np.asarray(taken[position] == keys)


def _split_blocks(counts: Int64Array) -> list[int]:
    """Return the bounds of blocks of users with about ``_BLOCK`` events each."""
    ends = np.cumsum(counts)
    blocks = max(1, round(int(ends[-1]) / _BLOCK))
    inner = np.searchsorted(ends, int(ends[-1]) * np.arange(1, blocks) / blocks)
    return [0, *np.unique(inner[inner > 0]).tolist(), len(counts)]


def _make_events(user: Int32Array, item: Int32Array, time: Int64Array) -> Events:
    ones = np.ones(len(user), np.float32)
    return Events(user=user, item=item, time=time, event_type=np.zeros(len(user), np.int8), weight=ones)
