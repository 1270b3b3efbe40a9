"""A server that learns: other people see new items and what is popular now, in each of its processes."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import make_dataset
from contracts.worker_server import wait_for
from leanrec.models import get_model
from leanrec.pipeline import Pipeline

NEW = 900
TASTE = [100, 104, 108, 112]  # of one genre


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pipeline = Pipeline.fit(get_model("item_knn")(shrinkage=1.0), make_dataset(30, 20, 6))
    return pipeline.save(tmp_path_factory.mktemp("served") / "model")


@contextlib.contextmanager
def start_server(model: Path, *flags: str) -> Iterator[Callable[..., Any]]:
    """A server, and a function that sends it a request on a connection of its own."""
    command = [sys.executable, "-m", "leanrec", "serve", str(model), "--port", "0", "--json", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = json.loads(process.stdout.readline())["url"]
            limits = httpx.Limits(max_keepalive_connections=0)
            with httpx.Client(base_url=url, timeout=60, limits=limits) as client:
                yield (
                    lambda path, body=None: (
                        (client.get(path) if body is None else client.post(path, json=body)).raise_for_status().json()
                    )
                )
        finally:
            process.terminate()


def ask_often(ask: Callable[..., Any], body: dict[str, Any]) -> list[list[Any]]:
    """The lists of 12 requests, which several workers answer."""
    return [[item["id"] for item in ask("/recommend", body)["items"]] for _ in range(12)]


@pytest.mark.system
@pytest.mark.parametrize("workers", [1, 2])
def test_a_new_item_with_twenty_clicks_reaches_others(saved: Path, tmp_path: Path, workers: int) -> None:
    (tmp_path / "model").symlink_to(saved)
    with start_server(tmp_path / "model", "--learn", "--workers", str(workers)) as ask:
        ask("/items", {"items": [{"id": NEW, "content": {}}]})
        before = ask("/recommend", {"history": TASTE[:2], "n": 3})
        assert before["policy"].endswith("+learning")
        assert NEW not in [item["id"] for item in before["items"]]
        for guest in range(20):
            events = [{"user": f"guest-{guest}", "item": item} for item in (NEW, *TASTE)]
            ask("/events", {"events": events})
        wait_for(lambda: all(NEW in found for found in ask_often(ask, {"history": [], "n": 5})))
        wait_for(lambda: all(NEW in found for found in ask_often(ask, {"history": TASTE[:2], "n": 3})))
        wait_for(lambda: all(NEW in found for found in ask_often(ask, {"user": "user-0", "n": 10})))
        assert ask("/recommend", {"user": "user-0"})["version"] == before["version"]


@pytest.mark.system
def test_a_server_does_not_learn_unless_it_is_told_to(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(saved)
    with start_server(tmp_path / "model") as ask:
        before = ask("/recommend", {"history": [], "n": 10})
        assert "+learning" not in before["policy"]
        for guest in range(40):
            ask("/events", {"events": [{"user": f"guest-{guest}", "item": 119}]})
        time.sleep(1.5)
        assert ask("/recommend", {"history": [], "n": 10})["items"] == before["items"]
