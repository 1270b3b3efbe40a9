"""A ring of items whose next item depends on the order: models that ignore the order cannot predict it."""

import pytest

from contracts.sequential import N_RING, hits, ring
from leanrec.models.baselines.popularity import Popularity
from leanrec.models.linear.ease import EASE
from leanrec.models.neighbors.item_knn import ItemKNN


@pytest.mark.parametrize("estimator", [Popularity(), ItemKNN(), EASE()])
def test_a_model_without_order_does_not_know_what_comes_next(estimator: object) -> None:
    data = ring()
    # Every history of the laps holds the same items, so such a model can do no better than by chance.
    assert hits(estimator.fit(data), data) <= 2 / N_RING  # type: ignore[attr-defined]
