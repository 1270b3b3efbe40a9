"""Exploration: what is shown has the logged propensities, obeys the rules, and is off by default."""

import collections
import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from conftest import make_dataset
from leanrec.errors import SettingError
from leanrec.models import get_model
from leanrec.pipeline.exploration import N_CANDIDATES, explore_list
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.responses import Recommendations
from leanrec.pipeline.stages import RankedItems

DATA = make_dataset(n_users=8, n_items=40, per_user=6)
USER = DATA.users.ids.tolist()[0]


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline.fit(get_model("ease")(), DATA)


def rank(n_items: int, n_from_model: int | None = None, *, from_fallback: bool = False) -> RankedItems:
    rows = tuple(range(n_items))
    return RankedItems(rows, tuple(100.0 - row for row in rows), n_from_model or n_items, from_fallback)


def list_ids(made: Recommendations) -> list[object]:
    return [item.id for item in made.items]


class TestDraws:
    @pytest.mark.parametrize(("n", "n_items", "rate"), [(3, 8, 0.3), (5, 7, 0.5), (2, 12, 1.0), (6, 5, 0.4)])
    def test_what_is_shown_has_the_propensities(self, n: int, n_items: int, rate: float) -> None:
        found, n_lists = rank(n_items), 3000
        shown = [collections.Counter[int]() for _ in range(n)]
        told: list[dict[int, float]] = [{} for _ in range(n)]
        for number in range(n_lists):
            made, propensities = explore_list(found, n, rate, f"list {number}")
            assert propensities is not None
            for place, (row, propensity) in enumerate(zip(made.rows, propensities, strict=True)):
                shown[place][row] += 1
                assert propensity is not None
                assert told[place].setdefault(row, propensity) == propensity
        for place in range(min(n, n_items)):
            assert sum(told[place].values()) == pytest.approx(1)  # every item that a place may show was shown
            expected = [told[place][row] * n_lists for row in told[place]]
            assert stats.chisquare([shown[place][row] for row in told[place]], expected).pvalue > 1e-4

    @given(
        n=st.integers(1, 12),
        n_items=st.integers(0, 30),
        rate=st.floats(0, 1),
        request=st.text(max_size=8),
    )
    def test_a_list_has_no_item_twice_and_its_scores(self, n: int, n_items: int, rate: float, request: str) -> None:
        found = rank(n_items)
        made, propensities = explore_list(found, n, rate, request)
        assert len(set(made.rows)) == len(made.rows) == len(made.scores) == min(n, n_items)
        assert made.scores == tuple(100.0 - row for row in made.rows)
        if propensities is None:
            assert made.rows == found.rows[:n]
            assert rate == 0 or n_items < 2
        else:
            assert all(each is not None and 0 < each <= 1 for each in propensities)

    def test_the_same_request_gives_the_same_draw(self) -> None:
        draws = [explore_list(rank(30), 10, 0.5, "a list") for _ in range(3)]
        assert draws[0] == draws[1] == draws[2]
        assert len({explore_list(rank(30), 10, 0.5, f"list {number}")[0].rows for number in range(20)}) > 15

    def test_items_that_the_fallback_filled_in_stay(self) -> None:
        for number in range(50):
            made, propensities = explore_list(rank(9, 3), 5, 1.0, str(number))
            assert set(made.rows[:3]) == {0, 1, 2}
            assert made.rows[3:] == (3, 4)
            assert made.n_from_model == 3
            assert propensities is not None
            assert propensities[3:] == (None, None)
            assert None not in propensities[:3]
        assert explore_list(rank(9, 1), 3, 1.0, "a")[1] is None

    def test_a_list_of_the_fallback_is_drawn_as_a_whole(self) -> None:
        lists = [explore_list(rank(8, from_fallback=True), 3, 0.5, str(number))[0].rows for number in range(99)]
        assert {row for rows in lists for row in rows} == set(range(8))


