"""Two-tower: a network for the asker and one for the item, and their dot product; content gives new items a place.

Yi, Yang, Hong, Cheng, Heldt, Kumthekar, Zhao, Wei & Chi, "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item
Recommendations", RecSys 2019; Covington, Adams & Sargin, "Deep Neural Networks for YouTube Recommendations", RecSys 2016.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.data.table import Table
from leanrec.errors import ColumnError, DataError
from leanrec.features.pipeline import TEXT_FEATURES, FittedFeatures, FeatureSpec, default_text_feature
from leanrec.kernels.sparse import dot_scores
from leanrec.models.deep.core.masked_items import InteractionIndex, MaskedBatch, MaskedBatches, masked_item_loss
from leanrec.nn.arrays import to_arrays
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_at_least, check_between, check_one_of, check_positive
from leanrec.training import losses
from leanrec.training.config import TrainingSettings
from leanrec.training.early_stopping import hold_out, mean_ndcg
from leanrec.training.trainer import limit_torch_threads, resolve_device, train
from leanrec.types import CSR, Float32Array, Int32Array, Queries, empty_csr

__all__ = ["TwoTower", "TwoTowerModel"]

_SMALL = 1e-6
# Rows whose distances from each other are looked at in a step: that takes the square of so many numbers.
_SPREAD = 2048


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoTower(TrainingSettings):
    """Vectors of unit length for asker and item, whose dot product over ``temperature`` is the score.

    The item goes in as a vector of its own plus one from the features of the item table. The asker goes in as
    (L + 1)^−power Σ h_j over the L items of the history, where h_j is again a vector of the item's own plus one from its
    features, plus one from the features of the user table for users of the fit. Each tower is x + W₂ relu(W₁ x + b₁) + b₂.

    In training a part of each user's items is hidden, and each hidden item has to be found among the other hidden items of the
    batch that its user never touched. These come as often as they are popular; dividing by the expected number of times (logQ)
    undoes that. Frequencies are counted rather than estimated on the way, because the log is at hand.
    The items' own vectors and the users' features are left out at random, so that a new item finds its place by its content.
    With ``loss`` "alignment" there are no negatives: a hidden item and its asker come near each other, and items as well as askers
    spread out over the sphere (DirectAU: Wang et al., KDD 2022).

    Cost: an epoch O((E + U · parts · items of a batch) · (D + hidden)); a query O(L · D + D · hidden + N · D); the model
    8 N · D bytes and 8 D bytes a feature.

    Attributes:
        width: D.
        hidden: cells between the two layers of a tower; 0 = the towers add nothing.
        temperature: by which the cosine is divided.
        loss: "softmax" among the items of the batch, or "alignment".
        spread: "alignment": weight of spreading out beside coming near.
        correction: share of the logarithm of an item's expected number in a batch that is taken from its score as a negative:
            1 = the loss estimates the softmax over all items, 0 = popular items are pushed down.
        parts: the items of a user are hidden in so many parts, one after the other.
        power: of the number of items, by which the sum over them is divided.
        balance: a hidden item counts L^−balance: 0 = all alike, 1 = all users alike.
        drop_id: share of items that train without a vector of their own, where they have features.
        dropout: share of cells of what goes into a tower that are set to zero in training.
        columns: which columns of the item table to use; () = all that can be used.
        text: what a column of text gives: "tfidf", "hashing", "nmf", "lda" or "embedding".
    """

    SPACE: ClassVar[Mapping[str, str]] = {"power": "0..1"}

    epochs: int = 20
    batch: int = 8192
    learning_rate: float = 3e-3
    width: int = 64
    hidden: int = 128
    temperature: float = 0.1
    loss: str = "softmax"
    spread: float = 1.0
    correction: float = 1.0
    parts: int = 5
    power: float = 0.5
    balance: float = 0.0
    drop_id: float = 0.2
    dropout: float = 0.1
    columns: tuple[str, ...] = ()
    text: str = "tfidf"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("width", self.width, 1)
        check_at_least("hidden", self.hidden, 0)
        check_positive("temperature", self.temperature)
        check_one_of("loss", self.loss, ("softmax", "alignment"))
        check_at_least("spread", self.spread, 0)
        check_between("correction", self.correction, 0, 1)
        check_at_least("parts", self.parts, 2)
        check_between("power", self.power, 0, 1)
        check_between("balance", self.balance, 0, 1)
        check_between("drop_id", self.drop_id, 0, 1)
        check_between("dropout", self.dropout, 0, 0.99)
        check_one_of("text", self.text, TEXT_FEATURES)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Tables with gradients, two moments and two copies; the grid of a batch; pairs; 4 kB of features an item."""
        tables = 8 * self.width * (2 * shape.items + 1024)
        groups = min(self.batch, self.parts * max(1, shape.users))
        grid = 24 * groups * min(self.batch, shape.items)
        cells = 40 * (self.batch + min(shape.items, self.batch * self.parts)) * (self.width + self.hidden)
        spread = 32 * _SPREAD**2 if self.loss == "alignment" else 0
        return 7 * tables + grid + spread + cells + 80 * shape.events + 4096 * (shape.items + shape.users) + 40 * 2**20

    def fit(self, data: Dataset, run: Run = Run(), valid: EvaluationSet | None = None) -> "TwoTowerModel":
        """Learn from which items go together, and what their features and those of the users say of it.

        With ``patience`` the score is NDCG@10 on ``valid``, or on the latest item of 5 % of the users, which is then left
        out of training, where that is None. Raises ColumnError where ``columns`` names one that is not there.
        """
        run.require_memory(
            self.fit_bytes(data.shape),
            f"Two towers of width {self.width}",
            "Choose a smaller width or raise the limit.",
        )
        resolve_device(run)
        if self.patience and valid is None:
            data, valid = hold_out(data, run.rng())
        features = _features(data.item_table, FeatureSpec(columns=self.columns, text=default_text_feature(self.text)), run)
        about = _About(_rows(features, data.item_table, len(data.items)), _user_rows(data, run))
        X = data.interactions
        with torch.random.fork_rng(devices=[]), limit_torch_threads(run):
            torch.manual_seed(run.seed)
            network = _Network(self, about)
            judge = None if valid is None else lambda: _judge(_model(self, network, features, about), valid)
            train(
                network, _Objective(self, InteractionIndex(X), about), self, run, score=judge, name="TwoTower", of=(data, valid)
            )
        return _model(self, network, features, about)


