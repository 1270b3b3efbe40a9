"""Settings, training and scoring shared by the graph models with user and item embeddings, without torch.

A model supplies the gradients of a step. Embeddings are initialized with the singular vectors of the normalized graph. A
user who was not in the fit gets a weighted sum of vectors of the items of the history.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated

import numpy as np
import scipy.sparse as sp

from leanrec.field_checks import ArrayShape
from leanrec.kernels.graph.propagation import BipartiteEdges, BipartiteGraph
from leanrec.kernels.graph.spectral import (
    inverse_power,
    normalize_adjacency,
    right_singular_vectors,
    scale_rows_and_columns,
    weighted_degrees,
)
from leanrec.kernels.sgd.adam import train_with_adam
from leanrec.kernels.sgd.contrastive import (
    normalize_rows,
    normalize_rows_backward,
    rescale_rows,
    rescale_rows_backward,
    sampled_softmax,
)
from leanrec.kernels.sparse import dot_scores
from leanrec.kernels.weighting import weight_interactions
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array, Queries

__all__ = [
    "GraphTraining",
    "GraphVectors",
    "Step",
    "build_user_item_graph",
    "edge_softmax",
    "explain_fold_in",
    "fit_fold_in_map",
    "fold_in",
    "spectral_init",
    "train_arrays",
]

Step = Callable[[], tuple[float, Mapping[str, Float32Array]]]

# Ridge of the fold-in map, relative to the mean of the diagonal.
_RIDGE = 1e-3
# Share of the steps with a rising learning rate.
_WARMUP = 0.05


@dataclasses.dataclass(frozen=True)
class GraphTraining:
    """Settings shared by the models of user and item embeddings on a graph."""

    embedding_dim: int = setting(64, at_least=1, search="16,32,64,128", doc="D, dimension of the embeddings.")
    epochs: int = setting(24, at_least=1, doc="Number of passes over the users.")
    batch_size: int = setting(8192, at_least=0, doc="Users in a step; 0 = all users.")
    learning_rate: float = setting(
        0.02,
        above=0,
        search="0.002..0.2:log",
        doc="Peak learning rate of Adam, with linear warm-up over 5 % of the steps and cosine decay.",
    )
    weight_decay: float = setting(0.0, at_least=0, doc="Decoupled weight decay, in units of the learning rate.")
    n_negatives: int = setting(512, at_least=1, doc="Sampled negative items, shared by all users of a step.")
    n_init_iter: int = setting(
        4,
        at_least=0,
        doc="Iterations of the truncated SVD that initializes the embeddings; 0 = random initialization.",
    )
    weighting: str = setting(
        "log",
        one_of=("none", "binary", "log"),
        search="none,binary,log",
        doc="Transformation of the edge weights.",
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def history_exponent(self) -> float:
        """Exponent of the degree of a history: the embedding of a new user is divided by that power."""
        return 0.5

    def init_embeddings(self, X: CSR, rng: np.random.Generator) -> dict[str, Float32Array]:
        """Initial embeddings of "users" (U, D) and "items" (N, D)."""
        if self.n_init_iter:
            users, items = spectral_init(X, self.embedding_dim, self.n_init_iter, rng)
        else:
            users, items = (0.1 * rng.standard_normal((n, self.embedding_dim), dtype=np.float32) for n in X.shape)
        return {"users": users.astype(np.float32), "items": items.astype(np.float32)}

    def sample_batches(self, n_users: int, rng: np.random.Generator) -> list[Int64Array]:
        """The users of each step of an epoch, sorted within a step."""
        n_steps = -(-n_users // (self.batch_size or n_users))
        return [np.sort(users) for users in np.array_split(rng.permutation(n_users), n_steps)]

    def sample_negatives(self, n_items: int, rng: np.random.Generator) -> Int64Array:
        """The negative items of a step, all different."""
        return rng.choice(n_items, min(self.n_negatives, n_items), replace=False)

    def train(
        self, arrays: Mapping[str, Float32Array], batches: Callable[[np.random.Generator], Iterable[Step]], run: Run
    ) -> None:
        """Train ``arrays`` in place until the epochs or the time are over."""
        train_arrays(arrays, batches, self.epochs, self.learning_rate, self.weight_decay, run, type(self).__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class GraphVectors:
    """A fitted model of user and item embeddings.

    Attributes:
        settings: settings of the fit.
        users: (U, D) float32 embeddings of the training users; (0, D) where the model has none.
        items: (N, D) float32 item embeddings.
        sources: (N, D) float32 vectors whose weighted sum over a history is the embedding of a new user.
    """

    settings: GraphTraining
    users: Annotated[Float32Array, ArrayShape("U", "D")]
    items: Annotated[Float32Array, ArrayShape("N", "D")]
    sources: Annotated[Float32Array, ArrayShape("N", "D")]

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return len(self.items)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D): trained embeddings of users with the history of the fit, else folded-in ones; zeros for an empty history."""
        settings = self.settings
        return _embed_or_fold_in(queries, self.users, self.sources, settings.weighting, settings.history_exponent())

    def embed_items(self) -> Float32Array:
        """(N, D) item vectors."""
        return self.items

    def summarize(self) -> "GraphVectors":
        """The model itself: a query needs nothing but the rows of its items and user."""
        return self

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """User embeddings · item embeddings: (B, N), or (B, K) for ``items``."""
        return dot_scores(self.embed_queries(queries), self.items, items)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """The items of the history, by what each adds to the score; for a new user these sum to the score."""
        settings = self.settings
        vectors, alpha = self.items[items], settings.history_exponent()
        return explain_fold_in(queries, self.sources, vectors, settings.weighting, alpha, top_k)


