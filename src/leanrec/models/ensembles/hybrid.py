"""Hybrid: several models answer as one.

Burke, "Hybrid Recommender Systems: Survey and Experiments", UMUAI 12(4), 2002 (weighted, switching); Cormack,
Clarke and Büttcher, "Reciprocal Rank Fusion Outperforms Condorcet and Individual Rank Learning Methods",
SIGIR 2009; Aslam and Montague, "Models for Metasearch", SIGIR 2001 (Borda count).
"""

import dataclasses
import functools
import re

import numpy as np
import scipy.stats

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.table import Table
from leanrec.errors import DataError, SettingError
from leanrec.kernels.sparse import gather_scores
from leanrec.models import get_model
from leanrec.protocols import Estimator, Explainable, Explanation, Extendable, Scorer
from leanrec.run import Run
from leanrec.settings import check_settings, parse_settings, setting, split_list
from leanrec.types import CSR, Float32Array, Int32Array, Queries

__all__ = ["Hybrid", "HybridModel", "part_from_text"]

_MODES = ("weighted", "reciprocal", "borda", "switch")
# Cormack et al.: the constant that keeps the first few ranks from deciding alone.
_RANK_OFFSET = 60.0


@dataclasses.dataclass(frozen=True)
class Hybrid:
    """Fits several models and combines their scores, whatever they are.

    A part that knows nothing about an asker (all its scores are equal) has no say for that asker. An empty
    history gives equal scores, even where a part could answer it, so that retrieval falls back and says so.

    Cost: what the parts cost together, plus O(B · N) to combine, or O(B · N log N) in the modes that rank.
    """

    parts: tuple[str | Estimator, ...] = setting(
        ("ease", "item_knn"),
        doc=(
            "The models. A text names one as the command line does, with settings in brackets where they are not the "
            'default: ``("ease(l2=300)", "content")``. Hybrids may be parts of hybrids.'
        ),
    )
    mode: str = setting(
        "weighted",
        one_of=_MODES,
        search="weighted,reciprocal,borda,switch",
        doc=(
            '"weighted" adds up scores, each part\'s brought to mean 0 and deviation 1 for each asker; "reciprocal" '
            'adds 1 / (60 + rank) and "borda" the share of items below: only the order of scores matters; "switch" '
            "lets the first of two parts answer short histories, the second all others."
        ),
    )
    weights: tuple[float, ...] = setting(
        (),
        at_least=0,
        search="[],[4,1],[2,1],[1,2],[1,4]",
        doc="What each part counts, in the first three modes; () = all the same.",
    )
    threshold: int = setting(
        5,
        at_least=1,
        search="2..50:log",
        doc='"switch": number of items in a history from which the second part answers.',
    )
    cold_items: int = setting(
        0,
        at_least=0,
        doc=(
            '"switch": an item with fewer training users than this is placed by the first part in either case, among '
            "the others by the share of items that part puts below it; 0 = never."
        ),
    )

    def __post_init__(self) -> None:
        check_settings(self)
        parts = tuple(part_from_text(part) if isinstance(part, str) else part for part in self.parts)
        object.__setattr__(self, "parts", parts)
        if len(parts) < 2 or (self.mode == "switch" and len(parts) != 2):
            wanted = "exactly two" if self.mode == "switch" else "two or more"
            raise SettingError(f"parts must name {wanted} models for mode {self.mode!r}. Got {len(parts)}.")
        if self.weights and len(self.weights) != len(parts):
            raise SettingError(
                f"weights must have a number for each of the {len(parts)} parts. Got {len(self.weights)}."
            )
        if self.weights and not sum(self.weights):
            raise SettingError("weights must not all be 0: no part would have a say.")

    @property
    def estimators(self) -> tuple[Estimator, ...]:
        """The parts, resolved."""
        return tuple(part for part in self.parts if not isinstance(part, str))

    def fit_bytes(self, shape: DatasetShape) -> int:
        """The parts together: each stays in memory while the next is fitted."""
        return sum(part.fit_bytes(shape) for part in self.estimators) + 8 * shape.items

    def fit(self, data: Dataset, run: Run = Run()) -> "HybridModel":
        """Fit each part on the same data, one after the other."""
        run.require_memory(
            self.fit_bytes(data.shape),
            f"A hybrid of {len(self.parts)} models",
            "Raise the limit or name fewer parts.",
        )
        touched = np.bincount(data.interactions.indices, minlength=len(data.items)).astype(np.int32)
        return HybridModel(self, tuple(part.fit(data, run) for part in self.estimators), touched)


