"""The reference page of the command line, made from the commands themselves.

``python -m leanrec.cli.reference > docs/reference/cli.md`` writes it; a test fails when it is out of date.
"""

from collections.abc import Iterator
from typing import Any

import typer.main

from leanrec.cli.app import app

__all__ = ["reference"]

_HEAD = """# Command line

Every command takes `--json` where it has a result: one JSON document on standard output and nothing else there. Notes, progress and errors go to
standard error. Exit codes: 0 done, 1 the reader of the output went away, 2 wrong input (one message: what must hold, what came, what to do),
130 interrupted.

`DATA` is a prepared data set (`leanrec ingest … --out FOLDER`) or a log as it is: a CSV, TSV, JSON lines or Parquet file, a pattern or a folder, several
files, `KIND=FILE` for each behaviour, or `sql:SELECT …`.
"""


def reference() -> str:
    """The page, as Markdown."""
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return "\n".join([_HEAD, *(line for name, command in commands.items() for line in _command(name, command))])


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option" and each.name != "help"]
    usage = " ".join(_placeholder(each) for each in arguments)
    yield f"## leanrec {name}\n"
    yield f"{(command.help or '').strip()}\n"
    yield f"    leanrec {name} {usage}".rstrip() + " [options]\n"
    yield "| option | meaning | default |"
    yield "|---|---|---|"
    for each in arguments:
        yield f"| `{_placeholder(each)}` | {each.help} | |"
    for each in options:
        flags = ", ".join(f"`{flag}`" for flag in (*each.opts, *each.secondary_opts))
        yield f"| {flags} | {each.help} | {_default(each.default)} |"
    yield ""


def _placeholder(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _default(value: object) -> str:
    shown = "on" if value is True else "" if value is None or value is False else str(value)
    return f"`{shown}`" if shown else ""


if __name__ == "__main__":
    print(reference())
