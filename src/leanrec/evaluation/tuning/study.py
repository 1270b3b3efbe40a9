"""Storage and sampling of tuning trials, by optuna.

The sampler of a trial depends on the seed and the number of the trial only, so a study that is interrupted and resumed from
its file proposes the same settings as one that is not.
"""

import contextlib
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leanrec.errors import ArtifactError, MissingExtraError
from leanrec.evaluation.frontier.results import QualityEstimate
from leanrec.evaluation.tuning.search_space import NumericRange, SearchSpace, fixed_settings, tunable_settings

if TYPE_CHECKING:
    import optuna

__all__ = ["ActiveTrial", "Study", "Trial", "require_tune"]

_N_STARTUP_TRIALS, _N_STARTUP_MEDIAN = 10, 4
# Intermediate values are keyed by epoch, and by this offset plus the number of queries for samples of queries.
_SAMPLE_OFFSET = 10**6


def require_tune() -> None:
    """Raise MissingExtraError unless optuna is installed. Takes microseconds."""
    if find_spec("optuna") is None:
        raise MissingExtraError("Tuning", "tune")


@dataclasses.dataclass(frozen=True)
class Trial:
    """One set of settings and its result.

    Attributes:
        number: from 0, which has the default settings.
        settings: values of the settings in the search space.
        status: "completed" = evaluated on all validation queries; "pruned" = stopped early, because it was significantly
            worse; "duplicate" = the same settings as an earlier trial, whose value it has; "rejected" = invalid for the
            model or above its memory limit; "failed" = the fit raised another error.
        value: quality on the evaluated validation queries; score of the last epoch where training was pruned; None where
            there is none.
        n_queries: number of evaluated validation queries.
        n_epochs: number of epochs with a validation score.
        seconds: wall time.
        timed_out: whether the fit was stopped by its time limit.
        reason: why it was not completed.
    """

    number: int
    settings: Mapping[str, Any]
    status: str
    value: float | None = None
    n_queries: int = 0
    n_epochs: int = 0
    seconds: float = 0.0
    timed_out: bool = False
    reason: str = ""


@dataclasses.dataclass
class ActiveTrial:
    """A trial in progress, which reports intermediate values."""

    optuna_trial: "optuna.Trial"
    number: int
    settings: dict[str, Any]
    uses_median: bool = False
    n_epochs: int = 0
    highest: float = -math.inf

    def report_epoch(self, epoch: int, score: float) -> bool:
        """Record the validation score of an epoch. Returns whether the trial should be pruned."""
        self.n_epochs, self.highest = epoch + 1, max(self.highest, score)
        self.optuna_trial.report(score, self.n_epochs)
        return self._is_below_median(self.n_epochs) if self.uses_median else bool(self.optuna_trial.should_prune())

    def _is_below_median(self, epoch: int) -> bool:
        """Whether the best score so far is below the median of at least four other trials at ``epoch``.

        Unlike the median pruner of optuna it also counts trials that were pruned on a sample of the queries.
        """
        from optuna.trial import TrialState  # noqa: PLC0415 - optional

        ended = self.optuna_trial.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        others = [trial.intermediate_values[epoch] for trial in ended if epoch in trial.intermediate_values]
        return epoch > 1 and len(others) >= _N_STARTUP_MEDIAN and self.highest < float(np.median(others))

    def report_sample(self, n_queries: int, value: float) -> None:
        """Record the quality on a sample of the queries."""
        self.optuna_trial.report(value, _SAMPLE_OFFSET + n_queries)


