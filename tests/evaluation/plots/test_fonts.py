"""Selection of fonts, also of fonts installed after matplotlib made its list."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from leanrec.evaluation.plots.fonts import find_font_families, replace_missing_glyphs

# The first cuneiform sign that no font of this machine has. Finding it writes matplotlib's list of fonts.
FIND_SIGN = """
from leanrec.evaluation.plots.fonts import replace_missing_glyphs, find_font_families
signs = [chr(code) for code in range(0x12000, 0x12400)]
families = find_font_families(signs)
print(next(ord(sign) for sign in signs if replace_missing_glyphs(sign, families) != sign))
"""

DRAW = """
import sys, warnings
from leanrec.evaluation.plots.figures import draw_recommendations
from leanrec.evaluation.plots.fonts import replace_missing_glyphs, find_font_families
warnings.simplefilter("error")
families = find_font_families([sys.argv[1]])
draw_recommendations(sys.argv[2], [sys.argv[1]], [1.0])
print(replace_missing_glyphs(sys.argv[1], families), *families, sep="|")
"""


def write_font(path: Path, letter: str, family: str) -> None:
    """A TrueType font with one letter, a triangle."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    pen.lineTo((300, 700))
    pen.lineTo((600, 0))
    pen.closePath()
    glyph = pen.glyph()
    font = FontBuilder(1000)
    font.setupGlyphOrder([".notdef", "sign"])
    font.setupCharacterMap({ord(letter): "sign"})
    font.setupGlyf({".notdef": glyph, "sign": glyph})
    font.setupHorizontalMetrics({".notdef": (600, 0), "sign": (600, 0)})
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": family, "styleName": "Regular"})
    font.setupOS2(sTypoAscender=800, usWeightClass=400)
    font.setupPost()
    path.parent.mkdir(parents=True)
    font.save(path)


@pytest.mark.system
def test_a_font_installed_after_the_first_plot_is_used(tmp_path: Path) -> None:
    environment = os.environ | {"MPLCONFIGDIR": str(tmp_path / "config"), "XDG_DATA_HOME": str(tmp_path / "data")}

    def call(code: str, *arguments: object) -> str:
        command = [sys.executable, "-c", code, *map(str, arguments)]
        called = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert called.returncode == 0, called.stderr
        return called.stdout.strip()

    sign = chr(int(call(FIND_SIGN)))
    (listed,) = (tmp_path / "config").glob("fontlist*.json")
    assert call(DRAW, sign, tmp_path / "before.png").startswith("\u25a1|")

    write_font(tmp_path / "data" / "fonts" / "late.ttf", sign, "Late Arrival")
    assert call(DRAW, sign, tmp_path / "after.png") == f"{sign}|DejaVu Sans|Late Arrival"
    # Matplotlib's own list is still the old one, so the font was not found there.
    assert "Late Arrival" not in {font["name"] for font in json.loads(listed.read_text())["ttflist"]}

    # A font that is in the list and was removed since is no error either.
    listed.unlink()
    assert call(DRAW, sign, tmp_path / "listed.png").endswith("Late Arrival")
    assert "Late Arrival" in {font["name"] for font in json.loads(listed.read_text())["ttflist"]}
    (tmp_path / "data" / "fonts" / "late.ttf").unlink()
    assert call(DRAW, sign, tmp_path / "gone.png").startswith("\u25a1|")


def test_letters_of_the_default_font_need_no_other() -> None:
    assert find_font_families(["abc"]) == ["DejaVu Sans"]
    assert find_font_families([]) == ["DejaVu Sans"]


def test_letters_without_a_font_become_squares() -> None:
    assert replace_missing_glyphs("abc", find_font_families(["abc"])) == "abc"
    # The last plane of private letters belongs to no script.
    assert replace_missing_glyphs("a\U0010fffdb", find_font_families(["a\U0010fffdb"])) in {"ab", "a\u25a1b"}
    assert replace_missing_glyphs("a\nb\x07", ["DejaVu Sans"]) == "a\nb"
