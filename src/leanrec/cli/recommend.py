"""``leanrec recommend``, ``similar`` and ``explain``: recommendations of a fitted model."""

import csv
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from leanrec.cli import output
from leanrec.cli.options import Json, RunOptions, parse_conditions, with_options
from leanrec.errors import LeanrecError, SettingError

if TYPE_CHECKING:
    from leanrec.pipeline.lists.batch import BatchResult
    from leanrec.pipeline.pipeline import Pipeline
    from leanrec.pipeline.responses import Recommendations

__all__ = ["Model", "explain", "print_recommendations", "recommend", "similar"]

Model = Annotated[Path, typer.Argument(help="Folder of a model fitted by `leanrec fit --out`, or of its versions.")]
User = Annotated[str | None, typer.Option("--user", "-u", help="The user's id, as in the data.")]
History = Annotated[
    list[str] | None,
    typer.Option(
        "--history",
        help="Item ids that a new user interacted with, oldest first; repeat the option or separate ids by commas. Give an id "
        "that contains a comma alone, or in double quotes.",
    ),
]
EventLog = Annotated[
    str | None,
    typer.Option(
        help="Event log of a server (file or URL), whose events are added. Default: the log beside the model, if it exists."
    ),
]
ListLength = Annotated[int, typer.Option("-n", "--n-items", min=0, help="Number of items to recommend.")]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", help="Only items with COLUMN=VALUE, or COLUMN=LOW..HIGH for numbers; repeatable."),
]


def _parse_ids(texts: list[str] | None, pipeline: "Pipeline") -> list[str] | None:
    """Item ids of a repeatable flag. A text that is itself an item's id stays whole; any other is split at its commas."""
    if texts is None:
        return None
    known = pipeline.catalog.items
    parts = [[text] if text in known else next(csv.reader([text], skipinitialspace=True), []) for text in texts]
    return [each.strip() for part in parts for each in part if each.strip()]


def _load_pipeline(model: Path, event_log: str | None) -> "Pipeline":
    """Load a pipeline and replay an event log: the one given, or else the one beside the model."""
    from leanrec.events.locations import open_reader
    from leanrec.online.version_store import find_pipeline_path
    from leanrec.pipeline.pipeline import Pipeline
    from leanrec.pipeline.replay import bind_log, default_log_path

    pipeline = Pipeline.load(find_pipeline_path(model))
    location = default_log_path(model) if event_log is None else event_log
    if isinstance(location, Path) and not location.exists():
        return pipeline
    try:
        log = open_reader(location)
        replayed = bind_log(pipeline, log)
    except LeanrecError as error:
        if event_log is not None:
            raise
        output.print_note(f"The event log beside the model was not used. {error}")
        return pipeline
    output.print_note(
        f"With the event log {log.name}: {replayed.applied} events and {replayed.n_items} items added since the fit."
    )
    for note in replayed.warnings():
        output.print_note(note)
    return pipeline


def print_recommendations(recommended: "Recommendations", title: str) -> None:
    """Print a recommendation list with titles, scores and reasons."""
    rows = [
        (position, item.id, item.title, f"{item.score:.4g}", "; ".join(item.reasons))
        for position, item in enumerate(recommended.items, 1)
    ]
    output.print_table(title, ("", "id", "title", "score", "why"), rows, left=5)
    if recommended.fallback:
        output.print_note(
            f"The model cannot score this user without a history, so the list comes from {recommended.fallback}."
        )
    if recommended.ignored:
        output.print_note(f"Unknown item ids were ignored: {', '.join(map(str, recommended.ignored))}.")
    if recommended.note:
        output.print_note(recommended.note)


