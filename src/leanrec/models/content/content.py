"""Content: items like what this user touched, by their words, labels and numbers.

Rocchio, "Relevance feedback in information retrieval", 1971; Lops, de Gemmis & Semeraro, "Content-based
Recommender Systems: State of the Art and Trends", Recommender Systems Handbook, 2011.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
from sklearn.preprocessing import normalize

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.table import Table
from leanrec.errors import DataError, SettingError
from leanrec.features.pipeline import TEXT_FEATURES, FeatureSpec, FittedFeatures, default_text_feature
from leanrec.features.reduction import TruncatedSVD
from leanrec.features.selection import FeatureSelector, group_by_audience, group_by_popularity
from leanrec.kernels.sparse import dot_scores, gather_scores, history_scores
from leanrec.kernels.topk.selection import top_k
from leanrec.kernels.weighting import weight_interactions
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_at_least, check_one_of, check_settings, setting
from leanrec.types import CSR, Candidates, Float32Array, Int32Array, Queries

__all__ = ["Content", "ContentModel", "DenseContentModel", "find_similar_items"]

_FEATURES_EXPLAINED = 5


@dataclasses.dataclass(frozen=True)
class Content:
    """A user's profile is the weighted mean of what this user touched; items near it score high.

    The score is the cosine with the profile, the dot product with it, or minus the *squared* distance to it
    (which ranks as the distance does, and is a dot product in two more dimensions).

    Cost: fit O(characters); a query at most O(entries of the item features), or O(N · D) where dense; the
    model 8 bytes an entry, or 4 N · D bytes.
    """

    READS: ClassVar[frozenset[str]] = frozenset({"history", "content", "order"})
    NEEDS: ClassVar[frozenset[str]] = frozenset({"content"})
    VARIANTS: ClassVar[tuple[Mapping[str, Any], ...]] = ({"embedding_dim": 64},)

    metric: str = setting("cosine", one_of=("cosine", "euclidean", "dot"), doc='"cosine", "euclidean" or "dot".')
    weighting: str = setting(
        "log",
        one_of=("none", "binary", "log"),
        search="none,binary,log",
        doc='How much a repeated or stronger interaction counts: "binary", "log" or "none".',
    )
    half_life: float = setting(
        0.0,
        at_least=0,
        doc=(
            "Number of later interactions after which one counts half; 0 = all count alike. Needs the order of the "
            "history (``Queries.sequences``)."
        ),
    )
    embedding_dim: int = setting(
        0,
        at_least=0,
        doc=(
            "0 = the features as they are, sparse; more = reduced to so many dimensions, which makes a dense model "
            "that fast and approximate search can use."
        ),
    )
    columns: tuple[str, ...] = setting((), doc="Which columns of the item table to use; () = all that can be used.")
    text: str = setting(
        "tfidf",
        one_of=TEXT_FEATURES,
        doc='What a column of text gives: "tfidf", "hashing", "nmf", "lda" or "embedding".',
    )
    features: FeatureSpec | None = setting(
        None,
        doc="Which features to make, in full; None = inferred, from ``columns`` and with ``text``.",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.features is not None and (self.columns or self.text != "tfidf"):
            raise SettingError(
                "columns and text say what is inferred, so they must be left out where features are given."
            )

    def fit_bytes(self, shape: DatasetShape) -> int:
        """4 kB an item, and the dense dimensions; ``fit`` looks at the length of the real texts too."""
        return (4096 + 24 * self.embedding_dim) * shape.items + 2**24

    def fit(self, data: Dataset, run: Run = Run()) -> "ContentModel | DenseContentModel":
        """Fit the features. Raises DataError where there is no item table or nothing in it to learn from."""
        if data.item_table is None:
            raise DataError(
                "The content model must have an item table (titles, genres, text …). This data set has none; "
                "give one with the events, or choose a model that reads interactions."
            )
        run.require_memory(self.fit_bytes(data.shape), f"Content features of {len(data.items)} items")
        spec = self._spec()
        features = spec.fit(data.item_table, run, groups=_groups(data, spec.select, run))
        X = features.transform(data.item_table)
        if features.reduction is not None:
            return DenseContentModel(self, features, _dense(X, self.metric))
        return ContentModel(self, features, _scaled(X, self.metric))

    def _spec(self) -> FeatureSpec:
        spec = self.features or FeatureSpec(columns=self.columns, text=default_text_feature(self.text))
        return dataclasses.replace(spec, reduce=TruncatedSVD(self.embedding_dim)) if self.embedding_dim else spec


@dataclasses.dataclass(frozen=True, eq=False)
class ContentModel:
    """A fitted Content with sparse features.

    Attributes:
        settings: what it was fitted with.
        features: the fitted features.
        items: (N, F) CSR; rows of unit length for the cosine.
    """

    settings: Content
    features: FittedFeatures
    items: CSR

    @property
    def n_items(self) -> int:
        """N."""
        return int(self.items.shape[0])

    @functools.cached_property
    def _by_feature(self) -> CSR:
        """(F, N): to gather the items of a profile's features."""
        return sp.csr_array(self.items.T)

    @functools.cached_property
    def _squares(self) -> Float32Array:
        return _item_squares(self.items.multiply(self.items).sum(axis=1))

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Nearness of each item to the profile; zeros where the history holds no content."""
        profiles = self.profiles(queries)
        scores = history_scores(profiles, self._by_feature)
        if self.settings.metric == "euclidean":
            squares = np.asarray(profiles.multiply(profiles).sum(axis=1), dtype=np.float32).reshape(-1, 1)
            scores = np.where(squares > 0, 2 * scores - squares - self._squares, np.float32(0))
        return gather_scores(scores, items)

    def profiles(self, queries: Queries) -> CSR:
        """(B, F) what each asker likes: the mean of the history, of unit length for the cosine."""
        return _scaled(sp.csr_array(_history(queries, self.settings) @ self.items), self.settings.metric)

    def explain(self, queries: Queries, item: int) -> Explanation:
        """The items of the history by what each adds to the score, and the features shared with the profile.

        The weights sum to the score.
        """
        history = _history(queries.block(0, 1), self.settings)
        profile = history @ self.items
        match = profile.multiply(self.items[[item]]).tocsr()
        products = (self.items[history.indices] @ self.items[[item]].T).toarray()[:, 0]
        own = (self.items[history.indices] @ profile.T).toarray()[:, 0]
        added = _added(self.settings.metric, history.data, products, own, float(self._squares[item]))
        return _explanation(history.indices, added, match.data, match.indices, self.features.names)

    def extend(self, items: Table) -> "ContentModel":
        """The model of N + M items: the M rows follow. Raises ColumnError where no known column is there."""
        new = _scaled(self.features.transform(items), self.settings.metric)
        return dataclasses.replace(self, items=sp.vstack([self.items, new], format="csr"))

    def similar(self, items: Int32Array, k: int) -> Candidates:
        """Candidates (B, k): the items nearest to each given one, by the cosine where the metric is "dot"."""
        return find_similar_items(self.items, items, k, metric=_between_items(self.settings.metric))


@dataclasses.dataclass(frozen=True, eq=False)
class DenseContentModel:
    """A fitted Content in D dense dimensions, whose score is a dot product.

    Attributes:
        settings: what it was fitted with.
        features: the fitted features, with their reduction.
        items: (N, D) float32; rows of unit length for the cosine.
    """

    settings: Content
    features: FittedFeatures
    items: Float32Array

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.items)

    @functools.cached_property
    def _squares(self) -> Float32Array:
        return _item_squares((self.items**2).sum(axis=1))

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Nearness of each item to the profile; zeros where the history holds no content."""
        return dot_scores(self.embed_queries(queries), self.embed_items(), items)

    def profiles(self, queries: Queries) -> Float32Array:
        """(B, D) what each asker likes: the mean of the history, of unit length for the cosine."""
        return _dense(_history(queries, self.settings) @ self.items, self.settings.metric)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D), or (B, D + 2) for the distance: (2p, −|p|², −1) · (x, 1, |x|²) = −|p − x|²."""
        profiles = self.profiles(queries)
        if self.settings.metric != "euclidean":
            return profiles
        squares = (profiles**2).sum(axis=1, keepdims=True)
        return np.hstack([2 * profiles, -squares, -(squares > 0).astype(np.float32)])

    def embed_items(self) -> Float32Array:
        """(N, D), or (N, D + 2) for the distance."""
        return self._embedded

    @functools.cached_property
    def _embedded(self) -> Float32Array:
        if self.settings.metric != "euclidean":
            return self.items
        return np.hstack([self.items, np.ones((self.n_items, 1), np.float32), self._squares[:, None]])

    def explain(self, queries: Queries, item: int) -> Explanation:
        """As the sparse model; the features are what the dimensions stand for, so they are approximate."""
        history = _history(queries.block(0, 1), self.settings)
        profile = (history @ self.items)[0]
        reduction = self.features.reduction
        components = reduction.components if reduction is not None else np.zeros((len(profile), 0), np.float32)
        match = (profile @ components) * (self.items[item] @ components)
        rows = self.items[history.indices]
        added = _added(
            self.settings.metric,
            history.data,
            rows @ self.items[item],
            rows @ profile,
            float(self._squares[item]),
        )
        names = () if reduction is None else tuple(reduction.names.tolist())
        return _explanation(history.indices, added, match, np.arange(len(match)), names)

    def extend(self, items: Table) -> "DenseContentModel":
        """The model of N + M items: the M rows follow. Raises ColumnError where no known column is there."""
        new = _dense(self.features.transform(items), self.settings.metric)
        return dataclasses.replace(self, items=np.concatenate([self.items, new]))

    def similar(self, items: Int32Array, k: int) -> Candidates:
        """Candidates (B, k): the items nearest to each given one, by the cosine where the metric is "dot"."""
        return find_similar_items(self.items, items, k, metric=_between_items(self.settings.metric))


def find_similar_items(matrix: CSR | Float32Array, items: Int32Array, k: int, *, metric: str = "cosine") -> Candidates:
    """Candidates (B, k) for B = len(items): the other rows nearest to each, best first; no rows of zeros.

    Scores are the cosine, the dot product, or −distance. O(B · entries) time and 4 B · N bytes.

    Args:
        matrix: (N, F) sparse features or a dense embedding.
        items: (B,) int32 rows.
        k: at least 0.
        metric: "cosine", "euclidean" or "dot".
    """
    check_at_least("k", k, 0)
    check_one_of("metric", metric, ("cosine", "euclidean", "dot"))
    rows = np.asarray(items, dtype=np.int32)
    sparse = sp.issparse(matrix)
    X: Any = normalize(matrix) if metric == "cosine" and matrix.shape[0] else matrix
    product = X[rows] @ X.T
    scores = np.asarray(product.toarray() if sparse else product, dtype=np.float32)
    squares = np.asarray((X.multiply(X) if sparse else X * X).sum(axis=1)).reshape(-1)
    if metric == "euclidean":
        scores = -np.sqrt(np.maximum(squares[rows][:, None] + squares - 2 * scores, 0)).astype(np.float32)
    scores[:, squares == 0] = -np.inf
    scores[np.arange(len(rows)), rows] = -np.inf
    return Candidates(*top_k(scores, k))


def _between_items(metric: str) -> str:
    """Under the dot product the nearest item to any is a long one, so items are compared by the cosine."""
    return "cosine" if metric == "dot" else metric


def _groups(data: Dataset, select: FeatureSelector | None, run: Run) -> Int32Array | None:
    if select is None or select.by != "mutual-information":
        return None
    if select.target == "popularity":
        return group_by_popularity(data.interactions, select.n_groups)
    return group_by_audience(data.interactions, select.n_groups, run)


def _scaled(X: CSR, metric: str) -> CSR:
    return normalize(X) if metric == "cosine" and X.nnz else X


def _dense(X: CSR | Float32Array, metric: str) -> Float32Array:
    rows = np.asarray(X.toarray() if sp.issparse(X) else X, dtype=np.float32)
    return normalize(rows) if metric == "cosine" and rows.size else rows


def _item_squares(squares: np.ndarray) -> Float32Array:
    """(N,) squared lengths; an item without content counts as the longest, or it would be near everybody."""
    result = np.asarray(squares, dtype=np.float32).reshape(-1)
    return np.where(result > 0, result, result.max(initial=0.0))


def _history(queries: Queries, settings: Content) -> CSR:
    """(B, N) weights of each history, summing to 1: less for what is longer ago, if there is a half-life."""
    history = weight_interactions(queries.history, settings.weighting)
    if settings.half_life and queries.sequences is not None:
        history.data = history.data * 0.5 ** (_steps_back(history, queries.sequences) / np.float32(settings.half_life))
    return normalize(history, norm="l1") if history.nnz else history


def _steps_back(history: CSR, last: tuple[Int32Array, ...]) -> Float32Array:
    """For each entry, how many interactions came after it; one that has no place counts as the oldest."""
    steps = np.zeros(history.nnz, dtype=np.float32)
    place = np.full(history.shape[1], -1, dtype=np.int64)
    for row, order in enumerate(last):
        cut = slice(history.indptr[row], history.indptr[row + 1])
        place[order] = np.arange(len(order))
        steps[cut] = len(order) - 1 - place[history.indices[cut]]
        place[order] = -1
    return steps


def _added(metric: str, weights: Float32Array, products: np.ndarray, own: np.ndarray, square: float) -> Float32Array:
    """What each history item adds to the score.

    With p = Σ w · h the score is p·x / |p|, p·x, or −|p − x|² = Σ w · (2 h·x − h·p − |x|²).

    Args:
        metric: of the model.
        weights: (L,) w, summing to 1.
        products: (L,) h·x.
        own: (L,) h·p.
        square: |x|².
    """
    if metric == "euclidean":
        return np.asarray(weights * (2 * products - own - square), dtype=np.float32)
    length = float(np.sqrt(max(weights @ own, 0.0))) if metric == "cosine" else 1.0
    return np.asarray(weights * products / (length or 1.0), dtype=np.float32)


def _explanation(
    items: Int32Array, added: Float32Array, match: np.ndarray, places: np.ndarray, names: tuple[str, ...]
) -> Explanation:
    best = np.argsort(-match, kind="stable")[:_FEATURES_EXPLAINED]
    features = tuple(names[places[each]] for each in best.tolist() if match[each] > 0)
    return rank_contributions(items, added, reason="content", features=features)
