"""``leanrec ingest`` and ``leanrec simulate``: read, clean and report a log, or write a simulated one."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from leanrec.cli import output
from leanrec.cli.messages import to_flags
from leanrec.cli.options import ColumnsNote, DataOptions, Json, RunOptions, Sources, parse_pairs, with_options
from leanrec.data.ingest.report import DataReport
from leanrec.settings import parse_settings
from leanrec.units import format_bytes, format_seconds

__all__ = ["ingest", "print_report", "simulate"]


@with_options(DataOptions, RunOptions)
def ingest(
    source: Sources,
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder to save the data set to.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Plot the data set (.png).")] = None,
    as_json: Json = False,
    data: DataOptions,
    run: RunOptions,
) -> None:
    """Read, check and clean a log, and report its contents and the rejected rows."""
    from leanrec.data.ingest.ingest import ingest as ingest_log

    if plot is not None:
        from leanrec.evaluation.plots.figures import draw_dataset, require_plots

        require_plots()
    conditions = run.to_run()
    if not as_json:
        conditions = replace(conditions, callbacks=(*conditions.callbacks, ColumnsNote()))
    ingested = ingest_log(**data.to_ingest_arguments(source), out=out, run=conditions)
    if as_json:
        output.print_json(ingested.report.to_dict())
    else:
        print_report(ingested.report)
    if plot is not None:
        output.print_note(f"Plot: {draw_dataset(plot, ingested.data)}")
    if out is not None:
        output.print_note(f"Saved to {out}. Next: {output.format_command('frontier', out)}")


def print_report(report: DataReport) -> None:
    """Print a data report: columns and their roles, counts, the long tail, and rejected rows."""
    output.print_table(f"Data report: {report.source}", ("", ""), _list_facts(report), left=2)
    if any(report.ratings):
        most = max(report.ratings.values())
        bars = [f"{value} {_sparkline([n, most])[0]} {n:,}" for value, n in report.ratings.items()]
        output.print_line(f"Ratings    {'  '.join(bars)}")
    if any(report.activity):
        days = list(report.activity)
        output.print_line(f"Activity   {_sparkline(list(report.activity.values()))}  {days[0]} … {days[-1]}")
    rejected = {f"log: {reason}": n for reason, n in report.rejected.items()} | {
        f"tables: {reason}": n for reason, n in report.rejected_in_tables.items()
    }
    if rejected:
        output.print_table("Rejected rows", ("reason", "rows"), [(reason, f"{n:,}") for reason, n in rejected.items()])
    for warning in report.warnings:
        output.print_line(Text("note", "yellow"), to_flags(warning))


def _format_rating_range(report: DataReport) -> str:
    low, high = report.rating_range or (0.0, 0.0)
    outside = report.rejected.get("rating outside the range", 0)
    how = "inferred from the ratings" if report.rating_range_inferred else "as given"
    return f"{low:g} to {high:g}, {how}; {outside:,} {'row' if outside == 1 else 'rows'} outside"


def _list_facts(report: DataReport) -> list[tuple[str, str]]:
    roles = "; ".join(
        f"{table}: {', '.join(f'{role}={column}' for role, column in columns.items())}"
        for table, columns in report.columns.items()
    )
    span = (
        f"{report.start} to {report.end} ({report.days:,.0f} days)"
        if report.days is not None
        else "no times: events have an order only"
    )
    event_types = ", ".join(
        f"{name} {facts['events']:,.0f} (weight {facts['weight']:g})" for name, facts in report.event_types.items()
    )
    tail = ", ".join(f"top {share} of items: {report.top_share[share]:.0%}" for share in ("1%", "10%", "20%"))
    user, item = report.events_per_user, report.events_per_item
    return [
        ("columns", roles),
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
            f"{report.items:,}, {report.items_with_events:,} with 1 to {item['max']:g} events (median {item['median']:g})",
        ),
        ("density", f"{report.density:.4%}"),
        ("span", span),
        ("event types", event_types),
        ("long tail", f"{tail} of the events; Gini {report.gini:.2f}"),
        *([("item columns", ", ".join(report.item_columns))] if report.item_columns else []),
        *([("user columns", ", ".join(report.user_columns))] if report.user_columns else []),
        *([("", "models that use them: leanrec models --reads users")] if report.user_columns else []),
        *([("ratings", _format_rating_range(report))] if report.rating_range is not None else []),
        ("memory", f"{report.memory.get('plan', 'not measured')}"),
        *([("rejected rows", report.quarantine)] if report.quarantine else []),
    ]


def _sparkline(values: list[int]) -> str:
    highest = max(values, default=0) or 1
    return "".join(" ▁▂▃▄▅▆▇█"[-(-8 * value // highest)] for value in values)


@with_options(RunOptions)
def simulate(
    out: Annotated[Path, typer.Argument(help="File for the log: .csv, or Parquet for any other name.")],
    *,
    n_users: Annotated[int, typer.Option(help="Number of users.")] = 10_000,
    n_items: Annotated[int, typer.Option(help="Number of items.")] = 5_000,
    n_events: Annotated[int, typer.Option(help="Number of events.")] = 500_000,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the simulation, NAME=VALUE, e.g. drift=0.5; repeatable."),
    ] = None,
    as_json: Json = False,
    run: RunOptions,
) -> None:
    """Write a log of simulated behavior with a long tail and drifting interests, as large as the disk allows."""
    from leanrec.data.datasets.simulation import Simulation
    from leanrec.run import measure

    sizes = {"users": str(n_users), "items": str(n_items), "events": str(n_events)}
    simulation = parse_settings(Simulation, sizes | parse_pairs(settings or (), "--set"))
    with measure() as meter:
        path = simulation.write(out, run.to_run())
    size = path.stat().st_size
    if as_json:
        output.print_json({"out": path, "bytes": size, "cost": asdict(meter.cost), "settings": asdict(simulation)})
        return
    output.print_line(
        f"{n_events:,} events of {n_users:,} users and {n_items:,} items in {path} ({format_bytes(size)})"
    )
    output.print_line(f"  {format_seconds(meter.cost.wall)} wall time, {format_bytes(meter.cost.peak)} peak memory")
    output.print_note(f"Next: {output.format_command('frontier', path)}")
