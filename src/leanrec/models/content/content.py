"""Content: similarity of item features to the mean of the history.

Rocchio, "Relevance Feedback in Information Retrieval", in The SMART Retrieval System, 1971; Lops, de Gemmis & Semeraro, "Content-based
Recommender Systems: State of the Art and Trends", Recommender Systems Handbook, 2011.
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import scipy.sparse as sp
from sklearn.preprocessing import normalize

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.table import Table
from leanrec.errors import DataError, SettingError
from leanrec.features.pipeline import TEXT_FEATURES, FeatureSpec, FittedFeatures, default_text_feature
from leanrec.features.reduction import TruncatedSVD
from leanrec.features.selection import FeatureSelector, group_by_audience, group_by_popularity
from leanrec.field_checks import ArrayShape, check_array_shapes
from leanrec.finiteness import require_finite
from leanrec.kernels.csr import replace_values
from leanrec.kernels.sparse import dot_scores, gather_scores, history_scores
from leanrec.kernels.topk.selection import top_k
from leanrec.kernels.weighting import weight_interactions
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_at_least, check_one_of, check_settings, setting
from leanrec.types import CSR, Candidates, Float32Array, Int32Array, Queries

__all__ = ["Content", "ContentModel", "DenseContentModel", "find_similar_items"]

# Names of shared features in an explanation.
_MAX_FEATURES = 5


@dataclasses.dataclass(frozen=True)
class Content:
    """Score items by similarity to the profile of the user, the weighted mean of the features of the history.

    The score is the cosine with the profile, the dot product, or minus the *squared* distance (which ranks like the
    distance, and is a dot product in two more dimensions).

    When to use: items with texts, labels or numbers, above all new items.

    Cost: fit O(characters); a query at most O(entries of the item features), or O(N · D) where dense; the
    model 8 bytes an entry, or 4 N · D bytes.
    """

    READS: ClassVar[frozenset[str]] = frozenset({"history", "content", "order"})
    NEEDS: ClassVar[frozenset[str]] = frozenset({"content"})
    VARIANTS: ClassVar[tuple[Mapping[str, Any], ...]] = ({"embedding_dim": 64},)

    similarity: str = setting("cosine", one_of=("cosine", "euclidean", "dot"), doc="Similarity to the profile.")
    weighting: str = setting(
        "log",
        one_of=("none", "binary", "log"),
        search="none,binary,log",
        doc="Transformation of interaction weights.",
    )
    half_life: float = setting(
        0.0,
        at_least=0,
        doc=(
            "Number of later interactions after which the weight of one halves; 0 = equal weights. Needs the order of the "
            "history (``Queries.sequences``)."
        ),
    )
    embedding_dim: int = setting(
        0,
        at_least=0,
        doc=(
            "Dimensions of the reduced features, for a dense model that supports approximate search; 0 = sparse features, "
            "not reduced."
        ),
    )
    columns: tuple[str, ...] = setting((), doc="Columns of the item table to use; () = all usable ones.")
    text: str = setting(
        "tfidf",
        one_of=TEXT_FEATURES,
        doc='Feature of text columns: "tfidf", "hashing", "nmf", "lda" or "embedding".',
    )
    features: FeatureSpec | None = setting(
        None,
        doc="Specification of the features; None = inferred, from ``columns`` and with ``text``.",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.features is not None and (self.columns or self.text != "tfidf"):
            raise SettingError(
                "columns and text control inference, so they must not be set where features are given. Drop one or the other."
            )

    def fit_bytes(self, shape: DatasetShape) -> int:
        """4 kB an item, and the dense dimensions; ``fit`` also checks the length of the texts."""
        return (4096 + 24 * self.embedding_dim) * shape.items + 2**24

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "ContentModel | DenseContentModel":
        """Fit the features. Raises DataError without an item table or a usable column in it."""
        if data.item_table is None:
            raise DataError(
                "Content must have an item table (titles, genres, text …). The data set has none; "
                "add one, or choose a model of interactions."
            )
        run.require_memory(self.fit_bytes(data.shape), f"Content features of {len(data.items)} items")
        spec = self.features or FeatureSpec(columns=self.columns, text=default_text_feature(self.text))
        if self.embedding_dim:
            spec = dataclasses.replace(spec, reduce=TruncatedSVD(self.embedding_dim))
        features = spec.fit(data.item_table, run, groups=_group_items(data, spec.select, run))
        X = features.transform(data.item_table)
        if features.reduction is not None:
            return DenseContentModel(self, features, _to_dense_rows(X, self.similarity))
        return ContentModel(self, features, _normalize_rows(X, self.similarity))


@dataclasses.dataclass(frozen=True, eq=False)
class ContentModel:
    """A fitted `Content` with sparse features.

    Attributes:
        settings: settings of the fit.
        features: the fitted features.
        items: (N, F) CSR; rows of unit length for the cosine.
    """

    settings: Content
    features: FittedFeatures
    items: Annotated[CSR, ArrayShape("N", "F")]

    def check_state(self) -> None:
        """Raise DataError unless the items have the features of the fit."""
        check_array_shapes("ContentModel", {"items": self.items}, {"items": (self.n_items, len(self.features.names))})

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return int(self.items.shape[0])

    @functools.cached_property
    def _by_feature(self) -> CSR:
        """(F, N): items by feature."""
        return sp.csr_array(self.items.T)

    @functools.cached_property
    def _squares(self) -> Float32Array:
        return _item_squares(self.items.multiply(self.items).sum(axis=1))

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Similarity of each item to the profile: (B, N), or (B, K) for ``items``; zeros for a history without content."""
        profiles = self.profiles(queries)
        scores = history_scores(profiles, self._by_feature)
        if self.settings.similarity == "euclidean":
            squares = np.asarray(profiles.multiply(profiles).sum(axis=1), dtype=np.float32).reshape(-1, 1)
            scores = np.where(squares > 0, 2 * scores - squares - self._squares, np.float32(0))
        return gather_scores(scores, items)

    def profiles(self, queries: Queries) -> CSR:
        """(B, F) profiles: the mean of the history, of unit length for the cosine."""
        return _normalize_rows(
            sp.csr_array(_weight_history(queries, self.settings) @ self.items), self.settings.similarity
        )

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """The items of the history and their contributions, and the features shared with the profile.

        The contributions sum to the score.
        """
        history = _weight_history(queries, self.settings)
        profile = (history @ self.items).toarray()[0]
        past, chosen = self.items[history.indices], self.items[items]
        products = (chosen @ past.T).toarray()
        added = _contributions(self.settings.similarity, history.data, products, past @ profile, self._squares[items])
        match, names = replace_values(chosen, chosen.data * profile[chosen.indices]), self.features.names
        features = [
            _name_features(match.data[start:stop], match.indices[start:stop], names)
            for start, stop in itertools.pairwise(match.indptr.tolist())
        ]
        return rank_contributions(history.indices, added, reason="content", features=features, top_k=top_k)

    def extend(self, items: Table) -> "ContentModel":
        """The model of N + M items: the M new rows follow. Raises ColumnError where the items have no known column."""
        new = _normalize_rows(self.features.transform(items), self.settings.similarity)
        return dataclasses.replace(self, items=sp.vstack([self.items, new], format="csr"))

    def similar(self, items: Int32Array, k: int) -> Candidates:
        """Candidates (B, k): the most similar items of each given one, by the cosine where the similarity is "dot"."""
        return find_similar_items(self.items, items, k, similarity=_choose_item_similarity(self.settings.similarity))


