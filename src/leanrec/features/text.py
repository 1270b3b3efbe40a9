"""TF-IDF of a text column, over a vocabulary or over hashed n-grams.

Salton & Buckley, "Term-weighting approaches in automatic text retrieval", 1988; Weinberger et al., "Feature
Hashing for Large Scale Multitask Learning", ICML 2009.
"""

import dataclasses
import functools
from typing import Annotated, Any

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.preprocessing import normalize

from leanrec.features.base import STRINGS, Column, StringArray, to_csr, to_texts
from leanrec.features.tokenization import STOP_WORDS, tokenize
from leanrec.field_checks import ArrayShape, SharedSizes
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, empty_csr

__all__ = ["FittedHashedText", "FittedTfIdf", "HashedText", "TermVocabulary", "TfIdf"]


@dataclasses.dataclass(frozen=True, eq=False)
class TermVocabulary:
    """A vocabulary of tokens.

    Attributes:
        words: (F,) StringDType, sorted.
        ngrams: number of tokens of the longest n-gram.
        keep_stop_words: whether stop words such as "the" are terms.
    """

    words: Annotated[StringArray, ArrayShape("F")]
    ngrams: int
    keep_stop_words: bool = True

    def __len__(self) -> int:
        return len(self.words)

    @functools.cached_property
    def _counter(self) -> Any:
        analyzer = _build_analyzer(self.ngrams, keep_stop_words=self.keep_stop_words)
        return CountVectorizer(analyzer=analyzer, vocabulary=self.words.tolist(), dtype=np.float32)

    def count(self, texts: list[str]) -> CSR:
        """(n, F) counts of each term in each text. O(characters)."""
        if not len(self) or not texts:
            return empty_csr(len(texts), len(self))
        return to_csr(self._counter.transform(texts))

    @staticmethod
    def learn(
        texts: list[str], ngrams: int, max_terms: int, min_items: int, max_share: float, *, keep_stop_words: bool
    ) -> tuple["TermVocabulary", CSR]:
        """The vocabulary of the texts, and their counts (n, F).

        Terms in fewer than ``min_items`` texts are dropped, and terms in more than ``max_share`` of the texts (and in
        more than ten). At most ``max_terms`` are kept, the most frequent.
        """
        counter = CountVectorizer(analyzer=_build_analyzer(ngrams, keep_stop_words=keep_stop_words), dtype=np.float32)
        if not any(tokenize(text) for text in texts):
            return TermVocabulary(np.zeros(0, STRINGS), ngrams, keep_stop_words), empty_csr(len(texts), 0)
        counts = to_csr(counter.fit_transform(texts))
        items = np.bincount(counts.indices, minlength=counts.shape[1])
        fits = (items >= min_items) & (items <= max(max_share * len(texts), 10))
        most = np.argsort(-np.where(fits, items, 0), kind="stable")[:max_terms]
        kept = np.sort(most[fits[most]])
        words = np.array(counter.get_feature_names_out().tolist(), dtype=STRINGS)
        return TermVocabulary(words[kept], ngrams, keep_stop_words), to_csr(counts[:, kept])


