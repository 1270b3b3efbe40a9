"""The ``leanrec`` command: each command parses its options, calls the library, and prints the result."""

import os
import signal
import sys

__all__ = ["main"]

_INTERRUPTED = "Interrupted. No incomplete file was left."


def main() -> None:
    """Run the ``leanrec`` command. Exit codes: 0 done, 1 output closed, 2 invalid input, 130 interrupted."""
    if sys.argv[1:2] != ["serve"]:  # the server ends its requests first
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, so that temporary files are removed
    try:
        _run_app()
    except KeyboardInterrupt:
        _print_error(_INTERRUPTED)
        sys.exit(130)


def _run_app() -> None:
    from leanrec.cli import distributed
    from leanrec.cli.app import app
    from leanrec.errors import LeanrecError

    try:
        distributed.prepare_worker(sys.argv[1:])
        app()
    except LeanrecError as error:
        _print_error(str(error))
        sys.exit(2)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            # The reader of the output is gone (`leanrec … | head`); Python would report it again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        if error.filename is None:
            raise
        _print_error(f"{error.filename}: {error.strerror}. Choose a path that can be read and written.")
        sys.exit(2)
    except SystemExit as stop:
        # typer turns Ctrl-C into a silent exit.
        if stop.code == 130:
            _print_error(_INTERRUPTED)
        raise


def _print_error(message: str) -> None:
    from rich.console import Console
    from rich.text import Text

    from leanrec.cli.distributed import error_prefix
    from leanrec.cli.messages import to_flags
    from leanrec.cli.output import show_controls

    console = Console(stderr=True, highlight=False)
    console.print(Text(error_prefix(), "bold red"), Text(show_controls(to_flags(message))), soft_wrap=True)
