"""Hybrid: combination of the scores or ranks of several models.

Burke, "Hybrid Recommender Systems: Survey and Experiments", UMUAI 12(4), 2002 (weighted, switching); Cormack,
Clarke & Büttcher, "Reciprocal Rank Fusion Outperforms Condorcet and Individual Rank Learning Methods",
SIGIR 2009; Aslam & Montague, "Models for Metasearch", SIGIR 2001 (Borda count).
"""

import dataclasses
import functools
import re
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import scipy.stats

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.table import Table
from leanrec.errors import DataError, SettingError
from leanrec.field_checks import ArrayShape
from leanrec.finiteness import require_finite
from leanrec.kernels.sparse import gather_scores
from leanrec.models import get_model
from leanrec.protocols import Estimator, Explainable, Explanation, Extendable, Scorer
from leanrec.run import Run
from leanrec.settings import check_settings, parse_settings, setting, split_list
from leanrec.types import CSR, Float32Array, Int32Array, Queries

__all__ = ["Hybrid", "HybridModel", "parse_part"]

# The constant of Cormack et al., which limits the weight of the first few ranks.
_RANK_OFFSET = 60.0


@dataclasses.dataclass(frozen=True)
class Hybrid:
    """Fit several models and combine their scores.

    A part whose scores of a user are all equal is left out for that user. An empty history gives equal scores, so that
    retrieval uses its fallback, unless a part reads something else about the user, such as links to friends.

    When to use: several models combined, such as one of interactions and one of content.

    Cost: that of all parts, plus O(B · N) to combine, or O(B · N log N) in the modes that rank.
    """

    parts: tuple[str | Estimator, ...] = setting(
        ("ease", "item_knn"),
        doc=(
            "The models, as settings or as text in the notation of the command line, such as "
            '``("ease(l2=300)", "content")``. Hybrids may be parts of hybrids.'
        ),
    )
    mode: str = setting(
        "weighted",
        one_of=("weighted", "reciprocal", "borda", "switch"),
        search="weighted,reciprocal,borda,switch",
        doc=(
            '"weighted" sums standardized scores; "reciprocal" sums 1 / (60 + rank) and "borda" the share of items ranked '
            'below; "switch" uses the first of two parts for short histories and the second for all others.'
        ),
    )
    weights: tuple[float, ...] = setting(
        (),
        at_least=0,
        search="[],[4,1],[2,1],[1,2],[1,4]",
        doc="Weight of each part, in the first three modes; () = equal weights.",
    )
    threshold: int = setting(
        5,
        at_least=1,
        search="2..50:log",
        doc='"switch": minimum number of items in a history for the second part.',
    )
    cold_items: int = setting(
        0,
        at_least=0,
        doc=(
            '"switch": items with fewer training users than this are always scored by the first part, on the scale of '
            "the share of items ranked below; 0 = never."
        ),
    )

    def __post_init__(self) -> None:
        check_settings(self)
        parts = tuple(parse_part(part) if isinstance(part, str) else part for part in self.parts)
        object.__setattr__(self, "parts", parts)
        if len(parts) < 2 or (self.mode == "switch" and len(parts) != 2):
            wanted = "exactly two" if self.mode == "switch" else "two or more"
            raise SettingError(f"parts must name {wanted} models for mode {self.mode!r}. Got {len(parts)}.")
        if self.weights and len(self.weights) != len(parts):
            raise SettingError(
                f"weights must have a number for each of the {len(parts)} parts. Got {len(self.weights)}."
            )
        if self.weights and not sum(self.weights):
            raise SettingError("weights must not all be 0. Set at least one above 0.")

    @property
    def estimators(self) -> tuple[Estimator, ...]:
        """The parts, resolved."""
        return tuple(part for part in self.parts if not isinstance(part, str))

    def fit_bytes(self, shape: DatasetShape) -> int:
        """The sum of the parts: each stays in memory while the next is fitted."""
        return sum(part.fit_bytes(shape) for part in self.estimators) + 8 * shape.items

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "HybridModel":
        """Fit each part on the same data, one after the other."""
        run.require_memory(
            self.fit_bytes(data.shape),
            f"A hybrid of {len(self.parts)} models",
            "Name fewer parts or raise the limit.",
        )
        item_counts = np.bincount(data.interactions.indices, minlength=len(data.items)).astype(np.int32)
        return HybridModel(self, tuple(part.fit(data, run) for part in self.estimators), item_counts)


