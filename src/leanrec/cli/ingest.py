"""``leanrec ingest``: a log becomes a data set, with a report; ``leanrec simulate``: a log that has a known truth."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from leanrec.cli import output
from leanrec.cli.options import DataOptions, Json, RunOptions, Sources, gather, pairs
from leanrec.data.ingest.report import DataReport
from leanrec.run import format_bytes, format_seconds
from leanrec.settings import build

__all__ = ["ingest", "print_report", "simulate"]


@gather(DataOptions, RunOptions)
def ingest(
    source: Sources,
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder to save the data set to.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the data set (.png).")] = None,
    as_json: Json = False,
    data: DataOptions,
    run: RunOptions,
) -> None:
    """Read, check and clean a log, and report what it holds and what was set aside."""
    from leanrec.data.ingest.ingest import ingest as read
    from leanrec.evaluation.plots.figures import draw_data, require_plots

    if picture is not None:
        require_plots()
    ingested = read(**data.arguments(source), out=out, run=run.run())
    if as_json:
        output.print_json(ingested.report.to_dict())
    else:
        print_report(ingested.report)
    if picture is not None:
        output.tell(f"Picture: {draw_data(picture, ingested.data)}")
    if out is not None:
        output.tell(f"Saved to {out}. Next: leanrec frontier {out}")


@gather(RunOptions)
def simulate(
    out: Annotated[Path, typer.Argument(help="File for the log: .csv, or Parquet for any other name.")],
    *,
    users: Annotated[int, typer.Option(help="How many users.")] = 10_000,
    items: Annotated[int, typer.Option(help="How many items.")] = 5_000,
    events: Annotated[int, typer.Option(help="How many events, exactly.")] = 500_000,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the simulation, NAME=VALUE, e.g. drift=0.5; repeatable."),
    ] = None,
    as_json: Json = False,
    run: RunOptions,
) -> None:
    """Make a log of simulated behaviour: long tails, interests that may drift, and as large as the disk allows."""
    from leanrec.data.datasets.simulation import Simulation
    from leanrec.run import measure

    sizes = {"users": str(users), "items": str(items), "events": str(events)}
    simulation = build(Simulation, sizes | pairs(settings or (), "--set"))
    with measure() as meter:
        path = simulation.write(out, run.run())
    size = path.stat().st_size
    if as_json:
        output.print_json({"out": path, "bytes": size, "cost": asdict(meter.cost), "settings": asdict(simulation)})
        return
    output.say(f"{events:,} events of {users:,} users and {items:,} items in {path} ({format_bytes(size)})")
    output.say(
        f"  {format_seconds(meter.cost.wall)} by the clock, {format_bytes(meter.cost.peak)} of memory at the peak"
    )
    output.tell(f"Next: leanrec frontier {path}")


def print_report(report: DataReport) -> None:
    """Print a data report: what was understood, counts, the long tail, and what was set aside."""
    output.table(f"Data report: {report.source}", ("", ""), _facts(report), left=2)
    if any(report.ratings):
        output.say(f"Ratings    {_bars(report.ratings)}")
    if any(report.activity):
        days = list(report.activity)
        output.say(f"Activity   {_spark(list(report.activity.values()))}  {days[0]} … {days[-1]}")
    aside = {f"log: {why}": n for why, n in report.set_aside.items()} | {
        f"tables: {why}": n for why, n in report.tables_set_aside.items()
    }
    if aside:
        output.table("Set aside", ("reason", "rows"), [(why, f"{n:,}") for why, n in aside.items()])
    for warning in report.warnings:
        output.say(Text("note", "yellow"), warning)


def _ratings(report: DataReport) -> str:
    low, high = report.rating_range or (0.0, 0.0)
    outside = report.set_aside.get("rating outside the range", 0)
    how = "inferred from the ratings" if report.rating_range_inferred else "as given"
    return f"{low:g} to {high:g}, {how}; {outside:,} {'row' if outside == 1 else 'rows'} outside"


def _facts(report: DataReport) -> list[tuple[str, str]]:
    understood = "; ".join(
        f"{table}: {', '.join(f'{role}={column}' for role, column in roles.items())}"
        for table, roles in report.columns.items()
    )
    span = (
        f"{report.start} to {report.end} ({report.days:,.0f} days)"
        if report.days is not None
        else "no clock: events have an order only"
    )
    kinds = ", ".join(
        f"{kind} {facts['events']:,.0f} (weight {facts['weight']:g})" for kind, facts in report.kinds.items()
    )
    tail = ", ".join(f"top {share} of items: {report.top_share[share]:.0%}" for share in ("1%", "10%", "20%"))
    user, item = report.events_per_user, report.events_per_item
    return [
        ("understood", understood),
        (
            "rows",
            f"{report.rows_read:,} read, {report.events:,} events kept in {format_seconds(report.seconds)}",
        ),
        (
            "users",
            f"{report.users:,}, with {user['min']:g} to {user['max']:g} events (median {user['median']:g})",
        ),
        (
            "items",
            f"{report.items:,}, {report.items_touched:,} with 1 to {item['max']:g} events (median {item['median']:g})",
        ),
        ("density", f"{report.density:.4%}"),
        ("span", span),
        ("kinds", kinds),
        ("long tail", f"{tail} of the events; Gini {report.gini:.2f}"),
        *([("item columns", ", ".join(report.item_columns))] if report.item_columns else []),
        *([("user columns", ", ".join(report.user_columns))] if report.user_columns else []),
        *([("", "models that read them: leanrec models --reads users")] if report.user_columns else []),
        *([("ratings", _ratings(report))] if report.rating_range is not None else []),
        ("memory", f"{report.memory.get('plan', 'not measured')}"),
        *([("quarantine", report.quarantine)] if report.quarantine else []),
    ]


def _bars(counts: Mapping[str, int]) -> str:
    return "  ".join(f"{value} {_spark([n, max(counts.values())])[0]} {n:,}" for value, n in counts.items())


def _spark(values: list[int]) -> str:
    highest = max(values, default=0) or 1
    return "".join(" ▁▂▃▄▅▆▇█"[-(-8 * value // highest)] for value in values)
