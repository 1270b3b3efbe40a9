"""Commands that fit and measure models: fit, evaluate, frontier."""

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leanrec.cli import distributed, output
from leanrec.cli.folds import evaluate_in_folds
from leanrec.cli.options import DataOptions, Json, Sources, SplitOptions, TrainOptions, gather, model_of
from leanrec.errors import DataError, SettingError
from leanrec.models import get_model
from leanrec.settings import check_one_of

if TYPE_CHECKING:
    from leanrec.evaluation.compare import Comparison
    from leanrec.evaluation.evaluate import Evaluation
    from leanrec.evaluation.frontier.frontier import Frontier

__all__ = ["evaluate", "fit", "frontier"]

Models = Annotated[
    list[str] | None,
    typer.Option("--model", "-m", help="A model, with settings after commas: ials,width=32. Repeatable."),
]
_COLUMNS = ("ndcg", "recall", "precision", "hitrate", "mrr", "map")


@gather(DataOptions, TrainOptions)
def fit(
    model: Annotated[
        str, typer.Argument(help="A model, with settings after commas (see `leanrec models`), or its import path.")
    ],
    source: Sources,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the fitted model.")],
    settings: Annotated[list[str] | None, typer.Option("--set", help="A setting, NAME=VALUE; repeatable.")] = None,
    log: Annotated[
        Path | None,
        typer.Option(help="An event log of a server: its events and new items join the data. It may still run."),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Folder where a model that trains with torch keeps its state each epoch, and goes on from."),
    ] = None,
    shard: Annotated[
        bool,
        typer.Option("--shard", help="Under torchrun: deal the rows of the item table over the workers."),
    ] = False,
    as_json: Json = False,
    data: DataOptions,
    train: TrainOptions,
) -> None:
    """Fit a model on a data set or a raw log, and save it with all it needs to answer."""
    from leanrec import artifacts
    from leanrec.events.reader import LogReader
    from leanrec.pipeline.pipeline import Pipeline
    from leanrec.pipeline.replay import log_beside
    from leanrec.run import format_bytes, format_seconds
    from leanrec.training.config import Training

    estimator = model_of(model, settings or ())
    if checkpoint is not None and not isinstance(estimator, Training):
        raise SettingError(f"--checkpoint must be left out: {model} does not train with torch, and keeps no state.")
    if shard and not getattr(estimator, "shardable", False):
        raise SettingError(f"--shard must be left out: the items of {model} cannot be dealt over workers.")
    work = dataclasses.replace(train.run(), checkpoint=checkpoint, shard=shard)
    ingested = (data if distributed.first() else dataclasses.replace(data, quarantine=None)).open(source, work)
    recorded = None if log is None else LogReader(log)
    pipeline = Pipeline.fit(estimator, ingested.data, work, log=recorded)
    late = work.out_of_time()
    if not distributed.first():
        return
    if late:
        output.tell("The time was up before the fit was done: the model is the best that it had by then.")
    path = pipeline.save(out)
    if log is not None:
        joined = pipeline.provenance["data"]["events"] - ingested.data.shape.events
        output.tell(f"{joined} events of {log} joined the data.")
    elif log_beside(path).exists():
        output.tell(f"The events of {log_beside(path)} are not in this fit; --log {log_beside(path)} takes them in.")
    cost = pipeline.provenance["fit"]
    size = artifacts.size_of(path)
    if as_json:
        output.print_json(
            {
                "model": model,
                "settings": dataclasses.asdict(estimator),  # type: ignore[call-overload]  # each is a dataclass
                "out": path,
                "cost": cost,
                "stopped_by_time": late,
                "bytes": size,
            }
        )
        return
    output.say(
        f"{model} fitted on "
        + "{events:,} events of {users:,} users and {items:,} items".format(**pipeline.provenance["data"])
    )
    output.say(
        f"  {format_seconds(cost['wall'])} by the clock, {format_seconds(cost['cpu'])} of CPU, "
        f"{format_bytes(cost['peak'])} of memory at the peak, {format_bytes(size)} on disk at {path}"
    )
    output.tell(f"Try it: leanrec recommend {path} --user {ingested.data.users.ids[0]} -n 5")


