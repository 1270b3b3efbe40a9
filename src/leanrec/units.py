"""Sizes and durations: text such as ``"2GB"`` or ``"5ms"`` to numbers, and numbers to text."""

import re

from leanrec.errors import SettingError

__all__ = ["format_bytes", "format_seconds", "parse_bytes", "parse_seconds"]

_BYTES = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}
_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_bytes(text: str | float) -> int:
    """Bytes from ``"2GB"``, ``"200 MB"``, ``"1.5GiB"`` or a number of bytes."""
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([kmgt]?i?)b?\s*", str(text).lower())
    if not match or (isinstance(text, str) and not match[2] and "b" not in text.lower()):
        raise SettingError(f"A size must be a number and a unit, such as 200MB or 2GB. Got {text!r}.")
    return int(float(match[1]) * _BYTES[match[2]])


def parse_seconds(text: str | float) -> float:
    """Seconds from ``"5ms"``, ``"60s"``, ``"2min"`` or a number of seconds."""
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(us|µs|ms|s|min|m|h|)\s*", str(text).lower())
    if not match or (isinstance(text, str) and not match[2]):
        raise SettingError(f"A duration must be a number and a unit, such as 5ms, 60s or 2min. Got {text!r}.")
    return float(match[1]) * _SECONDS[match[2]]


def format_bytes(size: float) -> str:
    """Bytes as text in decimal units: ``1.2 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def format_seconds(seconds: float) -> str:
    """Seconds as text: ``0.42 ms``, ``3.1 s``, ``2.5 min``."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.3g} min"
