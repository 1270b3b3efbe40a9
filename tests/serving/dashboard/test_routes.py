"""The JSON that the page reads, and who may change versions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import make_dataset
from contracts.server import run_server
from contracts.worker_server import start_workers, wait_for
from leanrec.events import SQLiteEventStore
from leanrec.models import get_model
from leanrec.online import LivePipeline, VersionStore
from leanrec.pipeline import Pipeline
from leanrec.serving.app import create_app
from leanrec.serving.dashboard.experiment_reports import ExperimentReports
from leanrec.serving.dashboard.off_policy_reports import OffPolicyReports
from leanrec.serving.security.api_keys import ApiKeys, add_key
from leanrec.serving.serving_settings import ServingSettings

MODELS = ("popularity", "item_knn", "ease")


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folders = [tmp_path_factory.mktemp("models") / name for name in MODELS]
    for name, folder in zip(MODELS, folders, strict=True):
        Pipeline.fit(get_model(name)(), make_dataset()).save(folder)
    return folders


@pytest.fixture
def store(artifacts: list[Path], tmp_path: Path) -> VersionStore:
    """Three versions, the second of which is current and the third on trial: three changes."""
    store = VersionStore.create(tmp_path / "store")
    versions = [store.add(each).id for each in artifacts]
    store.promote(versions[0])
    store.promote(versions[1])
    store.start_trial(versions[2], 0.5)
    return store


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    return {role: add_key(tmp_path / "keys.toml", role, role) for role in ("client", "admin")}


@pytest.fixture
def client(store: VersionStore, keys: dict[str, str], tmp_path: Path) -> Iterator[httpx.Client]:
    """A server with keys; nothing follows the store, so it goes on with the current version."""
    with SQLiteEventStore(tmp_path / "events.db") as log:
        live = LivePipeline(Pipeline.load(store.current().path), log)  # type: ignore[union-attr]
        live.store = store
        with run_server(create_app(live, log, ServingSettings(keys=ApiKeys.read(tmp_path / "keys.toml")))) as client:
            client.headers["Authorization"] = f"Bearer {keys['admin']}"
            yield client


@pytest.fixture(scope="module")
def plain(artifacts: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server of one model without keys."""
    with (
        SQLiteEventStore(tmp_path_factory.mktemp("log") / "events.db") as log,
        run_server(create_app(Pipeline.load(artifacts[1]), log)) as client,
    ):
        yield client


class TestTraffic:
    def test_sums_and_the_state_of_the_server(self, plain: httpx.Client) -> None:
        before = plain.get("/dashboard/traffic").json()
        plain.get("/recommend?user=user-1")
        plain.get("/recommend?user=nobody")
        plain.post("/events", json={"events": [{"user": "user-1", "item": 101}]})
        after = plain.get("/dashboard/traffic", params={"after": before["samples"][-1]["time"]}).json()
        old, new = before["samples"][-1], after["samples"][-1]
        assert {name: new["requests"][name] - count for name, count in old["requests"].items()} == {
            "answered": 2,
            "invalid": 1,
            "refused": 0,
            "failed": 0,
        }
        assert new["lists"]["full"] - old["lists"]["full"] == 1
        assert new["events"]["stored"] - old["events"].get("stored", 0) == 1
        assert sum(new["freshness"]["counts"]) == 1
        assert (after["rung"], after["workers"], after["users"], after["items"]) == ("full", 1, 60, 40)
        assert after["log"]["events"] == before["log"]["events"] + 1
        assert after["log"]["bytes"] > 0
        assert after["log"]["problem"] is None
        assert new["log_free_bytes"] > 0

    def test_only_later_samples_are_sent(self, plain: httpx.Client) -> None:
        times = [each["time"] for each in plain.get("/dashboard/traffic").json()["samples"]]
        later = plain.get("/dashboard/traffic", params={"after": times[0]}).json()["samples"]
        assert [each["time"] for each in later][: len(times) - 1] == times[1:]
        assert len(later) == len(times)

    def test_responses_to_the_version_that_is_served(self, plain: httpx.Client) -> None:
        before = plain.get("/dashboard/traffic").json()
        answer = plain.get("/recommend?user=user-2").json()
        event = {"user": "user-2", "item": answer["items"][0]["id"], "request": answer["request"]}
        plain.post("/events", json={"events": [event, {"user": "user-2", "item": 101}]})
        after = plain.get("/dashboard/traffic").json()
        assert after["samples"][-1]["feedback"] - before["samples"][-1]["feedback"] == 1
        found = plain.get("/dashboard/drift").json()
        assert (found["version"], found["lists"], found["fall"]) == (after["version"], 0, None)
        assert found["waiting"] > 0

    def test_requests_of_the_page_are_no_traffic(self, plain: httpx.Client) -> None:
        counts = [plain.get("/dashboard/traffic").json()["samples"][-1]["requests"]["answered"] for _ in range(2)]
        plain.get("/")
        plain.get("/metrics")
        assert plain.get("/dashboard/traffic").json()["samples"][-1]["requests"]["answered"] == counts[0] == counts[1]


def test_the_rules_of_lists_are_those_of_the_api_and_no_traffic(plain: httpx.Client) -> None:
    before = plain.get("/dashboard/traffic").json()["samples"][-1]["requests"]["answered"]
    found = plain.get("/dashboard/list-rules").json()
    assert plain.get("/dashboard/traffic").json()["samples"][-1]["requests"]["answered"] == before
    assert found == plain.get("/list-rules").json()
    assert found["revision"] == 0


