"""``leanrec serve``: the JSON line when ready, and invalid settings."""

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
from leanrec.models.linear.ease import EASE
from leanrec.pipeline.pipeline import Pipeline


@pytest.mark.system
def test_server_prints_one_json_line_when_ready(tmp_path: Path) -> None:
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
def test_json_lines_tell_of_start_and_refusals_without_ids(tmp_path: Path) -> None:
    model = Pipeline.fit(EASE(l2=20.0), make_dataset()).save(tmp_path / "model")
    words = ["serve", str(model), "--port", "0", "--json", "--log-format", "json", "--slow-request", "1e-9"]
    command = [sys.executable, "-c", "from leanrec.cli import main; main()", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            url = json.loads(process.stdout.readline())["url"]
            listed = httpx.get(f"{url}/recommend", params={"user": "user-1"})
            refused = httpx.get(f"{url}/users/user-1", headers={"Host": "elsewhere.example"})
            os.kill(process.pid, signal.SIGTERM)
            assert process.wait(timeout=60) == 0
            text = process.stderr.read()
        finally:
            process.kill()
    start, slow, line = [json.loads(each) for each in text.splitlines()]
    assert (start["event"], start["url"], start["model"]) == ("start", url, "ease")
    assert (slow["event"], slow["request"]) == ("slow_request", listed.headers["x-request-id"])
    assert (line["event"], line["status"], line["request"]) == ("refused", 421, refused.headers["x-request-id"])
    assert "user-1" not in text


def test_invalid_setting_is_refused(run: Any, log: Path, tmp_path: Path) -> None:
    run("fit", "popularity", log, "--out", tmp_path / "m")
    refused = {
        "--retention-days": "must be a positive number",
        "--latency-target-ms": "must be a positive number",
        "--max-in-flight": "must be a number of at least 1",
    }
    for flag, reason in refused.items():
        code, _, err = run("serve", tmp_path / "m", flag, 0)
        assert code == 2
        assert f"{flag} {reason}" in err
