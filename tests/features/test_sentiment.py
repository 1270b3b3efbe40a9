"""Sentiment: the contract, signs and negation, and what happens without the extra."""

import subprocess
import sys

import numpy as np
import pytest

from contracts.feature import FeatureContract, texts
from leanrec.errors import MissingExtraError
from leanrec.features.sentiment import SentimentScore


class TestSentiment(FeatureContract):
    feature = SentimentScore()
    column = texts("I love this great movie", "terrible, awful and boring", "", "a table of numbers", "not good")
    unseen = texts("机器学习", "zebra", "😀")
    unit = False


def test_polarity_of_good_bad_and_negated_words() -> None:
    column = texts("a wonderful film", "a horrible film", "good", "not good", "a film")
    polarity, subjectivity = SentimentScore().fit(column).transform(column).toarray().T
    assert polarity[0] > 0.5
    assert polarity[1] < -0.5
    assert polarity[2] > 0 > polarity[3]
    assert polarity[4] == 0
    assert (np.abs(polarity) <= 1).all()
    assert ((subjectivity >= 0) & (subjectivity <= 1)).all()


def test_needs_no_download(tmp_path: object) -> None:
    code = (
        "import socket; socket.socket.connect = socket.getaddrinfo = None\n"
        "import numpy as np; from leanrec.features.sentiment import SentimentScore\n"
        "column = np.array(['lovely'], np.dtypes.StringDType())\n"
        "print(SentimentScore().fit(column).transform(column).toarray()[0, 0])"
    )
    environment = {"HOME": str(tmp_path), "NLTK_DATA": str(tmp_path), "PATH": ""}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) == 0.5


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textblob.en", None)
    with pytest.raises(MissingExtraError, match=r'pip install "leanrec\[sentiment\]"'):
        SentimentScore().fit(texts("good"))
