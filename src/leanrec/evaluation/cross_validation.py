"""Cross-validation: the same model on several splits of one data set."""

import dataclasses
import hashlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from leanrec.callbacks import ModelCheckpoint
from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.splits.folds import make_folds
from leanrec.evaluation.bootstrap import PerQueryMetrics
from leanrec.evaluation.evaluate import Evaluation, evaluate
from leanrec.models import get_model
from leanrec.models.baselines.popularity import Popularity
from leanrec.protocols import Estimator
from leanrec.run import Run

__all__ = ["CrossValidation", "FoldResult", "cross_validate"]


@dataclasses.dataclass(frozen=True)
class FoldResult:
    """The evaluation of one fold.

    Attributes:
        train: size of the training part.
        evaluation: of the held-out part.
        seconds: wall time of the fit.
        timed_out: whether the fit was stopped by its time limit.
    """

    train: DatasetShape
    evaluation: Evaluation
    seconds: float
    timed_out: bool = False


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CrossValidation(PerQueryMetrics):
    """Means and intervals over the queries of all folds together, and the results of each fold.

    The intervals treat the folds as fixed; ``spread`` measures how much the means of the folds differ.

    Attributes:
        folds: in order; for folds in time, the earliest first.
        how: kind of the folds: "time", "users" or "random".
        note: a warning about the folds; may be empty.
    """

    folds: tuple[FoldResult, ...]
    how: str
    note: str = ""

    def spread(self, metric: str) -> float:
        """Standard deviation of the means of the folds."""
        return float(np.std([fold.evaluation.means()[metric] for fold in self.folds], ddof=1))

    def to_dict(self, level: float = 0.95) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "how": self.how,
            "note": self.note,
            "level": level,
            "metrics": {name: each | {"spread": self.spread(name)} for name, each in self.intervals(level).items()},
            "folds": [
                {
                    "train": dataclasses.asdict(fold.train),
                    "queries": fold.evaluation.n_queries,
                    "fallback_share": fold.evaluation.fallback_share,
                    "metrics": fold.evaluation.intervals(level),
                    "fit_seconds": fold.seconds,
                    "timed_out": fold.timed_out,
                }
                for fold in self.folds
            ],
        }


def cross_validate(
    estimator: str | Estimator,
    data: Dataset,
    *,
    folds: int = 5,
    how: str = "auto",
    k: Sequence[int] = (10, 20),
    allow_repeats: bool = False,
    run: Run = Run(),
) -> CrossValidation:
    """Fit and evaluate a model on several splits, one after the other.

    Folds in time, the default where events have times, use a rolling origin: each trains on all events before a moment
    and is evaluated on those that follow, so nothing leaks from the future and drift becomes visible. See
    ``leanrec.data.make_folds``. The same data, folds and seed give the same queries, so two models can be
    compared by ``leanrec.compare``.

    Args:
        estimator: a model by name, or settings.
        data: the data set.
        folds: number of folds.
        how: "auto", "time", "users" or "random".
        k: cut-offs of the lists.
        allow_repeats: count items that a user had before as relevant, and recommend them again.
        run: seed, threads and budget; its ``fit_time`` applies to each fit. A ``ModelCheckpoint`` belongs to a single training
            and is ignored.

    Raises:
        SettingError: an unknown model or kind of folds, or fewer than two folds.
        DataError: the data cannot be divided into that many folds, or a fold has no held-out interactions.
    """
    settings = get_model(estimator)() if isinstance(estimator, str) else estimator
    results, notes, kinds, digest = [], [], set(), hashlib.sha256()
    callbacks = tuple(each for each in run.callbacks if not isinstance(each, ModelCheckpoint))
    for split in make_folds(data, folds, how, seed=run.seed, allow_repeats=allow_repeats):
        fallback = Popularity().fit(split.train)
        fit_run = run.restart(callbacks=callbacks)
        model = settings.fit(split.train, fit_run)
        seconds, timed_out = time.monotonic() - fit_run.started, fit_run.out_of_time()
        evaluation = evaluate(model, split.test, k=k, fallback=fallback, run=run)
        results.append(FoldResult(split.train.shape, evaluation, seconds, timed_out))
        notes.append(split.note)
        kinds.add(split.how)
        digest.update(evaluation.fingerprint.encode())
    names = results[0].evaluation.per_query
    return CrossValidation(
        per_query={
            name: np.concatenate([fold.evaluation.per_query[name] for fold in results])
            for name in names
            if all(name in fold.evaluation.per_query for fold in results)
        },
        fingerprint=digest.hexdigest(),
        seed=run.seed,
        folds=tuple(results),
        how=kinds.pop(),
        note=next(filter(None, notes), ""),
    )
