"""The typer application: every command of ``leanrec``."""

from typing import Annotated

import typer

import leanrec
from leanrec.cli import (
    compress,
    demo,
    distill,
    doctor,
    evaluate,
    export,
    fit,
    frontier,
    ingest,
    models,
    recommend,
    tune,
)
from leanrec.cli.serving import event_log, experiments, keys, refit, serve, versions

__all__ = ["app"]

_HELP = "Recommendations with known quality and known computing cost."

app = typer.Typer(
    name="leanrec",
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(requested: bool) -> None:
    if requested:
        print(f"leanrec {leanrec.__version__}")
        raise typer.Exit


@app.callback(help=_HELP)
def _add_global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


for command in (
    ingest.ingest,
    ingest.simulate,
    fit.fit,
    evaluate.evaluate,
    frontier.frontier,
    tune.tune,
    compress.compress,
    distill.distill,
    export.export,
    recommend.recommend,
    recommend.similar,
    recommend.explain,
    models.models,
    serve.serve,
    refit.refit,
    event_log.forget,
    experiments.experiments,
    doctor.doctor,
    demo.demo,
):
    app.command()(command)
app.add_typer(event_log.log, name="log")
app.add_typer(keys.keys, name="keys")
app.add_typer(versions.versions, name="versions")
