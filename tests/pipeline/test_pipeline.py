"""The pipeline: own ids in and out, and what is recorded shows in the next answer."""

import dataclasses
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import STRINGS, make_dataset
from leanrec import artifacts
from leanrec.data.dataset import Dataset
from leanrec.data.table import Table
from leanrec.data.vocabulary import Vocabulary, id_array
from leanrec.errors import ArtifactError, SettingError, SourceError, UnknownIdError
from leanrec.events.user_events import Reaction, to_events
from leanrec.models import get_model
from leanrec.models.linear.ease import EASE
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.responses import Recorded, Served
from leanrec.retrieval.exact import ExactRetriever
from leanrec.run import Run
from leanrec.types import Events, Queries

NOW = 2_000_000_000


def events(*rows: tuple[Any, Any], kind: str = "click", time: int = NOW, **more: Any) -> Events:
    return to_events(
        [Reaction(str(at), user, item, kind, time + at, 1.0, **more) for at, (user, item) in enumerate(rows)]
    )


def ids(served: Served) -> list[Any]:
    return [item.id for item in served.items]


@pytest.fixture(scope="module")
def fitted(dataset: Dataset) -> Pipeline:
    return Pipeline.fit(EASE(l2=20.0), dataset, Run(threads=1))


@pytest.fixture
def pipeline(dataset: Dataset) -> Pipeline:
    """One that a test may change."""
    return Pipeline.fit(EASE(l2=20.0), dataset, Run(threads=1))


