"""Fonts that have the letters of a text, for pictures with titles in any script."""

import functools
from collections.abc import Iterable

__all__ = ["drawable", "families_for"]

_FIRST = "DejaVu Sans"  # matplotlib brings it along
_LIKELY = (
    "Noto Sans",
    "Noto Sans CJK",
    "PingFang",
    "Hiragino",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Arial Unicode",
)


def families_for(texts: Iterable[str]) -> list[str]:
    """Font families that together have as many of the letters as can be had, the usual one first."""
    missing = _letters(texts) - _letters_of(_FIRST)
    families = [_FIRST]
    for family in _others() if missing else ():
        has = missing & _letters_of(family)
        if has:
            families.append(family)
            missing -= has
        if not missing:
            break
    return families


def drawable(text: str, families: Iterable[str]) -> str:
    """The text with a white square for every letter that none of the families has."""
    has = frozenset().union(*(_letters_of(family) for family in families))
    shown = (letter for letter in text if letter.isprintable() or letter == "\n")
    kept = (letter if letter == "\n" or ord(letter) in has else "\u25a1" for letter in shown)
    return "".join(kept)


def _letters(texts: Iterable[str]) -> set[int]:
    return {ord(letter) for text in texts for letter in text if letter.isprintable()}


@functools.cache
def _letters_of(family: str) -> frozenset[int]:
    from matplotlib.font_manager import get_font  # noqa: PLC0415 - matplotlib is optional

    return frozenset(get_font(_files()[family]).get_charmap())


@functools.cache
def _files() -> dict[str, str]:
    """Family → file of its upright face of usual weight, for every family of the machine that has one."""
    from matplotlib.font_manager import fontManager  # noqa: PLC0415

    return {
        font.name: font.fname
        for font in fontManager.ttflist
        # "Last Resort" has a box for every letter there is, which says nothing.
        if font.style == "normal"
        and font.weight in {400, "normal", "regular"}
        and "last resort" not in font.name.lower()
    }


@functools.cache
def _others() -> tuple[str, ...]:
    """Families of the machine, those with many scripts first."""
    return tuple(sorted(_files().keys() - {_FIRST}, key=lambda name: (not name.startswith(_LIKELY), name)))
