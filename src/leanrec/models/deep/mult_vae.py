"""Mult-VAE: a variational autoencoder of histories with a multinomial likelihood.

Liang, Krishnan, Hoffman & Jebara, "Variational Autoencoders for Collaborative Filtering", WWW 2018; with the layered encoder,
the linear decoder and the regulariser in proportion to the history of Shenbin, Alekseev, Tutubalina, Malykh & Nikolenko,
"RecVAE: a New Variational Autoencoder for Top-N Recommendations with Implicit Feedback", WSDM 2020.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.kernels.sparse import dot_scores
from leanrec.nn.arrays import to_arrays
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_at_least, check_between
from leanrec.training.config import TrainingSettings
from leanrec.training.early_stopping import hold_out, mean_ndcg
from leanrec.training.losses import multinomial, logits_bytes
from leanrec.training.trainer import limit_torch_threads, resolve_device, train
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array, Queries

__all__ = ["MultVAE", "MultVAEModel"]

_EPSILON = 1e-5
# Tables of so many rows take steps for the rows of a batch only.
_MANY = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultVAE(TrainingSettings):
    """A history becomes a few numbers, with noise in training, and these give a probability to every item.

    The loss of a user with the items x, n of them, z ~ q(z | x with some items left out):

        −Σ_(i in x) log softmax(decoder(z))_i + n · beta · KL(q(z | x) ‖ standard normal)

    The encoder's first layer sums rows of a table, for the items of a history only. The decoder's last layer makes the
    softmax and its gradients for a stretch of users at a time, so that no matrix of users by items is ever held. An answer is a
    dot product with the table of the decoder, and needs no torch.

    Cost: an epoch O(U · N · D + E · hidden + U · layers · hidden²), with the last width in the place of D; a query
    O(L · hidden + layers · hidden² + N · D); the model 4 N (hidden + D) bytes.

    Attributes:
        width: D, the numbers a history becomes.
        hidden: width of the encoder's layers.
        layers: how many there are.
        decoder: cells between the D numbers and the items, with tanh, as in Mult-VAE; 0 = none, as in RecVAE.
        beta: weight of the divergence for each item of a history; 0 = a denoising autoencoder with noise in the middle.
        dropout: share of the items left out of what the encoder sees in training.
    """

    SPACE: ClassVar[Mapping[str, str]] = {"beta": "0.0001..0.1:log"}

    epochs: int = 30
    batch: int = 128
    learning_rate: float = 3e-3
    width: int = 200
    hidden: int = 600
    layers: int = 1
    decoder: int = 0
    beta: float = 0.002
    dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("width", self.width, 1)
        check_at_least("hidden", self.hidden, 1)
        check_at_least("layers", self.layers, 1)
        check_at_least("decoder", self.decoder, 0)
        check_at_least("beta", self.beta, 0)
        check_between("dropout", self.dropout, 0, 0.99)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Weights with gradients, two moments and two copies; a stretch of logits; the log as it is dealt out."""
        inside = 4 * self.hidden * (self.layers * self.hidden + 2 * self.width) + 4 * self.width * self.decoder
        weights = 4 * shape.items * (self.hidden + (self.decoder or self.width) + 1) + inside
        logits = logits_bytes(shape.items, self.decoder or self.width)
        return (
            8 * weights
            + logits
            + 80 * self.batch * (self.hidden * self.layers + self.width)
            + 60 * shape.events
            + 40 * 2**20
        )

    def fit(self, data: Dataset, run: Run = Run(), valid: EvaluationSet | None = None) -> "MultVAEModel":
        """Learn to complete histories.

        With ``patience`` the score is NDCG@10 on ``valid``, or on the latest items of 5 % of the users, who then train without
        them, where that is None.
        """
        run.require_memory(
            self.fit_bytes(data.shape), f"Mult-VAE of width {self.width}", "Choose a smaller width or raise the limit."
        )
        resolve_device(run)
        if self.patience and valid is None:
            data, valid = hold_out(data, run.rng())
        X = data.interactions
        with torch.random.fork_rng(devices=[]), limit_torch_threads(run):
            torch.manual_seed(run.seed)
            network = _Network(self, X.shape[1])
            judge = None if valid is None else lambda: _judge(_model(self, network), valid)
            train(network, _Objective(self, X), self, run, score=judge, name="MultVAE", of=(data, valid))
        return _model(self, network)


@dataclasses.dataclass(frozen=True, eq=False)
class _Batch:
    """Items of some users, one user after the other, and where those of each begin and end (B + 1,)."""

    items: Tensor
    bounds: Tensor


class _Network(nn.Module):
    def __init__(self, settings: MultVAE, n_items: int) -> None:
        super().__init__()
        self.settings, hidden = settings, settings.hidden_dim
        self.first = nn.EmbeddingBag(n_items, hidden, mode="sum", sparse=n_items >= _MANY)
        nn.init.normal_(self.first.weight, std=0.05)
        self.first_bias = nn.Parameter(torch.zeros(hidden))
        self.upper = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(settings.n_layers - 1))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(settings.n_layers))
        self.mean, self.spread = nn.Linear(hidden, settings.embedding_dim), nn.Linear(hidden, settings.embedding_dim)
        nn.init.zeros_(self.spread.weight)
        nn.init.constant_(self.spread.bias, -4.0)
        self.between = nn.Linear(settings.embedding_dim, settings.decoder_dim) if settings.decoder_dim else None
        self.items = nn.Linear(settings.decoder_dim or settings.embedding_dim, n_items)
        nn.init.normal_(self.items.weight, std=0.01)
        nn.init.zeros_(self.items.bias)

    def encode(self, batch: _Batch) -> tuple[Tensor, Tensor]:
        """(B, D) means and logarithms of variances."""
        lengths = batch.bounds.diff()
        kept = torch.rand(len(batch.items), device=lengths.device) >= self.settings.dropout
        share = (lengths.clamp(min=1) ** -0.5 / (1 - self.settings.dropout)).repeat_interleave(lengths)
        x = self.first(batch.items, batch.bounds[:-1], per_sample_weights=share * kept) + self.first_bias
        x = self.norms[0](F.silu(x))
        for layer, norm in zip(self.upper, list(self.norms)[1:], strict=True):
            x = norm(x + F.silu(layer(x)))
        return self.mean(x), self.spread(x)

    def decode(self, z: Tensor) -> Tensor:
        """(B, D) to what meets the items' vectors."""
        return z if self.between is None else torch.tanh(self.between(z))


