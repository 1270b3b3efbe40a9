"""Metrics of a version on trial, read when they are asked for, so that no request pays for them."""

from collections.abc import Iterable

from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from leanrec.online.live_pipeline import LivePipeline
from leanrec.online.trials.live_trial import CANDIDATE, CONTROL, OTHERS, WITHOUT_USER

__all__ = ["TrialCollector"]


class TrialCollector(Collector):
    """Counts of the trial of a pipeline; families without samples while there is none. They begin anew with each trial."""

    def __init__(self, live: LivePipeline) -> None:
        self._live = live

    def collect(self) -> Iterable[Metric]:
        """The families, always the same ones."""
        lists = CounterMetricFamily(
            "leanrec_trial_lists", "Lists by side of the trial, or of those who take no part.", labels=["arm"]
        )
        users = CounterMetricFamily("leanrec_trial_users", "Users by side of the trial.", labels=["arm"])
        failures = CounterMetricFamily(
            "leanrec_trial_failures", "Lists of the current version for want of one on trial."
        )
        shadows = CounterMetricFamily("leanrec_shadow_lists", "Lists of a shadow, by outcome.", labels=["outcome"])
        overlap = CounterMetricFamily("leanrec_shadow_overlap", "Shares of common items, added over compared lists.")
        trial = self._live.trial
        if trial is not None:
            described = trial.describe()
            if (shadow := described.get("shadow")) is not None:
                for outcome in ("compared", "failed", "dropped"):
                    shadows.add_metric([outcome], shadow[outcome])
                overlap.add_metric([], shadow["compared"] * (shadow["overlap"] or 0.0))
            else:
                counted = trial.count_own()  # other processes tell theirs
                for arm in (CONTROL, CANDIDATE, OTHERS, WITHOUT_USER):
                    lists.add_metric([arm], counted[f"lists {arm}"])
                for arm in (CONTROL, CANDIDATE):
                    users.add_metric([arm], counted[f"users {arm}"])
                failures.add_metric([], counted["failures n_happened"])
        return lists, users, failures, shadows, overlap