@with_options(RunOptions)
def recommend(
    model: Model,
    user: User = None,
    history: History = None,
    n_items: ListLength = 10,
    where: Where = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="Recommend only these item ids, written as for --history.")
    ] = None,
    deny: Annotated[
        list[str] | None, typer.Option(help="Recommend none of these item ids, written as for --history.")
    ] = None,
    include_seen: Annotated[bool, typer.Option(help="Also recommend items that the user interacted with.")] = False,
    event_log: EventLog = None,
    plot: Annotated[Path | None, typer.Option(help="Plot the scores as a bar chart (.png).")] = None,
    all_users: Annotated[
        bool, typer.Option("--all-users", help="Write the lists of all users to the file of --out.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="With --all-users: the file for the lists, .parquet or .csv."),
    ] = None,
    as_json: Json = False,
    *,
    run: RunOptions,
) -> None:
    """Recommend items to a user, to a new user with a history, or to all users."""
    from leanrec.evaluation.plots.figures import draw_recommendations, require_plots

    _check_recipients(user, history, plot, out, all_users=all_users)
    if plot is not None:
        require_plots()
    pipeline = _load_pipeline(model, event_log)
    rules: dict[str, Any] = {
        "n": n_items,
        "exclude_seen": not include_seen,
        "allow": _parse_ids(allow, pipeline),
        "deny": _parse_ids(deny, pipeline),
        "where": parse_conditions(where, pipeline.catalog.table),
    }
    if out is not None:
        _print_batch(pipeline.recommend_all(out, **rules, run=run.to_run()), as_json=as_json)
        return
    recommended = pipeline.recommend(user, history=_parse_ids(history, pipeline), **rules)
    title = f"Top {len(recommended.items)} for {'this history' if user is None else f'user {user}'}"
    if as_json:
        output.print_json(recommended.to_dict())
    else:
        print_recommendations(recommended, title)
    if plot is not None:
        titles, scores = [item.title for item in recommended.items], [item.score for item in recommended.items]
        output.print_note(f"Plot: {draw_recommendations(plot, titles, scores, title=title)}")


def _check_recipients(
    user: str | None, history: list[str] | None, plot: Path | None, out: Path | None, *, all_users: bool
) -> None:
    """Raise SettingError unless the flags name one user, one history, or all users and a file."""
    if all_users and (user is not None or history is not None or plot is not None):
        raise SettingError("--all-users writes the lists of all users: leave out --user, --history and --plot.")
    if all_users and out is None:
        raise SettingError("--all-users needs a file for the lists: --out lists.parquet, or --out lists.csv.")
    if out is not None and not all_users:
        raise SettingError("--out goes with --all-users. For one user, --json prints the list.")
    if not all_users and user is None and history is None:
        raise SettingError(
            "A user or a history is needed: --user ID, or --history ID,ID for a new user. For all users: --all-users --out FILE."
        )
    if out is not None:
        from leanrec.pipeline.lists.batch import check_list_path

        check_list_path(out)


def _print_batch(written: "BatchResult", *, as_json: bool) -> None:
    if as_json:
        output.print_json(asdict(written))
        return
    output.print_line(f"{written.rows:,} recommendations for {written.users:,} users in {written.path}")
    if written.from_fallback:
        output.print_note(
            f"{written.from_fallback:,} of these users have no usable history; their lists come from the fallback."
        )
    if written.without_list:
        output.print_note(f"{written.without_list:,} users have no list: no other item may be shown to them.")


def similar(
    model: Model,
    item: Annotated[str, typer.Option("--item", "-i", help="The item's id, as in the data.")],
    n_items: ListLength = 10,
    where: Where = None,
    event_log: EventLog = None,
    as_json: Json = False,
) -> None:
    """Find the items most similar to an item."""
    pipeline = _load_pipeline(model, event_log)
    recommended = pipeline.similar_items(item, n_items, where=parse_conditions(where, pipeline.catalog.table))
    if as_json:
        output.print_json(recommended.to_dict())
        return
    row = pipeline.catalog.items.row(pipeline.external_item_id(item))
    print_recommendations(recommended, f"Similar to {pipeline.catalog.title(row)}")


def explain(
    model: Model,
    item: Annotated[str, typer.Option("--item", "-i", help="The item's id, as in the data.")],
    user: User = None,
    history: History = None,
    event_log: EventLog = None,
    as_json: Json = False,
) -> None:
    """Explain why an item is recommended to a user."""
    if user is None and history is None:
        raise SettingError("A user or a history is needed: --user ID, or --history ID,ID for a new user.")
    pipeline = _load_pipeline(model, event_log)
    explanation = pipeline.explain(user, item, history=_parse_ids(history, pipeline))
    if as_json:
        output.print_json(explanation.to_dict())
        return
    output.print_line(Text(output.show_controls(explanation.title), "bold"), f"({explanation.id})")
    for reason in explanation.reasons:
        output.print_line(f"  {reason}")
    if explanation.contributions:
        rows = [(each.title, each.id, f"{each.weight:.4g}") for each in explanation.contributions]
        output.print_table("Contributions of the history", ("title", "id", "contribution"), rows, left=2)
    for path in explanation.paths:
        output.print_line(f"  {path}")
    if explanation.features and not explanation.paths:
        output.print_line(f"Shared content: {', '.join(explanation.features)}")
