"""``--json`` where a command runs for long: one line when a server is ready, one document at the end of the demo."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import make_dataset
from leanrec.cli import demo
from leanrec.models.linear.ease import EASE
from leanrec.pipeline.pipeline import Pipeline


@pytest.mark.system
def test_a_server_says_in_one_line_that_it_is_ready(tmp_path: Path) -> None:
    model = Pipeline.fit(EASE(l2=20.0), make_dataset()).save(tmp_path / "model")
    words = ["serve", str(model), "--port", "0", "--json"]
    command = [sys.executable, "-c", "from leanrec.cli import main; main()", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            told = json.loads(process.stdout.readline())
            assert set(told) == {"url", "model", "log"}
            assert told["model"] == str(model)
            assert Path(told["log"]).exists()
            assert httpx.get(f"{told['url']}/recommend", params={"user": "user-1"}).json()["items"]
            os.kill(process.pid, signal.SIGINT)
            assert process.wait(timeout=60) == 0
            assert process.stdout.read() == ""
        finally:
            process.kill()


@pytest.mark.system
def test_the_demo_ends_with_one_document(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_MODELS", ("popularity", "item_knn"))
    code, out, err = run("demo", "--out", tmp_path / "demo", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["data"]["events"] == 100_836
    assert told["frontier"]["best"] == "item_knn"
    assert len(told["recommended"]["items"]) == 5
    assert told["click"]["before"] != told["click"]["after"]
    assert told["click"]["title"] in told["click"]["before"]
    assert told["click"]["title"] not in told["click"]["after"]
    assert Path(told["model"]).is_dir()
    assert "2. Every model" in err
    code, out, _ = run("recommend", told["model"], "--user", 1, "-n", 3)
    assert "Top 3" in out
