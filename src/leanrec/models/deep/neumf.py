"""NeuMF: generalized matrix factorization plus an MLP over user and item vectors.

He, Liao, Zhang, Nie, Hu & Chua, "Neural Collaborative Filtering", WWW 2017. User vectors are folded in from the
history by the equations of Hu, Koren & Volinsky, ICDM 2008, so that new users are served as those of the fit are.
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.field_checks import SharedSizes, check_array_shapes
from leanrec.finiteness import require_finite
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
from leanrec.settings import setting
from leanrec.training.config import TrainingSettings
from leanrec.training.early_stopping import hold_out, mean_ndcg_of_scores
from leanrec.training.trainer import limit_torch_threads, resolve_device, train
from leanrec.types import CSR, Float32Array, Int32Array, Queries, empty_csr

__all__ = ["NeuMF", "NeuMFModel"]

# Items of a history that are explained.
_MAX_EXPLAINED = 100
# Items per block at inference, so that the activations stay in the cache from layer to layer.
_BLOCK = 1024
# Initial standard deviation of the scores over pairs, and the number of users it is measured on.
_SCORE_STD, _SAMPLE_USERS = 1.5, 256
_EPSILON = 1e-12


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeuMF(TrainingSettings):
    """The score of a pair is the sum of a generalized matrix factorization (GMF) and an MLP.

        score(u, i) = g · (T p_u ∘ q_i) + out · MLP([p_u, q'_i]) + b_i

    The paper learns a vector per user, and pretrains GMF before the whole model. Here alternating least squares replace
    the pretraining, and p_u is solved from the history, so that new users are served as those of the fit are. Training
    starts from that factorization (T the identity, q_i its item vectors, the MLP adding zero) and continues with gradient
    descent: a random part of each user's items is masked, p_u is solved from the rest, and the masked items are predicted.

    The first layer of the MLP is the sum of a user part and an item part. The item parts are precomputed, so a query costs
    the upper layers only, and needs no torch.

    When to use: logs where a matrix factorization is nearly enough and a network on top of it may improve it.

    Cost: an epoch O((E + U · n_folds · n_negatives) · (D + Σ products of adjacent layer sizes) + U · n_folds · L · D ·
    min(L, D)); a query O(L · D · min(L, D) + N · (D + the same sum without the first layer)); the model
    4 N (3 D + 1) bytes, and 4 N (D + hidden_sizes[0]) more after the first query.
    """

    epochs: int = 6
    batch_size: int = 4096
    learning_rate: float = setting(5e-4, search="5e-05..0.005:log")
    embedding_dim: int = setting(64, at_least=1, search="16,32,64,128", doc="D, dimension of the embeddings.")
    hidden_sizes: tuple[int, ...] = setting(
        (32, 16), at_least=1, doc="Sizes of the MLP's hidden layers, input side first; () = GMF alone."
    )
    l2: float = setting(0.5, above=0, search="0.005..50:log", doc="Ridge strength of the least squares.")
    unobserved_weight: float = setting(
        0.2,
        above=0,
        search="0.00667..6:log",
        doc="Weight of pairs without interaction in the least squares, relative to 1 for an interaction.",
    )
    loss: str = setting(
        "softmax",
        one_of=("softmax", "bce"),
        doc='"softmax" of each masked item against ``n_negatives`` sampled ones, or "bce", binary cross-entropy as in the '
        "paper, with ``n_negatives`` weighted as four per masked item.",
    )
    n_negatives: int = setting(64, at_least=1, doc="Sampled items shared by all users of a step.")
    n_folds: int = setting(5, at_least=2, doc="Folds into which the items of a user are split; each is masked in turn.")
    length_exponent: float = setting(
        0.0,
        between=(0, 1),
        doc="Exponent of the history length by which the weight of a masked item is divided: 0 = interactions count "
        "equally, 1 = users do.",
    )
    dropout: float = setting(
        0.0,
        between=(0, 0.99),
        search="0..0.6",
        doc="Share of elements of the user vector and of the hidden layers that are dropped in training.",
    )

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Weights with gradients, two moments and two copies; activations of a step, both ways; the interactions."""
        D, sizes = self.embedding_dim, self.hidden_sizes
        tables = 4 * shape.items * (2 * D + 1)
        inner = 4 * sum(a * b for a, b in zip((3 * D, *sizes), (*sizes, 1), strict=True))
        groups = min(self.batch_size, self.n_folds * max(1, shape.users))
        activations = 16 * (self.batch_size + groups * self.n_negatives) * (sum(sizes) + D)
        least_squares = fold_in_bytes(shape.users, shape.items, shape.events, D)
        return 7 * (tables + inner) + activations + least_squares + 80 * shape.events + 40 * 2**20

    @require_finite
    def fit(self, data: Dataset, run: Run = Run(), valid: EvaluationSet | None = None) -> "NeuMFModel":
        """Train on the interactions of ``data``.

        With ``patience`` the validation score is NDCG@10 on ``valid``; if that is None, on the latest item of 5 % of the
        users, which is then left out of training.
        """
        run.require_memory(
            self.fit_bytes(data.shape),
            f"NeuMF with embedding_dim={self.embedding_dim}",
            "Lower embedding_dim or batch_size, or raise the limit.",
        )
        resolve_device(run)
        if self.patience and valid is None:
            data, valid = hold_out(data, run.rng())
        X = data.interactions
        with torch.random.fork_rng(devices=[]), run.limit_threads(), limit_torch_threads(run):
            torch.manual_seed(run.seed)
            fold_in = FoldIn.fit(X, self.embedding_dim, self.l2, self.unobserved_weight, run)
            network = _NeuMFNetwork(self, fold_in, X)
            score = (
                None
                if valid is None
                else lambda: mean_ndcg_of_scores(_build_model(self, fold_in, network).score, valid)
            )
            objective = _MaskedItemObjective(self, fold_in, InteractionIndex(X))
            train(network, objective, self, run, score=score, name="NeuMF", data=(data, valid))
        return _build_model(self, fold_in, network)


class _NeuMFNetwork(nn.Module):
    """Initialized as the factorization, scaled to a standard deviation of the scores of ``_SCORE_STD``."""

    def __init__(self, settings: NeuMF, fold_in: FoldIn, X: CSR) -> None:
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

    settings: NeuMF
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


def _build_model(settings: NeuMF, fold_in: FoldIn, network: _NeuMFNetwork) -> "NeuMFModel":
    return NeuMFModel(settings, fold_in, to_arrays(network))


@dataclasses.dataclass(frozen=True, eq=False)
class NeuMFModel:
    """A fitted `NeuMF`.

    Attributes:
        settings: settings of the fit.
        fold_in: computes the user vector of a history.
        weights: by name: "items.weight" (N, 2 D) for GMF and for the MLP, "bias.weight" (N, 1), "size" (), the scale of
            user vectors, "rotation.weight" (D, D), "product" (D,), and those of the MLP.
    """

    settings: NeuMF
    fold_in: Annotated[FoldIn, SharedSizes(N="N", D="D")]
    weights: Mapping[str, NDArray[Any]]

    def check_state(self) -> None:
        """Raise DataError unless the weights have the sizes of the settings."""
        D, sizes = self.settings.embedding_dim, self.settings.hidden_sizes
        shapes: dict[str, tuple[int, ...]] = {
            "items.weight": (self.n_items, 2 * D),
            "bias.weight": (self.n_items, 1),
            "size": (),
        }
        shapes |= {"rotation.weight": (D, D), "rotation.bias": (D,), "product": (D,)}
        for i, (width, above) in enumerate(itertools.pairwise(sizes)):
            shapes |= {f"upper.{i}.weight": (above, width), f"upper.{i}.bias": (above,)}
        if sizes:
            shapes |= {
                "from_user.weight": (sizes[0], D),
                "from_user.bias": (sizes[0],),
                "from_item.weight": (sizes[0], D),
            }
            shapes |= {"out.weight": (1, sizes[-1])}
        check_array_shapes(
            "NeuMFModel", {**self.weights, "vectors": self.fold_in.items}, shapes | {"vectors": (self.n_items, D)}
        )

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return len(self.fold_in.items)

    @functools.cached_property
    def _items(self) -> tuple[Float32Array, Float32Array, Float32Array]:
        """(N, D) item vectors and (N,) biases of GMF, (N, hidden_sizes[0]) item parts of the MLP's first layer."""
        D, vectors = self.settings.embedding_dim, self.weights["items.weight"]
        first = vectors[:, D:] @ self.weights["from_item.weight"].T if self.settings.hidden_sizes else vectors[:, :0]
        return vectors[:, :D] * self.weights["product"], self.weights["bias.weight"][:, 0], first

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """GMF + MLP: (B, N), or (B, K) for ``items``; zeros for an empty history."""
        users = self.fold_in.encode(queries.history)
        rows = None if items is None else np.asarray(items)
        scores = np.empty((len(users), self.n_items if rows is None else rows.shape[-1]), np.float32)
        for b, vector in enumerate(users):
            self._score_one(vector, rows if rows is None or rows.ndim == 1 else rows[b], scores[b])
        scores[np.diff(queries.history.indptr) == 0] = 0
        return scores

    def _score_one(self, vector: Float32Array, rows: NDArray[Any] | None, out: Float32Array) -> None:
        """Write the scores of one user into ``out``, for the given items or all."""
        weights, layers = self.weights, self.settings.hidden_sizes
        product, bias, first = self._items
        x = vector * weights["size"]
        rotated = weights["rotation.weight"] @ x + weights["rotation.bias"]
        user_part = weights["from_user.weight"] @ x + weights["from_user.bias"] if layers else x
        for start in range(0, len(out), _BLOCK):
            block = slice(start, start + _BLOCK)
            take = block if rows is None else rows[block]
            out[block] = product[take] @ rotated + bias[take]
            if layers:
                out[block] += self._mlp(first[take] + user_part)

    def _mlp(self, x: Float32Array) -> Float32Array:
        """(R,) MLP scores from the sums of the first layer (R, hidden_sizes[0]), which are overwritten."""
        np.maximum(x, 0, out=x)
        for i in range(len(self.settings.hidden_sizes) - 1):
            x = x @ self.weights[f"upper.{i}.weight"].T
            x += self.weights[f"upper.{i}.bias"]
            np.maximum(x, 0, out=x)
        scores: Float32Array = x @ self.weights["out.weight"][0]
        return scores

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """Items of the history by how much the scores of ``items`` drop without the contribution of each to the user vector.

        Of a long history, the 100 items with the largest contributions are explained. O(L · D² + 100 · K · MLP).
        """
        parts = self.fold_in.item_contributions(queries.history)
        whole = parts.sum(axis=0)
        largest = np.sort(np.argsort(-np.einsum("ld,ld->l", parts, parts), kind="stable")[:_MAX_EXPLAINED])
        scores = np.empty((len(largest) + 1, len(items)), np.float32)
        for b, vector in enumerate([whole, *(whole - parts[largest])]):
            self._score_one(vector, items, scores[b])
        return rank_contributions(queries.history.indices[largest], (scores[0] - scores[1:]).T, top_k=top_k)
