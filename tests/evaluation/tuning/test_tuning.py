"""Tuning: results, pruning, resuming, time limits, and the use of the test part."""

import builtins
import dataclasses
import importlib.util
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import make_dataset
from leanrec import models
from leanrec.budget import Budget
from leanrec.callbacks import ModelCheckpoint
from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.splits.split import Split, split
from leanrec.errors import ArtifactError, BudgetError, DataError, DivergedError, MissingExtraError, SettingError
from leanrec.evaluation.cross_validation import cross_validate
from leanrec.evaluation.tuning import tuning
from leanrec.evaluation.tuning.search_space import NumericRange, build_search_space
from leanrec.evaluation.tuning.tuning import Search, TuningResult, tune
from leanrec.models.baselines.popularity import Popularity
from leanrec.models.factorization.rating_mf import RatingMF
from leanrec.run import Run
from leanrec.settings import setting
from leanrec.types import Float32Array, Int32Array, Queries

FITS: list[Any] = []


@dataclasses.dataclass(frozen=True, eq=False)
class NoisyModel:
    settings: Any
    weights: Float32Array

    @property
    def n_items(self) -> int:
        return len(self.weights)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        scores: Float32Array = queries.history @ self.weights
        return scores if items is None else scores[:, items]


@dataclasses.dataclass(frozen=True)
class Noisy:
    """Co-occurrence of items; more noise is worse. Records each fit."""

    noise: float = setting(1.0, search="0..4")
    trap: str = "none"

    def fit_bytes(self, shape: DatasetShape) -> int:
        return 0

    def fit(self, data: Dataset, run: Run = Run()) -> NoisyModel:
        FITS.append(self)
        if self.trap == "memory":
            raise BudgetError("needs more memory than there is")
        if self.trap == "diverge":
            raise DivergedError("the loss became nan")
        if self.trap == "defect":
            raise ZeroDivisionError("division by zero")
        together = (data.interactions.T @ data.interactions).toarray()
        together /= together.std()
        noise = np.random.default_rng(5).normal(0, self.noise, together.shape)
        return NoisyModel(self, (together + noise).astype(np.float32))


@dataclasses.dataclass(frozen=True)
class Epochs(Noisy):
    """The same, with a validation score after each epoch."""

    epochs: int = 6
    patience: int = 0

    def fit(self, data: Dataset, run: Run = Run()) -> NoisyModel:
        if self.patience:
            for epoch in range(self.epochs):
                run.on_epoch_end(epoch, epoch - self.noise)
        return super().fit(data, run)


@pytest.fixture(autouse=True)
def _none() -> None:
    FITS.clear()


@pytest.fixture(scope="module")
def parts() -> Split:
    return split(make_dataset(n_users=400), "leave-one-out")


@pytest.fixture(scope="module")
def data() -> Dataset:
    return make_dataset(n_users=400)


