"""Commands that ask a fitted model: recommend, similar, explain, serve."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from leanrec.cli import output
from leanrec.cli.options import Json, conditions
from leanrec.errors import LeanrecError, SettingError

if TYPE_CHECKING:
    from leanrec.pipeline.pipeline import Pipeline
    from leanrec.pipeline.responses import Served

__all__ = ["explain", "print_served", "recommend", "serve", "similar", "when_ready"]

Model = Annotated[Path, typer.Argument(help="A folder that `leanrec fit --out` wrote.")]
User = Annotated[str | None, typer.Option("--user", "-u", help="The user's id, as in the data.")]
History = Annotated[
    list[str] | None,
    typer.Option(
        "--history",
        help="Ids of items somebody new has touched, oldest first; repeat or separate by commas. An id that holds a "
        "comma stands alone, or in double quotes.",
    ),
]
Log = Annotated[
    Path | None,
    typer.Option(
        help="An event log of a server, whose events count too; default: the one beside the model, if there is one."
    ),
]
Count = Annotated[int, typer.Option("-n", "--count", min=0, help="Length of the list.")]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", help="Only items with COLUMN=VALUE, or COLUMN=LOW..HIGH for numbers; repeatable."),
]


def _ids(texts: list[str] | None, pipeline: "Pipeline") -> list[str] | None:
    """The ids of a repeatable flag: a text that is an item's id as it is, any other one cut at its commas."""
    if texts is None:
        return None
    known = pipeline.catalogue.items
    parts = [[text] if text in known else next(csv.reader([text], skipinitialspace=True), []) for text in texts]
    return [each.strip() for part in parts for each in part if each.strip()]


def _opened(model: Path, log: Path | None) -> "Pipeline":
    """The pipeline with the events of a log: of the one named, or of the one beside the model, and that is said."""
    from leanrec.events.reader import LogReader
    from leanrec.pipeline.pipeline import Pipeline
    from leanrec.pipeline.replay import attach, log_beside

    pipeline = Pipeline.load(model)
    path = log_beside(model) if log is None else log
    if log is None and not path.exists():
        return pipeline
    try:
        replayed = attach(pipeline, LogReader(path))
    except LeanrecError as error:
        if log is not None:
            raise
        output.tell(f"Without the log beside the model. {error}")
        return pipeline
    output.tell(
        f"With the log {path}: {replayed.reflected} events and {replayed.items} items that the fit did not see."
    )
    for note in replayed.notes():
        output.tell(note)
    return pipeline


def print_served(served: "Served", title: str) -> None:
    """Print a list with titles, scores and reasons."""
    rows = [
        (place, shown.id, shown.title, f"{shown.score:.4g}", "; ".join(shown.reasons))
        for place, shown in enumerate(served.items, 1)
    ]
    output.table(title, ("", "id", "title", "score", "why"), rows, left=5)
    if served.fallback:
        output.tell(f"The model knows nothing of this asker, so the list comes from {served.fallback}.")
    if served.ignored:
        output.tell(f"Ids that are no items here were ignored: {', '.join(map(str, served.ignored))}.")
    if served.note:
        output.tell(served.note)


def _draw(served: "Served", plot: Path, title: str) -> None:
    from leanrec.evaluation.plots.figures import draw_list

    draw_list(plot, [shown.title for shown in served.items], [shown.score for shown in served.items], title=title)
    output.tell(f"Chart: {plot}")


