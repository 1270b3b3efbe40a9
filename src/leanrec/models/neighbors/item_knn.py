"""Item-kNN: similarity of items to those of the history.

Sarwar, Karypis, Konstan & Riedl, "Item-based Collaborative Filtering Recommendation Algorithms", WWW 2001;
Deshpande & Karypis, "Item-Based Top-N Recommendation Algorithms", TOIS 22(1), 2004.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.table import Table
from leanrec.errors import DataError
from leanrec.features.pipeline import FeatureSpec, FittedFeatures
from leanrec.features.profiles import MAX_INTERESTS, average_rows, fit_interest_profiles
from leanrec.field_checks import ArrayShape, SharedSizes, check_array_shapes
from leanrec.finiteness import require_finite
from leanrec.kernels.csr import replace_columns
from leanrec.kernels.similarity.aggregation import drop_own_column, keep_top_entries
from leanrec.kernels.similarity.top_similar import top_similar, top_similar_bytes, top_similar_rows
from leanrec.kernels.sparse import history_contributions, history_scores
from leanrec.kernels.weighting import WEIGHTINGS, weight_interactions
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Queries, empty_csr

__all__ = ["ItemContent", "ItemKNN", "ItemKNNModel"]

_MEASURES = {"cosine": "cosine", "pearson": "correlation", "euclidean": "euclidean", "jaccard": "jaccard"}


@dataclasses.dataclass(frozen=True)
class ItemKNN:
    """score(u, i) = Σ similarity(i, j) · weight(u, j) over the k items j most similar to i.

    Neighbors share a user (or a feature) and have a similarity above 0. Each item has its own k neighbors, so that rare
    items are recommended too.

    When to use: a first personalized model, by users in common or by content: fast, small and easy to explain.

    Cost: fit O(Σ_u L_u²) time for "users", the same over features otherwise, and ``fit_bytes``; a query
    O(L · k + N); the model 8 N · k bytes.
    """

    READS: ClassVar[frozenset[str]] = frozenset({"history", "content"})
    VARIANTS: ClassVar[tuple[Mapping[str, Any], ...]] = ({"n_neighbors": 20},)

    n_neighbors: int = setting(
        100,
        at_least=1,
        search="12..400:log",
        doc="k, number of neighbors of each item.",
    )
    by: str = setting(
        "users",
        one_of=("users", "content", "interests"),
        doc=(
            '"users" compares items by their users; "content" by their features; "interests" by the feature profiles of '
            "their users. The last two need an item table."
        ),
    )
    similarity: str = setting(
        "cosine",
        one_of=_MEASURES,
        search="cosine,pearson,jaccard",
        doc=(
            '"cosine", "pearson" (over all U users or F features, a missing entry is 0), "euclidean" (1 / (1 + distance)) '
            'or "jaccard" (of the sets).'
        ),
    )
    weighting: str = setting(
        "tfidf",
        one_of=WEIGHTINGS,
        search="none,binary,log,tfidf,bm25",
        doc=(
            "Transformation of interaction weights. The last two lower the weight of users with long histories in the "
            "fit; on a query they act as the log or the saturation alone."
        ),
    )
    shrinkage: float = setting(
        10.0,
        at_least=0,
        search="0..100",
        doc="A similarity based on c shared users or features is multiplied by c / (c + shrinkage).",
    )
    columns: tuple[str, ...] = setting(
        (),
        doc='Columns of the item table, for "content" and "interests"; () = all usable ones.',
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Copies of the interactions, the neighbors, and a block of sums for each thread."""
        lists = top_similar_bytes(
            shape.items, shape.items, self.n_neighbors, Run().n_threads()
        ) + 24 * shape.items * min(self.n_neighbors, shape.items)
        size = 72 * shape.events + 32 * (shape.users + shape.items) + lists + 2**20
        return size if self.by == "users" else size + 4096 * (shape.users + shape.items) + 2**24

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "ItemKNNModel":
        """Find the neighbors of each item. Raises DataError for content without an item table."""
        run.require_memory(
            self.fit_bytes(data.shape),
            f"Item-kNN over {len(data.items)} items",
            "Lower n_neighbors or raise the limit.",
        )
        with run.limit_threads():
            if self.by == "users":
                return ItemKNNModel(self, self._find_neighbors(self.weight_users(data)), None)
            if data.item_table is None:
                raise DataError(
                    f'by="{self.by}" needs an item table. The data set has none; add one, or use by="users".'
                )
            features = FeatureSpec(columns=self.columns).fit(data.item_table, run)
            rows = features.transform(data.item_table)
            if self.by == "content":
                return ItemKNNModel(self, self._find_neighbors(rows), ItemContent(features, rows))
            profiles = fit_interest_profiles(data.interactions, rows).transform(
                weight_interactions(data.interactions, self.weighting)
            )
            compared = average_rows(weight_interactions(sp.csr_array(data.interactions.T), self.weighting), profiles)
            compared = keep_top_entries(compared, MAX_INTERESTS)
            return ItemKNNModel(self, self._find_neighbors(compared), None)

    def similarity_kernel(self) -> str:
        """Name of ``similarity`` in the kernels, which call "pearson" a correlation."""
        return _MEASURES[self.similarity]

    def weight_users(self, data: Dataset) -> CSR:
        """(N, U) what items are compared by: their weighted users."""
        return weight_interactions(sp.csr_array(data.interactions.T), self.weighting)

    def _find_neighbors(self, compared: CSR) -> CSR:
        """(N, N) from item rows (N, F): column i has the neighbors of item i."""
        similar = top_similar(
            sp.csr_array(compared.T), self.n_neighbors, self.similarity_kernel(), shrinkage=self.shrinkage
        )
        return sp.csr_array(similar.T)


