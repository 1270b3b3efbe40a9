"""Commands about leanrec itself: models, doctor, demo."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from leanrec.cli import output
from leanrec.cli.options import Json

__all__ = ["demo", "doctor", "models"]


def models(
    name: Annotated[str | None, typer.Argument(help="A model, to see its settings.")] = None,
    as_json: Json = False,
) -> None:
    """The models there are, or the settings of one."""
    from leanrec.models import get_model, list_models

    if name is not None:
        _settings(get_model(name), name, as_json=as_json)
        return
    known = list_models().values()
    if as_json:
        output.print_json([dataclasses.asdict(info) | {"summary": info.summary} for info in known])
        return
    output.table(
        "Models",
        ("model", "family", "what it is"),
        [(info.name, info.family, info.summary) for info in known],
        left=3,
    )
    output.tell("Settings of one: leanrec models NAME")


def _settings(kind: type, name: str, *, as_json: bool) -> None:
    fields = [
        {
            "name": field.name,
            "type": str(getattr(field.type, "__name__", field.type)),
            "default": getattr(kind(), field.name),
        }
        for field in dataclasses.fields(kind)
    ]
    if as_json:
        output.print_json({"model": name, "about": kind.__doc__, "settings": fields})
        return
    output.console.print(f"[bold]{name}[/]\n\n{_dedent(kind.__doc__ or '')}\n", markup=True)
    output.table(
        "Settings",
        ("setting", "type", "default"),
        [(f["name"], f["type"], f["default"]) for f in fields],
        left=3,
    )


def _dedent(text: str) -> str:
    import inspect

    from rich.markup import escape

    return escape(inspect.cleandoc(text))


def doctor(as_json: Json = False) -> None:
    """Check this machine: libraries, cores, memory, disk, extras, and one turn of the loop."""
    from leanrec.cli.doctor import examine

    findings = list(examine())
    if as_json:
        output.print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        styles = {"ok": "green", "note": "yellow", "problem": "bold red"}
        rows = [(Text(finding.state, styles[finding.state]), finding.what, finding.detail) for finding in findings]
        output.table("leanrec doctor", ("", "what", "found"), rows, left=3)
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(2)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for what the demo makes.")] = Path("out/demo"),
    serve: Annotated[bool, typer.Option("--serve", help="Leave the page running at the end.")] = False,
    port: Annotated[int, typer.Option(help="Port of the page; 0 = a free one.")] = 8000,
    as_json: Json = False,
) -> None:
    """The whole loop on MovieLens data that comes with leanrec, in under three minutes."""
    from leanrec.cli.demo import run_demo

    run_demo(out, serve=serve, port=port, as_json=as_json)