class TestOffPolicy:
    def test_a_version_of_the_store_is_estimated(
        self, client: httpx.Client, store: VersionStore, keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []
        monkeypatch.setattr(OffPolicyReports, "read", lambda _, version: asked.append(version.path) or {"lists": 3})
        last = store.versions()[-1]
        assert client.get("/dashboard/off-policy", params={"version": last.id}).json() == {"lists": 3}
        assert asked == [last.path]
        unknown = client.get("/dashboard/off-policy?version=zz")
        assert (unknown.status_code, "must begin the id of one version" in unknown.text) == (404, True)
        headers = {"Authorization": f"Bearer {keys['client']}"}
        assert client.get("/dashboard/off-policy?version=zz", headers=headers).status_code == 403

    def test_one_model_without_versions(self, plain: httpx.Client) -> None:
        assert plain.get("/dashboard/off-policy?version=a").status_code == 409


class TestVersions:
    def test_one_model_without_versions(self, plain: httpx.Client) -> None:
        found = plain.get("/dashboard/versions").json()
        assert (found["model"], found["has_store"], found["may_change"], found["trial"]) == (
            "item_knn",
            False,
            False,
            None,
        )
        answer = plain.post("/dashboard/versions", json={"action": "rollback", "fence": 0})
        assert (answer.status_code, "store of versions" in answer.json()["error"]["message"]) == (409, True)

    def test_versions_and_changes_of_a_store(self, client: httpx.Client, store: VersionStore) -> None:
        found = client.get("/dashboard/versions").json()
        assert found["fence"] == 3
        assert found["may_change"]
        assert [each["id"] for each in found["versions"] if each["is_current"]] == [found["version"]]
        assert [each["version"] for each in found["promotions"]] == [each.version for each in store.promotions()]
        assert found["trials"][0]["share"] == 0.5

    def test_promote_roll_back_and_stop(self, client: httpx.Client, store: VersionStore) -> None:
        ids = [each.version for each in store.promotions()]
        tried = store.trial().version  # type: ignore[union-attr]
        stopped = client.post("/dashboard/versions", json={"action": "stop", "reason": "fewer clicks", "fence": 3})
        assert stopped.json()["fence"] == 4
        last = store.trials()[-1]
        assert (last.outcome, last.reason, last.ended_by) == ("stopped", "fewer clicks", "the dashboard")
        client.post("/dashboard/versions", json={"action": "promote", "version": tried, "fence": 4})
        assert store.current().id == tried  # type: ignore[union-attr]
        rolled = client.post("/dashboard/versions", json={"action": "rollback", "fence": 5}).json()
        assert store.current().id == ids[1]  # type: ignore[union-attr]
        assert [each["reason"] for each in rolled["promotions"]] == ["promote", "promote", "promote", "rollback"]

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"action": "rollback", "fence": 2}, 409),  # there was another change
            ({"action": "promote", "version": "none", "fence": 3}, 409),
            ({"action": "promote", "fence": 3}, 422),
            ({"action": "try", "fence": 3}, 422),
            ({"action": "rollback"}, 422),
            ({"action": "rollback", "fence": 3, "force": True}, 422),
        ],
    )
    def test_a_wrong_change_changes_nothing(
        self, client: httpx.Client, store: VersionStore, change: dict[str, Any], status: int
    ) -> None:
        answer = client.post("/dashboard/versions", json=change)
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"message", "location", "hint"}
        assert store.fence == 3

    def test_only_an_admin_changes_versions(
        self, client: httpx.Client, keys: dict[str, str], store: VersionStore
    ) -> None:
        for key, status in (("wrong", 401), (keys["client"], 403)):
            headers = {"Authorization": f"Bearer {key}"}
            for path in ("/dashboard/traffic", "/dashboard/drift", "/dashboard/versions", "/dashboard/experiment"):
                assert client.get(path, headers=headers).status_code == status
            change = {"action": "rollback", "fence": 3}
            assert client.post("/dashboard/versions", json=change, headers=headers).status_code == status
        assert store.fence == 3

    def test_a_server_without_keys_changes_no_version(self, store: VersionStore, tmp_path: Path) -> None:
        with SQLiteEventStore(tmp_path / "events.db") as log:
            live = LivePipeline(Pipeline.load(store.current().path), log)  # type: ignore[union-attr]
            live.store = store
            with run_server(create_app(live, log)) as client:
                assert not client.get("/dashboard/versions").json()["may_change"]
                answer = client.post("/dashboard/versions", json={"action": "rollback", "fence": 3})
        assert (answer.status_code, store.fence) == (403, 3)
        assert "keys" in answer.json()["error"]["message"]


def test_the_report_of_the_experiment(plain: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ExperimentReports, "read", lambda self: {"log": str(self._location)})
    assert plain.get("/dashboard/experiment").json()["log"].endswith("events.db")


@pytest.mark.system
def test_any_worker_tells_of_the_requests_of_all(artifacts: list[Path], tmp_path: Path) -> None:
    store = VersionStore.create(tmp_path / "store")
    store.promote(store.add(artifacts[0]).id)
    with start_workers(store.path) as server:
        server.ask_each("/recommend?user=user-1")
        server.ask_each("/recommend?user=user-2")
        server.click("user-1", 101)

        def find_sums() -> list[dict[str, Any]] | None:
            """What both workers tell, once each has pushed its counts, which it does every second."""
            told = server.ask_each("/dashboard/traffic")
            is_complete = all(each["samples"][-1]["requests"]["answered"] == 5 for each in told)
            return told if is_complete else None

        for each in wait_for(find_sums):
            last = each["samples"][-1]
            assert (last["lists"]["full"], last["events"]["stored"], each["workers"]) == (4, 1, 2)
            assert last["log_free_bytes"] > 0
            assert each["log"]["events"] == 1
        assert [each["has_store"] for each in server.ask_each("/dashboard/versions")] == [True, True]
