"""Static embeddings: the contract, that meaning counts and not letters, and life without the extra."""

import sys
from pathlib import Path

import numpy as np
import pytest

from contracts.feature import FeatureContract, texts
from leanrec.errors import MissingExtraError, SettingError
from leanrec.features.embedding import StaticEmbedding

COLUMN = texts("a movie about space travel", "romantic comedy in Paris", "", "the murder of a detective", "机器学习")


class TestStaticEmbedding(FeatureContract):
    feature = StaticEmbedding()
    column = COLUMN
    unseen = texts("机器学习", "😀", "")


class TestStaticEmbeddingAsItIs(FeatureContract):
    feature = StaticEmbedding(center=False)
    column = COLUMN
    unseen = texts("机器学习", "")


def test_texts_that_share_no_word_can_be_near() -> None:
    fitted = StaticEmbedding(center=False).fit(COLUMN)
    a, near, far = fitted.transform(
        texts("astronauts orbit the moon", "a rocket flies to Mars", "baking sourdough bread")
    ).toarray()
    assert a @ near > 0.25
    assert a @ near > a @ far + 0.15


def test_texts_without_a_known_word_are_zero_and_not_a_direction() -> None:
    X = StaticEmbedding().fit(COLUMN).transform(texts("机器学习大的", "машинное обучение", "!? 😀", "space")).toarray()
    assert (X[:3] == 0).all()
    assert np.linalg.norm(X[3]) == pytest.approx(1, abs=1e-5)


def test_centring_takes_the_common_direction_away() -> None:
    column = texts(*(f"a film about {word}" for word in ("love", "war", "cooking", "chess", "space", "horses")))
    plain, centered = (
        StaticEmbedding(center=center).fit(column).transform(column).toarray() for center in (False, True)
    )
    above = np.triu_indices(6, 1)
    assert abs((centered @ centered.T)[above].mean()) < (plain @ plain.T)[above].mean()


def test_reads_a_folder_of_model2vec(tmp_path: Path) -> None:
    from model2vec import StaticModel
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "red": 1, "blue": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    vectors = np.array([[9, 9], [1, 0], [0, 1]], np.float32)
    StaticModel(vectors, tokenizer).save_pretrained(tmp_path / "table")
    fitted = StaticEmbedding(model=str(tmp_path / "table"), center=False).fit(texts("red"))
    np.testing.assert_allclose(
        fitted.transform(texts("red", "blue blue", "red blue", "green")).toarray(),
        [[1, 0], [0, 1], [0.5**0.5] * 2, [0, 0]],
        rtol=1e-6,
    )


def test_refuses_a_model_that_is_no_folder() -> None:
    with pytest.raises(SettingError, match='model must be "minilm" or a folder'):
        StaticEmbedding(model="minishlab/potion-base-8M").fit(COLUMN)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "model2vec", None)
    with pytest.raises(MissingExtraError, match=r'pip install "leanrec\[text\]"'):
        StaticEmbedding().fit(COLUMN)
