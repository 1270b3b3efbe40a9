"""Events over HTTP: one reading, and a bad event that harms only itself."""

import asyncio
import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_dataset
from contracts.server import run_server
from leanrec.errors import SourceError
from leanrec.events import sqlite_store
from leanrec.events.records import StorageLimits
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.models.linear.ease import EASE
from leanrec.online import LivePipeline
from leanrec.pipeline.pipeline import Pipeline
from leanrec.serving.app import create_app
from leanrec.serving.event_requests import EventBatch, EventMessage, EventRecorder, RefusedEvent, read_event
from leanrec.serving.prometheus import ServingMetrics
from leanrec.serving.schemas import EventRequest

GOOD = {"user": "user-1", "item": 100}


@pytest.fixture(scope="module")
def model() -> Pipeline:
    return Pipeline.fit(EASE(l2=20.0), make_dataset())


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SQLiteEventStore]:
    with SQLiteEventStore(tmp_path / "events.db") as log:
        yield log


@pytest.fixture
def client(log: SQLiteEventStore) -> Iterator[httpx.Client]:
    with run_server(create_app(Pipeline.fit(EASE(l2=20.0), make_dataset()), log)) as client:
        yield client


value = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(
        ["", "x" * 200, "x" * 201, 2**53, -(2**53), 2**53 - 1, 2**70, 5.0, 0.5, -0.0, 10_000, 1e6, "\ud800", []]
    )
    | st.text(st.characters(min_codepoint=0x1F600, max_codepoint=0x1F610), min_size=98, max_size=102)
)
names = st.sampled_from([*EventRequest.model_fields, "other"])


class TestOneReading:
    @given(more=st.dictionaries(names, value, max_size=3), left_out=st.sampled_from(["user", "item", None, None, None]))
    @settings(max_examples=200)
    def test_both_forms_of_the_request_accept_the_same(self, more: dict[str, Any], left_out: str | None) -> None:
        sent = {name: each for name, each in (GOOD | more).items() if name != left_out}
        try:
            described = EventRequest.model_validate(sent)
        except pydantic.ValidationError:
            assert isinstance(read_event(sent), RefusedEvent)
        else:
            read = read_event(sent)
            assert isinstance(read, EventMessage)
            assert {name: getattr(read, name) for name in EventRequest.model_fields} == dict(described)

    @given(more=st.dictionaries(names, value, max_size=3))
    def test_the_fast_decoder_accepts_no_more(self, more: dict[str, Any]) -> None:
        body = json.dumps({"events": [GOOD | more]}).encode()
        try:
            read = msgspec.json.decode(body, type=EventBatch).events[0]
        except msgspec.DecodeError:
            return
        assert read_event(read) == read_event(json.loads(body)["events"][0])

    def test_every_field_is_described(self) -> None:
        assert set(EventMessage.__struct_fields__) == set(EventRequest.model_fields)

    @pytest.mark.parametrize(
        "value", [None, [], "text", 5, {}, "\ud800", GOOD | {"\ud800": 1}, GOOD | {"time": "\ud800"}]
    )
    def test_what_is_no_event_is_refused(self, value: Any) -> None:
        assert isinstance(read_event(value), RefusedEvent)


BAD = {
    "events.0.item must be given.": {"user": "user-1"},
    "events.0.event_type must be one of rating": GOOD | {"event_type": "invented"},
    "events.0.time must be seconds since 1970 and not in the future. Got 1700000000123. It looks like": GOOD
    | {"time": 1_700_000_000_123},
    "events.0.rating must be from 0.5 to 5. Got 9.": GOOD | {"rating": 9},
    "events.0.users must be one of user, item": GOOD | {"users": 1},
    "events.0.user must be valid: expected `int | str`, got `bool`.": GOOD | {"user": True},
    "events.0.item must be text from 2^53 on": GOOD | {"item": 2**53},
    "events.0.id must be valid Unicode.": GOOD | {"id": "\ud800"},
    "events.0.rank must be a whole number. Got 0.5.": GOOD | {"rank": 0.5},
    "events.0 must be valid: expected `object`, got `int`.": 7,
}


