"""Tokens: words of any script, pairs of characters where a script has no spaces."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanrec.features.pipeline import default_text_feature
from leanrec.features.tokenization import strip_markup, tokenize


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Matrix (1999)", ["the", "matrix", "1999"]),
        ("Rocky 2", ["rocky", "2"]),
        ("snake_case-and-dash", ["snake", "case", "and", "dash"]),
        ("STRASSE Straße", ["strasse", "strasse"]),
        ("\uff26\uff35\uff2c\uff2c\u3000\uff57\uff49\uff44\uff54\uff48", ["full", "width"]),
        ("机器学习", ["机器", "器学", "学习"]),
        ("爱", ["爱"]),
        ("用Python学习", ["用", "python", "学习"]),
        ("東京タワー", ["東京", "京タ", "タワ", "ワー"]),
        ("한국어 영화", ["한국어", "영화"]),
        ("हिन्दी फ़िल्म", ["हिन्दी", "फ़िल्म"]),
        ("ไทย", ["ไท", "ทย"]),
        ("العربية السينما", ["العربية", "السينما"]),
        ("😀 ... !?", []),
        ("", []),
    ],
)
def test_tokens(text: str, expected: list[str]) -> None:
    assert tokenize(text) == [*map(_nfkc, expected)]


def _nfkc(text: str) -> str:
    import unicodedata

    return unicodedata.normalize("NFKC", text).casefold()


def test_ngrams_follow_the_words() -> None:
    assert tokenize("a b c", 3) == ["a", "b", "c", "a b", "b c", "a b c"]
    assert tokenize("one", 3) == ["one"]


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_any_text_gives_tokens_without_blanks(text: str) -> None:
    for token in tokenize(text, 1):
        assert token
        assert not any(map(str.isspace, token))


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_texts_side_by_side_give_the_tokens_of_each(one: str, two: str) -> None:
    assert tokenize(f"{one} . {two}") == tokenize(one) + tokenize(two)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<p>oven&nbsp;&amp;more</p><br/>", "oven &more"),
        ("<b class='x'>Tom &amp; Jerry</b><!-- no --> end", "Tom & Jerry end"),
        ("<script>var a = 1;</script>A<STYLE>b {}</STYLE>", "A"),
        ("&lt;p&gt;twice&amp;nbsp;escaped&lt;/p&gt;", "twice escaped"),
        ("caf&#233; &#x1F600;", "café 😀"),
        ("a < b > c", "a < b > c"),
        ("I <3 R&B; AT&T &notanentity;", "I <3 R&B; AT&T &notanentity;"),
        ("two  blanks", "two  blanks"),
        ("x<y and y>z of List<Item>", "x<y and y>z of List<Item>"),
    ],
)
def test_markup_is_read_as_the_text_that_it_shows(text: str, shown: str) -> None:
    assert strip_markup(text) == shown


@pytest.mark.parametrize("name", ["tfidf", "hashing"])
def test_no_text_feature_has_tags_as_words(name: str) -> None:
    column = np.array(["<p>oven&nbsp;&amp;more</p><br/>", "<p>tea</p>", ""], np.dtypes.StringDType())
    plain = np.array(["oven more", "tea", ""], np.dtypes.StringDType())
    feature = default_text_feature(name)
    np.testing.assert_array_equal(
        feature.fit(column).transform(column).toarray(), feature.fit(plain).transform(plain).toarray()
    )
