"""Two-tower: query and item encoders with a dot product, and content features for new items.

Yi, Yang, Hong, Cheng, Heldt, Kumthekar, Zhao, Wei & Chi, "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item
Recommendations", RecSys 2019; Covington, Adams & Sargin, "Deep Neural Networks for YouTube Recommendations", RecSys 2016.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.data.table import Table
from leanrec.errors import ColumnError, DataError, MissingExtraError
from leanrec.features.pipeline import TEXT_FEATURES, FeatureSpec, FittedFeatures, default_text_feature
from leanrec.field_checks import ArrayShape, check_array_shapes
from leanrec.finiteness import require_finite
from leanrec.kernels.csr import replace_values
from leanrec.kernels.layers.named_layers import NamedLayers
from leanrec.kernels.sparse import dot_scores
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import setting
from leanrec.training.config import TrainingSettings
from leanrec.training.early_stopping import hold_out
from leanrec.types import CSR, Float32Array, Int32Array, Queries, empty_csr

__all__ = ["TwoTower", "TwoTowerModel"]

# Keeps the length of a zero vector above 0.
_EPSILON = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoTower(TrainingSettings):
    """Unit vectors of query and item, whose dot product divided by ``temperature`` is the score.

    The item tower's input is an id embedding plus an embedding of the features of the item table. The query tower's input
    is (L + 1)^−pooling_exponent Σ h_j over the L items of the history, where h_j is again an id embedding plus one of the
    features, plus an embedding of the features of the user table for users of the fit. Each tower is
    x + W₂ relu(W₁ x + b₁) + b₂.

    In training a part of each user's items is masked, and each masked item is predicted among the masked items of the
    batch that its user did not interact with. These are distributed by popularity; dividing by the expected number of
    occurrences (logQ) corrects for that. Frequencies are counted rather than estimated in training, because the log is
    available. Id embeddings and user features are dropped at random, so that new items are placed by their content.
    With ``loss`` "alignment" there are no negatives: a masked item and its query attract each other, and items as well as
    queries spread over the sphere (DirectAU: Wang et al., KDD 2022).

    When to use: large catalogs with content: new items are embedded by it, and scores are dot products.

    Cost: an epoch O((E + U · n_folds · items of a batch) · (D + hidden_dim)); a query O(L · D + D · hidden_dim + N · D);
    the model 4 D (2 N + U) bytes and 8 D bytes per feature of the items.
    """

    READS: ClassVar[frozenset[str]] = frozenset({"history", "content", "users"})
    # Maximum number of rows of which the uniformity loss computes all pairwise distances in a step.
    UNIFORMITY_ROWS: ClassVar[int] = 2048

    epochs: int = 20
    batch_size: int = 8192
    learning_rate: float = setting(3e-3, search="0.0003..0.03:log")
    embedding_dim: int = setting(64, at_least=1, search="16,32,64,128", doc="D, dimension of the embeddings.")
    hidden_dim: int = setting(128, at_least=0, doc="Size of the hidden layer of a tower; 0 = towers without layers.")
    temperature: float = setting(0.1, above=0, doc="The cosine is divided by this.")
    loss: str = setting(
        "softmax", one_of=("softmax", "alignment"), doc='"softmax" among the items of the batch, or "alignment".'
    )
    uniformity_weight: float = setting(1.0, at_least=0, doc='"alignment": weight of uniformity relative to alignment.')
    logq_correction: float = setting(
        1.0,
        between=(0, 1),
        doc="Share of the log of an item's expected number in a batch that is subtracted from its score as a negative: "
        "1 = the loss estimates the full softmax, 0 = popular items are pushed down.",
    )
    n_folds: int = setting(5, at_least=2, doc="Folds into which the items of a user are split; each is masked in turn.")
    pooling_exponent: float = setting(
        0.5,
        between=(0, 1),
        search="0..1",
        doc="Exponent of the history length by which the sum of item vectors is divided.",
    )
    length_exponent: float = setting(
        0.0,
        between=(0, 1),
        doc="Exponent of the history length by which the weight of a masked item is divided: 0 = interactions count "
        "equally, 1 = users do.",
    )
    id_dropout: float = setting(
        0.2, between=(0, 1), doc="Share of items with features that train without their id embedding."
    )
    dropout: float = setting(
        0.1, between=(0, 0.99), search="0..0.6", doc="Share of the elements of the towers' inputs that are dropped."
    )
    columns: tuple[str, ...] = setting((), doc="Columns of the item table to use; () = all usable ones.")
    text: str = setting(
        "tfidf",
        one_of=TEXT_FEATURES,
        doc='Feature of text columns: "tfidf", "hashing", "nmf", "lda" or "embedding".',
    )

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Tables with gradients, two moments and two copies; scores of a batch; interactions; 4 kB of features per item."""
        tables = 8 * self.embedding_dim * (2 * shape.items + 1024)
        groups = min(self.batch_size, self.n_folds * max(1, shape.users))
        scores = 24 * groups * min(self.batch_size, shape.items)
        n_inputs = self.batch_size + min(shape.items, self.batch_size * self.n_folds)
        activations = 40 * n_inputs * (self.embedding_dim + self.hidden_dim)
        distances = 32 * self.UNIFORMITY_ROWS**2 if self.loss == "alignment" else 0
        features = 4096 * (shape.items + shape.users)
        return 7 * tables + scores + distances + activations + 80 * shape.events + features + 40 * 2**20

    @require_finite
    def fit(self, data: Dataset, run: Run = Run(), valid: EvaluationSet | None = None) -> "TwoTowerModel":
        """Train on the histories and the item and user features of ``data``.

        With ``patience`` the validation score is NDCG@10 on ``valid``; if that is None, on the latest item of 5 % of the
        users, which is then left out of training. Raises ColumnError if the item table lacks one of ``columns``, and
        MissingExtraError without torch.
        """
        try:
            from leanrec.models.deep.core.networks.two_tower import train_two_tower  # noqa: PLC0415 - torch is optional
        except ImportError as error:
            raise MissingExtraError.from_import_error("The model 'two_tower'", error) or error from error
        run.require_memory(
            self.fit_bytes(data.shape),
            f"TwoTower with embedding_dim={self.embedding_dim}",
            "Lower embedding_dim or batch_size, or raise the limit.",
        )
        if self.patience and valid is None:
            data, valid = hold_out(data, run.rng())
        features = _fit_features(
            data.item_table, FeatureSpec(columns=self.columns, text=default_text_feature(self.text)), run
        )
        of_users = _fit_features(data.active_user_table, FeatureSpec(), run)
        rows = FeatureRows(
            _transform_table(features, data.item_table, len(data.items)),
            _transform_table(of_users, data.user_table, len(data.users)),
        )
        return train_two_tower(self, rows, data, run, valid, functools.partial(_build_model, self, features, rows))


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureRows:
    """Features of the items (N, F) and of the users (U, G); without columns if there are none."""

    items: CSR
    users: CSR


