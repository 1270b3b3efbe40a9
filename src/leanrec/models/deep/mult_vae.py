"""Mult-VAE: variational autoencoder of histories with a multinomial likelihood.

Liang, Krishnan, Hoffman & Jebara, "Variational Autoencoders for Collaborative Filtering", WWW 2018. The encoder,
the linear decoder and the history-dependent weight of the KL term are those of Shenbin, Alekseev, Tutubalina, Malykh &
Nikolenko, "RecVAE: a New Variational Autoencoder for Top-N Recommendations with Implicit Feedback", WSDM 2020.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.errors import MissingExtraError
from leanrec.field_checks import ArrayShape, check_array_shapes
from leanrec.finiteness import require_finite
from leanrec.kernels.layers.activations import add_silu
from leanrec.kernels.layers.named_layers import NamedLayers
from leanrec.kernels.sparse import dot_scores
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import setting
from leanrec.training.config import TrainingSettings
from leanrec.training.logit_blocks import logits_bytes
from leanrec.types import Float32Array, Int32Array, Queries

__all__ = ["MultVAE", "MultVAEModel"]


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
        users, which is then left out of training. Raises MissingExtraError without torch.
        """
        try:
            from leanrec.models.deep.core.networks.mult_vae import train_mult_vae  # noqa: PLC0415 - torch is optional
        except ImportError as error:
            raise MissingExtraError.from_import_error("The model 'mult_vae'", error) or error from error
        run.require_memory(
            self.fit_bytes(data.shape),
            f"MultVAE with embedding_dim={self.embedding_dim}",
            "Lower embedding_dim or hidden_dim, or raise the limit.",
        )
        return train_mult_vae(self, data, run, valid, functools.partial(_build_model, self))


def _build_model(settings: MultVAE, weights: dict[str, NDArray[Any]]) -> "MultVAEModel":
    """The model of the weights of the network, which are taken out of the dictionary."""
    for name in ("log_variance.weight", "log_variance.bias"):
        del weights[name]
    items = np.column_stack([weights.pop("items.weight"), weights.pop("items.bias")])
    return MultVAEModel(settings, weights.pop("first.weight"), items, weights)


@dataclasses.dataclass(frozen=True, eq=False)
class MultVAEModel:
    """A fitted `MultVAE`.

    Attributes:
        settings: settings of the fit.
        first: (N, H) first layer of the encoder, hidden_dim wide, or less with the weight "expand.weight" (hidden_dim, H).
        items: (N, D + 1) float32 last layer of the decoder, the bias last.
        weights: of the other layers, by name: arrays, or matrices in codes.
    """

    settings: MultVAE
    first: Annotated[Float32Array, ArrayShape("N", "H")]
    items: Annotated[Float32Array, ArrayShape("N", "D + 1")]
    weights: Mapping[str, Any]

    def check_state(self) -> None:
        """Raise DataError unless the weights have the sizes of the settings."""
        hidden, decoder, width = self.settings.hidden_dim, self.settings.decoder_dim, self.items.shape[1] - 1
        # Without a layer between them, the latent vector is as wide as the items, which a compression may have cut.
        D = self.settings.embedding_dim if decoder else min(width, self.settings.embedding_dim)
        shapes: dict[str, tuple[int, ...]] = {
            "items": (self.n_items, (decoder or D) + 1),
            "first": (self.n_items, self.first.shape[1] if "expand.weight" in self.weights else hidden),
            "first_bias": (hidden,),
            "mean.weight": (D, hidden),
            "mean.bias": (D,),
        }
        if "expand.weight" in self.weights:
            shapes["expand.weight"] = (hidden, self.first.shape[1])
        for i in range(self.settings.n_layers):
            shapes |= {f"norms.{i}.weight": (hidden,), f"norms.{i}.bias": (hidden,)}
        for i in range(self.settings.n_layers - 1):
            shapes |= {f"upper.{i}.weight": (hidden, hidden), f"upper.{i}.bias": (hidden,)}
        if decoder:
            shapes |= {"decoder_hidden.weight": (decoder, D), "decoder_hidden.bias": (decoder,)}
        check_array_shapes("MultVAEModel", {**self.weights, "first": self.first, "items": self.items}, shapes)

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return len(self.items)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D + 1) input of the decoder's last layer, the last cell 1 for the bias; zeros for an empty history."""
        x = self._compute_states(self.sum_history(queries))
        states = np.column_stack([x, np.ones(len(x), np.float32)]).astype(np.float32)
        states[np.diff(queries.history.indptr) == 0] = 0
        return states

    def sum_history(self, queries: Queries) -> Float32Array:
        """(B, H) sum of the first layer over the items of each history, divided by the root of their number."""
        history = queries.history.copy()
        lengths = np.diff(history.indptr)
        history.data = np.repeat(np.maximum(lengths, 1) ** np.float32(-0.5), lengths).astype(np.float32)
        return np.asarray(history @ self.first, np.float32)

    @functools.cached_property
    def _layers(self) -> NamedLayers:
        return NamedLayers(self.weights)

    def _compute_states(self, sums: Float32Array) -> Float32Array:
        """(B, D) input of the decoder's last layer, from the sums of the first layer of the encoder, which are overwritten."""
        layers = self._layers
        x = layers.multiply("expand.weight", sums) if "expand.weight" in self.weights else np.ascontiguousarray(sums)
        add_silu(x, layers["first_bias"])
        x = layers.apply_norm("norms.0", x)
        for i in range(self.settings.n_layers - 1):
            inner = layers.multiply(f"upper.{i}.weight", x)
            add_silu(inner, layers[f"upper.{i}.bias"])
            x = layers.apply_norm(f"norms.{i + 1}", x + inner)
        x = layers.apply_linear("mean", x)
        return np.tanh(layers.apply_linear("decoder_hidden", x)) if self.settings.decoder_dim else x

    def embed_items(self) -> Float32Array:
        """(N, D + 1) item vectors, the bias last."""
        return self.items

    @property
    def offset_columns(self) -> tuple[int, ...]:
        """The column of the bias."""
        return (self.items.shape[1] - 1,)

    def replace_items(self, vectors: Float32Array) -> "MultVAEModel":
        """The model with other item vectors (N, D + 1)."""
        return dataclasses.replace(self, items=vectors)

    def summarize(self) -> "MultVAEModel":
        """This model, which needs no sums over all rows."""
        return self

    def similarity_vectors(self) -> Float32Array:
        """(N, D) item vectors without the bias."""
        return self.items[:, :-1]

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