def train_arrays(
    arrays: Mapping[str, Float32Array],
    batches: Callable[[np.random.Generator], Iterable[Step]],
    epochs: int,
    learning_rate: float,
    weight_decay: float,
    run: Run,
    name: str,
) -> None:
    """Train ``arrays`` in place with Adam, until the epochs or the time are over."""
    train_with_adam(
        arrays,
        run.track(range(epochs), name),
        batches,
        n_epochs=epochs,
        learning_rate=learning_rate,
        warmup=_WARMUP,
        weight_decay=weight_decay,
        seed=run.seed,
        should_stop=run.out_of_time,
    )


def build_user_item_graph(X: CSR, alpha: float) -> BipartiteGraph:
    """The graph normalized by degrees: those of users to the power ``alpha``, those of items to ½."""
    of_users, of_items = weighted_degrees(X)
    return BipartiteGraph.from_matrix(
        scale_rows_and_columns(X, inverse_power(of_users, alpha), inverse_power(of_items, 0.5))
    )


def edge_softmax(
    edges: BipartiteEdges,
    of_users: Float32Array,
    of_items: Float32Array,
    users: Int64Array,
    negatives: Int64Array,
    *,
    temperature: float,
    length_exponent: float,
    norm_exponent: float = 0.0,
) -> tuple[float, Float32Array, Float32Array]:
    """Sampled softmax loss of the edges against shared negatives, and its gradients by all embeddings.

    A score is the cosine times the norm of the item to the power ``norm_exponent``, divided by ``temperature``.

    Args:
        edges: positive edges, a row for each of ``users``.
        of_users: (U, D) embeddings of all users.
        of_items: (N, D) embeddings of all items.
        users: the users of the step.
        negatives: sampled negative items.
        temperature: divisor of the scores.
        length_exponent: exponent of the length of a history by which the loss of its user is divided.
        norm_exponent: exponent of the norm of an item in its score; 0 = cosine.
    """
    rows, row_norms = normalize_rows(of_users[users])
    unit, lengths = normalize_rows(of_items)
    scale = float(1 / np.mean(lengths**norm_exponent))
    columns = rescale_rows(unit, lengths, norm_exponent, scale)
    counts, inverse_temperature = edges.row_counts, np.float32(1 / temperature)
    weights = (np.maximum(counts, 1) ** -length_exponent).astype(np.float32)
    weights /= max(1.0, float(weights @ counts))
    log_q = np.full(len(negatives), np.log(len(negatives) / len(columns)), np.float32)
    found = sampled_softmax(edges, inverse_temperature * rows, columns, negatives, log_q, weights)
    d_users = np.zeros_like(of_users)
    d_users[users] = normalize_rows_backward(inverse_temperature * found.rows, rows, row_norms)
    return found.loss, d_users, rescale_rows_backward(found.columns, unit, lengths, norm_exponent, scale)


