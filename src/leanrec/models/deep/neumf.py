"""NeuMF: a product of vectors and a small network look at user and item together.

He, Liao, Zhang, Nie, Hu & Chua, "Neural Collaborative Filtering", WWW 2017; a user is folded in from what they touched, by the
equations of Hu, Koren & Volinsky, ICDM 2008, so that somebody new is answered as those of the fit are.
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.errors import SettingError
from leanrec.models.deep.core.fold_in import FoldIn, fold_in_bytes
from leanrec.models.deep.core.masked_items import (
    InteractionIndex,
    MaskedBatch,
    MaskedBatches,
    masked_item_loss,
    target_weights,
)
from leanrec.nn.arrays import to_arrays
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_at_least, check_between, check_one_of, check_positive
from leanrec.training.config import TrainingSettings
from leanrec.training.early_stopping import hold_out, mean_ndcg_of_scores
from leanrec.training.trainer import limit_torch_threads, resolve_device, train
from leanrec.types import CSR, Float32Array, Int32Array, Queries, empty_csr

__all__ = ["NeuMF", "NeuMFModel"]

# Items of one stretch of an answer: its cells stay in the cache from layer to layer.
_STRETCH = 1024
# The scores of the factorisation vary by so much over pairs when gradients take over; measured on so many users.
_SPREAD, _SAMPLE = 1.5, 256
_SMALL = 1e-12


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeuMF(TrainingSettings):
    """The product of vectors and what a network adds, as the score of a pair.

        score(u, i) = g · (T p_u ∘ q_i) + out · MLP([p_u, q'_i]) + b_i

    The paper gives every user a vector that is learnt, and trains GMF, the product alone, before the whole. Here alternating
    least squares take the part of that first training, and p_u is solved from the history by their equations, so users of the
    fit and new ones are one kind. The whole then begins as that factorisation (T the identity, q_i its item vectors, the network
    adding nothing) and goes on with gradients: a random part of each user's items is hidden, p_u is solved from the rest, and
    the hidden items have to be found.

    The first layer is a sum of a part of the user and one of the item. Those of the items are computed once, so an answer
    costs the upper layers only, and needs no torch.

    Cost: an epoch O((E + U · parts · negatives) · (D + Σ sizes of neighbouring layers) + U · parts · L · D · min(L, D)); a query
    O(L · D · min(L, D) + N · (D + the same sum without the first)); the model 4 N (3 D + first layer) bytes.

    Attributes:
        width: D.
        layers: widths of the network's layers, the first at the bottom; () = the product alone (GMF).
        l2: ridge of the least squares.
        unobserved: weight of the pairs without an interaction in the least squares, relative to 1 for an observed one.
        loss: "softmax", each hidden item against ``negatives`` random ones that stand for all others, or "bce", yes or no for
            each pair as in the paper, with ``negatives`` weighing as four for each hidden item.
        negatives: random items that all users of a step are compared with, without those they touched.
        parts: the items of a user are hidden in so many parts, one after the other.
        balance: a hidden item counts L^−balance: 0 = all alike, 1 = all users alike.
        dropout: share of cells of a user's vector and of the layers that are set to zero in training.
    """

    epochs: int = 6
    batch: int = 4096
    learning_rate: float = 5e-4
    width: int = 64
    layers: tuple[int, ...] = (32, 16)
    l2: float = 0.5
    unobserved: float = 0.2
    loss: str = "softmax"
    negatives: int = 64
    parts: int = 5
    balance: float = 0.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("width", self.width, 1)
        if min(self.layers, default=1) < 1:
            raise SettingError(f"layers must be positive widths, such as [64,32,16]. Got {self.layers!r}.")
        check_positive("l2", self.l2)
        check_positive("unobserved", self.unobserved)
        check_one_of("loss", self.loss, ("softmax", "bce"))
        check_at_least("negatives", self.negatives, 1)
        check_at_least("parts", self.parts, 2)
        check_between("balance", self.balance, 0, 1)
        check_between("dropout", self.dropout, 0, 0.99)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Weights with gradients, two moments and two copies; cells of a step and what the way back needs; the pairs."""
        tables = 4 * shape.items * (2 * self.width + 1)
        inside = 4 * sum(a * b for a, b in zip((3 * self.width, *self.layers), (*self.layers, 1), strict=True))
        groups = min(self.batch, self.parts * max(1, shape.users))
        cells = 16 * (self.batch + groups * self.negatives) * (sum(self.layers) + self.width)
        start = fold_in_bytes(shape.users, shape.items, shape.events, self.width)
        return 7 * (tables + inside) + cells + start + 80 * shape.events + 40 * 2**20

    def fit(self, data: Dataset, run: Run = Run(), valid: EvaluationSet | None = None) -> "NeuMFModel":
        """Learn from which items go together with which users.

        With ``patience`` the score is NDCG@10 on ``valid``, or on the latest item of 5 % of the users, which is then left
        out of training, where that is None.
        """
        run.require_memory(
            self.fit_bytes(data.shape), f"NeuMF of width {self.width}", "Choose a smaller width or raise the limit."
        )
        resolve_device(run)
        if self.patience and valid is None:
            data, valid = hold_out(data, run.rng())
        X = data.interactions
        with torch.random.fork_rng(devices=[]), run.limit_threads(), limit_torch_threads(run):
            torch.manual_seed(run.seed)
            folding = FoldIn.fit(X, self.width, self.l2, self.unobserved, run)
            network = _Network(self, folding, X)
            judge = None if valid is None else lambda: mean_ndcg_of_scores(_model(self, folding, network).score, valid)
            train(
                network, _Objective(self, folding, InteractionIndex(X)), self, run, score=judge, name="NeuMF", of=(data, valid)
            )
        return _model(self, folding, network)


class _Network(nn.Module):
    """Starts as the factorisation, at scores whose standard deviation over pairs is ``_SPREAD``."""

    def __init__(self, settings: NeuMF, folding: FoldIn, X: CSR) -> None:
        super().__init__()
        self.settings, (N, D) = settings, folding.items.shape
        self.items, self.bias = nn.Embedding(N, 2 * D), nn.Embedding(N, 1)
        self.turn = nn.Linear(D, D)
        nn.init.eye_(self.turn.weight)
        nn.init.zeros_(self.turn.bias)
        nn.init.zeros_(self.bias.weight)
        sample = folding.vectors(X[:_SAMPLE])
        user, item, score = (
            max(_SMALL, float(np.std(each))) for each in (sample, folding.items, sample @ folding.items.T)
        )
        # Vectors at a size that suits the steps: those of users with a deviation of 1, those of items of D^−½.
        self.register_buffer("size", torch.tensor(1 / user))
        vectors = torch.from_numpy(folding.items) * (D**-0.5 / item)
        self.items.weight.data = torch.cat([vectors, vectors], 1)
        self.product = nn.Parameter(torch.full((D,), min(_SPREAD, 1e3 * score) * user * item / score * D**0.5))
        widths = settings.hidden_sizes
        if widths:
            self.from_user = nn.Linear(D, widths[0])
            self.from_item = nn.Linear(D, widths[0], bias=False)
            self.upper = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
            self.out = nn.Linear(widths[-1], 1, bias=False)
            nn.init.zeros_(self.out.weight)

    def represent(self, vectors: Tensor) -> Tensor:
        """(G, 2 D) for the product and for the network, of users' vectors (G, D)."""
        x = F.dropout(vectors * cast(Tensor, self.size), self.settings.dropout, self.training)
        return torch.cat([self.turn(x), x], 1)

    def forward(self, users: Tensor, items: Tensor, groups: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of vectors of users (G, 2 D): of all of them with ``items`` (S,), and (P,) of ``groups`` with ``targets``.

        What is one part of a pair only is computed once for it, and the upper layers see all pairs at once.
        """
        D, S = self.settings.embedding_dim, len(items)
        rows, place = torch.unique(torch.cat([items, targets]), return_inverse=True)
        vectors, bias = self.items(rows), self.bias(rows)[:, 0]
        product = vectors[:, :D] * self.product
        of_all = users[:, :D] @ product[place[:S]].T + bias[place[:S]]
        of_targets = (users[groups, :D] * product[place[S:]]).sum(1) + bias[place[S:]]
        if not self.settings.hidden_sizes:
            return of_all, of_targets
        a, b = self.from_user(users[:, D:]), self.from_item(vectors[:, D:])
        pairs = (a[:, None] + b[place[:S]]).flatten(0, 1), a[groups] + b[place[S:]]
        x = F.relu(torch.cat(pairs), inplace=True)
        for layer in self.upper:
            x = F.relu(layer(F.dropout(x, self.settings.dropout, self.training)), inplace=True)
        added = self.out(x)[:, 0]
        cells = of_all.numel()
        return of_all + added[:cells].view_as(of_all), of_targets + added[cells:]


@dataclasses.dataclass(frozen=True, eq=False)
class _Objective:
    """Hidden items against random ones."""

    settings: NeuMF
    folding: FoldIn
    touched: InteractionIndex

    def batches(self, rng: np.random.Generator) -> Sequence[MaskedBatch]:
        return MaskedBatches.of(self.touched.X, self.settings.n_folds, self.settings.batch_size, rng)

    def loss(self, network: nn.Module, batch: MaskedBatch, rng: np.random.Generator) -> Tensor:
        net, settings, n_items = cast(_Network, network), self.settings, self.touched.X.shape[1]
        device = net.product.device
        drawn = torch.from_numpy(rng.integers(0, n_items, settings.n_negatives))
        known = self.touched.among(batch.users, drawn).to(device)
        history = empty_csr(len(batch.users), n_items)
        history.data, history.indices = np.ones(len(batch.seen), np.float32), batch.seen.numpy().astype(np.int32)
        history.indptr = np.append(batch.offsets.numpy(), len(batch.seen))
        vectors = torch.from_numpy(self.folding.vectors(history)).to(device)
        batch = batch.to(device)
        negative, positive = net(net.represent(vectors), drawn.to(device), batch.groups, batch.targets)
        negative = negative.masked_fill(known, -torch.inf)
        if settings.loss == "softmax":
            return masked_item_loss(positive, negative - np.log(settings.n_negatives / n_items), batch, settings.length_exponent)
        weight = target_weights(batch, settings.length_exponent)
        others = F.softplus(negative).sum(1)[batch.groups] * 4 / settings.n_negatives
        return ((F.softplus(-positive) + others) * weight).sum() / weight.sum()


def _model(settings: NeuMF, folding: FoldIn, network: _Network) -> "NeuMFModel":
    return NeuMFModel(settings, folding, to_arrays(network))


@dataclasses.dataclass(frozen=True, eq=False)
class NeuMFModel:
    """A fitted NeuMF.

    Attributes:
        settings: what it was fitted with.
        folding: gives the vector of a user from a history.
        weights: by name: "items.weight" (N, 2 D) for the product and for the network, "bias.weight" (N, 1), "size" () of users'
            vectors, "turn.weight" (D, D), "product" (D,), and those of the network.
    """

    settings: NeuMF
    folding: FoldIn
    weights: Mapping[str, NDArray[Any]]

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.folding.items)

    @functools.cached_property
    def _items(self) -> tuple[Float32Array, Float32Array, Float32Array]:
        """(N, D) and (N,) for the product, (N, first layer) for the network."""
        D, vectors = self.settings.embedding_dim, self.weights["items.weight"]
        first = vectors[:, D:] @ self.weights["from_item.weight"].T if self.settings.hidden_sizes else vectors[:, :0]
        return vectors[:, :D] * self.weights["product"], self.weights["bias.weight"][:, 0], first

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Product and network; zeros where the history is empty."""
        users = self.folding.vectors(queries.history)
        rows = None if items is None else np.asarray(items)
        scores = np.empty((len(users), self.n_items if rows is None else rows.shape[-1]), np.float32)
        for b, vector in enumerate(users):
            self._score_one(vector, rows if rows is None or rows.ndim == 1 else rows[b], scores[b])
        scores[np.diff(queries.history.indptr) == 0] = 0
        return scores

    def _score_one(self, vector: Float32Array, rows: NDArray[Any] | None, out: Float32Array) -> None:
        """Into ``out``, for the given rows of items or all of them."""
        weights, layers = self.weights, self.settings.hidden_sizes
        product, bias, first = self._items
        x = vector * weights["size"]
        turned = weights["turn.weight"] @ x + weights["turn.bias"]
        at = weights["from_user.weight"] @ x + weights["from_user.bias"] if layers else x
        for start in range(0, len(out), _STRETCH):
            cut = slice(start, start + _STRETCH)
            take = cut if rows is None else rows[cut]
            out[cut] = product[take] @ turned + bias[take]
            if layers:
                out[cut] += self._network(first[take] + at)

    def _network(self, x: Float32Array) -> Float32Array:
        """(R,) what the network adds, from the sums (R, first layer) of its first layer, which are overwritten."""
        np.maximum(x, 0, out=x)
        for i in range(len(self.settings.hidden_sizes) - 1):
            x = x @ self.weights[f"upper.{i}.weight"].T
            x += self.weights[f"upper.{i}.bias"]
            np.maximum(x, 0, out=x)
        added: Float32Array = x @ self.weights["out.weight"][0]
        return added

    def explain(self, queries: Queries, item: int) -> Explanation:
        """The items of the history, by how far the score of ``item`` falls without what each brings to the user's vector.

        O(L · (D² + layers)).
        """
        history = queries.history[[0]]
        parts = self.folding.parts(history)
        whole = parts.sum(axis=0)
        row, scores = np.array([item]), np.empty((len(parts) + 1, 1), np.float32)
        for b, vector in enumerate([whole, *(whole - parts)]):
            self._score_one(vector, row, scores[b])
        added = scores[0, 0] - scores[1:, 0]
        return rank_contributions(history.indices, added)
