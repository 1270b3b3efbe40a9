"""``leanrec demo``: the whole workflow on the bundled MovieLens sample."""

import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from leanrec.callbacks import ProgressBar
from leanrec.cli import output
from leanrec.cli.frontier import draw_plots, print_frontier
from leanrec.cli.ingest import print_report
from leanrec.cli.options import Json
from leanrec.cli.recommend import print_recommendations
from leanrec.cli.serving.serve import report_ready

if TYPE_CHECKING:
    from leanrec.data.dataset import Dataset
    from leanrec.data.ingest.ingest import IngestResult
    from leanrec.evaluation.frontier.frontier import Frontier
    from leanrec.pipeline.pipeline import Pipeline
    from leanrec.pipeline.responses import Recommendations

__all__ = ["demo", "run_demo"]

_USER = 1
_BUDGET = {"p99": "10ms", "memory": "1GB", "fit_time": "60s"}
# From the cheapest to the best; all fits take under three minutes on two cores.
_MODELS = (
    "popularity",
    "content",
    "item_knn",
    "user_knn",
    "pure_svd",
    "ials",
    "bpr",
    "slim",
    "ease",
    "bias",
)


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("out/demo"),
    serve: Annotated[bool, typer.Option("--serve", help="Serve the model and the demo page at the end.")] = False,
    port: Annotated[int, typer.Option(help="Port of the page; 0 = a free one.")] = 8000,
    as_json: Json = False,
) -> None:
    """Run the whole workflow on the bundled MovieLens sample, in under three minutes."""
    run_demo(out, serve=serve, port=port, as_json=as_json)


def run_demo(out: Path, *, serve: bool, port: int, as_json: bool = False) -> None:
    """Ingest, compare models, recommend, record a click, recommend again. All files are written to ``out``.

    With ``as_json`` one JSON document with the results replaces the tables. With ``serve`` too, a line of JSON with the
    address of the server follows it.
    """
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    with output.only_json(as_json):
        data, report = _ingest_sample(out)
        result = _measure_frontier(data, out)
        pipeline, recommended = _recommend_top_five(data, result, out)
        click = _record_click(pipeline)
        seconds = time.perf_counter() - start
        _print_next_steps(out, seconds)
    if as_json:
        output.print_json(
            {
                "data": report.to_dict(),
                "frontier": result.to_dict(),
                "recommended": recommended.to_dict(),
                "click": click,
                "out": out,
                "model": out / "model",
                "seconds": seconds,
            }
        )
    if serve:
        from leanrec.serving.server import serve as run_server

        run_server(out / "model", port=port, ready=report_ready(out / "model") if as_json else None)


def _print_heading(text: str) -> None:
    output.console.rule(Text(text, "bold"), align="left")
    if output.console.quiet:
        output.print_note(text)


def _ingest_sample(out: Path) -> "IngestResult":
    from leanrec.data.datasets.bundled import sample_path
    from leanrec.data.ingest.ingest import ingest
    from leanrec.evaluation.plots.figures import draw_dataset

    _print_heading("1. Ingest the log")
    folder = sample_path("ml-latest-small")
    ingested = ingest(folder / "ratings.parquet", items=folder / "movies.parquet", positive_from=3.5)
    print_report(ingested.report)
    output.print_line(f"Plot: {draw_dataset(out / 'data.png', ingested.data)}\n")
    return ingested


def _measure_frontier(data: "Dataset", out: Path) -> "Frontier":
    from leanrec.budget import Budget
    from leanrec.evaluation.frontier.frontier import frontier
    from leanrec.run import Run

    _print_heading("2. Compare models: quality beside cost")
    output.print_line("Each model is fitted in a separate process. This is the longest step: a minute or two.")
    budget = Budget(**_BUDGET)
    run = Run(callbacks=(ProgressBar(),) if output.console.is_terminal else ())
    result = frontier(data, models=_MODELS, budget=budget, split="ratio", run=run)
    print_frontier(result)
    for plot in draw_plots(result, out):
        output.print_line(f"Plot: {plot}")
    output.console.print()
    return result


def _recommend_top_five(data: "Dataset", result: "Frontier", out: Path) -> "tuple[Pipeline, Recommendations]":
    from leanrec.evaluation.plots.figures import draw_recommendations
    from leanrec.models import get_model
    from leanrec.pipeline.pipeline import Pipeline

    best = result.best or result.closest
    name = "item_knn" if best is None else best.model
    _print_heading(f"3. Recommend five items to user {_USER} with the best model within the budget, {name}")
    estimator = get_model("item_knn")() if best is None else best.estimator
    pipeline = Pipeline.fit(estimator, data)  # type: ignore[arg-type]  # a measured row has its estimator
    pipeline.save(out / "model")
    liked = [event for event in pipeline.history(_USER) if (event.rating or 0) >= 5][:5]
    output.print_table(f"Latest five-star ratings of user {_USER}", ("title",), [(event.title,) for event in liked])
    recommended = pipeline.recommend(_USER, n=5)
    print_recommendations(recommended, "Recommended")
    titles, scores = [item.title for item in recommended.items], [item.score for item in recommended.items]
    plot = draw_recommendations(out / "top5.png", titles, scores, title=f"Top 5 for user {_USER}")
    output.print_line(f"Plot: {plot}\n")
    return pipeline, recommended


def _record_click(pipeline: "Pipeline") -> dict[str, Any]:
    _print_heading("4. Record a click and recommend again")
    before = [item.title for item in pipeline.recommend(_USER, n=5).items]
    clicked = pipeline.recommend(_USER, n=5).items[0]
    pipeline.record_event(_USER, clicked.id)
    start = time.perf_counter()
    after = [item.title for item in pipeline.recommend(_USER, n=5).items]
    seconds = time.perf_counter() - start
    rows = [
        (position, old, Text(output.show_controls(new), "green") if new not in before else new)
        for position, (old, new) in enumerate(zip(before, after, strict=True), 1)
    ]
    output.print_table(
        f"After a click on {clicked.title} (recommended in {seconds * 1e3:.1f} ms)",
        ("", "before", "after"),
        rows,
        left=3,
    )
    output.console.print()
    return {"item": clicked.id, "title": clicked.title, "before": before, "after": after, "seconds": seconds}


def _find_command() -> str:
    """The command that starts this leanrec from the current folder: its environment may not be on the path."""
    here = Path(sys.argv[0])
    found = shutil.which("leanrec")
    if here.name != "leanrec" or (found is not None and Path(found).resolve() == here.resolve()):
        return "leanrec"
    return str(here.relative_to(Path.cwd())) if here.is_relative_to(Path.cwd()) else str(here)


def _print_next_steps(out: Path, seconds: float) -> None:
    _print_heading(f"Done in {seconds:.0f} s. Where to look next")
    leanrec, model = shlex.quote(_find_command()), shlex.quote(str(out / "model"))
    output.print_table(
        "",
        ("", ""),
        [
            ("Pareto page", f"{out}/frontier.html (open it in a browser)"),
            ("demo page", f"{leanrec} serve {model}"),
            ("another user", f"{leanrec} recommend {model} --user 42 -n 5"),
            ("a new user", f"{leanrec} recommend {model} --history 1,260 -n 5"),
            ("explanation", f"{leanrec} explain {model} --user 1 --item 260"),
            ("your own log", f"{leanrec} frontier my_log.csv --max-p99 5ms --max-memory 200MB"),
        ],
        left=2,
    )
