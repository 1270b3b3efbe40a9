"""``leanrec tune``: search the settings of a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leanrec.cli import output
from leanrec.cli.messages import to_flags
from leanrec.cli.options import DataOptions, Json, Sources, SplitOptions, TrainOptions, parse_pairs, with_options
from leanrec.models import get_model
from leanrec.settings import parse_settings

if TYPE_CHECKING:
    from leanrec.evaluation.tuning.tuning import TuningResult

__all__ = ["tune"]

_N_SHOWN = 10


@with_options(DataOptions, SplitOptions, TrainOptions)
def tune(
    model: Annotated[str, typer.Argument(help="A model's name (see `leanrec models`) or import path.")],
    source: Sources,
    *,
    trials: Annotated[int, typer.Option(help="Number of settings to try, the defaults first.")] = 50,
    timeout: Annotated[
        str | None, typer.Option(help="Time limit of the whole search, e.g. 10min. --time-limit is for each fit.")
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(
            "--space",
            help="Search range of a setting: NAME=LOW..HIGH, NAME=LOW..HIGH:log or NAME=A,B; repeatable. Default: ranges of the model.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A fixed setting, NAME=VALUE; repeatable.")
    ] = None,
    metric: Annotated[
        str,
        typer.Option(help="Objective on the validation part: a ranking metric with its cut-off, rmse or mae."),
    ] = "ndcg@10",
    pruner: Annotated[
        str, typer.Option(help="Early stopping of weak trials: median, halving (models that train in epochs), or none.")
    ] = "median",
    storage: Annotated[
        Path | None, typer.Option(help="File that stores the search; the same command resumes it.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the model, fitted on all data with the best settings."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Plot the search (.png).")] = None,
    as_json: Json = False,
    data: DataOptions,
    split: SplitOptions,
    train: TrainOptions,
) -> None:
    """Search for the settings of a model that are best on held-out events, within a time limit."""
    from leanrec.evaluation.plots.figures import require_plots
    from leanrec.evaluation.plots.tuning_figure import draw_tuning
    from leanrec.evaluation.tuning.search_space import parse_space
    from leanrec.evaluation.tuning.study import require_tune
    from leanrec.evaluation.tuning.tuning import Search
    from leanrec.evaluation.tuning.tuning import tune as run_search
    from leanrec.pipeline.pipeline import Pipeline

    require_tune()
    if plot is not None:
        require_plots()
    run, fixed = train.to_run(), parse_pairs(settings or (), "--set")
    search = Search(trials=trials, seconds=timeout, prune=pruner, store=storage)
    estimator = parse_settings(get_model(model), fixed)
    ranges = fixed | parse_space(space or ())
    ingested = data.open_data(source, run)
    parts = split.apply_split(ingested, data, run)
    result = run_search(estimator, ingested.data, space=ranges, search=search, metric=metric, split=parts, run=run)
    saved = None if out is None else Pipeline.fit(result.estimator, ingested.data, run.restart()).save(out)
    figure = None if plot is None else draw_tuning(plot, result)
    if as_json:
        output.print_json(result.to_dict() | {"data": ingested.report.to_dict(), "out": saved, "plot": figure})
        return
    _print_result(result)
    if figure is not None:
        output.print_note(f"Plot: {figure}")
    if saved is not None:
        command = output.format_command("recommend", saved, "--user", ingested.data.users.ids[0])
        output.print_note(f"Saved to {saved}, fitted on all data. Try it: {command}")


def _print_result(result: "TuningResult") -> None:
    """Print the best trials, the importance of the settings, and a summary."""
    from leanrec.evaluation.tuning.search_space import tunable_settings
    from leanrec.units import format_seconds

    names = tunable_settings(result.space)
    ranked = result.ranked_trials()
    rows = [
        (
            trial.number or "default",
            *(f"{each:.4g}" if isinstance(each, float) else str(each) for each in map(trial.settings.get, names)),
            output.format_number(trial.value),
            format_seconds(trial.seconds) + (" (cut)" if trial.timed_out else ""),
        )
        for trial in ranked[:_N_SHOWN]
    ]
    output.print_table(
        f"The best {len(rows)} of {len(result.trials)} trials of {result.model}",
        ("trial", *names, f"{result.metric} valid", "took"),
        rows,
    )
    if result.importance:
        shares = [(name, f"{share:.0%}") for name, share in result.importance.items()]
        output.print_table("Importance", ("setting", "share of the variance"), shares)
    failed = [trial for trial in result.trials if trial.status in {"rejected", "failed"}]
    if failed:
        output.print_note(f"{len(failed)} could not be fitted, such as trial {failed[0].number}: {failed[0].reason}")
    for line in result.summary():
        output.print_line(to_flags(line))
