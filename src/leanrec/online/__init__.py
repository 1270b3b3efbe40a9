"""Online: versions of a served model, and what changes while it is served."""

from typing import TYPE_CHECKING

from leanrec._lazy import export_lazily

if TYPE_CHECKING:
    from leanrec.online.learning.online_learner import LearningSettings as LearningSettings
    from leanrec.online.learning.online_learner import OnlineLearner as OnlineLearner
    from leanrec.online.learning.online_learner import PipelineLearner as PipelineLearner
    from leanrec.online.live_pipeline import LivePipeline as LivePipeline
    from leanrec.online.live_pipeline import LiveVersion as LiveVersion
    from leanrec.online.refits.judgment import Judgment as Judgment
    from leanrec.online.refits.refit import RefitResult as RefitResult
    from leanrec.online.refits.refit import RefitSettings as RefitSettings
    from leanrec.online.refits.refit import refit as refit
    from leanrec.online.trials.guards import TrialGuards as TrialGuards
    from leanrec.online.version_follower import VersionFollower as VersionFollower
    from leanrec.online.version_store import VersionStore as VersionStore
    from leanrec.online.versions import Promotion as Promotion
    from leanrec.online.versions import Version as Version
    from leanrec.online.versions import VersionTrial as VersionTrial

__getattr__, __dir__, __all__ = export_lazily(
    __name__,
    {
        "learning.online_learner": ["LearningSettings", "OnlineLearner", "PipelineLearner"],
        "live_pipeline": ["LivePipeline", "LiveVersion"],
        "refits.judgment": ["Judgment"],
        "refits.refit": ["RefitResult", "RefitSettings", "refit"],
        "trials.guards": ["TrialGuards"],
        "version_follower": ["VersionFollower"],
        "version_store": ["VersionStore"],
        "versions": ["Promotion", "Version", "VersionTrial"],
    },
)