@dataclasses.dataclass(frozen=True, eq=False)
class DenseContentModel:
    """A fitted `Content` with D dense dimensions, whose score is a dot product.

    Attributes:
        settings: settings of the fit.
        features: the fitted features, with their reduction.
        items: (N, D) float32; rows of unit length for the cosine.
    """

    settings: Content
    features: FittedFeatures
    items: Annotated[Float32Array, ArrayShape("N", "F")]

    def check_state(self) -> None:
        """Raise DataError unless the items have the features of the fit."""
        check_array_shapes(
            "DenseContentModel", {"items": self.items}, {"items": (self.n_items, len(self.features.names))}
        )

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return len(self.items)

    @functools.cached_property
    def _squares(self) -> Float32Array:
        return _item_squares((self.items**2).sum(axis=1))

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Similarity of each item to the profile: (B, N), or (B, K) for ``items``; zeros for a history without content."""
        return dot_scores(self.embed_queries(queries), self.embed_items(), items)

    def profiles(self, queries: Queries) -> Float32Array:
        """(B, D) profiles: the mean of the history, of unit length for the cosine."""
        return _to_dense_rows(_weight_history(queries, self.settings) @ self.items, self.settings.similarity)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D) profiles, or (B, D + 2) for the distance: (2p, −|p|², −1) · (x, 1, |x|²) = −|p − x|²."""
        profiles = self.profiles(queries)
        if self.settings.similarity != "euclidean":
            return profiles
        squares = (profiles**2).sum(axis=1, keepdims=True)
        return np.hstack([2 * profiles, -squares, -(squares > 0).astype(np.float32)])

    def embed_items(self) -> Float32Array:
        """(N, D) features, or (N, D + 2) for the distance."""
        return self._embedded

    def similarity_vectors(self) -> Float32Array:
        """(N, D) features without the dimensions that only the distance needs; 0 for an item without content."""
        return self.items

    @functools.cached_property
    def _embedded(self) -> Float32Array:
        if self.settings.similarity != "euclidean":
            return self.items
        return np.hstack([self.items, np.ones((self.n_items, 1), np.float32), self._squares[:, None]])

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """As in the sparse model; the features are approximate, since they are reconstructed from the dimensions."""
        history = _weight_history(queries, self.settings)
        profile = (history @ self.items)[0]
        reduction = self.features.reduction
        components = reduction.components if reduction is not None else np.zeros((len(profile), 0), np.float32)
        # Item by item: a product of all of them rounds in another way, and features that are near to each other would change places.
        match = [(profile @ components) * (each @ components) for each in self.items[items]]
        rows = self.items[history.indices]
        products = self.items[items] @ rows.T
        added = _contributions(self.settings.similarity, history.data, products, rows @ profile, self._squares[items])
        names = () if reduction is None else tuple(reduction.names.tolist())
        features = [_name_features(each, np.arange(len(each)), names) for each in match]
        return rank_contributions(history.indices, added, reason="content", features=features, top_k=top_k)

    def extend(self, items: Table) -> "DenseContentModel":
        """The model of N + M items: the M new rows follow. Raises ColumnError where the items have no known column."""
        new = _to_dense_rows(self.features.transform(items), self.settings.similarity)
        return dataclasses.replace(self, items=np.concatenate([self.items, new]))

    def similar(self, items: Int32Array, k: int) -> Candidates:
        """Candidates (B, k): the most similar items of each given one, by the cosine where the similarity is "dot"."""
        return find_similar_items(self.items, items, k, similarity=_choose_item_similarity(self.settings.similarity))


