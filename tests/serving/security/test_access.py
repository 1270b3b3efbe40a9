"""Access control over real connections: keys, roles, rates, and what a stranger learns."""

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from conftest import make_dataset
from contracts.server import run_server
from leanrec.errors import SettingError
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.models import get_model
from leanrec.pipeline.pipeline import Pipeline
from leanrec.serving.app import create_app
from leanrec.serving.dashboard.page_files import PAGE_FILES
from leanrec.serving.security.access import find_role
from leanrec.serving.security.api_keys import ApiKey, ApiKeys
from leanrec.serving.server import serve
from leanrec.serving.serving_settings import ServingSettings

CLIENT, ADMIN, SLOW = "key-of-a-shop", "key-of-an-admin", "key-of-a-slow-shop"
ROUTES = [  # method, path, body, role
    ("GET", "/recommend?user=user-1", None, "client"),
    ("HEAD", "/recommend?user=user-1", None, "client"),
    ("GET", "/recommend?history=101", None, "client"),
    ("POST", "/recommend", {"user": "user-1"}, "client"),
    ("POST", "/recommend", {"user": "user-1", "where": {"genres": "space"}}, "client"),
    ("POST", "/events", {"events": [{"user": "user-1", "item": 101}]}, "client"),
    ("GET", "/similar/101", None, "client"),
    ("GET", "/explain?user=user-1&item=101", None, "client"),
    ("GET", "/items?search=a", None, "client"),
    ("GET", "/health", None, "client"),
    ("POST", "/items", {"items": [{"id": 901, "content": {"title": "tea"}}]}, "admin"),
    ("PATCH", "/items/101", {"hidden": False}, "admin"),
    ("DELETE", "/items/102", None, "admin"),
    ("GET", "/users", None, "admin"),
    ("GET", "/users/user-1", None, "admin"),
    ("HEAD", "/users/user-1", None, "admin"),
    ("GET", "/%75sers/user-1", None, "admin"),
    ("DELETE", "/users/user-2", None, "admin"),
    ("GET", "/metrics", None, "admin"),
    ("GET", "/dashboard/traffic", None, "admin"),
    ("GET", "/dashboard/versions", None, "admin"),
]
OPEN = [*PAGE_FILES, "/livez", "/readyz", "/openapi.json"]


def make_key(name: str, key: str, role: str, rate: float | None = None) -> ApiKey:
    return ApiKey(name, hashlib.sha256(key.encode()).hexdigest(), role, rate)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    keys = ApiKeys(
        [make_key("shop", CLIENT, "client"), make_key("boss", ADMIN, "admin"), make_key("slow", SLOW, "client", 3)]
    )
    with (
        SQLiteEventStore(tmp_path_factory.mktemp("log") / "events.db") as log,
        run_server(
            create_app(Pipeline.fit(get_model("content")(), make_dataset()), log, ServingSettings(keys=keys))
        ) as client,
    ):
        yield client


def ask(client: httpx.Client, method: str, path: str, body: Any, key: str | None) -> httpx.Response:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    answer = client.request(method, path, json=body, headers=headers)
    for secret in (CLIENT, ADMIN, SLOW):
        assert secret not in answer.text
    return answer


@pytest.mark.parametrize(("method", "path", "body", "role"), ROUTES)
def test_a_route_needs_its_role(client: httpx.Client, method: str, path: str, body: Any, role: str) -> None:
    stranger = ask(client, method, path, body, None)
    assert (stranger.status_code, stranger.headers["www-authenticate"]) == (401, "Bearer")
    assert ask(client, method, path, body, "wrong").status_code == 401
    shop = ask(client, method, path, body, CLIENT)
    assert shop.status_code == (200 if role == "client" else 403)
    if role == "admin" and method != "HEAD":
        assert set(shop.json()["error"]) == {"message", "location", "hint"}
    assert ask(client, method, path, body, ADMIN).status_code == 200


@pytest.mark.parametrize("path", OPEN)
def test_what_has_no_data_needs_no_key(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200
    assert client.head(path).status_code == 200
    assert client.post(path).status_code == 401


@pytest.mark.parametrize(
    "header",
    [
        CLIENT,
        f"Basic {CLIENT}",
        f"Bearer {CLIENT}x",
        "Bearer",
        f"Bearer {CLIENT[:-1]}",
        f"Bearer {CLIENT} {ADMIN}",
    ],
)
def test_another_header_is_no_key(client: httpx.Client, header: str) -> None:
    answer = client.get("/health", headers={"Authorization": header})
    assert answer.status_code == 401
    assert CLIENT not in answer.text
    two = [("Authorization", f"Bearer {CLIENT}"), ("Authorization", f"Bearer {ADMIN}")]
    assert client.get("/health", headers=two).status_code == 401
    assert client.get(f"/health?key={CLIENT}").status_code == 401


def test_a_key_has_a_rate(client: httpx.Client) -> None:
    answers = [ask(client, "GET", "/recommend?user=user-1", None, SLOW) for _ in range(30)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert 3 <= len(answers) - len(refused) < 25
    assert {answer.status_code for answer in answers} == {200, 429}
    assert all(int(answer.headers["retry-after"]) == 1 for answer in refused)
    assert "slow may send 3 requests a second" in refused[0].json()["error"]["message"]
    assert ask(client, "GET", "/recommend?user=user-1", None, CLIENT).status_code == 200


def test_refusals_are_counted(client: httpx.Client) -> None:
    client.get("/users")
    text = ask(client, "GET", "/metrics", None, ADMIN).text
    assert 'leanrec_requests_total{method="other",route="other",status="401"}' in text


def test_the_description_has_the_keys(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()
    assert described["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, methods in described["paths"].items():
        for method, route in methods.items():
            role = find_role(method.upper(), path)
            assert route.get("security") == (None if role is None else [{"key": []}]), (method, path)
            assert ("401" in route["responses"]) == (role is not None)
            assert ("403" in route["responses"]) == (role == "admin")


def test_an_unknown_request_is_for_admins() -> None:
    for method, path in [
        ("GET", "/nowhere"),
        ("PUT", "/recommend"),
        ("POST", "/similar/1"),
        ("GET", "//users"),
        ("POST", "/health"),
    ]:
        assert find_role(method, path) == "admin"


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_open_address_needs_keys(tmp_path_factory: pytest.TempPathFactory, host: str) -> None:
    model = Pipeline.fit(get_model("popularity")(), make_dataset()).save(tmp_path_factory.mktemp("m") / "model")
    with pytest.raises(SettingError, match=re.escape(f"Got {host}, where any machine")):
        serve(model, host=host, port=0)
