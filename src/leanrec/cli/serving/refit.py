"""``leanrec refit``: fit the served version again on its log, and propose what comes out if it is better."""

import dataclasses
import os
from pathlib import Path
from typing import Annotated

import typer

from leanrec.cli import output
from leanrec.cli.options import Json, TrainOptions, with_options

__all__ = ["refit"]


@with_options(TrainOptions)
def refit(
    store: Annotated[Path, typer.Argument(help="Folder of the versions; `leanrec versions add` creates it.")],
    *,
    event_log: Annotated[
        str | None,
        typer.Option(
            help="Event log of the server (file or URL). Default: beside the store, with the ending .events.db."
        ),
    ] = None,
    metric: Annotated[str, typer.Option(help="What the verdict is about, with its cut-off.")] = "ndcg@10",
    judged_share: Annotated[
        float, typer.Option(help="Share of the new events, the newest, that the refit is judged on and not fitted on.")
    ] = 0.2,
    min_users: Annotated[int, typer.Option(help="Users to judge by; with fewer, nothing is fitted.")] = 100,
    learning_events: Annotated[
        int, typer.Option(help="New events from which on nothing more is learned from a user.")
    ] = 1_000,
    cooldown: Annotated[
        float, typer.Option(help="Hours from the start of one refit to that of the next; 0 = no pause.")
    ] = 6.0,
    level: Annotated[float, typer.Option(help="Level of the intervals of the verdict.")] = 0.95,
    cold: Annotated[
        bool, typer.Option("--cold", help="Fit from the start, also where the model can go on from the served one.")
    ] = False,
    on_drift: Annotated[
        bool,
        typer.Option("--on-drift", help="Fit only if people respond to fewer of the lists than they did at first."),
    ] = False,
    niceness: Annotated[
        int, typer.Option(min=0, max=19, help="How far the server and other programs come first, from 0 to 19.")
    ] = 10,
    as_json: Json = False,
    train: TrainOptions,
) -> None:
    """Fit the served version again on its log, judge it on the newest events, and add it as a version if it is clearly better.

    Nothing is promoted: try the new version, or promote it. Start this command now and then, such as from cron.
    """
    from leanrec.events.locations import open_reader
    from leanrec.online import RefitSettings, VersionStore
    from leanrec.online import refit as refit_current
    from leanrec.pipeline.replay import default_log_path

    settings = RefitSettings(metric, judged_share, min_users, learning_events, cooldown, level, not cold, on_drift)
    opened = VersionStore(store)
    if niceness and hasattr(os, "nice"):
        os.nice(niceness)
    log = open_reader(default_log_path(store) if event_log is None else event_log)
    result = refit_current(opened, log, settings, train.to_run())
    if as_json:
        output.print_json(
            {
                "outcome": result.outcome,
                "reason": result.reason,
                "against": result.against,
                "version": None if result.version is None else result.version.id,
                "judgment": None if result.judgment is None else result.judgment.to_dict(),
                "attempt": None if result.attempt is None else dataclasses.asdict(result.attempt),
            }
        )
        return
    if result.version is None:
        output.print_line(f"Nothing was proposed ({result.outcome}): {result.reason}")
        return
    output.print_line(f"Proposed {result.version.id} in place of {result.against}: {result.reason}")
    for what, words in (("Try it on some users", "try"), ("Serve it to all", "promote")):
        output.print_note(f"{what}: {output.format_command('versions', words, store, result.version.id)}")