@gather(DataOptions, SplitOptions, TrainOptions)
def evaluate(
    source: Sources,
    *,
    model: Models = None,
    k: Annotated[
        list[int] | None, typer.Option("-k", min=1, max=10_000, help="Cut-off of the lists; repeatable. Default: 10.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="What the comparison is of, with its cut-off. Default: ndcg at the first -k.")
    ] = None,
    part: Annotated[
        str, typer.Option(help="test, or valid to choose models and settings by: look at test once, at the end.")
    ] = "test",
    auc: Annotated[bool, typer.Option("--auc", help="Also AUC, which scores every query a second time.")] = False,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Cross-validation with so many splits: rolling in time (--split time, the default where there is a clock), "
            "over users (cold-users) or over events (random)."
        ),
    ] = None,
    as_json: Json = False,
    data: DataOptions,
    split: SplitOptions,
    train: TrainOptions,
) -> None:
    """Fit models on the training part and judge their lists on the test part, with intervals."""
    from leanrec.evaluation.compare import compare
    from leanrec.evaluation.evaluate import evaluate as judge
    from leanrec.evaluation.evaluate import warn_of_few

    work, depths = train.run(), tuple(k or (10,))
    check_one_of("--part", part, ("test", "valid"))
    estimators = {text: model_of(text) for text in model or ("popularity", "item_knn", "ease")}
    if folds is not None and (auc or part != "test" or split.valid or split.test):
        raise SettingError("--folds makes the parts itself: leave out --auc, --part, --valid and --test.")
    ingested = data.open(source, work)
    if folds is not None:
        evaluate_in_folds(
            estimators,
            ingested.data,
            work,
            folds=folds,
            how=split.split,
            depths=depths,
            metric=metric,
            as_json=as_json,
        )
        return
    parts = split.apply(ingested, data, work)
    cases = parts.test if part == "test" else parts.valid
    if not cases.truth.nnz:
        raise DataError(
            f"The {part} part holds no answer. Take --part {'valid' if part == 'test' else 'test'}, or hold out more."
        )
    fallback = get_model("popularity")().fit(parts.train, work)
    judged = {}
    for name, estimator in estimators.items():
        output.tell(f"{name} …")
        # The time of a run counts for each fit, not for all that came before it.
        timed = dataclasses.replace(work, started=time.monotonic())
        judged[name] = judge(
            estimator.fit(parts.train, timed),
            cases,
            k=depths,
            fallback=fallback,
            train=parts.train,
            with_auc=auc,
            run=work,
        )
    compared = compare(judged, metric or f"ndcg@{depths[0]}") if len(judged) > 1 else None
    if as_json:
        report = {name: evaluation.to_dict() for name, evaluation in judged.items()}
        output.print_json(
            {
                "split": parts.how,
                "part": part,
                "models": report,
                "comparison": None if compared is None else compared.to_dict(),
            }
        )
        return
    for note in filter(None, (parts.note, str(parts.leak) if parts.leak.leaks else "", warn_of_few(part, cases))):
        output.tell(note)
    _judged(judged, depths, f"The {part} part of the split {parts.how}")
    _compared(compared)


def _judged(judged: "dict[str, Evaluation]", depths: tuple[int, ...], what: str) -> None:
    first = next(iter(judged.values()))
    for depth in depths:
        rows = []
        for name, evaluation in judged.items():
            intervals = evaluation.intervals()
            cells = [_with_interval(intervals[f"{metric}@{depth}"], first.n_queries) for metric in _COLUMNS]
            rows.append(
                (
                    name,
                    *cells,
                    f"{evaluation.catalogue[f'coverage@{depth}']:.1%}",
                    f"{evaluation.fallback_share:.1%}",
                )
            )
        title = f"{what}: {first.n_queries:,} queries, full ranking, mean ± half of the 95 % interval"
        output.table(title, ("model", *(f"{m}@{depth}" for m in _COLUMNS), "coverage", "fallback"), rows)
    errors = [(name, each.ratings) for name, each in judged.items() if each.ratings is not None]
    if errors:
        rows = [
            (
                name,
                *(_with_interval(each.interval(error)._asdict(), each.n_ratings) for error in ("rmse", "mae")),
                f"{each.n_ratings:,}",
            )
            for name, each in errors
        ]
        output.table("Predicted ratings", ("model", "RMSE", "MAE", "ratings"), rows)


def _with_interval(interval: dict[str, float], n: int) -> str:
    # One value has no spread that could be seen.
    spread = f" ±{(interval['high'] - interval['low']) / 2:.4f}" if n > 1 else ""
    return f"{interval['mean']:.4f}{spread}"


