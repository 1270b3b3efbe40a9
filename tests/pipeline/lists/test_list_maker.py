"""Exploring lists: they obey the rules, say what was drawn, and are off by default."""

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.errors import SettingError
from leanrec.models import get_model
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.responses import Recommendations
from leanrec.retrieval.exploration import N_CANDIDATES
from leanrec.retrieval.stages import RankedItems

DATA = make_dataset(n_users=8, n_items=40, per_user=6)
USER = DATA.users.ids.tolist()[0]


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline.fit(get_model("ease")(), DATA)


def list_ids(made: Recommendations) -> list[object]:
    return [item.id for item in made.items]


def test_items_are_taken_by_rank() -> None:
    found = RankedItems((7, 8, 9), (3.0, 2.0, 1.0), 2, from_fallback=False)
    assert found.take((1, 0, 5)) == RankedItems((8, 7), (2.0, 3.0), 2, from_fallback=False)
    assert found.take((0,)).n_from_model == 1


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
        monkeypatch.setattr("leanrec.pipeline.lists.list_maker.make_id", lambda: "a list")
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
