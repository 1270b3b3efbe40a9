"""Commands under torchrun: every process runs the command, the first one prints and writes."""

import os
import warnings
from collections.abc import Sequence

from leanrec.errors import SettingError

__all__ = ["error_prefix", "is_first", "is_single", "prepare_worker"]

# Commands that divide their work among workers. Others would only do it several times.
_COMMANDS = ("fit",)


def is_single() -> bool:
    """Whether this is the only process."""
    return int(os.environ.get("WORLD_SIZE", "1")) <= 1


def is_first() -> bool:
    """Whether this process prints and writes."""
    return is_single() or os.environ.get("RANK", "0") == "0"


def error_prefix() -> str:
    """First word of an error message, with the worker's rank where there are several."""
    return "error:" if is_first() else f"error in worker {os.environ['RANK']}:"


def prepare_worker(arguments: Sequence[str]) -> None:
    """Silence every process but the first. Raises SettingError for a command that cannot run distributed."""
    if is_single():
        return
    command = next((each for each in arguments if not each.startswith("-")), "")
    if command not in _COMMANDS:
        raise SettingError(
            f"Under torchrun the command must be {' or '.join(_COMMANDS)}. Got {command!r}: run it without torchrun."
        )
    if not is_first():
        from leanrec.cli import output

        output.silence_output()
        warnings.simplefilter("ignore")
