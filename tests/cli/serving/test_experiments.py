"""``leanrec experiments``: verdicts on a trial, and estimates from lists that explored."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.events.records import ServedList
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.events.user_events import UserEvent
from leanrec.models import get_model
from leanrec.online.version_store import VersionStore
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.replay import default_log_path

START = 1_700_000_000.0


def write_trial(path: Path, chances: dict[str, float], n_users: int = 300, start: float = START) -> None:
    """A log in which users of the arms take turns, and each has an event or none."""
    rng, arms = np.random.default_rng(0), list(chances)
    with SQLiteEventStore(path) as log:
        for user in range(n_users):
            arm = arms[user % len(arms)]
            log.append_served(ServedList(f"{user}", start + user, user, ("i",), (1.0,), policy=f"ease/{arm}", arm=arm))
        log.append(
            [
                UserEvent(f"{user}", user, "i", "click", start + 1000, 1.0, request=f"{user}")
                for user in range(n_users)
                if rng.random() < chances[arms[user % len(arms)]]
            ]
        )
        log.flush()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "ease"
    return Pipeline.fit(get_model("ease")(), make_dataset(n_users=30, n_items=60, per_user=6)).save(path)


def test_a_difference_is_told_with_its_interval(run: Any, model: Path, tmp_path: Path) -> None:
    log, plot = tmp_path / "log.db", tmp_path / "plot.png"
    write_trial(log, {"control": 0.2, "candidate": 0.7})
    words = ("experiments", model, "--event-log", log, "--expected-users", 300)
    code, out, err = run(*words, "--plot", plot)
    assert code == 0, err
    assert "candidate is better than control. Difference: +0." in out
    assert "95%, at every look" in out
    assert "ease/candidate" in out
    assert plot.read_bytes().startswith(b"\x89PNG")
    _, out, _ = run(*words, "--json", "--attributed")
    report = json.loads(out)
    (compared,) = report["comparisons"]
    assert (compared["arm"], compared["verdict"]) == ("candidate", "better")
    assert 0 < compared["difference"]["low"] < compared["difference"]["value"] < compared["difference"]["high"]
    assert [(each["name"], each["users"], each["lists"]) for each in report["arms"]] == [
        ("control", 150, 150),
        ("candidate", 150, 150),
    ]
    assert report["trial"] is None


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--arm", "control=9", "--arm", "candidate=1"), "do not fit the intended ratio (p = "),
        (("--event-type", "purchase"), "some with positive events and some without."),
        (("--until", "2023-11-14T22:13:50"), "No verdict on candidate yet: both arms need 25 users"),
        (("--until", "2100-01-01"), "No difference between candidate and control so far. Difference: "),
        (("--adjust", "--level", "0.99"), "(99%, at every look)"),
    ],
)
def test_settings_change_what_is_told(run: Any, model: Path, tmp_path: Path, flags: Any, words: str) -> None:
    write_trial(tmp_path / "log.db", {"control": 0.5, "candidate": 0.5})
    code, out, err = run("experiments", model, "--event-log", tmp_path / "log.db", *flags)
    assert code == 0, err
    assert words in out


def test_the_lists_of_a_trial_are_those_of_its_time(run: Any, model: Path, tmp_path: Path) -> None:
    store = VersionStore.create(tmp_path / "store")
    version = store.add(model)
    store.promote(version.id)
    other = Pipeline.fit(get_model("popularity")(), make_dataset(n_users=30, n_items=60, per_user=6)).save(
        tmp_path / "m"
    )
    tried = store.add(other)
    trial = store.start_trial(tried.id, 0.2)
    write_trial(default_log_path(store.path), {"control": 0.5, "candidate": 0.5}, n_users=100)  # long ago
    code, _, err = run("experiments", store.path)
    assert code == 2
    assert "None of its lists has an arm" in err
    now = datetime.fromisoformat(trial.started).timestamp() + 0.001
    with SQLiteEventStore(default_log_path(store.path)) as log:
        for user, arm in enumerate(("control", "candidate")):
            log.append_served(ServedList(f"now {user}", now, user, ("i",), (1.0,), policy=arm, arm=arm))
        log.flush()
    code, out, err = run("experiments", store.path, "--trial", tried.id[:5], "--json")
    assert code == 0, err
    report = json.loads(out)
    assert [each["users"] for each in report["arms"]] == [1, 1]
    assert report["trial"]["version"] == tried.id
    code, _, err = run("experiments", store.path, "--trial", "zz")
    assert code == 2
    assert f"tried so far: {tried.id}" in err


def test_estimates_from_lists_that_explored(run: Any, model: Path, tmp_path: Path) -> None:
    pipeline, rng = Pipeline.load(model), np.random.default_rng(0)
    start = float(pipeline.fitted_data.events.time.max()) + 10
    path = tmp_path / "log.db"
    with SQLiteEventStore(path) as log:
        log.bind(pipeline.data_origin)
        for number in range(120):
            user = pipeline.fitted_user_ids[number % 30]
            made = pipeline.recommend(user, n=4, explore=0.2, trace=True, reasons=False)
            items, scores = zip(*((item.id, item.score) for item in made.items), strict=True)
            log.append_served(
                ServedList(made.request, start + number, user, items, scores, propensities=made.propensities)
            )
            if rng.random() < 0.5:
                log.append([UserEvent(f"{number}+", "x", items[0], "click", start + number, 1.0, request=made.request)])
        log.flush()
    words = ("experiments", model, "--event-log", path, "--off-policy", model)
    code, out, err = run(*words)
    assert code == 0, err
    assert "from 120 lists that explored" in out
    assert [line.split()[0] for line in out.splitlines() if line.startswith(("snips", "ips", "dr"))] == [
        "snips",
        "ips",
        "dr",
    ]
    code, out, err = run(*words, "--json", "--level", 0.999)
    assert code == 0, err
    found = {each["method"]: each for each in json.loads(out)["estimates"]}
    assert set(found) == {"ips", "snips", "dr"}
    assert {each["effective_n"] for each in found.values()} == {found["snips"]["effective_n"]}
    assert found["dr"]["low"] < 0.125 < found["dr"]["high"]
    assert found["snips"]["low"] < 0.125 < found["snips"]["high"]
    assert found["snips"]["n"] == 480


def test_wrong_values_are_told_with_their_flags(run: Any, model: Path, tmp_path: Path) -> None:
    write_trial(tmp_path / "log.db", {"control": 0.5, "candidate": 0.5}, n_users=4)
    words = ("experiments", model, "--event-log", tmp_path / "log.db")
    for flags, message in (
        (("--since", "yesterday"), "--since must be a date or time such as 2026-11-30"),
        (("--arm", "control"), "--arm must have the form NAME=VALUE"),
        (("--arm", "a=1", "--arm", "b=x"), "must be a number"),
        (("--trial", "1f"), "is a model without versions"),
        (("--level", "95"), "--level must be a number from 0.5 to"),
        (("--expected-users", "0"), "--expected-users must be"),
        (("--off-policy", model), "must have drawn lists that can be used"),
    ):
        code, _, err = run(*words, *flags)
        assert code == 2, (flags, err)
        assert message in err
