"""Soak: slopes with intervals, the traffic, and what is changed in each minute."""

import json
import os
from pathlib import Path

import numpy as np
import psutil
import pytest
import soak

from leanrec.data import Simulation
from leanrec.models import Popularity
from leanrec.online import VersionStore
from leanrec.pipeline import Pipeline


def test_the_slope_of_a_line_is_exact() -> None:
    assert soak.find_slope([7.0 + 3 * each for each in range(20)], draws=50) == pytest.approx((3, 3, 3))


def test_intervals_hold_the_slope_of_noisy_minutes() -> None:
    """Noise of a minute goes on in the next one; intervals of 95 % are somewhat narrow for twenty values."""
    n_held = 0
    for seed in range(60):
        noise = np.random.default_rng(seed).normal(0, 3, 22)
        _, low, high = soak.find_slope((2 * np.arange(21) + noise[1:] + 0.5 * noise[:-1]).tolist(), draws=200)
        n_held += low <= 2 <= high
    assert 48 <= n_held < 60


def test_only_whole_minutes_count() -> None:
    samples = [{"seconds": 480.1 + 10 * each, "pss": float(each)} for each in range(14)]
    assert soak.reduce_minutes(samples, "pss", np.mean) == [2.5, 8.5]


def test_memory_of_a_moment_is_no_rise() -> None:
    rng = np.random.default_rng(0)
    samples = [
        {"seconds": 2.0 * each, "pss": 300.0 + 0.01 * each + 150 * (each % 30 > 0) * rng.random()}
        for each in range(600)
    ]
    assert soak.find_slope(soak.reduce_minutes(samples, "pss"), draws=50)[0] == pytest.approx(0.3)


def test_a_user_without_events_in_the_fit_sends_some_before_a_list_is_asked_for() -> None:
    data = Simulation(users=20, items=30, events=200).dataset()
    traffic = soak.Traffic("http://localhost:1", ["a", "b"], data)
    known = {str(each) for each in data.users.ids.tolist()}
    kinds: dict[str, int] = {"GET": 0, "POST": 0}
    for position in range(10_000):
        head, _, body = traffic[position].decode().partition("\r\n\r\n")
        method, path, _ = head.split("\r\n")[0].split(" ")
        kinds[method] += 1
        if method == "POST":
            known |= {str(each["user"]) for each in json.loads(body)["events"]}
        else:
            assert path.partition("user=")[2].partition("&")[0] in known
    assert kinds == {"GET": 8_000, "POST": 2_000}


def test_new_users_and_events_are_those_of_the_traffic() -> None:
    data = Simulation(users=20, items=30, events=200).dataset()
    traffic = soak.Traffic("http://localhost:1", ["a", "b"], data)
    bodies = [traffic[position].partition(b"\r\n\r\n")[2] for position in range(60 * 20)]
    events = [each for body in bodies if body for each in json.loads(body)["events"]]
    guests = {each["user"] for each in events if str(each["user"]).startswith("guest")}
    assert soak.count_growth(20) == (len(guests), len(events))


def test_a_run_needs_minutes_after_the_warm_up(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["soak.py", "--minutes", "10"])
    with pytest.raises(SystemExit):
        soak.main()
    assert "--minutes must be at least --warm-up + 3. Got 10 and 8." in capsys.readouterr().err


def test_traffic_goes_on_where_the_last_minute_ended() -> None:
    data = Simulation(users=20, items=30, events=200).dataset()
    first, next_one = (soak.Traffic("http://localhost:1", ["a", "b"], data, start) for start in (0, 700))
    assert first[703] == next_one[3]


def test_each_minute_has_a_promotion_a_canary_and_a_shadow(tmp_path: Path) -> None:
    data = Simulation(users=20, items=30, events=200).dataset()
    store = VersionStore.create(tmp_path / "models")
    for half_life in (10.0, 20.0):
        store.add(Pipeline.fit(Popularity(half_life=half_life), data).save(tmp_path / "model"))
    first, other = (each.id for each in store.versions())
    store.promote(first)
    operator = soak.Operator(store)
    for second in range(119):
        operator.look(float(second))
    assert [each.version for each in store.promotions()] == [first, other, first]
    assert [(each.version, each.is_shadow, each.outcome) for each in store.trials()] == [
        (first, False, "stopped"),
        (first, True, "stopped"),
        (other, False, "stopped"),
        (other, True, "stopped"),
    ]
    assert operator.n_aborted == 0


def test_a_sample_has_the_memory_of_a_process_and_the_sizes_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "events.db"
    log.write_bytes(b"12345")
    Path(f"{log}-wal").write_bytes(b"123")
    found = soak.take_sample(psutil.Process(os.getpid()), log, 12.34)
    assert (found["seconds"], found["log"], found["wal"]) == (12.3, 5, 3)
    assert 0 < found["pss"] <= found["rss"] * 1.01
    assert found["anonymous"] + found["files"] == found["kept"] == pytest.approx(found["rss"], rel=0.05)
    assert min(found["anonymous"], found["files"]) > 1e6
    assert min(found["descriptors"], found["threads"], found["processes"]) >= 1
