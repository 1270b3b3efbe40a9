"""Hybrid: the contract, and each way to combine by hand, with parts whose scores are known."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from contracts.estimator import EstimatorContract, OddDataContract
from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.errors import DataError, SettingError
from leanrec.models.baselines.popularity import Popularity
from leanrec.models.ensembles.hybrid import Hybrid, parse_part
from leanrec.models.linear.ease import EASE
from leanrec.models.neighbors.item_knn import ItemKNN
from leanrec.protocols import Explanation
from leanrec.run import Run
from leanrec.settings import parse_settings
from leanrec.types import Float32Array, Int32Array, Queries


def refuses_new_items(model: Any, dataset: Dataset) -> None:
    assert dataset.item_table is not None
    with pytest.raises(DataError, match="No part of this hybrid can take in new items"):
        model.extend(dataset.item_table.take(np.array([2])))


class TestWeighted(EstimatorContract, OddDataContract):
    estimator = Hybrid(("ease(l2=20)", "item_knn(n_neighbors=20, shrinkage=2)"), weights=(2, 1))


class TestReciprocal(EstimatorContract, OddDataContract):
    estimator = Hybrid(("ease(l2=20)", "user_knn(n_neighbors=20)"), mode="reciprocal")

    def test_extends_to_new_items(self, model: Any, dataset: Dataset) -> None:
        refuses_new_items(model, dataset)


class TestBorda(EstimatorContract, OddDataContract):
    estimator = Hybrid(("ease(l2=20)", "popularity"), mode="borda", weights=(5, 1))

    def test_extends_to_new_items(self, model: Any, dataset: Dataset) -> None:
        refuses_new_items(model, dataset)


class TestSwitch(EstimatorContract, OddDataContract):
    estimator = Hybrid(
        ('item_knn(by=content, columns=["genres"], shrinkage=0)', "ease(l2=20)"), mode="switch", cold_items=1
    )


@dataclasses.dataclass(frozen=True)
class Fixed:
    """A part with the same scores for every user with a history."""

    scores: tuple[float, ...]
    reason: str = "history"
    flat_for: int = -1

    def fit_bytes(self, shape: DatasetShape) -> int:
        return 8 * shape.items

    def fit(self, data: Dataset, run: Run = Run()) -> "Fixed":
        return self

    @property
    def n_items(self) -> int:
        return len(self.scores)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Equal scores for a history of ``flat_for`` items."""
        assert queries.n_items == self.n_items
        flat = np.diff(queries.history.indptr) == self.flat_for
        rows = np.where(flat[:, None], 0, np.array(self.scores, np.float32)).astype(np.float32)
        return rows if items is None else rows[:, items]

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        return [Explanation(self.reason, np.zeros(0, np.int32), np.zeros(0, np.float32)) for _ in items]


def asking(*lengths: int, n_items: int = 40) -> Queries:
    history = np.zeros((len(lengths), n_items), np.float32)
    for row, length in enumerate(lengths):
        history[row, :length] = 1
    return Queries(users=np.full(len(lengths), -1, np.int32), history=sp.csr_array(history))


def up(n: int = 40) -> tuple[float, ...]:
    return tuple(float(i) for i in range(n))


def down(n: int = 40) -> tuple[float, ...]:
    return tuple(float(-1000 * i) for i in range(n))


def test_weighted_scores_do_not_depend_on_the_scale_of_a_part(dataset: Dataset) -> None:
    model = Hybrid((Fixed(up()), Fixed(down()))).fit(dataset)
    np.testing.assert_allclose(model.score(asking(3)), 0, atol=1e-5)
    heavier = Hybrid((Fixed(up()), Fixed(down())), weights=(3, 1)).fit(dataset).score(asking(3))[0]
    expected = (np.arange(40) - 19.5) / np.arange(40).std() * (3 - 1) / (3 + 1)
    np.testing.assert_allclose(heavier, expected, rtol=1e-4)


def test_reciprocal_ranks_by_hand(dataset: Dataset) -> None:
    scores = (5.0, 5.0, 3.0) + (0.0,) * 37
    model = Hybrid((Fixed(scores), Fixed(down())), mode="reciprocal").fit(dataset)
    found = model.score(asking(3))[0]
    # Items 0 and 1 share rank 1.5, item 2 has rank 3, the other 37 share rank 22; the second part: 1, 2, 3 …
    np.testing.assert_allclose(found[:3], [(1 / 61.5 + 1 / (61 + i)) / 2 for i in (0, 1)] + [1 / 63], rtol=1e-5)
    assert found[9] == pytest.approx((1 / 82 + 1 / 70) / 2, rel=1e-5)


def test_borda_counts_by_hand(dataset: Dataset) -> None:
    model = Hybrid((Fixed(up()), Fixed(up())), mode="borda").fit(dataset)
    np.testing.assert_allclose(model.score(asking(3))[0], np.arange(40) / 40, atol=1e-6)


@pytest.mark.parametrize("mode", ["weighted", "reciprocal", "borda"])
def test_a_part_with_equal_scores_is_left_out(mode: str, dataset: Dataset) -> None:
    both = Hybrid((Fixed(up()), Fixed(down(), flat_for=2)), mode=mode).fit(dataset).score(asking(2))
    alone = Hybrid((Fixed(up()), Fixed(up())), mode=mode).fit(dataset).score(asking(2))
    np.testing.assert_allclose(both, alone, rtol=1e-6)


