"""The HTTP API keeps what its OpenAPI description promises: methods, status codes, headers, and requests made from it."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_dataset
from contracts.server import run_server
from leanrec.errors import BusyError, SourceError
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.models import get_model
from leanrec.pipeline.pipeline import Pipeline
from leanrec.serving.app import create_app

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
PAGES = ("/", "/dashboard/app.js", "/openapi.json")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SQLiteEventStore]:
    with SQLiteEventStore(tmp_path_factory.mktemp("log") / "events.db") as log:
        yield log


@pytest.fixture(scope="module")
def client(log: SQLiteEventStore) -> Iterator[httpx.Client]:
    """One server whose model takes new items."""
    with run_server(create_app(Pipeline.fit(get_model("content")(), make_dataset()), log)) as client:
        yield client


@pytest.fixture(scope="module")
def described(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def fill(path: str) -> str:
    return path.replace("{item}", "100").replace("{user}", "user-1")


def check_error(answer: httpx.Response) -> dict[str, str]:
    error: dict[str, str] = answer.json()["error"]
    assert set(error) == {"message", "location", "hint"}
    assert all(error.values())
    return error


def check_described(route: dict[str, Any], answer: httpx.Response) -> None:
    """The status and the headers of an answer are those of the description."""
    status = str(answer.status_code)
    assert status in route["responses"], (status, answer.text)
    assert ("retry-after" in answer.headers) == ("Retry-After" in route["responses"][status].get("headers", {}))
    if status != "200":
        check_error(answer)


class TestMethods:
    def test_every_path_names_its_methods(self, client: httpx.Client, described: dict[str, Any]) -> None:
        paths = {path: {method.upper() for method in methods} for path, methods in described["paths"].items()}
        for path, methods in {**paths, **{path: {"GET"} for path in PAGES}}.items():
            allowed = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
            for method in METHODS:
                # The user of the other tests must not be forgotten.
                answer = client.request(
                    method, fill(path).replace("user-1", "user-2" if method == "DELETE" else "user-1")
                )
                if method == "OPTIONS":
                    assert (answer.status_code, answer.content) == (204, b"")
                elif method in allowed:
                    assert answer.status_code in {200, 422}, (method, path)
                    continue
                else:
                    assert answer.status_code == 405, (method, path)
                    assert method == "HEAD" or method in check_error(answer)["message"]
                assert answer.headers["allow"] == ", ".join(sorted(allowed)), (method, path)

    def test_head_answers_as_get_without_a_body(self, client: httpx.Client, described: dict[str, Any]) -> None:
        paths = [path for path, methods in described["paths"].items() if "get" in methods]
        for path in (*paths, *PAGES, "/users/nobody", "/items?limit=0"):
            query = {"/recommend": "?user=user-1", "/explain": "?user=user-1&item=100"}.get(path, "")
            head, got = client.head(fill(path) + query), client.get(fill(path) + query)
            assert (head.status_code, head.content) == (got.status_code, b""), path
            assert head.headers["content-type"] == got.headers["content-type"], path

    def test_head_logs_no_list(self, client: httpx.Client, log: SQLiteEventStore) -> None:
        before = len(list(log.served_lists()))
        client.head("/recommend?user=user-1")
        assert len(list(log.served_lists())) == before
        client.get("/recommend?user=user-1")
        assert len(list(log.served_lists())) == before + 1

    @pytest.mark.parametrize("path", ["/nowhere", "/health/", "/recommend/"])
    @pytest.mark.parametrize("method", ["GET", "OPTIONS", "DELETE"])
    def test_an_unknown_path_is_not_found(self, client: httpx.Client, method: str, path: str) -> None:
        answer = client.request(method, path)
        assert answer.status_code == 404
        check_error(answer)


def cause_errors(client: httpx.Client, method: str, path: str) -> Iterator[httpx.Response]:
    """Requests that a route must refuse."""
    for host in ("", "other.example"):
        yield client.request(method, fill(path), headers={"Host": host})
    unknown = re.sub(r"{.*}", "nobody", path)
    if method in {"POST", "PATCH", "PUT"}:
        headers = {"content-type": "application/json"}
        for body in (
            b"\xff",
            b"{",
            b"[" * 100_000,
            b'{"history": "' + b"x" * 2**23 + b'"}',
            b"{}",
            b'{"user": "nobody"}',
            b'{"hidden": true}',
            b'{"items": [{"id": "nobody", "hidden": true}]}',
            b'{"pins": [], "limits": [], "revision": 7}',
        ):
            yield client.request(method, unknown, content=body, headers=headers)
    else:
        query = {"/recommend": "?user=nobody", "/explain": "?user=nobody&item=1"}.get(path, "")
        yield client.request(method, unknown + query)
        yield client.request(method, f"{fill(path)}?n=none")


class TestStatuses:
    def test_every_described_refusal_occurs_and_no_other(self, client: httpx.Client, described: dict[str, Any]) -> None:
        for path, methods in described["paths"].items():
            for method, route in methods.items():
                answers = list(cause_errors(client, method.upper(), path))
                for answer in answers:
                    check_described(route, answer)
                expected = {status for status in route["responses"] if status not in {"200", "429", "500", "503"}}
                assert {str(answer.status_code) for answer in answers} - {"200"} == expected, (method, path)

    @pytest.mark.parametrize(
        ("error", "status"), [(BusyError("Wait."), 429), (SourceError("Full."), 503), (ZeroDivisionError(), 500)]
    )
    def test_a_log_that_cannot_be_written_is_described(
        self,
        client: httpx.Client,
        described: dict[str, Any],
        log: SQLiteEventStore,
        monkeypatch: pytest.MonkeyPatch,
        error: Exception,
        status: int,
    ) -> None:
        def fail(_: object) -> None:
            raise error

        for name in ("submit", "add_items", *(["append_served"] if status != 429 else [])):
            monkeypatch.setattr(log, name, fail)
        bodies: dict[str, Any] = {
            "/recommend": {"user": "user-1"},
            "/events": {"events": [{"user": "user-1", "item": 100}]},
            "/items": {"items": [{"id": 901, "content": {"title": "tea"}}]},
        }
        for path, body in bodies.items():
            answer = client.post(path, json=body)
            assert answer.status_code == (200 if (path, status) == ("/recommend", 429) else status)
            check_described(described["paths"][path]["post"], answer)

    def test_a_server_that_is_not_ready_says_when_to_ask_again(
        self, client: httpx.Client, described: dict[str, Any], log: SQLiteEventStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(log, "waiting_seconds", lambda: 7.0)
        answer = client.get("/readyz")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "Retry-After" in described["paths"]["/readyz"]["get"]["responses"]["503"]["headers"]


def walk(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        yield part
    for child in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from walk(child)


class TestDescription:
    def test_references_lead_somewhere_and_arrays_have_items(self, described: dict[str, Any]) -> None:
        """Generators of clients stop at an array without items; a tuple would be one."""
        schemas = described["components"]["schemas"]
        for part in walk(described):
            if isinstance(part.get("$ref"), str):
                assert part["$ref"].removeprefix("#/components/schemas/") in schemas
            if part.get("type") == "array":
                assert "items" in part, part

    def test_limits_have_the_names_of_json_schema(self, described: dict[str, Any]) -> None:
        for part in walk(described):
            assert not {"ge", "gt", "le", "lt", "min_length", "max_length"} & set(part)

    def test_operations_have_unique_ids(self, described: dict[str, Any]) -> None:
        names = [route["operationId"] for methods in described["paths"].values() for route in methods.values()]
        assert len(set(names)) == len(names)


def make_values(schema: dict[str, Any], schemas: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values of a JSON schema, often one of the ids, names and texts of the data."""
    if "$ref" in schema:
        return make_values(schemas[schema["$ref"].rsplit("/", 1)[-1]], schemas)
    if "anyOf" in schema:
        return st.one_of(*(make_values(each, schemas) for each in schema["anyOf"]))
    low = schema.get("minimum", schema.get("exclusiveMinimum", -(2**54)))
    makers: dict[str, Callable[[], st.SearchStrategy[Any]]] = {
        "integer": lambda: st.sampled_from([1, 100, 101, 0, -1, 2**53]) | st.integers(low, 2**54),
        "number": lambda: st.floats(allow_nan=False, allow_infinity=False) | st.integers(0, 5),
        "boolean": st.booleans,
        "null": st.none,
        "string": lambda: st.sampled_from(["user-1", "100", "click", "title"]) | st.text(max_size=8),
        "array": lambda: st.lists(make_values(schema["items"], schemas), max_size=3),
        "object": lambda: make_object(schema, schemas),
    }
    return makers[schema["type"]]() if "type" in schema else st.none() | st.text(max_size=3) | st.integers()


