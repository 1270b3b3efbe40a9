"""The same model on several splits of one data set."""

import dataclasses
import hashlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from leanrec.callbacks import ModelCheckpoint
from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.splits.folds import make_folds
from leanrec.evaluation.bootstrap import PerQuery
from leanrec.evaluation.evaluate import Evaluation, evaluate
from leanrec.models import get_model
from leanrec.models.baselines.popularity import Popularity
from leanrec.protocols import Estimator
from leanrec.run import Run

__all__ = ["CrossValidation", "Fold", "cross_validate"]


@dataclasses.dataclass(frozen=True)
class Fold:
    """One split and what the model did on it.

    Attributes:
        train: size of what it was fitted on.
        evaluation: of the lists for the part that was held out.
        seconds: of the fit, by the clock.
        cut: whether the fit was stopped by its time.
    """

    train: DatasetShape
    evaluation: Evaluation
    seconds: float
    cut: bool = False


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CrossValidation(PerQuery):
    """Means and intervals over the queries of all folds together, and the folds one by one.

    The intervals take the folds as they are. How far the means of the folds differ is in ``spread``.

    Attributes:
        folds: in order; by time, the earliest first.
        how: the way they were made: "time", "users" or "random".
        note: what one should know of them; may be empty.
    """

    folds: tuple[Fold, ...]
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
                    "cut": fold.cut,
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
    run: Run = Run(),
) -> CrossValidation:
    """Fit and judge a model on several splits. The cost of that many fits and evaluations, one after the other.

    Folds in time, the default where the log has a clock, are a rolling origin: each trains on all before a moment and is judged on
    what came next, so nothing of the future is known and a drift shows. See ``leanrec.data.splits.folds.make_folds``. The same data, folds and seed
    give the same queries, so two models can be compared by ``leanrec.evaluation.compare.compare``.

    Args:
        estimator: a model by name, or settings.
        data: the data set.
        folds: how many.
        how: "auto", "time", "users" or "random".
        k: cut-offs of the lists.
        run: seed, threads and budget; its ``fit_time`` applies to each fit. A ``ModelCheckpoint`` belongs to a single training
            and is ignored.

    Raises:
        SettingError: an unknown model or way, or fewer than two folds.
        DataError: the data cannot be cut into so many folds, or a fold has nothing to ask.
    """
    chosen = get_model(estimator)() if isinstance(estimator, str) else estimator
    done, notes, ways, digest = [], [], set(), hashlib.sha256()
    callbacks = tuple(each for each in run.callbacks if not isinstance(each, ModelCheckpoint))
    for split in make_folds(data, folds, how, seed=run.seed):
        fallback = Popularity().fit(split.train)
        timed = run.restart(callbacks=callbacks)
        model = chosen.fit(split.train, timed)
        seconds, cut = time.monotonic() - timed.started, timed.out_of_time()
        found = evaluate(model, split.test, k=k, fallback=fallback, run=run)
        done.append(Fold(split.train.shape, found, seconds, cut))
        notes.append(split.note)
        ways.add(split.how)
        digest.update(found.cases.encode())
    names = done[0].evaluation.per_query
    return CrossValidation(
        per_query={
            name: np.concatenate([fold.evaluation.per_query[name] for fold in done])
            for name in names
            if all(name in fold.evaluation.per_query for fold in done)
        },
        cases=digest.hexdigest(),
        seed=run.seed,
        folds=tuple(done),
        how=ways.pop(),
        note=next(filter(None, notes), ""),
    )