@dataclasses.dataclass(frozen=True, eq=False)
class _About:
    """Features: of the items (N, F), of the users (U, G); without columns where there are none."""

    items: CSR
    users: CSR


def _features(table: Table | None, spec: FeatureSpec, run: Run) -> FittedFeatures | None:
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


def _rows(features: FittedFeatures | None, table: Table | None, n: int) -> CSR:
    return empty_csr(n, 0) if features is None or table is None else features.transform(table)


def _user_rows(data: Dataset, run: Run) -> CSR:
    features = _features(data.user_table, FeatureSpec(), run)
    return _rows(features, data.user_table, len(data.users))


class _Network(nn.Module):
    def __init__(self, settings: TwoTower, about: _About) -> None:
        super().__init__()
        self.settings, width = settings, settings.embedding_dim
        self.history, self.items = nn.Embedding(about.items.shape[0], width), nn.Embedding(about.items.shape[0], width)
        self.history_features = nn.Embedding(about.items.shape[1], width)
        self.item_features = nn.Embedding(about.items.shape[1], width)
        self.user_features = nn.Embedding(about.users.shape[1], width)
        for table in (self.history, self.items, self.history_features, self.item_features, self.user_features):
            nn.init.normal_(table.weight, std=width**-0.5)
        # What has features starts with these alone: an item that nobody touches stays where its content puts it.
        bare = torch.from_numpy(np.diff(about.items.indptr) == 0)[:, None]
        for own in (self.history, self.items):
            own.weight.data *= bare
        self.asker, self.item = _Tower(width, settings.hidden_dim), _Tower(width, settings.hidden_dim)

    def of_items(self, rows: Tensor, features: CSR, kept: Tensor, *, history: bool) -> Tensor:
        """(R, D) what goes in for items: own vectors where ``kept``, and features."""
        own, table = (self.history, self.history_features) if history else (self.items, self.item_features)
        return cast(Tensor, own(rows)) * kept + _bag(features, table.weight)


