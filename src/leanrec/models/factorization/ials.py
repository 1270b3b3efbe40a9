"""iALS: implicit-feedback matrix factorization by alternating least squares.

Hu, Koren & Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008, with the loss of
Rendle, Krichene, Zhang & Koren, "Revisiting the Performance of iALS on Item Recommendation Benchmarks", RecSys 2022, and
the frequency-scaled ridge of Zhou, Wilkinson, Schreiber & Pan, "Large-Scale Parallel Collaborative Filtering for the
Netflix Prize", AAIM 2008: one setting then fits catalogs of very different size. The block solver follows Rendle,
Krichene, Zhang & Koren, "iALS++: Speeding up Matrix Factorization with Subspace Optimization", 2021. Over-relaxation
follows Young, "Iterative Methods for Solving Partial Difference Equations of Elliptic Type", Trans. AMS 76, 1954.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import scipy.sparse as sp

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.errors import DataError
from leanrec.field_checks import ArrayShape
from leanrec.finiteness import require_finite
from leanrec.kernels.solvers.least_squares import principal_axes, solve_rows, solve_rows_bytes
from leanrec.kernels.sparse import dot_scores
from leanrec.kernels.threads import run_in_threads, single_threaded_blas
from leanrec.kernels.weighting import weight_interactions
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Queries

__all__ = ["IALS", "IALSModel"]

# Rows that a thread takes at a time.
_BLOCK = 4096


@dataclasses.dataclass(frozen=True)
class IALS:
    """User and item embeddings w, v whose dot product is near 1 for interactions and near 0 elsewhere.

    The loss, with c the weighted interaction, n_u and n_i the numbers of interactions of user and item:

        Σ_observed c (w·v − 1)² + unobserved_weight · Σ_all (w·v)²
            + l2 · (Σ_u n_u^l2_exponent |w|² + Σ_i n_i^l2_exponent |v|²)

    The embedding of a query user is solved from the history by the same equations as in the fit, so that only item
    embeddings are kept and a new user needs no refit. Both sides are rotated so that their Gram matrix is diagonal, which
    changes no dot product: the sum over all pairs is then a diagonal term, and a user with L items costs a system of size
    min(L, D).

    Alternating minimization converges slowly, so that each embedding moves ``relaxation`` times the distance to its
    solution (over-relaxation). The loss is quadratic in one embedding, and a step r leaves (1 − r)² of the possible
    decrease: no step below 2 raises the loss, and on Gowalla half the epochs reach the same quality.

    When to use: large catalogs and implicit feedback.

    Cost: an epoch O(Σ n · D · min(n, D) + (U + N) · D² + D³) time over the rows of n interactions on both sides, or
    O(E · D + (U + N) · D² + D³) by conjugate gradients; memory 16 D (U + N) bytes and two weighted copies of the data.
    A query O(L · D · min(L, D)) to solve plus O(N · D) to score; the model 4 N · D bytes.
    """

    VARIANTS: ClassVar[tuple[Mapping[str, Any], ...]] = ({"embedding_dim": 16}, {"embedding_dim": 128})

    embedding_dim: int = setting(64, at_least=1, search="16,32,64,128", doc="D, dimension of the embeddings.")
    l2: float = setting(0.5, above=0, search="0.005..50:log", doc="Ridge strength.")
    unobserved_weight: float = setting(
        0.05,
        above=0,
        search="0.00167..1.5:log",
        doc="Weight of all pairs, relative to 1 for an observed one.",
    )
    l2_exponent: float = setting(
        0.5,
        between=(0, 1),
        search="0..1",
        doc="Exponent of the number of interactions in the ridge of a user or item: 0 = the same ridge for all.",
    )
    weighting: str = setting(
        "log",
        one_of=("none", "binary", "log"),
        search="none,binary,log",
        doc="Transformation of interaction weights.",
    )
    epochs: int = setting(8, at_least=1, doc="Number of passes over users and items.")
    solver: str = setting(
        "auto",
        one_of=("auto", "cholesky", "cg", "blocks"),
        doc=(
            '"cholesky" is exact. The others start from the embeddings of the last epoch where the exact system is large: '
            '"cg" takes three steps of conjugate gradients where both embedding_dim and the interactions of a row exceed '
            '16, "blocks" solves blocks of 32 coordinates where both exceed 128. "auto" is "cg".'
        ),
    )
    relaxation: float = setting(
        1.6,
        between=(1, 1.99),
        doc=(
            "Step towards the solution in all epochs but the last: 1 = the solution, above 1 = over-relaxation. "
            '"blocks" ignores it.'
        ),
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Embeddings of both sides with the copies of a pass, weighted copies of the data, and work space."""
        rows = shape.users + shape.items
        vectors = 16 * (self.embedding_dim + 15) * rows
        threads, longest = Run().n_threads(), max(shape.users, shape.items)
        working = solve_rows_bytes(self.embedding_dim, longest, threads) + 40 * self.embedding_dim**2
        return vectors + 60 * shape.events + 48 * rows + working + 2**20

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "IALSModel":
        """Alternate between users and items. The epoch in which the time of ``run`` ends is the last."""
        run.require_memory(
            self.fit_bytes(data.shape),
            f"iALS with {self.embedding_dim} dimensions",
            "Lower embedding_dim or raise the limit.",
        )
        with run.limit_threads():
            X = self._prepare_weights(data.interactions)
            Xt = sp.csr_array(X.T)
            ridge_users, ridge_items = self._ridge(X), self._ridge(Xt)
            rng = run.rng()
            V, W = _init_embeddings(rng, Xt, self.embedding_dim), _init_embeddings(rng, X, self.embedding_dim)
            for epoch in run.track(range(self.epochs), "iALS"):
                last = epoch == self.epochs - 1
                W, V = self._solve_side(X, V, ridge_users, W, 1.0 if last else self.relaxation)
                last = last or run.out_of_time()
                V, W = self._solve_side(Xt, W, ridge_items, V, 1.0 if last else self.relaxation)
                if last:
                    break
            return IALSModel(settings=self, items=V @ principal_axes(V)[0])

    def _prepare_weights(self, matrix: CSR) -> CSR:
        """A weighted copy without duplicates and zeros. Raises DataError for a negative or non-finite weight."""
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        if matrix.nnz and not (matrix.data.min() > 0 and np.isfinite(matrix.data.max())):
            wrong = matrix.data[~((matrix.data >= 0) & np.isfinite(matrix.data))]
            if len(wrong):
                raise DataError(f"Weights of interactions must be finite numbers of at least 0. Got {wrong[0]}.")
            matrix = matrix.copy()
            matrix.eliminate_zeros()
        return weight_interactions(matrix, self.weighting)

    def _ridge(self, rows: CSR) -> Float32Array:
        """The ridge of each row: l2 · entries^l2_exponent."""
        entries = np.maximum(np.diff(rows.indptr), 1)
        return np.asarray(self.l2 * entries**self.l2_exponent, dtype=np.float32)

    def _solve_side(
        self, rows: CSR, V: Float32Array, ridge: Float32Array, start: Float32Array, step: float
    ) -> tuple[Float32Array, Float32Array]:
        """Embeddings of the rows, ``step`` times the way from ``start`` to the solution, and V; both rotated to the axes of V."""
        with single_threaded_blas():
            axes, moments = principal_axes(V)
        V, base = _rotate(V, axes), np.float32(self.unobserved_weight) * moments
        start = _rotate(start, axes)
        how = {"cholesky": {}, "blocks": {"block_size": 32}}.get(self.solver, {"cg_steps": 3})
        solved = solve_rows(rows, V, base, ridge, start, **how)
        # A pass over blocks does not end at the minimum along its direction, so over-relaxation could raise the loss.
        if step != 1 and self.solver != "blocks":
            _over_relax(solved, start, step)
        return solved, V


