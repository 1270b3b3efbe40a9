"""Rules of lists over HTTP: checked, kept, known to all workers, and never changed by two editors at once."""

import io
import json
import random
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from conftest import make_dataset
from contracts.server import run_server
from contracts.server_log import restore_loggers
from contracts.worker_server import WorkerServer, start_workers, wait_for
from leanrec.client import Client
from leanrec.errors import RequestError
from leanrec.events import SQLiteEventStore
from leanrec.models import get_model
from leanrec.pipeline import ListRules, PinnedItem, Pipeline
from leanrec.serving.app import create_app
from leanrec.serving.monitoring.server_log import start_logging
from leanrec.serving.security.api_keys import ApiKeys, add_key
from leanrec.serving.serving_settings import ServingSettings

RULES: dict[str, Any] = {
    "pins": [{"item": 139, "position": 1, "users": None, "until": "2099-12-24T18:00:00Z"}],
    "limits": [{"column": "genres", "n": 1}],
}
NO_RULES: dict[str, Any] = {"pins": [], "limits": []}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Pipeline.fit(get_model("ease")(), make_dataset()).save(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SQLiteEventStore]:
    with SQLiteEventStore(tmp_path / "events.db") as log:
        yield log


@pytest.fixture
def client(model: Path, log: SQLiteEventStore) -> Iterator[httpx.Client]:
    with run_server(create_app(Pipeline.load(model), log)) as client:
        yield client


def read_list(client: httpx.Client, user: str = "user-0") -> dict[str, Any]:
    answer: dict[str, Any] = client.get("/recommend", params={"user": user, "n": 4}).raise_for_status().json()
    return answer


def test_the_next_list_obeys_the_rules_that_were_answered(client: httpx.Client) -> None:
    nothing = client.get("/list-rules").json()
    assert nothing == NO_RULES | {"revision": 0, "policy": None, "fixed": False, "problem": None}
    before = read_list(client)
    made = client.put("/list-rules", json=RULES | {"revision": 0}).raise_for_status().json()
    assert made == client.get("/list-rules").json()
    assert {name: made[name] for name in RULES} == RULES
    now = read_list(client)
    assert (made["revision"], now["policy"]) == (1, f"{before['policy']}+{made['policy']}")
    assert (now["items"][0]["id"], now["items"][0]["source"]) == (139, "pin")
    client.put("/list-rules", json=NO_RULES | {"revision": 1}).raise_for_status()
    assert read_list(client)["policy"] == before["policy"]


def test_a_pin_ends_by_the_clock_of_its_zone(client: httpx.Client) -> None:
    for until, seconds in (
        ("2099-01-01T01:00:00+01:00", 4070908800),
        ("2099-01-01T00:00:00", 4070908800),
        ("2099-01-01", 4070908800),
    ):
        revision = client.get("/list-rules").json()["revision"]
        pins = [{"item": 139, "position": 1, "until": until}]
        made = client.put("/list-rules", json={"pins": pins, "limits": [], "revision": revision}).json()
        assert made["pins"][0]["until"] == "2099-01-01T00:00:00Z"
        assert made["policy"] == f"rules={ListRules((PinnedItem(139, 1, None, float(seconds)),)).digest}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pins": [{"item": 139, "position": 0}]}, "position must be a rank from 1 to 1000. Got 0"),
        ({"pins": [{"item": 139, "position": 1, "users": {"land": "DE"}}]}, "users of a pinned item: "),
        ({"pins": [{"item": 139, "position": 1, "until": 1.7e9}]}, "until"),
        ({"pins": [{"item": 139, "position": 1, "until": "soon"}]}, "until"),
        ({"pins": [{"item": 139, "position": True}]}, "position"),
        ({"pins": [{"item": 139, "rank": 1}]}, "rank"),
        ({"pins": [{"item": 139, "position": 1}] * 201}, "pins must be at most 200. Got 201"),
        ({"limits": [{"column": "genre", "n": 1}]}, "no column 'genre'. Did you mean 'genres'"),
        ({"limits": [{"column": "genres", "n": 0}]}, "n must be a number of at least 1"),
        ({"revision": None}, "revision"),
        ({"revision": -1}, "revision"),
        ({"quota": 1}, "quota"),
    ],
)
def test_rules_are_checked_as_those_of_a_file_and_change_nothing(
    client: httpx.Client, change: dict[str, Any], message: str
) -> None:
    answer = client.put("/list-rules", json=NO_RULES | {"revision": 0} | change)
    assert answer.status_code == 422
    assert message in answer.json()["error"]["message"]
    assert client.get("/list-rules").json()["revision"] == 0


def test_a_part_that_is_missing_is_no_empty_part(client: httpx.Client) -> None:
    for part in NO_RULES:
        body = {name: [] for name in NO_RULES if name != part} | {"revision": 0}
        assert client.put("/list-rules", json=body).status_code == 422


def test_a_change_of_what_another_editor_has_changed_is_refused(client: httpx.Client) -> None:
    assert client.put("/list-rules", json=RULES | {"revision": 0}).json()["revision"] == 1
    late = client.put("/list-rules", json=NO_RULES | {"revision": 0})
    assert late.status_code == 409
    assert late.json()["error"]["message"].startswith("revision must be 1, that of the rules of lists now. Got 0")
    assert client.get("/list-rules").json()["pins"] == RULES["pins"]
    again = client.put("/list-rules", json=RULES | {"revision": 0})  # sent again, after a lost answer
    assert (again.status_code, again.json()["revision"]) == (200, 1)


