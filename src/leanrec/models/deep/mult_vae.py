"""Mult-VAE: variational autoencoder of histories with a multinomial likelihood.

Liang, Krishnan, Hoffman & Jebara, "Variational Autoencoders for Collaborative Filtering", WWW 2018. The encoder,
the linear decoder and the history-dependent weight of the KL term are those of Shenbin, Alekseev, Tutubalina, Malykh &
Nikolenko, "RecVAE: a New Variational Autoencoder for Top-N Recommendations with Implicit Feedback", WSDM 2020.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.field_checks import ArrayShape, check_array_shapes
from leanrec.finiteness import require_finite
from leanrec.kernels.layers.activations import add_silu
from leanrec.kernels.layers.named_layers import NamedLayers
from leanrec.kernels.sparse import dot_scores
from leanrec.nn.arrays import to_arrays
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import setting
from leanrec.training.config import TrainingSettings
from leanrec.training.early_stopping import hold_out, mean_ndcg_of_embedder
from leanrec.training.logit_blocks import logits_bytes
from leanrec.training.losses import multinomial
from leanrec.training.trainer import limit_torch_threads, resolve_device, train
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array, Queries

__all__ = ["MultVAE", "MultVAEModel"]

# Tables of this many rows or more have sparse gradients.
_SPARSE_FROM = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultVAE(TrainingSettings):
    """Encodes a history to a latent vector, with noise in training, and decodes it to a distribution over all items.

    The loss of a user with n items x, and z ~ q(z | x with some items dropped):

        −Σ_(i in x) log softmax(decoder(z))_i + n · beta · KL(q(z | x) ‖ standard normal)

    The encoder's first layer sums embeddings of the items of a history. The decoder's last layer computes the softmax and
    its gradients in blocks of users, so a matrix of users by items is never materialized. Inference is a dot product with
    the decoder's table and needs no torch.

    When to use: whole histories at once with few settings, on catalogs of up to some ten thousand items.

    Cost: an epoch O(U · N · D + E · hidden_dim + U · n_layers · hidden_dim²), with decoder_dim instead of D if it is set;
    a query O(L · hidden_dim + n_layers · hidden_dim² + N · D); the model 4 N (hidden_dim + D) bytes.
    """

    epochs: int = 30
    batch_size: int = 128
    learning_rate: float = setting(3e-3, search="0.0003..0.03:log")
    embedding_dim: int = setting(200, at_least=1, search="50,100,200,400", doc="D, size of the latent vector.")
    hidden_dim: int = setting(600, at_least=1, doc="Size of the encoder's hidden layers.")
    n_layers: int = setting(1, at_least=1, doc="Number of hidden layers of the encoder.")
    decoder_dim: int = setting(
        0,
        at_least=0,
        doc="Size of a tanh layer between the latent vector and the items, as in Mult-VAE; 0 = none, as in RecVAE.",
    )
    beta: float = setting(
        0.002,
        at_least=0,
        search="0.0001..0.1:log",
        doc="Weight of the KL term per item of the history; 0 = a denoising autoencoder with a noisy latent vector.",
    )
    dropout: float = setting(
        0.5, between=(0, 0.99), search="0..0.6", doc="Share of the items dropped from the encoder's input in training."
    )

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Weights with gradients, two moments and two copies; a block of logits; the shuffled interactions."""
        hidden, D = self.hidden_dim, self.embedding_dim
        inner = 4 * hidden * (self.n_layers * hidden + 2 * D) + 4 * D * self.decoder_dim
        weights = 4 * shape.items * (hidden + (self.decoder_dim or D) + 1) + inner
        logits = logits_bytes(shape.items, self.decoder_dim or D)
        activations = 80 * self.batch_size * (hidden * self.n_layers + D)
        return 8 * weights + logits + activations + 60 * shape.events + 40 * 2**20

    @require_finite
    def fit(self, data: Dataset, run: Run = Run(), valid: EvaluationSet | None = None) -> "MultVAEModel":
        """Train on the histories of ``data``.

        With ``patience`` the validation score is NDCG@10 on ``valid``; if that is None, on the latest item of 5 % of the
        users, which is then left out of training.
        """
        run.require_memory(
            self.fit_bytes(data.shape),
            f"MultVAE with embedding_dim={self.embedding_dim}",
            "Lower embedding_dim or hidden_dim, or raise the limit.",
        )
        resolve_device(run)
        if self.patience and valid is None:
            data, valid = hold_out(data, run.rng())
        X = data.interactions
        with torch.random.fork_rng(devices=[]), limit_torch_threads(run):
            torch.manual_seed(run.seed)
            network = _MultVAENetwork(self, X.shape[1])
            score = None if valid is None else lambda: mean_ndcg_of_embedder(_build_model(self, network), valid)
            train(network, _HistoryObjective(self, X), self, run, score=score, name="MultVAE", data=(data, valid))
        return _build_model(self, network)


