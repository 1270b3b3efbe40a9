"""Experiments on served lists: who gets which list, what may be concluded from it at any time, and off-policy estimates."""

from typing import TYPE_CHECKING

from leanrec._lazy import export_lazily

if TYPE_CHECKING:
    from leanrec.online.experiments.assignment import Experiment as Experiment
    from leanrec.online.experiments.off_policy import LoggedDecisions as LoggedDecisions
    from leanrec.online.experiments.off_policy import PolicyValue as PolicyValue
    from leanrec.online.experiments.off_policy import estimate_value as estimate_value
    from leanrec.online.experiments.replayed_policy import ReplayedPolicy as ReplayedPolicy
    from leanrec.online.experiments.replayed_policy import replay_policy as replay_policy
    from leanrec.online.experiments.report import ArmComparison as ArmComparison
    from leanrec.online.experiments.report import ArmSummary as ArmSummary
    from leanrec.online.experiments.report import ExperimentReport as ExperimentReport
    from leanrec.online.experiments.report import report_experiment as report_experiment
    from leanrec.online.experiments.reward_model import predict_rewards as predict_rewards
    from leanrec.online.experiments.sample_ratio import SampleRatioMonitor as SampleRatioMonitor
    from leanrec.online.experiments.sample_ratio import check_sample_ratio as check_sample_ratio
    from leanrec.online.experiments.sequential import BoundedDifference as BoundedDifference
    from leanrec.online.experiments.sequential import Difference as Difference
    from leanrec.online.experiments.sequential import RewardDifference as RewardDifference

__getattr__, __dir__, __all__ = export_lazily(
    __name__,
    {
        "assignment": ["Experiment"],
        "off_policy": ["LoggedDecisions", "PolicyValue", "estimate_value"],
        "replayed_policy": ["ReplayedPolicy", "replay_policy"],
        "report": ["ArmComparison", "ArmSummary", "ExperimentReport", "report_experiment"],
        "reward_model": ["predict_rewards"],
        "sample_ratio": ["SampleRatioMonitor", "check_sample_ratio"],
        "sequential": ["BoundedDifference", "Difference", "RewardDifference"],
    },
)
