"""Commands that ask a fitted model: recommend, similar, explain, serve."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from leanrec.cli import show
from leanrec.cli.options import Json, conditions
from leanrec.errors import SettingError

if TYPE_CHECKING:
    from leanrec.serving.answers import Served

__all__ = ["explain", "print_served", "recommend", "serve", "similar"]

Model = Annotated[Path, typer.Argument(help="A folder that `leanrec fit --out` wrote.")]
User = Annotated[str | None, typer.Option("--user", "-u", help="The user's id, as in the data.")]
History = Annotated[
    list[str] | None,
    typer.Option(
        "--history", help="Ids of items somebody new has touched, oldest first; repeat or separate by commas."
    ),
]
Count = Annotated[int, typer.Option("-n", "--count", min=0, help="Length of the list.")]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", help="Only items with COLUMN=VALUE, or COLUMN=LOW..HIGH for numbers; repeatable."),
]


def _ids(texts: list[str] | None) -> list[str] | None:
    return None if texts is None else [each.strip() for text in texts for each in text.split(",") if each.strip()]


def print_served(served: "Served", title: str) -> None:
    """Print a list with titles, scores and reasons."""
    rows = [
        (place, shown.id, shown.title, f"{shown.score:.4g}", "; ".join(shown.reasons))
        for place, shown in enumerate(served.items, 1)
    ]
    show.table(title, ("", "id", "title", "score", "why"), rows, left=5)
    if served.fallback:
        show.tell(f"The model knows nothing of this asker, so the list comes from {served.fallback}.")
    if served.ignored:
        show.tell(f"Ids that are no items here were ignored: {', '.join(map(str, served.ignored))}.")
    if served.note:
        show.tell(served.note)


def _draw(served: "Served", plot: Path, title: str) -> None:
    from leanrec.evaluation.pictures import draw_list

    draw_list(plot, [shown.title for shown in served.items], [shown.score for shown in served.items], title=title)
    show.tell(f"Chart: {plot}")


def recommend(
    model: Model,
    user: User = None,
    history: History = None,
    count: Count = 10,
    where: Where = None,
    allow: Annotated[list[str] | None, typer.Option(help="Only these ids; repeat or separate by commas.")] = None,
    deny: Annotated[list[str] | None, typer.Option(help="None of these ids.")] = None,
    include_seen: Annotated[bool, typer.Option(help="Also items the asker has touched.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the list as a bar chart (.png).")] = None,
    as_json: Json = False,
) -> None:
    """The best items for a user, or for somebody new with a history."""
    from leanrec.serving.pipeline import Pipeline

    if user is None and history is None:
        raise SettingError("Say whom the list is for: --user ID, or --history ID,ID for somebody new.")
    if plot is not None:
        from leanrec.evaluation.pictures import require_plots

        require_plots()
    pipeline = Pipeline.load(model)
    served = pipeline.recommend(
        user,
        history=_ids(history),
        n=count,
        exclude_seen=not include_seen,
        allow=_ids(allow),
        deny=_ids(deny),
        where=conditions(where, pipeline.catalogue.table),
    )
    title = f"Top {len(served.items)} for {'this history' if user is None else f'user {user}'}"
    if as_json:
        show.print_json(served.to_dict())
    else:
        print_served(served, title)
    if plot is not None:
        _draw(served, plot, title)


def similar(
    model: Model,
    item: Annotated[str, typer.Option("--item", "-i", help="The item's id, as in the data.")],
    count: Count = 10,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """The items most like one."""
    from leanrec.serving.pipeline import Pipeline

    pipeline = Pipeline.load(model)
    served = pipeline.similar(item, count, where=conditions(where, pipeline.catalogue.table))
    if as_json:
        show.print_json(served.to_dict())
        return
    own = pipeline.own_item(item)
    print_served(served, f"Like {pipeline.catalogue.title(pipeline.catalogue.items.row(own))}")


def explain(
    model: Model,
    item: Annotated[str, typer.Option("--item", "-i", help="The item's id, as in the data.")],
    user: User = None,
    history: History = None,
    as_json: Json = False,
) -> None:
    """Why an item suits a user."""
    from leanrec.serving.pipeline import Pipeline

    if user is None and history is None:
        raise SettingError("Say whom to explain it to: --user ID, or --history ID,ID for somebody new.")
    why = Pipeline.load(model).explain(user, item, history=_ids(history))
    if as_json:
        show.print_json(why.to_dict())
        return
    show.say(Text(why.title, "bold"), f"({why.id})")
    for reason in why.reasons:
        show.say(f"  {reason}")
    if why.because:
        rows = [(each.title, each.id, f"{each.weight:.4g}") for each in why.because]
        show.table("What in the history speaks for it", ("title", "id", "adds"), rows, left=2)
    if why.features:
        show.say(f"Shared content: {', '.join(why.features)}")


def serve(
    model: Model,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 = a free one.")] = 8000,
    log: Annotated[
        Path | None, typer.Option(help="The event log (SQLite); default: beside the model, with the ending .events.db.")
    ] = None,
) -> None:
    """Answer over HTTP, take events in, and show a page to try it."""
    from leanrec.serving.app import serve as run_server

    run_server(model, host=host, port=port, log_path=log)