@dataclasses.dataclass(frozen=True, eq=False)
class HybridModel:
    """The fitted parts.

    Attributes:
        settings: what it was fitted with.
        parts: one scorer for each part.
        touched: (N,) int32, training users of each item.
    """

    settings: Hybrid
    parts: tuple[Scorer, ...]
    touched: Int32Array

    @property
    def n_items(self) -> int:
        """N: the items that at least one part can score."""
        return len(self.touched)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Combined scores: (B, N), or (B, K) for ``items``; 0 throughout for an asker whom no part knows."""
        scores = self._switched(queries) if self.settings.mode == "switch" else self._added(queries)
        scores[np.diff(queries.history.indptr) == 0] = 0
        return gather_scores(scores, items)

    def explain(self, queries: Queries, item: int) -> Explanation:
        """The reason given by the part that speaks most for the item, of those that can explain it."""
        one = queries.block(0, 1)
        says = [(float(self._says(place, one)[0, item]), place) for place in self._in_charge(one, item)]
        for _, place in sorted(says, key=lambda said: -said[0]):
            part = self.parts[place]
            if isinstance(part, Explainable) and item < part.n_items:
                return part.explain(_about(one, part.n_items), item)
        return Explanation("history", np.zeros(0, np.int32), np.zeros(0, np.float32))

    def extend(self, items: Table) -> "HybridModel":
        """The model of N + M items. Parts that read content take them in; the others have no say on them.

        Raises DataError if no part can take in new items.
        """
        if not any(isinstance(part, Extendable) for part in self.parts):
            raise DataError(
                "No part of this hybrid can take in new items. Add one that reads content, such as content."
            )
        parts = tuple(part.extend(items) if isinstance(part, Extendable) else part for part in self.parts)
        touched = np.concatenate([self.touched, np.zeros(len(items), np.int32)])
        return dataclasses.replace(self, parts=parts, touched=touched)

    def _added(self, queries: Queries) -> Float32Array:
        """Weighted mean of what the parts say, over those that know the asker and the item."""
        total = np.zeros((len(queries), self.n_items), dtype=np.float32)
        say = np.zeros_like(total)
        for place, weight in enumerate(self._weights):
            said = self._says(place, queries)
            known = ~np.isnan(said)
            total += np.where(known, weight * said, 0)
            say += weight * known
        return np.divide(total, say, out=total, where=say > 0)

    def _switched(self, queries: Queries) -> Float32Array:
        cold = np.diff(queries.history.indptr) < self.settings.threshold
        scores = np.zeros((len(queries), self.n_items), dtype=np.float32)
        warm_rows = np.flatnonzero(~cold)
        if len(warm_rows):
            scores[warm_rows] = self._warm(queries.take(warm_rows))
        cold_rows = np.flatnonzero(cold)
        if len(cold_rows):
            scores[cold_rows] = _either(
                *(functools.partial(self._says, place, queries.take(cold_rows)) for place in (0, 1))
            )
        return scores

    def _warm(self, queries: Queries) -> Float32Array:
        """The second part, and the first where the second knows nothing: of this asker, or of an item."""
        scores = _either(*(functools.partial(self._says, place, queries) for place in (1, 0)))
        rare = np.flatnonzero(self.touched < self.settings.cold_items)
        if len(rare):
            first = self._says(0, queries)[:, rare]
            scores[:, rare] = np.where(np.isnan(first), scores[:, rare], first)
        return scores

    def _says(self, place: int, queries: Queries) -> Float32Array:
        """(B, N) what one part says on the scale of the mode; NaN where it has no say."""
        part = self.parts[place]
        scores = np.asarray(part.score(_about(queries, part.n_items)), dtype=np.float32)
        said = np.full((len(queries), self.n_items), np.nan, dtype=np.float32)
        said[:, : part.n_items] = _scaled(scores, self.settings.mode)
        if part.n_items:
            said[scores.max(axis=1) <= scores.min(axis=1)] = np.nan
        return said

    def _in_charge(self, query: Queries, item: int) -> tuple[int, ...]:
        """Places of the parts whose reasons count for this asker and item."""
        if self.settings.mode != "switch":
            return tuple(range(len(self.parts)))
        first = query.history.nnz < self.settings.threshold or self.touched[item] < self.settings.cold_items
        order = (0, 1) if first else (1, 0)
        return next(((place,) for place in order if not np.isnan(self._says(place, query)[0, item])), order)

    @functools.cached_property
    def _weights(self) -> tuple[float, ...]:
        return self.settings.weights or (1.0,) * len(self.parts)


def part_from_text(text: str) -> Estimator:
    """An estimator from ``name`` or ``name(setting=value, …)``. Raises SettingError."""
    match = re.fullmatch(r"\s*([\w.:]+)\s*(?:\((.*)\))?\s*", text, re.DOTALL)
    if not match:
        raise SettingError(f"A part must be a model and its settings, such as ease or ease(l2=300). Got {text!r}.")
    settings = {}
    for pair in split_list(match[2] or ""):
        name, equals, value = pair.partition("=")
        if not equals:
            raise SettingError(f"A setting of a part must be name=value. Got {pair!r} in {text!r}.")
        settings[name.strip()] = value.strip()
    return parse_settings(get_model(match[1]), settings)


def _either(first: "functools.partial[Float32Array]", second: "functools.partial[Float32Array]") -> Float32Array:
    """What the first says; where it has no say, the second, which is asked only then; 0 where neither has."""
    said = first()
    if np.isnan(said).any():
        said = np.where(np.isnan(said), second(), said)
    return np.nan_to_num(said, nan=0.0)


def _scaled(scores: Float32Array, mode: str) -> Float32Array:
    """Scores on a scale that parts have in common: (B, n) in, (B, n) out, in the same order."""
    if mode == "weighted":
        deviation = scores.std(axis=1, keepdims=True)
        centred: Float32Array = scores - scores.mean(axis=1, keepdims=True)
        centred /= np.where(deviation > 0, deviation, 1)
        return centred
    # Items with equal scores share the mean of their ranks, best = 1.
    ranks: Float32Array = scores
    if scores.size:
        ranks = np.asarray(scipy.stats.rankdata(-scores, axis=1), dtype=np.float32)
    if mode == "reciprocal":
        return np.asarray(1 / (_RANK_OFFSET + ranks), dtype=np.float32)
    return np.asarray(1 - ranks / np.float32(max(1, scores.shape[1])), dtype=np.float32)


def _about(queries: Queries, n_items: int) -> Queries:
    """The queries as a part of ``n_items`` items understands them: without the items that came later."""
    if n_items == queries.n_items:
        return queries
    cut = functools.partial(_cut, n_items=n_items)
    last = queries.sequences
    return dataclasses.replace(
        queries,
        history=cut(queries.history),
        seen=None if queries.seen is None else cut(queries.seen),
        ratings=None if queries.ratings is None else cut(queries.ratings),
        sequences=None if last is None else tuple(each[each < n_items] for each in last),
    )


def _cut(matrix: CSR, n_items: int) -> CSR:
    return matrix[:, :n_items]
