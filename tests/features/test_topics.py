"""Topics: the contract for both methods, and that they find the topics the texts were made of."""

import numpy as np
import pytest
from sklearn.decomposition import LatentDirichletAllocation

from contracts.feature import FeatureContract, texts
from leanrec.errors import SettingError
from leanrec.features.text import weigh_terms
from leanrec.features.topics import TopicModel
from leanrec.run import Run

WORDS = ("star ship orbit moon", "love kiss letter heart", "murder police clue trial")


def corpus(n: int = 36, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return texts(*(" ".join(rng.choice(WORDS[i % 3].split(), 6)) for i in range(n)))


class TestNMF(FeatureContract):
    feature = TopicModel(n_topics=3)
    column = corpus()
    unseen = texts("zebra", "烹饪")


class TestLDA(FeatureContract):
    feature = TopicModel(n_topics=3, method="lda", n_iter=10)
    column = corpus()
    unseen = texts("zebra", "烹饪")


@pytest.mark.parametrize("feature", [TopicModel(n_topics=3), TopicModel(n_topics=3, method="lda", n_iter=30)], ids=str)
def test_finds_the_topics(feature: TopicModel) -> None:
    fitted = feature.fit(corpus(), Run(seed=0))
    for name in fitted.names:
        assert any(set(name.split()) <= set(words.split()) for words in WORDS)
    best = fitted.transform(corpus()).toarray().argmax(axis=1)
    assert len(set(best[:3].tolist())) == 3
    assert (best == np.tile(best[:3], 12)).all()


def test_shares_of_factors_are_the_least_squares_solution() -> None:
    fitted = TopicModel(n_topics=3).fit(corpus())
    column = corpus(6, seed=5)
    X = weigh_terms(fitted.terms.count(column.tolist()), fitted.idf).toarray()
    shares = fitted.transform(column).toarray()
    H = fitted.topics.astype(np.float64)
    for x, share in zip(X, shares, strict=True):
        # KKT: the gradient is zero where a share is positive, and not negative where it is zero.
        scale = (share @ H @ x) / (share @ H @ H.T @ share)
        gradient = H @ (scale * share @ H - x)
        assert np.abs(gradient[share > 0]).max() < 1e-5
        assert (gradient[share == 0] > -1e-5).all()


def test_mixture_is_that_of_scikit_learn() -> None:
    column = corpus()
    fitted = TopicModel(n_topics=3, method="lda", n_iter=5).fit(column, Run(seed=2))
    counts = fitted.terms.count(column.tolist())
    model = LatentDirichletAllocation(3, random_state=2, max_iter=5, learning_method="online")
    expected = model.fit(counts).transform(counts)
    shares = fitted.transform(column).toarray()
    np.testing.assert_allclose(shares / shares.sum(axis=1, keepdims=True), expected, rtol=1e-3, atol=1e-4)


def test_has_no_more_topics_than_texts() -> None:
    assert len(TopicModel(n_topics=20, min_items=1).fit(texts("a b c d", "d e f g")).names) <= 2


def test_refuses_wrong_settings() -> None:
    with pytest.raises(SettingError, match="method must be one of nmf, lda"):
        TopicModel(method="plsa")
    with pytest.raises(SettingError, match="n_topics must be a number of at least 1"):
        TopicModel(n_topics=0)
