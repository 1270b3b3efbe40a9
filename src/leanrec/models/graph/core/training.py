"""Vectors over the graph of users and items: the training and the answers that graph models without torch share.

A model brings the gradients of a step. The vectors start from the graph's strongest directions, and whoever is not a
user of the fit gets the weighted sum of what the items of the history hand on.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import scipy.sparse as sp

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
    "bridge",
    "edge_softmax",
    "fold_in",
    "graph_of",
    "learn",
    "reasons",
    "spectral_start",
]

Step = Callable[[], tuple[float, Mapping[str, Float32Array]]]

_RIDGE = 1e-3
_WARMUP = 0.05


@dataclasses.dataclass(frozen=True)
class GraphTraining:
    """The settings that models of learnt user and item vectors have, under the same names."""

    embedding_dim: int = setting(64, at_least=1, search="16,32,64,128", doc="D, the length of the vectors.")
    epochs: int = setting(24, at_least=1, doc="Passes over the users.")
    batch_size: int = setting(8192, at_least=0, doc="Users in a step; 0 = all of them.")
    learning_rate: float = setting(
        0.02,
        above=0,
        search="0.002..0.2:log",
        doc="Of Adam, the highest; it rises over a twentieth of the steps and falls by a cosine.",
    )
    weight_decay: float = setting(0.0, at_least=0, doc="Decoupled, per step and in units of the learning rate.")
    n_negatives: int = setting(512, at_least=1, doc="Items that all users of a step are compared with.")
    n_init_iter: int = setting(
        4,
        at_least=0,
        doc="Rounds of the iteration that finds the graph's strongest directions; 0 = start from random numbers.",
    )
    weighting: str = setting(
        "log",
        one_of=("none", "binary", "log"),
        search="none,binary,log",
        doc='How much a repeated or stronger interaction counts in the graph: "binary", "log" or "none".',
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def power_of_histories(self) -> float:
        """The power of a history's summed weights by which an asker's vector is divided."""
        return 0.5

    def start(self, X: CSR, rng: np.random.Generator) -> dict[str, Float32Array]:
        """Vectors of "users" (U, D) and "items" (N, D) before the first step."""
        if self.n_init_iter:
            users, items = spectral_start(X, self.embedding_dim, self.n_init_iter, rng)
        else:
            users, items = (0.1 * rng.standard_normal((n, self.embedding_dim), dtype=np.float32) for n in X.shape)
        return {"users": users.astype(np.float32), "items": items.astype(np.float32)}

    def steps(self, users: int, rng: np.random.Generator) -> list[Int64Array]:
        """The users of each step of an epoch, in order of their rows."""
        order = rng.permutation(users)
        return [np.sort(part) for part in np.array_split(order, -(-users // (self.batch_size or users)))]

    def drawn(self, items: int, rng: np.random.Generator) -> Int64Array:
        """The negatives of a step."""
        return rng.choice(items, min(self.n_negatives, items), replace=False)

    def learn(
        self, arrays: Mapping[str, Float32Array], batches: Callable[[np.random.Generator], Iterable[Step]], run: Run
    ) -> None:
        """Change ``arrays`` in place until the epochs or the time are over."""
        learn(arrays, batches, self.epochs, self.learning_rate, self.weight_decay, run, type(self).__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class GraphVectors:
    """A fitted model of user and item vectors.

    Attributes:
        settings: what it was fitted with.
        users: (U, D) float32 the users of the fit; (0, D) where they have no vector of their own.
        items: (N, D) float32.
        sources: (N, D) float32 what an item of a history adds to the vector of its asker, by the weights of the graph.
    """

    settings: GraphTraining
    users: Float32Array
    items: Float32Array
    sources: Float32Array

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.items)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D): learnt vectors of known users where there are any, else sums over the history; zeros for an empty one."""
        settings = self.settings
        power = settings.power_of_histories()
        return _learnt_or_folded(queries, self.users, self.sources, settings.weighting, power)

    def embed_items(self) -> Float32Array:
        """(N, D)."""
        return self.items

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """User vectors · item vectors."""
        return dot_scores(self.embed_queries(queries), self.items, items)

    def explain(self, queries: Queries, item: int) -> Explanation:
        """The items of the history, by what each adds to the score; for a new user these sum to the score."""
        settings = self.settings
        return reasons(queries, self.sources, self.items[item], settings.weighting, settings.power_of_histories())


def learn(
    arrays: Mapping[str, Float32Array],
    batches: Callable[[np.random.Generator], Iterable[Step]],
    epochs: int,
    learning_rate: float,
    weight_decay: float,
    run: Run,
    name: str,
) -> None:
    """Change ``arrays`` in place by the gradients of each batch, until the epochs or the time are over."""
    bar = run.track(range(epochs), name)
    train_with_adam(
        arrays,
        bar,
        batches,
        of=epochs,
        learning_rate=learning_rate,
        warmup=_WARMUP,
        decay=weight_decay,
        seed=run.seed,
        enough=run.out_of_time,
    )


def graph_of(X: CSR, alpha: float) -> BipartiteGraph:
    """The graph normalised by degrees: users' to the power ``alpha``, items' to ½."""
    of_users, of_items = weighted_degrees(X)
    return BipartiteGraph.of(scale_rows_and_columns(X, inverse_power(of_users, alpha), inverse_power(of_items, 0.5)))


