"""Plot of the frontier."""

from pathlib import Path

import pytest

from contracts.plots import make_empty_frontier, make_frontier, read_png_size
from leanrec.budget import Budget
from leanrec.evaluation.plots.frontier_figure import draw_frontier


@pytest.mark.parametrize("part", ["valid", "test"])
def test_the_frontier_is_drawn_to_a_png(tmp_path: Path, part: str) -> None:
    path = draw_frontier(tmp_path / "frontier.png", make_frontier(), part=part)
    assert read_png_size(path) == (1728, 1296)


def test_the_plot_depends_on_the_numbers(tmp_path: Path) -> None:
    drawn = [
        draw_frontier(tmp_path / "a.png", make_frontier()).read_bytes(),
        draw_frontier(tmp_path / "b.png", make_frontier(Budget())).read_bytes(),
        draw_frontier(tmp_path / "c.png", make_frontier(), part="test").read_bytes(),
        draw_frontier(tmp_path / "d.png", make_frontier(Budget(p99="1us"))).read_bytes(),
    ]
    assert len(set(drawn)) == 4


def test_a_frontier_without_fitted_models_can_be_drawn(tmp_path: Path) -> None:
    assert read_png_size(draw_frontier(tmp_path / "none.png", make_empty_frontier()))[0] == 1728
