"""``leanrec demo``: once round the loop on MovieLens data that comes with leanrec."""

import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from leanrec.cli import output
from leanrec.cli.ingest import print_report
from leanrec.cli.recommend import print_served
from leanrec.cli.train import draw, frontier_table

if TYPE_CHECKING:
    from leanrec.data.dataset import Dataset
    from leanrec.data.ingest.ingest import Ingested
    from leanrec.evaluation.frontier.frontier import Frontier
    from leanrec.pipeline.pipeline import Pipeline
    from leanrec.pipeline.responses import Served

__all__ = ["run_demo"]

_USER = 1
# Both families, from the cheapest to the best, in sizes that fit under three minutes on two cores.
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


def run_demo(out: Path, *, serve: bool, port: int, as_json: bool = False) -> None:
    """Ingest, report, fit and compare, recommend, click, recommend again. Everything lands in ``out``.

    With ``as_json`` the tables stay away and one JSON document tells what came of it; a line with the address follows
    it where ``serve`` is asked for.
    """
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    with output.only_json(as_json):
        data, report = _step_data(out)
        found = _step_frontier(data, out)
        pipeline, listed = _step_recommend(data, found, out)
        click = _step_click(pipeline)
        seconds = time.perf_counter() - start
        _where_next(out, seconds)
    if as_json:
        told = {"data": report.to_dict(), "frontier": found.to_dict(), "recommended": listed.to_dict(), "click": click}
        output.print_json(told | {"out": out, "model": out / "model", "seconds": seconds})
    if serve:
        from leanrec.cli.recommend import when_ready
        from leanrec.serving.app import serve as run_server

        run_server(out / "model", port=port, ready=when_ready(out / "model") if as_json else None)


def _heading(text: str) -> None:
    output.console.rule(Text(text, "bold"), align="left")
    if output.console.quiet:
        output.tell(text)


def _step_data(out: Path) -> "Ingested":
    from leanrec.data.datasets.bundled import sample_path
    from leanrec.data.ingest.ingest import ingest
    from leanrec.evaluation.plots.figures import draw_data

    _heading("1. A behaviour log becomes a data set")
    folder = sample_path("ml-latest-small")
    ingested = ingest(folder / "ratings.parquet", items=folder / "movies.parquet", positive_from=3.5)
    print_report(ingested.report)
    output.say(f"Picture: {draw_data(out / 'data.png', ingested.data)}\n")
    return ingested


def _step_frontier(data: "Dataset", out: Path) -> "Frontier":
    from leanrec.evaluation.frontier.budget import Budget
    from leanrec.evaluation.frontier.frontier import frontier
    from leanrec.run import Run

    _heading("2. Every model: quality beside cost")
    output.say("Each model is fitted in a process of its own. This is the long step: a minute or two.")
    budget = Budget(max_p99="10ms", max_memory="1GB", max_fit="60s")
    found = frontier(data, models=_MODELS, budget=budget, split="ratio", run=Run(progress=output.console.is_terminal))
    frontier_table(found)
    for picture in draw(found, out):
        output.say(f"Picture: {picture}")
    output.console.print()
    return found


def _step_recommend(data: "Dataset", found: "Frontier", out: Path) -> "tuple[Pipeline, Served]":
    from leanrec.evaluation.plots.figures import draw_list
    from leanrec.models import get_model
    from leanrec.pipeline.pipeline import Pipeline

    best = found.best or found.closest
    name = "item_knn" if best is None else best.model
    _heading(f"3. Top five for user {_USER} from the best within the budget, {name}")
    estimator = get_model("item_knn")() if best is None else best.estimator
    pipeline = Pipeline.fit(estimator, data)  # type: ignore[arg-type]  # a measured row has its estimator
    pipeline.save(out / "model")
    liked = [past for past in pipeline.history(_USER) if (past.value or 0) >= 5][:5]
    output.table(f"User {_USER} gave five stars to, lately", ("title",), [(past.title,) for past in liked])
    served = pipeline.recommend(_USER, n=5)
    print_served(served, "Recommended")
    titles = [shown.title for shown in served.items]
    chart = draw_list(
        out / "top5.png", titles, [shown.score for shown in served.items], title=f"Top 5 for user {_USER}"
    )
    output.say(f"Chart: {chart}\n")
    return pipeline, served


def _step_click(pipeline: "Pipeline") -> dict[str, Any]:
    _heading("4. One click, and the next answer has changed")
    before = [shown.title for shown in pipeline.recommend(_USER, n=5).items]
    clicked = pipeline.recommend(_USER, n=5).items[0]
    pipeline.react(_USER, clicked.id)
    start = time.perf_counter()
    after = [shown.title for shown in pipeline.recommend(_USER, n=5).items]
    took = time.perf_counter() - start
    rows = [
        (place, old, Text(new, "green") if new not in before else new)
        for place, (old, new) in enumerate(zip(before, after, strict=True), 1)
    ]
    output.table(
        f"After a click on {clicked.title} (answered in {took * 1e3:.1f} ms)",
        ("", "before", "after"),
        rows,
        left=3,
    )
    output.console.print()
    return {"item": clicked.id, "title": clicked.title, "before": before, "after": after, "seconds": took}


def _command() -> str:
    """How this very leanrec is started from here: it may lie in an environment that is not on the path."""
    here = Path(sys.argv[0])
    found = shutil.which("leanrec")
    if here.name != "leanrec" or (found is not None and Path(found).resolve() == here.resolve()):
        return "leanrec"
    return str(here.relative_to(Path.cwd())) if here.is_relative_to(Path.cwd()) else str(here)


def _where_next(out: Path, seconds: float) -> None:
    _heading(f"Done in {seconds:.0f} s. Where to look next")
    leanrec = _command()
    output.table(
        "",
        ("", ""),
        [
            ("the Pareto page", f"{out}/frontier.html (open it in a browser)"),
            ("click yourself", f"{leanrec} serve {out}/model"),
            ("ask for anybody", f"{leanrec} recommend {out}/model --user 42 -n 5"),
            ("somebody new", f"{leanrec} recommend {out}/model --history 1,260 -n 5"),
            ("why", f"{leanrec} explain {out}/model --user 1 --item 260"),
            ("your own data", f"{leanrec} frontier my_log.csv --max-p99 5ms --max-memory 200MB"),
        ],
        left=2,
    )