def test_of_editors_at_the_same_time_one_wins_each_revision(client: httpx.Client) -> None:
    answers: list[tuple[int, int]] = []

    def edit(position: int) -> None:
        pins = [{"item": 139, "position": position}]
        with httpx.Client(base_url=client.base_url, timeout=30) as own:
            answer = own.put("/list-rules", json={"pins": pins, "limits": [], "revision": 0})
            answers.append((position, answer.status_code))

    threads = [threading.Thread(target=edit, args=(position,)) for position in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [position for position, status in answers if status == 200]
    assert {status for _, status in answers} == {200, 409}
    assert client.get("/list-rules").json()["pins"][0]["position"] == winner


def test_the_rules_of_a_file_are_shown_and_cannot_be_changed(model: Path, log: SQLiteEventStore) -> None:
    rules = ListRules((PinnedItem(139, 1),))
    with run_server(create_app(Pipeline.load(model), log, ServingSettings(list_rules=rules))) as client:
        found = client.get("/list-rules").json()
        assert (found["fixed"], found["pins"][0]["item"], found["policy"]) == (True, 139, f"rules={rules.digest}")
        refused = client.put("/list-rules", json=NO_RULES | {"revision": 0})
        assert (refused.status_code, "must not be those of a file" in refused.text) == (409, True)
        assert read_list(client)["items"][0]["id"] == 139


def test_rules_that_do_not_fit_the_model_are_told(log: SQLiteEventStore) -> None:
    log.replace_list_rules('{"pins": [], "limits": [{"column": "color", "n": 1}]}', 0)
    stream = io.StringIO()
    with restore_loggers():
        start_logging("json", stream)
        app = create_app(Pipeline.fit(get_model("ease")(), make_dataset()), log)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"]) == ("rules", "warning")
    with run_server(app) as client:
        assert client.get("/list-rules").json()["problem"] == line["message"]
        assert "+rules=" not in read_list(client)["policy"]
        client.put("/list-rules", json=RULES | {"revision": 1}).raise_for_status()
        assert client.get("/list-rules").json()["problem"] is None


def test_only_an_admin_changes_them_and_the_log_has_a_line(model: Path, log: SQLiteEventStore, tmp_path: Path) -> None:
    keys = {role: add_key(tmp_path / "keys.toml", f"shop-{role}", role) for role in ("client", "admin")}
    stream = io.StringIO()
    with restore_loggers():
        settings = ServingSettings(keys=ApiKeys.read(tmp_path / "keys.toml"))
        start_logging("json", stream)
        with run_server(create_app(Pipeline.load(model), log, settings)) as client:
            with Client(str(client.base_url), key=keys["client"]) as shop:
                for ask in (shop.read_list_rules, lambda: shop.replace_list_rules([], [], revision=0)):
                    with pytest.raises(RequestError) as caught:
                        ask()
                    assert caught.value.status == 403
            with Client(str(client.base_url), key=keys["admin"]) as editor:
                made = editor.replace_list_rules(RULES["pins"], RULES["limits"], revision=0)
                assert made == editor.read_list_rules()
                with pytest.raises(RequestError) as caught:
                    editor.replace_list_rules([], [], revision=0)
                assert caught.value.status == 409
    (line,) = [each for each in map(json.loads, stream.getvalue().splitlines()) if each["event"] == "rules"]
    assert line["message"] == (
        f"The rules of lists are now revision 1: 1 pins, 1 limits ({made['policy']}), by the key shop-admin."
    )
    assert (line["revision"], line["policy"], line["key"]) == (1, made["policy"], "shop-admin")


def kill_all(server: WorkerServer) -> None:
    """kill -9 of all processes of a server."""
    for child in psutil.Process(server.process.pid).children(recursive=True):
        child.kill()
    server.process.kill()
    server.process.wait()


@pytest.mark.system
def test_all_workers_obey_and_nothing_is_lost_by_kills(model: Path, tmp_path: Path) -> None:
    path = shutil.copytree(model, tmp_path / "model")  # the log is beside it
    with start_workers(path) as server:
        made = server.client.put("/list-rules", json=RULES | {"revision": 0}).raise_for_status().json()
        for _ in range(2):
            lists = wait_for(lambda: find_obedient(server, made["policy"]))
            assert [each["items"][0]["id"] for each in lists] == [139, 139]
            psutil.Process(server.find_workers()[0]).kill()  # the next one starts with the rules
            wait_for(lambda: len(server.find_workers()) == 2)
        psutil.Process(server.find_owner()).kill()
        wait_for(lambda: server.client.put("/list-rules", json=NO_RULES | {"revision": 1}).status_code == 200)
        kill_all(server)
    acknowledged = 2
    for attempt in range(2):
        with start_workers(path) as server:
            found = server.get("/list-rules")
            assert found["revision"] in {acknowledged, acknowledged + 1}
            assert [each["position"] for each in found["pins"]] == (
                [found["revision"]] if found["revision"] > 2 else []
            )
            acknowledged = kill_while_editing(server, found["revision"], seed=attempt)


def find_obedient(server: WorkerServer, policy: str) -> list[Any] | None:
    lists = server.ask_each("/recommend?user=user-0&n=4")
    return lists if len(lists) == 2 and all(each["policy"].endswith(policy) for each in lists) else None


def kill_while_editing(server: WorkerServer, revision: int, seed: int) -> int:
    """Replace the rules again and again until kill -9, and return the last revision that was acknowledged."""
    killing = threading.Thread(target=lambda: (time.sleep(0.05 + 0.2 * random.Random(seed).random()), kill_all(server)))
    killing.start()
    while True:
        pins = [{"item": 139, "position": revision + 1}]
        try:
            answer = server.client.put("/list-rules", json={"pins": pins, "limits": [], "revision": revision})
        except httpx.TransportError:
            killing.join()
            return revision
        if answer.status_code == 200:
            revision = answer.json()["revision"]
