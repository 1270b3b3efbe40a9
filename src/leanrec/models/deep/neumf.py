"""NeuMF: generalized matrix factorization plus an MLP over user and item vectors.

He, Liao, Zhang, Nie, Hu & Chua, "Neural Collaborative Filtering", WWW 2017. User vectors are folded in from the
history by the equations of Hu, Koren & Volinsky, ICDM 2008, so that new users are served as those of the fit are.
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.errors import MissingExtraError
from leanrec.field_checks import ArrayShape, SharedSizes, check_array_shapes
from leanrec.finiteness import require_finite
from leanrec.kernels.layers.named_layers import NamedLayers
from leanrec.models.deep.core.fold_in import FoldIn, fold_in_bytes
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import setting
from leanrec.training.config import TrainingSettings
from leanrec.types import Float32Array, Int32Array, Queries

__all__ = ["NeuMF", "NeuMFModel"]

# Items of a history that are explained.
_MAX_EXPLAINED = 100
# Items per block at inference, so that the activations stay in the cache from layer to layer.
_BLOCK = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeuMF(TrainingSettings):
    """The score of a pair is the sum of a generalized matrix factorization (GMF) and an MLP.

        score(u, i) = g · (T p_u ∘ q_i) + out · MLP([p_u, q'_i]) + b_i

    The paper learns a vector per user, and pretrains GMF before the whole model. Here alternating least squares replace
    the pretraining, and p_u is solved from the history, so that new users are served as those of the fit are. Training
    starts from that factorization (T the identity, q_i its item vectors, the MLP adding zero) and continues with gradient
    descent: a random part of each user's items is masked, p_u is solved from the rest, and the masked items are predicted.

    The first layer of the MLP is the sum of a user part and an item part. A fitted model has the item parts and no vectors
    q'_i, so a query costs the upper layers only, and needs no torch.

    When to use: logs where a matrix factorization is nearly enough and a network on top of it may improve it.

    Cost: an epoch O((E + U · n_folds · n_negatives) · (D + Σ products of adjacent layer sizes) + U · n_folds · L · D ·
    min(L, D)); a query O(L · D · min(L, D) + N · (D + the same sum without the first layer)); the model
    4 N (2 D + hidden_sizes[0] + 1) bytes.
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
        users, which is then left out of training. Raises MissingExtraError without torch.
        """
        try:
            from leanrec.models.deep.core.networks.neumf import train_neumf  # noqa: PLC0415 - torch is optional
        except ImportError as error:
            raise MissingExtraError.from_import_error("The model 'neumf'", error) or error from error
        run.require_memory(
            self.fit_bytes(data.shape),
            f"NeuMF with embedding_dim={self.embedding_dim}",
            "Lower embedding_dim or batch_size, or raise the limit.",
        )
        return train_neumf(self, data, run, valid, functools.partial(_build_model, self))


def _build_model(settings: NeuMF, fold_in: FoldIn, weights: dict[str, NDArray[Any]]) -> "NeuMFModel":
    """The model of the weights of the network. What depends on the item alone is computed here, once."""
    D, vectors = settings.embedding_dim, weights.pop("items.weight")
    items = np.column_stack([vectors[:, :D] * weights.pop("product"), weights.pop("bias.weight")])
    hidden = vectors[:, D:] @ weights.pop("from_item.weight").T if settings.hidden_sizes else vectors[:, :0]
    return NeuMFModel(settings, fold_in, items, np.ascontiguousarray(hidden), weights)


@dataclasses.dataclass(frozen=True, eq=False)
class NeuMFModel:
    """A fitted `NeuMF`.

    Attributes:
        settings: settings of the fit.
        fold_in: computes the user vector of a history.
        items: (N, D + 1) float32 item vectors of GMF, the bias last.
        hidden: (N, H) float32 what each item adds to the first hidden layer, hidden_sizes[0] wide; H = 0 without an MLP.
        weights: of the layers by name: "size" (), the scale of user vectors, "rotation.weight" (D, D), and those of the MLP.
    """

    settings: NeuMF
    fold_in: Annotated[FoldIn, SharedSizes(N="N", D="D")]
    items: Annotated[Float32Array, ArrayShape("N", "D + 1")]
    hidden: Annotated[Float32Array, ArrayShape("N", "H")]
    weights: Mapping[str, NDArray[Any]]

    def check_state(self) -> None:
        """Raise DataError unless the weights have the sizes of the settings."""
        D, sizes = self.settings.embedding_dim, self.settings.hidden_sizes
        shapes: dict[str, tuple[int, ...]] = {"size": (), "rotation.weight": (D, D), "rotation.bias": (D,)}
        for i, (width, above) in enumerate(itertools.pairwise(sizes)):
            shapes |= {f"upper.{i}.weight": (above, width), f"upper.{i}.bias": (above,)}
        if sizes:
            shapes |= {"from_user.weight": (sizes[0], D), "from_user.bias": (sizes[0],), "out.weight": (1, sizes[-1])}
        shapes |= {"items": (self.n_items, D + 1), "hidden": (self.n_items, sizes[0] if sizes else 0)}
        check_array_shapes("NeuMFModel", {**self.weights, "items": self.items, "hidden": self.hidden}, shapes)

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return len(self.items)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """GMF + MLP: (B, N), or (B, K) for ``items``; zeros for an empty history."""
        scores = self.score_users(self.fold_in.encode(queries.history), items)
        scores[np.diff(queries.history.indptr) == 0] = 0
        return scores

    def score_users(self, users: Float32Array, items: Int32Array | None = None) -> Float32Array:
        """Scores of users given by their vectors (B, D): (B, N), or (B, K) for ``items`` (K,) or (B, K)."""
        layers, sizes = self._layers, self.settings.hidden_sizes
        rows = None if items is None else np.asarray(items)
        scores = np.empty((len(users), self.n_items if rows is None else rows.shape[-1]), np.float32)
        x = users * layers["size"]
        rotated = np.column_stack([layers.apply_linear("rotation", x), np.ones(len(x), np.float32)])
        parts = layers.apply_linear("from_user", x) if sizes else x
        for b in range(len(users)):
            chosen = rows if rows is None or rows.ndim == 1 else rows[b]
            for start in range(0, scores.shape[1], _BLOCK):
                block = slice(start, start + _BLOCK)
                take = block if chosen is None else chosen[block]
                scores[b, block] = self.items[take] @ rotated[b]
                if sizes:
                    scores[b, block] += self._apply_mlp(self.hidden[take] + parts[b])
        return scores

    @functools.cached_property
    def _layers(self) -> NamedLayers:
        return NamedLayers(self.weights)

    def _apply_mlp(self, x: Float32Array) -> Float32Array:
        """(R,) MLP scores from the sums of the first layer (R, hidden_sizes[0]), which are overwritten."""
        layers = self._layers
        np.maximum(x, 0, out=x)
        for i in range(len(self.settings.hidden_sizes) - 1):
            x = layers.apply_linear(f"upper.{i}", x)
            np.maximum(x, 0, out=x)
        scores: Float32Array = x @ layers["out.weight"][0]
        return scores

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """Items of the history by how much the scores of ``items`` drop without the contribution of each to the user vector.

        Of a long history, the 100 items with the largest contributions are explained. O(L · D² + 100 · K · MLP).
        """
        parts = self.fold_in.item_contributions(queries.history)
        whole = parts.sum(axis=0)
        largest = np.sort(np.argsort(-np.einsum("ld,ld->l", parts, parts), kind="stable")[:_MAX_EXPLAINED])
        scores = self.score_users(np.concatenate([whole[None], whole - parts[largest]]), items)
        return rank_contributions(queries.history.indices[largest], (scores[0] - scores[1:]).T, top_k=top_k)
