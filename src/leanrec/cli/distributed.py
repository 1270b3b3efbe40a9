"""One command in several processes: torchrun starts it in each, and the first speaks and writes for all."""

import os
import warnings
from collections.abc import Sequence

from leanrec.errors import SettingError

__all__ = ["alone", "first", "name", "prepare"]

# What divides its work among workers. Anything else would only be done several times over.
_COMMANDS = ("fit",)


def alone() -> bool:
    """Whether this is the only process."""
    return int(os.environ.get("WORLD_SIZE", "1")) <= 1


def first() -> bool:
    """Whether this process speaks and writes."""
    return alone() or os.environ.get("RANK", "0") == "0"


def name() -> str:
    """What a complaint of this process begins with."""
    return "error:" if first() else f"error in worker {os.environ['RANK']}:"


def prepare(arguments: Sequence[str]) -> None:
    """Let only the first process speak. Raises SettingError for a command that several cannot do together."""
    if alone():
        return
    command = next((each for each in arguments if not each.startswith("-")), "")
    if command not in _COMMANDS:
        raise SettingError(f"Under torchrun the command must be {' or '.join(_COMMANDS)}. Got {command!r}.")
    if not first():
        from leanrec.cli import output

        output.hush()
        warnings.simplefilter("ignore")
