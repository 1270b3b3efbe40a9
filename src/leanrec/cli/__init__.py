"""The command line: thin. Every command reads, calls one function of the library, and shows what came back."""

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the ``leanrec`` command. Exit codes: 0 done, 2 wrong input, 130 interrupted."""
    from leanrec.cli import distributed
    from leanrec.cli.app import app
    from leanrec.errors import LeanrecError

    try:
        distributed.prepare(sys.argv[1:])
        app()
    except LeanrecError as error:
        _complain(str(error))
        sys.exit(2)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            # The reader of our output is gone (`leanrec … | head`); Python would complain again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        if error.filename is None:
            raise
        _complain(f"{error.filename}: {error.strerror}. Choose a place that can be read and written.")
        sys.exit(2)
    except SystemExit as stop:
        # typer turns Ctrl-C into a silent exit.
        if stop.code == 130:
            _complain("Interrupted. Nothing half-written was left.")
        raise


def _complain(message: str) -> None:
    from rich.console import Console
    from rich.text import Text

    from leanrec.cli.distributed import name

    Console(stderr=True, highlight=False).print(Text(name(), "bold red"), Text(message), soft_wrap=True)
