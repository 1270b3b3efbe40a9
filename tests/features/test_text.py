"""TF-IDF and hashed text: the contract, and scikit-learn as the independent twin."""

import dataclasses

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from contracts.feature import FeatureContract, texts
from leanrec.errors import SettingError
from leanrec.features.text import HashedText, TfIdf
from leanrec.features.tokenization import tokenize

CORPUS = texts(
    "a star and a ship",
    "the ship of love, love and love",
    "murder on the orbit",
    "",
    "star star star",
    "机器学习 and 数学",
)


class TestTfIdf(FeatureContract):
    feature = TfIdf()
    column = CORPUS
    unseen = texts("zebra", "烹饪")


class TestTfIdfOfPairs(FeatureContract):
    feature = TfIdf(ngrams=2, max_terms=12)
    column = CORPUS
    unseen = texts("zebra crossing")


class TestHashedText(FeatureContract):
    feature = HashedText(n_features=512)
    column = CORPUS
    unseen = texts("zebra")
    unseen_gives_zeros = False


def test_agrees_with_scikit_learn() -> None:
    theirs = TfidfVectorizer(analyzer=tokenize, sublinear_tf=True)
    expected = theirs.fit_transform(CORPUS.tolist())
    fitted = TfIdf(max_share=1.0, keep_stop_words=True).fit(CORPUS)
    assert fitted.names == tuple(theirs.get_feature_names_out())
    np.testing.assert_allclose(fitted.transform(CORPUS).toarray(), expected.toarray(), rtol=1e-5)


def test_leaves_out_rare_and_common_words() -> None:
    column = texts(*(f"the film w{i % 7} once{i}" for i in range(40)))
    assert set(TfIdf(min_items=2, max_share=0.5).fit(column).names) == {f"w{i}" for i in range(7)}


def test_keeps_common_words_of_a_small_table() -> None:
    assert "the" in TfIdf(max_share=0.1, keep_stop_words=True).fit(texts(*["the end"] * 10)).names
    assert "the" not in TfIdf(max_share=0.1, keep_stop_words=True).fit(texts(*["the end"] * 11)).names


def test_stop_words_do_not_make_texts_similar() -> None:
    column = texts(
        "Python for data science", "Sourdough bread for beginners", "Brot für die Welt", "Zucker für uns", "It"
    )
    for feature in (TfIdf(), TfIdf(ngrams=2), HashedText(n_features=2**16)):
        X = feature.fit(column).transform(column).toarray()
        assert np.count_nonzero(X @ X.T) == len(column)  # each is like itself alone, also the one of such words only
        with_all = dataclasses.replace(feature, keep_stop_words=True)
        Y = with_all.fit(column).transform(column).toarray()
        assert Y[0] @ Y[1] > 0
        assert Y[2] @ Y[3] > 0


def test_keeps_the_most_widespread_terms() -> None:
    assert TfIdf(max_terms=2).fit(texts("w b", "b z", "z x", "b x x x x")).names == ("b", "x")


def test_same_words_are_near_whatever_the_script() -> None:
    X = TfIdf().fit(CORPUS).transform(texts("数学和机器", "机器数学", "star")).toarray()
    assert X[0] @ X[1] > 0.5
    assert X[0] @ X[2] == 0


def test_hashed_texts_are_as_near_as_their_words() -> None:
    X = HashedText(ngrams=1).fit(CORPUS).transform(CORPUS).toarray()
    Y = TfIdf(max_share=1.0).fit(CORPUS).transform(CORPUS).toarray()
    np.testing.assert_allclose(X @ X.T, Y @ Y.T, atol=1e-5)


@pytest.mark.parametrize("settings", [{"ngrams": 0}, {"max_terms": 0}, {"min_items": 0}, {"max_share": 1.5}])
def test_refuses_wrong_settings(settings: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=f"{next(iter(settings))} must be"):
        TfIdf(**settings)  # type: ignore[arg-type]
