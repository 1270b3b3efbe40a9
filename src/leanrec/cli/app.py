"""The commands of ``leanrec``."""

from typing import Annotated

import typer

import leanrec
from leanrec.cli import ingest, recommend, system, train, tune

__all__ = ["app"]

app = typer.Typer(
    name="leanrec",
    help="Recommendations whose quality and computing cost are both known.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"leanrec {leanrec.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Recommendations whose quality and computing cost are both known."""


for command in (
    ingest.ingest,
    ingest.simulate,
    train.fit,
    train.evaluate,
    train.frontier,
    tune.tune,
    recommend.recommend,
    recommend.similar,
    recommend.explain,
    system.models,
    recommend.serve,
    system.doctor,
    system.demo,
):
    app.command()(command)
