"""The pipeline: external ids in and out, and recorded events show in the next recommendation."""

import dataclasses
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conftest import STRINGS, make_dataset
from leanrec import artifacts
from leanrec.data.dataset import Dataset
from leanrec.data.ingest.cleaning import CleaningRules
from leanrec.data.ingest.ingest import ingest
from leanrec.data.splits.split import split
from leanrec.data.table import Table
from leanrec.data.time_kind import TimeKind
from leanrec.data.vocabulary import Vocabulary, id_array
from leanrec.errors import ArtifactError, DataError, SettingError, SourceError, UnknownIdError
from leanrec.events.user_events import UserEvent, to_events
from leanrec.models import get_model
from leanrec.models.linear.ease import EASE
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.responses import AddItemsResult, Recommendations, RecordResult
from leanrec.retrieval.exact import ExactRetriever
from leanrec.run import Run
from leanrec.types import Events, Queries

NOW = 2_000_000_000


def events(*rows: tuple[Any, Any], event_type: str = "click", time: int = NOW, **more: Any) -> Events:
    return to_events(
        [UserEvent(str(at), user, item, event_type, time + at, 1.0, **more) for at, (user, item) in enumerate(rows)]
    )


def ids(recommended: Recommendations) -> list[Any]:
    return [item.id for item in recommended.items]


@pytest.fixture(scope="module")
def fitted(dataset: Dataset) -> Pipeline:
    return Pipeline.fit(EASE(l2=20.0), dataset, Run(threads=1))


@pytest.fixture
def pipeline(dataset: Dataset) -> Pipeline:
    """One that a test may change."""
    return Pipeline.fit(EASE(l2=20.0), dataset, Run(threads=1))