def recommend(
    model: Model,
    user: User = None,
    history: History = None,
    count: Count = 10,
    where: Where = None,
    allow: Annotated[list[str] | None, typer.Option(help="Only these ids, written as for --history.")] = None,
    deny: Annotated[list[str] | None, typer.Option(help="None of these ids, written as for --history.")] = None,
    include_seen: Annotated[bool, typer.Option(help="Also items the asker has touched.")] = False,
    log: Log = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the list as a bar chart (.png).")] = None,
    as_json: Json = False,
) -> None:
    """The best items for a user, or for somebody new with a history."""
    if user is None and history is None:
        raise SettingError("Say whom the list is for: --user ID, or --history ID,ID for somebody new.")
    if plot is not None:
        from leanrec.evaluation.plots.figures import require_plots

        require_plots()
    pipeline = _opened(model, log)
    served = pipeline.recommend(
        user,
        history=_ids(history, pipeline),
        n=count,
        exclude_seen=not include_seen,
        allow=_ids(allow, pipeline),
        deny=_ids(deny, pipeline),
        where=conditions(where, pipeline.catalogue.table),
    )
    title = f"Top {len(served.items)} for {'this history' if user is None else f'user {user}'}"
    if as_json:
        output.print_json(served.to_dict())
    else:
        print_served(served, title)
    if plot is not None:
        _draw(served, plot, title)


def similar(
    model: Model,
    item: Annotated[str, typer.Option("--item", "-i", help="The item's id, as in the data.")],
    count: Count = 10,
    where: Where = None,
    log: Log = None,
    as_json: Json = False,
) -> None:
    """The items most like one."""
    pipeline = _opened(model, log)
    served = pipeline.similar(item, count, where=conditions(where, pipeline.catalogue.table))
    if as_json:
        output.print_json(served.to_dict())
        return
    own = pipeline.own_item(item)
    print_served(served, f"Like {pipeline.catalogue.title(pipeline.catalogue.items.row(own))}")


def explain(
    model: Model,
    item: Annotated[str, typer.Option("--item", "-i", help="The item's id, as in the data.")],
    user: User = None,
    history: History = None,
    log: Log = None,
    as_json: Json = False,
) -> None:
    """Why an item suits a user."""
    if user is None and history is None:
        raise SettingError("Say whom to explain it to: --user ID, or --history ID,ID for somebody new.")
    pipeline = _opened(model, log)
    why = pipeline.explain(user, item, history=_ids(history, pipeline))
    if as_json:
        output.print_json(why.to_dict())
        return
    output.say(Text(why.title, "bold"), f"({why.id})")
    for reason in why.reasons:
        output.say(f"  {reason}")
    if why.because:
        rows = [(each.title, each.id, f"{each.weight:.4g}") for each in why.because]
        output.table("What in the history speaks for it", ("title", "id", "adds"), rows, left=2)
    for path in why.paths:
        output.say(f"  {path}")
    if why.features and not why.paths:
        output.say(f"Shared content: {', '.join(why.features)}")


def when_ready(model: Path) -> Callable[[str, Path], None]:
    """What tells a program, in one line of JSON, that a model is served."""
    return lambda url, log: output.print_line({"url": url, "model": model, "log": log})


def serve(
    model: Model,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 = a free one.")] = 8000,
    log: Annotated[
        Path | None, typer.Option(help="The event log (SQLite); default: beside the model, with the ending .events.db.")
    ] = None,
    adopt_log: Annotated[
        bool,
        typer.Option(
            "--adopt-log", help="Take over a log of other data, whose ids mean the same people and the same items."
        ),
    ] = False,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            help="A kind of event to take besides those of the data; repeatable. Default: view, click, like, cart, "
            "purchase, rating, skip.",
        ),
    ] = None,
    keep_lists: Annotated[
        int, typer.Option(min=0, help="Served lists to keep in the log; the oldest go first.")
    ] = 1_000_000,
    keep_days: Annotated[float, typer.Option(help="Days after which a served list goes from the log.")] = 90,
    as_json: Annotated[
        bool, typer.Option("--json", help="Once requests are answered print one line of JSON: url, model and log.")
    ] = False,
) -> None:
    """Answer over HTTP, take events in, and show a page to try it."""
    from leanrec.events.event_log import Keep
    from leanrec.serving.app import Serving
    from leanrec.serving.app import serve as run_server

    keep = Keep(keep_lists, keep_days)
    serving = Serving(adopt_log=adopt_log, keep=keep) if kind is None else Serving(tuple(kind), adopt_log, keep)
    ready = when_ready(model) if as_json else None
    run_server(model, host=host, port=port, log_path=log, serving=serving, ready=ready)
