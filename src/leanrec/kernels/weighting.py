"""Weighting of interaction matrices: binary, logarithmic, TF-IDF and BM25."""

import numpy as np

from leanrec.kernels.csr import replace_values
from leanrec.settings import check_one_of
from leanrec.types import CSR

__all__ = ["WEIGHTINGS", "item_idf", "weight_interactions"]

WEIGHTINGS = ("none", "binary", "log", "tfidf", "bm25")


def item_idf(matrix: CSR) -> np.ndarray:
    """(N,) float32 inverse document frequency ln(users with any item / users of the item); 0 for an item without users."""
    users = np.bincount(matrix.indices, minlength=matrix.shape[1])
    active = np.count_nonzero(np.diff(matrix.indptr))
    idf = np.log(np.maximum(active, 1) / np.maximum(users, 1)).astype(np.float32)
    return np.asarray(idf * (users > 0))


def weight_interactions(matrix: CSR, scheme: str, idf: np.ndarray | None = None) -> CSR:
    """A weighted copy of a (B, N) matrix of positive weights. O(entries).

    Schemes: ``none`` leaves weights unchanged; ``binary`` sets them to 1; ``log`` is log₂(1 + w), which keeps 1 at 1 and
    damps large counts; ``tfidf`` is log₂(1 + w) · idf; ``bm25`` is (k₁ + 1) · w / (k₁ + w) · idf with k₁ = 1.2, and without
    normalization by length, b = 0 (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009).

    Args:
        matrix: (B, N).
        scheme: one of ``WEIGHTINGS``.
        idf: (N,) from the training matrix, so that a query is weighted as in training; None = from ``matrix``. Read by
            tfidf and bm25 only.
    """
    check_one_of("weighting", scheme, WEIGHTINGS)
    w = matrix.data.astype(np.float32)
    if scheme == "binary":
        w = np.ones_like(w)
    elif scheme in {"log", "tfidf"}:
        # 1 + w is 1 in float32 below 6e-8: such weights would be lost.
        w = np.asarray(np.log1p(w) / np.float32(np.log(2)), dtype=np.float32)
    elif scheme == "bm25":
        w = 2.2 * w / (1.2 + w)
    if scheme in {"tfidf", "bm25"}:
        w = w * (item_idf(matrix) if idf is None else idf)[matrix.indices]
    return replace_values(matrix, w)
