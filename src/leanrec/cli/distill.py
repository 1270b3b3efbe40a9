"""``leanrec distill``: a small student of a fitted model, beside the same student without a teacher."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leanrec.cli import output
from leanrec.cli.compress import hold_out
from leanrec.cli.options import Json, SplitOptions, TrainOptions, parse_model, with_options
from leanrec.errors import SettingError

if TYPE_CHECKING:
    from leanrec.evaluation.compression.distill import DistillationResult

__all__ = ["distill"]


@with_options(SplitOptions, TrainOptions)
def distill(
    path: Annotated[Path, typer.Argument(help="A fitted model, the teacher.", metavar="MODEL")],
    *,
    student: Annotated[
        str, typer.Option("--student", help="The small model and its settings, e.g. next_item_regression,top_k=50.")
    ] = "next_item_regression",
    n_queries: Annotated[
        int, typer.Option(help="Largest number of histories that the teacher is asked about.")
    ] = 20_000,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the student. Without it nothing is written.")
    ] = None,
    as_json: Json = False,
    split: SplitOptions,
    train: TrainOptions,
) -> None:
    """Fit a small model on what a larger one recommends and on the events, and say what the larger one adds.

    Both are measured on held-out events, beside the same small model without a teacher: the teacher is fitted again without
    these events, unless --valid has later ones. The saved student learns from the teacher itself.
    """
    from leanrec import artifacts
    from leanrec.compression.distillation import Distillation
    from leanrec.evaluation.compression.distill import distill as compare
    from leanrec.models.baselines.popularity import Popularity
    from leanrec.pipeline.pipeline import Pipeline

    if out is not None and out.resolve() == path.resolve():
        raise SettingError(f"--out must be another folder than {path}, whose model stays as it is.")
    if out is not None:
        artifacts.check_free(out)
    method = Distillation(parse_model(student), n_queries=n_queries)
    pipeline, run = Pipeline.load(path), train.to_run()
    model, data, valid, test = hold_out(pipeline, split, run)
    fallback = Popularity().fit(data)
    result = compare(model, method, data, valid if test is None else test, fallback=fallback, run=run)
    report = result.to_dict() | {"out": None}
    if out is not None:
        saved = pipeline.compress(method, run).save(out)
        report |= {
            "out": saved,
            "artifact": {"teacher": artifacts.size_of(path), "student": artifacts.size_of(saved)},
        }
    if as_json:
        output.print_json(report)
        return
    _print_result(result)
    if out is not None:
        output.print_note(f"Saved to {out}. Try it: {output.format_command('serve', out)}")


def _print_result(result: "DistillationResult") -> None:
    output.print_table(f"{result.teacher.name} → {result.student.name}", *result.table())
    for line in result.summary():
        output.print_line(line)
