"""``leanrec frontier``: plots and the best within a budget."""

import json
from pathlib import Path
from typing import Any

from leanrec.data.datasets.bundled import sample_path


def test_frontier_plots_and_chooses(run: Any, tmp_path: Path) -> None:
    folder = sample_path("ml-latest-small")
    words = (
        "frontier",
        folder / "ratings.parquet",
        "-m",
        "popularity",
        "-m",
        "pure_svd,embedding_dim=16",
        "--split",
        "ratio",
    )
    code, out, _ = run(*words, "--max-p99", "1s", "--out", tmp_path, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["best"] == "pure_svd,embedding_dim=16"
    assert (tmp_path / "frontier.html").exists()
    assert (tmp_path / "frontier.png").exists()