def edge_softmax(
    links: BipartiteEdges,
    of_users: Float32Array,
    of_items: Float32Array,
    users: Int64Array,
    negatives: Int64Array,
    *,
    temperature: float,
    balance: float,
    popularity: float = 0.0,
) -> tuple[float, Float32Array, Float32Array]:
    """The mean loss of telling each item of ``links`` from shared negatives, and its gradients by the vectors of all.

    A score is the cosine times the item's length to the power ``popularity``, over ``temperature``.

    Args:
        links: what has to be told: a row for each of ``users``.
        of_users: (U, D) vectors of all users.
        of_items: (N, D) vectors of all items.
        users: those of this step.
        negatives: the items they are compared with.
        temperature: scores are divided by it.
        balance: power of the length of a history by which its user's part is divided.
        popularity: see above.
    """
    rows, row_lengths = normalize_rows(of_users[users])
    unit, lengths = normalize_rows(of_items)
    scale = float(1 / np.mean(lengths**popularity))
    columns = rescale_rows(unit, lengths, popularity, scale)
    counts, sharp = links.counts, np.float32(1 / temperature)
    weights = (np.maximum(counts, 1) ** -balance).astype(np.float32)
    weights /= max(1.0, float(weights @ counts))
    log_q = np.full(len(negatives), np.log(len(negatives) / len(columns)), np.float32)
    found = sampled_softmax(links, sharp * rows, columns, negatives, log_q, weights)
    d_users = np.zeros_like(of_users)
    d_users[users] = normalize_rows_backward(sharp * found.rows, rows, row_lengths)
    return found.loss, d_users, rescale_rows_backward(found.columns, unit, lengths, popularity, scale)


def _history_weights(history: CSR, weighting: str, alpha: float) -> CSR:
    """(B, N) weights with which a user of the graph sums over neighbours: w · (Σ w)^−alpha."""
    X = weight_interactions(history, weighting)
    degree = np.asarray(X.sum(axis=1), dtype=np.float64).reshape(-1)
    scale = np.repeat(inverse_power(degree, alpha), np.diff(X.indptr))
    return sp.csr_array(((X.data * scale).astype(np.float32), X.indices, X.indptr), shape=X.shape)


def fold_in(history: CSR, sources: Float32Array, weighting: str, alpha: float) -> Float32Array:
    """(B, D): the weighted sum of the ``sources`` (N, D) of a history. O(L · D) each."""
    return np.asarray(_history_weights(history, weighting, alpha) @ sources, dtype=np.float32)


def _learnt_or_folded(
    queries: Queries, users: Float32Array, sources: Float32Array, weighting: str, alpha: float
) -> Float32Array:
    """(B, D): ``users`` (U, D) for known askers, folded in for others; zeros for an empty history.

    No ``users`` (0, D): all are folded in.
    """
    out = np.zeros((len(queries), sources.shape[1]), np.float32)
    some = np.diff(queries.history.indptr) > 0
    learnt = (queries.users >= 0) & (len(users) > 0)
    known, new = np.flatnonzero(some & learnt), np.flatnonzero(some & ~learnt)
    out[known] = users[queries.users[known]]
    if len(new):
        history = queries.history if len(new) == len(queries) else queries.history[new]
        out[new] = fold_in(history, sources, weighting, alpha)
    return out


def bridge(folded: Float32Array, learnt: Float32Array) -> Float32Array:
    """(D, D) M, so that folded · M is nearest to the learnt vectors over all users, by least squares with a small ridge.

    What a fit learns of a user beyond the sum over the history is unknown for others; M keeps its mean effect.
    """
    gram = folded.T.astype(np.float64) @ folded
    scale = float(np.trace(gram)) / max(1, len(gram))
    if scale == 0:
        return np.eye(len(gram), dtype=np.float32)
    gram[np.diag_indices_from(gram)] += _RIDGE * scale
    wanted = folded.T.astype(np.float64) @ learnt + _RIDGE * scale * np.eye(len(gram))
    return np.linalg.solve(gram, wanted).astype(np.float32)


def reasons(queries: Queries, sources: Float32Array, item: Float32Array, weighting: str, alpha: float) -> Explanation:
    """What each item of the history of the one asker adds to the folded-in score of the item of vector ``item`` (D,)."""
    history = _history_weights(queries.block(0, 1).history, weighting, alpha)
    added = history.data * (sources[history.indices] @ item)
    return rank_contributions(history.indices, added)


def spectral_start(
    X: CSR, width: int, passes: int, rng: np.random.Generator, *, size: float = 0.1, noise: float = 0.01
) -> tuple[Float32Array, Float32Array]:
    """Vectors of rows (U, D) and columns (N, D) to start from: the strongest directions of the normalised matrix.

    Each side carries the root of the singular values, so that their product is the best of rank D. Numbers are about
    ``size`` along the strongest; a little noise reaches what has no edge, and fills directions beyond min(U, N).
    O(passes · (E · D + N · D²)).
    """
    R = normalize_adjacency(X)
    V, strengths = right_singular_vectors(R, sp.csr_array(R.T), width, passes, rng)
    root = np.sqrt(strengths).astype(np.float32)
    there = root > 1e-4
    inverse = np.zeros_like(root)
    inverse[there] = 1 / root[there]
    scale = np.float32(size * np.sqrt(X.shape[1]))
    columns = np.float32(noise) * rng.standard_normal((X.shape[1], width), dtype=np.float32)
    rows = np.float32(noise) * rng.standard_normal((X.shape[0], width), dtype=np.float32)
    rows[:, : V.shape[1]] += scale * BipartiteGraph.of(R).to_rows(V) * inverse
    columns[:, : V.shape[1]] += scale * V * root
    return rows, columns