def _fit_features(table: Table | None, spec: FeatureSpec, run: Run) -> FittedFeatures | None:
    if table is None:
        if spec.columns:
            raise ColumnError(f"columns={spec.columns} must be in the item table. This data set has none.")
        return None
    try:
        return spec.fit(table, run)
    except ColumnError:
        if spec.columns:
            raise
        return None


def _transform_table(features: FittedFeatures | None, table: Table | None, n: int) -> CSR:
    return empty_csr(n, 0) if features is None or table is None else features.transform(table)


def _build_model(
    settings: TwoTower, features: FittedFeatures | None, rows: FeatureRows, weights: dict[str, NDArray[Any]]
) -> "TwoTowerModel":
    """The model of the weights of the network, whose tables of ids are taken out of the dictionary."""
    tables = {name: weights.pop(f"{name}.weight") for name in ("history", "items", "user_features")}
    history = tables["history"] + rows.items @ weights["history_features.weight"]
    tower = NamedLayers(weights, "item.")
    items = _apply_tower(tables["items"] + rows.items @ weights["item_features.weight"], tower)
    # Without features of users there is no row for each of them.
    users = rows.users @ tables["user_features"] if rows.users.shape[1] else tables["user_features"]
    return TwoTowerModel(settings, features, history, items, users, weights)


