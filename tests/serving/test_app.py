"""The HTTP app: every route, every kind of error, and generated input."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import make_dataset
from contracts.server import run_server
from contracts.server_log import restore_loggers
from leanrec.errors import BusyError, DataError, SettingError
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.events.user_events import UserEvent
from leanrec.models import get_model
from leanrec.models.linear.ease import EASE
from leanrec.pipeline.lists.rules import ColumnLimit, ListRules, PinnedItem
from leanrec.pipeline.pipeline import Pipeline
from leanrec.serving.app import create_app
from leanrec.serving.dashboard.page_files import PAGE_FILES
from leanrec.serving.monitoring.server_log import start_logging
from leanrec.serving.serving_settings import ServingSettings

DOCS = Path(__file__).parents[2] / "docs" / "how-to" / "serve.md"


def fit(estimator: Any = EASE(l2=20.0)) -> Pipeline:  # noqa: B008 - frozen
    return Pipeline.fit(estimator, make_dataset())


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SQLiteEventStore]:
    with SQLiteEventStore(tmp_path / "events.db") as log:
        yield log


@pytest.fixture
def client(log: SQLiteEventStore) -> Iterator[httpx.Client]:
    with run_server(create_app(fit(), log)) as client:
        yield client


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One app for all generated requests."""
    with (
        SQLiteEventStore(tmp_path_factory.mktemp("log") / "events.db") as log,
        run_server(create_app(fit(), log)) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One app whose model can add new items."""
    with (
        SQLiteEventStore(tmp_path_factory.mktemp("log") / "events.db") as log,
        run_server(create_app(fit(get_model("content")()), log)) as client,
    ):
        yield client


def ids(answer: httpx.Response) -> list[Any]:
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


def error_of(answer: httpx.Response, status: int) -> dict[str, str]:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    error: dict[str, str] = answer.json()["error"]
    assert set(error) == {"message", "location", "hint"}
    assert all(error.values())
    return error


class TestRecommendations:
    def test_get_and_post_give_the_same_list(self, client: httpx.Client) -> None:
        where = {"genres": "space"}
        posted = client.post("/recommend", json={"user": "user-3", "n": 3, "where": where})
        got = client.get("/recommend", params={"user": "user-3", "n": 3, "where": json.dumps(where)})
        assert posted.json()["items"] == got.json()["items"]
        assert len(ids(got)) == 3
        assert got.json()["user"] == "user-3"
        assert got.json()["model"] == "ease"
        made = {name: posted.json()[name] for name in ("policy", "arm", "rung")}
        assert made == {"policy": "ease/", "arm": None, "rung": "full"}
        assert float(got.headers["server-timing"].removeprefix("app;dur=")) > 0

    def test_explored_lists_are_logged_with_propensities_by_every_route(self, log: SQLiteEventStore) -> None:
        with run_server(create_app(fit(), log, ServingSettings(explore=0.5))) as client:
            drawn = [
                client.get("/recommend", params={"user": "user-3", "n": 3}),
                client.post("/recommend", json={"user": "user-4", "n": 3}),
                client.post("/recommend", json={"user": "user-5", "n": 3, "deny": [108]}),
                client.get("/recommend", params={"user": "user-6", "n": 3, "where": '{"genres": "space"}'}),
            ]
            again = client.get("/recommend", params={"user": "user-3", "n": 3})
            item = ids(drawn[0])[1]
            client.post(
                "/events", json={"events": [{"user": "user-3", "item": item, "request": drawn[0].json()["request"]}]}
            ).raise_for_status()
        served = {each.request: each for each in log.served_lists()}
        assert {each.json()["policy"] for each in (*drawn, again)} == {"ease/+explore=0.5"}
        for answer in drawn:
            propensities = served[answer.json()["request"]].propensities
            assert propensities is not None
            assert len(propensities) == len(ids(answer))
        assert ids(again) == ids(drawn[0])
        assert served[again.json()["request"]].propensities is None
        (event,) = log.user_events()
        assert event.propensity == pytest.approx(served[drawn[0].json()["request"]].propensities[1])  # type: ignore[index]
        with pytest.raises(SettingError, match="explore must be a number from 0 to 1"):
            ServingSettings(explore=5)

    def test_a_history_in_the_request(self, client: httpx.Client) -> None:
        posted = client.post("/recommend", json={"history": [100, 104], "n": 4, "deny": [108], "exclude_seen": False})
        assert 108 not in ids(posted)
        assert ids(client.get("/recommend?history=100&history=104&n=4")) == ids(
            client.post("/recommend", json={"history": ["100", 104], "n": 4})
        )

    def test_an_empty_history_uses_the_fallback(self, client: httpx.Client) -> None:
        answer = client.post("/recommend", json={"history": []}).json()
        assert answer["fallback"] == "popularity"
        assert answer["items"][0]["reasons"] == ["popular with all users"]

    def test_similar_explain_items_users_history(self, client: httpx.Client) -> None:
        assert len(ids(client.get("/similar/100?n=3"))) == 3
        top = ids(client.get("/recommend?user=user-3&n=1"))[0]
        why = client.get("/explain", params={"user": "user-3", "item": top}).json()
        assert why["contributions"][0]["title"]
        assert client.get("/explain?history=100&item=104").json()["contributions"][0]["id"] == 100
        found = client.get("/items?search=STAR&limit=2").json()["items"]
        assert [item["title"] for item in found] == ["star 0", "star 12"]
        assert found[0]["content"]["year"] == 1980
        assert client.get("/users?search=user-5&limit=2").json()["users"][0] == {"id": "user-5", "events": 12}
        past = client.get("/users/user-3?limit=5").json()
        assert past["user"] == "user-3"
        assert len(past["events"]) == 5
        assert past["events"][0]["time"] >= past["events"][1]["time"]

    def test_health_and_metrics(self, client: httpx.Client) -> None:
        health = client.get("/health").json()
        assert health["status"] == "ok"
        assert (health["users"], health["items"], health["model"]) == (60, 40, "ease")
        client.get("/recommend?user=user-1")
        client.get("/recommend?user=unknown")
        client.get("/users/user-1")
        client.post("/recommend", json={"history": []})
        text = client.get("/metrics").text
        assert 'leanrec_requests_total{method="GET",route="/recommend",status="200"} 1.0' in text
        assert 'leanrec_requests_total{method="GET",route="/recommend",status="404"} 1.0' in text
        assert 'leanrec_request_seconds_count{method="GET",route="/recommend"} 2.0' in text
        assert 'route="/users/{user:path}"' in text
        assert "leanrec_fallbacks_total 1.0" in text
        assert "leanrec_items 40.0" in text

    def test_probes_tell_whether_requests_can_be_answered(
        self, client: httpx.Client, log: SQLiteEventStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for path in ("/livez", "/readyz"):
            assert client.get(path).json() == {"status": "ok"}
        monkeypatch.setattr(log, "waiting_seconds", lambda: 7.0)
        assert client.get("/livez").status_code == 200
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"status": "The event log has not answered for 7 s."})

    def test_too_many_waiting_writes_ask_to_come_back(
        self, client: httpx.Client, log: SQLiteEventStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(_: object) -> None:
            raise BusyError("Too many writes wait.")

        monkeypatch.setattr(log, "submit", refuse)
        answer = client.post("/events", json={"events": [{"user": "user-1", "item": 100}]})
        assert error_of(answer, 429)["message"] == "Too many writes wait."
        assert answer.headers["retry-after"] == "1"

    def test_unknown_methods_share_one_metric(self, client: httpx.Client) -> None:
        for method in ("PROPFIND", "MKCOL", "REPORT", "SEARCH", "LOCK"):
            error_of(client.request(method, "/recommend"), 405)
        text = client.get("/metrics").text
        assert "PROPFIND" not in text
        assert 'method="other"' in text

    def test_ids_may_contain_slashes_and_any_script(self, client: httpx.Client) -> None:
        event = {"user": "org/团队 1?", "item": 100}
        assert client.post("/events", json={"events": [event]}).json()["applied"] == 1
        assert client.get("/users/org%2F%E5%9B%A2%E9%98%9F%201%3F").json()["user"] == "org/团队 1?"


class TestEvents:
    def test_the_next_recommendation_reflects_the_event(self, client: httpx.Client) -> None:
        before = client.get("/recommend?user=user-3").json()
        event = {"id": "c1", "user": "user-3", "item": before["items"][2]["id"], "request": before["request"]}
        assert client.post("/events", json={"events": [event]}).json() == {
            "stored": 1,
            "duplicates": 0,
            "applied": 1,
            "rejected": [],
            "as_of": 1,
        }
        after = client.get("/recommend?user=user-3").json()
        assert event["item"] not in [item["id"] for item in after["items"]]
        assert after["items"] != before["items"]
        assert client.get("/users/user-3?limit=1").json()["events"][0]["id"] == event["item"]

    def test_the_event_is_attributed_to_its_rank(self, client: httpx.Client, log: SQLiteEventStore) -> None:
        before = client.get("/recommend?user=user-3").json()
        event = {"user": "user-3", "item": str(before["items"][2]["id"]), "request": before["request"]}
        client.post("/events", json={"events": [event]})
        assert log.events().rank.tolist() == [2]  # type: ignore[union-attr]
        assert log.count_by_rank().clicked.tolist()[:4] == [0, 0, 1, 0]

    def test_two_ids_in_one_second_are_two_events_and_the_last_rating_counts(self, client: httpx.Client) -> None:
        rated = {"user": "guest", "item": 100, "event_type": "rating", "time": 1_900_000_000 - 10**9}
        for name, rating in (("a", 1.0), ("b", 5.0)):
            result = client.post("/events", json={"events": [rated | {"id": name, "rating": rating}]}).json()
            assert result["applied"] == 1
        assert [event["rating"] for event in client.get("/users/guest").json()["events"]] == [5.0, 1.0]
        clicks = [{"id": name, "user": "other", "item": 100, "time": 5} for name in ("c", "d", "c")]
        result = client.post("/events", json={"events": clicks}).json()
        assert (result["stored"], result["duplicates"], result["applied"]) == (2, 1, 2)
        assert len(client.get("/users/other").json()["events"]) == 2

    def test_an_event_sent_twice_counts_once(self, client: httpx.Client, log: SQLiteEventStore) -> None:
        event = {"id": "c1", "user": "user-3", "item": 100}
        client.post("/events", json={"events": [event]})
        again = client.post("/events", json={"events": [event, event | {"id": "c2", "item": 101}]}).json()
        assert again == {"stored": 1, "duplicates": 1, "applied": 1, "rejected": [], "as_of": 2}
        assert len(log) == 2

    def test_an_event_on_an_unknown_item_is_stored_and_rejected(
        self, client: httpx.Client, log: SQLiteEventStore
    ) -> None:
        events = [{"user": "user-3", "item": 100}, {"user": "user-3", "item": "tomorrow's"}]
        answer = client.post("/events", json={"events": events}).json()
        assert (answer["stored"], answer["applied"]) == (2, 1)
        assert answer["rejected"] == [{"position": 1, "reason": 'No item has the id "tomorrow\'s".', "stored": True}]
        assert log.events().item.tolist() == ["100", "tomorrow's"]

    def test_a_restarted_app_replays_the_log(self, log: SQLiteEventStore) -> None:
        with run_server(create_app(fit(), log)) as client:
            client.post(
                "/events", json={"events": [{"user": "guest", "item": 100, "event_type": "rating", "rating": 4.5}]}
            )
            before = ids(client.get("/recommend?user=guest"))
        with run_server(create_app(fit(), log)) as client:
            assert ids(client.get("/recommend?user=guest")) == before
            assert client.get("/users/guest").json()["events"][0]["rating"] == 4.5

    def test_new_items_are_added_and_survive_a_restart(self, log: SQLiteEventStore) -> None:
        content = get_model("content")()
        item = {
            "id": 900,
            "content": {"title": "New", "genres": "space", "description": "a story of star ship orbit"},
        }
        with run_server(create_app(fit(content), log)) as client:
            assert client.post("/items", json={"items": [item]}).json() == {"added": 1, "corrected": 0, "unchanged": 0}
            assert client.post("/items", json={"items": [item]}).json() == {"added": 0, "corrected": 0, "unchanged": 1}
            assert client.post("/events", json={"events": [{"user": "guest", "item": 900}]}).json()["applied"] == 1
        with run_server(create_app(fit(content), log)) as client:
            assert client.get("/users/guest").json()["events"][0]["title"] == "New"
        with run_server(create_app(fit(), log)) as client:  # a model that cannot take it in serves all the same
            assert client.get("/health").json()["items"] == 40

    def test_a_log_of_other_data_must_be_rebound(self, log: SQLiteEventStore) -> None:
        other = Pipeline.fit(EASE(l2=20.0), make_dataset(seed=8))
        with run_server(create_app(fit(), log)) as client:
            client.post("/events", json={"events": [{"user": "user-3", "item": 100}]})
        with pytest.raises(DataError, match=r"belongs to other data \(made for tests: 720 events of 60 users"):
            create_app(other, log)
        assert len(other.history("user-3")) == 12
        create_app(other, log, ServingSettings(rebind_log=True))
        assert len(other.history("user-3")) == 13
        create_app(fit(), log)

    def test_a_model_fitted_with_the_log_continues_it(self, log: SQLiteEventStore, tmp_path: Path) -> None:
        with run_server(create_app(fit(), log)) as client:
            client.post("/events", json={"events": [{"user": "user-3", "item": 100}, {"user": "new", "item": "newer"}]})
        refitted = Pipeline.fit(EASE(l2=20.0), make_dataset(per_user=14), log=log)
        assert refitted.data_origin.log_id == log.id
        assert (refitted.n_users, len(refitted.catalog)) == (61, 41)
        loaded = Pipeline.load(refitted.save(tmp_path / "m"))
        with run_server(create_app(loaded, log)) as client:
            assert len(client.get("/users/user-3").json()["events"]) == 15
            assert client.get("/users/new").json()["events"][0]["id"] == "newer"

    def test_items_of_the_log_that_a_hybrid_cannot_add_are_skipped(self, log: SQLiteEventStore) -> None:
        told = io.StringIO()
        with run_server(create_app(fit(get_model("content")()), log)) as client:
            client.post("/items", json={"items": [{"id": 900, "content": {"title": "New", "genres": "space"}}]})
            client.post("/events", json={"events": [{"user": "guest", "item": 900}]})
        with restore_loggers():
            start_logging("text", told)
            with run_server(create_app(fit(get_model("hybrid")(parts=("ease", "popularity"))), log)) as client:
                assert client.get("/health").json()["items"] == 40
        result = told.getvalue()
        assert "New items of the log were skipped: No part of this hybrid can take in new items." in result
        assert "1 events of the log cannot be used" in result

    def test_content_of_the_wrong_type_is_refused_and_not_stored(self, log: SQLiteEventStore) -> None:
        items = [{"id": 900, "content": {"year": 1999}}, {"id": 901, "content": {"year": "long ago"}}]
        with run_server(create_app(fit(get_model("content")()), log)) as client:
            error = error_of(client.post("/items", json={"items": items}), 422)
            assert "'year' must hold numbers. Got 'long ago' in row 1" in error["message"]
            assert client.get("/health").json()["items"] == 40
        assert len(log.items()[0]) == 0

    @pytest.mark.parametrize("name", ["content", "item_knn", "graphsage", "hybrid"])
    def test_no_content_stops_the_server(self, log: SQLiteEventStore, name: str) -> None:
        estimator = get_model(name)(**({"parts": ("ease", "content")} if name == "hybrid" else {}))
        items = [
            {"id": 900001, "content": {}},
            {"id": "900001", "content": {}},
            {"id": 900002, "content": {"title": 7}},
        ]
        with run_server(create_app(fit(estimator), log)) as client:
            assert client.post("/items", json={"items": items}).json()["added"] == 2
            assert len(ids(client.get("/recommend?user=user-3"))) == 10
            assert client.post("/items", json={"items": [{"id": "text", "content": {}}]}).status_code == 422
            misspelled = {"id": 900003, "content": {"titel": "x", "Genres": "tea"}}
            assert (
                "Did you mean 'title'" in error_of(client.post("/items", json={"items": [misspelled]}), 422)["message"]
            )
            right = {"id": 900001, "content": {"title": "Right", "year": "1999"}}
            assert client.post("/items", json={"items": [right]}).json()["corrected"] == 1
        with run_server(create_app(fit(estimator), log)) as client:
            found = client.get("/items?search=Right").json()["items"]
            content = {"title": "Right", "year": 1999.0}
            assert found == [{"id": 900001, "title": "Right", "content": content, "hidden": False}]
            assert len(ids(client.get("/recommend?user=user-3"))) == 10

    def test_items_that_cannot_be_stored_are_not_added(self, log: SQLiteEventStore) -> None:
        item = {"id": 900, "content": {"title": "New", "genres": "space"}}
        with run_server(create_app(fit(get_model("content")()), log)) as client:
            log.close()
            assert "not stored twice" in error_of(client.post("/items", json={"items": [item]}), 503)["hint"]
            assert client.get("/health").json()["items"] == 40

    def test_event_types_of_the_data_and_of_the_settings_are_accepted(self, log: SQLiteEventStore) -> None:
        with run_server(create_app(fit(), log, ServingSettings(event_types=("Read to end",)))) as client:
            assert client.get("/health").json()["event_types"] == ["rating", "Read to end"]
            event = {"user": "user-3", "item": 100}
            error = error_of(client.post("/events", json={"events": [event | {"event_type": "invented"}]}), 422)
            assert "events.0.event_type must be one of rating, Read to end. Got 'invented'" in error["message"]
            result = client.post("/events", json={"events": [event | {"event_type": "Read to end"}]}).json()
            assert result["applied"] == 1
        assert len(log) == 1
        with pytest.raises(SettingError, match="event_types must be at most"):
            ServingSettings(event_types=tuple(map(str, range(100))))

    def test_events_that_cannot_be_stored_are_not_applied(self, client: httpx.Client, log: SQLiteEventStore) -> None:
        before = ids(client.get("/recommend?user=user-3"))
        log.close()
        error = error_of(client.post("/events", json={"events": [{"user": "user-3", "item": before[0]}]}), 503)
        assert "closed" in error["message"]
        assert "not stored twice" in error["hint"]


class TestErrors:
    @pytest.mark.parametrize(
        ("method", "path", "body", "status", "what"),
        [
            ("GET", "/recommend?user=user-99", None, 404, "Ids look like: user-"),
            ("GET", "/similar/1", None, 404, "No item with the id '1'"),
            ("GET", "/users/unknown", None, 404, "No user with the id 'unknown'"),
            ("GET", "/explain?user=user-1&item=5", None, 404, "No item"),
            ("GET", "/nowhere", None, 404, "Not Found"),
            ("DELETE", "/events", None, 405, "one of OPTIONS, POST. Got DELETE"),
            ("GET", "/recommend", None, 422, "A user or a history must be given"),
            ("GET", "/recommend?user=user-1&n=0", None, 422, "query.n"),
            ("GET", "/recommend?user=user-1&n=many", None, 422, "Got 'many'"),
            ("GET", "/recommend?user=user-1&where={", None, 422, "where must be JSON"),
            ("GET", "/recommend?user=user-1&where=3", None, 422, "must be a JSON object"),
            ("GET", "/recommend?user=user-1&where={%22color%22:1}", None, 422, "no column 'color'"),
            ("POST", "/recommend", {"history": [], "where": {"genres": ["x"] * 200_000}}, 422, "at most 1,000 values"),
            (
                "POST",
                "/recommend",
                {"history": [], "where": {"genres": [{"not": "x"}] * 101}},
                422,
                "at most 100 conditions",
            ),
            ("POST", "/recommend", {"usr": 1}, 422, "body.usr"),
            ("POST", "/recommend", {"user": True}, 422, "body.user"),
            ("POST", "/recommend", {"user": 2**80}, 422, "body.user"),
            ("POST", "/recommend", {"history": [1.5]}, 422, "body.history"),
            ("POST", "/recommend", [], 422, "body"),
            ("POST", "/events", {"events": []}, 422, "body.events"),
            ("POST", "/events", {"events": [{"user": 1}]}, 422, "events.0.item must be given"),
            ("POST", "/events", {"events": [{"user": 1, "item": 1, "event_type": "A b"}]}, 422, "event_type"),
            ("POST", "/events", {"events": [{"user": 1, "item": 1, "time": -1}]}, 422, "time"),
            ("POST", "/events", {"events": [{"user": 1, "item": 1, "time": 2**70}]}, 422, "time"),
            (
                "POST",
                "/events",
                {"events": [{"user": 1, "item": 1, "time": 1_700_000_000_000}]},
                422,
                "milliseconds",
            ),
            (
                "POST",
                "/events",
                {"events": [{"user": 1, "item": 1, "rating": 7}]},
                422,
                "from 0.5 to 5. Got 7",
            ),
            ("POST", "/items", {"items": [{"id": 900, "content": {}}]}, 422, "cannot: refit it"),
        ],
    )
    def test_errors_have_a_message_a_location_and_a_hint(
        self, shared: httpx.Client, method: str, path: str, body: Any, status: int, what: str
    ) -> None:
        error = error_of(shared.request(method, path, json=body), status)
        assert what in error["message"]

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"\xff\xfe",
            b"nul",
            b'{"user": NaN}',
            b'{"history": [1e999]}',
            b'{"user": ' + b"9" * 6000 + b"}",
            b'{"where":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
            b'{"user": "\\ud800"}',
            b'{"\\ud800": 1}',
            b'{"where": {"\\ud800": "\\udfff"}, "history": []}',
            b'{"where": {"title": {"contains": "\\ud800"}}, "history": []}',
            b'{"where": {"title": ["\\ud800"]}, "history": []}',
            b'{"where": {"title": {"not": "a\\udfff"}}, "history": []}',
        ],
    )
    def test_malformed_json_is_refused(self, shared: httpx.Client, body: bytes) -> None:
        answer = shared.post("/recommend", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in {400, 422}, answer.text[:500]
        error_of(answer, answer.status_code)

    def test_a_too_large_body_is_refused(self, shared: httpx.Client) -> None:
        body = json.dumps({"history": ["x" * 100] * 50_000})
        answer = shared.post("/recommend", content=body, headers={"content-type": "application/json"})
        error_of(answer, 413)

    def test_a_defect_gets_status_500_and_the_server_keeps_running(
        self, client: httpx.Client, log: SQLiteEventStore
    ) -> None:
        log.served_lists = log.append_served = None  # type: ignore[assignment, method-assign]
        error = error_of(client.get("/recommend?user=user-1"), 500)
        assert "defect" in error["message"]
        assert client.get("/recommend?user=user-1").headers["Connection"] == "close"
        assert client.get("/health").status_code == 200
        assert 'status="500"' in client.get("/metrics").text


scalar = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([100, "user-1", "genres"])
)
nested = scalar | st.lists(scalar, max_size=4) | st.dictionaries(st.text(max_size=6), scalar, max_size=4)
anything = nested | st.lists(nested, max_size=3) | st.dictionaries(st.text(max_size=6), nested, max_size=3)


def near(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Bodies with the right names and values that are right, nearly right or anything."""
    return st.fixed_dictionaries({}, optional={name: valid | anything for name, valid in fields.items()})


ids_in = st.lists(st.sampled_from([100, "101", 102, "zz", 2**63 - 1, -1]), max_size=4)
recommend_request = near(
    user=st.sampled_from(["user-1", "new"]),
    history=ids_in,
    weights=st.lists(st.floats(0, 10), max_size=4),
    ratings=st.lists(st.floats(0, 5) | st.none(), max_size=4),
    n=st.integers(-1, 50),
    exclude_seen=st.booleans(),
    allow=ids_in,
    deny=ids_in,
    where=st.dictionaries(st.sampled_from(["genres", "year", "title"]), anything, max_size=2),
    reasons=st.booleans(),
)
event = near(
    id=st.text(max_size=4),
    user=st.sampled_from(["user-1", "new", 3]),
    item=st.sampled_from([100, "101", "zz"]),
    event_type=st.sampled_from(["click", "rating", "skip", "x-y"]),
    time=st.integers(0, 10**10),
    rating=st.floats(0, 6),
    weight=st.floats(-1, 10),
    request=st.text(max_size=4),
    rank=st.integers(-1, 20),
)
item = near(id=st.integers(900, 905), content=st.dictionaries(st.sampled_from(["title", "year"]), scalar))
generated = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def send(client: httpx.Client, path: str, body: Any) -> httpx.Response:
    answer = client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    assert answer.status_code in {200, 404, 422}, f"{answer.status_code} for {body!r}: {answer.text}"
    if answer.status_code != 200:
        error_of(answer, answer.status_code)
    return answer


@generated
@given(body=recommend_request | anything)
def test_no_recommend_request_breaks_the_server(shared: httpx.Client, body: Any) -> None:
    answer = send(shared, "/recommend", body)
    if answer.status_code == 200:
        items = [item["id"] for item in answer.json()["items"]]
        assert len(set(items)) == len(items) <= body.get("n", 10)
        assert not set(items) & set(body.get("deny") or [])


@generated
@given(events=st.lists(event, min_size=1, max_size=3), whole=st.none() | anything)
def test_no_events_request_breaks_the_server(shared: httpx.Client, events: Any, whole: Any) -> None:
    answer = send(shared, "/events", {"events": events} if whole is None else whole)
    if answer.status_code == 200:
        result = answer.json()
        n_refused = sum(not each["stored"] for each in result["rejected"])
        assert result["stored"] + result["duplicates"] + n_refused == len(events)
        assert result["applied"] + len(result["rejected"]) == result["stored"] + n_refused


@generated
@given(items=st.lists(item, max_size=2))
def test_no_items_request_breaks_the_server(shared: httpx.Client, reader: httpx.Client, items: Any) -> None:
    send(shared, "/items", {"items": items})
    send(reader, "/items", {"items": items})


@generated
@given(
    path=st.sampled_from(["/recommend", "/similar/100", "/explain", "/items", "/users", "/users/user-1"]),
    query=near(
        user=st.just("user-1"),
        item=st.just("100"),
        n=st.integers(),
        search=st.text(),
        limit=st.integers(),
        where=anything,
    ),
)
def test_no_query_string_breaks_the_server(shared: httpx.Client, path: str, query: dict[str, Any]) -> None:
    shown = {name: value if isinstance(value, str) else json.dumps(value) for name, value in query.items()}
    try:
        answer = shared.get(path, params=shown)
    except UnicodeEncodeError:  # the client cannot even send it
        return
    assert answer.status_code in {200, 404, 422}, answer.text


class TestOpenAPI:
    def test_every_route_has_a_description_and_typed_responses(self, shared: httpx.Client) -> None:
        for path, methods in shared.get("/openapi.json").json()["paths"].items():
            for method, route in methods.items():
                assert route["description"], (method, path)
                assert "500" in route["responses"], (method, path)
                if path != "/metrics":
                    answer = route["responses"]["200"]["content"]["application/json"]["schema"]
                    assert "$ref" in answer, (method, path)

    def test_the_examples_are_valid_requests(self, client: httpx.Client) -> None:
        schemas = client.get("/openapi.json").json()["components"]["schemas"]
        for name, path in (
            ("RecommendRequest", "/recommend"),
            ("EventsRequest", "/events"),
            ("AddItemsRequest", "/items"),
        ):
            for example in schemas[name]["examples"]:
                answer = client.post(path, json=example)
                assert answer.status_code == 200 or not error_of(answer, answer.status_code)["location"].startswith(
                    "body"
                )

    def test_every_route_is_documented(self, shared: httpx.Client) -> None:
        text = DOCS.read_text(encoding="utf-8")
        for path, methods in shared.get("/openapi.json").json()["paths"].items():
            for method in methods:
                assert f"`{method.upper()} {path}`" in text, f"docs/how-to/serve.md lacks {method.upper()} {path}"

    def test_every_metric_is_documented(self, shared: httpx.Client) -> None:
        text = DOCS.read_text(encoding="utf-8")
        for line in shared.get("/metrics").text.splitlines():
            if line.startswith("# HELP") and not line.split()[2].endswith("_created"):
                assert f"`{line.split()[2]}`" in text, line


class TestDashboard:
    @pytest.mark.parametrize("path", PAGE_FILES)
    def test_loads_nothing_from_other_hosts(self, shared: httpx.Client, path: str) -> None:
        answer = shared.get(path)
        assert answer.status_code == 200
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "//" not in answer.text.replace("http://www.w3.org/2000/svg", "").replace("// ", "")


def test_two_apps_in_one_process_have_separate_metrics(tmp_path: Path) -> None:
    with SQLiteEventStore(tmp_path / "a.db") as a, SQLiteEventStore(tmp_path / "b.db") as b:
        with run_server(create_app(fit(), a)) as first, run_server(create_app(fit(), b)) as second:
            first.get("/recommend?user=user-1")
            assert 'route="/recommend"' in first.get("/metrics").text
            assert 'route="/recommend"' not in second.get("/metrics").text


def test_a_log_with_only_unknown_items_is_replayed(log: SQLiteEventStore) -> None:
    log.append([UserEvent("a", "u", "gone", "click", 5, 1.0)])
    with run_server(create_app(fit(), log)) as client:
        assert client.get("/health").json()["users"] == 60


class TestHiddenItems:
    def test_a_hidden_item_is_in_no_list_and_comes_back(self, log: SQLiteEventStore) -> None:
        with run_server(create_app(fit(), log)) as client:
            plain, popular = {"user": "user-3", "n": 5}, {"history": [], "n": 5}
            asked = [plain, popular, plain | {"exclude_seen": False}, plain | {"where": {"genres": ["space", "crime"]}}]
            before = [ids(client.post("/recommend", json=each)) for each in asked]
            hidden = list(dict.fromkeys(each[0] for each in before))
            for item in hidden:
                answer = client.patch(f"/items/{item}", json={"hidden": True})
                assert (answer.status_code, answer.json()["id"], answer.json()["hidden"]) == (200, item, True)
            for each, old in zip(asked, before, strict=True):
                now = ids(client.post("/recommend", json=each))
                assert not set(now) & set(hidden)
                assert [item for item in old if item not in hidden] == now[: len(set(old) - set(hidden))]
                assert not set(hidden) & set(ids(client.get("/recommend", params={"user": "user-3", "n": 5})))
            assert not set(hidden) & set(ids(client.get("/similar/100", params={"n": 50})))
            client.patch(f"/items/{before[0][0]}", json={"hidden": False})
            assert before[0][0] in ids(client.post("/recommend", json=plain))

    def test_it_stays_hidden_after_a_restart_and_its_events_count(self, log: SQLiteEventStore) -> None:
        with run_server(create_app(fit(), log)) as client:
            item = ids(client.get("/recommend", params={"user": "user-3"}))[0]
            assert client.delete(f"/items/{item}").json()["hidden"]
            sent = client.post("/events", json={"events": [{"user": "user-3", "item": item}]}).json()
            assert (sent["stored"], sent["applied"]) == (1, 1)
            assert client.get("/users/user-3").json()["events"][0]["id"] == item
        with run_server(create_app(fit(), log)) as client:
            assert item not in ids(client.get("/recommend", params={"user": "user-4", "n": 50}))
            found = {each["id"]: each["hidden"] for each in client.get("/items?limit=50").json()["items"]}
            assert [each for each, is_hidden in found.items() if is_hidden] == [item]

    def test_wrong_changes_are_refused(self, client: httpx.Client) -> None:
        error_of(client.patch("/items/9999", json={"hidden": True}), 404)
        error_of(client.delete("/items/9999"), 404)
        for body in ({"hidden": 1}, {"hidden": "true"}, {}, {"hidden": True, "title": "New"}):
            error_of(client.patch("/items/100", json=body), 422)
        assert not client.get("/items?search=").json()["items"][0]["hidden"]


def test_a_forgotten_user_is_unknown_until_new_events(client: httpx.Client, log: SQLiteEventStore) -> None:
    for name in ("user-43", "stranger"):
        event = {"user": name, "item": 100, "id": name}
        assert client.post("/events", json={"events": [event]}).json()["applied"] == 1
        assert client.get("/recommend", params={"user": name}).status_code == 200
        assert client.delete(f"/users/{name}").json() == {"events": 1}
        assert client.delete(f"/users/{name}").json() == {"events": 0}
        assert client.get(f"/users/{name}").status_code == 404
        assert client.get("/recommend", params={"user": name}).status_code == 404
        assert client.get("/users", params={"search": name, "limit": 1}).json() == {"users": []}
        assert name.encode() not in log.path.read_bytes()
        assert client.post("/events", json={"events": [event]}).json()["stored"] == 1
        assert len(client.get(f"/users/{name}").json()["events"]) == 1


def test_a_list_tells_its_stages_if_asked(client: httpx.Client) -> None:
    posted = client.post("/recommend", json={"user": "user-3", "trace": True, "deny": [100]}).json()
    got = client.get("/recommend", params={"user": "user-3", "trace": "true", "reasons": "false"}).json()
    assert [each["stage"] for each in posted["trace"]] == ["rules", "retrieve", "fill", "explain"]
    assert set(posted["trace"][0]["dropped"]) <= {"denied", "seen"}
    assert [each["stage"] for each in got["trace"]] == ["rules", "retrieve", "fill"]
    assert client.post("/recommend", json={"user": "user-3"}).json()["trace"] is None


def test_all_routes_of_lists_obey_the_rules(log: SQLiteEventStore) -> None:
    rules = ListRules((PinnedItem(139, 1),), (ColumnLimit("genres", 1),))
    with run_server(create_app(fit(), log, ServingSettings(list_rules=rules))) as client:
        fast = client.get("/recommend", params={"user": "user-0", "n": 4}).json()
        whole = client.post("/recommend", json={"user": "user-0", "n": 4, "trace": True}).json()
    assert fast["items"] == whole["items"]
    assert fast["items"][0]["id"] == 139
    assert [item["source"] for item in fast["items"]] == ["pin", *["model"] * (len(fast["items"]) - 1)]
    assert fast["policy"] == whole["policy"] == f"ease/+rules={rules.digest}"