class Study:
    """Proposes settings and stores their results. All values are oriented so that higher is better."""

    def __init__(
        self, space: SearchSpace, *, seed: int, prune: str, store: Path | None, about: Mapping[str, Any]
    ) -> None:
        """Open a study. Raises ArtifactError where ``store`` holds a different one."""
        require_tune()
        import optuna  # noqa: PLC0415 - optional
        from optuna.storages import JournalStorage  # noqa: PLC0415
        from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415

        self.space, self.seed = space, seed
        self._tunable = tunable_settings(space)
        halving = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
        self._uses_median = prune == "median"
        with _silence_optuna(), _translate_store_errors(store):
            self._study = optuna.create_study(
                storage=None if store is None else JournalStorage(JournalFileBackend(str(store))),
                study_name="leanrec",
                load_if_exists=True,
                direction="maximize",
                pruner=halving if prune == "halving" else optuna.pruners.NopPruner(),
            )
        self._check_identity(store, json.loads(json.dumps(dict(about), default=str)))
        for trial in self._study.trials:
            if not trial.state.is_finished():
                # The process was interrupted during this trial.
                self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    def _check_identity(self, store: Path | None, about: dict[str, Any]) -> None:
        known = self._study.user_attrs.get("about")
        if known is None:
            self._study.set_user_attr("about", about)
        elif known != about:
            differ = [name for name in about if known.get(name) != about[name]]
            shown = "; ".join(f"{name}: {known.get(name)} there, {about[name]} here" for name in differ)
            raise ArtifactError(f"{store} holds another search ({shown}). Choose another file, store=FILE.")

    def trials(self) -> list[Trial]:
        """All finished trials, in order. Interrupted ones are omitted."""
        found = []
        for trial in self._study.trials:
            if trial.state.is_finished() and "row" in trial.user_attrs:
                row = trial.user_attrs["row"]
                settings = dict(row["settings"])
                for name, text in settings.items():
                    # Categories are stored as text.
                    known = {str(each): each for each in getattr(self.space[name], "values", ())}
                    settings[name] = known.get(text, text) if isinstance(text, str) else text
                found.append(Trial(**{**row, "settings": settings}))
        return found

    def ask(self, default: Mapping[str, Any] | None = None) -> ActiveTrial:
        """The settings to try next: ``default`` if given, which the sampler learns from only if they are in the space."""
        import optuna  # noqa: PLC0415 - optional

        number = len(self.trials())
        inside = default is not None and all(self.space[name].contains(default[name]) for name in self._tunable)
        # Each trial has a random stream of its own, so proposals do not depend on interruptions.
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        with _silence_optuna():
            self._study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_N_STARTUP_TRIALS)
            if default is not None and not inside:
                return ActiveTrial(self._study.ask(), number, dict(default), self._uses_median)
            if default is not None:
                self._study.enqueue_trial({name: self._to_text(name, default[name]) for name in self._tunable})
            trial = self._study.ask({name: self._distribution(name) for name in self._tunable})
        if default is not None:
            return ActiveTrial(trial, number, dict(default), self._uses_median)
        chosen = fixed_settings(self.space)
        for name in self._tunable:
            ranges, proposed = self.space[name], trial.params[name]
            if isinstance(ranges, NumericRange):
                chosen[name] = ranges.round_value(proposed)
            else:
                chosen[name] = next(value for value in ranges.values if str(value) == proposed)
        return ActiveTrial(trial, number, chosen, self._uses_median)

    def tell(self, active: ActiveTrial, trial: Trial, score: float | None) -> None:
        """Store the result of a trial. ``score`` is higher-is-better; None where the trial was not completed."""
        from optuna.trial import TrialState  # noqa: PLC0415 - optional

        row = dataclasses.asdict(trial)
        row["settings"] = {name: self._to_text(name, each) for name, each in trial.settings.items()}
        active.optuna_trial.set_user_attr("row", row)
        # Rejected settings count as bad ones, so the sampler avoids them.
        if score is None:
            self._study.tell(active.optuna_trial, state=TrialState.PRUNED)
        else:
            self._study.tell(active.optuna_trial, score)

    def load_test_results(self, fingerprint: str) -> dict[int, QualityEstimate]:
        """Number of the trial → its quality on the test set of that fingerprint."""
        known = self._study.user_attrs.get("tests", {}).get(fingerprint, {})
        return {int(number): QualityEstimate(**each) for number, each in known.items()}

    def save_test_results(self, fingerprint: str, found: Mapping[int, QualityEstimate]) -> None:
        """Store the qualities on the test set of that fingerprint."""
        plain = {str(number): dataclasses.asdict(each) for number, each in found.items()}
        self._study.set_user_attr("tests", self._study.user_attrs.get("tests", {}) | {fingerprint: plain})

    def importance(self) -> dict[str, float]:
        """Share of the variance in quality that each setting explains, by fANOVA (Hutter et al., ICML 2014).

        Empty for fewer than four completed trials with different values.
        """
        import optuna  # noqa: PLC0415 - optional

        done = self._study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
        values = {trial.value for trial in done if trial.params}
        if len(self._tunable) < 2 or len(values) < 4:
            return {}
        with _silence_optuna():
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self.seed)
            found = optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        return {name: float(share) for name, share in found.items()}

    def _distribution(self, name: str) -> Any:
        from optuna.distributions import (  # noqa: PLC0415 - optional
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )

        found = self.space[name]
        if not isinstance(found, NumericRange):
            return CategoricalDistribution(tuple(map(str, found.values)))
        if found.is_integer:
            return IntDistribution(int(found.low), int(found.high), log=found.log)
        return FloatDistribution(found.low, found.high, log=found.log)

    def _to_text(self, name: str, value: Any) -> Any:
        ranges = self.space[name]
        if isinstance(ranges, NumericRange):
            return value
        is_plain = value is None or isinstance(value, bool | int | float | str)
        return next((str(each) for each in ranges.values if each == value), value if is_plain else str(value))


@contextlib.contextmanager
def _translate_store_errors(store: Path | None) -> Iterator[None]:
    """Make the folder of a store, and raise ArtifactError where the store cannot be read."""
    try:
        if store is not None:
            store.parent.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        if store is None:
            raise
        raise ArtifactError(
            f"{store} cannot be read as the store of a search ({error}). Choose another file, store=FILE."
        ) from error


@contextlib.contextmanager
def _silence_optuna() -> Iterator[None]:
    """Limit the log of optuna to warnings inside the block."""
    import optuna  # noqa: PLC0415 - optional

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