def find_similar_items(
    matrix: CSR | Float32Array, items: Int32Array, k: int, *, similarity: str = "cosine"
) -> Candidates:
    """Candidates (B, k): the rows most similar to each of the given ones, best first, without rows of zeros.

    Scores are the cosine, the dot product, or −distance. O(B · entries) time and 4 B · N bytes.

    Args:
        matrix: (N, F) sparse features or a dense embedding.
        items: (B,) int32 rows.
        k: at least 0.
        similarity: "cosine", "euclidean" or "dot".
    """
    check_at_least("k", k, 0)
    check_one_of("similarity", similarity, ("cosine", "euclidean", "dot"))
    rows = np.asarray(items, dtype=np.int32)
    sparse = sp.issparse(matrix)
    X: Any = normalize(matrix) if similarity == "cosine" and matrix.shape[0] else matrix
    product = X[rows] @ X.T
    scores = np.asarray(product.toarray() if sparse else product, dtype=np.float32)
    squares = np.asarray((X.multiply(X) if sparse else X * X).sum(axis=1)).reshape(-1)
    if similarity == "euclidean":
        scores = -np.sqrt(np.maximum(squares[rows][:, None] + squares - 2 * scores, 0)).astype(np.float32)
    scores[:, squares == 0] = -np.inf
    scores[np.arange(len(rows)), rows] = -np.inf
    return Candidates(*top_k(scores, k))


