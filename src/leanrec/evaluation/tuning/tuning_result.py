"""What a search for settings found, and how much of it to believe."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from leanrec.evaluation.frontier.results import Quality
from leanrec.evaluation.tuning.objective import Gap, Yardstick
from leanrec.evaluation.tuning.search_space import Space, searched
from leanrec.evaluation.tuning.study import Trial
from leanrec.protocols import Estimator
from leanrec.units import format_seconds

__all__ = ["Tuned", "first_best"]


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What a search found.

    Attributes:
        model: name of the model.
        estimator: the settings that did best on validation.
        usual: the settings that the search began with.
        metric: what was compared.
        space: what was searched.
        trials: all that was tried; number 0 has the usual settings.
        valid: quality of the winner on the validation queries; higher than it will do elsewhere, for it was chosen by them.
        valid_usual: the same for the usual settings, where they could be fitted.
        gain: by how much the winner is better than the usual settings on the validation queries.
        selection: how much of ``valid`` is owed to having chosen by these very queries.
        test: quality of the winner on the test part, which no choice looked at; None where the split has none. A search that goes on
            from its file asks again only where it has another winner.
        asked: how many winners of this search have asked the test part, this one among them; above 1, earlier sessions had
            other winners.
        importance: share of the differences that each setting explains; empty after few trials.
        seconds: the whole search, by the clock.
        stopped: why it ended: "trials", "time" or "all tried".
        notes: what one should know, in sentences.
    """

    model: str
    estimator: Estimator
    usual: Estimator
    metric: str
    space: Space
    trials: tuple[Trial, ...]
    valid: Quality
    valid_usual: Quality | None
    gain: Gap | None
    selection: float
    test: Quality | None
    asked: int
    importance: Mapping[str, float]
    seconds: float
    stopped: str
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> Trial:
        """The trial that won."""
        done = [trial for trial in self.trials if trial.status == "done"]
        return first_best(done, lower=Yardstick(self.metric).is_error)

    def ranked(self) -> tuple[Trial, ...]:
        """The trials that were done, the best first."""
        lower = Yardstick(self.metric).is_error
        done = [trial for trial in self.trials if trial.status == "done"]
        return tuple(sorted(done, key=lambda trial: (_signed(trial, lower), trial.number)))

    def summary(self) -> tuple[str, ...]:
        """The outcome in sentences."""
        counts = {status: sum(trial.status == status for trial in self.trials) for status in _STATUSES}
        tried = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
        won = ", ".join(f"{name}={_short(self.best.settings[name])}" for name in searched(self.space))
        lines = [
            f"{len(self.trials)} trials in {format_seconds(self.seconds)} ({tried}){_ENDED[self.stopped]}.",
            f"Best: trial {self.best.number}, {won}: {self.metric} {_shown(self.valid)} on validation.",
        ]
        if self.gain is not None and self.valid_usual is not None and self.best.number:
            verdict = (
                ""
                if self.gain.shown
                else " No difference shown: keeping the usual settings costs nothing that can be seen."
            )
            lines.append(
                f"The usual settings have {_shown(self.valid_usual)} there; the best is better by {self.gain.value:.4f} "
                f"(95 % interval {self.gain.low:.4f} to {self.gain.high:.4f}, not corrected for the choice).{verdict}"
            )
        elif self.valid_usual is not None:
            lines.append("Nothing beat the usual settings.")
        if self.selection:
            lines.append(
                f"About {self.selection:.4f} of the figure on validation is owed to choosing by these very queries (bootstrap)."
            )
        if self.test is not None:
            times = "this once" if self.asked == 1 else f"{self.asked} times, by another winner each time"
            lines.append(f"On the test part, asked {times}: {self.metric} {_shown(self.test)}.")
        return (*lines, *self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in {"estimator", "usual", "space", "trials"}
        }
        for name in ("valid", "valid_usual", "gain", "test"):
            plain[name] = None if plain[name] is None else dataclasses.asdict(plain[name])
        return plain | {
            "settings": dataclasses.asdict(self.estimator),  # type: ignore[call-overload]  # each is a dataclass
            "usual": dataclasses.asdict(self.usual),  # type: ignore[call-overload]
            "space": {name: str(each) for name, each in self.space.items()},
            "best": self.best.number,
            "trials": [dataclasses.asdict(trial) for trial in self.trials],
            "summary": list(self.summary()),
        }


_ENDED = {"trials": "", "time": "; then the time was over", "all tried": "; nothing new was left to try"}
_STATUSES = ("done", "pruned", "repeated", "refused", "failed")


def _signed(trial: Trial, lower: bool) -> float:
    value = float("nan") if trial.value is None else trial.value
    return value if lower else -value


def first_best(done: list[Trial], *, lower: bool) -> Trial:
    """The trial with the best value, of equals the first."""
    return min(done, key=lambda trial: (_signed(trial, lower), trial.number))


def _shown(quality: Quality) -> str:
    return f"{quality.value:.4f} ({quality.low:.4f} to {quality.high:.4f})"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