@dataclasses.dataclass(frozen=True, eq=False)
class _Batch:
    """Items of some users, end to end, and their boundaries (B + 1,)."""

    items: Tensor
    bounds: Tensor


class _MultVAENetwork(nn.Module):
    def __init__(self, settings: MultVAE, n_items: int) -> None:
        super().__init__()
        self.settings, hidden = settings, settings.hidden_dim
        self.first = nn.EmbeddingBag(n_items, hidden, mode="sum", sparse=n_items >= _SPARSE_FROM)
        nn.init.normal_(self.first.weight, std=0.05)
        self.first_bias = nn.Parameter(torch.zeros(hidden))
        self.upper = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(settings.n_layers - 1))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(settings.n_layers))
        self.mean, self.log_variance = (
            nn.Linear(hidden, settings.embedding_dim),
            nn.Linear(hidden, settings.embedding_dim),
        )
        nn.init.zeros_(self.log_variance.weight)
        nn.init.constant_(self.log_variance.bias, -4.0)
        self.decoder_hidden = nn.Linear(settings.embedding_dim, settings.decoder_dim) if settings.decoder_dim else None
        self.items = nn.Linear(settings.decoder_dim or settings.embedding_dim, n_items)
        nn.init.normal_(self.items.weight, std=0.01)
        nn.init.zeros_(self.items.bias)

    def encode(self, batch: _Batch) -> tuple[Tensor, Tensor]:
        """(B, D) means and log-variances."""
        lengths = batch.bounds.diff()
        is_kept = torch.rand(len(batch.items), device=lengths.device) >= self.settings.dropout
        weights = (lengths.clamp(min=1) ** -0.5 / (1 - self.settings.dropout)).repeat_interleave(lengths)
        x = self.first(batch.items, batch.bounds[:-1], per_sample_weights=weights * is_kept) + self.first_bias
        x = self.norms[0](F.silu(x))
        for layer, norm in zip(self.upper, list(self.norms)[1:], strict=True):
            x = norm(x + F.silu(layer(x)))
        return self.mean(x), self.log_variance(x)

    def decode(self, z: Tensor) -> Tensor:
        """(B, D) to the input of the last layer."""
        return z if self.decoder_hidden is None else torch.tanh(self.decoder_hidden(z))


@dataclasses.dataclass(frozen=True, eq=False)
class _HistoryObjective:
    """Reconstructs whole histories from parts of them."""

    settings: MultVAE
    X: CSR

    def batches(self, rng: np.random.Generator) -> Sequence[Int64Array]:
        users = np.flatnonzero(np.diff(self.X.indptr))
        rng.shuffle(users)
        return [
            users[start : start + self.settings.batch_size] for start in range(0, len(users), self.settings.batch_size)
        ]

    def loss(self, network: nn.Module, batch: Int64Array, rng: np.random.Generator) -> Tensor:  # noqa: ARG002 - the noise comes from torch
        net = cast(_MultVAENetwork, network)
        rows, device = self.X[batch], net.items.weight.device
        items, bounds = (torch.from_numpy(each.astype(np.int64)).to(device) for each in (rows.indices, rows.indptr))
        mean, log_variance = net.encode(_Batch(items, bounds))
        z = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
        reconstruction = multinomial(net.decode(z), net.items.weight, net.items.bias, items, bounds)
        return reconstruction + self.settings.beta * (divergence * bounds.diff()).sum() / max(1, len(items))


