"""Network of NeuMF: a generalized matrix factorization, an MLP over pairs, and their training with masked items."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.models.deep.core.fold_in import FoldIn
from leanrec.models.deep.core.masked_items import (
    InteractionIndex,
    MaskedBatch,
    MaskedBatches,
    masked_item_loss,
    target_weights,
)
from leanrec.nn.arrays import to_arrays
from leanrec.protocols import Scorer
from leanrec.run import Run
from leanrec.training.early_stopping import hold_out, mean_ndcg_of_scores
from leanrec.training.trainer import limit_torch_threads, resolve_device, train
from leanrec.types import CSR, empty_csr

if TYPE_CHECKING:
    from leanrec.models.deep.neumf import NeuMF

__all__ = ["train_neumf"]

_Model = TypeVar("_Model", bound=Scorer)
# Initial standard deviation of the scores over pairs, and the number of users it is measured on.
_SCORE_STD, _SAMPLE_USERS = 1.5, 256
_EPSILON = 1e-12


def train_neumf(
    settings: "NeuMF",
    data: Dataset,
    run: Run,
    valid: EvaluationSet | None,
    build_model: Callable[[FoldIn, dict[str, NDArray[Any]]], _Model],
) -> _Model:
    """Factorize, train the network from there, and give the model that ``build_model`` makes of both."""
    resolve_device(run)
    if settings.patience and valid is None:
        data, valid = hold_out(data, run.rng())
    X = data.interactions
    with torch.random.fork_rng(devices=[]), run.limit_threads(), limit_torch_threads(run):
        torch.manual_seed(run.seed)
        fold_in = FoldIn.fit(X, settings.embedding_dim, settings.l2, settings.unobserved_weight, run)
        network = _NeuMFNetwork(settings, fold_in, X)

        def build() -> _Model:
            return build_model(fold_in, to_arrays(network))

        score = None if valid is None else lambda: mean_ndcg_of_scores(build().score, valid)
        objective = _MaskedItemObjective(settings, fold_in, InteractionIndex(X))
        train(network, objective, settings, run, score=score, name="NeuMF", data=(data, valid))
    return build()


class _NeuMFNetwork(nn.Module):
    """Initialized as the factorization, scaled to a standard deviation of the scores of ``_SCORE_STD``."""

    def __init__(self, settings: "NeuMF", fold_in: FoldIn, X: CSR) -> None:
        super().__init__()
        self.settings, (N, D) = settings, fold_in.items.shape
        self.items, self.bias = nn.Embedding(N, 2 * D), nn.Embedding(N, 1)
        self.rotation = nn.Linear(D, D)
        nn.init.eye_(self.rotation.weight)
        nn.init.zeros_(self.rotation.bias)
        nn.init.zeros_(self.bias.weight)
        users = fold_in.encode(X[:_SAMPLE_USERS])
        user_std, item_std, score_std = (
            max(_EPSILON, float(np.std(each))) for each in (users, fold_in.items, users @ fold_in.items.T)
        )
        # Vectors are scaled to suit the learning rate: users to a deviation of 1, items to D^−½.
        self.register_buffer("size", torch.tensor(1 / user_std))
        vectors = torch.from_numpy(fold_in.items) * (D**-0.5 / item_std)
        self.items.weight.data = torch.cat([vectors, vectors], 1)
        gain = min(_SCORE_STD, 1e3 * score_std) * user_std * item_std / score_std * D**0.5
        self.product = nn.Parameter(torch.full((D,), gain))
        sizes = settings.hidden_sizes
        if sizes:
            self.from_user = nn.Linear(D, sizes[0])
            self.from_item = nn.Linear(D, sizes[0], bias=False)
            self.upper = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
            self.out = nn.Linear(sizes[-1], 1, bias=False)
            nn.init.zeros_(self.out.weight)

    def transform_users(self, vectors: Tensor) -> Tensor:
        """User vectors (G, D) to (G, 2 D): inputs of GMF and of the MLP."""
        x = F.dropout(vectors * cast(Tensor, self.size), self.settings.dropout, self.training)
        return torch.cat([self.rotation(x), x], 1)

    def forward(self, users: Tensor, items: Tensor, groups: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of users (G, 2 D): (G, S) of all with ``items`` (S,), and (P,) of ``groups`` with ``targets``.

        The first layer is computed once per user and per item; the upper layers run on all pairs.
        """
        D, S = self.settings.embedding_dim, len(items)
        rows, position = torch.unique(torch.cat([items, targets]), return_inverse=True)
        vectors, bias = self.items(rows), self.bias(rows)[:, 0]
        product = vectors[:, :D] * self.product
        # Rows repeat: F.embedding and index_select add up their gradients in a fixed order, an index in that of the threads.
        products, biases = F.embedding(position, product), bias.index_select(0, position)
        sampled_scores = users[:, :D] @ products[:S].T + biases[:S]
        target_scores = (F.embedding(groups, users[:, :D]) * products[S:]).sum(1) + biases[S:]
        if not self.settings.hidden_sizes:
            return sampled_scores, target_scores
        a, b = self.from_user(users[:, D:]), self.from_item(vectors[:, D:])
        of_items = F.embedding(position, b)
        pairs = (a[:, None] + of_items[:S]).flatten(0, 1), F.embedding(groups, a) + of_items[S:]
        x = F.relu(torch.cat(pairs), inplace=True)
        for layer in self.upper:
            x = F.relu(layer(F.dropout(x, self.settings.dropout, self.training)), inplace=True)
        mlp_scores = self.out(x)[:, 0]
        n = sampled_scores.numel()
        return sampled_scores + mlp_scores[:n].view_as(sampled_scores), target_scores + mlp_scores[n:]


@dataclasses.dataclass(frozen=True, eq=False)
class _MaskedItemObjective:
    """Masked items against sampled ones."""

    settings: "NeuMF"
    fold_in: FoldIn
    interactions: InteractionIndex

    def batches(self, rng: np.random.Generator) -> Sequence[MaskedBatch]:
        return MaskedBatches.split(self.interactions.X, self.settings.n_folds, self.settings.batch_size, rng)

    def loss(self, network: nn.Module, batch: MaskedBatch, rng: np.random.Generator) -> Tensor:
        net, settings, n_items = cast(_NeuMFNetwork, network), self.settings, self.interactions.X.shape[1]
        device = net.product.device
        sampled = torch.from_numpy(rng.integers(0, n_items, settings.n_negatives))
        is_known = self.interactions.contains(batch.users, sampled).to(device)
        history = empty_csr(len(batch.users), n_items)
        history.data, history.indices = np.ones(len(batch.history), np.float32), batch.history.numpy().astype(np.int32)
        history.indptr = np.append(batch.offsets.numpy(), len(batch.history))
        vectors = torch.from_numpy(self.fold_in.encode(history)).to(device)
        batch = batch.to(device)
        negative, positive = net(net.transform_users(vectors), sampled.to(device), batch.groups, batch.targets)
        negative = negative.masked_fill(is_known, -torch.inf)
        if settings.loss == "softmax":
            return masked_item_loss(
                positive, negative - np.log(settings.n_negatives / n_items), batch, settings.length_exponent
            )
        weight = target_weights(batch, settings.length_exponent)
        negative_loss = F.softplus(negative).sum(1).index_select(0, batch.groups) * 4 / settings.n_negatives
        return ((F.softplus(-positive) + negative_loss) * weight).sum() / weight.sum()