def make_object(schema: dict[str, Any], schemas: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    if "properties" not in schema:
        more = schema.get("additionalProperties")
        values = make_values(more if isinstance(more, dict) else {}, schemas)
        return st.dictionaries(st.sampled_from(["title", "genres", "year", "x"]), values, max_size=2)
    fields = {name: make_values(field, schemas) for name, field in schema["properties"].items()}
    required = {name: values for name, values in fields.items() if name in schema.get("required", ())}
    return st.fixed_dictionaries(
        required, optional={name: values for name, values in fields.items() if name not in required}
    )


def spoil(value: Any, wrong: Any, position: int) -> Any:
    """The value with a wrong part: the whole, or one entry, or one entry of that."""
    if not isinstance(value, dict | list) or not value or not position:
        return wrong
    copy = value.copy()
    key = list(value)[position % len(value)] if isinstance(value, dict) else position % len(value)
    copy[key] = spoil(value[key], wrong, position // 2)
    return copy


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_requests_made_from_the_description_get_described_answers(
    client: httpx.Client, described: dict[str, Any], data: st.DataObject
) -> None:
    schemas = described["components"]["schemas"]
    routes = [(path, method) for path, methods in described["paths"].items() for method in methods]
    path, method = data.draw(st.sampled_from(routes))
    route = described["paths"][path][method]
    wrong: Any = data.draw(
        st.just(...) | st.none() | st.booleans() | st.text(max_size=2) | st.integers() | st.just([[]])
    )
    where = data.draw(st.integers(0, 15))
    query, filled = {}, path
    for parameter in route.get("parameters", ()):
        value = data.draw(make_values(parameter["schema"], schemas))
        if parameter["in"] == "path":
            filled = path.partition("{")[0] + (str(value).strip("./?#") or "x")
        elif parameter.get("required") or data.draw(st.booleans()):
            query[parameter["name"]] = value
    body = None
    if "requestBody" in route:
        body = data.draw(make_values(route["requestBody"]["content"]["application/json"]["schema"], schemas))
        body = body if wrong is ... else spoil(body, wrong, where)
    try:
        request = client.build_request(method, filled, params=query, content=None if body is None else json.dumps(body))
    except (UnicodeEncodeError, httpx.InvalidURL):  # the client cannot even send it
        return
    if body is not None:
        request.headers["content-type"] = "application/json"
    check_described(route, client.send(request))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/recommend", {"user": "user-1", "n": "5"}),
        ("/recommend", {"user": "user-1", "n": True}),
        ("/recommend", {"user": "user-1", "reasons": "yes"}),
        ("/recommend", {"user": "user-1", "exclude_seen": 1}),
        ("/recommend", {"history": [100], "weights": ["2"]}),
        ("/recommend", {"history": [100], "ratings": [True]}),
        ("/events", {"events": [{"user": "user-1", "item": 100, "rank": False}]}),
        ("/events", {"events": [{"user": "user-1", "item": 100, "time": "1700000000"}]}),
        ("/events", {"events": [{"user": "user-1", "item": 100, "rating": "4"}]}),
        ("/events", {"events": [{"user": "user-1", "item": 100, "weight": True}]}),
        ("/items", {"items": [{"id": 905, "content": {"year": True}}]}),
    ],
)
def test_values_of_another_type_are_refused(client: httpx.Client, path: str, body: dict[str, Any]) -> None:
    """Text and true are no numbers: a rank of false would be read as 0, the first of a list."""
    answer = client.post(path, json=body)
    assert answer.status_code == 422
    assert "valid" in check_error(answer)["message"]


@pytest.mark.parametrize("query", ["usr=user-1", "user=user-1&user=user-2", "user=user-1&n=3&n=4", "user=user-1&=3"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_unknown_or_repeated_parameter_is_refused(client: httpx.Client, query: str, method: str) -> None:
    assert client.request(method, f"/recommend?{query}").status_code == 422
    assert client.request(method, "/recommend?history=100&history=101").status_code == 200
    assert client.request(method, "/health?time=1").status_code == 200
    assert client.request(method, "/similar/100?item=101").status_code == 422


def test_a_whole_number_may_have_a_point(client: httpx.Client) -> None:
    answer = client.post(
        "/recommend", content=b'{"history": [101], "n": 5.0}', headers={"content-type": "application/json"}
    )
    assert len(answer.json()["items"]) == 5
