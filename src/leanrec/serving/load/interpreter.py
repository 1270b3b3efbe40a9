"""Settings of the interpreter of a server: collections of garbage are rare, and its threads wait little for each other."""

import contextlib
import gc
import sys
from collections.abc import Iterator

__all__ = ["tune_interpreter", "tuned_interpreter"]

_GC_THRESHOLDS = (50_000, 20, 1_000)  # few objects of a request are in cycles
# The thread that writes the event log needs the lock of the interpreter for each step of a transaction, and waits for it that
# long while the event loop makes lists. With the 5 ms of Python an event waits for 80 ms at worst instead of 10.
_SWITCH_SECONDS = 0.5e-3


def tune_interpreter() -> None:
    """Collect garbage rarely, and let threads take turns quickly.

    A full collection would walk over all ids and cached lists and stop each request for 50 ms and more. What is there now is
    never collected, so that memory which processes share stays shared.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    sys.setswitchinterval(_SWITCH_SECONDS)


@contextlib.contextmanager
def tuned_interpreter() -> Iterator[None]:
    """The same until the end of the context."""
    before = gc.get_threshold(), sys.getswitchinterval()
    tune_interpreter()
    try:
        yield
    finally:
        gc.set_threshold(*before[0])
        sys.setswitchinterval(before[1])
        gc.unfreeze()  # some libraries report what is never collected as leaks