class TestBatches:
    @pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
    def test_a_bad_event_harms_only_itself(self, client: httpx.Client, log: SQLiteEventStore, bad: Any) -> None:
        reason = next(text for text, each in BAD.items() if each is bad)
        events = [bad, GOOD | {"id": "a"}, GOOD | {"id": "b", "item": "new"}, bad]
        body = json.dumps({"events": events})
        answer = client.post("/events", content=body, headers={"content-type": "application/json"}).json()
        assert (answer["stored"], answer["applied"], len(log)) == (2, 1, 2)
        assert [(each["position"], each["stored"]) for each in answer["rejected"]] == [
            (0, False),
            (2, True),
            (3, False),
        ]
        assert answer["rejected"][0]["reason"].startswith(reason)
        assert answer["rejected"][1]["reason"] == "No item has the id 'new'."
        alone = client.post(
            "/events", content=json.dumps({"events": [bad, bad]}), headers={"content-type": "application/json"}
        )
        assert alone.status_code == 422
        error = alone.json()["error"]
        assert error["message"].startswith(reason)
        assert error["message"].endswith("(1 more in this request.)")
        assert len(log) == 2
        assert 'leanrec_events_total{outcome="invalid"} 4.0' in client.get("/metrics").text

    @pytest.mark.parametrize(
        "body", [b"{", b"[]", b'{"events": []}', b'{"events": 5}', b'{"events": [{}], "more": 1}', b""]
    )
    def test_what_is_no_batch_has_an_error(self, client: httpx.Client, body: bytes) -> None:
        answer = client.post("/events", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, set(answer.json())) == (422, {"error"})

    def test_events_of_another_content_type_are_refused(self, client: httpx.Client, log: SQLiteEventStore) -> None:
        body = json.dumps({"events": [GOOD]})
        assert client.post("/events", content=body, headers={"content-type": "text/plain"}).status_code == 422
        assert len(log) == 0

    def test_large_batches_arrive_in_parts_and_too_large_ones_are_refused(self, client: httpx.Client) -> None:
        events = [{"user": f"guest-{at % 70}", "item": 100 + at % 40, "id": f"{at}".rjust(200)} for at in range(1000)]
        answer = client.post("/events", json={"events": events}).json()
        assert (answer["stored"], answer["applied"], answer["as_of"]) == (1000, 1000, 1000)
        assert client.post("/events", json={"events": [GOOD | {"request": "x" * 5_000_000}]}).status_code == 413

    def test_events_of_a_second_count_in_the_order_of_their_milliseconds(self, client: httpx.Client) -> None:
        times = [(104, 0.7), (100, 0.25), (102, 0.5)]
        events = [{"user": "guest", "item": item, "time": 1_700_000_000 + part} for item, part in times]
        client.post("/events", json={"events": events})
        assert [each["id"] for each in client.get("/users/guest").json()["events"]] == [104, 102, 100]

    def test_new_positive_events_that_name_a_list_are_counted(self, client: httpx.Client) -> None:
        answer = client.get("/recommend?user=user-1").json()
        item = {"user": "user-1", "item": answer["items"][0]["id"], "request": answer["request"]}
        events = [item | {"id": "a"}, item | {"id": "b", "weight": 0}, {"user": "user-1", "item": 100}]
        for _ in range(2):  # the second time they are stored already, but for the last
            client.post("/events", json={"events": events}).raise_for_status()
        assert "leanrec_feedback_total 1.0" in client.get("/metrics").text

    def test_lists_tell_what_they_reflect(self, log: SQLiteEventStore) -> None:
        with run_server(create_app(Pipeline.fit(EASE(l2=20.0), make_dataset()), log)) as client:
            assert client.get("/recommend?user=user-1").json()["as_of"] == 0
            for at in range(3):
                assert client.post("/events", json={"events": [GOOD]}).json()["as_of"] == at + 1
            for path in ("/recommend?user=user-1", "/recommend?history=100", "/similar/100"):
                answer = client.get(path).json()
                assert (answer["as_of"], answer["model"]) == (3, "ease")
        with run_server(create_app(Pipeline.fit(EASE(l2=20.0), make_dataset()), log)) as client:
            assert client.get("/recommend?user=user-1").json()["as_of"] == 3


def test_events_that_are_stored_late_are_applied(
    model: Pipeline, log: SQLiteEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client has got an error, and what it sends again is a duplicate."""
    monkeypatch.setattr(sqlite_store, "_WAIT_SECONDS", 0.05)

    async def send(other: sqlite3.Connection) -> None:
        event = {"user": "late", "item": 100, "id": "a"}
        with pytest.raises(SourceError, match="send it again"):
            await recorder.record([event])
        other.execute("ROLLBACK")
        monkeypatch.setattr(sqlite_store, "_WAIT_SECONDS", 10)
        again = await recorder.record([event])
        assert (again.stored, again.duplicates, again.as_of) == (0, 1, 1)
        assert len(model.history("late")) == 1

    recorder = EventRecorder(LivePipeline(model, log), log, ServingMetrics(), ["click"])
    with contextlib.closing(sqlite3.connect(log.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        asyncio.run(send(other))


def test_many_batches_at_once_are_applied_in_the_order_of_the_log(model: Pipeline, log: SQLiteEventStore) -> None:
    async def send() -> None:
        recorder = EventRecorder(LivePipeline(model, log), log, ServingMetrics(), ["click"])
        batches = [
            [{"user": "busy", "item": 100 + (at * 7 + step) % 40, "time": 5} for step in range(60)] for at in range(10)
        ]
        outcomes = await asyncio.gather(*map(recorder.record, batches))
        assert sum(each.applied for each in outcomes) == 600
        assert recorder.as_of == log.last_seq

    before = threading.active_count()
    asyncio.run(send())
    logged = log.events().item.tolist()[-600:]
    assert [each.id for each in reversed(model.history("busy"))] == logged
    assert np.all(np.diff(log.events().time) == 0)
    assert threading.active_count() < before + 10  # no thread for each batch


def test_a_full_disk_refuses_events_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_store, "_LOOK_WRITING_EVERY", 0.0)
    free = [10**12]
    limits = StorageLimits(lists_free_bytes=1000, events_free_bytes=100)
    pipeline = Pipeline.fit(EASE(l2=20.0), make_dataset())
    with (
        SQLiteEventStore(tmp_path / "events.db", limits=limits, measure_free=lambda _: free[0]) as log,
        run_server(create_app(pipeline, log)) as client,
    ):
        free[0] = 99
        answer = client.post("/events", json={"events": [GOOD]})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "must have 100 B free" in answer.json()["error"]["message"]
        assert client.get("/readyz").status_code == 503
        assert client.get("/recommend?user=user-1").json()["as_of"] == 0
        free[0] = 500
        assert client.post("/events", json={"events": [GOOD]}).json()["applied"] == 1
        assert client.get("/readyz").status_code == 200
        text = client.get("/metrics").text
    assert "leanrec_log_free_bytes 500.0" in text
    assert "leanrec_lists_lost_total 1.0" in text
