"""``leanrec compress``: a smaller model that serves through the same calls, and what it costs."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leanrec.cli import output
from leanrec.cli.options import DataOptions, Json, SplitOptions, TrainOptions, with_options
from leanrec.errors import SettingError

if TYPE_CHECKING:
    from leanrec.data.dataset import Dataset
    from leanrec.data.splits.evaluation_set import EvaluationSet
    from leanrec.evaluation.compression.result import CompressionResult
    from leanrec.pipeline.pipeline import Pipeline
    from leanrec.protocols import Scorer
    from leanrec.run import Run

__all__ = ["compress", "hold_out"]

# Loads a pipeline as a server does, and prints the resident bytes of the process.
_LOAD = """
import sys, psutil
from leanrec.pipeline.pipeline import Pipeline
pipeline = Pipeline.load(sys.argv[1])
pipeline.warm_up()
print(psutil.Process().memory_info().rss)
"""


@with_options(SplitOptions, TrainOptions)
def compress(
    path: Annotated[Path, typer.Argument(help="A fitted model.", metavar="MODEL")],
    *,
    size: Annotated[
        str | None,
        typer.Option("--to", help="Largest size of the model: by item, such as 64B/item, or in all, such as 20MB."),
    ] = None,
    max_bytes: Annotated[str | None, typer.Option(help="Largest size of the model in all, e.g. 20MB.")] = None,
    max_p99: Annotated[str | None, typer.Option(help="Limit on the p99 latency of one request, e.g. 2ms.")] = None,
    max_loss: Annotated[
        str | None,
        typer.Option(help="Look for the smallest model whose loss of NDCG is below this share for certain, e.g. 0.5%."),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Keep every list as it is: vectors stay on disk, and a list reads a few. Sizes are then of the memory.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the smaller model. Without it nothing is written.")
    ] = None,
    as_json: Json = False,
    split: SplitOptions,
    train: TrainOptions,
) -> None:
    """Make a fitted model smaller, by the method that keeps most of its ranking within the bytes, time or loss given.

    The methods are measured on held-out events: the model is fitted again without them, unless --valid has later events.
    The chosen method is then applied to the model itself.
    """
    from leanrec import artifacts
    from leanrec.compression.proposals import check_compressible, propose_exact
    from leanrec.evaluation.compression.compress import compress as choose
    from leanrec.evaluation.compression.target import parse_target
    from leanrec.models.baselines.popularity import Popularity
    from leanrec.pipeline.pipeline import Pipeline

    if exact and size is max_bytes is max_p99 is max_loss:
        max_loss = "0%"  # the smallest
    target = parse_target(size=size, max_bytes=max_bytes, max_p99=max_p99, max_loss=max_loss)
    if out is not None and out.resolve() == path.resolve():
        raise SettingError(f"--out must be another folder than {path}, whose model stays as it is.")
    if out is not None:
        artifacts.check_free(out)
    pipeline, run = Pipeline.load(path), train.to_run()
    check_compressible(pipeline.model)
    if exact:
        propose_exact(pipeline.model)  # refuses before anything is fitted
    model, data, valid, test = hold_out(pipeline, split, run)
    popular = Popularity().fit(data)
    result = choose(model, data, valid, target, exact=exact, report=test, fallback=popular, run=run)
    report = result.to_dict() | {"out": None}
    if out is not None and result.chosen.method is not None:
        saved = pipeline.compress(result.chosen.method, run).save(out)
        report |= {
            "out": saved,
            "artifact": {"base": artifacts.size_of(path), "chosen": artifacts.size_of(saved)},
            "resident": {"base": _measure_resident(path), "chosen": _measure_resident(saved)},
        }
    if as_json:
        output.print_json(report)
        return
    _print_result(result, report)
    if out is not None:
        command = output.format_command("serve", out)
        output.print_note(f"Saved to {out}. Try it: {command}")


def hold_out(
    pipeline: "Pipeline", options: SplitOptions, run: "Run"
) -> tuple["Scorer", "Dataset", "EvaluationSet", "EvaluationSet | None"]:
    """A model to measure with, its data, and events that it does not know: to choose by, and to report on if there are more."""
    from leanrec.data.splits.split import split

    data = pipeline.to_dataset()
    estimator: Any = getattr(pipeline.model, "settings", None)
    if options.valid is not None:
        valid, test = (
            None if file is None else DataOptions().open_held_out(file, data, run).data
            for file in (options.valid, options.test)
        )
        parts = split(data, "given", valid_events=valid, test_events=test, allow_repeats=options.allow_repeats)
        return pipeline.model, data, parts.valid, parts.test if test is not None else None
    if estimator is None:
        raise SettingError(
            "This model does not say how it was fitted, so that it cannot be fitted without held-out events. "
            "Give later events with --valid FILE."
        )
    parts = split(
        data,
        options.split,
        valid=options.valid_share,
        test=options.test_share,
        seed=run.seed,
        allow_repeats=options.allow_repeats,
    )
    output.print_note(f"Fitting the model without the held-out events, to measure what is lost. Split: {parts.how}.")
    return estimator.fit(parts.train, run), parts.train, parts.valid, parts.test


def _measure_resident(path: Path) -> int:
    """Resident bytes of a fresh process that has loaded a model and is ready to answer."""
    done = subprocess.run([sys.executable, "-c", _LOAD, str(path)], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def _print_result(result: "CompressionResult", report: dict[str, Any]) -> None:
    from leanrec.units import format_bytes

    names, rows = result.table()
    for name, title in (("artifact", "folder on disk"), ("resident", "memory of a server")):
        if name in report:
            sizes = [format_bytes(report[name][which]) for which in ("base", "chosen")]
            rows.append((title, *sizes, *[""] * (len(names) - 3)))
    output.print_table(f"{result.target}", names, rows)
    for line in result.summary():
        output.print_line(line)
