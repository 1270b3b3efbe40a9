"""``leanrec keys``: make API keys of a server."""

from pathlib import Path
from typing import Annotated

import typer

from leanrec.cli import output

__all__ = ["keys"]

keys = typer.Typer(help="Make API keys of a server.", no_args_is_help=True)


@keys.callback()
def _group() -> None:
    """Make API keys of a server."""


@keys.command("add")
def add(
    file: Annotated[Path, typer.Argument(help="The file of keys (TOML); made if it is missing.")],
    name: Annotated[str, typer.Option(help="Whose key it is: letters, digits, '.', '-' and '_'.")],
    role: Annotated[
        str, typer.Option(help="client asks for lists and sends events; admin may do everything.")
    ] = "client",
    rate: Annotated[
        float | None, typer.Option(help="Requests a second that the key may send. Default: any number.")
    ] = None,
) -> None:
    """Make a key, print it once, and keep its digest in the file. Servers read the file at their start."""
    from leanrec.serving.security.api_keys import add_key

    output.print_line(add_key(file, name, role, rate))
