"""How results look on a terminal: tables for people, JSON for programs."""

import contextlib
import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["console", "hush", "in_flags", "number", "only_json", "print_json", "print_line", "say", "table", "tell"]

# A pipe has no width; eighty columns would fold every table.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
_aside = Console(stderr=True, highlight=False)


def hush() -> None:
    """Show nothing from now on."""
    console.quiet = _aside.quiet = True


def say(*parts: str | Text) -> None:
    """Print a line of the result, to the letter: brackets in a title are no markup."""
    console.print(*(part if isinstance(part, Text) else Text(part) for part in parts), soft_wrap=True)


def tell(message: str) -> None:
    """Say something that is not the result (to stderr, so that ``--json`` stays clean)."""
    _aside.print(in_flags(message), markup=False, soft_wrap=True)


def in_flags(message: str) -> str:
    """The message with arguments of a Python call written as flags: how='ratio' becomes --split ratio."""
    return re.sub(r"how='([\w-]+)'", r"--split \1", message)


def print_json(value: Any) -> None:
    """Print one JSON document. NaN and infinities become null: JSON has no word for them."""
    # Not through rich: it would wrap and colour what a program reads.
    if not console.quiet:
        print(json.dumps(_plain(value), indent=2, ensure_ascii=False))


def print_line(value: Any) -> None:
    """Print JSON in one line, at once: for a program that waits for it."""
    print(json.dumps(_plain(value), ensure_ascii=False), flush=True)


@contextlib.contextmanager
def only_json(wanted: bool) -> Iterator[None]:
    """Keep tables and pictures' names off standard output inside the block, where JSON is wanted there."""
    before = console.quiet
    console.quiet = wanted or before
    try:
        yield
    finally:
        console.quiet = before


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, np.ndarray):
        return [_plain(each) for each in value.tolist()]
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, left: int = 1) -> None:
    """Print a table whose first ``left`` columns are text and the others numbers.

    Cells are shown to the letter: a title such as "[REC] (2007)" is no markup. A styled cell is a rich Text.
    """
    grid = Table(
        title=Text(title), title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False
    )
    for position, name in enumerate(columns):
        grid.add_column(name, justify="left" if position < left else "right", overflow="fold")
    for row in rows:
        grid.add_row(*(cell if isinstance(cell, Text) else Text("" if cell is None else str(cell)) for cell in row))
    console.print(grid)


def number(value: float | None, digits: int = 4) -> str:
    """A number for a table: fixed digits, or a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
