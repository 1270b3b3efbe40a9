"""ELSA: an item-item autoencoder of low rank, with item vectors of length 1, dense or sparse.

Vančura, Alves, Kasalický & Kordík, "Scalable Linear Shallow Autoencoder for Collaborative Filtering", RecSys 2022; with
sparse vectors: "Compressed ELSA", WWW 2026.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import scipy.sparse as sp

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.field_checks import ArrayShape
from leanrec.finiteness import require_finite
from leanrec.kernels.graph.spectral import right_singular_vectors, singular_vectors_bytes
from leanrec.kernels.sgd.adam import train_with_adam
from leanrec.kernels.sgd.contrastive import normalize_rows, normalize_rows_backward
from leanrec.kernels.sparse import dot_scores
from leanrec.kernels.weighting import weight_interactions
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Queries, compact_indices

__all__ = ["ELSA", "ELSAModel"]

# Share of the steps with a rising learning rate.
_WARMUP = 0.05
# Iterations for the singular vectors that training starts from.
_INIT_ITERATIONS = 3
# Each stage of the pruning keeps this share of the entries of the one before, or more.
_KEPT = 0.5
# Least square of the norm of a prediction, as a share of that of the history: below, float32 has only rounding errors.
_LEAST_SQUARE = 1e-6


@dataclasses.dataclass(frozen=True)
class ELSA:
    """Scores x (A Aᵀ − I) for a history x, where the rows of A have length 1, so that no item has a weight on itself.

    The loss of a user is |x / |x| − y / |y||², where y are the scores. Norms and products of y follow from the D × D matrix
    AᵀA, so that no score of the fit is computed. Training starts from singular vectors of the interactions: from random ones
    ten times the steps are needed. The scores of a fitted model leave out −x: it lowers only those of items of the history,
    which a list leaves out.

    With ``n_nonzeros`` each row of A keeps its largest entries only. Their number falls exponentially, in stages of as many
    epochs each; every stage starts Adam and its schedule again. Cutting a trained matrix at once loses far more.

    When to use: as `EASE`, for catalogs too large for an N × N matrix, in a model of item vectors; with ``n_nonzeros``, for few bytes per item.

    Cost: fit O(epochs · (E · D + (U + N · U / batch_size) · D²)) time and 52 N · D bytes; a query O(L · D + N · D), or
    O((L + N) · n_nonzeros); the model 4 N · D bytes, or 8 N · n_nonzeros.
    """

    VARIANTS: ClassVar[tuple[Mapping[str, Any], ...]] = ({"embedding_dim": 64},)

    embedding_dim: int = setting(
        256, at_least=1, search="64,128,256,512", doc="D, number of columns of A; at most min(U, N)."
    )
    n_nonzeros: int = setting(
        0,
        at_least=0,
        doc="Number of entries of each row of A that are kept; more columns, such as 512, then serve better. 0 = all.",
    )
    epochs: int = setting(
        20, at_least=1, doc="Number of passes over the users; with n_nonzeros, at least one in a stage."
    )
    batch_size: int = setting(1024, at_least=0, doc="Users in a step; 0 = all users.")
    learning_rate: float = setting(
        0.01,
        above=0,
        search="0.001..0.1:log",
        doc="Peak learning rate of Adam, with linear warm-up over 5 % of the steps and cosine decay.",
    )
    weighting: str = setting(
        "log",
        one_of=("none", "binary", "log"),
        search="none,binary,log",
        doc="Transformation of interaction weights.",
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """The matrix, its gradient and the moments of Adam with their copies; a batch; and copies of the data."""
        D = min(self.embedding_dim, shape.users, shape.items)
        rows = min(self.batch_size or shape.users, shape.users)
        training = 4 * D * (12 * shape.items + 6 * rows + 4 * D)
        start = singular_vectors_bytes(shape.users, shape.items, D)
        return max(training, start) + 4 * D * shape.items + 60 * shape.events + 2**24

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "ELSAModel":
        """Train the vectors. The result depends on ``run.seed``; training ends early when the time is over."""
        run.require_memory(
            self.fit_bytes(data.shape),
            f"ELSA with {self.embedding_dim} dimensions",
            "Lower embedding_dim or raise the limit.",
        )
        with run.limit_threads():
            X = weight_interactions(data.interactions, self.weighting)
            # An item without interactions has the vector 0, and a user without any has no loss.
            known = np.flatnonzero(np.bincount(X.indices, minlength=X.shape[1]))
            X = sp.csr_array(X[np.flatnonzero(np.diff(X.indptr))][:, known])
            trained = self._train(X, run)
            vectors = np.zeros((len(data.items), trained.shape[1]), np.float32)
            vectors[known] = trained
            if self.n_nonzeros:
                return SparseELSAModel(settings=self, items=compact_indices(sp.csr_array(vectors)))
            return DenseELSAModel(settings=self, items=vectors)

    def _train(self, X: CSR, run: Run) -> Float32Array:
        """(N, D) vectors of length 1."""
        vectors, singular = right_singular_vectors(
            X, sp.csr_array(X.T), self.embedding_dim, _INIT_ITERATIONS, run.rng()
        )
        weights = np.ascontiguousarray(vectors * np.sqrt(singular), dtype=np.float32)
        sizes = self._plan_stages(weights.shape[1])
        for size in sizes if X.nnz else ():
            kept = _find_largest(weights, size) if size < weights.shape[1] else None
            weights, _ = normalize_rows(weights if kept is None else weights * kept)
            epochs = max(1, self.epochs // len(sizes))
            train_with_adam(
                {"items": weights},
                run.track(range(epochs), "ELSA"),
                functools.partial(self._make_batches, X, weights, kept),
                n_epochs=epochs,
                learning_rate=self.learning_rate,
                warmup=_WARMUP,
                weight_decay=0.0,
                seed=run.seed,
                should_stop=run.out_of_time,
            )
        return normalize_rows(weights)[0]

    def _plan_stages(self, width: int) -> list[int]:
        """Entries of a row of A in each stage: all, then exponentially fewer down to ``n_nonzeros``."""
        first, last = width, self.n_nonzeros or width
        if last >= first:
            return [first]
        n_cuts = math.ceil(math.log(last / first) / math.log(_KEPT))
        return [round(first * (last / first) ** (cut / n_cuts)) for cut in range(n_cuts + 1)]

    def _make_batches(
        self, X: CSR, weights: Float32Array, kept: Float32Array | None, rng: np.random.Generator
    ) -> Iterator[functools.partial[tuple[float, Mapping[str, Float32Array]]]]:
        """The steps of an epoch."""
        n_steps = -(-X.shape[0] // (self.batch_size or X.shape[0]))
        for users in np.array_split(rng.permutation(X.shape[0]), n_steps):
            yield functools.partial(_compute_step, X, np.sort(users), weights, kept)


@dataclasses.dataclass(frozen=True, eq=False)
class ELSAModel:
    """A fitted `ELSA`: one with dense vectors, whose score is a dot product, or one with sparse vectors.

    Attributes:
        settings: settings of the fit.
        items: (N, D) float32 rows of length 1, CSR if ``n_nonzeros`` is set; the row of an item without interactions is 0.
    """

    settings: ELSA
    items: Annotated[Float32Array | CSR, ArrayShape("N", "D")]

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return int(self.items.shape[0])

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """History · A Aᵀ: (B, N), or (B, K) for ``items``."""
        raise NotImplementedError

    def update(self, data: Dataset, changed: Int32Array | None = None, run: Run = Run()) -> "ELSAModel":  # noqa: ARG002 - each vector depends on all items
        """The model of a fit on ``data``, at the cost of a fit."""
        return self.settings.fit(data, run)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """The items of the history and their contributions to the score."""
        history = weight_interactions(queries.history, self.settings.weighting)
        products = self.items[items] @ self.items[history.indices].T
        added = history.data * (products if isinstance(products, np.ndarray) else products.toarray())
        return rank_contributions(history.indices, added, top_k=top_k)


@dataclasses.dataclass(frozen=True, eq=False)
class DenseELSAModel(ELSAModel):
    """A fitted `ELSA` with dense vectors."""

    items: Annotated[Float32Array, ArrayShape("N", "D")]

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D): the projected histories."""
        history = weight_interactions(queries.history, self.settings.weighting)
        return np.asarray(history @ self.items, dtype=np.float32)

    def embed_items(self) -> Float32Array:
        """(N, D) item vectors."""
        return self.items

    def summarize(self) -> "DenseELSAModel":
        """The model itself: a query needs nothing but the rows of its items."""
        return self

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """History · A Aᵀ: (B, N), or (B, K) for ``items``."""
        return dot_scores(self.embed_queries(queries), self.items, items)