def test_switch_depends_on_the_length_of_the_history(dataset: Dataset) -> None:
    model = Hybrid((Fixed(down(), "content"), Fixed(up())), mode="switch", threshold=4).fit(dataset)
    scores = model.score(asking(0, 1, 3, 4, 9))
    assert not scores[0].any()
    assert scores.argmax(axis=1).tolist()[1:] == [0, 0, 39, 39]
    assert model.explain(asking(3), np.array([5]))[0].reason == "content"
    assert model.explain(asking(4), np.array([5]))[0].reason == "history"


def test_switch_uses_the_other_part_where_one_cannot_score(dataset: Dataset) -> None:
    model = Hybrid((Fixed(down(), "content", 2), Fixed(up(), "history", 9)), mode="switch", threshold=4).fit(dataset)
    assert model.score(asking(2, 9)).argmax(axis=1).tolist() == [39, 0]
    assert model.explain(asking(2), np.array([5]))[0].reason == "history"
    assert model.explain(asking(9), np.array([5]))[0].reason == "content"


def test_switch_places_cold_items_by_the_first_part(dataset: Dataset) -> None:
    warm = dataset.with_events(dataset.events.take(dataset.events.item != 3))
    parts = (Fixed(down(), "content"), Fixed(up()))
    model = Hybrid(parts, mode="switch", threshold=1, cold_items=1).fit(warm)
    scores = model.score(asking(9))[0]
    # The first part puts item 3 above 36 of the 40.
    assert scores[3] == pytest.approx(36 / 40, abs=1e-6)
    np.testing.assert_allclose(np.delete(scores, 3), np.delete(np.arange(40) / 40, 3), atol=1e-6)
    assert model.explain(asking(9), np.array([3]))[0].reason == "content"
    assert model.explain(asking(9), np.array([4]))[0].reason == "history"


def test_an_empty_history_gives_equal_scores_even_with_popularity(dataset: Dataset) -> None:
    for mode in ("weighted", "switch"):
        model = Hybrid(("popularity", "ease(l2=20)"), mode=mode).fit(dataset)
        scores = model.score(asking(0, 1))
        assert not scores[0].any()
        assert scores[1].any()


def test_the_part_with_the_highest_score_explains(dataset: Dataset) -> None:
    model = Hybrid((Fixed(up(), "content"), Fixed(down(), "neighbors"))).fit(dataset)
    reasons = [each.reason for each in model.explain(asking(3), np.array([39, 0, 38]))]
    assert reasons == ["content", "neighbors", "content"]


@pytest.mark.parametrize("mode", ["weighted", "reciprocal", "borda", "switch"])
def test_new_items_are_scored_by_the_parts_that_read_content(mode: str, dataset: Dataset) -> None:
    assert dataset.item_table is not None
    content = ItemKNN(60, by="content", columns=("genres",), shrinkage=0)
    model = Hybrid((content, EASE(l2=20)), mode=mode).fit(dataset)
    larger = model.extend(dataset.item_table.take(np.array([2, 1])))
    assert larger.n_items == 42
    history = np.zeros((1, 42), np.float32)
    history[0, [6, 10, 14, 18, 22, 26]] = 1
    query = Queries(users=np.array([-1], np.int32), history=sp.csr_array(history))
    scores = larger.score(query)[0]
    # The history is of item 2's genre, not of item 1's.
    assert scores[40] > scores[41]
    assert larger.explain(query, np.array([40]))[0].reason == "content"


def test_hybrids_of_hybrids(dataset: Dataset) -> None:
    inner = Hybrid((EASE(l2=20), ItemKNN()))
    model = Hybrid((Popularity(), inner), mode="switch").fit(dataset)
    assert np.isfinite(model.score(dataset.queries())).all()


def test_parts_from_text() -> None:
    texts: dict[str, str] = {
        "parts": "[ease(l2=300, weighting=binary), popularity]",
        "mode": "borda",
        "weights": "[2, 1]",
    }
    built = parse_settings(Hybrid, texts)
    assert built == Hybrid((EASE(l2=300, weighting="binary"), Popularity()), mode="borda", weights=(2, 1))
    assert parse_settings(Hybrid, {"parts": '["ease", "item_knn"]'}) == Hybrid((EASE(), ItemKNN()))
    content = parse_part('item_knn(by=content, columns=["genres", "title"])')
    assert content == ItemKNN(by="content", columns=("genres", "title"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"parts": ("ease",)}, "parts must name two or more models"),
        ({"parts": ("ease", "ease", "ease"), "mode": "switch"}, "parts must name exactly two models"),
        ({"parts": ("eaze", "item_knn")}, "There is no model 'eaze'. Did you mean 'ease'"),
        ({"parts": ("ease(l3=1)", "item_knn")}, "EASE has no setting 'l3'"),
        ({"parts": ("ease(l2)", "item_knn")}, "A setting of a part must be name=value. Got 'l2'"),
        ({"parts": ("ease(", "item_knn")}, "A part must be a model and its settings"),
        ({"mode": "sum"}, "mode must be one of weighted, reciprocal, borda, switch"),
        ({"weights": (1.0,)}, "weights must have a number for each of the 2 parts"),
        ({"weights": (0.0, 0.0)}, "weights must not all be 0"),
        ({"weights": (-1.0, 2.0)}, "weights must be a number of at least 0"),
        ({"threshold": 0}, "threshold must be a number of at least 1"),
    ],
)
def test_refuses_wrong_settings(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Hybrid(**wrong)