class TestRecommend:
    def test_a_known_user_gets_what_exact_retrieval_gives(self, fitted: Pipeline, dataset: Dataset) -> None:
        expected = ExactRetriever(fitted.model).retrieve(dataset.queries(), 5)
        for row, user in enumerate(dataset.users.ids.tolist()):
            served = fitted.recommend(user, n=5)
            assert ids(served) == dataset.items.ids[expected.items[row]].tolist()
            np.testing.assert_allclose([item.score for item in served.items], expected.scores[row], rtol=1e-5)
            assert served.user == user
            assert served.fallback is None
            assert served.note is None

    def test_titles_and_reasons_are_in_words(self, fitted: Pipeline, dataset: Dataset) -> None:
        first = fitted.recommend("user-3", n=1).items[0]
        assert first.title == dataset.item_table.columns["title"][dataset.items.row(first.id)]  # type: ignore[union-attr]
        assert first.reasons[0].startswith("because you rated ")
        assert fitted.recommend("user-3", n=1, reasons=False).items[0].reasons == ()

    def test_a_history_in_the_call_asks_as_the_user_who_has_it(self, fitted: Pipeline, dataset: Dataset) -> None:
        past = fitted.history("user-4")[::-1]
        served = fitted.recommend(history=[event.id for event in past], weights=[event.weight for event in past])
        assert ids(served) == ids(fitted.recommend("user-4"))
        assert served.user is None

    def test_ids_may_be_text_or_numbers(self, fitted: Pipeline) -> None:
        assert ids(fitted.recommend(history=["100", "104"])) == ids(fitted.recommend(history=[100, 104]))

    def test_a_history_stands_in_for_what_is_known_of_a_user(self, fitted: Pipeline) -> None:
        served = fitted.recommend("user-4", history=[100])
        assert ids(served) == ids(fitted.recommend(history=[100]))
        assert served.user == "user-4"

    def test_an_empty_history_gets_the_fallback_and_is_told(self, fitted: Pipeline, dataset: Dataset) -> None:
        served = fitted.recommend(history=[], n=4)
        popular = np.argsort(-np.bincount(dataset.events.item, minlength=40), kind="stable")[:4]
        assert served.fallback == "popularity"
        assert ids(served) == dataset.items.ids[popular].tolist()
        assert served.items[0].reasons == ("popular with everybody",)
        assert ids(fitted.recommend("nobody", history=[], n=4)) == ids(served)

    def test_low_ratings_are_seen_and_no_evidence(self, dataset: Dataset) -> None:
        liked = dataclasses.replace(dataset.events, weight=(dataset.events.value >= 3).astype(np.float32))  # type: ignore[operator]
        pipeline = Pipeline.fit(EASE(l2=20.0), dataset.with_events(liked))
        served = pipeline.recommend(history=[100, 104], ratings=[5.0, 1.0], n=40)
        assert 104 not in ids(served)
        assert [item.score for item in served.items] == pytest.approx(
            [item.score for item in pipeline.recommend(history=[100], n=40, deny=[104]).items]
        )
        assert pipeline.recommend(history=[104], ratings=[1.0]).fallback == "popularity"

    def test_where_the_model_falls_silent_popularity_goes_on(self, dataset: Dataset) -> None:
        pipeline = Pipeline.fit(get_model("content")(columns=("genres",)), dataset)
        served = pipeline.recommend(history=[101], n=39, deny=[103])
        silent = [place for place, item in enumerate(served.items) if item.score == 0]
        assert silent == list(range(silent[0], 38))
        popular = [item.id for item in pipeline.recommend(history=[], n=40).items]
        places = [popular.index(served.items[place].id) for place in silent]
        assert places == sorted(places)
        assert all(served.items[place].reasons == ("popular with everybody",) for place in silent)
        assert served.items[0].reasons != ("popular with everybody",)
        assert served.note == (
            f"{len(silent)} of 38, at the end, come from popularity: the model has nothing to say for them. "
            "38 of 39: no other item may be shown."
        )
        assert not {101, 103} & set(ids(served))
        allowed = popular[:9]
        assert ids(pipeline.recommend(history=[101], n=39, deny=[103], allow=allowed)) == [
            each for each in ids(served) if each in allowed
        ]

    @pytest.mark.parametrize("name", ["rating_mf", "bias", "rating_knn"])
    def test_predicted_ratings_are_shown_inside_their_range(self, dataset: Dataset, name: str) -> None:
        pipeline = Pipeline.fit(get_model(name)(), dataset)
        served = pipeline.recommend(history=[100, 104, 108], ratings=[5.0, 5.0, 5.0], n=37)
        scores = [item.score for item in served.items]
        assert scores == sorted(scores, reverse=True)
        assert 0.5 <= scores[-1] <= scores[0] <= 5.0
        past = pipeline._given(np.array([0, 4, 8], np.int32), None, [5.0, 5.0, 5.0]).queries(-1, 40)
        raw = pipeline.model.score(past)[0]
        assert ids(served) == ids(pipeline.recommend(history=[100, 104, 108], ratings=[5.0, 5.0, 5.0], n=37))
        np.testing.assert_allclose(scores, np.sort(np.delete(raw, [0, 4, 8]))[::-1].clip(0.5, 5.0), rtol=1e-5)

    def test_what_was_seen_is_left_out_unless_asked_for(self, fitted: Pipeline) -> None:
        seen = {event.id for event in fitted.history("user-5")}
        assert not seen & set(ids(fitted.recommend("user-5", n=40)))
        assert seen <= set(ids(fitted.recommend("user-5", n=40, exclude_seen=False)))

    def test_allow_deny_and_where(self, fitted: Pipeline) -> None:
        every = ids(fitted.recommend(history=[100], n=39))
        assert ids(fitted.recommend(history=[100], allow=every[5:9])) == every[5:9]
        assert ids(fitted.recommend(history=[100], n=39, deny=every[:3])) == every[3:]
        served = fitted.recommend(history=[100], n=39, where={"genres": "music", "year": {"min": 1990, "max": 2000}})
        assert ids(served)
        assert all(item % 4 == 3 and 110 <= item <= 120 for item in ids(served))
        assert ids(fitted.recommend(history=[100], allow=[])) == []

    def test_more_than_there_is_comes_short_and_says_so(self, fitted: Pipeline) -> None:
        served = fitted.recommend("user-0", n=1000)
        assert len(served.items) == 28
        assert served.note == "28 of 1000: no other item may be shown."

    def test_unknown_items_in_the_call_are_named(self, fitted: Pipeline) -> None:
        served = fitted.recommend(history=[100, "zz"], deny=[1], allow=[104, 2], n=1)
        assert served.ignored == ("zz", 2, 1)
        assert ids(served) == [104]

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
            ({"user": "user-1", "ratings": [1.0]}, SettingError, "go with a history"),
            ({"user": "user-1", "where": {"colour": "red"}}, SettingError, "no column 'colour'"),
        ],
    )
    def test_a_wrong_call_says_what_is_wrong(
        self, fitted: Pipeline, call: dict[str, Any], error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            fitted.recommend(**call)

    def test_the_answer_is_plain_json(self, fitted: Pipeline) -> None:
        served = fitted.recommend("user-1", n=2)
        assert json.loads(json.dumps(served.to_dict()))["items"][1]["id"] == served.items[1].id

    def test_every_list_has_its_own_request_id(self, fitted: Pipeline) -> None:
        assert len({fitted.recommend("user-1").request for _ in range(5)}) == 5


class TestSimilarAndExplain:
    def test_similar_items_share_the_genre(self, fitted: Pipeline) -> None:
        served = fitted.similar(100, 5)
        assert 100 not in ids(served)
        assert sum(item % 4 == 0 for item in ids(served)) >= 4
        assert served.items[0].reasons == ("both: space",)

    def test_a_model_with_embeddings_is_asked_for_angles(self, dataset: Dataset) -> None:
        pipeline = Pipeline.fit(_Angles(), dataset, fallback=EASE())
        assert ids(pipeline.similar(100, 3)) == [104, 108, 112]
        assert pipeline.similar(100, 1).items[0].score == pytest.approx(1.0)

    def test_where_holds_for_similar_items_too(self, fitted: Pipeline) -> None:
        assert all(item % 4 == 1 for item in ids(fitted.similar(100, 5, where={"genres": "romance"})))

    def test_an_explanation_adds_up(self, fitted: Pipeline) -> None:
        top = fitted.recommend("user-3", n=1).items[0]
        why = fitted.explain("user-3", top.id)
        past = {event.id for event in fitted.history("user-3")}
        assert {part.id for part in why.because} <= past
        assert why.because[0].weight == max(part.weight for part in why.because)
        assert why.reasons == top.reasons

    def test_a_model_without_reasons_is_asked_item_by_item(self, dataset: Dataset) -> None:
        pipeline = Pipeline.fit(_Angles(), dataset, fallback=EASE())
        why = pipeline.explain(None, 104, history=[101, 100])
        assert [part.id for part in why.because] == [100]
        assert pipeline.recommend(history=[100]).items[0].reasons == ()

    def test_nothing_known_is_explained_by_the_fallback(self, fitted: Pipeline) -> None:
        why = fitted.explain(None, 104, history=[])
        assert why.fallback == "popularity"
        assert why.reasons == ("popular with everybody",)

    def test_nothing_that_speaks_for_an_item_is_said(self, dataset: Dataset) -> None:
        pipeline = Pipeline.fit(get_model("content")(columns=("genres",)), dataset)
        assert pipeline.explain(None, 102, history=[101]).reasons == ("nothing in the history speaks for it",)

    def test_unknown_ids_are_refused(self, fitted: Pipeline) -> None:
        with pytest.raises(UnknownIdError, match="No item"):
            fitted.similar(1)
        with pytest.raises(UnknownIdError, match="No item"):
            fitted.explain("user-1", 1)
        with pytest.raises(UnknownIdError, match="No user"):
            fitted.history("user-99")


class TestRecord:
    def test_the_next_answer_reflects_a_click(self, pipeline: Pipeline) -> None:
        before = pipeline.recommend("user-3")
        clicked = before.items[1].id
        assert pipeline.record(events(("user-3", clicked))) == Recorded(1)
        after = pipeline.recommend("user-3")
        assert clicked not in ids(after)
        assert [item.score for item in after.items] != [item.score for item in before.items[:1] + before.items[2:]]
        past = pipeline.history("user-3", 1)[0]
        assert (past.id, past.kind, past.time, past.value) == (clicked, "click", NOW, None)

    def test_a_changed_user_asks_as_their_history_alone(self, pipeline: Pipeline, dataset: Dataset) -> None:
        model = _Spy(pipeline.model)
        pipeline._state = dataclasses.replace(pipeline._state, model=model)
        pipeline.recommend("user-3")
        pipeline.record(events(("user-3", 100)))
        pipeline.recommend("user-3")
        assert model.users == [3, -1]

    def test_a_new_user_is_known_from_their_first_event(self, pipeline: Pipeline) -> None:
        with pytest.raises(UnknownIdError):
            pipeline.recommend("guest")
        pipeline.record(events(("guest", 100)))
        served = pipeline.recommend("guest")
        assert ids(served) == ids(pipeline.recommend(history=[100]))
        assert served.fallback is None
        assert pipeline.users("gue") == (("guest", 1),)
        assert pipeline.n_users == 61

    def test_a_replayed_log_changes_nothing(self, pipeline: Pipeline, dataset: Dataset) -> None:
        log = events(("user-3", 100), ("guest", 104))
        pipeline.record(log)
        once = pipeline.data()
        assert pipeline.record(log, replayed=True) == Recorded(0)
        assert pipeline.data().fingerprint == once.fingerprint
        assert pipeline._histories.row_for_model(4) == 4

    def test_what_happens_twice_in_a_second_happened_twice(self, pipeline: Pipeline) -> None:
        for value in (1.0, 5.0):
            rated = to_events([Reaction("any", "user-3", 100, "rating", NOW, 1.0, value)])
            assert pipeline.record(rated) == Recorded(1)
        assert [past.value for past in pipeline.history("user-3", 2)] == [5.0, 1.0]
        clicks = to_events([Reaction(name, "user-3", 101, "click", NOW, 1.0) for name in "ab"])
        assert pipeline.record(clicks) == Recorded(2)
        assert len(pipeline.history("user-3")) == 12 + 4
        refitted = Pipeline.fit(EASE(l2=20.0), pipeline.data())
        assert refitted.record(clicks, replayed=True) == Recorded(0)

    def test_order_is_by_time_not_by_arrival(self, pipeline: Pipeline) -> None:
        pipeline.record(events(("user-3", 100), time=5))
        assert pipeline.history("user-3")[-1].time == 5

    def test_what_cannot_be_used_is_set_aside_with_the_reason(self, pipeline: Pipeline) -> None:
        mixed = to_events(
            [
                Reaction("a", "user-3", 7, "click", NOW, 1.0),
                Reaction("b", "user-3", 101, "click", NOW, 1.0),
                Reaction("c", "user-3", 102, "rating", NOW, 1.0, value=9.0),
                Reaction("d", "user-3", 103, "click", NOW, -1.0),
            ]
        )
        recorded = pipeline.record(mixed)
        assert recorded.reflected == 1
        assert [(each.position, each.why) for each in recorded.set_aside] == [
            (0, "No item has the id '7'."),
            (2, "The rating must be from 0.5 to 5. Got 9."),
            (3, "The weight must be 0 or more. Got -1.0."),
        ]
        assert pipeline.record(mixed.take(slice(0, 0))) == Recorded(0)

    def test_too_many_kinds_are_set_aside(self, pipeline: Pipeline) -> None:
        for number in range(119):
            assert pipeline.record(events(("user-3", 100), kind=f"kind-{number}")).reflected == 1
        assert "too many kinds" in pipeline.record(events(("user-3", 100), kind="last")).set_aside[0].why

    def test_readers_and_writers_at_once(self, pipeline: Pipeline) -> None:
        errors: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for step in range(25):
                    pipeline.record(events((f"guest-{number}", 100 + step), time=NOW + step))
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
        assert pipeline.data().shape.events == 720 + 150


class TestNewItems:
    def test_a_model_that_reads_content_takes_in_new_items(self, dataset: Dataset, tmp_path: Path) -> None:
        pipeline = Pipeline.fit(get_model("content")(), dataset)
        table = dataset.item_table.take(np.array([0, 0]))  # type: ignore[union-attr]
        assert pipeline.add_items([100, "900"], table) == 1
        assert pipeline.add_items([900], table.take(np.array([0]))) == 0
        assert len(pipeline.catalogue) == 41
        assert ids(pipeline.recommend(history=[100], n=1)) == [900]  # the twin of item 100
        assert pipeline.record(events(("user-3", 900))).reflected == 1
        assert 900 in ids(pipeline.recommend(history=[], n=41))  # the fallback puts it last
        again = Pipeline.load(pipeline.save(tmp_path / "m"))
        assert ids(again.recommend("user-3")) == ids(pipeline.recommend("user-3"))
        assert again.catalogue.title(40) == pipeline.catalogue.title(0)

    def test_columns_that_are_missing_or_strange_do_no_harm(self, dataset: Dataset) -> None:
        pipeline = Pipeline.fit(get_model("content")(), dataset)
        table = Table({"genres": np.array(["space"], STRINGS), "colour": np.array(["red"], STRINGS)})
        assert pipeline.add_items([900], table) == 1
        assert pipeline.catalogue.content(40) == {"genres": "space"}

    def test_other_models_say_that_they_need_a_refit(self, pipeline: Pipeline, dataset: Dataset) -> None:
        with pytest.raises(SettingError, match="ease cannot take in new items"):
            pipeline.add_items([900], dataset.item_table.take(np.array([0])))  # type: ignore[union-attr]

    def test_what_is_written_down_first_decides(self, dataset: Dataset) -> None:
        pipeline = Pipeline.fit(get_model("content")(), dataset)
        row = dataset.item_table.take(np.array([0]))  # type: ignore[union-attr]
        seen = []

        def fail() -> None:
            seen.append(len(pipeline.catalogue))
            raise SourceError("the disk is full")

        with pytest.raises(SourceError, match="full"):
            pipeline.add_items([900], row, keep=fail)
        assert seen == [40]
        assert len(pipeline.catalogue) == 40
        assert pipeline.add_items([900], row, keep=lambda: None) == 1


@pytest.mark.parametrize(
    ("given", "write"),
    [("ease", r"leanrec.models.get_model\('ease'\)\(\)"), (EASE, r"EASE\(\)"), (3, "such as leanrec.models.get_model")],
)
def test_what_is_no_estimator_is_refused(dataset: Dataset, given: Any, write: str) -> None:
    with pytest.raises(SettingError, match=f"estimator must be the settings of a model. Got .*; write {write}"):
        Pipeline.fit(given, dataset)


class TestSaving:
    def test_a_loaded_pipeline_answers_alike(self, pipeline: Pipeline, dataset: Dataset, tmp_path: Path) -> None:
        pipeline.record(events(("user-3", 100), ("guest", 104)))
        loaded = Pipeline.load(pipeline.save(tmp_path / "m"))
        for user in ("user-3", "guest", "user-4"):
            assert loaded.recommend(user).items == pipeline.recommend(user).items
        assert loaded.history("user-3") == pipeline.history("user-3")
        assert loaded._histories.row_for_model(3) == -1
        assert loaded._histories.row_for_model(4) == 4

    def test_provenance_says_where_it_comes_from(self, pipeline: Pipeline, dataset: Dataset, tmp_path: Path) -> None:
        made = Pipeline.load(pipeline.save(tmp_path / "m")).provenance
        assert made["model"] == "ease"
        assert made["settings"].startswith("EASE(l2=20.0")
        assert made["data"]["fingerprint"] == dataset.fingerprint
        assert made["fit"]["wall"] > 0
        assert artifacts.read_manifest(tmp_path / "m")["leanrec"]

    @pytest.mark.parametrize("part", ["value.model.weights.npy", "value.data.items.ids.npy"])
    def test_a_damaged_file_is_refused(self, fitted: Pipeline, tmp_path: Path, part: str) -> None:
        folder = fitted.save(tmp_path / "m")
        data = bytearray((folder / part).read_bytes())
        data[-1] ^= 1
        (folder / part).write_bytes(bytes(data))
        with pytest.raises(ArtifactError, match="damaged"):
            Pipeline.load(folder)

    def test_what_is_no_pipeline_is_refused(self, fitted: Pipeline, dataset: Dataset, tmp_path: Path) -> None:
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

    def test_a_model_of_other_items_is_refused(self, fitted: Pipeline, tmp_path: Path) -> None:
        other = Pipeline.fit(EASE(), make_dataset(n_items=20))
        fitted_state, other_state = fitted._state, other._state
        fitted._state = dataclasses.replace(fitted_state, model=other_state.model)
        try:
            folder = fitted.save(tmp_path / "m")
        finally:
            fitted._state = fitted_state
        with pytest.raises(ArtifactError, match="not one over its 40 items"):
            Pipeline.load(folder)


def test_whole_number_users_and_text_guests_live_together(dataset: Dataset, tmp_path: Path) -> None:
    numbers = dataclasses.replace(dataset, users=Vocabulary(id_array(range(60)), "user"))
    pipeline = Pipeline.fit(EASE(l2=20.0), numbers)
    pipeline.record(events(("guest", 100), ("7", 101), (61, 102)))
    assert pipeline.own_user("7") == 7
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
        self.n_items = self.model.n_items

    def score(self, queries: Queries, items: Any = None) -> Any:
        self.users += queries.users.tolist()
        return self.model.score(queries, items)


@dataclasses.dataclass(frozen=True)
class _Angles:
    """Four directions: one for each genre of the made data."""

    def fit_bytes(self, shape: Any) -> int:
        return 0

    def fit(self, data: Dataset, run: Run = Run()) -> "_AnglesModel":
        return _AnglesModel(np.eye(4, dtype=np.float32)[np.arange(len(data.items)) % 4])


@dataclasses.dataclass(frozen=True, eq=False)
class _AnglesModel:
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
