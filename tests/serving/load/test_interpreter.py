"""Settings of the interpreter are those of a server while it serves, and those of before afterwards."""

import gc
import sys

import pytest

from leanrec.serving.load.interpreter import tuned_interpreter


def test_settings_hold_in_the_context_only() -> None:
    before = gc.get_threshold(), sys.getswitchinterval(), gc.get_freeze_count()
    with tuned_interpreter():
        assert gc.get_threshold()[0] > before[0][0]
        assert sys.getswitchinterval() == pytest.approx(0.5e-3)
        assert gc.get_freeze_count() > 10_000
    assert (gc.get_threshold(), sys.getswitchinterval()) == before[:2]
    assert gc.get_freeze_count() == 0


def test_they_are_undone_after_an_error() -> None:
    before = gc.get_threshold(), sys.getswitchinterval()
    with pytest.raises(KeyboardInterrupt), tuned_interpreter():
        raise KeyboardInterrupt
    assert (gc.get_threshold(), sys.getswitchinterval()) == before
