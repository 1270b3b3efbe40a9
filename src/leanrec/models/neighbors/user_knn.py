"""User-kNN: items of similar users.

Herlocker, Konstan, Borchers & Riedl, "An Algorithmic Framework for Performing Collaborative Filtering",
SIGIR 1999; for lists from implicit feedback as in Aiolli, "Efficient Top-N Recommendation for Very Large
Scale Binary Rated Datasets", RecSys 2013.
"""

import dataclasses
from typing import Annotated, ClassVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.errors import DataError
from leanrec.features.pipeline import FeatureSpec
from leanrec.features.profiles import InterestProfiles, fit_interest_profiles
from leanrec.field_checks import ArrayShape, SharedSizes, check_array_shapes
from leanrec.finiteness import require_finite
from leanrec.kernels.csr import build_single_rows
from leanrec.kernels.similarity.aggregation import drop_own_column
from leanrec.kernels.similarity.top_similar import RowStatistics, compute_row_statistics, top_similar_rows
from leanrec.kernels.sparse import history_contributions, history_scores
from leanrec.kernels.weighting import WEIGHTINGS, item_idf, weight_interactions
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Queries

__all__ = ["UserKNN", "UserKNNModel"]

_MEASURES = {"cosine": "cosine", "pearson": "correlation", "euclidean": "euclidean", "jaccard": "jaccard"}


@dataclasses.dataclass(frozen=True)
class UserKNN:
    """score(u, i) = Σ similarity(u, v) · weight(v, i) over the k users v most similar to u.

    A query is compared with the training users when it is scored, so that new users and new interactions need no refit.
    A known user is never its own neighbor. Neighbors share an item (or an interest) and have a similarity above 0.

    When to use: few users, or preferences that change often, since nothing is trained.

    Cost: fit O(E) time and 80 bytes an event; a query O(Σ over its L items of their users + lengths of the k
    histories + N); the model 16 bytes an event.
    """

    READS: ClassVar[frozenset[str]] = frozenset({"history", "content"})

    n_neighbors: int = setting(
        100,
        at_least=1,
        search="12..400:log",
        doc="k, number of neighbors.",
    )
    by: str = setting(
        "items",
        one_of=("items", "interests"),
        doc=(
            '"items" compares histories; "interests" the features of the items of the history, as far as they '
            "exceed the average of all users, and needs an item table."
        ),
    )
    similarity: str = setting(
        "cosine",
        one_of=_MEASURES,
        search="cosine,pearson,jaccard",
        doc=(
            '"cosine", "pearson" (over all N items or F features, a missing entry is 0), "euclidean" (1 / (1 + distance)) '
            'or "jaccard" (of the sets).'
        ),
    )
    weighting: str = setting(
        "tfidf",
        one_of=WEIGHTINGS,
        search="none,binary,log,tfidf,bm25",
        doc="Transformation of interaction weights.",
    )
    shrinkage: float = setting(
        10.0,
        at_least=0,
        search="0..100",
        doc="A similarity based on c shared items or interests is multiplied by c / (c + shrinkage).",
    )
    columns: tuple[str, ...] = setting((), doc='Columns of the item table, for "interests"; () = all usable ones.')

    def __post_init__(self) -> None:
        check_settings(self)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """The weighted interactions, and the profiles of the users, twice while they are transposed."""
        size = 80 * shape.events + 32 * (shape.users + shape.items) + 2**20
        return size if self.by == "items" else size + 4096 * (shape.users + shape.items) + 2**24

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "UserKNNModel":
        """Store the profiles of the training users. Raises DataError for "interests" without an item table."""
        run.require_memory(self.fit_bytes(data.shape), f"User-kNN over {len(data.users)} users")
        X, idf = data.interactions, item_idf(data.interactions)
        interests: InterestProfiles | None = None
        names: tuple[str, ...] = ()
        with run.limit_threads():
            if self.by == "interests":
                if data.item_table is None:
                    raise DataError(
                        'by="interests" needs an item table. The data set has none; add one, or use by="items".'
                    )
                features = FeatureSpec(columns=self.columns).fit(data.item_table, run)
                interests, names = fit_interest_profiles(X, features.transform(data.item_table)), features.names
                profiles = interests.transform(weight_interactions(X, self.weighting, idf))
            else:
                profiles = weight_interactions(X, self.weighting, idf)
            if self.similarity == "jaccard":
                # Jaccard compares sets, so that weights are not needed.
                profiles = weight_interactions(profiles, "binary")
            statistics = compute_row_statistics(profiles, _MEASURES[self.similarity])
            weights = weight_interactions(X, self.weighting, np.ones_like(idf))
        return UserKNNModel(self, sp.csr_array(profiles.T), statistics, weights, idf, interests, names)


