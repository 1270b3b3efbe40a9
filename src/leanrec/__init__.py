"""leanrec: recommendations with known quality and known computing cost.

Public names are imported when they are first used, so importing leanrec costs milliseconds.
"""

from typing import TYPE_CHECKING

from leanrec._lazy import export_lazily
from leanrec._version import __version__ as __version__

if TYPE_CHECKING:
    from leanrec.artifacts import load as load
    from leanrec.artifacts import save as save
    from leanrec.budget import Budget as Budget
    from leanrec.data.dataset import Dataset as Dataset
    from leanrec.data.datasets.bundled import load_sample as load_sample
    from leanrec.data.datasets.simulation import Simulation as Simulation
    from leanrec.data.ingest.ingest import ingest as ingest
    from leanrec.data.ingest.ingest import open_dataset as open_dataset
    from leanrec.data.splits.split import Split as Split
    from leanrec.data.splits.split import split as split
    from leanrec.evaluation.compare import compare as compare
    from leanrec.evaluation.compression.compress import compress as compress
    from leanrec.evaluation.compression.distill import distill as distill
    from leanrec.evaluation.cross_validation import cross_validate as cross_validate
    from leanrec.evaluation.evaluate import evaluate as evaluate
    from leanrec.evaluation.frontier.frontier import frontier as frontier
    from leanrec.evaluation.tuning.tuning import tune as tune
    from leanrec.integrations.onnx.export import OnnxExport as OnnxExport
    from leanrec.integrations.onnx.export import export_onnx as export_onnx
    from leanrec.models import get_model as get_model
    from leanrec.models import list_models as list_models
    from leanrec.pipeline.pipeline import Pipeline as Pipeline
    from leanrec.run import Run as Run
    from leanrec.types import Candidates as Candidates
    from leanrec.types import Events as Events
    from leanrec.types import Queries as Queries

__getattr__, __dir__, __all__ = export_lazily(
    __name__,
    {
        "leanrec.artifacts": ["load", "save"],
        "leanrec.budget": ["Budget"],
        "leanrec.data.dataset": ["Dataset"],
        "leanrec.data.datasets.bundled": ["load_sample"],
        "leanrec.data.datasets.simulation": ["Simulation"],
        "leanrec.data.ingest.ingest": ["ingest", "open_dataset"],
        "leanrec.data.splits.split": ["Split", "split"],
        "leanrec.evaluation.compare": ["compare"],
        "leanrec.evaluation.compression.compress": ["compress"],
        "leanrec.evaluation.compression.distill": ["distill"],
        "leanrec.evaluation.cross_validation": ["cross_validate"],
        "leanrec.evaluation.evaluate": ["evaluate"],
        "leanrec.evaluation.frontier.frontier": ["frontier"],
        "leanrec.evaluation.tuning.tuning": ["tune"],
        "leanrec.integrations.onnx.export": ["OnnxExport", "export_onnx"],
        "leanrec.models": ["get_model", "list_models"],
        "leanrec.pipeline.pipeline": ["Pipeline"],
        "leanrec.run": ["Run"],
        "leanrec.types": ["Candidates", "Events", "Queries"],
    },
)
__all__ += ["__version__"]
