"""leanrec: recommendations whose quality and computing cost are both known.

Public names are loaded when they are first used, so importing leanrec costs milliseconds.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from leanrec.data.dataset import Dataset
    from leanrec.data.ingest import ingest
    from leanrec.data.samples import load_sample
    from leanrec.data.simulation import Simulation
    from leanrec.data.splits import Split, split
    from leanrec.evaluation.cross_validation import cross_validate
    from leanrec.evaluation.evaluate import evaluate
    from leanrec.evaluation.frontier import frontier
    from leanrec.evaluation.tuning import tune
    from leanrec.models import find
    from leanrec.run import Run
    from leanrec.serving.pipeline import Pipeline
    from leanrec.types import Candidates, Events, Queries

__version__ = "0.1.0"

_HOME = {
    "Candidates": "leanrec.types",
    "Dataset": "leanrec.data.dataset",
    "Events": "leanrec.types",
    "Pipeline": "leanrec.serving.pipeline",
    "Queries": "leanrec.types",
    "Run": "leanrec.run",
    "Simulation": "leanrec.data.simulation",
    "Split": "leanrec.data.splits",
    "cross_validate": "leanrec.evaluation.cross_validation",
    "evaluate": "leanrec.evaluation.evaluate",
    "find": "leanrec.models",
    "frontier": "leanrec.evaluation.frontier",
    "ingest": "leanrec.data.ingest",
    "load_sample": "leanrec.data.samples",
    "split": "leanrec.data.splits",
    "tune": "leanrec.evaluation.tuning",
}

__all__ = [
    "Candidates",
    "Dataset",
    "Events",
    "Pipeline",
    "Queries",
    "Run",
    "Simulation",
    "Split",
    "cross_validate",
    "evaluate",
    "find",
    "frontier",
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
