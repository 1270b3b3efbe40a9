"""The items nearest to given items, from features or embeddings."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.preprocessing import normalize

from leanrec.kernels.topk.selection import top_k
from leanrec.settings import check_at_least, check_one_of
from leanrec.types import CSR, Candidates, Float32Array, Int32Array

__all__ = ["similar_items"]


def similar_items(matrix: CSR | Float32Array, items: Int32Array, k: int, *, metric: str = "cosine") -> Candidates:
    """Candidates (B, k) for B = len(items): the other rows nearest to each, best first; no rows of zeros.

    Scores are the cosine, the dot product, or −distance. O(B · entries) time and 4 B · N bytes.

    Args:
        matrix: (N, F) sparse features or a dense embedding.
        items: (B,) int32 rows.
        k: at least 0.
        metric: "cosine", "euclidean" or "dot".
    """
    check_at_least("k", k, 0)
    check_one_of("metric", metric, ("cosine", "euclidean", "dot"))
    rows = np.asarray(items, dtype=np.int32)
    sparse = sp.issparse(matrix)
    X: Any = normalize(matrix) if metric == "cosine" and matrix.shape[0] else matrix
    product = X[rows] @ X.T
    scores = np.asarray(product.toarray() if sparse else product, dtype=np.float32)
    squares = np.asarray((X.multiply(X) if sparse else X * X).sum(axis=1)).reshape(-1)
    if metric == "euclidean":
        scores = -np.sqrt(np.maximum(squares[rows][:, None] + squares - 2 * scores, 0)).astype(np.float32)
    scores[:, squares == 0] = -np.inf
    scores[np.arange(len(rows)), rows] = -np.inf
    return Candidates(*top_k(scores, k))
