"""Network of the two-tower model: a tower of queries, a tower of items, and their training with masked items."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.models.deep.core.masked_items import InteractionIndex, MaskedBatch, MaskedBatches, masked_item_loss
from leanrec.nn.arrays import to_arrays
from leanrec.protocols import Embedder
from leanrec.run import Run
from leanrec.training import losses
from leanrec.training.early_stopping import mean_ndcg_of_embedder
from leanrec.training.trainer import limit_torch_threads, resolve_device, train
from leanrec.types import CSR

if TYPE_CHECKING:
    from leanrec.models.deep.two_tower import FeatureRows, TwoTower

__all__ = ["train_two_tower"]

_Model = TypeVar("_Model", bound=Embedder)
# As in the fitted model: keeps the length of a zero vector above 0.
_EPSILON = 1e-6


def train_two_tower(
    settings: "TwoTower",
    features: "FeatureRows",
    data: Dataset,
    run: Run,
    valid: EvaluationSet | None,
    build_model: Callable[[dict[str, NDArray[Any]]], _Model],
) -> _Model:
    """Train both towers, and give the model that ``build_model`` makes of their weights, by name."""
    resolve_device(run)
    with torch.random.fork_rng(devices=[]), limit_torch_threads(run):
        torch.manual_seed(run.seed)
        network = _TwoTowerNetwork(settings, features)
        score = None if valid is None else lambda: mean_ndcg_of_embedder(build_model(to_arrays(network)), valid)
        objective = _InBatchObjective(settings, InteractionIndex(data.interactions), features)
        train(network, objective, settings, run, score=score, name="TwoTower", data=(data, valid))
    return build_model(to_arrays(network))


class _TwoTowerNetwork(nn.Module):
    def __init__(self, settings: "TwoTower", features: "FeatureRows") -> None:
        super().__init__()
        self.settings, width = settings, settings.embedding_dim
        self.history, self.items = (
            nn.Embedding(features.items.shape[0], width),
            nn.Embedding(features.items.shape[0], width),
        )
        self.history_features = nn.Embedding(features.items.shape[1], width)
        self.item_features = nn.Embedding(features.items.shape[1], width)
        self.user_features = nn.Embedding(features.users.shape[1], width)
        for table in (self.history, self.items, self.history_features, self.item_features, self.user_features):
            nn.init.normal_(table.weight, std=width**-0.5)
        # Id embeddings of items with features start at zero, so that items without interactions are placed by content.
        has_no_features = torch.from_numpy(np.diff(features.items.indptr) == 0)[:, None]
        for ids in (self.history, self.items):
            ids.weight.data *= has_no_features
        self.query, self.item = _Tower(width, settings.hidden_dim), _Tower(width, settings.hidden_dim)

    def embed_items(self, rows: Tensor, features: CSR, is_kept: Tensor, *, history: bool) -> Tensor:
        """(R, D) tower inputs of items: id embeddings where ``is_kept``, plus feature embeddings."""
        ids, table = (self.history, self.history_features) if history else (self.items, self.item_features)
        return cast(Tensor, ids(rows)) * is_kept + _sum_features(features, table.weight)


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
        return x / (x.square().sum(1, keepdim=True) + _EPSILON).sqrt()


def _sum_features(rows: CSR, table: Tensor) -> Tensor:
    """(R, D) product of feature rows and the table."""
    if not rows.shape[1] or not rows.nnz:
        return table.new_zeros((rows.shape[0], table.shape[1]))
    indices = torch.from_numpy(rows.indices.astype(np.int64)).to(table.device)
    offsets = torch.from_numpy(rows.indptr[:-1].astype(np.int64)).to(table.device)
    weights = torch.from_numpy(rows.data.astype(np.float32)).to(table.device)
    return F.embedding_bag(indices, table, offsets, mode="sum", per_sample_weights=weights)


@dataclasses.dataclass(frozen=True, eq=False)
class _InBatchObjective:
    """Masked items against the other masked items of the batch."""

    settings: "TwoTower"
    interactions: InteractionIndex
    features: "FeatureRows"

    def batches(self, rng: np.random.Generator) -> Sequence[MaskedBatch]:
        return MaskedBatches.split(self.interactions.X, self.settings.n_folds, self.settings.batch_size, rng)

    def loss(self, network: nn.Module, batch: MaskedBatch, rng: np.random.Generator) -> Tensor:
        net, settings = cast(_TwoTowerNetwork, network), self.settings
        device = net.items.weight.device
        rows, position, count = torch.unique(batch.targets, return_inverse=True, return_counts=True)
        items = net.item(self._drop(self._item_inputs(net, rows, rng, history=False)))
        queries = net.query(self._drop(self._query_inputs(net, batch, rng)))
        if settings.loss == "alignment":
            # Rows repeat: F.embedding adds up their gradients in a fixed order, an index in that of the threads.
            pairs = F.embedding(batch.groups.to(device), queries), F.embedding(position.to(device), items)
            return self._align(queries, items, *pairs, rng)
        is_known = self.interactions.contains(batch.users, rows).to(device)
        scores = queries @ items.T / settings.temperature
        positive = scores[batch.groups.to(device), position.to(device)]
        # logQ correction: unique items are weighted by their count in the batch over the expected count.
        log_expected = np.log(self._shares[rows.numpy()] * len(batch.targets)).astype(np.float32)
        correction = torch.log(count.float()) - settings.logq_correction * torch.from_numpy(log_expected)
        negative = (scores + correction.to(device)).masked_fill(is_known, -torch.inf)
        return masked_item_loss(positive, negative, batch.to(device), settings.length_exponent)

    def _align(
        self, queries: Tensor, items: Tensor, query_of_pair: Tensor, item_of_pair: Tensor, rng: np.random.Generator
    ) -> Tensor:
        """DirectAU loss over positive pairs; uniformity over at most ``UNIFORMITY_ROWS`` rows of each side."""
        some_queries, some_items = (
            each[rng.permutation(len(each))[: self.settings.UNIFORMITY_ROWS]] for each in (queries, items)
        )
        uniformity = (losses.uniformity(some_queries) + losses.uniformity(some_items)) / 2
        return losses.alignment(query_of_pair, item_of_pair) + self.settings.uniformity_weight * uniformity

    @functools.cached_property
    def _shares(self) -> NDArray[np.float64]:
        """(N,) share of each item in the interactions."""
        X = self.interactions.X
        return np.bincount(X.indices, minlength=X.shape[1]) / max(1, X.nnz)

    def _item_inputs(self, net: _TwoTowerNetwork, rows: Tensor, rng: np.random.Generator, *, history: bool) -> Tensor:
        features = self.features.items[rows.numpy()]
        has_no_features = np.diff(features.indptr) == 0
        is_kept = torch.from_numpy(
            (has_no_features | (rng.random(len(has_no_features)) >= self.settings.id_dropout)).astype(np.float32)[
                :, None
            ]
        )
        device = net.items.weight.device
        return net.embed_items(rows.to(device), features, is_kept.to(device), history=history)

    def _query_inputs(self, net: _TwoTowerNetwork, batch: MaskedBatch, rng: np.random.Generator) -> Tensor:
        rows, position = torch.unique(batch.history, return_inverse=True)
        vectors = self._item_inputs(net, rows, rng, history=True)
        device = vectors.device
        pooled = F.embedding_bag(position.to(device), vectors, batch.offsets.to(device), mode="sum")
        pooled = pooled * (batch.lengths.to(device)[:, None] + 1.0) ** -self.settings.pooling_exponent
        user = _sum_features(self.features.users[batch.users.numpy()], net.user_features.weight)
        is_kept = torch.from_numpy((rng.random((len(user), 1)) >= self.settings.id_dropout).astype(np.float32))
        return pooled + user * is_kept.to(device)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.settings.dropout)
