"""iALS: implicit-feedback factorisation by alternating least squares.

Hu, Koren & Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008, with the loss of
Rendle, Krichene, Zhang & Koren, "Revisiting the Performance of iALS on Item Recommendation Benchmarks", RecSys 2022, and
the frequency-scaled ridge of Zhou, Wilkinson, Schreiber & Pan, "Large-Scale Parallel Collaborative Filtering for the
Netflix Prize", AAIM 2008: one setting then fits catalogues of very different size.
"""

import dataclasses
import functools
import typing

import numpy as np
import rich.progress
import scipy.sparse as sp

from leanrec.data.dataset import Dataset, Shape
from leanrec.kernels.least_squares import solve_rows
from leanrec.kernels.sparse import dot_scores
from leanrec.kernels.weighting import weigh
from leanrec.protocols import Explanation
from leanrec.run import Run
from leanrec.settings import check_at_least, check_between, check_one_of, check_positive
from leanrec.types import CSR, Float32Array, Int32Array, Queries

__all__ = ["IALS", "IALSModel"]


@dataclasses.dataclass(frozen=True)
class IALS:
    """User and item vectors w, v whose dot product is 1 where there was an interaction and 0 elsewhere.

    The loss, with c the weighted interaction, n_u and n_i the numbers of interactions of user and item:

        Σ_observed c (w·v − 1)² + unobserved · Σ_all (w·v)²
            + l2 · (Σ_u n_u^scaling |w|² + Σ_i n_i^scaling |v|²)

    A user's vector is solved from the history when asked, by the same equations as in the fit, so only item
    vectors are kept and a new user needs no refit.

    Cost: an epoch O(E · D² + (U + N) · D³) time by Cholesky, O(E · D + (U + N) · D²) by conjugate gradients; memory
    4 D (U + N) bytes twice over and two weighted copies of the data. A query O(L · D² + D³ / 3) to solve (0.1 ms at
    D = 64, L = 100) plus O(N · D) to score; the model 4 N · D bytes.

    Attributes:
        width: D, the length of a vector.
        l2: ridge strength.
        unobserved: weight of the pairs without an interaction, relative to 1 for an observed one.
        scaling: 1 = a ridge in proportion to how often user or item occur, 0 = the same for all.
        weighting: how much a repeated or stronger interaction counts: "binary", "log" or "none".
        epochs: passes over users and items.
        solver: "cholesky" is exact, "cg" takes three conjugate-gradient steps from the last epoch's vector; "auto" is
            exact up to a width of 128.
    """

    width: int = 64
    l2: float = 0.5
    unobserved: float = 0.1
    scaling: float = 0.5
    weighting: str = "log"
    epochs: int = 12
    solver: str = "auto"

    def __post_init__(self) -> None:
        check_at_least("width", self.width, 1)
        check_positive("l2", self.l2)
        check_positive("unobserved", self.unobserved)
        check_between("scaling", self.scaling, 0, 1)
        check_one_of("weighting", self.weighting, ("none", "binary", "log"))
        check_at_least("epochs", self.epochs, 1)
        check_one_of("solver", self.solver, ("auto", "cholesky", "cg"))

    def fit_bytes(self, shape: Shape) -> int:
        """Both sides' vectors twice, two weighted copies of the data, and the working space of the threads."""
        vectors = 8 * self.width * (shape.users + shape.items)
        return (
            vectors
            + 60 * shape.events
            + 32 * (shape.users + shape.items)
            + 64 * 4 * self.width * (self.width + 256)
            + 2**20
        )

    def fit(self, data: Dataset, run: Run = Run()) -> "IALSModel":
        """Alternate between users and items; stops after an epoch when the time of ``run`` is over."""
        run.require(
            self.fit_bytes(data.shape),
            f"iALS of width {self.width}",
            "Choose a smaller width or raise the limit.",
        )
        with run.limits():
            X = weigh(data.interactions, self.weighting)
            Xt = sp.csr_array(X.T)
            ridge_users, ridge_items = self._ridge(X), self._ridge(Xt)
            rng = run.rng()
            V = _draw(rng, X.shape[1], self.width)
            W = _draw(rng, X.shape[0], self.width)
            for _ in _epochs(self.epochs, run, "iALS"):
                W = self._half(X, V, ridge_users, W)
                V = self._half(Xt, W, ridge_items, V)
                if run.out_of_time():
                    break
            return IALSModel(settings=self, items=V)

    def _ridge(self, rows: CSR) -> Float32Array:
        """The ridge of each row: l2 · entries^scaling."""
        entries = np.maximum(np.diff(rows.indptr), 1)
        return np.asarray(self.l2 * entries**self.scaling, dtype=np.float32)

    def _half(self, rows: CSR, V: Float32Array, ridge: Float32Array, start: Float32Array) -> Float32Array:
        exact = self.solver == "cholesky" or (self.solver == "auto" and self.width <= 128)
        base = np.float32(self.unobserved) * (V.T @ V)
        return solve_rows(rows, V, base, ridge, start, steps=0 if exact else 3)


@dataclasses.dataclass(frozen=True, eq=False)
class IALSModel:
    """A fitted iALS.

    Attributes:
        settings: what it was fitted with.
        items: (N, D) float32 item vectors.
    """

    settings: IALS
    items: Float32Array

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.items)

    @functools.cached_property
    def _base(self) -> Float32Array:
        return np.asarray(np.float32(self.settings.unobserved) * (self.items.T @ self.items))

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D) user vectors, solved from the histories; zeros for an empty one."""
        history = weigh(queries.history, self.settings.weighting)
        return solve_rows(history, self.items, self._base, self.settings._ridge(history))

    def embed_items(self) -> Float32Array:
        """(N, D)."""
        return self.items

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """User vectors · item vectors."""
        return dot_scores(self.embed_queries(queries), self.items, items)

    def explain(self, queries: Queries, item: int) -> Explanation:
        """The items of the history, by what each adds to the score: c · vᵀ A⁻¹ v of the user's own equations A."""
        history = weigh(queries.history[[0]], self.settings.weighting)
        V = self.items[history.indices]
        A = (
            self._base
            + (V.T * history.data) @ V
            + self.settings._ridge(history)[0] * np.eye(V.shape[1], dtype=np.float32)
        )
        added = history.data * (V @ np.linalg.solve(A, self.items[item])).astype(np.float32)
        order = np.argsort(-added, kind="stable")
        return Explanation("history", history.indices[order].astype(np.int32), added[order])


def _draw(rng: np.random.Generator, rows: int, width: int) -> Float32Array:
    """Vectors whose dot products start near 0.1² / √D of noise."""
    return (rng.standard_normal((rows, width), dtype=np.float32) * np.float32(0.1 / np.sqrt(width))).astype(np.float32)


def _epochs(n: int, run: Run, what: str) -> typing.Iterator[int]:
    yield from rich.progress.track(range(n), description=what, disable=not run.progress, transient=True)