class TestRecommend:
    def test_a_known_user_gets_the_list_of_exact_retrieval(self, fitted: Pipeline, dataset: Dataset) -> None:
        expected = ExactRetriever(fitted.model).retrieve(dataset.queries(), 5)
        for row, user in enumerate(dataset.users.ids.tolist()):
            recommended = fitted.recommend(user, n=5)
            assert ids(recommended) == dataset.items.ids[expected.items[row]].tolist()
            np.testing.assert_allclose([item.score for item in recommended.items], expected.scores[row], rtol=1e-5)
            assert recommended.user == user
            assert recommended.fallback is None
            assert recommended.note is None

    def test_items_have_titles_and_reasons(self, fitted: Pipeline, dataset: Dataset) -> None:
        first = fitted.recommend("user-3", n=1).items[0]
        assert first.title == dataset.item_table.columns["title"][dataset.items.row(first.id)]  # type: ignore[union-attr]
        assert first.reasons[0].startswith("because you rated ")
        assert fitted.recommend("user-3", n=1, reasons=False).items[0].reasons == ()

    def test_a_given_history_equals_the_stored_one(self, fitted: Pipeline, dataset: Dataset) -> None:
        past = fitted.history("user-4")[::-1]
        recommended = fitted.recommend(history=[event.id for event in past], weights=[event.weight for event in past])
        assert ids(recommended) == ids(fitted.recommend("user-4"))
        assert recommended.user is None

    def test_ids_may_be_text_or_numbers(self, fitted: Pipeline) -> None:
        assert ids(fitted.recommend(history=["100", "104"])) == ids(fitted.recommend(history=[100, 104]))

    def test_a_given_history_replaces_the_stored_one(self, fitted: Pipeline) -> None:
        recommended = fitted.recommend("user-4", history=[100])
        assert ids(recommended) == ids(fitted.recommend(history=[100]))
        assert recommended.user == "user-4"

    def test_an_empty_history_uses_the_fallback(self, fitted: Pipeline, dataset: Dataset) -> None:
        recommended = fitted.recommend(history=[], n=4)
        popular = np.argsort(-np.bincount(dataset.events.item, minlength=40), kind="stable")[:4]
        assert recommended.fallback == "popularity"
        assert ids(recommended) == dataset.items.ids[popular].tolist()
        assert recommended.items[0].reasons == ("popular with all users",)
        assert ids(fitted.recommend("unknown", history=[], n=4)) == ids(recommended)

    def test_low_ratings_are_seen_but_have_no_weight(self, dataset: Dataset) -> None:
        liked = dataclasses.replace(dataset.events, weight=(dataset.events.rating >= 3).astype(np.float32))  # type: ignore[operator]
        pipeline = Pipeline.fit(EASE(l2=20.0), dataset.with_events(liked))
        recommended = pipeline.recommend(history=[100, 104], ratings=[5.0, 1.0], n=40)
        assert 104 not in ids(recommended)
        assert [item.score for item in recommended.items] == pytest.approx(
            [item.score for item in pipeline.recommend(history=[100], n=40, deny=[104]).items]
        )
        assert pipeline.recommend(history=[104], ratings=[1.0]).fallback == "popularity"

    def test_items_with_score_zero_are_replaced_by_popular_ones(self, dataset: Dataset) -> None:
        pipeline = Pipeline.fit(get_model("content")(columns=("genres",)), dataset)
        recommended = pipeline.recommend(history=[101], n=39, deny=[103])
        zeros = [position for position, item in enumerate(recommended.items) if item.score == 0]
        assert zeros == list(range(zeros[0], 38))
        popular = [item.id for item in pipeline.recommend(history=[], n=40).items]
        positions = [popular.index(recommended.items[position].id) for position in zeros]
        assert positions == sorted(positions)
        assert all(recommended.items[position].reasons == ("popular with all users",) for position in zeros)
        assert recommended.items[0].reasons != ("popular with all users",)
        assert recommended.note == (
            f"{len(zeros)} of 38 items, at the end of the list, are filled from popularity: the model scored them zero. "
            "38 of 39 items: no other item may be recommended."
        )
        assert not {101, 103} & set(ids(recommended))
        allowed = popular[:9]
        assert ids(pipeline.recommend(history=[101], n=39, deny=[103], allow=allowed)) == [
            each for each in ids(recommended) if each in allowed
        ]

    @pytest.mark.parametrize("name", ["rating_mf", "bias", "rating_knn"])
    def test_predicted_ratings_are_clipped_to_the_range_of_the_data(self, dataset: Dataset, name: str) -> None:
        pipeline = Pipeline.fit(get_model(name)(), dataset)
        recommended = pipeline.recommend(history=[100, 104, 108], ratings=[5.0, 5.0, 5.0], n=37)
        scores = [item.score for item in recommended.items]
        assert scores == sorted(scores, reverse=True)
        assert 0.5 <= scores[-1] <= scores[0] <= 5.0
        past = pipeline._users.build_history(np.array([0, 4, 8], np.int32), None, [5.0, 5.0, 5.0]).to_queries(-1, 40)
        raw = pipeline.model.score(past)[0]
        assert ids(recommended) == ids(pipeline.recommend(history=[100, 104, 108], ratings=[5.0, 5.0, 5.0], n=37))
        np.testing.assert_allclose(scores, np.sort(np.delete(raw, [0, 4, 8]))[::-1].clip(0.5, 5.0), rtol=1e-5)

    def test_seen_items_are_left_out_by_default(self, fitted: Pipeline) -> None:
        seen = {event.id for event in fitted.history("user-5")}
        assert not seen & set(ids(fitted.recommend("user-5", n=40)))
        assert seen <= set(ids(fitted.recommend("user-5", n=40, exclude_seen=False)))

    def test_allow_deny_and_where(self, fitted: Pipeline) -> None:
        every = ids(fitted.recommend(history=[100], n=39))
        assert ids(fitted.recommend(history=[100], allow=every[5:9])) == every[5:9]
        assert ids(fitted.recommend(history=[100], n=39, deny=every[:3])) == every[3:]
        recommended = fitted.recommend(
            history=[100], n=39, where={"genres": "music", "year": {"min": 1990, "max": 2000}}
        )
        assert ids(recommended)
        assert all(item % 4 == 3 and 110 <= item <= 120 for item in ids(recommended))
        assert ids(fitted.recommend(history=[100], allow=[])) == []

    def test_a_short_list_has_a_note(self, fitted: Pipeline) -> None:
        recommended = fitted.recommend("user-0", n=1000)
        assert len(recommended.items) == 28
        assert recommended.note == "28 of 1000 items: no other item may be recommended."

    def test_unknown_items_of_a_call_are_reported(self, fitted: Pipeline) -> None:
        recommended = fitted.recommend(history=[100, "zz"], deny=[1], allow=[104, 2], n=1)
        assert recommended.ignored == ("zz", 2, 1)
        assert ids(recommended) == [104]

    @pytest.mark.parametrize(
        ("call", "error", "message"),
        [
            ({"user": "user-99"}, UnknownIdError, "No user with the id 'user-99'"),
            ({}, SettingError, "A user or a history must be given"),
            ({"history": "art-1"}, SettingError, r"history must be a list of ids. Got the one text 'art-1'"),
            ({"user": "user-1", "deny": "101"}, SettingError, "deny must be a list of ids"),
            ({"user": "user-1", "n": 0}, SettingError, "n must be 1 or more. Got 0"),
            ({"history": [100], "weights": [1.0, 2.0]}, SettingError, "weights must have 1 entries"),
            ({"history": [100], "ratings": []}, SettingError, "ratings must have 1 entries"),
            ({"user": "user-1", "ratings": [1.0]}, SettingError, "need a history"),
            ({"user": "user-1", "where": {"color": "red"}}, SettingError, "no column 'color'"),
        ],
    )
    def test_a_wrong_call_raises_a_clear_error(
        self, fitted: Pipeline, call: dict[str, Any], error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            fitted.recommend(**call)

    def test_a_list_converts_to_json(self, fitted: Pipeline) -> None:
        recommended = fitted.recommend("user-1", n=2)
        assert json.loads(json.dumps(recommended.to_dict()))["items"][1]["id"] == recommended.items[1].id

    def test_every_list_has_its_own_request_id(self, fitted: Pipeline) -> None:
        assert len({fitted.recommend("user-1").request for _ in range(5)}) == 5


class TestSimilarAndExplain:
    def test_similar_items_share_the_genre(self, fitted: Pipeline) -> None:
        recommended = fitted.similar_items(100, 5)
        assert 100 not in ids(recommended)
        assert sum(item % 4 == 0 for item in ids(recommended)) >= 4
        assert recommended.items[0].reasons == ("shares: space",)

    def test_similarity_of_embeddings_is_the_cosine(self, dataset: Dataset) -> None:
        pipeline = Pipeline.fit(_OneHot(), dataset, fallback=EASE())
        assert all(item % 4 == 0 for item in ids(pipeline.similar_items(100, 3)))
        assert pipeline.similar_items(100, 1).items[0].score == pytest.approx(1.0)

    def test_conditions_apply_to_similar_items(self, fitted: Pipeline) -> None:
        assert all(item % 4 == 1 for item in ids(fitted.similar_items(100, 5, where={"genres": "romance"})))

    def test_an_explanation_lists_contributions_of_the_history(self, fitted: Pipeline) -> None:
        top = fitted.recommend("user-3", n=1).items[0]
        why = fitted.explain("user-3", top.id)
        past = {event.id for event in fitted.history("user-3")}
        assert {part.id for part in why.contributions} <= past
        assert why.contributions[0].weight == max(part.weight for part in why.contributions)
        assert why.reasons == top.reasons

    def test_a_model_that_cannot_explain_is_scored_item_by_item(self, dataset: Dataset) -> None:
        pipeline = Pipeline.fit(_OneHot(), dataset, fallback=EASE())
        why = pipeline.explain(None, 104, history=[101, 100])
        assert [part.id for part in why.contributions] == [100]
        assert pipeline.recommend(history=[100]).items[0].reasons == ()

    def test_an_empty_history_is_explained_by_the_fallback(self, fitted: Pipeline) -> None:
        why = fitted.explain(None, 104, history=[])
        assert why.fallback == "popularity"
        assert why.reasons == ("popular with all users",)

    def test_an_item_without_contributions_gets_a_default_reason(self, dataset: Dataset) -> None:
        pipeline = Pipeline.fit(get_model("content")(columns=("genres",)), dataset)
        assert pipeline.explain(None, 102, history=[101]).reasons == (
            "no item of the history contributes to its score",
        )

    def test_unknown_ids_raise(self, fitted: Pipeline) -> None:
        with pytest.raises(UnknownIdError, match="No item"):
            fitted.similar_items(1)
        with pytest.raises(UnknownIdError, match="No item"):
            fitted.explain("user-1", 1)
        with pytest.raises(UnknownIdError, match="No user"):
            fitted.history("user-99")


class TestRecord:
    def test_the_next_recommendation_reflects_a_click(self, pipeline: Pipeline) -> None:
        before = pipeline.recommend("user-3")
        clicked = before.items[1].id
        assert pipeline.record_events(events(("user-3", clicked))) == RecordResult(1)
        after = pipeline.recommend("user-3")
        assert clicked not in ids(after)
        assert [item.score for item in after.items] != [item.score for item in before.items[:1] + before.items[2:]]
        past = pipeline.history("user-3", 1)[0]
        assert (past.id, past.event_type, past.time, past.rating) == (clicked, "click", NOW, None)

    def test_new_events_make_the_history_stale_and_the_user_stays_known(self, pipeline: Pipeline) -> None:
        model = _Spy(pipeline.model)
        pipeline._current.snapshot = dataclasses.replace(pipeline._snapshot, model=model)
        own = [past.id for past in reversed(pipeline.history("user-3"))]
        for history in (None, own, own[1:], []):
            pipeline.recommend("user-3", history=history)
        pipeline.recommend(history=own)
        pipeline.record_events(events(("user-3", 100), ("guest", 100)))
        pipeline.recommend("user-3")
        pipeline.recommend("guest")
        assert model.users == [3, 3, 3, 3, -1, 3, -1]
        assert model.stale == [False, False, True, True, False, True, False]

    def test_a_new_user_is_known_from_their_first_event(self, pipeline: Pipeline) -> None:
        with pytest.raises(UnknownIdError):
            pipeline.recommend("guest")
        pipeline.record_events(events(("guest", 100)))
        recommended = pipeline.recommend("guest")
        assert ids(recommended) == ids(pipeline.recommend(history=[100]))
        assert recommended.fallback is None
        assert pipeline.find_users("gue") == (("guest", 1),)
        assert pipeline.n_users == 61

    def test_a_replayed_log_changes_nothing(self, pipeline: Pipeline, dataset: Dataset) -> None:
        log = events(("user-3", 100), ("guest", 104))
        pipeline.record_events(log)
        once = pipeline.to_dataset()
        assert pipeline.record_events(log, replayed=True) == RecordResult(0)
        assert pipeline.to_dataset().fingerprint == once.fingerprint
        assert not pipeline._histories.is_stale(4, pipeline._histories.get(4))

    def test_two_events_in_one_second_both_count(self, pipeline: Pipeline) -> None:
        for value in (1.0, 5.0):
            rated = to_events([UserEvent("any", "user-3", 100, "rating", NOW, 1.0, value)])
            assert pipeline.record_events(rated) == RecordResult(1)
        assert [past.rating for past in pipeline.history("user-3", 2)] == [5.0, 1.0]
        clicks = to_events([UserEvent(name, "user-3", 101, "click", NOW, 1.0) for name in "ab"])
        assert pipeline.record_events(clicks) == RecordResult(2)
        assert len(pipeline.history("user-3")) == 12 + 4
        refitted = Pipeline.fit(EASE(l2=20.0), pipeline.to_dataset())
        assert refitted.record_events(clicks, replayed=True) == RecordResult(0)

    def test_events_are_ordered_by_time(self, pipeline: Pipeline) -> None:
        pipeline.record_events(events(("user-3", 100), time=5))
        assert pipeline.history("user-3")[-1].time == 5

    def test_unusable_events_are_rejected_with_a_reason(self, pipeline: Pipeline) -> None:
        mixed = to_events(
            [
                UserEvent("a", "user-3", 7, "click", NOW, 1.0),
                UserEvent("b", "user-3", 101, "click", NOW, 1.0),
                UserEvent("c", "user-3", 102, "rating", NOW, 1.0, rating=9.0),
                UserEvent("d", "user-3", 103, "click", NOW, -1.0),
            ]
        )
        recorded = pipeline.record_events(mixed)
        assert recorded.applied == 1
        assert [(each.position, each.reason) for each in recorded.rejected] == [
            (0, "No item has the id '7'."),
            (2, "The rating must be from 0.5 to 5. Got 9."),
            (3, "The weight must be 0 or more. Got -1.0."),
        ]
        assert pipeline.record_events(mixed.take(slice(0, 0))) == RecordResult(0)

    @pytest.mark.parametrize("seed", range(3))
    def test_events_one_by_one_are_recorded_as_columns_are(self, dataset: Dataset, seed: int) -> None:
        rng = np.random.default_rng(seed)
        numbers = dataclasses.replace(dataset, users=Vocabulary(id_array(range(60)), "user"))
        by_columns, by_event = (Pipeline.fit(EASE(l2=20.0), numbers) for _ in range(2))
        for batch in range(30):
            wrong = batch % 3 == 0  # some batches have events that are rejected
            user_events = [
                UserEvent(
                    id=f"{batch}-{at}",
                    user=[3, "3", "guest", 61, 4][rng.integers(5)],
                    item=[100, "101", 102, 7 if wrong else 103][rng.integers(4)],
                    event_type=["rating", "click", "buy"][rng.integers(3)],
                    time=[int(dataset.events.time[rng.integers(720)]), NOW + 0.9996, NOW + batch][rng.integers(3)],
                    weight=[1.0, 0.0, 2.5, 1e39 if wrong else 1e31, -1.0 if wrong else 0.5][rng.integers(5)],
                    rating=[None, 4.5, np.nan, 9.0 if wrong else 0.5][rng.integers(4)],
                )
                for at in range(rng.integers(4))
            ]
            with np.errstate(over="ignore"):
                expected = by_columns.record_events(to_events(user_events))
                assert by_event.record_user_events(user_events) == expected
        assert by_event.event_types == by_columns.event_types
        for user in (3, 4, "guest", 61):
            assert by_event.history(user) == by_columns.history(user)

    def test_events_of_one_second_keep_their_order_where_an_id_is_a_number_and_text(self, pipeline: Pipeline) -> None:
        def record_columns(user_events: list[UserEvent]) -> None:
            pipeline.record_events(to_events(user_events))

        for users, record in zip(
            ((900, "900", 900), ("guest",) * 3), (pipeline.record_user_events, record_columns), strict=True
        ):
            record([UserEvent(f"e{at}", user, 100 + at, "click", NOW, 1.0) for at, user in enumerate(users)])
        assert pipeline.history("900") == pipeline.history("guest")

    def test_ids_of_an_impossible_type_are_refused(self, pipeline: Pipeline) -> None:
        for user in (1.5, 2**63):
            with pytest.raises(DataError, match="hole"):
                pipeline.record_user_events([UserEvent("a", user, 100, "click", NOW, 1.0)])  # type: ignore[arg-type]

    def test_too_many_event_types_are_rejected(self, pipeline: Pipeline) -> None:
        for number in range(119):
            assert pipeline.record_events(events(("user-3", 100), event_type=f"type-{number}")).applied == 1
        assert (
            "too many event types"
            in pipeline.record_events(events(("user-3", 100), event_type="last")).rejected[0].reason
        )

    def test_concurrent_readers_and_writers(self, pipeline: Pipeline) -> None:
        errors: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for step in range(25):
                    pipeline.record_events(events((f"guest-{number}", 100 + step), time=NOW + step))
                    assert 100 + step not in ids(pipeline.recommend(f"guest-{number}"))
                    pipeline.recommend("user-1", where={"year": {"min": 1980 + step}})
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert pipeline.n_users == 66
        assert pipeline.to_dataset().shape.events == 720 + 150


class TestNewItems:
    def test_a_content_model_adds_new_items(self, dataset: Dataset, tmp_path: Path) -> None:
        pipeline = Pipeline.fit(get_model("content")(), dataset)
        table = dataset.item_table.take(np.array([0, 0]))  # type: ignore[union-attr]
        assert pipeline.add_items([100, "900"], table) == AddItemsResult(added=1, unchanged=1)
        assert pipeline.add_items([900], table.take(np.array([0]))) == AddItemsResult(unchanged=1)
        assert len(pipeline.catalog) == 41
        assert ids(pipeline.recommend(history=[100], n=1)) == [900]  # the twin of item 100
        assert pipeline.record_events(events(("user-3", 900))).applied == 1
        assert 900 in ids(pipeline.recommend(history=[], n=41))  # the fallback puts it last
        again = Pipeline.load(pipeline.save(tmp_path / "m"))
        assert ids(again.recommend("user-3")) == ids(pipeline.recommend("user-3"))
        assert again.catalog.title(40) == pipeline.catalog.title(0)

    def test_a_column_may_be_missing_but_not_unknown(self, dataset: Dataset) -> None:
        pipeline = Pipeline.fit(get_model("content")(), dataset)
        genres = np.array(["space"], STRINGS)
        for name, hint in (("Genres", "'genres'"), ("titel", "'title'")):
            with pytest.raises(DataError, match=f"no column '{name}'. Did you mean {hint}"):
                pipeline.add_items([900], Table({"genres": genres, name: genres}))
        assert pipeline.add_items([900], Table({"genres": genres})).added == 1
        assert pipeline.catalog.content(40) == {"genres": "space"}

    @pytest.mark.parametrize("name", ["content", "item_knn", "graphsage", "hybrid"])
    def test_items_without_content_and_one_id_in_two_types_change_no_other_answer(
        self, dataset: Dataset, name: str
    ) -> None:
        parts = {"parts": ("ease", "content")} if name == "hybrid" else {}
        pipeline = Pipeline.fit(get_model(name)(**parts), dataset)
        before = ids(pipeline.recommend("user-3"))
        assert pipeline.add_items([900, "900", 901], Table({})).added == 2
        assert pipeline.add_items(["902", 902], Table({"year": np.array([np.nan, 1999.0])})).added == 1
        assert len(pipeline.catalog) == pipeline.model.n_items == 43
        assert pipeline.catalog.content(42) == {"year": 1999.0}
        if name != "graphsage":  # it places an item without content by a constant
            assert [item for item in ids(pipeline.recommend("user-3")) if item < 900][:5] == before[:5]
        assert pipeline.recommend(history=[900], n=3).fallback in {"popularity", None}
        assert pipeline.similar_items(900, 3).items
        assert pipeline.add_items([903], Table({"title": np.array(["Next"], STRINGS)})).added == 1

    def test_the_content_of_an_added_item_can_be_corrected(self, dataset: Dataset) -> None:
        pipeline = Pipeline.fit(get_model("content")(), dataset)
        assert dataset.item_table is not None
        right = dataset.item_table.take(np.array([0, 1]))
        assert pipeline.add_items([900, 901], dataset.item_table.take(np.array([2, 1]))).added == 2
        pipeline.record_event("guest", 900)
        assert pipeline.add_items([901, 900, 902, 100], right.take(np.array([1, 0, 0, 1]))) == AddItemsResult(1, 1, 2)
        assert pipeline.catalog.content(40) == pipeline.catalog.content(0)
        assert pipeline.catalog.title(0) == "star 0"  # an item of the fit keeps its content
        assert pipeline.history("guest")[0].title == "star 0"
        at_once = Pipeline.fit(get_model("content")(), dataset)
        at_once.add_items([900, 901, 902], right.take(np.array([0, 1, 0])))
        assert ids(pipeline.recommend(history=[100], n=20)) == ids(at_once.recommend(history=[100], n=20))

    @pytest.mark.parametrize("item", ["new", "007", 2**63, "9999999999999999999"])
    def test_ids_keep_the_type_of_the_data(self, dataset: Dataset, item: Any) -> None:
        pipeline = Pipeline.fit(get_model("content")(), dataset)
        with pytest.raises(DataError, match="must be whole numbers"):
            pipeline.add_items([900, item], Table({}))
        assert len(pipeline.catalog) == 40

    def test_numbers_in_content_must_be_finite(self, dataset: Dataset) -> None:
        pipeline = Pipeline.fit(get_model("content")(), dataset)
        with pytest.raises(DataError, match="'year' must hold numbers. Got '1e999' in row 0"):
            pipeline.add_items([900], Table({"year": np.array(["1e999"], STRINGS)}))

    def test_other_models_need_a_refit_for_new_items(self, pipeline: Pipeline, dataset: Dataset) -> None:
        with pytest.raises(SettingError, match="ease cannot: refit it"):
            pipeline.add_items([900], dataset.item_table.take(np.array([0])))  # type: ignore[union-attr]

    def test_items_that_cannot_be_persisted_are_not_added(self, dataset: Dataset) -> None:
        pipeline = Pipeline.fit(get_model("content")(), dataset)
        row = dataset.item_table.take(np.array([0]))  # type: ignore[union-attr]
        seen = []

        def fail() -> None:
            seen.append(len(pipeline.catalog))
            raise SourceError("the disk is full")

        with pytest.raises(SourceError, match="full"):
            pipeline.add_items([900], row, persist=fail)
        assert seen == [40]
        assert len(pipeline.catalog) == 40
        assert pipeline.add_items([900], row, persist=lambda: None).added == 1


@pytest.mark.parametrize(
    ("given", "write"),
    [("ease", r"leanrec.models.get_model\('ease'\)\(\)"), (EASE, r"EASE\(\)"), (3, "such as leanrec.models.get_model")],
)
def test_other_values_than_estimators_raise(dataset: Dataset, given: Any, write: str) -> None:
    with pytest.raises(SettingError, match=f"estimator must be the settings of a model. Got .*; write {write}"):
        Pipeline.fit(given, dataset)


class TestSaving:
    def test_a_loaded_pipeline_gives_the_same_lists(self, pipeline: Pipeline, dataset: Dataset, tmp_path: Path) -> None:
        pipeline.record_events(events(("user-3", 100), ("guest", 104)))
        loaded = Pipeline.load(pipeline.save(tmp_path / "m"))
        for user in ("user-3", "guest", "user-4"):
            assert loaded.recommend(user).items == pipeline.recommend(user).items
        assert loaded.history("user-3") == pipeline.history("user-3")
        stale = [row for row in range(60) if loaded._histories.is_stale(row, loaded._histories.get(row))]
        assert stale == [3]
        assert [loaded._histories.fitted_row(row) for row in (3, 59, 60)] == [3, 59, -1]

    def test_provenance_names_model_data_and_cost(self, pipeline: Pipeline, dataset: Dataset, tmp_path: Path) -> None:
        made = Pipeline.load(pipeline.save(tmp_path / "m")).provenance
        assert made["model"] == "ease"
        assert made["settings"].startswith("EASE(l2=20.0")
        assert made["data"]["fingerprint"] == dataset.fingerprint
        assert made["fit"]["wall"] > 0
        assert artifacts.read_manifest(tmp_path / "m")["leanrec"]

    @pytest.mark.parametrize("part", ["value.model.weights.npy", "value.data.items.ids.npy"])
    def test_a_damaged_file_raises(self, fitted: Pipeline, tmp_path: Path, part: str) -> None:
        folder = fitted.save(tmp_path / "m")
        data = bytearray((folder / part).read_bytes())
        data[-1] ^= 1
        (folder / part).write_bytes(bytes(data))
        with pytest.raises(ArtifactError, match="damaged"):
            Pipeline.load(folder)

    def test_other_folders_than_pipelines_raise(self, fitted: Pipeline, dataset: Dataset, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match="not a leanrec artifact"):
            Pipeline.load(tmp_path / "nowhere")
        with pytest.raises(ArtifactError, match="must hold a SavedPipeline|not a fitted model"):
            Pipeline.load(artifacts.save(dataset, tmp_path / "data"))
        folder = fitted.save(tmp_path / "m")
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
        with pytest.raises(ArtifactError, match="format"):
            Pipeline.load(folder)
        (folder / "manifest.json").write_text("{")
        with pytest.raises(ArtifactError, match="damaged"):
            Pipeline.load(folder)

    def test_a_model_of_other_items_raises(self, fitted: Pipeline, tmp_path: Path) -> None:
        other = Pipeline.fit(EASE(), make_dataset(n_items=20))
        fitted_base = fitted._current.base
        fitted._current.base = dataclasses.replace(fitted_base, model=other.model)
        try:
            folder = fitted.save(tmp_path / "m")
        finally:
            fitted._current.base = fitted_base
        with pytest.raises(ArtifactError, match="must score the 40 items"):
            Pipeline.load(folder)


def test_integer_users_and_text_users_can_be_mixed(dataset: Dataset, tmp_path: Path) -> None:
    numbers = dataclasses.replace(dataset, users=Vocabulary(id_array(range(60)), "user"))
    pipeline = Pipeline.fit(EASE(l2=20.0), numbers)
    pipeline.record_events(events(("guest", 100), ("7", 101), (61, 102)))
    assert pipeline.external_user_id("7") == 7
    assert pipeline.recommend("7").user == 7
    loaded = Pipeline.load(pipeline.save(tmp_path / "m"))
    assert loaded.recommend(7).items == pipeline.recommend(7).items
    assert loaded.recommend("guest").items == pipeline.recommend("guest").items
    assert loaded.recommend(61).items == pipeline.recommend(61).items


@dataclasses.dataclass
class _Spy:
    """Notes the user rows that a model is asked about."""

    model: Any

    def __post_init__(self) -> None:
        self.users: list[int] = []
        self.stale: list[bool] = []
        self.n_items = self.model.n_items

    def score(self, queries: Queries, items: Any = None) -> Any:
        self.users += queries.users.tolist()
        self.stale += [] if queries.is_stale is None else queries.is_stale.tolist()
        return self.model.score(queries, items)


@dataclasses.dataclass(frozen=True)
class _OneHot:
    """Four directions: one for each genre of the made data."""

    def fit_bytes(self, shape: Any) -> int:
        return 0

    def fit(self, data: Dataset, run: Run = Run()) -> "_OneHotModel":
        return _OneHotModel(np.eye(4, dtype=np.float32)[np.arange(len(data.items)) % 4])


@dataclasses.dataclass(frozen=True, eq=False)
class _OneHotModel:
    items: Any

    @property
    def n_items(self) -> int:
        return len(self.items)

    def embed_items(self) -> Any:
        return self.items

    def embed_queries(self, queries: Queries) -> Any:
        return queries.history @ self.items

    def score(self, queries: Queries, items: Any = None) -> Any:
        scores = self.embed_queries(queries) @ self.items.T
        return scores if items is None else scores[:, items]


@pytest.mark.parametrize("kind", [TimeKind.ORDER, TimeKind.NONE, TimeKind.TIMESTAMP])
def test_feedback_leaves_the_kind_of_the_times_and_the_split(kind: TimeKind, dataset: Dataset, tmp_path: Path) -> None:
    place = np.arange(len(dataset.events)) - dataset.indptr[dataset.events.user]
    time = {TimeKind.ORDER: place, TimeKind.NONE: 0 * place, TimeKind.TIMESTAMP: dataset.events.time}[kind]
    data = dataset.with_events(dataclasses.replace(dataset.events, time=time), TimeKind.UNKNOWN)
    pipeline = Pipeline.fit(EASE(l2=20.0), data)
    for user in data.users.ids.tolist()[:30]:
        pipeline.record_event(user, pipeline.recommend(user, n=1).items[0].id)
    for joined in (pipeline.to_dataset(), Pipeline.load(pipeline.save(tmp_path / "model")).to_dataset()):
        assert joined.time_kind is data.time_kind is kind
        before, after = split(data), split(joined)
        assert before.how == after.how
        assert len(joined.events) == len(data.events) + 30
        assert (joined.events.event_type[joined.indptr[1:31] - 1] == joined.events.event_types.index("click")).all()
        assert get_model("item_knn")().fit(after.train).n_items == 40


class TestVectors:
    def test_the_dot_product_is_the_score_and_the_order_is_that_of_recommend(self, dataset: Dataset) -> None:
        for name in ("ials", "bpr", "rating_mf"):
            pipeline = Pipeline.fit(get_model(name)(embedding_dim=4), dataset, Run(threads=1))
            items = pipeline.embed_items()
            scores = dict(zip(items.ids.tolist(), items.vectors @ pipeline.embed_user("user-1"), strict=True))
            listed = pipeline.recommend("user-1", n=5).items
            seen = {event.id for event in pipeline.history("user-1")}
            best = sorted(scores.keys() - seen, key=lambda item: -scores[item])[:5]
            assert best == [item.id for item in listed], name
            if name != "rating_mf":  # its served scores are within the range of ratings
                np.testing.assert_allclose([scores[item.id] for item in listed], [i.score for i in listed], rtol=1e-4)

    def test_the_longest_vector_is_first_and_blank_items_are_left_out(self, dataset: Dataset) -> None:
        unseen = Vocabulary(np.append(dataset.items.ids, [9_001, 9_002]))
        data = dataclasses.replace(dataset, items=unseen, item_table=None)
        items = Pipeline.fit(get_model("ials")(embedding_dim=4), data, Run(threads=1)).embed_items()
        lengths = np.linalg.norm(items.vectors, axis=1)
        assert (lengths[:-1] >= lengths[1:]).all()
        assert lengths[-1] > 0
        assert set(items.ids.tolist()) == set(dataset.items.ids[np.unique(dataset.events.item)].tolist())

    def test_the_vector_of_a_user_follows_events_and_that_of_a_history_is_the_same(self, dataset: Dataset) -> None:
        pipeline = Pipeline.fit(get_model("ials")(embedding_dim=4), dataset, Run(threads=1))
        before = pipeline.embed_user("user-1")
        new = pipeline.recommend("user-1", n=1).items[0].id
        pipeline.record_event("user-1", new)
        assert np.abs(pipeline.embed_user("user-1") - before).max() > 1e-3
        history = [event.id for event in pipeline.history("user-1")]
        weights = [event.weight for event in pipeline.history("user-1")]
        same = pipeline.embed_user(history=history, weights=weights)
        np.testing.assert_allclose(pipeline.embed_user("user-1"), same, rtol=1e-4, atol=1e-6)

    def test_without_evidence_the_vector_is_zero(self, dataset: Dataset) -> None:
        pipeline = Pipeline.fit(get_model("ials")(embedding_dim=4), dataset, Run(threads=1))
        assert not pipeline.embed_user(history=[]).any()

    def test_a_model_without_vectors_says_so(self, fitted: Pipeline) -> None:
        with pytest.raises(SettingError, match="dot product, such as ials or bpr, has vectors. ease has none"):
            fitted.embed_items()
        with pytest.raises(SettingError, match="has vectors"):
            fitted.embed_user("user-1")


def test_what_was_settled_about_ratings_holds_for_later_events_and_predictions() -> None:
    frame = pd.DataFrame([(user, item, 2 + item % 3) for user in range(12) for item in range(user % 4, 9)])
    frame = frame.set_axis(["user", "item", "rating"], axis=1)
    data = ingest(
        frame, cleaning=CleaningRules(rating_range=(1, 5)), positive_from=3.5, event_weights={"purchase": 5}
    ).data
    fitted = Pipeline.fit(get_model("bias")(user_damping=0, item_damping=0), data)
    assert fitted.rating_range == (1, 5)
    assert fitted.record_event("new", 2, "rating", 5.0).applied == 1
    assert fitted.record_event("new", 1, "rating", 6.0).rejected[0].reason == "The rating must be from 1 to 5. Got 6."
    assert fitted.record_event("other", 5, "purchase").applied == 1
    joined = fitted.to_dataset()
    weights = dict(zip(joined.events.rating.tolist(), joined.events.weight.tolist(), strict=True))  # type: ignore[union-attr]
    assert (weights[3.0], weights[4.0], weights[5.0]) == (0.0, 1.0, 1.0)
    assert joined.events.weight.max() == 5
    # The mean of 5 and the offset of an item that is liked: above every rating of the log.
    best = fitted.recommend("new", n=3).items[0]
    assert 4 < best.score <= 5


class TestHiddenItems:
    @pytest.mark.parametrize("name", ["ease", "item_knn", "ials", "popularity", "user_knn"])
    def test_every_list_is_the_one_that_denies_the_hidden_items(self, dataset: Dataset, name: str) -> None:
        pipeline = Pipeline.fit(get_model(name)(), dataset, Run(threads=1))
        first = [*ids(pipeline.recommend("user-3", n=2)), *ids(pipeline.recommend(history=[], n=1))]
        asked: list[dict[str, Any]] = [
            {"user": "user-3", "n": 50},
            {"history": [], "n": 50},
            {"history": [100, 101], "allow": [*range(100, 120), *first]},
            {"user": "user-5", "where": {"genres": "space"}, "exclude_seen": False},
        ]
        denied = [pipeline.recommend(**each, deny=first, reasons=False) for each in asked]
        pipeline.hide_items(first)
        hidden = [pipeline.recommend(**each, reasons=False) for each in asked]
        assert [(each.items, each.note) for each in hidden] == [(each.items, each.note) for each in denied]
        assert not set(ids(pipeline.similar_items(first[0], 50))) & set(first)
        pipeline.show_items([str(each) for each in first])
        assert first[0] in ids(pipeline.recommend("user-3", n=2))

    def test_reasons_name_the_next_item_instead(self, dataset: Dataset) -> None:
        pipeline = Pipeline.fit(get_model("item_knn")(), dataset, Run(threads=1))
        (item,) = pipeline.recommend("user-3", n=1).items
        strongest, *others = pipeline.explain("user-3", item.id).contributions
        assert strongest.title in item.reasons[0]
        pipeline.hide_items([strongest.id])
        assert [each.id for each in pipeline.explain("user-3", item.id).contributions][:9] == [
            each.id for each in others
        ]
        listed = {each.id: each for each in pipeline.recommend("user-3", n=5).items}[item.id]
        assert f"{others[0].title}" in listed.reasons[0]
        assert strongest.title not in " ".join(listed.reasons)

    def test_models_without_explanations_of_their_own_name_no_hidden_item(self, pipeline: Pipeline) -> None:
        past = [event.id for event in pipeline.history("user-3")]
        pipeline.hide_items(past)
        assert pipeline.explain("user-3", pipeline.recommend("user-3", n=1).items[0].id).contributions == ()

    def test_events_of_a_hidden_item_are_recorded(self, pipeline: Pipeline) -> None:
        pipeline.hide_items([105])
        assert pipeline.record_event("guest", 105).applied == 1
        assert [each.id for each in pipeline.history("guest")] == [105]

    def test_unknown_items_are_refused_and_nothing_changes(self, pipeline: Pipeline) -> None:
        with pytest.raises(UnknownIdError):
            pipeline.hide_items([105, 9999])
        with pytest.raises(SettingError, match="must be a list of ids"):
            pipeline.hide_items("105")
        with pytest.raises(SourceError, match="full"):
            pipeline.hide_items([105], persist=refuse)
        assert not pipeline.is_hidden(105)

    def test_an_item_that_is_hidden_before_it_is_added_stays_hidden(self, dataset: Dataset) -> None:
        pipeline = Pipeline.fit(get_model("content")(), dataset)
        pipeline.hide_items([900, 100], replayed=True)
        pipeline.add_items([900, 901], Table({"genres": np.array(["space", "space"], STRINGS)}))
        shown = ids(pipeline.recommend(history=[103], n=100, exclude_seen=False))
        assert 901 in shown
        assert not {900, 100} & set(shown)
        pipeline.show_items([900])
        assert 900 in ids(pipeline.recommend(history=[103], n=100))

    def test_hidden_items_are_saved_and_are_in_no_list_of_all_users(self, pipeline: Pipeline, tmp_path: Path) -> None:
        hidden = ids(pipeline.recommend("user-3", n=2))
        pipeline.hide_items(hidden)
        pipeline.recommend_all(tmp_path / "lists.csv", n=5)
        assert not set(pd.read_csv(tmp_path / "lists.csv")["item"]) & set(hidden)
        again = Pipeline.load(pipeline.save(tmp_path / "model"))
        assert [again.is_hidden(each) for each in hidden] == [True, True]
        assert ids(again.recommend("user-3")) == ids(pipeline.recommend("user-3"))

    def test_hiding_builds_no_index(self, dataset: Dataset) -> None:
        pipeline = Pipeline.fit(get_model("ials")(), dataset)
        pipeline.warm_up()
        index, vectors = pipeline._snapshot.stages.retriever, pipeline._snapshot.unit_embeddings
        pipeline.hide_items([100])
        assert pipeline._snapshot.stages.retriever is index
        assert vars(pipeline._snapshot)["unit_embeddings"] is vectors


def refuse() -> None:
    raise SourceError("The disk is full.")


@pytest.mark.parametrize("name", ["ease", "ials", "user_knn"])
def test_a_forgotten_user_is_in_no_list_and_no_artifact(dataset: Dataset, tmp_path: Path, name: str) -> None:
    table = Table({"city": np.array([f"of-{each}" for each in dataset.users.ids.tolist()], np.dtypes.StringDType())})
    pipeline = Pipeline.fit(get_model(name)(), dataclasses.replace(dataset, user_table=table))
    user, other = dataset.users.ids[43], dataset.users.ids[4]
    pipeline.recommend(user)
    before = pipeline.recommend(other).items
    assert pipeline.forget_user(user)
    assert not pipeline.forget_user(user)
    assert pipeline.recommend(other).items == before
    for ask in (pipeline.recommend, pipeline.history, pipeline.find_cached):
        with pytest.raises(UnknownIdError) as raised:
            ask(user)
        assert "look like" not in str(raised.value)
    loaded = Pipeline.load(pipeline.save(tmp_path / "model"))
    for each in (pipeline, loaded):
        assert each.n_users == 59
        assert len(each.find_users("", 100)) == 59
        assert each.recommend_all(tmp_path / "lists.csv", n=3).users == 59
        assert len(each.to_dataset().users) == 59
        assert user not in each.to_dataset().users
    for file in (tmp_path / "model").rglob("*"):
        assert f"of-{user}".encode() not in file.read_bytes()
    assert [item.id for item in loaded.recommend(other).items] == [item.id for item in before]
    loaded.record_event(user, dataset.items.ids[0])
    again = Pipeline.load(loaded.save(tmp_path / "again"))
    assert len(again.history(user)) == 1
    assert again.n_users == 60


class TestTraces:
    @pytest.mark.parametrize("name", ["ease", "ials", "item_knn", "popularity"])
    @pytest.mark.parametrize("reasons", [True, False])
    def test_a_traced_list_is_the_same_list(self, dataset: Dataset, name: str, reasons: bool) -> None:
        pipeline = Pipeline.fit(get_model(name)(), dataset, Run(threads=1))
        asked: list[dict[str, Any]] = [
            {"user": "user-3", "n": 7},
            {"history": [], "n": 3},
            {"user": "user-3", "allow": range(100, 120), "deny": [101], "where": {"genres": "space"}, "n": 50},
        ]
        for each in asked:
            plain = pipeline.recommend(**each, reasons=reasons)
            traced = pipeline.recommend(**each, reasons=reasons, trace=True)
            assert traced.trace is not None
            assert dataclasses.replace(traced, request="", trace=None) == dataclasses.replace(plain, request="")
            stages = ["rules", "retrieve", "fill", "explain"] if reasons else ["rules", "retrieve", "fill"]
            assert [stage.stage for stage in traced.trace] == stages
            assert all(stage.milliseconds >= 0 for stage in traced.trace)
            for stage in traced.trace:
                grows = stage.stage == "fill"
                assert (
                    stage.after >= stage.before if grows else stage.after == stage.before - sum(stage.dropped.values())
                )
            pairs = zip(traced.trace, traced.trace[1:], strict=False)
            assert all(first.after == second.before for first, second in pairs)
            assert (traced.trace[0].before, traced.trace[-1].after) == (len(pipeline.catalog), len(traced.items))

    def test_every_item_is_dropped_for_the_first_reason_that_applies(self, pipeline: Pipeline) -> None:
        items = pipeline.catalog.items.ids.tolist()
        seen = {event.id for event in pipeline.history("user-3")}
        matching = {items[row] for row in pipeline.catalog.filter_rows({"genres": "space"}).tolist()}
        hidden, denied, allowed = set(items[:4]), set(items[2:9]), set(items[5:30])
        pipeline.hide_items(hidden)
        served = pipeline.recommend(
            "user-3", allow=allowed, deny=denied, where={"genres": "space"}, n=50, trace=True, reasons=False
        )
        left, expected = set(items), {}
        for reason, gone in (
            ("hidden", hidden),
            ("denied", denied),
            ("not allowed", set(items) - allowed),
            ("condition", set(items) - matching),
            ("seen", seen),
        ):
            expected[reason], left = len(left & gone), left - gone
        assert served.trace is not None
        assert served.trace[0].dropped == {reason: count for reason, count in expected.items() if count}
        assert {item.id for item in served.items} == left

    def test_a_traced_list_is_neither_from_the_cache_nor_in_it(self, pipeline: Pipeline) -> None:
        first = pipeline.recommend("user-3")
        assert pipeline.recommend("user-3", trace=True).trace is not None
        assert pipeline.recommend("user-3").trace is first.trace is None
