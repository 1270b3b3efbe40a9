"""Data sets: events, ids, item and user tables, splits and ingestion."""

from typing import TYPE_CHECKING

from leanrec._lazy import export_lazily

if TYPE_CHECKING:
    from leanrec.data.conventions import LogConventions as LogConventions
    from leanrec.data.dataset import Dataset as Dataset
    from leanrec.data.dataset import DatasetShape as DatasetShape
    from leanrec.data.datasets.bundled import (
        find_data as find_data,
    )
    from leanrec.data.datasets.bundled import (
        load_sample as load_sample,
    )
    from leanrec.data.datasets.bundled import (
        sample_items as sample_items,
    )
    from leanrec.data.datasets.bundled import (
        sample_path as sample_path,
    )
    from leanrec.data.datasets.known import KnownDataset as KnownDataset
    from leanrec.data.datasets.known import list_known as list_known
    from leanrec.data.datasets.simulation import Simulation as Simulation
    from leanrec.data.datasets.simulation import TruePreferences as TruePreferences
    from leanrec.data.ingest.cleaning import CleaningRules as CleaningRules
    from leanrec.data.ingest.ingest import IngestResult as IngestResult
    from leanrec.data.ingest.ingest import ingest as ingest
    from leanrec.data.ingest.ingest import open_dataset as open_dataset
    from leanrec.data.ingest.report import DataReport as DataReport
    from leanrec.data.ingest.sources import SqlQuery as SqlQuery
    from leanrec.data.links import ItemLinks as ItemLinks
    from leanrec.data.links import UserLinks as UserLinks
    from leanrec.data.merge import merge_events as merge_events
    from leanrec.data.splits.evaluation_set import EvaluationSet as EvaluationSet
    from leanrec.data.splits.evaluation_set import LeakageReport as LeakageReport
    from leanrec.data.splits.folds import make_folds as make_folds
    from leanrec.data.splits.split import Split as Split
    from leanrec.data.splits.split import split as split
    from leanrec.data.table import Table as Table
    from leanrec.data.vocabulary import Vocabulary as Vocabulary

__getattr__, __dir__, __all__ = export_lazily(
    __name__,
    {
        "conventions": ["LogConventions"],
        "dataset": ["Dataset", "DatasetShape"],
        "datasets.bundled": ["find_data", "load_sample", "sample_items", "sample_path"],
        "datasets.known": ["KnownDataset", "list_known"],
        "datasets.simulation": ["Simulation", "TruePreferences"],
        "ingest.cleaning": ["CleaningRules"],
        "ingest.ingest": ["IngestResult", "ingest", "open_dataset"],
        "ingest.report": ["DataReport"],
        "ingest.sources": ["SqlQuery"],
        "links": ["ItemLinks", "UserLinks"],
        "merge": ["merge_events"],
        "splits.evaluation_set": ["EvaluationSet", "LeakageReport"],
        "splits.folds": ["make_folds"],
        "splits.split": ["Split", "split"],
        "table": ["Table"],
        "vocabulary": ["Vocabulary"],
    },
)