@dataclasses.dataclass(frozen=True, eq=False)
class UserKNNModel:
    """A fitted `UserKNN`: the training users, ready for comparison.

    Attributes:
        settings: settings of the fit.
        profiles: (N or F, U) CSR, one item or feature a row.
        statistics: what the similarity needs of each user.
        weights: (U, N) CSR, interaction weights of the users.
        idf: (N,) float32 of the training users, to weight a query like the training users.
        interests: the interest profiles; None by items.
        names: (F,) names of the features; () by items.
    """

    settings: UserKNN
    profiles: Annotated[CSR, ArrayShape("P", "U")]
    statistics: Annotated[RowStatistics, SharedSizes(U="M")]
    weights: Annotated[CSR, ArrayShape("U", "N")]
    idf: Annotated[Float32Array, ArrayShape("N")]
    interests: InterestProfiles | None
    names: tuple[str, ...]

    def check_state(self) -> None:
        """Raise DataError unless the profiles are of the items, or of the features of the interests."""
        n_rows = self.n_items if self.interests is None else len(self.names)
        matrices = {"profiles": self.profiles} | (
            {} if self.interests is None else {"features": self.interests.features}
        )
        shapes = {"profiles": (n_rows, self.profiles.shape[1]), "features": (self.n_items, n_rows)}
        check_array_shapes("UserKNNModel", matrices, {name: shapes[name] for name in matrices})

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return int(self.weights.shape[1])

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Similarities × weights of the neighbors: (B, N), or (B, K) for ``items``."""
        return history_scores(self.find_neighbors(queries), self.weights, items)

    def profile(self, queries: Queries) -> CSR:
        """(B, U) the neighbors, as in ``find_neighbors``."""
        return self.find_neighbors(queries)

    def item_weights(self) -> CSR:
        """(U, N) interaction weights of the training users."""
        return self.weights

    def find_neighbors(self, queries: Queries) -> CSR:
        """(B, U) similarities of the k nearest training users, without the query user."""
        settings = self.settings
        measure = _MEASURES[settings.similarity]
        similar = top_similar_rows(
            self._compute_profiles(queries), self.profiles, settings.n_neighbors + 1, measure,
            shrinkage=settings.shrinkage, y_statistics=self.statistics,
        )  # fmt: skip
        return drop_own_column(similar, queries.users, settings.n_neighbors)

    def update(self, data: Dataset, changed: Int32Array | None = None, run: Run = Run()) -> "UserKNNModel":  # noqa: ARG002 - prepared in one pass
        """The model of a fit on ``data``, at the cost of a fit: O(E)."""
        return self.settings.fit(data, run)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """The items and interests that the query user shares with the neighbors who interacted with an item.

        The contribution of each neighbor is split evenly over the items of the history that the neighbor interacted
        with too. Shared interests are in ``features``.
        """
        nearest, history = self.find_neighbors(queries), queries.history.indices
        adds = history_contributions(nearest, self.weights, items)
        ones = build_single_rows(nearest.indices, np.ones(nearest.nnz, np.float32), nearest.shape[1])
        shared = history_scores(ones, self.weights, history) > 0
        weights = (adds / np.maximum(shared.sum(axis=1), 1)).astype(np.float32) @ shared
        features = self._shared_interests(queries, nearest.indices, adds > 0)
        return rank_contributions(
            history, weights, reason="neighbors", features=features, only_positive=True, top_k=top_k
        )

    def _compute_profiles(self, queries: Queries) -> CSR:
        weighted = weight_interactions(queries.history, self.settings.weighting, self.idf)
        return weighted if self.interests is None else self.interests.transform(weighted)

    def _shared_interests(
        self, query: Queries, neighbors: Int32Array, contributes: NDArray[np.bool_]
    ) -> list[tuple[str, ...]]:
        """Names of the ten interests that the query user shares most with the neighbors that contribute (K, neighbors)."""
        if self.interests is None:
            return [()] * len(contributes)
        profile = self._compute_profiles(query)
        shared = contributes.astype(np.float32) @ self.profiles[profile.indices][:, neighbors].T * profile.data
        order = np.argsort(-shared, axis=1, kind="stable")[:, :10]
        return [
            tuple(self.names[profile.indices[position]] for position in best.tolist() if strength[position] > 0)
            for best, strength in zip(order, shared, strict=True)
        ]
