"""``leanrec fit``: checkpoints, time limits, event logs."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from leanrec.data.datasets.bundled import sample_path


@pytest.mark.system
def test_checkpoint_resumes_a_fit(run: Any, log: Path, tmp_path: Path) -> None:
    words = ("fit", "sasrec", log, "--set", "embedding_dim=8", "--set", "epochs=2", "--checkpoint", tmp_path / "state")
    assert run(*words, "--out", tmp_path / "first")[0] == 0
    assert (tmp_path / "state" / "checkpoint.safetensors").is_file()
    assert run(*words, "--out", tmp_path / "second")[0] == 0
    lists = [run("recommend", tmp_path / name, "--user", 1, "--json")[1] for name in ("first", "second")]
    assert json.loads(lists[0])["items"] == json.loads(lists[1])["items"]
    code, _, err = run(*words, "--set", "epochs=3", "--out", tmp_path / "third")
    assert code == 2
    assert "must be a checkpoint of this training: epochs is 2 there, and 3 here" in err


def test_the_next_command_works_as_it_is_printed(run: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("user,item\nAnn Lee,tea & milk\nAnn Lee,it's\nBo $1,it's\n", encoding="utf-8")
    code, _, err = run("fit", "popularity", log, "--out", tmp_path / "my model")
    assert code == 0
    command = next(line for line in err.splitlines() if line.startswith("Try it: ")).removeprefix("Try it: leanrec ")
    code, out, _ = run(*shlex.split(command), "--json")
    assert code == 0
    assert json.loads(out)["user"] == "Ann Lee"


def test_sources_of_a_file_are_in_the_lists(run: Any, tmp_path: Path) -> None:
    log, file = tmp_path / "log.csv", tmp_path / "sources.toml"
    log.write_text("user,item\nAnn,tea\nAnn,milk\nBo,tea\nBo,milk\nBo,salt\nCy,rice\nDi,rice\nEd,rice\nFay,tea\n")
    file.write_text('[[source]]\nmodel = "popularity"\npositions = [1]\n', encoding="utf-8")
    assert run("fit", "item_knn", log, "--item-sources", file, "--out", tmp_path / "model")[0] == 0
    _, out, _ = run("recommend", tmp_path / "model", "--user", "Fay", "-n", 2, "--json")
    items = [(item["id"], item["source"]) for item in json.loads(out)["items"]]
    assert items == [("rice", "popularity"), ("milk", "model")]
    file.write_text('[[source]]\nmodel = "popularty"\n', encoding="utf-8")
    code, _, err = run("fit", "item_knn", log, "--item-sources", file, "--out", tmp_path / "model")
    assert code == 2
    assert "source 1" in err


def test_time_limit_is_reported(run: Any, log: Path, tmp_path: Path) -> None:
    words = ("fit", "sasrec", log, "--set", "embedding_dim=8", "--time-limit", "1us", "--out", tmp_path / "m")
    code, out, err = run(*words)
    assert code == 0
    assert "The time limit ended the fit early" in err
    code, out, _ = run(*words, "--json")
    assert json.loads(out)["stopped_by_time"] is True


@pytest.mark.system
def test_interrupted_fit_leaves_no_files(tmp_path: Path) -> None:
    folder = sample_path("ml-latest-small")
    words = ["fit", "bpr", folder / "ratings.parquet", "--set", "epochs=100000", "--out", tmp_path / "m"]
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            # A shell that runs the tests in the background lets its children ignore the signal.
            (
                "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
                "from leanrec.cli import main; print('started', flush=True); main()"
            ),
            *map(str, words),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"NUMBA_NUM_THREADS": "1"},
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "started\n"
        _wait_until_busy(child.pid)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 130
    assert "Interrupted" in err
    assert list(tmp_path.iterdir()) == []


def _wait_until_busy(pid: int) -> None:
    """Until the process has used four seconds of CPU: imports are over and the fit goes on."""
    ticks = os.sysconf("SC_CLK_TCK")
    for _ in range(600):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if (int(fields[11]) + int(fields[12])) / ticks > 4:
            return
        time.sleep(0.1)
    raise AssertionError("the fit never got busy")


def test_the_note_says_where_retrieval_stays_exact(run: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("user,item\nAnn,tea\nAnn,milk\nBo,tea\nBo,milk\n", encoding="utf-8")
    words = ("fit", "pure_svd", log, "--set", "embedding_dim=1", "--out", tmp_path / "model", "--retrieval")
    code, out, err = run(*words, "approximate", "--json")
    assert code == 0
    assert json.loads(out)["retrieval"] == "exact"
    assert "Retrieval is exact: Approximate retrieval needs 60 item vectors. Got 2: use --retrieval exact." in err
    code, _, err = run(*words, "fast")
    assert code == 2
    assert "--retrieval must be one of auto, exact, approximate. Got 'fast'." in err