@dataclasses.dataclass(frozen=True)
class TfIdf:
    """TF-IDF: (1 + ln tf) · (1 + ln((1 + n) / (1 + df))) of each term.

    Rows have unit length. Cost O(characters) time; 4 bytes a term and 8 a stored entry.
    """

    ngrams: int = setting(1, between=(1, 5), doc="Number of words of the longest n-gram.")
    max_terms: int = setting(50_000, at_least=1, doc="Maximum number of terms; those in most texts are kept.")
    min_items: int = setting(1, at_least=1, doc="Minimum number of texts with a term.")
    max_share: float = setting(
        0.5, between=(0, 1), doc="Terms in more than this share of the texts (and in more than ten) are dropped."
    )
    keep_stop_words: bool = setting(
        False,
        doc=(
            'Whether stop words such as "the" and "für" are terms. Two texts that share only these have nothing in '
            "common."
        ),
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(self, column: Column, run: Run = Run()) -> "FittedTfIdf":  # noqa: ARG002 - nothing random
        """Learn the terms and their weights."""
        terms, counts = TermVocabulary.learn(
            to_texts(column),
            self.ngrams,
            self.max_terms,
            self.min_items,
            self.max_share,
            keep_stop_words=self.keep_stop_words,
        )
        return FittedTfIdf(self, terms, compute_idf(counts))


@dataclasses.dataclass(frozen=True, eq=False)
class FittedTfIdf:
    """A fitted `TfIdf`.

    Attributes:
        settings: settings of the fit.
        terms: F terms.
        idf: (F,) float32 weight of each.
    """

    settings: TfIdf
    terms: Annotated[TermVocabulary, SharedSizes(F="F")]
    idf: Annotated[Float32Array, ArrayShape("F")]

    @property
    def names(self) -> tuple[str, ...]:
        """The terms."""
        return tuple(self.terms.words.tolist())

    def transform(self, column: Column) -> CSR:
        """(n, F), rows of unit length or zero."""
        return weigh_terms(self.terms.count(to_texts(column)), self.idf)


@dataclasses.dataclass(frozen=True)
class HashedText:
    """TF-IDF by feature hashing: each n-gram adds to one of ``n_features`` columns, with a sign, by its hash.

    The number of columns is fixed for any vocabulary, but columns have no names. Rows have unit length.
    """

    n_features: int = setting(2**14, at_least=1, doc="Number of columns F.")
    ngrams: int = setting(2, between=(1, 5), doc="Number of words of the longest n-gram.")
    keep_stop_words: bool = setting(False, doc="As in `TfIdf`.")

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(self, column: Column, run: Run = Run()) -> "FittedHashedText":  # noqa: ARG002 - nothing random
        """Learn the document frequency of each column."""
        empty = FittedHashedText(self, np.ones(self.n_features, np.float32))
        return dataclasses.replace(empty, idf=compute_idf(empty.count(column)))


@dataclasses.dataclass(frozen=True, eq=False)
class FittedHashedText:
    """A fitted HashedText.

    Attributes:
        settings: settings of the fit.
        idf: (F,) float32.
    """

    settings: HashedText
    idf: Annotated[Float32Array, ArrayShape("F")]

    @property
    def names(self) -> tuple[str, ...]:
        """``#0``, ``#1`` …: a hashed column has no word."""
        return tuple(f"#{bucket}" for bucket in range(self.settings.n_features))

    @functools.cached_property
    def _hasher(self) -> Any:
        analyzer = _build_analyzer(self.settings.ngrams, keep_stop_words=self.settings.keep_stop_words)
        return HashingVectorizer(n_features=self.settings.n_features, analyzer=analyzer, norm=None, dtype=np.float32)

    def count(self, column: Column) -> CSR:
        """(n, F) signed counts."""
        texts = to_texts(column)
        return to_csr(self._hasher.transform(texts)) if texts else empty_csr(0, self.settings.n_features)

    def transform(self, column: Column) -> CSR:
        """(n, F), rows of unit length or zero."""
        return weigh_terms(self.count(column), self.idf)


def _build_analyzer(ngrams: int, *, keep_stop_words: bool) -> "functools.partial[list[str]]":
    return functools.partial(tokenize, ngrams=ngrams, without=frozenset() if keep_stop_words else STOP_WORDS)


def compute_idf(counts: CSR) -> Float32Array:
    """(F,) 1 + ln((1 + n) / (1 + df)), as in scikit-learn."""
    items = np.bincount(counts.indices, minlength=counts.shape[1])
    return (1 + np.log((1 + counts.shape[0]) / (1 + items))).astype(np.float32)


def weigh_terms(counts: CSR, weights: Float32Array) -> CSR:
    """Weight counts by sublinear TF-IDF and scale rows to unit length."""
    data = np.sign(counts.data) * (1 + np.log(np.abs(counts.data))) * weights[counts.indices]
    weighted = sp.csr_array((data, counts.indices, counts.indptr), shape=counts.shape)
    return to_csr(normalize(weighted)) if weighted.nnz else to_csr(weighted)
