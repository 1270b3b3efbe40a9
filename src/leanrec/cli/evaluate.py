"""``leanrec evaluate``: ranking metrics of models on held-out events, with confidence intervals."""

from typing import TYPE_CHECKING, Annotated

import typer

from leanrec.cli import output
from leanrec.cli.options import DataOptions, Json, Sources, SplitOptions, TrainOptions, parse_model, with_options
from leanrec.errors import SettingError
from leanrec.models import get_model
from leanrec.settings import check_one_of
from leanrec.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leanrec.data.dataset import Dataset
    from leanrec.data.ingest.report import DataReport
    from leanrec.evaluation.cross_validation import CrossValidation
    from leanrec.evaluation.evaluate import Evaluation
    from leanrec.protocols import Estimator
    from leanrec.run import Run

__all__ = ["Models", "evaluate"]

Models = Annotated[
    list[str] | None,
    typer.Option("--model", "-m", help="A model, with settings after commas: ials,embedding_dim=32. Repeatable."),
]
# --split → how ``cross_validate`` makes its folds.
_FOLDS_BY_SPLIT = {"auto": "auto", "time": "time", "cold-users": "users", "random": "random"}
_METRICS = ("ndcg", "recall", "precision", "hit_rate", "mrr", "map")


@with_options(DataOptions, SplitOptions, TrainOptions)
def evaluate(
    source: Sources,
    *,
    model: Models = None,
    top_k: Annotated[
        list[int] | None,
        typer.Option("--top-k", "-k", min=1, max=10_000, help="Cut-off of the metrics; repeatable. Default: 10."),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="Metric of the comparison, with its cut-off. Default: ndcg at the first --top-k.")
    ] = None,
    part: Annotated[
        str,
        typer.Option(help="Part to evaluate on: test, or valid to compare models and settings before the final test."),
    ] = "test",
    auc: Annotated[
        bool, typer.Option("--auc", help="Also compute AUC, which scores every query a second time.")
    ] = False,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Cross-validate with this many folds: rolling in time (--split time, the default where events have times), "
            "over users (cold-users) or over events (random)."
        ),
    ] = None,
    as_json: Json = False,
    data: DataOptions,
    split: SplitOptions,
    train: TrainOptions,
) -> None:
    """Fit models on the training part and evaluate their rankings on held-out events, with confidence intervals."""
    from leanrec.evaluation.compare import compare
    from leanrec.evaluation.evaluate import evaluate as evaluate_model
    from leanrec.evaluation.evaluate import warn_small_sample

    run, cutoffs = train.to_run(), tuple(top_k or (10,))
    check_one_of("--part", part, ("test", "valid"))
    estimators = {text: parse_model(text) for text in model or ("popularity", "item_knn", "ease")}
    shares = (split.valid_share, split.test_share)
    if folds is not None and (auc or part != "test" or split.valid or split.test or shares != (0.1, 0.1)):
        raise SettingError(
            "--folds makes its own parts: leave out --auc, --part, --valid, --test, --valid-share and --test-share."
        )
    ingested = data.open_data(source, run)
    if folds is not None:
        results = _cross_validate_models(estimators, ingested.data, run, folds, split, cutoffs)
        _print_cross_validation(results, metric or f"ndcg@{cutoffs[0]}", ingested.report if as_json else None)
        return
    parts = split.apply_split(ingested, data, run)
    queries = parts.require(part)
    most_popular = get_model("popularity")()
    fallback = most_popular.fit(parts.train, run)
    evaluations = {}
    for name, estimator in estimators.items():
        output.print_note(f"{name} …")
        # The time limit applies to each fit, not to all fits together.
        evaluations[name] = evaluate_model(
            fallback if estimator == most_popular else estimator.fit(parts.train, run.restart()),
            queries,
            k=cutoffs,
            fallback=fallback,
            train=parts.train,
            with_auc=auc,
            run=run,
        )
    comparison = compare(evaluations, metric or f"ndcg@{cutoffs[0]}") if len(evaluations) > 1 else None
    if as_json:
        output.print_json(
            {
                "data": ingested.report.to_dict(),
                "split": parts.how,
                "part": part,
                "models": {name: evaluation.to_dict() for name, evaluation in evaluations.items()},
                "comparison": None if comparison is None else comparison.to_dict(),
            }
        )
        return
    for note in filter(
        None, (parts.note, str(parts.leakage) if parts.leakage.has_leakage else "", warn_small_sample(part, queries))
    ):
        output.print_note(note)
    _print_metrics(evaluations, cutoffs, f"The {part} part of the split {parts.how}")
    _print_rating_errors(evaluations)
    if comparison is not None:
        output.print_line(f"\n{comparison}")


def _print_metrics(evaluations: "Mapping[str, Evaluation]", cutoffs: tuple[int, ...], title: str) -> None:
    n_queries = next(iter(evaluations.values())).n_queries
    for k in cutoffs:
        rows = []
        for name, evaluation in evaluations.items():
            intervals = evaluation.intervals()
            cells = [output.format_interval(**intervals[f"{metric}@{k}"], n=n_queries) for metric in _METRICS]
            coverage = evaluation.catalog[f"coverage@{k}"]
            rows.append((name, *cells, f"{coverage:.1%}", f"{evaluation.fallback_share:.1%}"))
        output.print_table(
            f"{title}: {n_queries:,} queries, full ranking, mean ± half of the 95 % interval",
            ("model", *(f"{metric}@{k}" for metric in _METRICS), "coverage", "fallback"),
            rows,
        )


def _print_rating_errors(evaluations: "Mapping[str, Evaluation]") -> None:
    rows = []
    for name, evaluation in evaluations.items():
        errors = evaluation.ratings
        if errors is not None:
            cells = [
                output.format_interval(**errors.interval(error)._asdict(), n=errors.n_ratings)
                for error in ("rmse", "mae")
            ]
            rows.append((name, *cells, f"{errors.n_ratings:,}"))
    if rows:
        output.print_table("Predicted ratings", ("model", "RMSE", "MAE", "ratings"), rows)


def _cross_validate_models(
    estimators: "Mapping[str, Estimator]",
    data: "Dataset",
    run: "Run",
    folds: int,
    split: SplitOptions,
    cutoffs: tuple[int, ...],
) -> "dict[str, CrossValidation]":
    """Cross-validate each model on the same folds."""
    from leanrec.evaluation.cross_validation import cross_validate

    if split.split not in _FOLDS_BY_SPLIT:
        raise SettingError(f"--folds goes with --split {', '.join(_FOLDS_BY_SPLIT)}. Got --split {split.split}.")
    results: dict[str, CrossValidation] = {}
    for name, estimator in estimators.items():
        output.print_note(f"{name} …")
        results[name] = cross_validate(
            estimator,
            data,
            folds=folds,
            how=_FOLDS_BY_SPLIT[split.split],
            k=cutoffs,
            allow_repeats=split.allow_repeats,
            run=run.restart(),
        )
    return results


def _print_cross_validation(results: "Mapping[str, CrossValidation]", metric: str, report: "DataReport | None") -> None:
    """Print every fold of each model, the means over all queries, and the comparison.

    With a ``report`` about the data, all of it is printed as JSON.
    """
    from leanrec.evaluation.compare import compare

    comparison = compare(results, metric) if len(results) > 1 else None
    first = next(iter(results.values()))
    if report is not None:
        output.print_json(
            {
                "data": report.to_dict(),
                "folds": len(first.folds),
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
