"""``leanrec frontier``: quality beside cost of many models, and the best within a budget."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leanrec.cli import output
from leanrec.cli.evaluate import Models
from leanrec.cli.messages import to_flags
from leanrec.cli.options import (
    DataOptions,
    Json,
    Sources,
    SplitOptions,
    TrainOptions,
    parse_limit,
    parse_model,
    with_options,
)

if TYPE_CHECKING:
    from leanrec.data.dataset import Dataset
    from leanrec.evaluation.frontier.frontier import Frontier
    from leanrec.pipeline.pipeline import Pipeline
    from leanrec.run import Run

__all__ = ["draw_plots", "frontier", "print_frontier"]


@with_options(DataOptions, SplitOptions, TrainOptions)
def frontier(
    source: Sources,
    *,
    model: Models = None,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Without --model: also models that train for minutes, most of them with torch."),
    ] = False,
    max_p99: Annotated[str | None, typer.Option(help="Limit on the p99 latency of one request, e.g. 5ms.")] = None,
    max_memory: Annotated[str | None, typer.Option(help="Limit on the peak memory of the fit, e.g. 200MB.")] = None,
    max_fit_time: Annotated[str | None, typer.Option(help="Limit on the time to fit, e.g. 60s.")] = None,
    max_size: Annotated[str | None, typer.Option(help="Limit on the size on disk, e.g. 50MB.")] = None,
    metric: Annotated[str, typer.Option(help="Quality metric, with its cut-off.")] = "ndcg@10",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the plots.")] = Path("out/frontier"),
    save_models: Annotated[
        bool, typer.Option("--save-models", help="Save every fitted model in the folder of the plots.")
    ] = False,
    compress: Annotated[
        bool, typer.Option("--compress/--no-compress", help="Also measure smaller versions of each fitted model.")
    ] = True,
    pick: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the best within the budget, or the closest, fitted on all data and made as small."
        ),
    ] = None,
    as_json: Json = False,
    data: DataOptions,
    split: SplitOptions,
    train: TrainOptions,
) -> None:
    """Fit every model that the data supports, show quality beside cost, and choose the best within a budget."""
    from leanrec.budget import Budget
    from leanrec.evaluation.frontier.frontier import frontier as measure_frontier
    from leanrec.units import parse_bytes, parse_seconds

    run = train.to_run()
    budget = Budget(
        p99=parse_limit("--max-p99", max_p99, parse_seconds),
        memory=parse_limit("--max-memory", max_memory, parse_bytes),
        fit_time=parse_limit("--max-fit-time", max_fit_time, parse_seconds),
        size=parse_limit("--max-size", max_size, parse_bytes),
    )
    models = None if model is None else {text: parse_model(text) for text in model}
    ingested = data.open_data(source, run)
    result = measure_frontier(
        ingested.data,
        models=models,
        deep=deep,
        budget=budget,
        metric=metric,
        split=split.apply_split(ingested, data, run),
        run=run,
        save=out / "models" if save_models else None,
        compress=compress,
    )
    plots = draw_plots(result, out)
    picked = None if pick is None else _fit_winner(result, ingested.data, run).save(pick)
    if as_json:
        output.print_json(result.to_dict() | {"data": ingested.report.to_dict(), "plots": plots, "picked": picked})
        return
    print_frontier(result)
    for plot in plots:
        output.print_note(f"Plot: {plot}")
    if picked is not None:
        command = output.format_command("serve", picked)
        output.print_note(f"Saved to {picked}, fitted on all data. Try it: {command}")


def _fit_winner(result: "Frontier", data: "Dataset", run: "Run") -> "Pipeline":
    """The best result, or the closest where none is within the budget, fitted on all data and made as small as it was."""
    from leanrec.errors import BudgetError
    from leanrec.pipeline.pipeline import Pipeline

    winner = result.best or result.closest
    if winner is None or winner.estimator is None:
        raise BudgetError("There is no model to pick: none could be fitted within the limits. Raise a limit.")
    pipeline = Pipeline.fit(winner.estimator, data, run.restart())
    return pipeline if winner.compression is None else pipeline.compress(winner.compression, run)


def draw_plots(result: "Frontier", out: Path) -> list[Path]:
    """Write the interactive page, and the PNG where matplotlib is installed; their paths.

    Both are drawn before either is there, so that an interrupted command leaves no page of one run beside the PNG of another.
    """
    from leanrec.errors import MissingExtraError
    from leanrec.evaluation.plots.figures import require_plots
    from leanrec.evaluation.plots.frontier_figure import draw_frontier
    from leanrec.evaluation.plots.html_report import write_html_report

    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".plots-", dir=out) as folder:
        plots = [write_html_report(result, Path(folder, "frontier.html"))]
        try:
            require_plots()
        except MissingExtraError as error:
            output.print_note(str(error))
        else:
            plots.append(draw_frontier(Path(folder, "frontier.png"), result))
        return [plot.replace(out / plot.name) for plot in plots]


def print_frontier(result: "Frontier") -> None:
    """Print quality and cost of each model, the best first, and a summary."""
    from leanrec.budget import COST_AXES

    rows: list[tuple[Any, ...]] = []
    for row in sorted(result.results, key=lambda row: -row.valid.value if row.valid is not None else float("inf")):
        if row.valid is None:
            rows.append(("–", row.name, row.family, row.reason, *[""] * (1 + len(COST_AXES))))
            continue
        mark = "★" if row.name == result.selection.best else "✗" if row.violations else "·" if row.pareto_axes else ""
        costs = row.costs()
        shown = [axis.format(costs[name]) if name in costs else "–" for name, axis in COST_AXES.items()]
        rows.append((mark, row.name, row.family, _format_quality(row.valid), _format_quality(row.test), *shown))
    output.print_line(result.description)
    columns = ("", "model", "family", f"{result.metric} valid", f"{result.metric} test", "p99", "memory", "fit", "disk")
    output.print_table("Quality beside cost", columns, rows, left=3)
    output.console.print("★ best within the budget   · on a Pareto front   ✗ over the budget\n")
    for line in result.summary():
        output.print_line(to_flags(line))


def _format_quality(quality: Any) -> str:
    if quality is None:
        return "–"
    return output.format_interval(mean=quality.value, low=quality.low, high=quality.high, n=quality.n_queries)
