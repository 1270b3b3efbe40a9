"""iALS: implicit-feedback factorisation by alternating least squares.

Hu, Koren & Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008, with the loss of
Rendle, Krichene, Zhang & Koren, "Revisiting the Performance of iALS on Item Recommendation Benchmarks", RecSys 2022, and
the frequency-scaled ridge of Zhou, Wilkinson, Schreiber & Pan, "Large-Scale Parallel Collaborative Filtering for the
Netflix Prize", AAIM 2008: one setting then fits catalogues of very different size. The block solver follows Rendle,
Krichene, Zhang & Koren, "iALS++: Speeding up Matrix Factorization with Subspace Optimization", 2021. Steps beyond the solution
are those of Young, "Iterative Methods for Solving Partial Difference Equations of Elliptic Type", Trans. AMS 76, 1954.
"""

import dataclasses
import functools
import typing
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.errors import DataError
from leanrec.kernels.solvers.least_squares import principal_axes, solve_rows, solve_rows_bytes
from leanrec.kernels.sparse import dot_scores
from leanrec.kernels.threads import run_in_threads, single_threaded_blas
from leanrec.kernels.weighting import weight_interactions
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Queries

__all__ = ["IALS", "IALSModel"]

_STRIP = 4096


@dataclasses.dataclass(frozen=True)
class IALS:
    """User and item vectors w, v whose dot product is 1 where there was an interaction and 0 elsewhere.

    The loss, with c the weighted interaction, n_u and n_i the numbers of interactions of user and item:

        Σ_observed c (w·v − 1)² + unobserved · Σ_all (w·v)²
            + l2 · (Σ_u n_u^scaling |w|² + Σ_i n_i^scaling |v|²)

    A user's vector is solved from the history when asked, by the same equations as in the fit, so only item
    vectors are kept and a new user needs no refit. Both sides are kept in the axes in which their Gram matrix is
    diagonal, which changes no product of two vectors: what all the pairs add to a user's equations is then a number
    for each coordinate, and a user with L items costs a system of size min(L, D).

    Alternating between two sides creeps: what one side may move is held back by the other. So each vector goes
    ``relaxation`` times the way to the solution of its equations. Its part of the loss is a square, which ``r`` times the way leaves
    (1 − r)² of what could be gained: no step below 2 raises the loss, and on Gowalla half the passes reach the same.

    Cost: an epoch O(Σ n · D · min(n, D) + (U + N) · D² + D³) time over the rows of n interactions on both sides, or
    O(E · D + (U + N) · D² + D³) by conjugate gradients; memory 16 D (U + N) bytes and two weighted copies of the data.
    A query O(L · D · min(L, D)) to solve plus O(N · D) to score; the model 4 N · D bytes.
    """

    VARIANTS: ClassVar[tuple[Mapping[str, Any], ...]] = ({"embedding_dim": 16}, {"embedding_dim": 128})

    embedding_dim: int = setting(64, at_least=1, search="16,32,64,128", doc="D, the length of a vector.")
    l2: float = setting(0.5, above=0, search="0.005..50:log", doc="Ridge strength.")
    unobserved_weight: float = setting(
        0.05,
        above=0,
        search="0.00167..1.5:log",
        doc="Weight of the pairs without an interaction, relative to 1 for an observed one.",
    )
    l2_exponent: float = setting(
        0.5,
        between=(0, 1),
        search="0..1",
        doc="1 = a ridge in proportion to how often user or item occur, 0 = the same for all.",
    )
    weighting: str = setting(
        "log",
        one_of=("none", "binary", "log"),
        search="none,binary,log",
        doc='How much a repeated or stronger interaction counts: "binary", "log" or "none".',
    )
    epochs: int = setting(8, at_least=1, doc="Passes over users and items.")
    solver: str = setting(
        "auto",
        one_of=("auto", "cholesky", "cg", "blocks"),
        doc=(
            '"cholesky" is exact. The others start from the vectors of the last epoch wherever the exact system would '
            'be large: "cg" takes three steps of conjugate gradients where both the width and the number of a row\'s '
            'interactions exceed 16, "blocks" solves 32 coordinates at a time where both exceed 128. "auto" is "cg".'
        ),
    )
    relaxation: float = setting(
        1.6,
        between=(1, 1.99),
        doc=(
            '1 = to the solution, above 1 and below 2 = beyond it, in all epochs but the last; "blocks" takes no such '
            "steps."
        ),
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Vectors of both sides with the copies that a pass makes, weighted copies of the data, and working space."""
        rows = shape.users + shape.items
        vectors = 16 * (self.embedding_dim + 15) * rows
        threads, longest = Run().n_threads(), max(shape.users, shape.items)
        working = solve_rows_bytes(self.embedding_dim, longest, threads) + 40 * self.embedding_dim**2
        return vectors + 60 * shape.events + 48 * rows + working + 2**20

    def fit(self, data: Dataset, run: Run = Run()) -> "IALSModel":
        """Alternate between users and items; the epoch in which the time of ``run`` ends is the last."""
        run.require_memory(
            self.fit_bytes(data.shape),
            f"iALS of width {self.embedding_dim}",
            "Choose a smaller width or raise the limit.",
        )
        with run.limit_threads():
            X = self._weigh(data.interactions)
            Xt = sp.csr_array(X.T)
            ridge_users, ridge_items = self._ridge(X), self._ridge(Xt)
            rng = run.rng()
            V, W = _draw(rng, Xt, self.embedding_dim), _draw(rng, X, self.embedding_dim)
            for epoch in _epochs(self.epochs, run, "iALS"):
                last = epoch == self.epochs - 1
                W, V = self._half(X, V, ridge_users, W, 1.0 if last else self.relaxation)
                last = last or run.out_of_time()
                V, W = self._half(Xt, W, ridge_items, V, 1.0 if last else self.relaxation)
                if last:
                    break
            return IALSModel(settings=self, items=V @ principal_axes(V)[0])

    def _weigh(self, matrix: CSR) -> CSR:
        """A weighted copy without duplicates and zeros; DataError for a weight that is no number or below 0."""
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
        """The ridge of each row: l2 · entries^scaling."""
        entries = np.maximum(np.diff(rows.indptr), 1)
        return np.asarray(self.l2 * entries**self.l2_exponent, dtype=np.float32)

    def _half(
        self, rows: CSR, V: Float32Array, ridge: Float32Array, start: Float32Array, step: float
    ) -> tuple[Float32Array, Float32Array]:
        """The vectors of the rows, ``step`` times the way from ``start`` to the solution, and V; both in the axes of V."""
        with single_threaded_blas():
            axes, moments = principal_axes(V)
        V, base = _turn(V, axes), np.float32(self.unobserved_weight) * moments
        start = _turn(start, axes)
        how = {"cholesky": {}, "blocks": {"block_size": 32}}.get(self.solver, {"cg_steps": 3})
        solved = solve_rows(rows, V, base, ridge, start, **how)
        # A sweep over blocks does not end at the minimum along its way, so going on could raise the loss.
        if step != 1 and self.solver != "blocks":
            _go_on(solved, start, step)
        return solved, V


@dataclasses.dataclass(frozen=True, eq=False)
class IALSModel:
    """A fitted iALS.

    Attributes:
        settings: what it was fitted with.
        items: (N, D) float32 item vectors, whose Gram matrix is diagonal.
    """

    settings: IALS
    items: Float32Array

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.items)

    @functools.cached_property
    def _base(self) -> Float32Array:
        """(D,) what all the pairs add to the equations of a user."""
        moments = np.einsum("nd,nd->d", self.items, self.items, dtype=np.float64)
        return np.asarray(self.settings.unobserved_weight * moments, dtype=np.float32)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D) user vectors, solved from the histories; zeros for an empty one."""
        history = self.settings._weigh(queries.history)
        return solve_rows(history, self.items, self._base, self.settings._ridge(history))

    def embed_items(self) -> Float32Array:
        """(N, D)."""
        return self.items

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """User vectors · item vectors."""
        return dot_scores(self.embed_queries(queries), self.items, items)

    def explain(self, queries: Queries, item: int) -> Explanation:
        """The items of the history, by what each adds to the score: c · vᵀ A⁻¹ v of the user's own equations A."""
        history = self.settings._weigh(queries.history[[0]])
        V = self.items[history.indices]
        A = np.diag(self._base + self.settings._ridge(history)[0]) + (V.T * history.data) @ V
        added = history.data * (V @ np.linalg.solve(A, self.items[item])).astype(np.float32)
        return rank_contributions(history.indices, added)


def _draw(rng: np.random.Generator, rows: CSR, width: int) -> Float32Array:
    """Vectors whose dot products start near 0.1² / √D of noise; zeros, their solution, for rows without entries."""
    drawn = rng.standard_normal((rows.shape[0], width), dtype=np.float32) * np.float32(0.1 / np.sqrt(width))
    drawn[np.diff(rows.indptr) == 0] = 0
    return np.asarray(drawn, dtype=np.float32)


def _turn(V: Float32Array, axes: Float32Array) -> Float32Array:
    """V · axes, strip by strip on our own threads: those of BLAS burn the other cores while they wait."""
    out = np.empty_like(V)

    def turn(strip: slice) -> None:
        np.matmul(V[strip], axes, out=out[strip])

    run_in_threads(turn, [slice(start, start + _STRIP) for start in range(0, len(V), _STRIP)])
    return out


def _go_on(ends: Float32Array, starts: Float32Array, step: float) -> None:
    """Move ``ends`` in place to ``step`` times their way from ``starts``, which are used up."""
    further = np.float32(step - 1)

    def move(strip: slice) -> None:
        starts[strip] -= ends[strip]
        starts[strip] *= -further
        ends[strip] += starts[strip]

    run_in_threads(move, [slice(start, start + _STRIP) for start in range(0, len(ends), _STRIP)])


def _epochs(n: int, run: Run, what: str) -> typing.Iterator[int]:
    yield from run.track(range(n), what)
