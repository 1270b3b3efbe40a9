"""Runs a test script in two processes, as torchrun does, and collects their results."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def start(script: str, what: str, folder: Path, **more: str) -> list[subprocess.Popen[str]]:
    """Start two processes with one thread each."""
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    found = []
    for rank in "01":
        own = {"RANK": rank, "LOCAL_RANK": rank, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, script, what, str(folder)]
        found.append(subprocess.Popen(command, env=os.environ | common | own | more, stderr=subprocess.PIPE, text=True))
    return found


def write(what: str, folder: Path, found: dict[str, Any]) -> None:
    """Write the results of this process."""
    Path(folder, f"{what}-{os.environ['RANK']}.json").write_text(json.dumps(found), encoding="utf-8")


def both(script: str, what: str, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The results of the two processes. Fails with their error output if one has none."""
    errors = [each.communicate(timeout=120)[1] for each in start(script, what, folder)]
    assert all(Path(folder, f"{what}-{rank}.json").exists() for rank in (0, 1)), "\n".join(errors)
    return answer(what, folder, 0), answer(what, folder, 1)


def answer(what: str, folder: Path, rank: int) -> dict[str, Any]:
    return dict(json.loads(Path(folder, f"{what}-{rank}.json").read_text(encoding="utf-8")))
