"""``leanrec tune``: the settings of a model that do best on data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leanrec.cli import output
from leanrec.cli.options import DataOptions, Json, Sources, SplitOptions, TrainOptions
from leanrec.models import get_model
from leanrec.settings import parse_settings

if TYPE_CHECKING:
    from leanrec.evaluation.tuning.tuning import Tuned

__all__ = ["tune"]

_SHOWN = 10


@with_options(DataOptions, SplitOptions, TrainOptions)
def tune(
    model: Annotated[str, typer.Argument(help="A model's name (see `leanrec models`) or import path.")],
    source: Sources,
    *,
    trials: Annotated[int, typer.Option(help="How many sets of settings to try, the usual ones first.")] = 50,
    max_tune: Annotated[
        str | None, typer.Option(help="Time for the whole search, e.g. 10min. --time is for each fit.")
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(
            "--space",
            help="Values of a setting to search: NAME=LOW..HIGH, NAME=LOW..HIGH:log or NAME=A,B; repeatable. Default: usual ranges.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting that stays as it is, NAME=VALUE; repeatable.")
    ] = None,
    metric: Annotated[
        str,
        typer.Option(help="What to compare, on the validation part: a ranking metric with its cut-off, rmse or mae."),
    ] = "ndcg@10",
    prune: Annotated[
        str, typer.Option(help="What is given up early: median, halving (of what trains by epochs), or none.")
    ] = "median",
    store: Annotated[
        Path | None, typer.Option(help="A file that keeps the search; the same command goes on with it.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the model, fitted on all the data with the best settings."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the search (.png).")] = None,
    as_json: Json = False,
    data: DataOptions,
    split: SplitOptions,
    train: TrainOptions,
) -> None:
    """Search for the settings of a model that do best on held-out events, within a time."""
    from leanrec.evaluation.plots.figures import require_plots
    from leanrec.evaluation.tuning.search_space import read_space
    from leanrec.evaluation.tuning.study import require_tune
    from leanrec.evaluation.tuning.tuning import Search
    from leanrec.evaluation.tuning.tuning import tune as search

    require_tune()
    if plot is not None:
        require_plots()
    work, kept = train.to_run(), parse_pairs(settings or (), "--set")
    wanted = Search(trials=trials, seconds=max_tune, prune=prune, store=store)
    estimator = parse_settings(get_model(model), kept)
    ranges = kept | read_space(space or ())
    ingested = data.open_data(source, work)
    parts = split.apply_split(ingested, data, work)
    tuned = search(estimator, ingested.data, space=ranges, search=wanted, metric=metric, split=parts, run=work)
    saved = None if out is None else _save(tuned, ingested.data, out, work)
    picture = None if plot is None else _draw(tuned, plot)
    if as_json:
        output.print_json(tuned.to_dict() | {"out": saved, "plot": picture})
        return
    _print(tuned)
    if picture is not None:
        output.print_note(f"Plot: {picture}")
    if saved is not None:
        output.print_note(
            f"Saved to {saved}, fitted on all the data. Try it: leanrec recommend {saved} --user {ingested.data.users.ids[0]}"
        )


def _save(tuned: "Tuned", data: Any, out: Path, run: Any) -> Path:

    from leanrec.pipeline.pipeline import Pipeline

    return Pipeline.fit(tuned.estimator, data, run.restart()).save(out)


def _draw(tuned: "Tuned", plot: Path) -> Path:
    from leanrec.evaluation.plots.tuning_figure import draw_tuning

    return draw_tuning(plot, tuned)


def _print(tuned: "Tuned") -> None:
    """The best trials, what mattered, and the outcome in sentences."""
    from leanrec.evaluation.tuning.search_space import searched
    from leanrec.units import format_seconds

    names = searched(tuned.space)
    ranked = tuned.ranked()
    rows = [
        (
            trial.number or "usual",
            *(_cell(trial.settings[name]) for name in names),
            output.format_number(trial.value),
            format_seconds(trial.seconds) + (" (cut)" if trial.cut else ""),
        )
        for trial in ranked[:_SHOWN]
    ]
    output.print_table(
        f"The best {len(rows)} of {len(tuned.trials)} trials of {tuned.model}",
        ("trial", *names, f"{tuned.metric} valid", "took"),
        rows,
    )
    if tuned.importance:
        shares = [(name, f"{share:.0%}") for name, share in tuned.importance.items()]
        output.print_table("What mattered", ("setting", "share of the differences"), shares)
    lost = [trial for trial in tuned.trials if trial.status in {"refused", "failed"}]
    if lost:
        output.print_note(f"{len(lost)} could not be fitted, such as trial {lost[0].number}: {lost[0].reason}")
    for line in tuned.summary():
        output.print_line(translate(line))


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