class _Tower(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden or 1), nn.Linear(hidden or 1, width)
        self.active = bool(hidden)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) to (B, D) of unit length."""
        if self.active:
            x = x + self.down(F.relu(self.up(x)))
        return x / (x.square().sum(1, keepdim=True) + _SMALL).sqrt()


def _bag(rows: CSR, table: Tensor) -> Tensor:
    """(R, D) rows · table."""
    if not rows.shape[1] or not rows.nnz:
        return table.new_zeros((rows.shape[0], table.shape[1]))
    parts = (
        torch.from_numpy(each.astype(kind)) for each, kind in ((rows.indices, np.int64), (rows.indptr[:-1], np.int64))
    )
    indices, offsets = (each.to(table.device) for each in parts)
    weights = torch.from_numpy(rows.data.astype(np.float32)).to(table.device)
    return F.embedding_bag(indices, table, offsets, mode="sum", per_sample_weights=weights)


@dataclasses.dataclass(frozen=True, eq=False)
class _Objective:
    """Hidden items against those of the batch."""

    settings: TwoTower
    touched: InteractionIndex
    about: _About

    def batches(self, rng: np.random.Generator) -> Sequence[MaskedBatch]:
        return MaskedBatches.of(self.touched.X, self.settings.n_folds, self.settings.batch_size, rng)

    def loss(self, network: nn.Module, batch: MaskedBatch, rng: np.random.Generator) -> Tensor:
        net, settings = cast(_Network, network), self.settings
        device = net.items.weight.device
        rows, place, count = torch.unique(batch.targets, return_inverse=True, return_counts=True)
        items = net.item(self._drop(self._items(net, rows, rng, history=False)))
        askers = net.asker(self._drop(self._askers(net, batch, rng)))
        if settings.loss == "alignment":
            return self._align(askers, items, askers[batch.groups.to(device)], items[place.to(device)], rng)
        known = self.touched.among(batch.users, rows).to(device)
        scores = askers @ items.T / settings.temperature
        positive = scores[batch.groups.to(device), place.to(device)]
        # What came often for being popular counts as it would if every item came once.
        often = torch.log(count.float()) - settings.logq_correction * self._expected(rows, len(batch.targets))
        negative = (scores + often.to(device)).masked_fill(known, -torch.inf)
        return masked_item_loss(positive, negative, batch.to(device), settings.length_exponent)

    def _align(
        self, askers: Tensor, items: Tensor, askers_of: Tensor, items_of: Tensor, rng: np.random.Generator
    ) -> Tensor:
        """DirectAU over the pairs ``askers_of`` and ``items_of``; at most ``_SPREAD`` rows of each side are kept apart."""
        near = losses.alignment(askers_of, items_of)
        some = (each[rng.permutation(len(each))[:_SPREAD]] for each in (askers, items))
        return near + self.settings.uniformity_weight * sum((losses.uniformity(each) for each in some), near * 0) / 2

    @functools.cached_property
    def _shares(self) -> NDArray[np.float64]:
        """(N,) of the log, by item."""
        X = self.touched.X
        return np.bincount(X.indices, minlength=X.shape[1]) / max(1, X.nnz)

    def _expected(self, rows: Tensor, drawn: int) -> Tensor:
        """(R,) the logarithm of how often each item is expected among ``drawn`` hidden ones."""
        return torch.from_numpy(np.log(self._shares[rows.numpy()] * drawn).astype(np.float32))

    def _items(self, net: _Network, rows: Tensor, rng: np.random.Generator, *, history: bool) -> Tensor:
        features = self.about.items[rows.numpy()]
        bare = np.diff(features.indptr) == 0
        kept = torch.from_numpy((bare | (rng.random(len(bare)) >= self.settings.id_dropout)).astype(np.float32)[:, None])
        device = net.items.weight.device
        return net.of_items(rows.to(device), features, kept.to(device), history=history)

    def _askers(self, net: _Network, batch: MaskedBatch, rng: np.random.Generator) -> Tensor:
        rows, place = torch.unique(batch.seen, return_inverse=True)
        vectors = self._items(net, rows, rng, history=True)
        device = vectors.device
        touched = F.embedding_bag(place.to(device), vectors, batch.offsets.to(device), mode="sum")
        touched = touched * (batch.lengths.to(device)[:, None] + 1.0) ** -self.settings.pooling_exponent
        about = _bag(self.about.users[batch.users.numpy()], net.user_features.weight)
        kept = torch.from_numpy((rng.random((len(about), 1)) >= self.settings.id_dropout).astype(np.float32))
        return touched + about * kept.to(device)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.settings.dropout)


def _judge(model: "TwoTowerModel", valid: EvaluationSet) -> float:
    return mean_ndcg(model.embed_queries(valid.queries), model.embed_items(), valid)


def _model(settings: TwoTower, network: _Network, features: FittedFeatures | None, about: _About) -> "TwoTowerModel":
    weights = to_arrays(network)
    tables = {name: weights.pop(f"{name}.weight") for name in ("history", "items", "user_features")}
    history = tables["history"] + about.items @ weights["history_features.weight"]
    items = _tower(tables["items"] + about.items @ weights["item_features.weight"], weights, "item")
    return TwoTowerModel(settings, features, history, items, about.users @ tables["user_features"], weights)


def _tower(x: Float32Array, weights: Mapping[str, NDArray[Any]], name: str) -> Float32Array:
    """The tower of that name: (B, D) to (B, D) of unit length; zeros stay where nothing is added."""
    up, down = weights[f"{name}.up.weight"], weights[f"{name}.down.weight"]
    inner = np.maximum(x @ up.T + weights[f"{name}.up.bias"], 0)
    x = x + inner @ down.T + weights[f"{name}.down.bias"]
    return np.asarray(x / np.sqrt((x**2).sum(axis=1, keepdims=True) + _SMALL), dtype=np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class TwoTowerModel:
    """A fitted TwoTower.

    Attributes:
        settings: what it was fitted with.
        features: of the item table; None where there were none.
        history: (N, D) what each item of a history goes in as.
        items: (N, D) float32 of unit length: what each item comes out as.
        users: (U, D) what the user table says of each user of the fit.
        weights: of the towers and of the item features, by name.
    """

    settings: TwoTower
    features: FittedFeatures | None
    history: Float32Array
    items: Float32Array
    users: Float32Array
    weights: Mapping[str, NDArray[Any]]

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.items)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D) the tower of the askers over the temperature; zeros for an empty history."""
        lengths = np.diff(queries.history.indptr)
        ones = queries.history.copy()
        ones.data = np.ones(ones.nnz, np.float32)
        return self._vectors(ones @ self.history, lengths, queries.users)

    def _vectors(self, sums: Float32Array, lengths: NDArray[Any], users: Int32Array) -> Float32Array:
        touched = sums * ((lengths + np.float32(1)) ** np.float32(-self.settings.pooling_exponent))[:, None]
        known = np.flatnonzero(users >= 0)
        touched[known] += self.users[users[known]]
        out = _tower(touched, self.weights, "asker") / np.float32(self.settings.temperature)
        out[lengths == 0] = 0
        return out

    def embed_items(self) -> Float32Array:
        """(N, D)."""
        return self.items

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Vectors of askers · vectors of items."""
        return dot_scores(self.embed_queries(queries), self.items, items)

    def explain(self, queries: Queries, item: int) -> Explanation:
        """The items of the history, by how far the score of ``item`` falls without each. O(L · D · hidden)."""
        history = queries.history[[0]].indices
        parts = self.history[history].reshape(len(history), self.settings.embedding_dim)
        sums = parts.sum(axis=0) - np.concatenate([np.zeros_like(parts[:1]), parts])
        lengths = np.full(len(sums), len(history) - 1)
        lengths[:1] += 1
        scores = self._vectors(sums, lengths, np.repeat(queries.users[:1], len(sums))) @ self.items[item]
        added = scores[:1] - scores[1:]
        return rank_contributions(history, added)

    def extend(self, items: Table) -> "TwoTowerModel":
        """The model of N + M items: the M rows follow, placed by their features, in lists and in histories.

        Raises DataError where the fit had no item features, and ColumnError where none of their columns is there.
        """
        if self.features is None:
            raise DataError("New items are placed by their features, and the fit had no item table to learn any from.")
        rows = self.features.transform(items)
        history = np.concatenate([self.history, rows @ self.weights["history_features.weight"]])
        new = _tower(rows @ self.weights["item_features.weight"], self.weights, "item")
        return dataclasses.replace(self, history=history, items=np.concatenate([self.items, new]))
