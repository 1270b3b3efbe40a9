"""What people like in terms of features: people with no item in common can still be compared."""

import dataclasses

import numpy as np
import scipy.sparse as sp

from leanrec.kernels.similarity.aggregation import keep_top_entries
from leanrec.types import CSR, Float32Array

__all__ = ["KEPT", "Interests", "average_rows", "fit_interests"]

# How many interests describe one person or item.
KEPT = 50


@dataclasses.dataclass(frozen=True, eq=False)
class Interests:
    """Turns histories into interests.

    Attributes:
        features: (N, F) CSR, the features of the items.
        average: (F,) float32, the mean profile of the training users.
    """

    features: CSR
    average: Float32Array

    def of(self, history: CSR) -> CSR:
        """(B, F) what each asker likes more than people do on average.

        The profile is the mean of the features of the items touched, by weight; what exceeds the average
        profile is kept, so that what everybody likes tells nobody apart; of that the ``KEPT`` strongest, so
        that long histories stay as quick to compare as short ones. Time and memory O(features of the items
        touched).
        """
        profile = average_rows(history, self.features)
        above = np.maximum(profile.data - self.average[profile.indices], 0)
        interests = sp.csr_array((above, profile.indices, profile.indptr), shape=profile.shape)
        interests.eliminate_zeros()
        return keep_top_entries(interests, KEPT)


def fit_interests(history: CSR, features: CSR) -> Interests:
    """Interests relative to the users of ``history`` (U, N) who touched anything."""
    profile = average_rows(history, features)
    users = max(1, int((np.diff(history.indptr) > 0).sum()))
    average = np.bincount(profile.indices, weights=profile.data, minlength=features.shape[1]) / users
    return Interests(features, average.astype(np.float32))


def average_rows(weights: CSR, rows: CSR) -> CSR:
    """(B, F) the mean of ``rows`` (M, F) by each row of ``weights`` (B, M) ≥ 0; no entry for an empty one."""
    total = np.asarray(weights.sum(axis=1), dtype=np.float32)
    owner = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
    share = (weights.data / np.maximum(total, 1e-30)[owner]).astype(np.float32)
    product = sp.csr_array((share, weights.indices, weights.indptr), shape=weights.shape) @ rows
    product.sort_indices()
    return sp.csr_array(product)