class TestPipeline:
    def test_nothing_is_drawn_by_default(self, pipeline: Pipeline) -> None:
        made = pipeline.recommend(USER)
        assert made.propensities is None
        assert made.policy == f"{pipeline.name}/{pipeline.version}"

    def test_most_places_show_their_own_items(self, pipeline: Pipeline) -> None:
        plain = pipeline.recommend(USER, n=5)
        explored = [pipeline.recommend(USER, n=5, explore=0.4, trace=True) for _ in range(30)]
        assert len({tuple(list_ids(each)) for each in explored}) > 1
        for made in explored:
            assert made.propensities is not None
            kept = [each is not None and each > 0.5 for each in made.propensities]
            assert [at for at, is_kept in enumerate(kept) if is_kept] == [
                at for at, (a, b) in enumerate(zip(list_ids(made), list_ids(plain), strict=True)) if a == b
            ]
            assert made.policy == f"{plain.policy}+explore=0.4"
            assert all(a == b for a, b in zip(made.items, plain.items, strict=True) if a.id == b.id)
            assert made.trace is not None
            assert [each.stage for each in made.trace] == ["rules", "retrieve", "fill", "explore", "explain"]

    def test_drawn_items_obey_the_rules(self, pipeline: Pipeline) -> None:
        seen = {event.id for event in pipeline.history(USER)}
        hidden, denied = [each for each in DATA.items.ids.tolist() if each not in seen][:2]
        pipeline.hide_items([hidden])
        shown = set()
        for _ in range(40):
            shown |= set(list_ids(pipeline.recommend(USER, n=5, deny=[denied], explore=1.0)))
        assert not shown & {*seen, hidden, denied}
        assert len(shown) > 10

    def test_the_same_request_id_gives_the_same_list(self, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=7))
        first, second = (pipeline.recommend(USER, n=5, explore=0.5, trace=True) for _ in range(2))
        assert (first.items, first.propensities) == (second.items, second.propensities)

    def test_a_list_from_the_cache_keeps_its_draw_and_was_not_drawn(self, pipeline: Pipeline) -> None:
        made = pipeline.recommend(USER, n=5, explore=0.9)
        again = pipeline.recommend(USER, n=5, explore=0.9)
        assert (again.items, again.policy) == (made.items, made.policy)
        assert again.request != made.request
        assert made.propensities is not None
        assert again.propensities is None

    def test_the_cache_tells_explored_lists_from_others(self, pipeline: Pipeline) -> None:
        plain = list_ids(pipeline.recommend(USER, n=5))
        explored = pipeline.recommend(USER, n=5, explore=1.0)
        assert list_ids(explored) != plain
        assert list_ids(pipeline.recommend(USER, n=5)) == plain
        cached = pipeline.find_cached(USER, n=5, explore=1.0)
        assert cached is not None
        assert cached.items == explored.items

    def test_lists_without_the_model_are_not_drawn(self, pipeline: Pipeline) -> None:
        assert pipeline.recommend(USER, rung="popular", explore=0.5).propensities is None
        without_reasons = pipeline.recommend(USER, rung="no_reasons", explore=0.5)
        assert without_reasons.propensities is not None
        kept = pipeline.find_cached(USER, reasons=False, explore=0.5)
        assert kept is not None
        assert (kept.items, kept.propensities) == (without_reasons.items, None)

    def test_items_come_from_no_further_behind_than_is_told(self, pipeline: Pipeline) -> None:
        data = make_dataset(n_users=8, n_items=100, per_user=6)
        larger = Pipeline.fit(get_model("popularity")(), data)
        best = list_ids(larger.recommend(USER, n=100))
        shown = {item for _ in range(60) for item in list_ids(larger.recommend(USER, n=3, explore=1.0, trace=True))}
        assert len(shown) > N_CANDIDATES / 2
        assert max(map(best.index, shown)) < 3 + N_CANDIDATES

    @pytest.mark.parametrize("explore", [-0.1, 1.5, np.nan])
    def test_a_rate_that_is_no_probability_is_refused(self, pipeline: Pipeline, explore: float) -> None:
        with pytest.raises(SettingError, match="explore must be a number from 0 to 1"):
            pipeline.recommend(USER, explore=explore)
