"""Sentiment of an English text: how positive and how subjective its words are.

De Smedt & Daelemans, "Pattern for Python", JMLR 2012: the lexicon that TextBlob carries, with its rules for
negation and for words like "very".
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from leanrec.errors import MissingExtraError
from leanrec.features.base import Column, as_texts, csr
from leanrec.run import Run
from leanrec.types import CSR, empty_csr

__all__ = ["Sentiment", "SentimentLexicon"]


@dataclasses.dataclass(frozen=True)
class Sentiment:
    """Polarity from −1 to 1 and subjectivity from 0 to 1; zeros where the lexicon knows no word.

    Needs the extra ``sentiment``; the lexicon is in that package, nothing is downloaded. English only.
    Cost O(words), about 0.05 ms for a sentence.
    """

    def fit(self, column: Column, run: Run = Run()) -> "SentimentLexicon":  # noqa: ARG002 - nothing to learn
        """There is nothing to learn. Raises MissingExtraError."""
        lexicon = SentimentLexicon(self)
        lexicon.transform(column[:1])
        return lexicon


@dataclasses.dataclass(frozen=True)
class SentimentLexicon:
    """A Sentiment, ready to use.

    Attributes:
        settings: what it was made with.
    """

    settings: Sentiment

    @property
    def names(self) -> tuple[str, ...]:
        """Polarity and subjectivity."""
        return ("polarity", "subjectivity")

    @functools.cached_property
    def _score(self) -> Any:
        try:
            from textblob.en import sentiment  # noqa: PLC0415 - an optional package
        except ImportError as error:
            raise MissingExtraError("Sentiment", "sentiment") from error
        return sentiment

    def transform(self, column: Column) -> CSR:
        """(n, 2)."""
        score, texts = self._score, as_texts(column)
        return csr(np.array([score(text)[:2] for text in texts])) if texts else empty_csr(0, 2)
