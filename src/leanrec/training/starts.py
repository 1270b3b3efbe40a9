"""Where training starts: vectors of items that already complete histories, from the strongest directions of the log."""

import numpy as np
import scipy.sparse as sp

from leanrec.kernels.spectrum import degrees, inverse_power, right_singular, scaled, singular_bytes
from leanrec.types import CSR, Float32Array

__all__ = ["spectral_start", "spectral_start_bytes"]

_PASSES, _SAMPLE = 4, 256
# Popular items hold back by this power: less, and the first direction is popularity; more, and rare items lead.
_ITEMS = 0.25


def spectral_start(X: CSR, width: int, power: float, rng: np.random.Generator) -> tuple[Float32Array, Float32Array]:
    """Vectors h (N, D) of the items of a history and q (N, D) of the items to score.

    (L + 1)^−power Σ h_j · q_i is near the best reconstruction of D directions of the log, divided by L^power and by the fourth
    root of how many touched an item (Cremonesi, Koren & Turrin 2010 with degrees divided out), at a standard deviation of
    1. A little noise lets directions that the log does not have learn too. O(passes · (E · D + N · D²)).
    """
    users, items = degrees(X)
    on_items = inverse_power(items, _ITEMS)
    R = scaled(X, inverse_power(users, power), on_items)
    found, _ = right_singular(R, sp.csr_array(R.T), min(width, *X.shape), _PASSES, rng)
    V = np.zeros((X.shape[1], width), np.float32)
    V[:, : found.shape[1]] = found
    some = R[np.sort(rng.permutation(X.shape[0])[:_SAMPLE])]
    spread = float(np.std((some @ V) @ V.T))
    history, scored = V * on_items[:, None].astype(np.float32), V
    # Both of one length on average, or one of them would learn faster.
    lengths = [float(np.sqrt(np.mean(each**2))) for each in (history, scored)]
    if not spread > 0 or not min(lengths) > 0:
        history, scored = np.zeros_like(V), np.zeros_like(V)
    else:
        share = np.sqrt(lengths[1] / lengths[0])
        history, scored = history * (share / spread**0.5), scored / (share * spread**0.5)
    noise = 0.01 * rng.standard_normal((2, *V.shape), dtype=np.float32)
    return np.asarray(history + noise[0], np.float32), np.asarray(scored + noise[1], np.float32)


def spectral_start_bytes(n_users: int, n_items: int, events: int, width: int) -> int:
    """Upper estimate of the memory of ``spectral_start`` on top of X."""
    return singular_bytes(n_users, n_items, width) + 32 * events + 24 * n_items * width + 8 * _SAMPLE * n_items