def _build_model(settings: MultVAE, network: _MultVAENetwork) -> "MultVAEModel":
    weights = to_arrays(network)
    for name in ("log_variance.weight", "log_variance.bias"):
        del weights[name]
    items = np.column_stack([weights.pop("items.weight"), weights.pop("items.bias")])
    return MultVAEModel(settings, weights.pop("first.weight"), items, weights)


@dataclasses.dataclass(frozen=True, eq=False)
class MultVAEModel:
    """A fitted `MultVAE`.

    Attributes:
        settings: settings of the fit.
        first: (N, hidden_dim) first layer of the encoder.
        items: (N, D + 1) float32 last layer of the decoder, the bias last.
        weights: weights of the other layers, by name.
    """

    settings: MultVAE
    first: Annotated[Float32Array, ArrayShape("N", "H")]
    items: Annotated[Float32Array, ArrayShape("N", "D + 1")]
    weights: Mapping[str, NDArray[Any]]

    def check_state(self) -> None:
        """Raise DataError unless the weights have the sizes of the settings."""
        hidden, D, decoder = self.settings.hidden_dim, self.settings.embedding_dim, self.settings.decoder_dim
        shapes: dict[str, tuple[int, ...]] = {
            "first_bias": (self.first.shape[1],),
            "mean.weight": (D, hidden),
            "mean.bias": (D,),
        }
        for i in range(self.settings.n_layers):
            shapes |= {f"norms.{i}.weight": (hidden,), f"norms.{i}.bias": (hidden,)}
        for i in range(self.settings.n_layers - 1):
            shapes |= {f"upper.{i}.weight": (hidden, hidden), f"upper.{i}.bias": (hidden,)}
        if decoder:
            shapes |= {"decoder_hidden.weight": (decoder, D), "decoder_hidden.bias": (decoder,)}
        shapes |= {
            "first_bias": (hidden,),
            "first": (self.n_items, hidden),
            "items": (self.n_items, (decoder or D) + 1),
        }
        check_array_shapes("MultVAEModel", {**self.weights, "first": self.first, "items": self.items}, shapes)

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return len(self.items)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D + 1) input of the decoder's last layer, the last cell 1 for the bias; zeros for an empty history."""
        history = queries.history.copy()
        lengths = np.diff(history.indptr)
        history.data = np.repeat(np.maximum(lengths, 1) ** np.float32(-0.5), lengths).astype(np.float32)
        x = self._compute_states(history @ self.first)
        states = np.column_stack([x, np.ones(len(x), np.float32)]).astype(np.float32)
        states[lengths == 0] = 0
        return states

    @functools.cached_property
    def _layers(self) -> NamedLayers:
        return NamedLayers(self.weights)

    def _compute_states(self, sums: Float32Array) -> Float32Array:
        """(B, D) input of the decoder's last layer, from the sums of the first layer of the encoder, which are overwritten."""
        layers = self._layers
        x = np.ascontiguousarray(sums, dtype=np.float32)
        add_silu(x, layers["first_bias"])
        x = layers.apply_norm("norms.0", x)
        for i in range(self.settings.n_layers - 1):
            inner = x @ layers.transpose(f"upper.{i}.weight")
            add_silu(inner, layers[f"upper.{i}.bias"])
            x = layers.apply_norm(f"norms.{i + 1}", x + inner)
        x = layers.apply_linear("mean", x)
        return np.tanh(layers.apply_linear("decoder_hidden", x)) if self.settings.decoder_dim else x

    def embed_items(self) -> Float32Array:
        """(N, D + 1) item vectors, the bias last."""
        return self.items

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Logits of the decoder: (B, N), or (B, K) for ``items``; zeros for an empty history."""
        return dot_scores(self.embed_queries(queries), self.items, items)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """Items of the history by how much the scores of ``items`` drop without each. L + 1 passes through the layers."""
        history = queries.history.indices
        L, vectors = len(history), self.items[items]
        parts = self.first[history].reshape(L, self.first.shape[1])
        whole = parts.sum(axis=0)
        sums = np.concatenate([whole[None] / np.sqrt(max(1, L)), (whole - parts) / np.sqrt(max(1, L - 1))])
        scores = self._compute_states(sums.astype(np.float32)) @ vectors[:, :-1].T
        return rank_contributions(history, (scores[0] - scores[1:]).T, top_k=top_k)
