"""Plot of an experiment: the difference to the control with its interval, as users came."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from leanrec.evaluation.plots.figures import COLORS, INK, open_figure, style_axes

__all__ = ["draw_differences"]


def draw_differences(
    path: str | Path, arms: Sequence[str], looks: Sequence[Sequence[tuple[int, float, float, float]]]
) -> Path:
    """Draw the difference of each arm to the control over the number of users, one panel for each.

    Args:
        path: the file, replaced if it exists.
        arms: names of the arms.
        looks: for each arm the looks: number of users, value, and the ends of the interval; those without ends are left out.

    Raises:
        MissingExtraError: matplotlib is not installed.
        ArtifactError: the file cannot be written.
    """
    with open_figure(path, 8.0, 3.4 * len(arms), arms) as figure:
        panels = np.atleast_1d(figure.subplots(len(arms), 1))
        for axes, arm, all_looks in zip(panels, arms, looks, strict=True):
            style_axes(axes, title=f"{arm} − control, positive events of a user", x="users", y="difference")
            users, value, low, high = np.array([look for look in all_looks if np.isfinite(look).all()]).reshape(-1, 4).T
            axes.axhline(0, color=INK, linewidth=1)
            axes.fill_between(users, low, high, color=COLORS["blue"], alpha=0.18, linewidth=0)
            axes.plot(users, value, color=COLORS["blue"], linewidth=1.6)
            if len(users) == 0:
                axes.text(0.5, 0.5, "too little data", transform=axes.transAxes, ha="center")
            elif len(users) > 1:  # the first intervals are so wide that nothing else could be seen
                half = max(high[len(high) // 4] - value[len(value) // 4], abs(value[-1]) * 2)
                axes.set_ylim(value[-1] - half, value[-1] + half)
    return Path(path)
