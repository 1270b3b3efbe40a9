"""A search as optuna keeps it: what was tried before tells what to try next.

The sampler of a trial follows from the seed and the number of the trial alone, so a study that was interrupted and goes on from
its file proposes the same settings as one that was not.
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
from leanrec.evaluation.frontier.results import Quality
from leanrec.evaluation.tuning.search_space import Numbers, Space, held, searched

if TYPE_CHECKING:
    import optuna

__all__ = ["Given", "Study", "Trial", "require_tune"]

_STARTUP, _STARTUP_MEDIAN = 10, 4
# Steps of epochs come first; the sizes of samples of queries follow far behind.
_SAMPLES = 10**6


def require_tune() -> None:
    """Raise MissingExtraError unless settings can be searched for. Costs microseconds."""
    if find_spec("optuna") is None:
        raise MissingExtraError("Searching for settings", "tune")


@dataclasses.dataclass(frozen=True)
class Trial:
    """One set of settings that was tried.

    Attributes:
        number: from 0, which has the usual settings.
        settings: those that are searched.
        status: "done" = judged on all validation queries; "pruned" = given up, because it was clearly worse; "repeated" = the
            same as an earlier one, whose value it has; "refused" = not taken by the model or its memory; "failed".
        value: quality on the validation queries that it was judged on; held-out score of the last epoch where it was
            given up in training; None where there is none.
        queries: how many validation queries it was judged on.
        epochs: how many epochs were watched; 0 where the fit tells none.
        seconds: by the clock.
        cut: whether the fit was stopped by its time.
        reason: why it was not done.
    """

    number: int
    settings: Mapping[str, Any]
    status: str
    value: float | None = None
    queries: int = 0
    epochs: int = 0
    seconds: float = 0.0
    cut: bool = False
    reason: str = ""


@dataclasses.dataclass
class Given:
    """Settings that are being tried, and the way to tell how they do."""

    trial: "optuna.Trial"
    number: int
    settings: dict[str, Any]
    median: bool = False
    epochs: int = 0
    highest: float = -math.inf

    def epoch(self, epoch: int, score: float) -> bool:
        """Note the held-out score of an epoch; whether it is so low that the trial should be given up."""
        self.epochs, self.highest = epoch + 1, max(self.highest, score)
        self.trial.report(score, self.epochs)
        return self._behind_half(self.epochs) if self.median else bool(self.trial.should_prune())

    def _behind_half(self, epoch: int) -> bool:
        """Whether the best epoch so far is worse than what half of at least four others had after ``epoch``.

        Unlike optuna's own rule it also counts those that were given up on a sample of the queries.
        """
        from optuna.trial import TrialState  # noqa: PLC0415 - optional

        ended = self.trial.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        others = [trial.intermediate_values[epoch] for trial in ended if epoch in trial.intermediate_values]
        return epoch > 1 and len(others) >= _STARTUP_MEDIAN and self.highest < float(np.median(others))

    def sample(self, queries: int, value: float) -> None:
        """Note the quality on a sample of the queries."""
        self.trial.report(value, _SAMPLES + queries)


class Study:
    """Asks for settings and is told how they did. Everything in it is higher-is-better."""

    def __init__(self, space: Space, *, seed: int, prune: str, store: Path | None, about: Mapping[str, Any]) -> None:
        """Open a study. Raises ArtifactError where ``store`` holds one about something else."""
        require_tune()
        import optuna  # noqa: PLC0415 - optional
        from optuna.storages import JournalStorage  # noqa: PLC0415
        from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415

        self.space, self.seed = space, seed
        self._searched = searched(space)
        halving = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
        self._median = prune == "median"
        with _quiet(), _readable(store):
            self._study = optuna.create_study(
                storage=None if store is None else JournalStorage(JournalFileBackend(str(store))),
                study_name="leanrec",
                load_if_exists=True,
                direction="maximize",
                pruner=halving if prune == "halving" else optuna.pruners.NopPruner(),
            )
        self._check(store, json.loads(json.dumps(dict(about), default=str)))
        for trial in self._study.trials:
            if not trial.state.is_finished():
                # Its process was ended in the middle of it.
                self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    def _check(self, store: Path | None, about: dict[str, Any]) -> None:
        known = self._study.user_attrs.get("about")
        if known is None:
            self._study.set_user_attr("about", about)
        elif known != about:
            differ = [name for name in about if known.get(name) != about[name]]
            shown = "; ".join(f"{name}: {known.get(name)} there, {about[name]} here" for name in differ)
            raise ArtifactError(f"{store} holds another search ({shown}). Choose another file for --store.")

    def trials(self) -> list[Trial]:
        """All that ended, in order. One that was interrupted is not among them."""
        found = []
        for trial in self._study.trials:
            if trial.state.is_finished() and "row" in trial.user_attrs:
                row = trial.user_attrs["row"]
                found.append(Trial(**{**row, "settings": self._values(row["settings"])}))
        return found

    def ask(self, usual: Mapping[str, Any] | None = None) -> Given:
        """The settings to try next. ``usual`` are tried as they are; ones outside the space teach the search nothing."""
        import optuna  # noqa: PLC0415 - optional

        number = len(self.trials())
        inside = usual is not None and all(self.space[name].holds(usual[name]) for name in self._searched)
        # A stream of its own for each trial: what is proposed does not depend on interruptions.
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        with _quiet():
            self._study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP)
            if usual is not None and not inside:
                return Given(self._study.ask(), number, dict(usual), self._median)
            if usual is not None:
                self._study.enqueue_trial({name: self._text(name, usual[name]) for name in self._searched})
            trial = self._study.ask({name: self._distribution(name) for name in self._searched})
        if usual is not None:
            return Given(trial, number, dict(usual), self._median)
        chosen = held(self.space) | {name: self._value(name, trial.params[name]) for name in self._searched}
        return Given(trial, number, chosen, self._median)

    def tell(self, given: Given, trial: Trial, value: float | None) -> None:
        """How the settings did. ``value`` is signed, higher is better; None where the trial was not done."""
        from optuna.trial import TrialState  # noqa: PLC0415 - optional

        row = dataclasses.asdict(trial)
        row["settings"] = {name: self._text(name, each) for name, each in trial.settings.items()}
        given.trial.set_user_attr("row", row)
        # Refused settings count as bad ones: the search keeps away from them.
        if value is None:
            self._study.tell(given.trial, state=TrialState.PRUNED)
        else:
            self._study.tell(given.trial, value)

    def tests(self, cases: str) -> dict[int, Quality]:
        """What winners did on the test cases of that fingerprint, by number of the trial."""
        known = self._study.user_attrs.get("tests", {}).get(cases, {})
        return {int(number): Quality(**each) for number, each in known.items()}

    def keep_tests(self, cases: str, found: Mapping[int, Quality]) -> None:
        """Keep what winners did on the test cases of that fingerprint."""
        plain = {str(number): dataclasses.asdict(each) for number, each in found.items()}
        self._study.set_user_attr("tests", self._study.user_attrs.get("tests", {}) | {cases: plain})

    def importance(self) -> dict[str, float]:
        """Share of the differences in quality that each setting explains, by fANOVA (Hutter et al., ICML 2014).

        Empty below four trials that were done, or where all did the same.
        """
        import optuna  # noqa: PLC0415 - optional

        done = self._study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
        values = {trial.value for trial in done if trial.params}
        if len(self._searched) < 2 or len(values) < 4:
            return {}
        with _quiet():
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
        if not isinstance(found, Numbers):
            return CategoricalDistribution(tuple(map(str, found.values)))
        if found.whole:
            return IntDistribution(int(found.low), int(found.high), log=found.log)
        return FloatDistribution(found.low, found.high, log=found.log)

    def _value(self, name: str, found: Any) -> Any:
        wanted = self.space[name]
        if isinstance(wanted, Numbers):
            return wanted.near(found)
        return next(value for value in wanted.values if str(value) == found)

    def _text(self, name: str, value: Any) -> Any:
        wanted = self.space[name]
        if isinstance(wanted, Numbers):
            return value
        return next((str(each) for each in wanted.values if each == value), value if _is_plain(value) else str(value))

    def _values(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for name, value in settings.items():
            wanted = self.space[name]
            known = {str(each): each for each in getattr(wanted, "values", ())}
            found[name] = known.get(value, value) if isinstance(value, str) else value
        return found


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


@contextlib.contextmanager
def _readable(store: Path | None) -> Iterator[None]:
    """Make the folder of a store; say what is wrong with one that cannot be read."""
    try:
        if store is not None:
            store.parent.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        if store is None:
            raise
        raise ArtifactError(
            f"{store} is no store of a search that can be read ({error}). Choose another file for --store."
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep optuna to warnings inside the block."""
    import optuna  # noqa: PLC0415 - optional

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