@dataclasses.dataclass(frozen=True, eq=False)
class SparseELSAModel(ELSAModel):
    """A fitted `ELSA` with sparse vectors."""

    items: Annotated[CSR, ArrayShape("N", "D")]

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """History · A Aᵀ: (B, N), or (B, K) for ``items``. O(B · n_nonzeros) for each item that is scored."""
        history = weight_interactions(queries.history, self.settings.weighting)
        projected = (history @ self.items).toarray()
        if items is None or np.ndim(items) == 1:
            rows = self.items if items is None else self.items[items]
            return np.ascontiguousarray((rows @ projected.T).T, dtype=np.float32)
        found = [self.items[chosen] @ query for chosen, query in zip(items, projected, strict=True)]
        return np.asarray(found, dtype=np.float32).reshape(items.shape)


def _find_largest(weights: Float32Array, size: int) -> Float32Array:
    """(N, D) 1 at the ``size`` largest entries of each row by magnitude, and 0 elsewhere."""
    kept = np.zeros_like(weights)
    np.put_along_axis(kept, np.argpartition(-np.abs(weights), size - 1, axis=1)[:, :size], 1, axis=1)
    return kept


def _compute_step(
    X: CSR, users: np.ndarray, weights: Float32Array, kept: Float32Array | None
) -> tuple[float, Mapping[str, Float32Array]]:
    """The mean loss of a batch of users, and its gradient by the rows of ``weights``, which need not have length 1."""
    unit, norms = normalize_rows(weights)
    loss, gradient = _compute_gradient(X[users], unit)
    gradient = normalize_rows_backward(gradient, unit, norms)
    return loss, {"items": gradient if kept is None else gradient * kept}