def _history_weights(history: CSR, weighting: str, alpha: float) -> CSR:
    """(B, N) weights of the items of a history in the embedding of its user: w · (Σ w)^−alpha."""
    X = weight_interactions(history, weighting)
    degree = np.asarray(X.sum(axis=1), dtype=np.float64).reshape(-1)
    scale = np.repeat(inverse_power(degree, alpha), np.diff(X.indptr))
    return sp.csr_array(((X.data * scale).astype(np.float32), X.indices, X.indptr), shape=X.shape)


def fold_in(history: CSR, sources: Float32Array, weighting: str, alpha: float) -> Float32Array:
    """(B, D): the weighted sum of the ``sources`` (N, D) of a history. O(L · D) each."""
    return np.asarray(_history_weights(history, weighting, alpha) @ sources, dtype=np.float32)


def _embed_or_fold_in(
    queries: Queries, users: Float32Array, sources: Float32Array, weighting: str, alpha: float
) -> Float32Array:
    """(B, D): ``users`` (U, D) for users with the history of the fit, folded in for others; zeros for an empty history.

    All are folded in where ``users`` is empty (0, D).
    """
    out = np.zeros((len(queries), sources.shape[1]), np.float32)
    has_history = np.diff(queries.history.indptr) > 0
    rows = queries.trained_users
    is_trained = (rows >= 0) & (len(users) > 0)
    known, new = np.flatnonzero(has_history & is_trained), np.flatnonzero(has_history & ~is_trained)
    out[known] = users[rows[known]]
    if len(new):
        history = queries.history if len(new) == len(queries) else queries.history[new]
        out[new] = fold_in(history, sources, weighting, alpha)
    return out


def fit_fold_in_map(folded: Float32Array, trained: Float32Array) -> Float32Array:
    """(D, D) matrix M that minimizes |folded · M − trained|² over all users, with a small ridge.

    It carries the mean effect of training, beyond the sum over the history, to users who were not in the fit.
    """
    gram = folded.T.astype(np.float64) @ folded
    scale = float(np.trace(gram)) / max(1, len(gram))
    if scale == 0:
        return np.eye(len(gram), dtype=np.float32)
    gram[np.diag_indices_from(gram)] += _RIDGE * scale
    wanted = folded.T.astype(np.float64) @ trained + _RIDGE * scale * np.eye(len(gram))
    return np.linalg.solve(gram, wanted).astype(np.float32)


def explain_fold_in(
    queries: Queries, sources: Float32Array, items: Float32Array, weighting: str, alpha: float, top_k: int | None
) -> list[Explanation]:
    """Contribution of each item of one history to its scores with the item embeddings ``items`` (K, D)."""
    history = _history_weights(queries.history, weighting, alpha)
    added = history.data * (items @ sources[history.indices].T)
    return rank_contributions(history.indices, added, top_k=top_k)


def spectral_init(
    X: CSR, embedding_dim: int, n_iter: int, rng: np.random.Generator, *, size: float = 0.1, noise: float = 0.01
) -> tuple[Float32Array, Float32Array]:
    """Initial embeddings of rows (U, D) and columns (N, D): singular vectors of the normalized matrix.

    Both sides are scaled by the square roots of the singular values, so that their product is the best approximation of
    rank D. Entries are about ``size`` along the first direction; a little noise reaches nodes without an edge, and fills
    dimensions beyond min(U, N). O(n_iter · (E · D + N · D²)).
    """
    R = normalize_adjacency(X)
    V, strengths = right_singular_vectors(R, sp.csr_array(R.T), embedding_dim, n_iter, rng)
    root = np.sqrt(strengths).astype(np.float32)
    is_positive = root > 1e-4
    inverse = np.zeros_like(root)
    inverse[is_positive] = 1 / root[is_positive]
    scale = np.float32(size * np.sqrt(X.shape[1]))
    columns = np.float32(noise) * rng.standard_normal((X.shape[1], embedding_dim), dtype=np.float32)
    rows = np.float32(noise) * rng.standard_normal((X.shape[0], embedding_dim), dtype=np.float32)
    rows[:, : V.shape[1]] += scale * BipartiteGraph.from_matrix(R).propagate_to_rows(V) * inverse
    columns[:, : V.shape[1]] += scale * V * root
    return rows, columns
