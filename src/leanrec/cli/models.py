"""``leanrec models``: the models there are, and the settings of one."""

import dataclasses
import inspect
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from leanrec.cli import output
from leanrec.cli.options import Json
from leanrec.errors import MissingExtraError

if TYPE_CHECKING:
    from leanrec.models import ModelInfo

__all__ = ["models"]


def models(
    name: Annotated[str | None, typer.Argument(help="A model, to print its settings.")] = None,
    reads: Annotated[
        str | None,
        typer.Option(help="Only models that can read this input: users, content, ratings, order …"),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the models and the inputs they read, or the settings of one."""
    from leanrec.models import INPUTS, get_model, list_models
    from leanrec.settings import check_one_of

    if name is not None:
        _print_settings(get_model(name), name, as_json=as_json)
        return
    if reads is not None:
        check_one_of("--reads", reads, INPUTS)
    inputs = {info: _read_inputs(info) for info in list_models().values()}
    found = {info: read for info, read in inputs.items() if reads is None or (read is not None and reads in read)}
    if as_json:
        described = [
            dataclasses.asdict(info) | {"summary": info.summary, "reads": None if read is None else list(read)}
            for info, read in found.items()
        ]
        output.print_json(described)
        return
    rows = [
        (info.name, info.family, f"needs the extra {info.extra}" if read is None else ", ".join(read), info.summary)
        for info, read in found.items()
    ]
    output.print_table("Models", ("model", "family", "reads", "summary"), rows, left=4)
    output.print_note("Settings of one: leanrec models NAME")
    unknown = [info.name for info, read in inputs.items() if read is None]
    if reads is not None and unknown:
        output.print_note(f"Not checked, since their extra is not installed: {', '.join(unknown)}.")


def _read_inputs(info: "ModelInfo") -> tuple[str, ...] | None:
    """The inputs that a model reads, the history first; None where its extra is not installed."""
    from leanrec.models import INPUTS

    try:
        return tuple(each for each in INPUTS if each in info.reads)
    except MissingExtraError:
        return None


def _print_settings(settings: type, name: str, *, as_json: bool) -> None:
    from leanrec.settings import describe_settings

    described = describe_settings(settings)
    description = inspect.cleandoc(settings.__doc__ or "")
    if as_json:
        fields = [dataclasses.asdict(each) for each in described]
        output.print_json({"model": name, "description": description, "settings": fields})
        return
    output.print_line(Text(name, "bold"))
    output.print_line(f"\n{description}\n")
    output.print_table(
        "Settings",
        ("setting", "type", "default", "allowed", "what it does"),
        [(each.name, each.type, each.default, each.allowed, each.doc) for each in described],
        left=5,
    )
