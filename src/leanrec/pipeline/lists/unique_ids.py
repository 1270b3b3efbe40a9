"""Unique ids of lists, events and requests, which cost next to nothing."""

import os

__all__ = ["make_id"]

_LENGTH = 32  # hexadecimal digits: 128 random bits
_N_AT_ONCE = 256
_IDS: list[str] = []

# A process that was forked would give the same ids as the one that it comes from.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_IDS.clear)


def make_id() -> str:
    """A new random id of 32 hexadecimal digits. Thread-safe.

    The operating system is asked for many at once: each question takes a microsecond, and lets another thread go first.
    """
    try:
        return _IDS.pop()
    except IndexError:
        digits = os.urandom(_N_AT_ONCE * _LENGTH // 2).hex()
        ids = [digits[start : start + _LENGTH] for start in range(0, len(digits), _LENGTH)]
        _IDS.extend(ids[1:])
        return ids[0]
