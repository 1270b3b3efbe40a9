"""Metrics of several processes as those of one server: counters are added, gauges are the largest."""

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from leanrec.serving.prometheus import ServingMetrics
from leanrec.serving.workers.messages import Sample

__all__ = ["SharedMetrics", "keep_counts", "merge_samples"]

_GAUGES = frozenset(
    [
        "leanrec_users",
        "leanrec_items",
        "leanrec_log_free_bytes",
        "leanrec_log_wal_bytes",
        "leanrec_quality_loss",
        "leanrec_version_info",
    ]
)


def merge_samples(parts: Iterable[Sequence[Sample]]) -> list[Sample]:
    """The samples of all processes together: sums, the largest value of gauges, and the first time of creation."""
    merged: dict[tuple[str, str, tuple[tuple[str, str], ...]], float] = {}
    for samples in parts:
        for family, name, labels, value in samples:
            key = family, name, labels
            old = merged.get(key)
            if old is None:
                merged[key] = value
            elif name.endswith("_created"):
                merged[key] = min(old, value)
            else:
                merged[key] = max(old, value) if family in _GAUGES else old + value
    return [(*key, value) for key, value in merged.items()]


def keep_counts(samples: Iterable[Sample]) -> list[Sample]:
    """What stays of a process that has ended: its counters, so that no sum ever falls."""
    return [sample for sample in samples if sample[0] not in _GAUGES]


class SharedMetrics(ServingMetrics):
    """The metrics of one worker, which renders those of all.

    Attributes:
        collect: gives the samples of all processes to those of this one. Raises SourceError if they cannot be had.
    """

    def __init__(self, collect: Callable[[list[Sample]], list[Sample]]) -> None:
        super().__init__()
        self.collect = collect

    def collect_samples(self) -> list[Sample]:
        """The values of all processes together."""
        return self.collect(self.list_samples())

    def render(self) -> bytes:
        """The metrics of all processes in the text format of Prometheus."""
        families = {
            family.name: Metric(family.name, family.documentation, family.type) for family in self.registry.collect()
        }
        for family, name, labels, value in self.collect_samples():
            families[family].add_sample(name, dict(labels), value)
        registry = CollectorRegistry()
        registry.register(_Families(list(families.values())))
        return generate_latest(registry)


class _Families(Collector):
    """Families that are there already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
