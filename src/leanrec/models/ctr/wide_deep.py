"""Wide & Deep: a linear model and an MLP over field embeddings, trained jointly.

Cheng et al., "Wide & Deep Learning for Recommender Systems", DLRS 2016.
"""

import dataclasses
from typing import ClassVar

from leanrec.models.ctr.core.wide_and_deep import WideAndDeepSettings

__all__ = ["WideDeep"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class WideDeep(WideAndDeepSettings):
    """Sum of a linear part over all values and an MLP over the field vectors.

    This is DeepFM without the factorization machine. The paper's wide part also has hand-made crosses of fields; here
    it has the plain fields only, because crosses depend on the data.

    When to use: users and items with many features, or reranking of a short list.

    Cost per row: F · D · hidden_sizes[0] + hidden_sizes[0] · hidden_sizes[1] + …; a query takes N rows, or K for given
    candidates.
    """

    HAS_PAIRS: ClassVar[bool] = False
