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
        typer.Option(
            help="Only models that can use this input: content, users, ratings, order, item_links, user_links …"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the models, or the settings of one."""
    from leanrec.models import INPUTS, get_model, list_models
    from leanrec.settings import check_one_of

    if name is not None:
        _print_settings(get_model(name), name, as_json=as_json)
        return
    infos = list(list_models().values())
    if reads is not None:
        check_one_of("--reads", reads, INPUTS)
        inputs = {info: _read_inputs(info) for info in infos}
        infos = [info for info, read in inputs.items() if reads in read]
        unknown = [f"{info.name} (needs the extra {info.extra})" for info, read in inputs.items() if not read]
        if unknown:
            output.print_note(f"Not checked: {', '.join(unknown)}.")
    if as_json:
        output.print_json([dataclasses.asdict(info) | {"summary": info.summary} for info in infos])
        return
    output.print_table(
        "Models" if reads is None else f"Models that use {INPUTS[reads]}",
        ("model", "family", "summary"),
        [(info.name, info.family, info.summary) for info in infos],
        left=3,
    )
    output.print_note("Settings of one: leanrec models NAME")


def _read_inputs(info: "ModelInfo") -> tuple[str, ...]:
    """The inputs that a model can use, the history first; () where its extra is not installed."""
    from leanrec.models import INPUTS

    try:
        return tuple(each for each in INPUTS if each in info.reads)
    except MissingExtraError:
        return ()


def _print_settings(kind: type, name: str, *, as_json: bool) -> None:
    from leanrec.models import find_info
    from leanrec.settings import describe_settings

    info = find_info(kind)
    reads = () if info is None else _read_inputs(info)
    settings = describe_settings(kind)
    description = inspect.cleandoc(kind.__doc__ or "")
    if as_json:
        fields = [dataclasses.asdict(each) for each in settings]
        output.print_json({"model": name, "description": description, "reads": reads, "settings": fields})
        return
    output.print_line(Text(name, "bold"))
    output.print_line(f"\n{description}\n")
    if reads:
        output.print_line(f"Reads: {', '.join(reads)}\n")
    output.print_table(
        "Settings",
        ("setting", "type", "default", "allowed", "search range", "meaning"),
        [(each.name, each.type, each.default, each.allowed, each.search, each.doc) for each in settings],
        left=6,
    )
