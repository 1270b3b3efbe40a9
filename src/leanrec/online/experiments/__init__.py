"""Experiments on served lists: who gets which list, what may be concluded from it at any time, and off-policy estimates."""

from typing import TYPE_CHECKING

from leanrec._lazy import export_lazily

if TYPE_CHECKING:
    from leanrec.online.experiments.assignment import Experiment as Experiment

__getattr__, __dir__, __all__ = export_lazily(
    __name__,
    {
        "assignment": ["Experiment"],
    },
)