@pytest.fixture
def evaluated_on_test(parts: Split, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Settings of the models that are evaluated on the test part, in order."""
    settings: list[Any] = []
    score_queries = tuning.TuningObjective.score_queries
    test = parts.test.take(np.flatnonzero(parts.test.n_relevant)).fingerprint

    def record(self: Any, model: Any, evaluation_set: Any, *rest: Any) -> Any:
        if evaluation_set.fingerprint == test:
            settings.append(model.settings)
        return score_queries(self, model, evaluation_set, *rest)

    monkeypatch.setattr(tuning.TuningObjective, "score_queries", record)
    return settings


def search_noise(
    parts: Split, data: Dataset, estimator: Any = Noisy(), run: Run = Run(seed=1), **options: Any
) -> TuningResult:
    space = options.pop("space", None)
    metric = options.pop("metric", "ndcg@10")
    return tune(
        estimator,
        data,
        space=space,
        search=Search(**{"trials": 8, "prune": "none"} | options),
        metric=metric,
        split=parts,
        run=run,
    )


def is_same_search(one: TuningResult, other: TuningResult) -> bool:
    trials = [[dataclasses.replace(trial, seconds=0.0) for trial in each.trials] for each in (one, other)]
    return trials[0] == trials[1] and one.valid == other.valid and one.test == other.test


def test_tuning_finds_better_settings_and_their_quality(parts: Split, data: Dataset) -> None:
    found = search_noise(parts, data, Noisy(noise=4.0), space={"noise": "0..4"}, trials=12)
    assert isinstance(found.estimator, Noisy)
    assert found.estimator.noise < 2
    assert found.trials[0].settings == {"noise": 4.0}
    assert found.valid_default is not None
    assert found.improvement is not None
    assert found.improvement.significant
    assert found.improvement.value == pytest.approx(found.valid.value - found.valid_default.value)
    assert 0 <= found.selection_bias < found.valid.value
    assert found.valid.value == found.best.value
    assert found.valid.low < found.valid.value < found.valid.high
    assert found.test is not None
    assert found.test.n_queries == len(parts.test)
    assert found.stop_reason == "trials"
    assert [trial.number for trial in found.trials] == list(range(12))
    assert "are better by" in found.summary()[2]


def test_the_test_part_is_evaluated_once_with_the_best_settings(
    parts: Split, data: Dataset, evaluated_on_test: list[Any]
) -> None:
    found = search_noise(parts, data)
    assert evaluated_on_test == [found.estimator]
    assert found.n_test_evaluations == 1


def test_a_search_is_reproducible_from_its_seed(parts: Split, data: Dataset) -> None:
    first, again, other = (search_noise(parts, data, run=Run(seed=seed)) for seed in (1, 1, 2))
    assert is_same_search(first, again)
    assert [trial.settings for trial in first.trials[1:]] != [trial.settings for trial in other.trials[1:]]


def test_significantly_worse_trials_are_pruned_on_a_sample_of_queries(parts: Split, data: Dataset) -> None:
    full = search_noise(parts, data, Noisy(noise=0.0), space={"noise": "0..9"}, trials=10)
    pruned = search_noise(parts, data, Noisy(noise=0.0), space={"noise": "0..9"}, trials=10, prune="median")
    stopped = [trial for trial in pruned.trials if trial.status == "pruned"]
    assert stopped
    assert all(trial.n_queries < len(parts.valid) for trial in stopped)
    assert all("significantly worse on" in trial.reason for trial in stopped)
    assert {trial.n_queries for trial in full.trials} == {len(parts.valid)}
    assert (pruned.best.settings, pruned.valid) == (full.best.settings, full.valid)


@pytest.mark.parametrize("how", ["median", "halving"])
def test_trials_with_worse_epochs_are_pruned(parts: Split, data: Dataset, how: str) -> None:
    found = search_noise(parts, data, Epochs(noise=0.0), space={"noise": "0..9"}, trials=14, prune=how)
    stopped = [trial for trial in found.trials if trial.status == "pruned" and "epoch" in trial.reason]
    assert stopped
    assert all(0 < trial.n_epochs < 6 for trial in stopped)
    assert len(FITS) == 14 - len(stopped)
    assert found.estimator.patience == 6  # type: ignore[attr-defined]
    assert any("patience=6" in note for note in found.notes)


def test_without_pruning_no_epochs_are_scored(parts: Split, data: Dataset) -> None:
    found = search_noise(parts, data, Epochs(), trials=3)
    assert {trial.n_epochs for trial in found.trials} == {0}
    assert found.estimator.patience == 0  # type: ignore[attr-defined]


def test_a_resumed_search_equals_an_uninterrupted_one(parts: Split, data: Dataset, tmp_path: Path) -> None:
    whole = search_noise(parts, data, trials=13)
    store = tmp_path / "deep" / "noise.log"
    search_noise(parts, data, trials=5, store=store)
    FITS.clear()
    rest = search_noise(parts, data, trials=13, store=store)
    assert is_same_search(whole, rest)
    # Eight new trials, and refits of the best and the default settings for their scores by query.
    assert len(FITS) <= 8 + 2
    assert any("of this session" in note for note in rest.notes)
    assert rest.test == whole.test


def test_a_trial_that_was_killed_is_repeated(
    parts: Split, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = search_noise(parts, data, trials=6)
    count = itertools.count()
    fit = Noisy.fit

    def killed(self: Noisy, data: Dataset, run: Run = Run()) -> NoisyModel:
        if next(count) == 3:
            raise KeyboardInterrupt
        return fit(self, data, run)

    monkeypatch.setattr(Noisy, "fit", killed)
    with pytest.raises(KeyboardInterrupt):
        search_noise(parts, data, trials=6, store=tmp_path / "s.log")
    monkeypatch.setattr(Noisy, "fit", fit)
    assert is_same_search(whole, search_noise(parts, data, trials=6, store=tmp_path / "s.log"))


def test_the_store_of_another_search_is_refused(parts: Split, data: Dataset, tmp_path: Path) -> None:
    search_noise(parts, data, trials=2, store=tmp_path / "s.log")
    with pytest.raises(ArtifactError, match=r"holds another search \(metric: ndcg@10 there, ndcg@5 here\)"):
        search_noise(parts, data, trials=2, store=tmp_path / "s.log", metric="ndcg@5")
    with pytest.raises(ArtifactError, match="space: .*0..4"):
        search_noise(parts, data, trials=2, store=tmp_path / "s.log", space={"noise": "0..2"})
    (tmp_path / "junk").write_text("not a store\n")
    with pytest.raises(ArtifactError, match="cannot be read as the store"):
        search_noise(parts, data, trials=2, store=tmp_path / "junk")
    with pytest.raises(ArtifactError, match="cannot be read as the store"):
        search_noise(parts, data, trials=2, store=tmp_path)


def test_a_resumed_search_evaluates_the_test_part_only_for_new_best_settings(
    parts: Split, data: Dataset, tmp_path: Path, evaluated_on_test: list[Any]
) -> None:
    options: dict[str, Any] = {"estimator": Noisy(noise=9.0), "space": {"noise": "0..9"}, "store": tmp_path / "s.log"}
    first = search_noise(parts, data, trials=1, **options)
    again = search_noise(parts, data, trials=1, **options)
    assert (again.test, again.n_test_evaluations) == (first.test, 1)
    assert "Test part, evaluated once: " in again.summary()[-2]
    assert evaluated_on_test == [first.estimator]
    longer = search_noise(parts, data, trials=8, **options)
    assert longer.estimator != first.estimator
    assert longer.n_test_evaluations == 2
    assert any("evaluated 2 times, by different settings" in line for line in longer.summary())
    assert search_noise(parts, data, trials=8, **options).test == longer.test
    assert evaluated_on_test == [first.estimator, longer.estimator]
    # Results on another test part are not stored yet.
    fewer = dataclasses.replace(parts, test=parts.test.take(np.arange(100)))
    assert search_noise(fewer, data, trials=8, **options).n_test_evaluations == 1


class Clock:
    """A clock that advances only during fits."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_the_time_limit_of_a_search_is_kept(parts: Split, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, limits = Clock(), []
    fit = Noisy.fit

    def slow(self: Noisy, data: Dataset, run: Run = Run()) -> NoisyModel:
        limits.append(run.budget.fit_time)
        clock.now += 7
        return fit(self, data, run)

    monkeypatch.setattr(Noisy, "fit", slow)
    monkeypatch.setattr("time.monotonic", clock.monotonic)
    found = search_noise(parts, data, trials=50, seconds="30s", run=Run(seed=1, budget=Budget(fit_time=20)))
    # After 7, 14, 21 and 28 seconds; a fifth would end at 35.
    assert len(found.trials) == 4
    assert found.stop_reason == "time"
    assert limits == [20, 20, 16, 9]
    assert found.seconds <= 30


def test_refits_have_a_time_limit_of_their_own(
    parts: Split, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, runs = Clock(), []
    fit, pace = Noisy.fit, [7.0]

    def slow(self: Noisy, data: Dataset, run: Run = Run()) -> NoisyModel:
        runs.append((self.noise, run.started - clock.now, run.budget.fit_time))
        clock.now += pace[0]
        return fit(dataclasses.replace(self, noise=9.0) if run.out_of_time() else self, data, run)

    monkeypatch.setattr(Noisy, "fit", slow)
    monkeypatch.setattr("time.monotonic", clock.monotonic)
    options: dict[str, Any] = {"estimator": Noisy(noise=4.0), "space": {"noise": "0..4"}, "store": tmp_path / "s.log"}
    found = search_noise(parts, data, trials=6, run=Run(seed=1, budget=Budget(fit_time=10)), **options)
    assert found.best.number
    runs.clear()
    # The time of the run itself is over.
    run = Run(seed=1, budget=Budget(fit_time=10))
    clock.now += 1000
    again = search_noise(parts, data, trials=6, seconds=100, run=run, **options)
    assert runs == [(found.best.settings["noise"], 0, 10), (4.0, 0, 10)]
    assert is_same_search(found, again)
    assert not any(trial.timed_out for trial in again.trials)
    # A refit that times out gets a note and stays the best by its first value.
    pace[0] = 12.0
    cut = search_noise(parts, data, trials=6, run=Run(seed=1, budget=Budget(fit_time=10)), **options)
    assert cut.best.number == found.best.number
    assert cut.best.timed_out
    assert cut.estimator == found.estimator
    assert cut.valid.value < found.valid.value
    assert cut.test == found.test
    assert any(f"Trial {cut.best.number} reached its time limit" in note for note in cut.notes)


@pytest.mark.parametrize(
    "search",
    [
        lambda data, run: tune(Noisy(), data, search=Search(trials=3), run=run),
        lambda data, run: cross_validate(Noisy(), data, folds=2, run=run),
    ],
)
def test_fits_do_not_share_a_checkpoint(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, search: Callable[[Dataset, Run], object]
) -> None:
    folders, fit = [], Noisy.fit

    def record(self: Noisy, data: Dataset, run: Run = Run()) -> NoisyModel:
        folders.append(run.find_callback(ModelCheckpoint))
        return fit(self, data, run)

    monkeypatch.setattr(Noisy, "fit", record)
    search(data, Run(callbacks=(ModelCheckpoint(tmp_path),)))
    assert len(folders) > 1
    assert set(folders) == {None}


@pytest.mark.parametrize(
    ("name", "setting", "wanted"),
    [
        ("kgin", "pooling_exponent", NumericRange(0, 1)),
        ("diffnet", "pooling_exponent", NumericRange(0, 1)),
        ("two_tower", "pooling_exponent", NumericRange(0, 1)),
        ("mult_vae", "beta", NumericRange(1e-4, 0.1, log=True)),
        ("rating_knn", "damping", NumericRange(0.5, 50, log=True)),
    ],
)
def test_declared_ranges_fit_the_meaning_of_the_setting(name: str, setting: str, wanted: NumericRange) -> None:
    if name != "rating_knn":
        pytest.importorskip("torch")
    assert build_search_space(models.get_model(name)())[setting] == wanted


def test_the_default_settings_are_tried_even_without_time(parts: Split, data: Dataset) -> None:
    found = search_noise(parts, data, seconds=1e-9)
    assert [trial.number for trial in found.trials] == [0]
    assert "No trial was better than the default settings." in found.summary()
    assert found.summary()[0].endswith("then the time was over.")


def test_a_fit_that_times_out_is_marked(parts: Split, data: Dataset) -> None:
    found = search_noise(parts, data, trials=2, run=Run(budget=Budget(fit_time=0)))
    assert all(trial.timed_out for trial in found.trials)
    assert any("2 of 2 fits reached their time limit" in note for note in found.notes)


@pytest.mark.parametrize(
    ("trap", "status", "reason"),
    [
        ("memory", "rejected", "needs more memory"),
        ("diverge", "failed", "the loss became nan"),
        ("defect", "failed", "ZeroDivisionError: division by zero"),
    ],
)
def test_settings_that_cannot_be_fitted_are_recorded(
    parts: Split, data: Dataset, trap: str, status: str, reason: str
) -> None:
    found = search_noise(parts, data, space={"noise": "0..1", "trap": f"none,{trap}"}, trials=10)
    bad = [trial for trial in found.trials if trial.settings["trap"] == trap]
    assert bad
    assert {trial.status for trial in bad} == {status}
    assert all(reason in trial.reason for trial in bad)
    assert found.estimator.trap == "none"  # type: ignore[attr-defined]
    with pytest.raises(BudgetError if trap == "memory" else DataError, match=f"None of the 3 trials.*{reason}"):
        search_noise(parts, data, Noisy(trap=trap), trials=3)


def test_duplicates_are_not_fitted_and_exhaust_a_small_space(parts: Split, data: Dataset) -> None:
    found = search_noise(parts, data, Noisy(noise=0.0), space={"noise": "0,1,2"}, trials=200)
    assert len(FITS) == 3
    assert found.stop_reason == "exhausted"
    duplicates = [trial for trial in found.trials if trial.status == "duplicate"]
    assert duplicates
    assert all("the same settings as trial" in trial.reason for trial in duplicates)


def test_a_value_that_never_differs_is_told(parts: Split, data: Dataset) -> None:
    # All events have the weight 1, so both ways to count are one.
    space = {"count": "users,weights", "half_life": "0"}
    found = tune("popularity", data, space=space, search=Search(trials=6), split=parts)
    assert sum(trial.status == "completed" for trial in found.trials) == 2
    assert any(note.startswith("All 2 trials have the same value") for note in found.notes)


def test_errors_are_minimized(parts: Split, data: Dataset) -> None:
    space = {"l2": "0.1..1000:log", "embedding_dim": "2", "epochs": "3"}
    found = tune(RatingMF(), data, space=space, search=Search(trials=6), metric="rmse", split=parts)
    values = [trial.value for trial in found.trials if trial.status == "completed"]
    assert found.best.value == min(value for value in values if value is not None)
    assert found.valid.low < found.valid.value < found.valid.high
    assert found.improvement is not None
    assert found.improvement.value >= 0
    assert found.ranked_trials()[0] == found.best


def test_a_single_value_also_fixes_the_default_settings(parts: Split, data: Dataset) -> None:
    found = search_noise(parts, data, Epochs(), space={"epochs": "3", "noise": "5..6"}, trials=2)
    assert [trial.settings["epochs"] for trial in found.trials] == [3, 3]
    assert found.default.epochs == 3  # type: ignore[attr-defined]
    # The default noise is outside the range and tried all the same.
    assert found.trials[0].settings["noise"] == 1.0
    outside = search_noise(parts, data, Noisy(), space={"noise": "2,3"}, trials=2)
    assert outside.trials[0].settings["noise"] == 1.0


def test_importance_is_higher_for_the_setting_with_an_effect(parts: Split, data: Dataset) -> None:
    @dataclasses.dataclass(frozen=True)
    class Idle(Noisy):
        """One setting has no effect."""

        idle: float = 1.0

    found = search_noise(parts, data, Idle(), space={"noise": "0..4", "idle": "0..4"}, trials=15)
    assert found.importance["noise"] > found.importance["idle"]
    assert sum(found.importance.values()) == pytest.approx(1)
    assert search_noise(parts, data, Idle(), space={"noise": "0..4", "idle": "0..4"}, trials=2).importance == {}


def test_a_model_can_be_given_by_name_and_the_dictionary_survives_json(data: Dataset) -> None:
    import json

    found = tune("popularity", data, split="leave-one-out", search=Search(trials=2))
    assert isinstance(found.default, Popularity)
    assert found.model == "popularity"
    plain = json.loads(json.dumps(found.to_dict()))
    assert {"settings", "space", "trials", "best", "valid", "improvement", "selection_bias", "test", "seconds"} <= set(
        plain
    )


def test_invalid_arguments_are_refused_before_any_fit(parts: Split, data: Dataset) -> None:
    with pytest.raises(SettingError, match="metric must be one of"):
        search_noise(parts, data, metric="ndgc@10")
    with pytest.raises(SettingError, match="has no setting 'nois'"):
        search_noise(parts, data, space={"nois": "0..1"})
    with pytest.raises(SettingError, match=r"trials must be a number of at least 1"):
        Search(trials=0)
    with pytest.raises(SettingError, match="prune must be one of"):
        Search(prune="mean")
    with pytest.raises(SettingError, match="A duration must be"):
        Search(seconds="10")
    with pytest.raises(SettingError, match="seconds must be a positive number"):
        Search(seconds=0)
    with pytest.raises(DataError, match="valid part of the split .* must hold at least one relevant item"):
        tune(Noisy(), data, split=split(data, "leave-one-out", valid=0))
    unrated = dataclasses.replace(parts, valid=dataclasses.replace(parts.valid, ratings=None))
    with pytest.raises(DataError, match="validation part has no ratings to predict"):
        tune(RatingMF(), data, split=unrated, metric="rmse")
    assert FITS == []


def test_a_missing_optuna_names_the_extra(parts: Split, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    there, loaded = importlib.util.find_spec, builtins.__import__

    def missing(name: str, *rest: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "optuna":
            raise ImportError(name)
        return loaded(name, *rest, **named)

    monkeypatch.setattr(
        "leanrec.evaluation.tuning.study.find_spec", lambda name: None if name == "optuna" else there(name)
    )
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtraError, match=r'pip install "leanrec\[tune\]"'):
        search_noise(parts, data)
