"""Text → tokens, in any script."""

import functools
import re
import unicodedata

__all__ = ["tokens"]

# Thai, Lao, Myanmar, Khmer, Japanese kana and Han are written without spaces between words.
_SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)


def tokens(text: str, ngrams: int = 1, without: frozenset[str] = frozenset()) -> list[str]:
    """The tokens of a text, lower-case, in order; then the runs of 2 … ``ngrams`` neighbours.

    Tokens of ``without`` are left out, unless the text has no other: "It" is a title.

    A token is a word (letters, their combining marks, digits). A run of a script that puts no spaces between
    words gives its overlapping pairs of characters instead, which is how search engines index such scripts.
    O(length).
    """
    found: list[str] = []
    for run in _pattern().finditer(unicodedata.normalize("NFKC", text).casefold()):
        spaceless, word = run.groups()
        if word:
            found.append(word)
        elif len(spaceless) == 1:
            found.append(spaceless)
        else:
            found += [spaceless[at : at + 2] for at in range(len(spaceless) - 1)]
    found = [each for each in found if each not in without] or found
    words = len(found)
    for n in range(2, ngrams + 1):
        found += [" ".join(found[at : at + n]) for at in range(words - n + 1)]
    return found


@functools.cache
def _pattern() -> re.Pattern[str]:
    # \w of the standard library leaves out combining marks, which would cut words of Hindi or Tamil apart.
    spaceless = re.compile(f"[{_SPACELESS}]")
    points = map(chr, range(0x300, 0x10000))
    marks = "".join(c for c in points if unicodedata.category(c)[0] == "M" and not spaceless.match(c))
    return re.compile(f"([{_SPACELESS}]+)|((?:[^\\W_{_SPACELESS}]|[{marks}])+)")
