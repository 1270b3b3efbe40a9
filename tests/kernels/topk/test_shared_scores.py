"""Selection where all rows have the same scores, against selection from copies of them."""

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec.kernels.topk.selection import top_k
from leanrec.kernels.topk.shared_scores import order_scores, top_k_shared


@pytest.mark.parametrize("n_rows", [1, 3, 200])
@pytest.mark.parametrize("k", [0, 1, 7, 60])
def test_lists_are_those_of_copied_scores(n_rows: int, k: int) -> None:
    rng = np.random.default_rng(n_rows + k)
    scores = rng.integers(0, 12, 50).astype(np.float32)  # many equal ones
    scores[:3] = [-np.inf, np.nan, -1]
    seen = sp.csr_array(rng.random((n_rows, 50)) < 0.3, dtype=np.float32)
    copies, order = np.tile(scores, (n_rows, 1)), order_scores(scores)
    for left_out in (None, seen):
        for allowed in (None, rng.random(50) < 0.6, np.zeros(50, np.bool_)):
            found = top_k_shared(scores, order, n_rows, k, seen=left_out, allowed=allowed)
            expected = top_k(copies, k, seen=left_out, allowed=allowed)
            for mine, theirs in zip(found, expected, strict=True):
                np.testing.assert_array_equal(mine, theirs)
