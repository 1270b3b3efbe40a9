"""The commands of a log with the URL of a database in place of a file."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conftest import make_dataset
from contracts.event_store import fill_store
from leanrec.artifacts import save
from leanrec.cli.app import app
from leanrec.errors import SettingError
from leanrec.events.locations import open_reader, open_store
from leanrec.events.records import StorageLimits
from leanrec.events.user_events import UserEvent
from leanrec.models import get_model
from leanrec.pipeline import Pipeline

pytestmark = [pytest.mark.system, pytest.mark.postgres]


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_log_is_checked_and_copied(url: str, tmp_path: Path) -> None:
    fill_store(url)
    assert f"{url} is whole: 3 events" in " ".join(run("log", "check", url).split())
    copied = json.loads(run("log", "backup", url, tmp_path / "copy.db", "--json"))
    assert copied == json.loads(run("log", "check", tmp_path / "copy.db", "--json"))


def test_a_log_is_not_copied_into_a_database(url: str, tmp_path: Path) -> None:
    fill_store(tmp_path / "events.db")
    refused = CliRunner().invoke(app, ["log", "backup", str(tmp_path / "events.db"), url])
    assert isinstance(refused.exception, SettingError)
    assert "FILE must be the path of a new SQLite file" in str(refused.exception)
    assert "postgresql:" not in [each.name for each in Path.cwd().iterdir()]


def test_limits_of_a_disk_that_cannot_be_seen_are_refused(url: str) -> None:
    with pytest.raises(SettingError, match="watch the disk of the database"):
        open_store(url, limits=StorageLimits(lists_free_bytes=5_000_000_000))
    open_store(url, limits=StorageLimits()).close()


def test_a_fit_and_recommendations_have_the_events_of_the_log(url: str, tmp_path: Path) -> None:
    data = make_dataset()
    model = Pipeline.fit(get_model("item_knn")(), data).save(tmp_path / "model")
    save(data, tmp_path / "data")
    with open_store(url) as log:
        log.bind(Pipeline.load(model).data_origin)
        log.append([UserEvent(f"e{at}", "ada", item, "rating", 2e9 + at, 1.0) for at, item in enumerate((100, 104))])
    assert "2 events" in run("recommend", model, "--user", "ada", "--event-log", url)
    fitted = run("fit", "item_knn", tmp_path / "data", "--event-log", url, "--out", tmp_path / "next")
    assert f"2 events of {url} joined the data." in " ".join(fitted.split())
    assert len(Pipeline.load(tmp_path / "next").history("ada", 9)) == 2
    assert "Deleted 2 events" in run("forget", model, "--user", "ada", "--event-log", url)
    assert open_reader(url).user_events() == []