@dataclasses.dataclass(frozen=True, eq=False)
class HybridModel:
    """A fitted `Hybrid`.

    Attributes:
        settings: settings of the fit.
        parts: the fitted models.
        item_counts: (N,) int32, training users of each item.
    """

    settings: Hybrid
    parts: tuple[Scorer, ...]
    item_counts: Annotated[Int32Array, ArrayShape("N")]

    def check_state(self) -> None:
        """Raise DataError unless each part scores the items."""
        is_whole = all(isinstance(part, Scorer) and part.n_items <= self.n_items for part in self.parts)
        if not is_whole or len(self.parts) != len(self.settings.parts):
            raise DataError(
                f"HybridModel must have the {len(self.settings.parts)} parts of its settings, for its {self.n_items} items."
            )

    @property
    def n_items(self) -> int:
        """N: the items that at least one part can score."""
        return len(self.item_counts)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Combined scores: (B, N), or (B, K) for ``items``; 0 for a user whom no part can score."""
        scores = self._score_all(queries)
        empty = np.diff(queries.history.indptr) == 0
        known = np.flatnonzero(empty & (queries.users >= 0))
        if len(known):
            # A part such as popularity scores all users alike: only scores that differ from those of an unknown user
            # are personal.
            unknown = dataclasses.replace(queries.take(known[:1]), users=np.array([-1], np.int32))
            is_personal = ~np.isclose(scores[known], self._score_all(unknown), rtol=1e-3, atol=1e-4).all(axis=1)
            empty[known[is_personal]] = False
        scores[empty] = 0
        return gather_scores(scores, items)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """For each item, the explanation of the part with the highest score for it, among those that explain."""
        scores = functools.cache(lambda part: self._part_scores(part, queries)[0])
        by_part: dict[int, list[int]] = {}
        for position, item in enumerate(items.tolist()):
            ranked = sorted(self._explaining_parts(queries, item, scores), key=lambda part: -scores(part)[item])
            chosen = next((part for part in ranked if self._explains[part] and item < self.parts[part].n_items), -1)
            by_part.setdefault(chosen, []).append(position)
        none = Explanation("history", np.zeros(0, np.int32), np.zeros(0, np.float32))
        found = [none] * len(items)
        for index, positions in by_part.items():
            if index >= 0:
                part: Any = self.parts[index]
                explained = part.explain(_drop_new_items(queries, part.n_items), items[positions], top_k)
                for position, explanation in zip(positions, explained, strict=True):
                    found[position] = explanation
        return found

    @functools.cached_property
    def _explains(self) -> tuple[bool, ...]:
        return tuple(isinstance(part, Explainable) for part in self.parts)

    def extend(self, items: Table) -> "HybridModel":
        """The model of N + M items. Parts without `Extendable` are left out for the new items.

        Raises DataError if no part is extendable.
        """
        if not any(isinstance(part, Extendable) for part in self.parts):
            raise DataError(
                "No part of this hybrid can take in new items. Add a part that scores items by their content, such as 'content'."
            )
        parts = tuple(part.extend(items) if isinstance(part, Extendable) else part for part in self.parts)
        item_counts = np.concatenate([self.item_counts, np.zeros(len(items), np.int32)])
        return dataclasses.replace(self, parts=parts, item_counts=item_counts)

    def _score_all(self, queries: Queries) -> Float32Array:
        """(B, N) scores in the mode of the settings."""
        return self._switch(queries) if self.settings.mode == "switch" else self._combine(queries)

    def _combine(self, queries: Queries) -> Float32Array:
        """Weighted mean over the parts that score the user and the item."""
        total = np.zeros((len(queries), self.n_items), dtype=np.float32)
        weights = np.zeros_like(total)
        for part, weight in enumerate(self._weights):
            scores = self._part_scores(part, queries)
            known = ~np.isnan(scores)
            total += np.where(known, weight * scores, 0)
            weights += weight * known
        return np.divide(total, weights, out=total, where=weights > 0)

    def _switch(self, queries: Queries) -> Float32Array:
        """Scores of the first part for short histories, of the second for all others."""
        cold = np.diff(queries.history.indptr) < self.settings.threshold
        scores = np.zeros((len(queries), self.n_items), dtype=np.float32)
        warm_rows = np.flatnonzero(~cold)
        if len(warm_rows):
            scores[warm_rows] = self._score_warm(queries.take(warm_rows))
        cold_rows = np.flatnonzero(cold)
        if len(cold_rows):
            scores[cold_rows] = _first_known(
                *(functools.partial(self._part_scores, part, queries.take(cold_rows)) for part in (0, 1))
            )
        return scores

    def _score_warm(self, queries: Queries) -> Float32Array:
        """Scores of the second part; of the first for users or rare items that the second cannot score."""
        scores = _first_known(*(functools.partial(self._part_scores, part, queries) for part in (1, 0)))
        rare = np.flatnonzero(self.item_counts < self.settings.cold_items)
        if len(rare):
            first = self._part_scores(0, queries)[:, rare]
            scores[:, rare] = np.where(np.isnan(first), scores[:, rare], first)
        return scores

    def _part_scores(self, index: int, queries: Queries) -> Float32Array:
        """(B, N) scores of one part on the scale of the mode; NaN where it is left out."""
        part = self.parts[index]
        scores = np.asarray(part.score(_drop_new_items(queries, part.n_items)), dtype=np.float32)
        rescaled = np.full((len(queries), self.n_items), np.nan, dtype=np.float32)
        rescaled[:, : part.n_items] = _rescale(scores, self.settings.mode)
        if part.n_items:
            rescaled[scores.max(axis=1) <= scores.min(axis=1)] = np.nan
        return rescaled

    def _explaining_parts(self, query: Queries, item: int, scores: Callable[[int], Float32Array]) -> tuple[int, ...]:
        """Indices of the parts that determine the score of the item."""
        if self.settings.mode != "switch":
            return tuple(range(len(self.parts)))
        first = query.history.nnz < self.settings.threshold or self.item_counts[item] < self.settings.cold_items
        order = (0, 1) if first else (1, 0)
        return next(((part,) for part in order if not np.isnan(scores(part)[item])), order)

    @functools.cached_property
    def _weights(self) -> tuple[float, ...]:
        return self.settings.weights or (1.0,) * len(self.parts)


def parse_part(text: str) -> Estimator:
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


def _first_known(first: "functools.partial[Float32Array]", second: "functools.partial[Float32Array]") -> Float32Array:
    """The first scores; where these are NaN, the second, computed only then; 0 where both are NaN."""
    scores = first()
    if np.isnan(scores).any():
        scores = np.where(np.isnan(scores), second(), scores)
    return np.nan_to_num(scores, nan=0.0)


def _rescale(scores: Float32Array, mode: str) -> Float32Array:
    """Rescale scores (B, n) to a common scale of all parts, in the same order."""
    if mode == "weighted":
        deviation = scores.std(axis=1, keepdims=True)
        centered: Float32Array = scores - scores.mean(axis=1, keepdims=True)
        centered /= np.where(deviation > 0, deviation, 1)
        return centered
    # Items with equal scores share the mean of their ranks, best = 1.
    ranks: Float32Array = scores
    if scores.size:
        ranks = np.asarray(scipy.stats.rankdata(-scores, axis=1), dtype=np.float32)
    if mode == "reciprocal":
        return np.asarray(1 / (_RANK_OFFSET + ranks), dtype=np.float32)
    return np.asarray(1 - ranks / np.float32(max(1, scores.shape[1])), dtype=np.float32)


def _drop_new_items(queries: Queries, n_items: int) -> Queries:
    """The queries without the items beyond the first ``n_items``, which the part does not have."""
    if n_items == queries.n_items:
        return queries

    def drop(matrix: CSR) -> CSR:
        return matrix[:, :n_items]

    sequences = queries.sequences
    return dataclasses.replace(
        queries,
        history=drop(queries.history),
        seen=None if queries.seen is None else drop(queries.seen),
        ratings=None if queries.ratings is None else drop(queries.ratings),
        sequences=None if sequences is None else tuple(each[each < n_items] for each in sequences),
    )
