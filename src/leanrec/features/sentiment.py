"""Sentiment of English text: polarity and subjectivity from a lexicon.

De Smedt & Daelemans, "Pattern for Python", JMLR 2012: the lexicon of TextBlob, with its rules for
negation and for intensifiers such as "very".
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from leanrec.errors import MissingExtraError
from leanrec.features.base import Column, to_csr, to_texts
from leanrec.run import Run
from leanrec.types import CSR, empty_csr

__all__ = ["FittedSentimentScore", "SentimentScore"]


@dataclasses.dataclass(frozen=True)
class SentimentScore:
    """Polarity from −1 to 1 and subjectivity from 0 to 1; zeros where no word is in the lexicon.

    Needs the extra ``sentiment``; the lexicon is in that package, nothing is downloaded. English only.
    Cost O(words), about 0.05 ms for a sentence.
    """

    def fit(self, column: Column, run: Run = Run()) -> "FittedSentimentScore":  # noqa: ARG002 - nothing to learn
        """Return the transformer; it learns nothing. Raises MissingExtraError."""
        lexicon = FittedSentimentScore(self)
        lexicon.transform(column[:1])
        return lexicon


@dataclasses.dataclass(frozen=True)
class FittedSentimentScore:
    """A fitted `SentimentScore`.

    Attributes:
        settings: settings of the fit.
    """

    settings: SentimentScore

    @property
    def names(self) -> tuple[str, ...]:
        """``polarity`` and ``subjectivity``."""
        return ("polarity", "subjectivity")

    @functools.cached_property
    def _score(self) -> Any:
        try:
            from textblob.en import sentiment  # noqa: PLC0415 - an optional package
        except ImportError as error:
            raise MissingExtraError("SentimentScore", "sentiment") from error
        return sentiment

    def transform(self, column: Column) -> CSR:
        """(n, 2)."""
        score, texts = self._score, to_texts(column)
        return to_csr(np.array([score(text)[:2] for text in texts])) if texts else empty_csr(0, 2)