def _choose_item_similarity(similarity: str) -> str:
    """The similarity between items: the dot product would favor items of large norm, so the cosine replaces it."""
    return "cosine" if similarity == "dot" else similarity


def _group_items(data: Dataset, select: FeatureSelector | None, run: Run) -> Int32Array | None:
    if select is None or select.by != "mutual-information":
        return None
    if select.target == "popularity":
        return group_by_popularity(data.interactions, select.n_groups)
    return group_by_audience(data.interactions, select.n_groups, run)


def _normalize_rows(X: CSR, similarity: str) -> CSR:
    return normalize(X) if similarity == "cosine" and X.nnz else X


def _to_dense_rows(X: CSR | Float32Array, similarity: str) -> Float32Array:
    rows = np.asarray(X.toarray() if sp.issparse(X) else X, dtype=np.float32)
    return normalize(rows) if similarity == "cosine" and rows.size else rows


def _item_squares(squares: np.ndarray) -> Float32Array:
    """(N,) squared lengths; an item without content gets the largest, or it would be close to every profile."""
    result = np.asarray(squares, dtype=np.float32).reshape(-1)
    return np.where(result > 0, result, result.max(initial=0.0))


def _weight_history(queries: Queries, settings: Content) -> CSR:
    """(B, N) weights of the histories, which sum to 1, with decay where there is a half-life."""
    history = weight_interactions(queries.history, settings.weighting)
    if settings.half_life and queries.sequences is not None:
        history.data = history.data * 0.5 ** (_steps_back(history, queries.sequences) / np.float32(settings.half_life))
    return normalize(history, norm="l1") if history.nnz else history


def _steps_back(history: CSR, sequences: tuple[Int32Array, ...]) -> Float32Array:
    """Number of later interactions of each entry; an entry without a position counts as the oldest."""
    steps = np.zeros(history.nnz, dtype=np.float32)
    position = np.full(history.shape[1], -1, dtype=np.int64)
    for row, order in enumerate(sequences):
        entries = slice(history.indptr[row], history.indptr[row + 1])
        position[order] = np.arange(len(order))
        steps[entries] = len(order) - 1 - position[history.indices[entries]]
        position[order] = -1
    return steps


def _contributions(
    similarity: str, weights: Float32Array, products: np.ndarray, matches: np.ndarray, squares: Float32Array
) -> Float32Array:
    """(K, L) contribution of each item of the history to each score.

    With p = Σ w · h the score is p·x / |p|, p·x, or −|p − x|² = Σ w · (2 h·x − h·p − |x|²).

    Args:
        similarity: of the model.
        weights: (L,) w, summing to 1.
        products: (K, L) h·x.
        matches: (L,) h·p.
        squares: (K,) |x|².
    """
    if similarity == "euclidean":
        return np.asarray(weights * (2 * products - matches - squares[:, None]), dtype=np.float32)
    length = float(np.sqrt(max(weights @ matches, 0.0))) if similarity == "cosine" else 1.0
    return np.asarray(weights * products / (length or 1.0), dtype=np.float32)


def _name_features(match: np.ndarray, positions: np.ndarray, names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the features that match best, best first."""
    best = np.argsort(-match, kind="stable")[:_MAX_FEATURES]
    return tuple(names[positions[each]] for each in best.tolist() if match[each] > 0)
