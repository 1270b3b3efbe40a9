"""Plot of a hyper-parameter search."""

from pathlib import Path

from conftest import make_dataset
from leanrec.data.splits.split import split
from leanrec.evaluation.plots.tuning_figure import draw_tuning
from leanrec.evaluation.tuning.tuning import Search, tune
from leanrec.models.linear.ease import EASE


def test_a_search_is_drawn_to_a_png(tmp_path: Path) -> None:
    data = make_dataset(n_users=400)
    space = {"l2": "1..1000:log", "weighting": "none,log"}
    found = tune(EASE(), data, space=space, search=Search(trials=8), split=split(data, "leave-one-out"))
    assert draw_tuning(tmp_path / "a" / "tune.png", found).read_bytes().startswith(b"\x89PNG")