def _compute_gradient(X: CSR, A: Float32Array) -> tuple[float, Float32Array]:
    """The mean of |x / |x| − y / |y||² with y = x (A Aᵀ − I) over the rows of X (B, N), and its gradient by A (N, D).

    With p = x A: x · y = |p|² − |x|² and |y|² = p AᵀA p − 2 |p|² + |x|². The gradient by y is a x + b y for two numbers of
    each user, and y A = p (AᵀA − I). O(entries of X · D + (B + N) · D²) instead of O(B · N · D).
    """
    P = np.asarray(X @ A, dtype=np.float32)
    PG = P @ (A.T @ A)
    squares = np.asarray(X.multiply(X).sum(axis=1), np.float64).reshape(-1)
    of_p = np.einsum("bd,bd->b", P, P, dtype=np.float64)
    of_y = np.einsum("bd,bd->b", PG, P, dtype=np.float64) - 2 * of_p + squares
    of_y = np.maximum(of_y, _LEAST_SQUARE * squares)
    cosine = (of_p - squares) / np.sqrt(squares * of_y)
    by_x = (-2 / len(P) / np.sqrt(squares * of_y))[:, None].astype(np.float32)
    by_y = (2 / len(P) * cosine / of_y)[:, None].astype(np.float32)
    by_p = 2 * (by_x - by_y) * P + by_y * PG
    gradient = X.T @ by_p + A @ (P.T @ (by_y * P))
    return float(np.mean(2 - 2 * cosine)), np.asarray(gradient, dtype=np.float32)
