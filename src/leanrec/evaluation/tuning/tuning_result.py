"""Result of a hyper-parameter search: the best settings, their quality, and the selection bias."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from leanrec.evaluation.frontier.results import QualityEstimate
from leanrec.evaluation.tuning.objective import Difference, TuningObjective
from leanrec.evaluation.tuning.search_space import SearchSpace, tunable_settings
from leanrec.evaluation.tuning.study import Trial
from leanrec.protocols import Estimator
from leanrec.units import format_seconds

__all__ = ["TuningResult", "find_best_trial"]

_STOP_REASONS = {"trials": "", "time": "; then the time was over", "exhausted": "; all combinations were tried"}
_STATUSES = ("completed", "pruned", "duplicate", "rejected", "failed")


@dataclasses.dataclass(frozen=True)
class TuningResult:
    """Result of a search.

    Attributes:
        model: name of the model.
        estimator: the settings with the best validation quality.
        default: the settings that the search started with.
        metric: the optimized metric.
        space: the search space.
        trials: all trials; number 0 has the default settings.
        valid: validation quality of the best settings; optimistic, because they were selected by it.
        valid_default: validation quality of the default settings, where they could be fitted.
        improvement: of the best over the default settings on validation.
        selection_bias: estimated part of ``valid`` that is due to selection on the same queries.
        test: quality of the best settings on the test part, which takes no part in the selection; None where the split
            has none. A search that is resumed evaluates it again only if the best settings changed.
        n_test_evaluations: number of settings of this search that were evaluated on the test part; above 1 if earlier
            sessions had other best settings.
        importance: share of the variance that each setting explains; empty after few trials.
        seconds: wall time of the search.
        stop_reason: "trials", "time" or "exhausted".
        notes: warnings, in sentences.
    """

    model: str
    estimator: Estimator
    default: Estimator
    metric: str
    space: SearchSpace
    trials: tuple[Trial, ...]
    valid: QualityEstimate
    valid_default: QualityEstimate | None
    improvement: Difference | None
    selection_bias: float
    test: QualityEstimate | None
    n_test_evaluations: int
    importance: Mapping[str, float]
    seconds: float
    stop_reason: str
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> Trial:
        """The best trial."""
        return self.ranked_trials()[0]

    def ranked_trials(self) -> tuple[Trial, ...]:
        """The completed trials, best first."""
        completed = [trial for trial in self.trials if trial.status == "completed"]
        return tuple(_rank_trials(completed, lower_is_better=TuningObjective(self.metric).is_error))

    def summary(self) -> tuple[str, ...]:
        """The outcome in sentences."""
        best, valid, default = self.best, _format_quality(self.valid), self.valid_default
        counts = {status: sum(trial.status == status for trial in self.trials) for status in _STATUSES}
        statuses = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
        values = {name: best.settings[name] for name in tunable_settings(self.space)}
        settings = ", ".join(
            f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}" for name, value in values.items()
        )
        lines = [
            f"{len(self.trials)} trials in {format_seconds(self.seconds)} ({statuses}){_STOP_REASONS[self.stop_reason]}.",
            f"Best: trial {best.number}, {settings}: {self.metric} {valid} on validation.",
        ]
        if self.improvement is not None and default is not None and best.number:
            verdict = (
                "" if self.improvement.significant else " This is no significant difference from the default settings."
            )
            lines.append(
                f"The default settings have {_format_quality(default)}; the best settings are better by "
                f"{self.improvement.value:.4f} (95 % interval {self.improvement.low:.4f} to {self.improvement.high:.4f}, "
                f"not corrected for selection).{verdict}"
            )
        elif default is not None:
            lines.append("No trial was better than the default settings.")
        if self.selection_bias:
            lines.append(
                f"The estimated selection bias of the validation result is {self.selection_bias:.4f} (bootstrap)."
            )
        if self.test is not None:
            count = (
                "once" if self.n_test_evaluations == 1 else f"{self.n_test_evaluations} times, by different settings"
            )
            lines.append(f"Test part, evaluated {count}: {self.metric} {_format_quality(self.test)}.")
        return (*lines, *self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in {"estimator", "default", "space", "trials"}
        }
        for name in ("valid", "valid_default", "improvement", "test"):
            plain[name] = None if plain[name] is None else dataclasses.asdict(plain[name])
        return plain | {
            "settings": dataclasses.asdict(self.estimator),  # type: ignore[call-overload]  # each is a dataclass
            "default": dataclasses.asdict(self.default),  # type: ignore[call-overload]
            "space": {name: str(each) for name, each in self.space.items()},
            "best": self.best.number,
            "trials": [dataclasses.asdict(trial) for trial in self.trials],
            "summary": list(self.summary()),
        }


def find_best_trial(completed: list[Trial], *, lower_is_better: bool) -> Trial:
    """The trial with the best value; among equals, the first."""
    return _rank_trials(completed, lower_is_better=lower_is_better)[0]


def _rank_trials(completed: list[Trial], *, lower_is_better: bool) -> list[Trial]:
    def order(trial: Trial) -> tuple[float, int]:
        value = float("nan") if trial.value is None else trial.value
        return (value if lower_is_better else -value, trial.number)

    return sorted(completed, key=order)


def _format_quality(quality: QualityEstimate) -> str:
    return f"{quality.value:.4f} ({quality.low:.4f} to {quality.high:.4f})"