@dataclasses.dataclass(frozen=True, eq=False)
class _Objective:
    """Whole histories from parts of them."""

    settings: MultVAE
    X: CSR

    def batches(self, rng: np.random.Generator) -> Sequence[Int64Array]:
        users = np.flatnonzero(np.diff(self.X.indptr))
        rng.shuffle(users)
        return [users[start : start + self.settings.batch_size] for start in range(0, len(users), self.settings.batch_size)]

    def loss(self, network: nn.Module, batch: Int64Array, rng: np.random.Generator) -> Tensor:  # noqa: ARG002 - torch draws here
        net = cast(_Network, network)
        rows, device = self.X[batch], net.items.weight.device
        items, bounds = (torch.from_numpy(each.astype(np.int64)).to(device) for each in (rows.indices, rows.indptr))
        mean, spread = net.encode(_Batch(items, bounds))
        z = mean + torch.randn_like(mean) * (spread / 2).exp()
        divergence = (mean.square() + spread.exp() - 1 - spread).sum(1) / 2
        of_items = multinomial(net.decode(z), net.items.weight, net.items.bias, items, bounds)
        return of_items + self.settings.beta * (divergence * bounds.diff()).sum() / max(1, len(items))


def _judge(model: "MultVAEModel", valid: EvaluationSet) -> float:
    return mean_ndcg(model.embed_queries(valid.queries), model.embed_items(), valid)


def _model(settings: MultVAE, network: _Network) -> "MultVAEModel":
    weights = to_arrays(network)
    for name in ("spread.weight", "spread.bias"):
        del weights[name]
    items = np.column_stack([weights.pop("items.weight"), weights.pop("items.bias")])
    return MultVAEModel(settings, weights.pop("first.weight"), items, weights)


@dataclasses.dataclass(frozen=True, eq=False)
class MultVAEModel:
    """A fitted MultVAE.

    Attributes:
        settings: what it was fitted with.
        first: (N, hidden) the first layer of the encoder.
        items: (N, D + 1) float32 vectors of the last layer of the decoder, and its bias.
        weights: of the layers between, by name.
    """

    settings: MultVAE
    first: Float32Array
    items: Float32Array
    weights: Mapping[str, NDArray[Any]]

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.items)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D + 1) the decoder before its last layer, and a 1 for the bias; zeros for an empty history."""
        history = queries.history.copy()
        lengths = np.diff(history.indptr)
        history.data = np.repeat(np.maximum(lengths, 1) ** np.float32(-0.5), lengths).astype(np.float32)
        x = self._decode(history @ self.first)
        states = np.column_stack([x, np.ones(len(x), np.float32)]).astype(np.float32)
        states[lengths == 0] = 0
        return states

    def _decode(self, sums: Float32Array) -> Float32Array:
        """(B, D) from what the first layer gives."""
        weights = self.weights
        x = self._norm(_silu(sums + weights["first_bias"]), 0)
        for i in range(self.settings.n_layers - 1):
            x = self._norm(x + _silu(x @ weights[f"upper.{i}.weight"].T + weights[f"upper.{i}.bias"]), i + 1)
        x = x @ weights["mean.weight"].T + weights["mean.bias"]
        if self.settings.decoder_dim:
            x = np.tanh(x @ weights["between.weight"].T + weights["between.bias"])
        return np.asarray(x, dtype=np.float32)

    def _norm(self, x: Float32Array, layer: int) -> Float32Array:
        x = x - x.mean(axis=1, keepdims=True)
        scale = np.sqrt((x**2).mean(axis=1, keepdims=True) + np.float32(_EPSILON))
        normed: Float32Array = x / scale * self.weights[f"norms.{layer}.weight"] + self.weights[f"norms.{layer}.bias"]
        return normed

    def embed_items(self) -> Float32Array:
        """(N, D + 1)."""
        return self.items

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Logits of the decoder; zeros where the history is empty."""
        return dot_scores(self.embed_queries(queries), self.items, items)

    def explain(self, queries: Queries, item: int) -> Explanation:
        """The items of the history, by how far the score of ``item`` falls without each. L passes through the layers."""
        history = queries.history[[0]].indices
        L, vector = len(history), self.items[item]
        parts = self.first[history].reshape(L, self.first.shape[1])
        whole = parts.sum(axis=0)
        sums = np.concatenate([whole[None] / np.sqrt(max(1, L)), (whole - parts) / np.sqrt(max(1, L - 1))])
        scores = self._decode(sums.astype(np.float32)) @ vector[:-1]
        added = scores[0] - scores[1:]
        return rank_contributions(history, added)


def _silu(x: Float32Array) -> Float32Array:
    silu: Float32Array = x / (1 + np.exp(-np.clip(x, -80, 80)))
    return silu
