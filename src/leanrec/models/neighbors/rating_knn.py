"""Rating kNN: ratings predicted from similar users or similar items.

Herlocker, Konstan, Borchers & Riedl, "An Algorithmic Framework for Performing Collaborative Filtering",
SIGIR 1999 (users); Sarwar, Karypis, Konstan & Riedl, "Item-based Collaborative Filtering Recommendation
Algorithms", WWW 2001 (items); deviations are taken from the baseline as in Koren, KDD 2008.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.errors import DataError
from leanrec.field_checks import ArrayShape, SharedSizes, check_codes
from leanrec.finiteness import require_finite
from leanrec.kernels.similarity.aggregation import (
    RankedLists,
    drop_own_column,
    mean_over_neighbors,
    mean_over_rated_items,
    rank_entries,
)
from leanrec.kernels.similarity.top_similar import (
    RowStatistics,
    compute_row_statistics,
    top_similar_bytes,
    top_similar_rows,
)
from leanrec.kernels.solvers.rating_bias import RatingBias, RatingEvidence, fit_rating_bias
from leanrec.kernels.sparse import gather_scores
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_at_least, check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Queries

__all__ = ["RatingKNN", "RatingKNNModel"]


@dataclasses.dataclass(frozen=True)
class RatingKNN:
    """rating(u, i) = baseline + similarity-weighted mean of the residuals of the k nearest users on i, or of u on the k nearest items.

    "pearson" correlates common ratings, centered at their means; "cosine" compares all ratings minus the offset of their
    user. Only similarities above 0 count.

    When to use: predicted ratings that similar users or items explain.

    Cost for users: fit O(E); a query O(Σ over its L items of their raters + lengths of ``n_candidates`` histories
    + N); the model 16 bytes a rating. Cost for items: fit O(Σ_u L_u²); a query O(N · n_candidates); the
    model 8 N · n_candidates bytes.
    """

    READS: ClassVar[frozenset[str]] = frozenset({"ratings"})
    NEEDS: ClassVar[frozenset[str]] = frozenset({"ratings"})
    VARIANTS: ClassVar[tuple[Mapping[str, Any], ...]] = ({"by": "users"},)

    by: str = setting("items", one_of=("items", "users"), doc='"items" = similar items, "users" = similar users.')
    similarity: str = setting(
        "cosine",
        one_of=("pearson", "cosine"),
        search="cosine,pearson",
        doc="Similarity of ratings.",
    )
    n_neighbors: int = setting(40, at_least=1, search="5..160:log", doc="k, number of neighbors in a prediction.")
    n_candidates: int = setting(
        400,
        at_least=1,
        doc="Number of most similar users or items from which the k neighbors with a rating are taken.",
    )
    shrinkage: float = setting(
        20.0,
        at_least=0,
        search="0..200",
        doc="A similarity based on c common ratings is multiplied by c / (c + shrinkage).",
    )
    min_shared: int = setting(2, at_least=1, doc="Minimum number of common ratings of neighbors.")
    damping: float = setting(
        5.0,
        at_least=0,
        search="0.5..50:log",
        doc="Number of virtual neighbors at the baseline; larger values lower the effect of few neighbors.",
    )
    user_damping: float = setting(5.0, at_least=0, search="0.5..50:log", doc="As in `Bias`.")
    item_damping: float = setting(3.0, at_least=0, search="0.3..30:log", doc="As in `Bias`.")

    def __post_init__(self) -> None:
        check_settings(self)
        check_at_least("n_candidates", self.n_candidates, self.n_neighbors)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Copies of the ratings, and the similar items by = "items"."""
        lists = (
            top_similar_bytes(shape.items, shape.items, self.n_candidates, Run().n_threads())
            + 48 * shape.items * self.n_candidates
        )
        blocks = 64 * shape.items * Run().n_threads()
        return (
            96 * shape.events + 24 * (shape.users + shape.items) + 2**20 + (lists + blocks if self.by == "items" else 0)
        )

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "RatingKNNModel":
        """Fit the baseline, and find the similar items or store the users. Raises DataError if there are no ratings."""
        run.require_memory(
            self.fit_bytes(data.shape),
            f"Rating kNN over {len(data.items)} items",
            "Lower n_candidates or raise the limit." if self.by == "items" else "Raise the limit.",
        )
        baseline = fit_rating_bias(data.ratings, self.user_damping, self.item_damping, data.rating_range)
        ratings = data.ratings
        assert ratings is not None  # noqa: S101 - fit_rating_bias has refused it
        evidence = RatingEvidence(ratings, baseline.user_offsets(ratings))
        compared = self.prepare_ratings(baseline, evidence)
        with run.limit_threads():
            if self.by == "items":
                by_item = sp.csr_array(compared.T)
                similar = top_similar_rows(
                    by_item, compared, self.n_candidates, self.similarity,
                    shrinkage=self.shrinkage, min_shared=self.min_shared, exclude_self=True,
                )  # fmt: skip
                return RatingKNNModel(self, baseline, similar=rank_entries(similar))
            training_users = TrainingUsers(
                sp.csr_array(compared.T), compute_row_statistics(compared), baseline.residuals(evidence)
            )
            return RatingKNNModel(self, baseline, training_users=training_users)

    def prepare_ratings(self, baseline: RatingBias, evidence: RatingEvidence) -> CSR:
        """(B, N) the ratings to compare: as they are for "pearson", minus mean and user offset for "cosine"."""
        ratings = evidence.ratings
        if self.similarity == "pearson":
            return ratings
        owner = np.repeat(np.arange(ratings.shape[0]), np.diff(ratings.indptr))
        centered = ratings.data - np.float32(baseline.mean) - evidence.user_offsets[owner]
        return sp.csr_array((centered, ratings.indices, ratings.indptr), shape=ratings.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingUsers:
    """The U training users, ready for comparison.

    Attributes:
        profiles: (N, U) CSR, their ratings as the similarity needs them, one item a row.
        statistics: what the similarity needs of each user.
        residuals: (U, N) CSR, their ratings minus the baseline.
    """

    profiles: Annotated[CSR, ArrayShape("N", "U")]
    statistics: Annotated[RowStatistics, SharedSizes(U="M")]
    residuals: Annotated[CSR, ArrayShape("U", "N")]


@dataclasses.dataclass(frozen=True, eq=False)
class RatingKNNModel:
    """A fitted `RatingKNN`.

    A user without ratings and history gets equal scores from ``score`` and the baseline of the item from ``predict``. An
    interaction without a rating counts as positive (``RatingBias.collect_evidence``).

    Attributes:
        settings: settings of the fit.
        baseline: mean and offsets.
        similar: the similar items of each item, by = "items" only.
        training_users: the training users, by = "users" only.
    """

    settings: RatingKNN
    baseline: Annotated[RatingBias, SharedSizes(N="N")]
    similar: Annotated[RankedLists | None, SharedSizes(N="B")] = None
    training_users: Annotated[TrainingUsers | None, SharedSizes(N="N")] = None

    def check_state(self) -> None:
        """Raise DataError unless it has the similar items or the users that its settings need."""
        if (self.similar is None, self.training_users is None) != (
            self.settings.by != "items",
            self.settings.by != "users",
        ):
            raise DataError(f"RatingKNNModel must have what by={self.settings.by!r} needs, and nothing else.")
        if self.similar is not None:
            check_codes("RatingKNNModel.similar.columns", self.similar.columns, self.n_items, lowest=-1)

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return len(self.baseline.item_offsets)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Predicted ratings, not clipped: (B, N), or (B, K) for ``items``; all equal without a history."""
        evidence = self.baseline.collect_evidence(queries.history, queries.ratings)
        candidates = np.arange(self.n_items, dtype=np.int32) if items is None else np.asarray(items, dtype=np.int32)
        ratings = self._ratings(queries, evidence, np.broadcast_to(candidates, (len(queries), candidates.shape[-1])))
        ratings[np.diff(evidence.ratings.indptr) == 0] = self.baseline.mean
        return ratings

    def predict(self, queries: Queries, items: Int32Array) -> Float32Array:
        """(B,) predicted rating of user b for ``items[b]``, within the range of the data."""
        evidence = self.baseline.collect_evidence(queries.history, queries.ratings)
        return self.baseline.clip(self._ratings(queries, evidence, np.asarray(items)[:, None])[:, 0])

    def update(self, data: Dataset, changed: Int32Array | None = None, run: Run = Run()) -> "RatingKNNModel":  # noqa: ARG002 - centered ratings depend on all items
        """The model of a fit on ``data``, at the cost of a fit."""
        return self.settings.fit(data, run)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """Contribution of each rating; by users, split over the items shared with the neighbors."""
        evidence = self.baseline.collect_evidence(queries.history, queries.ratings)
        rated = self.baseline.residuals(evidence)
        if self.similar is not None:
            shares, reason = self._item_contributions(rated, items), "history"
        else:
            shares, reason = self._user_contributions(queries, evidence, items), "neighbors"
        explanations = []
        for each in shares:
            used = np.flatnonzero(each)
            explanations += rank_contributions(rated.indices[used], each[used][None], reason=reason, top_k=top_k)
        return explanations

    def _ratings(self, queries: Queries, evidence: RatingEvidence, items: Int32Array) -> Float32Array:
        base = self.baseline.item_offsets[items] + (np.float32(self.baseline.mean) + evidence.user_offsets)[:, None]
        if self.similar is not None:
            means, n_used = mean_over_rated_items(
                self.similar, self.baseline.residuals(evidence), self.settings.n_neighbors, items
            )
        else:
            assert self.training_users is not None  # noqa: S101 - the model has similar or training_users
            neighbors = rank_entries(self._find_neighbors(queries, evidence))
            all_means, all_n_used = mean_over_neighbors(
                neighbors, self.training_users.residuals, self.settings.n_neighbors
            )
            means, n_used = gather_scores(all_means, items), np.take_along_axis(all_n_used, items, axis=1)
        ratings: Float32Array = base + means * self._confidence(n_used)
        return ratings

    def _confidence(self, n_used: NDArray[np.integer]) -> Float32Array:
        """Damping factor of a mean over this many neighbors."""
        share: Float32Array = (n_used / np.maximum(n_used + self.settings.damping, 1e-9)).astype(np.float32)
        return share

    def _find_neighbors(self, queries: Queries, evidence: RatingEvidence) -> CSR:
        training_users, settings = self.training_users, self.settings
        assert training_users is not None  # noqa: S101 - the model has similar or training_users
        similar = top_similar_rows(
            settings.prepare_ratings(self.baseline, evidence),
            training_users.profiles,
            settings.n_candidates + 1,
            settings.similarity,
            shrinkage=settings.shrinkage,
            min_shared=settings.min_shared,
            y_statistics=training_users.statistics,
        )
        return drop_own_column(similar, queries.users, settings.n_candidates)

    def _item_contributions(self, rated: CSR, items: Int32Array) -> Iterator[Float32Array]:
        """For each item, (L,) contribution of each rating to its rating."""
        assert self.similar is not None  # noqa: S101 - the model has similar or training_users
        position = np.full(self.n_items, -1)
        position[rated.indices] = np.arange(rated.nnz)
        for item in items.tolist():
            columns, weights = self.similar.columns[item], self.similar.weights[item]
            used = np.flatnonzero((columns >= 0) & (position[columns] >= 0))[: self.settings.n_neighbors]
            shares = np.zeros(rated.nnz, dtype=np.float32)
            if len(used):
                at, strength = position[columns[used]], weights[used]
                shares[at] = self._confidence(np.array(len(used))) * strength * rated.data[at] / strength.sum()
            yield shares

    def _user_contributions(
        self, query: Queries, evidence: RatingEvidence, items: Int32Array
    ) -> Iterator[Float32Array]:
        """For each item, (L,) contributions of the neighbors, each split evenly over the items shared with the user."""
        training_users, rated = self.training_users, evidence.ratings.indices
        assert training_users is not None  # noqa: S101 - the model has similar or training_users
        nearest = rank_entries(self._find_neighbors(query, evidence))
        users, similarity = nearest.columns[0], nearest.weights[0]
        residuals = training_users.residuals[users[users >= 0]]
        by_item = residuals[:, items].tocsc()
        by_item.sort_indices()
        shared = functools.cache(
            lambda at: np.flatnonzero(
                np.isin(rated, residuals.indices[residuals.indptr[at] : residuals.indptr[at + 1]])
            )
        )
        for start, stop in itertools.pairwise(by_item.indptr.tolist()):
            chosen = slice(start, min(stop, start + self.settings.n_neighbors))
            neighbors, ratings = by_item.indices[chosen], by_item.data[chosen]
            strength = similarity[neighbors]
            scale = self._confidence(np.array(len(neighbors))) / max(1e-9, float(strength.sum()))
            shares = np.zeros(len(rated), dtype=np.float32)
            for at, share in zip(neighbors.tolist(), (scale * strength * ratings).tolist(), strict=True):
                shares[shared(at)] += share / len(shared(at))
            yield shares
