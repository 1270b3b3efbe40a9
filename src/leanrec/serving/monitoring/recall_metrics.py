"""Metrics of the recall of approximate retrieval, read when they are asked for, so that no request pays for them."""

from collections.abc import Iterable

from prometheus_client.metrics_core import CounterMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from leanrec.online.live_pipeline import LivePipeline

__all__ = ["RecallCollector"]


class RecallCollector(Collector):
    """Recall of the lists of the current version that were compared with exact ones; it begins anew with each version.

    Without an approximate index the families have no samples.
    """

    def __init__(self, live: LivePipeline) -> None:
        self._live = live

    def collect(self) -> Iterable[Metric]:
        """The families, always the same ones."""
        recall = SummaryMetricFamily("leanrec_ann_recall", "Recall of approximate lists that were also made exactly.")
        missed = CounterMetricFamily(
            "leanrec_ann_not_compared", "Lists chosen to be compared that were not.", labels=["outcome"]
        )
        watch = self._live.pipeline.recall_watch
        if watch is not None:
            recall.add_metric([], watch.n_compared, watch.total)
            missed.add_metric(["failed"], watch.n_failed)
            missed.add_metric(["dropped"], watch.n_dropped)
        return recall, missed
