"""``leanrec simulate``: write a log of simulated behavior."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from leanrec.cli import output
from leanrec.cli.options import Json, RunOptions, parse_pairs, with_options
from leanrec.settings import parse_settings
from leanrec.units import format_bytes, format_seconds

__all__ = ["simulate"]


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
    output.print_note(f"Next: leanrec frontier {path}")
