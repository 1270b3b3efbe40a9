"""Rating MF: biased matrix factorization by alternating least squares.

Koren, Bell & Volinsky, "Matrix Factorization Techniques for Recommender Systems", IEEE Computer 42(8),
2009; the penalty grows with the number of ratings as in Zhou, Wilkinson, Schreiber & Pan, AAIM 2008.
"""

import dataclasses
import functools
from typing import Annotated, ClassVar

import numpy as np
import scipy.sparse as sp

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.field_checks import ArrayShape, SharedSizes
from leanrec.finiteness import require_finite
from leanrec.kernels.solvers.rating_bias import RatingBias, fit_rating_bias
from leanrec.kernels.solvers.row_ridge import fit_row_ridges, ridge_target_weights
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Queries

__all__ = ["RatingMF", "RatingMFModel"]

# Differences below this share of the mean rating are rounding errors of float32.
_FLAT = 1e-6


@dataclasses.dataclass(frozen=True)
class RatingMF:
    """rating(u, i) = mean + item offset + user offset + p_u · q_i.

    A half step solves for the offset and the embedding of all users, or of all items, by ridge regression. A query is
    solved by the same regression on its ratings, so that a new user needs no refit.

    When to use: predicted ratings by matrix factorization.

    Cost: fit O(epochs · (E · D² + (U + N) · D³)) time; a query O(L · D² + D³ + N · D); the model 4 N (D + 1)
    bytes, and twice that after the first query.
    """

    READS: ClassVar[frozenset[str]] = frozenset({"ratings"})
    NEEDS: ClassVar[frozenset[str]] = frozenset({"ratings"})

    embedding_dim: int = setting(32, at_least=1, search="8,16,32,64", doc="D, dimension of the embeddings.")
    l2: float = setting(1.5, above=0, search="0.015..150:log", doc="L2 penalty on the embeddings.")
    bias_l2: float = setting(1.0, above=0, search="0.0333..30:log", doc="L2 penalty on the offsets.")
    l2_exponent: float = setting(
        0.5,
        between=(0, 1),
        search="0..1",
        doc="Exponent of the number of ratings of a user or item, by which both penalties are multiplied.",
    )
    epochs: int = setting(12, at_least=1, doc="Number of passes over users and items.")
    user_damping: float = setting(5.0, at_least=0, search="0.5..50:log", doc="As in `Bias`, for the initial offsets.")
    item_damping: float = setting(3.0, at_least=0, search="0.3..30:log", doc="As in `Bias`, for the initial offsets.")

    def __post_init__(self) -> None:
        check_settings(self)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Ratings by user and by item, embeddings twice, and one linear system for each thread."""
        width = self.embedding_dim + 1
        systems = 16 * width**2 * Run().n_threads()
        return 96 * shape.events + 16 * (shape.users + shape.items) * (width + 2) + systems + 2**20

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "RatingMFModel":
        """Alternate until ``epochs`` or the end of the time. Raises DataError if there are no ratings."""
        run.require_memory(
            self.fit_bytes(data.shape),
            f"Rating MF with {self.embedding_dim} dimensions",
            "Lower embedding_dim or raise the limit.",
        )
        baseline = fit_rating_bias(data.ratings, self.user_damping, self.item_damping, data.rating_range)
        assert data.ratings is not None  # noqa: S101 - fit_rating_bias raises without ratings
        by_user = sp.csr_array(data.ratings)
        by_item = sp.csr_array(by_user.T)
        items = run.rng().normal(0, 0.1, (len(data.items), self.embedding_dim)).astype(np.float32)
        offsets = baseline.item_offsets
        with run.limit_threads():
            for _ in run.track(range(self.epochs), "Rating MF"):
                users = self.solve_rows(items, _subtract_baseline(by_user, baseline.mean, offsets))
                solved = self.solve_rows(users[:, 1:], _subtract_baseline(by_item, baseline.mean, users[:, 0]))
                offsets, items = solved[:, 0], np.ascontiguousarray(solved[:, 1:])
                if run.out_of_time():
                    break
        return RatingMFModel(self, dataclasses.replace(baseline, item_offsets=np.ascontiguousarray(offsets)), items)

    def solve_rows(self, factors: Float32Array, targets: CSR) -> Float32Array:
        """(B, 1 + D) offsets and embeddings: regressions of targets (B, M) on the embeddings (M, D) of the other side."""
        return fit_row_ridges(_prepend_ones(factors), targets, self.penalty(), self.l2_exponent)

    def penalty(self) -> Float32Array:
        """(1 + D,) L2 penalty on the offset and on each dimension."""
        return np.array([self.bias_l2] + [self.l2] * self.embedding_dim, dtype=np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class RatingMFModel:
    """A fitted `RatingMF`.

    A user without ratings and history gets equal scores from ``score`` and mean + item offset from ``predict``. An
    interaction without a rating counts as positive (``RatingBias.collect_evidence``).

    Attributes:
        settings: settings of the fit.
        baseline: mean and the item offsets of the fit.
        items: (N, D) float32 item embeddings.
        is_flat: whether ratings do not distinguish items, for a model that holds only some of the items; None = as in ``items``.
    """

    settings: RatingMF
    baseline: Annotated[RatingBias, SharedSizes(N="N")]
    items: Annotated[Float32Array, ArrayShape("N", "D")]
    is_flat: bool | None = None

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return len(self.items)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Predicted ratings, not clipped: (B, N), or (B, K) for ``items``; 0 for a user without a history."""
        users = self.embed_queries(queries)
        if items is None:
            scores: Float32Array = users @ self.embed_items().T
            return scores
        chosen = self.embed_items()[np.broadcast_to(items, (len(queries), np.shape(items)[-1]))]
        chosen_scores: Float32Array = np.einsum("bkd,bd->bk", chosen, users)
        return chosen_scores

    def predict(self, queries: Queries, items: Int32Array) -> Float32Array:
        """(B,) predicted rating of user b for ``items[b]``, within the range of the data."""
        solved = self._solve(queries)
        ratings = np.float32(self.baseline.mean) + self.baseline.item_offsets[items] + solved[:, 0]
        return self.baseline.clip(ratings + np.einsum("bd,bd->b", solved[:, 1:], self.items[items]))

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D + 2): user offset and mean, 1, embedding; all 0 for a user without a history.

        All 0 for every user where the ratings of the fit do not distinguish items.
        """
        if self._is_flat:
            return np.zeros((len(queries), self.items.shape[1] + 2), np.float32)
        solved = self._solve(queries)
        known = np.diff(queries.history.indptr) > 0
        if queries.ratings is not None:
            known |= np.diff(queries.ratings.indptr) > 0
        has_history = known.astype(np.float32)
        offset = has_history * (solved[:, 0] + np.float32(self.baseline.mean))
        return np.column_stack([offset, has_history, solved[:, 1:]])

    def embed_items(self) -> Float32Array:
        """(N, D + 2): 1, item offset, embedding."""
        return self._embedded

    @property
    def offset_columns(self) -> tuple[int, ...]:
        """The constant and the item offset are the first columns of the item embeddings."""
        return (0, 1)

    def replace_items(self, vectors: Float32Array) -> "RatingMFModel":
        """The model with the offsets and embeddings of other item embeddings (N, D + 2)."""
        baseline = dataclasses.replace(self.baseline, item_offsets=np.ascontiguousarray(vectors[:, 1]))
        return dataclasses.replace(self, baseline=baseline, items=np.ascontiguousarray(vectors[:, 2:]))

    def summarize(self) -> "RatingMFModel":
        """The model that knows whether it is flat, so that it may be left with the rows of some items."""
        return dataclasses.replace(self, is_flat=self._is_flat)

    def similarity_vectors(self) -> Float32Array:
        """(N, D) item embeddings without offsets; 0 for an item without ratings."""
        return self.items

    @functools.cached_property
    def _is_flat(self) -> bool:
        """Whether offsets and embeddings are rounding errors, as where all ratings are equal."""
        if self.is_flat is not None:
            return self.is_flat
        offsets = self.baseline.item_offsets
        spread = max(np.ptp(offsets) if len(offsets) else 0, np.abs(self.items).max(initial=0))
        return bool(spread <= _FLAT * max(1.0, abs(self.baseline.mean)))

    @functools.cached_property
    def _embedded(self) -> Float32Array:
        return np.column_stack([np.ones(self.n_items, np.float32), self.baseline.item_offsets, self.items])

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """Contribution of each rating to the predicted ratings, which are linear in them."""
        targets = self._targets(queries)
        design, probes = _prepend_ones(self.items[targets.indices]), _prepend_ones(self.items[items])
        shares = ridge_target_weights(design, self.settings.penalty(), self.settings.l2_exponent, probes)
        return rank_contributions(targets.indices, targets.data * shares, top_k=top_k)

    def _targets(self, queries: Queries) -> CSR:
        return _subtract_baseline(
            self.baseline.collect_evidence(queries.history, queries.ratings).ratings,
            self.baseline.mean,
            self.baseline.item_offsets,
        )

    def _solve(self, queries: Queries) -> Float32Array:
        return self.settings.solve_rows(self.items, self._targets(queries))


def _subtract_baseline(ratings: CSR, mean: float, offsets: Float32Array) -> CSR:
    """The ratings minus the mean and the offset of their column."""
    rest = ratings.data - np.float32(mean) - offsets[ratings.indices]
    return sp.csr_array((rest, ratings.indices, ratings.indptr), shape=ratings.shape)


def _prepend_ones(factors: Float32Array) -> Float32Array:
    return np.column_stack([np.ones(len(factors), np.float32), factors])