def _compared(comparison: "Comparison | None") -> None:
    if comparison is not None:
        output.say(f"\n{comparison}")


@gather(DataOptions, SplitOptions, TrainOptions)
def frontier(
    source: Sources,
    *,
    model: Models = None,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Without --model: also models that train for minutes, most of them with torch."),
    ] = False,
    max_p99: Annotated[str | None, typer.Option(help="Limit on the p99 of one request, e.g. 5ms.")] = None,
    max_memory: Annotated[str | None, typer.Option(help="Limit on the peak memory of the fit, e.g. 200MB.")] = None,
    max_fit: Annotated[str | None, typer.Option(help="Limit on the time to fit, e.g. 60s.")] = None,
    max_artifact: Annotated[str | None, typer.Option(help="Limit on the size on disk, e.g. 50MB.")] = None,
    metric: Annotated[str, typer.Option(help="The quality to choose by, with its cut-off.")] = "ndcg@10",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pictures.")] = Path("out/frontier"),
    keep_models: Annotated[
        bool, typer.Option("--keep-models", help="Save every fitted model below the folder.")
    ] = False,
    as_json: Json = False,
    data: DataOptions,
    split: SplitOptions,
    train: TrainOptions,
) -> None:
    """Fit every family, show quality beside what it cost, and pick the best within a budget."""
    from leanrec.evaluation.frontier.budget import Budget
    from leanrec.evaluation.frontier.frontier import frontier as measure

    work = train.run()
    budget = Budget(max_p99=max_p99, max_memory=max_memory, max_fit=max_fit, max_artifact=max_artifact)
    models = None if model is None else {text: model_of(text) for text in model}
    ingested = data.open(source, work)
    save = out / "models" if keep_models else None
    parts = split.apply(ingested, data, work)
    found = measure(
        ingested.data, models=models, deep=deep, budget=budget, metric=metric, split=parts, run=work, save=save
    )
    pictures = draw(found, out)
    if as_json:
        output.print_json(found.to_dict() | {"pictures": pictures})
        return
    frontier_table(found)
    for picture in pictures:
        output.tell(f"Picture: {picture}")


def draw(found: "Frontier", out: Path) -> list[Path]:
    """The interactive page, and the PNG where matplotlib is installed."""
    from leanrec.errors import MissingExtraError
    from leanrec.evaluation.plots.figures import require_plots
    from leanrec.evaluation.plots.frontier_figure import draw_frontier
    from leanrec.evaluation.plots.html_report import write_frontier_page

    out.mkdir(parents=True, exist_ok=True)
    pictures = [write_frontier_page(found, out / "frontier.html")]
    try:
        require_plots()
    except MissingExtraError as error:
        output.tell(str(error))
    else:
        pictures.append(draw_frontier(out / "frontier.png", found))
    return pictures


def frontier_table(found: "Frontier") -> None:
    """Print quality and cost of each model, the best first, and the outcome in words."""
    from leanrec.evaluation.frontier.budget import AXES

    fitted = sorted((row for row in found.rows if row.valid is not None), key=lambda row: -_value(row.valid))
    rows: list[tuple[Any, ...]] = []
    for row in fitted:
        marks = "★" if row.name == found.choice.best else "✗" if row.over else "·" if row.front else ""
        costs = row.axes()
        rows.append(
            (
                marks,
                row.name,
                row.family,
                _quality(row.valid),
                _quality(row.test),
                *(AXES[a].show(costs[a]) if a in costs else "–" for a in AXES),
            )
        )
    rows += [("–", row.name, row.family, row.reason, "", "", "", "", "") for row in found.rows if row.valid is None]
    output.say(found.about)
    columns = (
        "",
        "model",
        "family",
        f"{found.metric} valid",
        f"{found.metric} test",
        "p99",
        "memory",
        "fit",
        "disk",
    )
    output.table("Quality beside cost", columns, rows, left=3)
    output.console.print("★ best within the budget   · on a Pareto front   ✗ over the budget\n")
    for line in found.summary():
        output.say(output.in_flags(line))


def _value(quality: Any) -> float:
    return float(quality.value)


def _quality(quality: Any) -> str:
    if quality is None:
        return "–"
    return _with_interval({"mean": quality.value, "low": quality.low, "high": quality.high}, quality.queries)
