"""``leanrec fit``: fit a model and save it as a pipeline."""

import dataclasses
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from leanrec.cli import distributed, output
from leanrec.cli.options import DataOptions, Json, Sources, TrainOptions, parse_model, with_options
from leanrec.errors import SettingError

__all__ = ["fit"]


@with_options(DataOptions, TrainOptions)
def fit(
    model: Annotated[
        str, typer.Argument(help="A model, with settings after commas (see `leanrec models`), or its import path.")
    ],
    source: Sources,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the fitted model.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the model, NAME=VALUE; repeatable.")
    ] = None,
    event_log: Annotated[
        str | None,
        typer.Option(
            help="Event log of a server, which may be running, as a file or URL: its events and new items join the data."
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Folder for the training state of a torch model, saved each epoch; an existing one resumes."),
    ] = None,
    shard_embeddings: Annotated[
        bool,
        typer.Option("--shard-embeddings", help="Under torchrun: shard the item embeddings over the workers."),
    ] = False,
    item_sources: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with other sources of items in each list, such as new items (see the guide to serving)."
        ),
    ] = None,
    retrieval: Annotated[
        str,
        typer.Option(
            help="How candidates are found: exact, approximate (needs the extra ann), or auto: approximate above two million items.",
        ),
    ] = "auto",
    as_json: Json = False,
    data: DataOptions,
    train: TrainOptions,
) -> None:
    """Fit a model on a data set or a raw log, and save it with everything needed to serve it."""
    from leanrec import artifacts
    from leanrec.callbacks import ModelCheckpoint
    from leanrec.cli.serving.list_files import read_sources
    from leanrec.events.locations import open_reader
    from leanrec.pipeline.pipeline import Pipeline
    from leanrec.pipeline.replay import default_log_path
    from leanrec.retrieval.choice import check_retrieval
    from leanrec.run import Distributed
    from leanrec.training.config import TrainingSettings

    estimator = parse_model(model, settings or ())
    sources = () if item_sources is None else read_sources(item_sources)
    if checkpoint is not None and not isinstance(estimator, TrainingSettings):
        raise SettingError(f"--checkpoint must be left out: {model} does not train with torch and has no checkpoints.")
    if shard_embeddings and not getattr(estimator, "shardable", False):
        raise SettingError(f"--shard-embeddings must be left out: {model} has no item embeddings that can be sharded.")
    check_retrieval(retrieval)
    run = dataclasses.replace(train.to_run(), distributed=Distributed(shard_items=shard_embeddings))
    if checkpoint is not None:
        run = dataclasses.replace(run, callbacks=(*run.callbacks, ModelCheckpoint(checkpoint)))
    ingested = (data if distributed.is_first() else dataclasses.replace(data, rejected=None)).open_data(source, run)
    event_reader = None if event_log is None else open_reader(event_log)
    pipeline = Pipeline.fit(estimator, ingested.data, run, sources=sources, log=event_reader, retrieval=retrieval)
    stopped_by_time = run.out_of_time()
    if not distributed.is_first():
        return
    if stopped_by_time:
        output.print_note("The time limit ended the fit early: the model is the best state that it had reached.")
    path = pipeline.save(out)
    found_by = pipeline.provenance.get("retrieval", {})
    if "note" in found_by:
        output.print_note(found_by["note"])
    if event_reader is not None:
        n_joined = pipeline.provenance["data"]["events"] - ingested.data.shape.events
        output.print_note(f"{n_joined} events of {event_reader.name} joined the data.")
    elif default_log_path(path).exists():
        log = default_log_path(path)
        output.print_note(f"The events of {log} are not in this fit; --event-log {shlex.quote(str(log))} adds them.")
    report = {
        "model": model,
        "settings": dataclasses.asdict(estimator),  # type: ignore[call-overload]  # each is a dataclass
        "out": path,
        "cost": pipeline.provenance["fit"],
        "retrieval": found_by.get("used", "exact"),
        "stopped_by_time": stopped_by_time,
        "bytes": artifacts.size_of(path),
        "data": ingested.report.to_dict(),
    }
    if as_json:
        output.print_json(report)
        return
    _print_report(report, pipeline.provenance["data"])
    command = output.format_command("recommend", path, "--user", ingested.data.users.ids[0], "-n", 5)
    output.print_note(f"Try it: {command}")


def _print_report(report: dict[str, Any], counts: dict[str, int]) -> None:
    from leanrec.units import format_bytes, format_seconds

    cost = report["cost"]
    output.print_line(
        f"{report['model']} fitted on " + "{events:,} events of {users:,} users and {items:,} items".format(**counts)
    )
    output.print_line(
        f"  {format_seconds(cost['wall'])} wall time, {format_seconds(cost['cpu'])} CPU time, "
        f"{format_bytes(cost['peak'])} peak memory, {format_bytes(report['bytes'])} on disk at {report['out']}"
    )
