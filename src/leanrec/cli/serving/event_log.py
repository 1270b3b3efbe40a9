"""``leanrec log`` and ``leanrec forget``: check and back up an event log, and delete a user from it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leanrec.cli import output
from leanrec.cli.options import Json
from leanrec.cli.recommend import Model
from leanrec.errors import SettingError, SourceError

if TYPE_CHECKING:
    from leanrec.events.records import LogSummary

__all__ = ["forget", "log"]

Log = Annotated[
    str, typer.Argument(help="The event log of a server, such as model.events.db or postgresql://USER@HOST/DATABASE.")
]

log = typer.Typer(help="Check and back up the event log of a server.", no_args_is_help=True)


@log.command("check")
def check(event_log: Log, as_json: Json = False) -> None:
    """Read every row of an event log and compare its checksum. A server may be writing to it."""
    from leanrec.events.locations import open_reader

    reader = open_reader(event_log)
    _print_summary(f"{reader.name} is whole", reader.verify(), as_json=as_json)


@log.command("backup")
def back_up(event_log: Log, file: Annotated[str, typer.Argument(help="The new file.")], as_json: Json = False) -> None:
    """Copy an event log to a new SQLite file, and verify the copy. A server may be writing to it."""
    from leanrec.events.locations import hide_password, is_url, open_reader

    if is_url(file):
        raise SettingError(
            f"FILE must be the path of a new SQLite file. Got {hide_password(file)}. A log is not copied into a database: fit the "
            "model with it (fit --event-log), and serve what was fitted with the URL of a database without a log."
        )
    _print_summary(f"{file} is a whole copy", open_reader(event_log).back_up(file), as_json=as_json)


def _print_summary(what: str, summary: "LogSummary", *, as_json: bool) -> None:
    if as_json:
        output.print_json(vars(summary))
        return
    output.print_line(
        f"{what}: {summary.events:,} events (the last has number {summary.last_seq:,}), {summary.served_lists:,} served "
        f"lists, {summary.items:,} added items, {summary.forgotten_users:,} forgotten users. Format {summary.format_version}."
    )


def forget(
    model: Model,
    user: Annotated[str, typer.Option("--user", "-u", help="The id of the user.")],
    event_log: Annotated[
        str | None,
        typer.Option(help="Event log of the server (file or URL). Default: the log beside the model, if it exists."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Forget a user, in the event log and the model of a server that is stopped. A running one does it by DELETE /users/ID.

    With an event log in a database the servers may run: all of them forget the user.
    """
    from leanrec.events.locations import open_store, parse_location
    from leanrec.online.version_store import find_pipeline_path, is_version_store
    from leanrec.pipeline.pipeline import Pipeline
    from leanrec.pipeline.replay import default_log_path

    pipeline = Pipeline.load(find_pipeline_path(model))
    location = default_log_path(model) if event_log is None else parse_location(event_log)
    is_there = not isinstance(location, Path) or location.exists()
    if event_log is not None and not is_there:
        raise SourceError(f"{location} must be an event log. There is no such file. Check the path.")
    n_events, name = None, ""
    if is_there:
        with open_store(location) as store:
            n_events, name = store.forget_user(user).n_events, store.name
    was_known = pipeline.forget_user(user)
    is_replaced = was_known and not is_version_store(model)
    if is_replaced:
        pipeline.save(model)
    if as_json:
        output.print_json({"events": n_events, "was_in_model": was_known, "model_replaced": is_replaced})
        return
    if n_events is not None:
        output.print_line(f"Deleted {n_events} events of the user from {name}.")
    if is_replaced:
        output.print_line(f"{model} was written again without the user.")
    elif was_known:
        output.print_note(
            "The versions of the store are never changed, so those fitted before have the id until they are removed. Fit "
            "with the log, promote the new version, and remove the others: leanrec versions clean --keep 1."
        )
    elif n_events is None:
        output.print_line("The model has no such user, and there is no event log beside it.")
    if was_known:
        output.print_note("What the user's events contributed to the fitted model remains until the next fit.")