@dataclasses.dataclass(frozen=True, eq=False)
class ItemContent:
    """Content features that new items are compared by.

    Attributes:
        features: the fitted features.
        rows: (N, F) CSR, features of the items.
    """

    features: FittedFeatures
    rows: Annotated[CSR, ArrayShape("N", "F")]

    def check_state(self) -> None:
        """Raise DataError unless the items have the features of the fit."""
        check_array_shapes("ItemContent", {"rows": self.rows}, {"rows": (self.rows.shape[0], len(self.features.names))})


@dataclasses.dataclass(frozen=True, eq=False)
class ItemKNNModel:
    """A fitted `ItemKNN`.

    Attributes:
        settings: settings of the fit.
        similar: (N, N) CSR, ``similar[j, i]`` is the contribution of j in a history to the score of
            i; k entries a column.
        content: features of the items, to compare new items with; by = "content" only.
    """

    settings: ItemKNN
    similar: Annotated[CSR, ArrayShape("N", "N")]
    content: Annotated[ItemContent | None, SharedSizes(N="N")]

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return int(self.similar.shape[0])

    def profile(self, queries: Queries) -> CSR:
        """(B, N) weighted histories."""
        return weight_interactions(queries.history, self.settings.weighting, np.ones(self.n_items, dtype=np.float32))

    def item_weights(self) -> CSR:
        """(N, N) the similarities."""
        return self.similar

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """History × similarities: (B, N), or (B, K) for ``items``."""
        return history_scores(self.profile(queries), self.similar, items)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """The items of the history and their contributions; by content, also the features shared with each item."""
        history = self.profile(queries)
        added = history_contributions(history, self.similar, items)
        reason, features = "history", None
        if self.content is not None:
            reason, features = "content", _shared_features(self.content, items, history.indices, added > 0)
        return rank_contributions(
            history.indices, added, reason=reason, features=features, only_positive=True, top_k=top_k
        )

    def update(self, data: Dataset, changed: Int32Array | None = None, run: Run = Run()) -> "ItemKNNModel":
        """The model of a fit on ``data``. By content nothing changes, since new items are compared when they are added.

        With ``changed``, by users, only the neighbors of these items are found again: O(Σ over their users of L_u).
        """
        settings = self.settings
        if settings.by == "content":
            return self
        if settings.by == "interests" or changed is None:
            return settings.fit(data, run)
        with run.limit_threads():
            compared = settings.weight_users(data)
            found = top_similar_rows(
                compared[changed], sp.csr_array(compared.T), settings.n_neighbors + 1, settings.similarity_kernel(),
                shrinkage=settings.shrinkage,
            )  # fmt: skip
            found = drop_own_column(found, changed, settings.n_neighbors)
            return dataclasses.replace(self, similar=replace_columns(self.similar, changed, found))

    def extend(self, items: Table) -> "ItemKNNModel":
        """The model of N + M items. By content, new items get neighbors among the N at once.

        By users or interests, an item without interactions has no neighbors: its score is 0 until the next fit or update.
        """
        if self.content is None:
            none = empty_csr(len(items), self.n_items)
            return dataclasses.replace(self, similar=_append_items(self.similar, none))
        settings, old = self.settings, self.content.rows
        rows = self.content.features.transform(items)
        new = top_similar_rows(
            rows, sp.csr_array(old.T), settings.n_neighbors, settings.similarity_kernel(), shrinkage=settings.shrinkage
        )
        content = dataclasses.replace(self.content, rows=sp.vstack([old, rows], format="csr"))
        return dataclasses.replace(self, similar=_append_items(self.similar, new), content=content)


def _append_items(similar: CSR, new: CSR) -> CSR:
    """(N + M, N + M) from (N, N) and the neighbors (M, N) of M new items. Existing neighbors do not change."""
    below = empty_csr(new.shape[0], similar.shape[1] + new.shape[0])
    return sp.csr_array(sp.vstack([sp.hstack([similar, sp.csr_array(new.T)], format="csr"), below], format="csr"))


def _shared_features(
    content: ItemContent, items: Int32Array, history: Int32Array, contributes: NDArray[np.bool_]
) -> list[tuple[str, ...]]:
    """Names of the ten features that each item shares most with the items of the history that contribute (K, L)."""
    names, rows = content.features.names, content.rows[items]
    sums = sp.csr_array(contributes, dtype=np.float32) @ content.rows[history]
    shared = CSR(rows.multiply(sums))
    found = []
    for start, stop in itertools.pairwise(shared.indptr.tolist()):
        strength, columns = shared.data[start:stop], shared.indices[start:stop]
        best = np.argsort(-strength, kind="stable")[:10]
        found.append(tuple(names[columns[position]] for position in best.tolist() if strength[position] > 0))
    return found
