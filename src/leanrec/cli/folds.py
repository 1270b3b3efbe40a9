"""``leanrec evaluate --folds``: the same models on several splits."""

import dataclasses
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from leanrec.cli import output
from leanrec.errors import SettingError
from leanrec.protocols import Estimator
from leanrec.run import Run, format_seconds

if TYPE_CHECKING:
    from leanrec.data.dataset import Dataset
    from leanrec.evaluation.cross_validation import CrossValidation

__all__ = ["WAYS", "evaluate_in_folds"]

# --split → how to make folds.
WAYS = {"auto": "auto", "time": "time", "cold-users": "users", "random": "random"}


def evaluate_in_folds(
    estimators: Mapping[str, Estimator],
    data: "Dataset",
    run: Run,
    *,
    folds: int,
    how: str,
    depths: tuple[int, ...],
    metric: str | None,
    as_json: bool,
) -> None:
    """Cross-validate each model and print the folds, the means over all queries, and the comparison."""
    from leanrec.evaluation.compare import compare
    from leanrec.evaluation.cross_validation import cross_validate

    if how not in WAYS:
        raise SettingError(f"--folds goes with --split {', '.join(WAYS)}. Got --split {how}.")
    found: dict[str, CrossValidation] = {}
    for name, estimator in estimators.items():
        output.tell(f"{name} …")
        timed = dataclasses.replace(run, started=time.monotonic())
        found[name] = cross_validate(estimator, data, folds=folds, how=WAYS[how], k=depths, run=timed)
    chosen = metric or f"ndcg@{depths[0]}"
    compared = compare(found, chosen) if len(found) > 1 else None
    first = next(iter(found.values()))
    if as_json:
        report = {name: each.to_dict() for name, each in found.items()}
        comparison = None if compared is None else compared.to_dict()
        output.print_json({"folds": folds, "how": first.how, "models": report, "comparison": comparison})
        return
    first.values(chosen)
    _print(found, chosen)
    if first.note:
        output.tell(first.note)
    if compared is not None:
        output.say(f"\n{compared}")


def _print(found: "Mapping[str, CrossValidation]", metric: str) -> None:
    """One line a model: each fold, the mean over all queries, how far the folds differ, and the time of the fits."""
    first = next(iter(found.values()))
    rows = []
    for name, each in found.items():
        low, high = each.interval(metric)[1:]
        rows.append(
            (
                name,
                *(output.number(fold.evaluation.means()[metric]) for fold in each.folds),
                f"{output.number(each.means()[metric])} ±{(high - low) / 2:.4f}",
                output.number(each.spread(metric)),
                format_seconds(sum(fold.seconds for fold in each.folds)),
            )
        )
    sizes = ", ".join(f"{fold.train.events:,}/{fold.evaluation.n_queries:,}" for fold in first.folds)
    output.table(
        f"{metric} in {len(first.folds)} folds, {first.how}: full ranking, mean ± half of the 95 % interval over all queries",
        ("model", *(f"fold {i + 1}" for i in range(len(first.folds))), "all queries", "spread", "fits"),
        rows,
    )
    output.tell(f"Events to train on / queries of each fold: {sizes}")
