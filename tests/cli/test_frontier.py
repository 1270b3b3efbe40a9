"""``leanrec frontier``: plots and the best within a budget."""

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.plots import make_frontier
from leanrec.cli.frontier import draw_plots
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


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("step", ["frontier_figure.draw_frontier", "html_report.render_html_report"])
def test_an_interrupted_plot_leaves_the_files_of_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: type[BaseException]
) -> None:
    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(f"leanrec.evaluation.plots.{step}", fail)
        with pytest.raises(error):
            draw_plots(make_frontier(), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert [plot.name for plot in draw_plots(make_frontier(), tmp_path)] == ["frontier.html", "frontier.png"]
    before = {plot: plot.read_bytes() for plot in tmp_path.iterdir()}
    monkeypatch.setattr(f"leanrec.evaluation.plots.{step}", fail)
    with pytest.raises(error):
        draw_plots(make_frontier(), tmp_path)
    assert {plot: plot.read_bytes() for plot in tmp_path.iterdir()} == before
