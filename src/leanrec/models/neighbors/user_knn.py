"""User-kNN: what those liked who are like the asker.

Herlocker, Konstan, Borchers and Riedl, "An Algorithmic Framework for Performing Collaborative Filtering",
SIGIR 1999; for lists from implicit feedback as in Aiolli, "Efficient Top-N Recommendation for Very Large
Scale Binary Rated Datasets", RecSys 2013.
"""

import dataclasses
from typing import ClassVar

import numpy as np
import scipy.sparse as sp

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.errors import DataError
from leanrec.features.pipeline import FeatureSpec
from leanrec.features.profiles import InterestProfiles, fit_interest_profiles
from leanrec.kernels.similarity.aggregation import drop_own_column
from leanrec.kernels.similarity.top_similar import RowStatistics, compute_row_statistics, top_similar_rows
from leanrec.kernels.sparse import history_scores
from leanrec.kernels.weighting import WEIGHTINGS, item_idf, weight_interactions
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Queries

__all__ = ["UserKNN", "UserKNNModel"]

_MEASURES = {"cosine": "cosine", "pearson": "correlation", "euclidean": "euclidean", "jaccard": "jaccard"}


@dataclasses.dataclass(frozen=True)
class UserKNN:
    """score(u, i) = sum over the k users v most like u of similarity(u, v) · strength of v's liking of i.

    Askers are compared with the stored training users when they ask, so a new user and a new click need no
    refit. A known user is never their own neighbour. Only users who share an item (or an interest) and have a
    similarity above 0 are neighbours.

    Cost: fit O(E) time and 48 bytes an event; a query O(Σ over its L items of their users + lengths of the k
    histories + N); the model 16 bytes an event.
    """

    READS: ClassVar[frozenset[str]] = frozenset({"history", "content"})

    n_neighbors: int = setting(
        100,
        at_least=1,
        search="12..400:log",
        doc="Number of neighbours; more than there are users is all of them.",
    )
    by: str = setting(
        "items",
        one_of=("items", "interests"),
        doc=(
            '"items" compares by the items touched; "interests" by the features of the items touched, as far as they '
            "exceed the average of all users, and needs an item table."
        ),
    )
    similarity: str = setting(
        "cosine",
        one_of=_MEASURES,
        search="cosine,pearson,jaccard",
        doc=(
            '"cosine", "pearson" (over all N items or F features, no entry being 0), "euclidean" (1 / (1 + distance)) '
            'or "jaccard" (of the sets).'
        ),
    )
    weighting: str = setting(
        "tfidf",
        one_of=WEIGHTINGS,
        search="none,binary,log,tfidf,bm25",
        doc='How much an interaction counts: "none", "binary", "log", "tfidf", "bm25".',
    )
    shrinkage: float = setting(
        10.0,
        at_least=0,
        search="0..100",
        doc="A similarity over c shared items or interests is multiplied by c / (c + shrinkage).",
    )
    columns: tuple[str, ...] = setting(
        (), doc='Which columns of the item table to read, for "interests"; () = all that can be used.'
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """The weighted interactions, and what users are compared by, twice while it is transposed."""
        size = 80 * shape.events + 32 * (shape.users + shape.items) + 2**20
        return size if self.by == "items" else size + 4096 * (shape.users + shape.items) + 2**24

    def fit(self, data: Dataset, run: Run = Run()) -> "UserKNNModel":
        """Store the users, weighted and by item. Raises DataError for "interests" without an item table."""
        run.require_memory(self.fit_bytes(data.shape), f"User-kNN over {len(data.users)} users")
        X, idf = data.interactions, item_idf(data.interactions)
        interests: InterestProfiles | None = None
        names: tuple[str, ...] = ()
        with run.limit_threads():
            if self.by == "interests":
                if data.item_table is None:
                    raise DataError(
                        'by="interests" needs an item table, and the data set has none. Give one, or use by="items".'
                    )
                features = FeatureSpec(columns=self.columns).fit(data.item_table, run)
                interests, names = fit_interest_profiles(X, features.transform(data.item_table)), features.names
                profiles = interests.transform(weight_interactions(X, self.weighting, idf))
            else:
                profiles = weight_interactions(X, self.weighting, idf)
            if self.similarity == "jaccard":
                # Sets: stored as such, so that a query need not make them.
                profiles = weight_interactions(profiles, "binary")
            statistics = compute_row_statistics(profiles, _MEASURES[self.similarity])
            strength = weight_interactions(X, self.weighting, np.ones_like(idf))
        return UserKNNModel(self, sp.csr_array(profiles.T), statistics, strength, idf, interests, names)


@dataclasses.dataclass(frozen=True, eq=False)
class UserKNNModel:
    """The training users, ready to be compared with.

    Attributes:
        settings: what it was fitted with.
        compared: (N or F, U) CSR, what users are compared by, an item or feature a row.
        statistics: what the measure needs to know of each user.
        strength: (U, N) CSR, what each user's liking counts.
        idf: (N,) float32 of the training users, so that a query is weighted as they were.
        interests: from histories to interests; None when compared by items.
        names: (F,) of the features; none when compared by items.
    """

    settings: UserKNN
    profiles: CSR
    statistics: RowStatistics
    strength: CSR
    idf: Float32Array
    interests: InterestProfiles | None
    names: tuple[str, ...]

    @property
    def n_items(self) -> int:
        """N."""
        return int(self.strength.shape[1])

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Similarity × strength over the neighbours: (B, N), or (B, K) for ``items``."""
        return history_scores(self.find_neighbors(queries), self.strength, items)

    def profile(self, queries: Queries) -> CSR:
        """(B, U) the neighbours, as ``neighbours``."""
        return self.find_neighbors(queries)

    def item_weights(self) -> CSR:
        """(U, N) what each training user's liking counts."""
        return self.strength

    def find_neighbors(self, queries: Queries) -> CSR:
        """(B, U) the similarities of the k nearest training users, the asker not among them."""
        settings = self.settings
        measure = _MEASURES[settings.similarity]
        similar = top_similar_rows(
            self._compute_profiles(queries), self.profiles, settings.n_neighbors + 1, measure,
            shrinkage=settings.shrinkage, y_statistics=self.statistics,
        )  # fmt: skip
        return drop_own_column(similar, queries.users, settings.n_neighbors)

    def explain(self, queries: Queries, item: int) -> Explanation:
        """What the neighbours who like ``item`` share with the asker.

        What each neighbour adds to the score is split evenly over the items of the asker's history that the
        neighbour touched too. Interests that they share are named in ``features``.
        """
        one = queries.block(0, 1)
        nearest = self.find_neighbors(one)
        liking = self.strength[nearest.indices]
        adds = nearest.data * liking[:, [item]].toarray()[:, 0]
        shared = liking[:, one.history.indices].toarray() > 0
        weights = (adds / np.maximum(shared.sum(axis=1), 1)).astype(np.float32) @ shared
        features = self._shared_interests(one, nearest.indices[adds > 0])
        return rank_contributions(
            one.history.indices, weights, reason="neighbors", features=features, only_positive=True
        )

    def _compute_profiles(self, queries: Queries) -> CSR:
        weighted = weight_interactions(queries.history, self.settings.weighting, self.idf)
        return weighted if self.interests is None else self.interests.transform(weighted)

    def _shared_interests(self, query: Queries, supporters: Int32Array) -> tuple[str, ...]:
        """Names of the ten interests that tie the asker to the neighbours most."""
        if self.interests is None or not len(supporters):
            return ()
        own = self._compute_profiles(query)
        ties = own.data * self.profiles[own.indices][:, supporters].sum(axis=1)
        order = np.argsort(-ties, kind="stable")[:10]
        return tuple(self.names[own.indices[place]] for place in order if ties[place] > 0)
