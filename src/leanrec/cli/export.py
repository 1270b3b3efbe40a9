"""``leanrec export``: a fitted model as an ONNX file, for programs without leanrec."""

from pathlib import Path
from typing import Annotated

import typer

from leanrec.cli import output
from leanrec.cli.options import Json
from leanrec.cli.recommend import Model
from leanrec.errors import SettingError

__all__ = ["export"]


def export(
    model: Model,
    out: Annotated[Path, typer.Option("--out", "-o", help="The ONNX file.")],
    top_k: Annotated[int | None, typer.Option(min=1, help="Length of the lists; default 20.")] = None,
    all_scores: Annotated[
        bool, typer.Option("--all-scores", help="Give the scores of all items instead of lists.")
    ] = False,
    include_seen: Annotated[bool, typer.Option(help="Also list items that the user interacted with.")] = False,
    as_json: Json = False,
) -> None:
    """Write a fitted sequential model, Mult-VAE or two-tower as an ONNX file, from histories to lists, and compare both."""
    from leanrec import Pipeline, export_onnx
    from leanrec.online.version_store import find_pipeline_path
    from leanrec.units import format_bytes

    if all_scores and top_k is not None:
        raise SettingError("--all-scores gives scores instead of lists. Leave out --top-k or --all-scores.")
    pipeline = Pipeline.load(find_pipeline_path(model))
    width = None if all_scores else top_k or 20
    done = export_onnx(pipeline, out, top_k=width, exclude_seen=not include_seen)
    n_items = pipeline.model.n_items
    if as_json:
        output.print_json(
            {
                "out": done.path,
                "bytes": done.n_bytes,
                "items": n_items,
                "top_k": width,
                "compared": done.n_compared,
                "difference": done.difference,
            }
        )
        return
    what = f"scores of {n_items:,} items" if width is None else f"top {width} of {n_items:,} items"
    output.print_line(f"Saved to {done.path}: {what}, {format_bytes(done.n_bytes)}.")
    output.print_note(
        f"ONNX Runtime gives the results of the model: over {done.n_compared} random histories no score differs by more than "
        f"{done.difference:.0e} of the largest."
    )
