"""leanrec: recommendations whose quality and computing cost are both known.

Public names are loaded when they are first used, so importing leanrec costs milliseconds.
"""

import importlib
import typing

from leanrec._version import __version__

if typing.TYPE_CHECKING:
    from leanrec.budget import Budget
    from leanrec.data.dataset import Dataset
    from leanrec.data.datasets.bundled import load_sample
    from leanrec.data.datasets.simulation import Simulation
    from leanrec.data.ingest.ingest import ingest
    from leanrec.data.splits.split import Split, split
    from leanrec.evaluation.cross_validation import cross_validate
    from leanrec.evaluation.evaluate import evaluate
    from leanrec.evaluation.frontier.frontier import frontier
    from leanrec.evaluation.tuning.tuning import tune
    from leanrec.models import get_model
    from leanrec.pipeline.pipeline import Pipeline
    from leanrec.run import Run
    from leanrec.types import Candidates, Events, Queries


_HOME = {
    "Budget": "leanrec.budget",
    "Candidates": "leanrec.types",
    "Dataset": "leanrec.data.dataset",
    "Events": "leanrec.types",
    "Pipeline": "leanrec.pipeline.pipeline",
    "Queries": "leanrec.types",
    "Run": "leanrec.run",
    "Simulation": "leanrec.data.datasets.simulation",
    "Split": "leanrec.data.splits.split",
    "cross_validate": "leanrec.evaluation.cross_validation",
    "evaluate": "leanrec.evaluation.evaluate",
    "frontier": "leanrec.evaluation.frontier.frontier",
    "get_model": "leanrec.models",
    "ingest": "leanrec.data.ingest.ingest",
    "load_sample": "leanrec.data.datasets.bundled",
    "split": "leanrec.data.splits.split",
    "tune": "leanrec.evaluation.tuning.tuning",
}

__all__ = [
    "Budget",
    "Candidates",
    "Dataset",
    "Events",
    "Pipeline",
    "Queries",
    "Run",
    "Simulation",
    "Split",
    "__version__",
    "cross_validate",
    "evaluate",
    "frontier",
    "get_model",
    "ingest",
    "load_sample",
    "split",
    "tune",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'leanrec' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
