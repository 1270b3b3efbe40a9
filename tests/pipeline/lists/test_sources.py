"""Sources of candidates: their places, the rules, and that all ways to a list agree."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conftest import make_dataset
from leanrec.data.table import Table
from leanrec.errors import DataError, SettingError
from leanrec.models.baselines.popularity import Popularity
from leanrec.models.content.content import Content
from leanrec.models.linear.ease import EASE
from leanrec.models.neighbors.item_knn import ItemKNN
from leanrec.pipeline.lists.new_items import NewItems
from leanrec.pipeline.lists.sources import CandidateSource, FittedSource, check_sources, refit_sources
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.responses import Recommendations
from leanrec.run import Run

DATA = make_dataset(n_users=12, n_items=40, per_user=6)
USER = DATA.users.ids.tolist()[0]
SOURCES = (
    CandidateSource(NewItems(), quota=1, positions=(2,)),
    CandidateSource(Popularity(), quota=1, positions=(4,), where={"genres": "music"}, name="music"),
    CandidateSource(ItemKNN(), quota=2),
)


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline.fit(EASE(l2=20.0), DATA, sources=SOURCES)


def list_ids(made: Recommendations) -> list[Any]:
    return [item.id for item in made.items]


def list_sources(made: Recommendations) -> list[str]:
    return [item.source for item in made.items]


class TestLists:
    def test_each_source_has_its_places(self, pipeline: Pipeline) -> None:
        made = pipeline.recommend(USER, n=8)
        assert list_sources(made) == ["model", "new_items", "model", "music", "model", "model", "item_knn", "item_knn"]
        assert len(set(list_ids(made))) == 8
        assert made.policy == f"ease/{pipeline.version}+new_items+music+item_knn"
        for item in made.items:
            assert (f"from {item.source}" in item.reasons) == (item.source != "model")
        assert made.items[3].reasons[0] == "popular with all users"

    def test_a_source_lists_what_it_lists_alone(self, pipeline: Pipeline) -> None:
        made = pipeline.recommend(USER, n=8)
        seen = {event.id for event in pipeline.history(USER)}
        model = Pipeline.fit(EASE(l2=20.0), DATA).recommend(USER, n=8)
        own = [item.id for item in made.items if item.source == "model"]
        assert own == [each for each in list_ids(model) if each in own]
        newest = NewItems().fit(DATA).recency
        rows = DATA.items.rows([each for each in DATA.items.ids.tolist() if each not in {*seen, own[0]}])
        assert made.items[1].id == DATA.items.ids[rows[newest[rows].argmax()]]
        neighbors = Pipeline.fit(ItemKNN(), DATA).recommend(USER, n=8)
        scores = {item.id: item.score for item in neighbors.items}
        assert [scores[item.id] for item in made.items if item.source == "item_knn"] == pytest.approx(
            [item.score for item in made.items if item.source == "item_knn"]
        )

    def test_all_obey_the_rules(self, pipeline: Pipeline) -> None:
        plain = pipeline.recommend(USER, n=8)
        hidden, denied = (
            next(item.id for item in plain.items if item.source == name) for name in ("music", "new_items")
        )
        pipeline.hide_items([hidden])
        made = pipeline.recommend(USER, n=8, deny=[denied])
        assert not {hidden, denied} & set(list_ids(made))
        assert list_sources(made) == list_sources(plain)
        seen = {event.id for event in pipeline.history(USER)}
        assert not seen & set(list_ids(pipeline.recommend(USER, n=30)))
        space = pipeline.recommend(USER, n=8, where={"genres": "space"})
        assert "music" not in list_sources(space)  # no item meets both conditions
        assert all("space" in pipeline.catalog.content(DATA.items.row(each))["genres"] for each in list_ids(space))

    def test_an_event_shows_in_the_next_list(self, pipeline: Pipeline) -> None:
        shown = next(item.id for item in pipeline.recommend(USER, n=8).items if item.source == "new_items")
        pipeline.record_event(USER, shown)
        assert shown not in list_ids(pipeline.recommend(USER, n=8))

    def test_a_new_user_gets_the_fallback_and_the_sources(self, pipeline: Pipeline) -> None:
        made = pipeline.recommend(history=[], n=6)
        assert made.fallback == "popularity"
        # The neighbors of nothing are none.
        assert list_sources(made) == ["fallback", "new_items", "fallback", "music", "fallback", "fallback"]

    def test_short_lists(self, pipeline: Pipeline) -> None:
        assert list_sources(pipeline.recommend(USER, n=1)) == ["model"]
        two = pipeline.recommend(USER, allow=list_ids(pipeline.recommend(USER, n=2)), n=5)
        assert len(set(list_ids(two))) == len(two.items) == 2
        assert two.note is not None

    def test_a_list_of_everything_is_whole(self, pipeline: Pipeline) -> None:
        made = pipeline.recommend(USER, n=1000)
        assert len(set(list_ids(made))) == len(made.items) == 40 - len({each.id for each in pipeline.history(USER)})


def test_draws_leave_the_places_of_sources(pipeline: Pipeline) -> None:
    plain = pipeline.recommend(USER, n=8)
    for _ in range(20):
        made = pipeline.recommend(USER, n=8, explore=0.8, trace=True)
        assert list_sources(made) == list_sources(plain)
        assert len(set(list_ids(made))) == 8
        assert made.propensities is not None
        for item, before, propensity in zip(made.items, plain.items, made.propensities, strict=True):
            assert (propensity is None) == (item.source != "model")
            assert item.source == "model" or item.id == before.id


def test_the_trace_counts_candidates_and_places(pipeline: Pipeline) -> None:
    trace = pipeline.recommend(USER, n=8, trace=True).trace
    assert trace is not None
    stages = {each.stage: each for each in trace}
    assert list(stages) == [
        *("rules", "source new_items", "source music", "source item_knn", "retrieve", "fill", "explain")
    ]
    assert (stages["source item_knn"].before, stages["source item_knn"].after) == (8, 2)
    assert stages["source item_knn"].dropped == {"no place": 6}
    assert stages["fill"].after == 4
    assert stages["explain"].after == 8


def test_a_late_source_with_a_name_that_begins_another_one() -> None:
    sources = [CandidateSource(NewItems(), positions=(1,), name="new_in"), CandidateSource(Popularity(), name="new")]
    pipeline = Pipeline.fit(EASE(l2=20.0), DATA, sources=sources)
    pipeline._maker.times.add("source new", 100.0)
    made = pipeline.recommend(USER, n=5, time_limit_ms=5000)
    assert ([each.stage for each in made.dropped], made.policy) == (["source new"], f"ease/{pipeline.version}+new_in")


def test_a_late_source_is_left_out_and_the_list_is_not_kept(pipeline: Pipeline) -> None:
    pipeline._maker.times.add("source music", 5.0)
    made = pipeline.recommend(USER, n=8, time_limit_ms=1000)
    assert list_sources(made).count("music") == 0
    assert [(each.stage, each.reason) for each in made.dropped] == [("source music", "deadline")]
    assert made.policy == f"ease/{pipeline.version}+new_items+item_knn"
    assert list_sources(pipeline.recommend(USER, n=8)).count("music") == 1


class TestAllWays:
    def test_saved_and_loaded(self, pipeline: Pipeline, tmp_path: Path) -> None:
        loaded = Pipeline.load(pipeline.save(tmp_path / "model"))
        assert loaded.recommend(USER, n=8).items == pipeline.recommend(USER, n=8).items
        assert loaded.policy == f"ease/{loaded.version}+new_items+music+item_knn"
        assert [each.scorer is None for each in loaded.sources] == [False, True, False]
        assert len(loaded.provenance["sources"]) == 3

    def test_batch(self, pipeline: Pipeline, tmp_path: Path) -> None:
        rows = pd.read_parquet(pipeline.recommend_all(tmp_path / "lists.parquet", n=7).path)
        for user, lines in rows.groupby("user"):
            alone = pipeline.recommend(user, n=7)
            assert lines["item"].tolist() == list_ids(alone)
            assert lines["source"].tolist() == list_sources(alone)
            assert lines["score"].tolist() == pytest.approx([item.score for item in alone.items], rel=1e-4)

    def test_the_cache(self, pipeline: Pipeline) -> None:
        made, again = (pipeline.recommend(USER, n=8) for _ in range(2))
        assert pipeline.find_cached(USER, n=8) is not None
        assert made.items == again.items

    def test_new_items_are_listed_at_once_and_after_loading(self, tmp_path: Path) -> None:
        pipeline = Pipeline.fit(Content(), DATA, sources=SOURCES)
        assert DATA.item_table is not None
        pipeline.add_items([900, 901], DATA.item_table.take(np.array([0, 5])))
        made = pipeline.recommend(USER, n=8)
        assert (made.items[1].id, made.items[1].source) == (901, "new_items")
        loaded = Pipeline.load(pipeline.save(tmp_path / "model"))
        assert loaded.recommend(USER, n=8).items == made.items
        loaded.add_items([902], DATA.item_table.take(np.array([1])))
        assert loaded.recommend(USER, n=8).items[1].id == 902

    def test_an_updated_fallback_is_an_updated_source(self) -> None:
        source = CandidateSource(Popularity(), positions=(1,))
        pipeline = Pipeline.fit(EASE(l2=20.0), DATA, sources=[source])
        last = pipeline.recommend(USER, n=40).items[-1].id
        counts = np.zeros(40, np.float32)
        counts[DATA.items.row(last)] = 9
        _, fallback = pipeline.fitted_scorers
        pipeline.use_updated(fallback=dataclasses.replace(fallback, counts=counts))  # type: ignore[type-var]
        made = pipeline.recommend(USER, n=5, trace=True)
        assert (made.items[0].id, made.items[0].source) == (last, "popularity")


class TestSettings:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"quota": 0}, "quota must be a number of at least 1. Got 0"),
            ({"positions": (1, 1), "quota": 2}, "positions must be different ranks from 1 to 1000"),
            ({"positions": (0,)}, "positions must be different ranks"),
            ({"positions": (1, 3)}, "quota must be at least the number of positions, 2. Got 1"),
            ({"name": "model"}, "not be one of .*model"),
            ({"name": "A+b"}, "small letters"),
        ],
    )
    def test_impossible_ones_are_refused(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(SettingError, match=message):
            CandidateSource(Popularity(), **arguments)

    def test_an_estimator_is_needed(self) -> None:
        with pytest.raises(SettingError, match=r"write leanrec.models.get_model\('ease'\)\(\)"):
            CandidateSource("ease")  # type: ignore[arg-type]

    def test_names_and_positions_differ(self) -> None:
        twice = CandidateSource(Popularity())
        with pytest.raises(SettingError, match="Two are 'popularity': give one another name"):
            check_sources([twice, twice])
        at_two = [CandidateSource(Popularity(), positions=(2,), name=name) for name in ("a", "b")]
        with pytest.raises(SettingError, match="Position 2 is given to two"):
            check_sources(at_two)
        with pytest.raises(SettingError, match="write CandidateSource"):
            check_sources([Popularity()])  # type: ignore[list-item]

    def test_conditions_are_checked_before_a_fit(self) -> None:
        with pytest.raises(SettingError, match="Source item_knn: where: .*Did you mean 'genres'"):
            Pipeline.fit(EASE(), DATA, sources=[CandidateSource(ItemKNN(), where={"genre": "music"})])

    def test_damaged_ones_are_not_loaded(self) -> None:
        with pytest.raises(DataError, match="must be a model that scores items"):
            FittedSource("a", 1, (), None, 3).check_state()
        with pytest.raises(DataError, match="must be at most 1, from 1 on"):
            FittedSource("a", 1, (1, 2), None, None).check_state()


def test_refit_keeps_places_and_settings(pipeline: Pipeline) -> None:
    refitted = refit_sources(pipeline.sources, DATA, Run())
    assert [(each.name, each.quota, each.positions, each.where) for each in refitted] == [
        (each.name, each.quota, each.positions, each.where) for each in pipeline.sources
    ]
    assert np.array_equal(refitted[0].scorer.recency, pipeline.sources[0].scorer.recency)
    with pytest.raises(SettingError, match="The source a must have settings"):
        refit_sources([FittedSource("a", 1, (), None, pipeline.model.__class__)], DATA, Run())


def test_items_without_content_are_in_no_source_that_cannot_add_them() -> None:
    source = FittedSource("knn", 1, (), None, EASE().fit(DATA))
    assert source.extend(Table({"title": np.array(["x"], np.dtypes.StringDType())})) is source
