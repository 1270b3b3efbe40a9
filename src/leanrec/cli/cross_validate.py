"""``leanrec evaluate --folds``: cross-validation of several models."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from leanrec.cli import output
from leanrec.errors import SettingError
from leanrec.protocols import Estimator
from leanrec.run import Run
from leanrec.units import format_seconds

if TYPE_CHECKING:
    from leanrec.data.dataset import Dataset
    from leanrec.evaluation.cross_validation import CrossValidation

__all__ = ["print_cross_validation"]

# --split → how ``cross_validate`` makes its folds.
_FOLDS_BY_SPLIT = {"auto": "auto", "time": "time", "cold-users": "users", "random": "random"}


def print_cross_validation(
    estimators: Mapping[str, Estimator],
    data: "Dataset",
    run: Run,
    *,
    n_folds: int,
    split: str,
    cutoffs: tuple[int, ...],
    metric: str | None,
    as_json: bool,
) -> None:
    """Cross-validate each model and print every fold, the means over all queries, and the comparison."""
    from leanrec.evaluation.compare import compare
    from leanrec.evaluation.cross_validation import cross_validate

    if split not in _FOLDS_BY_SPLIT:
        raise SettingError(f"--folds goes with --split {', '.join(_FOLDS_BY_SPLIT)}. Got --split {split}.")
    results: dict[str, CrossValidation] = {}
    for name, estimator in estimators.items():
        output.print_note(f"{name} …")
        results[name] = cross_validate(
            estimator, data, folds=n_folds, how=_FOLDS_BY_SPLIT[split], k=cutoffs, run=run.restart()
        )
    metric = metric or f"ndcg@{cutoffs[0]}"
    comparison = compare(results, metric) if len(results) > 1 else None
    first = next(iter(results.values()))
    if as_json:
        output.print_json(
            {
                "folds": n_folds,
                "how": first.how,
                "models": {name: each.to_dict() for name, each in results.items()},
                "comparison": None if comparison is None else comparison.to_dict(),
            }
        )
        return
    first.values(metric)  # raises for an unknown metric
    _print_folds(results, metric)
    if first.note:
        output.print_note(first.note)
    if comparison is not None:
        output.print_line(f"\n{comparison}")


def _print_folds(results: "Mapping[str, CrossValidation]", metric: str) -> None:
    """One row per model: each fold, the mean over all queries, the spread of the folds, and the time of the fits."""
    first = next(iter(results.values()))
    rows = []
    for name, each in results.items():
        rows.append(
            (
                name,
                *(output.format_number(fold.evaluation.means()[metric]) for fold in each.folds),
                output.format_interval(**each.interval(metric)._asdict(), n=2),
                output.format_number(each.spread(metric)),
                format_seconds(sum(fold.seconds for fold in each.folds)),
            )
        )
    output.print_table(
        f"{metric} in {len(first.folds)} folds, {first.how}: full ranking, mean ± half of the 95 % interval over all queries",
        ("model", *(f"fold {i + 1}" for i in range(len(first.folds))), "all queries", "spread", "fits"),
        rows,
    )
    sizes = ", ".join(f"{fold.train.events:,}/{fold.evaluation.n_queries:,}" for fold in first.folds)
    output.print_note(f"Training events / queries of each fold: {sizes}")
