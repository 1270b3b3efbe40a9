"""Interest profiles: users described by the features of their items, comparable without a common item."""

import dataclasses
from typing import Annotated

import numpy as np
import scipy.sparse as sp

from leanrec.field_checks import ArrayShape
from leanrec.kernels.csr import entry_rows
from leanrec.kernels.similarity.aggregation import keep_top_entries
from leanrec.types import CSR, Float32Array

__all__ = ["MAX_INTERESTS", "InterestProfiles", "average_rows", "fit_interest_profiles"]

# Number of interests that describe one user or item.
MAX_INTERESTS = 50


@dataclasses.dataclass(frozen=True, eq=False)
class InterestProfiles:
    """Interest profiles relative to the average user.

    Attributes:
        features: (N, F) CSR, the features of the items.
        average: (F,) float32, the mean profile of the training users.
    """

    features: Annotated[CSR, ArrayShape("N", "F")]
    average: Annotated[Float32Array, ArrayShape("F")]

    def transform(self, history: CSR) -> CSR:
        """(B, F) the features by which each user exceeds the average user.

        A profile is the weighted mean of the features of the history. Only what exceeds the average profile is kept,
        so that features liked by all users do not make users similar; of these only the ``MAX_INTERESTS`` largest, so
        that the cost of a comparison does not grow with the history. Time and memory O(features of the history).
        """
        profile = average_rows(history, self.features)
        above = np.maximum(profile.data - self.average[profile.indices], 0)
        interests = sp.csr_array((above, profile.indices, profile.indptr), shape=profile.shape)
        interests.eliminate_zeros()
        return keep_top_entries(interests, MAX_INTERESTS)


def fit_interest_profiles(history: CSR, features: CSR) -> InterestProfiles:
    """Fit the average profile to the users of ``history`` (U, N) who have one; ``features`` (N, F) are of the items."""
    profile = average_rows(history, features)
    users = max(1, int((np.diff(history.indptr) > 0).sum()))
    average = np.bincount(profile.indices, weights=profile.data, minlength=features.shape[1]) / users
    return InterestProfiles(features, average.astype(np.float32))


def average_rows(weights: CSR, rows: CSR) -> CSR:
    """(B, F) means of ``rows`` (M, F), weighted by each row of ``weights`` (B, M) ≥ 0; no entries for an empty row."""
    total = np.asarray(weights.sum(axis=1), dtype=np.float32)
    share = (weights.data / np.maximum(total, 1e-30)[entry_rows(weights)]).astype(np.float32)
    product = sp.csr_array((share, weights.indices, weights.indptr), shape=weights.shape) @ rows
    product.sort_indices()
    return sp.csr_array(product)
