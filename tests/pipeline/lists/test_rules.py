"""Rules of lists: pins and limits against a slow reference, and that all ways to a list obey them."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conftest import make_dataset
from leanrec.data.table import Table
from leanrec.errors import SettingError
from leanrec.models.baselines.popularity import Popularity
from leanrec.models.content.content import Content
from leanrec.models.linear.ease import EASE
from leanrec.pipeline.lists import list_maker
from leanrec.pipeline.lists.new_items import NewItems
from leanrec.pipeline.lists.rules import ColumnLimit, ListRules, PinnedItem
from leanrec.pipeline.lists.sources import CandidateSource
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.responses import Recommendations
from leanrec.protocols import Context
from leanrec.retrieval.stages import RankedItems, StagePipeline, rank_and_fill
from leanrec.types import Queries

STRINGS = np.dtypes.StringDType()
DATA = make_dataset(n_users=12, n_items=40, per_user=6)
COUNTRIES = Table({"country": np.array(["DE", "FR", "DE|AT"] * 4, STRINGS)})
DATA = dataclasses.replace(DATA, user_table=COUNTRIES)
GERMAN, FRENCH = DATA.users.ids.tolist()[:2]


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline.fit(EASE(l2=20.0), DATA)


def list_ids(made: Recommendations) -> list[Any]:
    return [item.id for item in made.items]


def find_unseen(pipeline: Pipeline, *users: str) -> list[Any]:
    """Items that none of the users has seen, from the one that is best for the first to the worst."""
    seen = {event.id for user in users for event in pipeline.history(user)}
    return [each for each in list_ids(pipeline.recommend(users[0], n=40)) if each not in seen]


def get_labels(item: Any, column: str = "genres") -> set[Any]:
    assert DATA.item_table is not None
    cell = DATA.item_table.columns[column][DATA.items.row(item)]
    return set(cell.split("|")) if isinstance(cell, str) else {float(cell)}


def limit_slowly(ranked: list[Any], limits: dict[str, int], n: int) -> list[Any]:
    counts: Counter[Any] = Counter()
    kept: list[Any] = []
    for item in ranked:
        labels = [(column, label) for column in limits for label in get_labels(item, column)]
        if len(kept) < n and all(counts[each] < limits[each[0]] for each in labels):
            kept.append(item)
            counts.update(labels)
    return kept


class TestPins:
    def test_an_item_stands_at_its_position(self, pipeline: Pipeline) -> None:
        before = pipeline.recommend(GERMAN, n=6)
        best, worst = before.items[0].id, find_unseen(pipeline, GERMAN)[-1]
        pipeline.use_rules(ListRules(pins=(PinnedItem(worst, 1), PinnedItem(best, 4))))
        made = pipeline.recommend(GERMAN, n=6)
        assert list_ids(made) == [worst, *list_ids(before)[1:3], best, *list_ids(before)[3:5]]
        assert [item.source for item in made.items] == ["pin", "model", "model", "pin", "model", "model"]
        assert (made.items[0].score, made.items[0].reasons) == (0.0, ("pinned",))
        assert made.policy == f"{before.policy}+rules={pipeline.rules.digest}" == pipeline.policy
        pipeline.use_rules(ListRules())
        assert pipeline.recommend(GERMAN, n=6).items == before.items
        assert pipeline.policy == before.policy

    def test_conditions_on_users(self, pipeline: Pipeline) -> None:
        item = find_unseen(pipeline, GERMAN, FRENCH)[-1]
        pipeline.use_rules(ListRules(pins=(PinnedItem(item, 2, users={"country": "de"}),)))
        assert list_ids(pipeline.recommend(GERMAN, n=4))[1] == item
        pipeline.record_event("a new one", 101)
        for others in ({"user": FRENCH}, {"user": "a new one"}, {"history": []}):
            made = pipeline.recommend(**others, n=4)  # type: ignore[arg-type]
            assert {each.source for each in made.items} <= {"model", "fallback"}

    def test_pins_obey_the_rules_of_the_list(self, pipeline: Pipeline) -> None:
        *_, second, first = find_unseen(pipeline, GERMAN)
        pipeline.use_rules(ListRules(pins=(PinnedItem(first, 1), PinnedItem(second, 1))))
        assert list_ids(pipeline.recommend(GERMAN, n=3))[0] == first
        assert list_ids(pipeline.recommend(GERMAN, n=3, deny=[first]))[0] == second
        assert first not in list_ids(
            pipeline.recommend(GERMAN, n=3, allow=list_ids(pipeline.recommend(GERMAN, n=9))[3:])
        )
        pipeline.record_event(GERMAN, first)
        assert list_ids(pipeline.recommend(GERMAN, n=3))[0] == second
        pipeline.hide_items([second])
        assert not {first, second} & set(list_ids(pipeline.recommend(GERMAN, n=3)))

    def test_an_end(self, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
        item = find_unseen(pipeline, GERMAN)[-1]
        now = 2_000_000_000.0
        monkeypatch.setattr("time.time", lambda: now)
        pipeline.use_rules(ListRules(pins=(PinnedItem(item, 1, until=now + 5), PinnedItem(item, 2, until=now))))
        assert list_ids(pipeline.recommend(GERMAN, n=3))[0] == item
        assert pipeline.find_cached(GERMAN, n=3) is not None
        now += 5
        assert pipeline.find_cached(GERMAN, n=3) is None
        assert item not in list_ids(pipeline.recommend(GERMAN, n=3))
        assert pipeline.rules == ListRules()

    def test_an_item_that_comes_later(self) -> None:
        pipeline = Pipeline.fit(Content(), DATA)
        pipeline.use_rules(ListRules(pins=(PinnedItem(900, 2),), limits=(ColumnLimit("genres", 1),)))
        assert 900 not in list_ids(pipeline.recommend(GERMAN, n=3))
        assert DATA.item_table is not None
        pipeline.add_items([900], DATA.item_table.take(np.array([0])))
        assert list_ids(pipeline.recommend(GERMAN, n=3))[1] == 900


class TestLimits:
    @pytest.mark.parametrize("limits", [{"genres": 1}, {"genres": 2, "year": 1}, {"title": 1}])
    @pytest.mark.parametrize("n", [1, 4, 40])
    def test_as_a_slow_filter(self, pipeline: Pipeline, limits: dict[str, int], n: int) -> None:
        ranked = {user: list_ids(pipeline.recommend(user, n=40)) for user in DATA.users.ids.tolist()[:5]}
        pipeline.use_rules(ListRules(limits=tuple(ColumnLimit(*each) for each in limits.items())))
        for user, items in ranked.items():
            assert list_ids(pipeline.recommend(user, n=n)) == limit_slowly(items, limits, n)

    def test_cells_without_a_value_have_no_limit(self) -> None:
        assert DATA.item_table is not None
        brands = Table({"brand": np.array(["", "a", "A", ""] * 10, STRINGS), "size": np.array([np.nan, 1.0] * 20)})
        pipeline = Pipeline.fit(EASE(l2=20.0), dataclasses.replace(DATA, item_table=brands))
        pipeline.use_rules(ListRules(limits=(ColumnLimit("brand", 1), ColumnLimit("size", 2))))
        rows = DATA.items.rows(list_ids(pipeline.recommend(GERMAN, n=40)))
        assert Counter((rows % 4).tolist())[1] + Counter((rows % 4).tolist())[2] == 1
        assert Counter((rows % 2).tolist())[1] == 2
        assert Counter((rows % 4).tolist())[0] > 2

    def test_pinned_items_count_and_are_shown(self, pipeline: Pipeline) -> None:
        pinned = find_unseen(pipeline, GERMAN)[-1]
        pipeline.use_rules(ListRules((PinnedItem(pinned, 3),), (ColumnLimit("genres", 1),)))
        made = list_ids(pipeline.recommend(GERMAN, n=4))
        counts = Counter(label for item in made for label in get_labels(item))
        assert pinned in made
        assert max(counts.values()) == 1

    def test_draws_keep_the_limits(self, pipeline: Pipeline) -> None:
        pipeline.use_rules(ListRules((PinnedItem(find_unseen(pipeline, GERMAN)[-1], 2),), (ColumnLimit("year", 1),)))
        shown = set()
        for _ in range(20):
            made = pipeline.recommend(GERMAN, n=5, explore=1.0, trace=True)
            assert made.propensities is not None
            assert [each is None for each in made.propensities] == [False, True, False, False, False]
            assert len({next(iter(get_labels(item, "year"))) for item in list_ids(made)}) == 5
            shown |= set(list_ids(made))
        assert len(shown) > 8


def test_an_item_that_is_pinned_twice_has_the_place_that_the_list_has(pipeline: Pipeline) -> None:
    item = find_unseen(pipeline, GERMAN)[-1]
    pipeline.use_rules(ListRules((PinnedItem(item, 15), PinnedItem(item, 3))))
    for explore in (0.0, 0.5):
        assert list_ids(pipeline.recommend(GERMAN, n=5, explore=explore))[2] == item


def test_pins_that_have_ended_are_no_rules(pipeline: Pipeline) -> None:
    policy = pipeline.policy
    pipeline.use_rules(ListRules((PinnedItem(DATA.items.ids[0].item(), 1, until=1.0),)))
    assert (pipeline.policy, pipeline.rules) == (policy, ListRules())


def test_a_list_that_has_all_allowed_items_is_made_once(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    def rank(stages: StagePipeline, query: Queries, n: int, context: Context) -> RankedItems:
        lengths.append(n)
        return rank_and_fill(stages, query, n, context)

    monkeypatch.setattr(list_maker, "rank_and_fill", rank)
    allow = find_unseen(pipeline, GERMAN)[:3]
    lengths.clear()
    pipeline.use_rules(ListRules((PinnedItem(allow[2], 1),)))
    assert list_ids(pipeline.recommend(GERMAN, n=6, allow=allow)) == [allow[2], *allow[:2]]
    assert lengths == [7]


def test_rules_and_sources_in_batch_as_served(tmp_path: Path) -> None:
    sources = [CandidateSource(NewItems(), positions=(2,)), CandidateSource(Popularity(), quota=2)]
    pipeline = Pipeline.fit(EASE(l2=20.0), DATA, sources=sources)
    pins = (
        PinnedItem(find_unseen(pipeline, GERMAN)[-1], 1, {"country": "DE"}),
        PinnedItem(DATA.items.ids[7].item(), 4),
    )
    pipeline.use_rules(ListRules(pins, (ColumnLimit("genres", 2),)))
    rows = pd.read_parquet(pipeline.recommend_all(tmp_path / "lists.parquet", n=6).path)
    assert {"pin", "model", "new_items"} <= set(rows["source"])
    for user, lines in rows.groupby("user"):
        alone = pipeline.recommend(str(user), n=6)
        assert lines["item"].tolist() == list_ids(alone)
        assert lines["source"].tolist() == [item.source for item in alone.items]
        counts = Counter(label for item in alone.items if item.source != "pin" for label in get_labels(item.id))
        assert max(counts.values()) <= 2


def test_a_loaded_pipeline_has_no_rules(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.use_rules(ListRules(limits=(ColumnLimit("genres", 1),)))
    assert Pipeline.load(pipeline.save(tmp_path / "model")).rules == ListRules()


def test_the_digest_tells_rules_apart() -> None:
    digests = {ListRules(limits=(ColumnLimit("a", n),)).digest for n in range(1, 9)}
    assert len(digests) == 8
    assert ListRules([PinnedItem(1, 2)]).digest == ListRules((PinnedItem(1, 2),)).digest  # type: ignore[arg-type]
    assert not ListRules()


def test_the_rules_come_back_from_json() -> None:
    pins = (PinnedItem(12, 2, {"country": ["DE", "FR"], "age": {"min": 18}}, 1.8e9), PinnedItem("12 ä", 1))
    for rules in (ListRules(pins, (ColumnLimit("genres", 2),)), ListRules()):
        again = ListRules.from_json(rules.to_json())
        assert again == rules
        assert again.digest == rules.digest
    with pytest.raises(SettingError, match="n must be"):
        ListRules.from_json('{"pins": [], "limits": [{"column": "genres", "n": 0}]}')


def test_impossible_ones_are_refused(pipeline: Pipeline) -> None:
    with pytest.raises(SettingError, match="position must be a rank from 1 to 1000. Got 0"):
        PinnedItem(1, 0)
    with pytest.raises(SettingError, match="position must be a rank from 1 to 1000. Got 2.5"):
        PinnedItem(1, 2.5)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="n must be a number of at least 1"):
        ColumnLimit("genres", 0)
    with pytest.raises(SettingError, match="limits must be at most 20. Got 21"):
        ListRules(limits=(ColumnLimit("genres", 1),) * 21)
    with pytest.raises(SettingError, match="limits: the items have no column 'genre'. Did you mean 'genres'"):
        pipeline.use_rules(ListRules(limits=(ColumnLimit("genre", 1),)))
    with pytest.raises(SettingError, match="users of a pinned item: .*no column 'land'"):
        pipeline.use_rules(ListRules((PinnedItem(101, 1, {"land": "DE"}),)))
    assert pipeline.rules == ListRules()
