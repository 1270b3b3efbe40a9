"""Output of the commands: tables and lines for people, JSON for programs, notes on standard error."""

import contextlib
import json
import math
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from leanrec.cli.messages import to_flags

__all__ = [
    "console",
    "format_command",
    "format_interval",
    "format_number",
    "only_json",
    "print_json",
    "print_json_line",
    "print_line",
    "print_note",
    "print_table",
    "show_controls",
    "silence_output",
]

# Those from U+202A on change the direction of the rest of the line.
_CONTROL = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069]")
_LATE_CONTROL = re.compile("[\\x7f-\\x9f]")

# A pipe has no width; eighty columns would fold every table.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
_errors = Console(stderr=True, highlight=False)


def show_controls(text: str) -> str:
    """The text with control characters written as escapes, so that a title in the data cannot control the terminal."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def silence_output() -> None:
    """Print nothing from now on."""
    console.quiet = _errors.quiet = True


def print_line(*parts: str | Text) -> None:
    """Print a line of the result. Brackets in it are not markup."""
    console.print(*(part if isinstance(part, Text) else Text(show_controls(part)) for part in parts), soft_wrap=True)


def print_note(message: str) -> None:
    """Print a message that is not the result, to stderr, so that ``--json`` stays clean."""
    _errors.print(show_controls(to_flags(message)), markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print one JSON document. NaN and infinities become null, since JSON has no value for them."""
    # Not through rich: it would wrap and color what a program reads.
    if not console.quiet:
        print(_to_json(value, indent=2))


def print_json_line(value: Any) -> None:
    """Print JSON in one line and flush, for a program that waits for it."""
    print(_to_json(value), flush=True)


@contextlib.contextmanager
def only_json(enabled: bool) -> Iterator[None]:
    """Keep tables and notes off standard output inside the block where JSON is the result."""
    before = console.quiet
    console.quiet = enabled or before
    try:
        yield
    finally:
        console.quiet = before


def _to_json(value: Any, indent: int | None = None) -> str:
    """JSON without raw control characters. Unlike others, those from U+007F to U+009F need no escape in JSON."""
    text = json.dumps(_to_plain(value), indent=indent, ensure_ascii=False)
    return _LATE_CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _to_plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return _to_plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, np.ndarray):
        return [_to_plain(each) for each in value.tolist()]
    if isinstance(value, Mapping):
        return {str(key): _to_plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_to_plain(each) for each in value]
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, left: int = 1) -> None:
    """Print a table whose first ``left`` columns are aligned left and the others right.

    Cells are printed literally: a title such as "[REC] (2007)" is not markup. A styled cell is a rich Text.
    """
    grid = Table(
        title=Text(show_controls(title)),
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=None,
        pad_edge=False,
    )
    for position, name in enumerate(columns):
        grid.add_column(Text(show_controls(name)), justify="left" if position < left else "right", overflow="fold")
    for row in rows:
        texts = ("" if cell is None else cell if isinstance(cell, Text) else show_controls(str(cell)) for cell in row)
        grid.add_row(*(text if isinstance(text, Text) else Text(text) for text in texts))
    console.print(grid)


def format_command(*words: object) -> str:
    """The ``leanrec`` command with these words, quoted where a shell needs it."""
    return shlex.join(["leanrec", *map(str, words)])


def format_number(value: float | None, digits: int = 4) -> str:
    """A number with fixed digits, or a dash for None, NaN and infinities."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def format_interval(*, mean: float, low: float, high: float, n: int) -> str:
    """A mean with half the width of its interval; without it for n = 1, which has no spread."""
    return f"{mean:.4f} ±{(high - low) / 2:.4f}" if n > 1 else f"{mean:.4f}"
