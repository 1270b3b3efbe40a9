"""Dimensionality reduction of features by the truncated singular value decomposition.

Deerwester et al., "Indexing by latent semantic analysis", JASIS 1990; Halko, Martinsson & Tropp, "Finding
structure with randomness", SIAM Review 2011.
"""

import dataclasses
import functools
from typing import Annotated

import numpy as np
from sklearn.utils.extmath import randomized_svd

from leanrec.features.base import STRINGS, Float64Array, StringArray
from leanrec.field_checks import ArrayShape
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array

__all__ = ["FittedTruncatedSVD", "TruncatedSVD", "truncated_svd"]


@dataclasses.dataclass(frozen=True)
class TruncatedSVD:
    """Project features onto their first ``n_components`` singular vectors.

    Cost: O(entries · D + (N + F) · D²) time, 4 F · D bytes.
    """

    n_components: int = setting(64, at_least=1, doc="D; fewer where there are fewer rows or features.")

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(self, X: CSR, names: tuple[str, ...], run: Run = Run()) -> "FittedTruncatedSVD":
        """Learn the directions of X (N, F)."""
        with run.limit_threads():
            components, singular = truncated_svd(X, min(self.n_components, *X.shape), run)
        total = float((X.data.astype(np.float64) ** 2).sum())
        shares = singular**2 / total if total else singular
        return FittedTruncatedSVD(self, np.array(names, dtype=STRINGS), components, shares)


@dataclasses.dataclass(frozen=True, eq=False)
class FittedTruncatedSVD:
    """A fitted `TruncatedSVD`.

    Attributes:
        settings: settings of the fit.
        names: (F,) StringDType of the input features.
        components: (D, F) float32, orthonormal rows.
        shares: (D,) float64, the share of the sum of squares that each component keeps.
    """

    settings: TruncatedSVD
    names: Annotated[StringArray, ArrayShape("F")]
    components: Annotated[Float32Array, ArrayShape("D", "F")]
    shares: Annotated[Float64Array, ArrayShape("D")]

    def apply(self, X: CSR) -> Float32Array:
        """(n, D) float32 coordinates of X (n, F)."""
        return np.asarray(X @ self.components.T, dtype=np.float32)

    @functools.cached_property
    def labels(self) -> tuple[str, ...]:
        """(D,) the three features that weigh most in each component."""
        best = np.argsort(-np.abs(self.components), axis=1, kind="stable")[:, :3]
        return tuple(f"component {i + 1} ({', '.join(names)})" for i, names in enumerate(self.names[best].tolist()))

    def report(self) -> list[tuple[str, float]]:
        """Each component and the share of the sum of squares that it keeps."""
        return list(zip(self.labels, self.shares.tolist(), strict=True))


def truncated_svd(X: CSR, n_components: int, run: Run) -> tuple[Float32Array, Float64Array]:
    """The first right singular vectors (D, F) float32 and values (D,) of X (N, F). Depends on ``run.seed``."""
    if not n_components or not X.nnz:
        return np.zeros((0, X.shape[1]), np.float32), np.zeros(0)
    _, singular, components = randomized_svd(X, n_components, n_iter=4, random_state=run.seed)
    return components.astype(np.float32), singular.astype(np.float64)
