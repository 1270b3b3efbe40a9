"""Plot of an experiment."""

import math
from pathlib import Path

from leanrec.evaluation.plots.experiment_figure import draw_differences


def test_differences_are_drawn_to_a_png(tmp_path: Path) -> None:
    looks = [
        [(10, 0.1, -math.inf, math.inf), *((n, 0.1, 0.1 - 5 / n, 0.1 + 5 / n) for n in range(50, 500, 10))],
        [(10, 0.0, -math.inf, math.inf)],
    ]
    path = draw_differences(tmp_path / "a" / "plot.png", ["candidate", "few"], looks)
    assert path.read_bytes().startswith(b"\x89PNG")
