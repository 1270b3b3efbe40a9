"""Selection of fonts for plots with titles in any script."""

import functools
from collections.abc import Iterable
from pathlib import Path

__all__ = ["find_font_families", "replace_missing_glyphs"]

_DEFAULT = "DejaVu Sans"  # bundled with matplotlib
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


def find_font_families(texts: Iterable[str]) -> list[str]:
    """Font families that together have as many of the letters as possible, matplotlib's default first.

    Matplotlib caches its list of fonts on disk when it is first used on a machine. Where none of them has a letter, fonts
    installed since then are searched for, once per process (about 40 ms).
    """
    letters = {ord(letter) for text in texts for letter in text if letter.isprintable()}
    families, missing = _choose_families(letters)
    if missing and _add_new_fonts():
        families, _ = _choose_families(letters)
    return families


def replace_missing_glyphs(text: str, families: Iterable[str]) -> str:
    """The text with a white square for every letter that none of the families has, without control characters."""
    has = frozenset().union(*(_get_letters(family) for family in families))
    printable = (letter for letter in text if letter.isprintable() or letter == "\n")
    return "".join(letter if letter == "\n" or ord(letter) in has else "\u25a1" for letter in printable)


def _choose_families(letters: set[int]) -> tuple[list[str], set[int]]:
    """Families that have the letters, as few as a greedy choice needs, and the letters that none has."""
    families, missing = [_DEFAULT], letters - _get_letters(_DEFAULT)
    for family in _list_other_families() if missing else ():
        if found := missing & _get_letters(family):
            families.append(family)
            missing -= found
        if not missing:
            break
    return families, missing


@functools.cache
def _add_new_fonts() -> bool:
    """Add the fonts of the system that matplotlib's list lacks. Returns whether there were any."""
    from matplotlib.font_manager import findSystemFonts, fontManager  # noqa: PLC0415 - matplotlib is optional

    known = {str(font.fname) for font in fontManager.ttflist}
    added = False
    for file in sorted(set(findSystemFonts()) - known):
        try:
            fontManager.addfont(file)
        except Exception:  # noqa: BLE001, S112 - one broken font file must not hide the others
            continue
        added = True
    if added:
        _list_font_files.cache_clear()
        _list_other_families.cache_clear()
    return added


@functools.cache
def _get_letters(family: str) -> frozenset[int]:
    from matplotlib.font_manager import get_font  # noqa: PLC0415

    return frozenset(get_font(_list_font_files()[family]).get_charmap())


@functools.cache
def _list_font_files() -> dict[str, str]:
    """Family → file of its upright face of regular weight, for every family of the machine that has one."""
    from matplotlib.font_manager import fontManager  # noqa: PLC0415

    return {
        font.name: font.fname
        for font in fontManager.ttflist
        # "Last Resort" draws a box for every letter. A font may have been removed since the list was cached.
        if font.style == "normal"
        and font.weight in {400, "normal", "regular"}
        and "last resort" not in font.name.lower()
        and Path(font.fname).is_file()
    }


@functools.cache
def _list_other_families() -> tuple[str, ...]:
    """Families of the machine but the default, those with many scripts first."""
    return tuple(sorted(_list_font_files().keys() - {_DEFAULT}, key=lambda name: (not name.startswith(_LIKELY), name)))
