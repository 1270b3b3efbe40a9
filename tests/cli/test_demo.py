"""``leanrec demo --json``: one document at the end."""

import json
from pathlib import Path
from typing import Any

import pytest

from leanrec.cli import demo


@pytest.mark.system
def test_demo_prints_one_json_document(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_MODELS", ("popularity", "item_knn"))
    monkeypatch.setattr(demo, "_BUDGET", {"fit_time": "10min"})
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
    assert "2. Compare models" in err
    code, out, _ = run("recommend", told["model"], "--user", 1, "-n", 3)
    assert "Top 3" in out
