"""Degraded lists obey the same rules as others, say what they are, and are made only where time or load demand it."""

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_dataset
from leanrec.errors import SettingError
from leanrec.models import get_model
from leanrec.pipeline.lists.degradation import ListOptions, StageTimes
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.responses import Recommendations

DATA = make_dataset(n_users=8, n_items=20, per_user=6)
USER = DATA.users.ids.tolist()[0]


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline.fit(get_model("ease")(), DATA)


def list_ids(made: Recommendations) -> list[object]:
    return [item.id for item in made.items]


def list_popular_slowly(left_out: set[object], n: int) -> list[object]:
    """The list of the fallback without a user, without items that the rules leave out."""
    return [item for item in OF_NO_USER if item not in left_out][:n]


def list_seen(pipeline: Pipeline) -> set[object]:
    return {event.id for event in pipeline.history(USER)}


class TestRungs:
    def test_without_reasons_the_items_are_the_same(self, pipeline: Pipeline) -> None:
        made = pipeline.recommend(USER, rung="no_reasons")
        assert made.rung == "no_reasons"
        assert [(each.stage, each.reason) for each in made.dropped] == [("explain", "load")]
        assert not any(item.reasons for item in made.items)
        whole = pipeline.recommend(USER)
        assert whole.rung == "full"
        assert any(item.reasons for item in whole.items)
        assert list_ids(whole) == list_ids(made)

    def test_a_list_that_should_have_no_reasons_is_full(self, pipeline: Pipeline) -> None:
        made = pipeline.recommend(USER, rung="no_reasons", reasons=False)
        assert (made.rung, made.dropped) == ("full", ())
        pipeline.recommend(USER, n=3, rung="no_reasons")
        kept = pipeline.find_cached(USER, n=3, reasons=False)
        assert kept is not None
        assert (kept.rung, kept.dropped) == ("full", ())

    def test_a_list_in_the_cache_is_given_as_it_is(self, pipeline: Pipeline) -> None:
        whole = pipeline.recommend(USER)
        made = pipeline.recommend(USER, rung="popular")
        assert (made.rung, made.items) == ("full", whole.items)
        assert made.request != whole.request

    @given(
        seen=st.booleans(),
        n=st.integers(1, 25),
        hidden=st.sets(st.sampled_from(DATA.items.ids.tolist()), max_size=19),
        denied=st.none() | st.sets(st.sampled_from(DATA.items.ids.tolist()), max_size=19),
        allowed=st.none() | st.sets(st.sampled_from(DATA.items.ids.tolist()), max_size=19),
    )
    def test_popular_lists_obey_the_rules(
        self, seen: bool, n: int, hidden: set[object], denied: set[object] | None, allowed: set[object] | None
    ) -> None:
        pipeline = POPULAR
        pipeline.show_items(DATA.items.ids.tolist())
        pipeline.hide_items(hidden)  # type: ignore[arg-type]
        left_out = hidden | (denied or set()) | (list_seen(pipeline) if seen else set())
        left_out |= set() if allowed is None else set(DATA.items.ids.tolist()) - allowed
        made = pipeline.recommend(USER, n=n, exclude_seen=seen, rung="popular", deny=denied, allow=allowed)  # type: ignore[arg-type]
        assert list_ids(made) == list_popular_slowly(left_out, n)
        assert (made.rung, made.fallback) == ("popular", "popularity")
        assert (made.note is None) == (len(made.items) == n)

    def test_an_earlier_list_obeys_the_rules_of_now(self, pipeline: Pipeline) -> None:
        first = pipeline.recommend(USER, n=6)
        clicked, hidden, *rest = list_ids(first)
        pipeline.record_event(USER, clicked)  # type: ignore[arg-type]
        pipeline.hide_items([hidden])  # type: ignore[list-item]
        made = pipeline.recommend(USER, n=6, rung="cached")
        assert made.rung == "cached"
        assert list_ids(made)[:4] == rest
        left_out = list_seen(pipeline) | {clicked, hidden, *rest}
        assert list_ids(made)[4:] == list_popular_slowly(left_out, 2)
        assert made.note == "2 of 6 items, at the end of the list, are filled from popularity."
        # Their reasons may name the hidden item.
        assert not any(item.reasons for item in made.items[:4])

    def test_an_earlier_list_keeps_its_reasons_while_nothing_is_hidden(self, pipeline: Pipeline) -> None:
        first = pipeline.recommend(USER, n=4)
        pipeline.record_event(USER, first.items[0].id)
        made = pipeline.recommend(USER, n=4, rung="cached")
        assert made.items[:3] == first.items[1:]

    def test_without_an_earlier_list_one_is_made(self, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
        assert pipeline.recommend(USER, rung="cached").rung == "no_reasons"
        pipeline.record_event(USER, DATA.items.ids.tolist()[3])
        now = time.monotonic()
        monkeypatch.setattr("leanrec.pipeline.lists.list_cache.time.monotonic", lambda: now + 601)
        assert pipeline.recommend(USER, rung="cached").rung == "no_reasons"
        assert pipeline.recommend(history=[DATA.items.ids.tolist()[1]], rung="cached").rung == "no_reasons"

    def test_nothing_of_a_forgotten_user_is_shown(self, pipeline: Pipeline) -> None:
        pipeline.recommend(USER)
        pipeline.forget_user(USER)
        pipeline.record_event(USER, DATA.items.ids.tolist()[0])
        assert pipeline.recommend(USER, rung="popular").rung == "popular"

    def test_degraded_lists_do_not_take_the_place_of_others(self, pipeline: Pipeline) -> None:
        assert pipeline.recommend(USER, rung="popular").rung == "popular"
        assert pipeline.recommend(USER).rung == "full"

    def test_the_trace_has_the_one_stage(self, pipeline: Pipeline) -> None:
        made = pipeline.recommend(USER, n=4, rung="popular", trace=True)
        assert made.trace is not None
        assert [(each.stage, each.before, each.after) for each in made.trace] == [("popular", 20, 4)]

    def test_unknown_rungs_are_refused(self, pipeline: Pipeline) -> None:
        with pytest.raises(SettingError, match="rung must be one of"):
            pipeline.recommend(USER, rung="best")


POPULAR = Pipeline.fit(get_model("ease")(), DATA)
OF_NO_USER = list_ids(Pipeline.fit(get_model("popularity")(), DATA).recommend(history=[], n=20))


class TestTimeLimits:
    def test_slow_reasons_are_left_out(self, pipeline: Pipeline) -> None:
        pipeline._maker.times.add("explain", 60.0)
        made = pipeline.recommend(USER, time_limit_ms=30_000)
        assert made.rung == "no_reasons"
        assert [(each.stage, each.reason, each.milliseconds) for each in made.dropped] == [
            ("explain", "deadline", 60_000)
        ]
        assert pipeline.recommend(USER).rung == "full"

    def test_a_slow_model_is_left_out(self, pipeline: Pipeline) -> None:
        pipeline._maker.times.add("rank", 60.0)
        made = pipeline.recommend(USER, time_limit_ms=30_000)
        assert made.rung == "popular"
        assert [(each.stage, each.reason) for each in made.dropped] == [("rank", "deadline")]
        first = pipeline.recommend(USER)
        pipeline.record_event(USER, first.items[0].id)
        pipeline._maker.times.add("rank", 1000.0)
        assert pipeline.recommend(USER, time_limit_ms=30_000).rung == "cached"

    def test_a_quick_model_is_not(self, pipeline: Pipeline) -> None:
        pipeline.warm_up()
        made = pipeline.recommend(USER, time_limit_ms=60_000, trace=True)
        assert made.rung == "full"
        assert made.trace is not None
        budgets = [each.budget for each in made.trace]
        assert [each.stage for each in made.trace] == ["rules", "retrieve", "fill", "explain"]
        assert all(budget is not None and 0 < budget <= 60_000 for budget in budgets)
        assert budgets == sorted(budgets, reverse=True)  # type: ignore[type-var]

    def test_long_lists_have_times_of_their_own(self, pipeline: Pipeline) -> None:
        pipeline._maker.times.add("rank", 60.0, is_long=True)
        assert pipeline.recommend(USER, n=500, time_limit_ms=30_000).rung == "popular"
        assert pipeline.recommend(USER, n=100, time_limit_ms=30_000).rung != "popular"

    def test_limits_must_be_positive(self, pipeline: Pipeline) -> None:
        with pytest.raises(SettingError, match="time_limit_ms must be"):
            pipeline.recommend(USER, time_limit_ms=0)


class TestStageTimes:
    def test_estimates_follow_the_times_and_most_of_them_are_below(self) -> None:
        times, rng = StageTimes(), np.random.default_rng(0)
        assert times.estimate("rank") == 0
        taken = rng.normal(10.0, 2.0, 2_000)
        below = 0
        for seconds in taken:
            below += seconds <= times.estimate("rank")
            times.add("rank", seconds)
        assert 10 < times.estimate("rank") < 18
        assert below / len(taken) > 0.85
        times.clear()
        assert times.estimate("rank") == 0

    def test_equal_times_are_their_own_estimate(self) -> None:
        times = StageTimes()
        for _ in range(5):
            times.add("rank", 3.0)
        assert times.estimate("rank") == 3

    def test_one_slow_time_does_not_keep_a_stage_out_for_ever(self) -> None:
        times = StageTimes()
        times.add("explain", 9.0)
        tried = [times.is_in_time("explain", 0.1) for _ in range(100)]
        assert tried == [False] * 99 + [True]
        times.add("explain", 0.01)
        assert all(times.is_in_time("explain", 0.1) for _ in range(100))

    def test_a_stage_that_stays_slow_is_tried_seldom(self) -> None:
        times, n_tried = StageTimes(), 0
        for _ in range(10_000):
            if times.is_in_time("explain", 0.005):
                times.add("explain", 0.0076)
                n_tried += 1
        assert n_tried <= 101

    def test_nothing_begins_after_the_deadline(self) -> None:
        times = StageTimes()
        times.add("rank", 0.001)
        assert not any(times.is_in_time("rank", 0.0) for _ in range(500))

    def test_without_rung_and_deadline_nothing_is_asked(self) -> None:
        times = StageTimes()
        times.add("rank", math.inf)
        options = ListOptions.check(5, "full", None, exclude_seen=True, reasons=True)
        assert options.find_dropped("rank", times) is None