@dataclasses.dataclass(frozen=True, eq=False)
class IALSModel:
    """A fitted `IALS`.

    Attributes:
        settings: settings of the fit.
        items: (N, D) float32 item embeddings with a diagonal Gram matrix.
        moments: (D,) float32 diagonal of the Gram matrix, for a model that holds only some of the items; None = of ``items``.
    """

    settings: IALS
    items: Annotated[Float32Array, ArrayShape("N", "D")]
    moments: Annotated[Float32Array | None, ArrayShape("D")] = None

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return len(self.items)

    @functools.cached_property
    def _base(self) -> Float32Array:
        """(D,) diagonal term of all pairs in the equations of a user."""
        moments = _sum_squares(self.items) if self.moments is None else self.moments
        return np.asarray(self.settings.unobserved_weight * moments, dtype=np.float32)

    def summarize(self) -> "IALSModel":
        """The model with its moments, so that it may be left with the rows of some items."""
        return dataclasses.replace(self, moments=_sum_squares(self.items)) if self.moments is None else self

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D) user embeddings, solved from the histories; zeros for an empty one."""
        history = self.settings._prepare_weights(queries.history)
        return solve_rows(history, self.items, self._base, self.settings._ridge(history))

    def embed_items(self) -> Float32Array:
        """(N, D) item vectors."""
        return self.items

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """User embeddings · item embeddings: (B, N), or (B, K) for ``items``."""
        return dot_scores(self.embed_queries(queries), self.items, items)

    def update(self, data: Dataset, changed: Int32Array | None = None, run: Run = Run()) -> "IALSModel":
        """The model whose item embeddings solve their equations exactly, given the embeddings of the users of ``data``.

        It is the item half of an epoch, for all items or for those of ``changed``; a user is solved from the history in any
        case. O(Σ n · D · min(n, D)) over all users and these items.
        """
        V = np.zeros((data.interactions.shape[1], self.items.shape[1]), np.float32)
        V[: len(self.items)] = self.items
        V[slice(None) if changed is None else changed] = self.solve_items(data, changed, run)
        with run.limit_threads():
            return dataclasses.replace(self, items=V @ principal_axes(V)[0], moments=None)

    def solve_items(self, data: Dataset, changed: Int32Array | None = None, run: Run = Run()) -> Float32Array:
        """(C, D) embeddings of all items of ``data``, or of ``changed``, in the axes of this model, as ``update`` solves them."""
        settings = self.settings
        with run.limit_threads():
            X = settings._prepare_weights(data.interactions)
            V = np.zeros((X.shape[1], self.items.shape[1]), np.float32)
            V[: len(self.items)] = self.items
            W = solve_rows(X, V, self._base, settings._ridge(X))
            axes, moments = principal_axes(W)
            rows = sp.csr_array(X.T)
            rows = rows if changed is None else rows[changed]
            base = np.float32(settings.unobserved_weight) * moments
            # Solved where the Gram matrix of the users is diagonal, and turned back.
            return solve_rows(rows, _rotate(W, axes), base, settings._ridge(rows)) @ np.ascontiguousarray(axes.T)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """The items of the history and their contributions c · vᵀ A⁻¹ v, A the system of the user, which is solved once."""
        history = self.settings._prepare_weights(queries.history)
        V = self.items[history.indices]
        A = np.diag(self._base + self.settings._ridge(history)[0]) + (V.T * history.data) @ V
        added = history.data * (np.linalg.solve(A, self.items[items].T).T @ V.T)
        return rank_contributions(history.indices, added, top_k=top_k)


def _sum_squares(V: Float32Array) -> Float32Array:
    """(D,) diagonal of VᵀV."""
    return np.asarray(np.einsum("nd,nd->d", V, V, dtype=np.float64), np.float32)


def _init_embeddings(rng: np.random.Generator, rows: CSR, embedding_dim: int) -> Float32Array:
    """Random embeddings with dot products near 0.1² / √D; zeros, their solution, for rows without entries."""
    embeddings = rng.standard_normal((rows.shape[0], embedding_dim), dtype=np.float32) * np.float32(
        0.1 / np.sqrt(embedding_dim)
    )
    embeddings[np.diff(rows.indptr) == 0] = 0
    return np.asarray(embeddings, dtype=np.float32)


def _rotate(V: Float32Array, axes: Float32Array) -> Float32Array:
    """V · axes in blocks of rows on threads of ``run_in_threads``: those of BLAS keep the other cores busy while they wait."""
    out = np.empty_like(V)

    def rotate(block: slice) -> None:
        np.matmul(V[block], axes, out=out[block])

    run_in_threads(rotate, [slice(start, start + _BLOCK) for start in range(0, len(V), _BLOCK)])
    return out


def _over_relax(ends: Float32Array, starts: Float32Array, step: float) -> None:
    """Move ``ends`` in place to ``step`` times their distance from ``starts``, which are overwritten."""
    further = np.float32(step - 1)

    def move(block: slice) -> None:
        starts[block] -= ends[block]
        starts[block] *= -further
        ends[block] += starts[block]

    run_in_threads(move, [slice(start, start + _BLOCK) for start in range(0, len(ends), _BLOCK)])
