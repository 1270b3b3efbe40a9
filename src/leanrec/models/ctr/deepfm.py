"""DeepFM: a factorization machine and an MLP over shared field embeddings.

Guo, Tang, Ye, Li & He, "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction", IJCAI 2017.
"""

import dataclasses
from typing import ClassVar

from leanrec.models.ctr.core.wide_and_deep import WideAndDeepSettings

__all__ = ["DeepFM"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepFM(WideAndDeepSettings):
    """Sum of a linear part, the dot products of all pairs of field vectors, and an MLP over all of them.

    When to use: as `WideDeep`, where pairs of features matter.

    Cost per row: O(F · D) for the pairs, F · D · hidden_sizes[0] + hidden_sizes[0] · hidden_sizes[1] + … for the MLP;
    a query takes N rows, or K for given candidates.
    """

    HAS_PAIRS: ClassVar[bool] = True
