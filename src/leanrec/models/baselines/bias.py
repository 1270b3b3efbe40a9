"""Bias: ratings predicted from the mean, an item offset and a user offset.

Koren, "Factorization Meets the Neighborhood", KDD 2008, section 2.1.
"""

import dataclasses
from typing import Annotated, ClassVar

import numpy as np

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.field_checks import SharedSizes
from leanrec.finiteness import require_finite
from leanrec.kernels.solvers.rating_bias import RatingBias, fit_rating_bias
from leanrec.protocols import Explanation
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import Float32Array, Int32Array, Queries, empty_csr

__all__ = ["Bias", "BiasModel"]


@dataclasses.dataclass(frozen=True)
class Bias:
    """rating(u, i) = mean + item offset + user offset, with offsets damped towards 0 where ratings are few.

    The offset of a query user is computed from the ratings in the query; without ratings it is 0. The ranking is the
    same for all users: the items with the largest offset first.

    When to use: the baseline of predicted ratings.

    Cost: fit O(E) time and 64 bytes a rating; a query O(L + N); the model 4 N bytes.
    """

    READS: ClassVar[frozenset[str]] = frozenset({"ratings"})
    NEEDS: ClassVar[frozenset[str]] = frozenset({"ratings"})

    user_damping: float = setting(
        5.0,
        at_least=0,
        search="0.5..50:log",
        doc="Number of virtual average ratings added to each user.",
    )
    item_damping: float = setting(
        3.0,
        at_least=0,
        search="0.3..30:log",
        doc="Number of virtual average ratings added to each item.",
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Float64 working columns over the ratings."""
        return 64 * shape.events + 24 * (shape.users + shape.items) + 2**16

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "BiasModel":
        """Alternate damped means of users and items. Raises DataError if there are no ratings."""
        run.require_memory(self.fit_bytes(data.shape), f"Bias over {len(data.events)} events")
        return BiasModel(self, fit_rating_bias(data.ratings, self.user_damping, self.item_damping, data.rating_range))


@dataclasses.dataclass(frozen=True, eq=False)
class BiasModel:
    """A fitted `Bias`.

    Attributes:
        settings: settings of the fit.
        baseline: mean and item offsets.
    """

    settings: Bias
    baseline: Annotated[RatingBias, SharedSizes(N="N")]

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return len(self.baseline.item_offsets)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Predicted ratings, not clipped, so that the best have distinct scores: (B, N), or (B, K) for ``items``."""
        chosen = self.baseline.item_offsets if items is None else self.baseline.item_offsets[items]
        scores: Float32Array = chosen + (self._user_offsets(queries) + np.float32(self.baseline.mean))[:, None]
        return scores

    def predict(self, queries: Queries, items: Int32Array) -> Float32Array:
        """(B,) predicted rating of user b for ``items[b]``, within the range of the data."""
        return self.baseline.clip(
            np.float32(self.baseline.mean) + self.baseline.item_offsets[items] + self._user_offsets(queries)
        )

    def update(self, data: Dataset, changed: Int32Array | None = None, run: Run = Run()) -> "BiasModel":  # noqa: ARG002 - computed in one pass
        """The model of a fit on ``data``, at the cost of a fit."""
        return self.settings.fit(data, run)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:  # noqa: ARG002 - the same for all users
        """The reason is "popularity": the order of the items is the same for all users."""
        return [Explanation("popularity", np.zeros(0, np.int32), np.zeros(0, np.float32))] * len(items)

    def _user_offsets(self, queries: Queries) -> Float32Array:
        ratings = empty_csr(len(queries), self.n_items) if queries.ratings is None else queries.ratings
        return self.baseline.user_offsets(ratings)