def _apply_tower(x: Float32Array, tower: NamedLayers) -> Float32Array:
    """One tower: (B, D) to (B, D) of unit length; zero vectors stay zero without hidden units."""
    x = x + tower.apply_linear("down", np.maximum(tower.apply_linear("up", x), 0))
    return np.asarray(x / np.sqrt((x**2).sum(axis=1, keepdims=True) + _EPSILON), dtype=np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class TwoTowerModel:
    """A fitted `TwoTower`.

    Attributes:
        settings: settings of the fit.
        features: of the item table; None without any.
        history: (N, D) input vectors of history items.
        items: (N, D) float32 item vectors of unit length.
        users: (U, D) feature embeddings of the users of the fit; U = 0 without features of users.
        weights: of the towers and of the item features, by name: arrays, or matrices in codes.
    """

    settings: TwoTower
    features: FittedFeatures | None
    history: Annotated[Float32Array, ArrayShape("N", "D")]
    items: Annotated[Float32Array, ArrayShape("N", "D")]
    users: Annotated[Float32Array, ArrayShape("U", "D")]
    weights: Mapping[str, Any]

    def check_state(self) -> None:
        """Raise DataError unless towers and features have the sizes of the vectors."""
        D, n_features = self.items.shape[1], 0 if self.features is None else len(self.features.names)
        hidden = self.settings.hidden_dim or 1
        shapes: dict[str, tuple[int, ...]] = {
            f"{side}_features.weight": (n_features, D) for side in ("history", "item")
        }
        for side in ("query", "item"):
            shapes |= {f"{side}.up.weight": (hidden, D), f"{side}.up.bias": (hidden,)}
            shapes |= {f"{side}.down.weight": (D, hidden), f"{side}.down.bias": (D,)}
        check_array_shapes(
            "TwoTowerModel",
            {**self.weights, "items": self.items},
            shapes | {"items": (self.n_items, self.settings.embedding_dim)},
        )

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return len(self.items)

    @functools.cached_property
    def _layers(self) -> NamedLayers:
        return NamedLayers(self.weights)

    def summarize(self) -> "TwoTowerModel":
        """This model, which needs no sums over all rows."""
        return self

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D) outputs of the query tower, divided by the temperature; zeros for a query without history and user features."""
        lengths = np.diff(queries.history.indptr)
        ones = replace_values(queries.history, np.ones(queries.history.nnz, np.float32))
        return self._encode(ones @ self.history, lengths, queries.users)

    def _encode(self, sums: Float32Array, lengths: NDArray[Any], users: Int32Array) -> Float32Array:
        pooled = sums * ((lengths + np.float32(1)) ** np.float32(-self.settings.pooling_exponent))[:, None]
        known = np.flatnonzero((users >= 0) & (len(self.users) > 0))
        pooled[known] += self.users[users[known]]
        out = _apply_tower(pooled, self._layers.within("query")) / np.float32(self.settings.temperature)
        out[~pooled.any(axis=1)] = 0
        return out

    def embed_items(self) -> Float32Array:
        """(N, D) item vectors."""
        return self.items

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Query vectors · item vectors: (B, N), or (B, K) for ``items``."""
        return dot_scores(self.embed_queries(queries), self.items, items)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """Items of the history by how much the scores of ``items`` drop without each. O(L · D · (hidden_dim + K))."""
        history = queries.history.indices
        parts = self.history[history].reshape(len(history), self.settings.embedding_dim)
        sums = parts.sum(axis=0) - np.concatenate([np.zeros_like(parts[:1]), parts])
        lengths = np.full(len(sums), len(history) - 1)
        lengths[:1] += 1
        scores = self._encode(sums, lengths, np.repeat(queries.users[:1], len(sums))) @ self.items[items].T
        added, reason = (scores[:1] - scores[1:]).T, "history" if len(history) else "attributes"
        return rank_contributions(history, added, reason=reason, top_k=top_k)

    def extend(self, items: Table) -> "TwoTowerModel":
        """The model with the M ``items`` added at the end, with vectors from their features.

        Raises DataError if the fit had no item features, and ColumnError if the items have no column of the fit.
        """
        if self.features is None:
            raise DataError(
                "To add items, TwoTower must be fitted with item features. The fit had no item table; fit it again with one."
            )
        rows = self.features.transform(items)
        history = np.concatenate([self.history, self._layers.sum_rows("history_features.weight", rows)])
        new = _apply_tower(self._layers.sum_rows("item_features.weight", rows), self._layers.within("item"))
        return dataclasses.replace(self, history=history, items=np.concatenate([self.items, new]))
