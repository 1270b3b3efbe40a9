"""Words of a text column: TF-IDF over a vocabulary, and the same over hashed n-grams.

Salton & Buckley, "Term-weighting approaches in automatic text retrieval", 1988; Weinberger et al., "Feature
Hashing for Large Scale Multitask Learning", ICML 2009.
"""

import dataclasses
import functools
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.preprocessing import normalize

from leanrec.features.base import STRINGS, Column, StringArray, as_texts, csr
from leanrec.features.stop_words import FUNCTION_WORDS
from leanrec.features.tokens import tokens
from leanrec.run import Run
from leanrec.settings import check_at_least, check_between
from leanrec.types import CSR, Float32Array, empty_csr

__all__ = ["HashedText", "HashedWeights", "Terms", "TfIdf", "TfIdfWeights"]


@dataclasses.dataclass(frozen=True, eq=False)
class Terms:
    """A vocabulary of tokens.

    Attributes:
        words: (F,) StringDType, sorted.
        ngrams: longest run of tokens that counts as one term.
        function_words: whether words such as "the" count.
    """

    words: StringArray
    ngrams: int
    function_words: bool = True

    def __len__(self) -> int:
        return len(self.words)

    @functools.cached_property
    def _counter(self) -> Any:
        analyzer = _analyzer(self.ngrams, function_words=self.function_words)
        return CountVectorizer(analyzer=analyzer, vocabulary=self.words.tolist(), dtype=np.float32)

    def count(self, texts: list[str]) -> CSR:
        """(n, F) how often each term is in each text. O(characters)."""
        if not len(self) or not texts:
            return empty_csr(len(texts), len(self))
        return csr(self._counter.transform(texts))

    @staticmethod
    def learn(
        texts: list[str], ngrams: int, max_terms: int, min_items: int, max_share: float, *, function_words: bool
    ) -> tuple["Terms", CSR]:
        """The vocabulary of the texts, and their counts (n, F).

        Left out: terms in fewer than ``min_items`` texts, terms in more than ``max_share`` of them (and in
        more than ten), and beyond ``max_terms`` the rarest.
        """
        counter = CountVectorizer(analyzer=_analyzer(ngrams, function_words=function_words), dtype=np.float32)
        if not any(tokens(text) for text in texts):
            return Terms(np.zeros(0, STRINGS), ngrams, function_words), empty_csr(len(texts), 0)
        counts = csr(counter.fit_transform(texts))
        items = np.bincount(counts.indices, minlength=counts.shape[1])
        fits = (items >= min_items) & (items <= max(max_share * len(texts), 10))
        most = np.argsort(-np.where(fits, items, 0), kind="stable")[:max_terms]
        kept = np.sort(most[fits[most]])
        words = np.array(counter.get_feature_names_out().tolist(), dtype=STRINGS)
        return Terms(words[kept], ngrams, function_words), csr(counts[:, kept])


@dataclasses.dataclass(frozen=True)
class TfIdf:
    """Words by how often they are in the text and how rare among all: (1 + ln tf) · (1 + ln (1+n)/(1+df)).

    Rows have unit length. Cost O(characters) time; 4 bytes a term and 8 a stored entry.

    Attributes:
        ngrams: longest run of words that counts as a term.
        max_terms: most terms to keep, the most widespread first.
        min_items: least number of texts that a term must be in.
        max_share: a term in more than this share of the texts (and in more than ten) is left out.
        function_words: whether words such as "the" and "für" count. They say nothing about a topic, so that two
            texts that share only these have nothing in common.
    """

    ngrams: int = 1
    max_terms: int = 50_000
    min_items: int = 1
    max_share: float = 0.5
    function_words: bool = False

    def __post_init__(self) -> None:
        _check(self.ngrams, self.max_terms, self.min_items, self.max_share)

    def fit(self, column: Column, run: Run = Run()) -> "TfIdfWeights":  # noqa: ARG002 - nothing random
        """Learn the terms and their weights."""
        terms, counts = Terms.learn(
            as_texts(column),
            self.ngrams,
            self.max_terms,
            self.min_items,
            self.max_share,
            function_words=self.function_words,
        )
        return TfIdfWeights(self, terms, idf(counts))


@dataclasses.dataclass(frozen=True, eq=False)
class TfIdfWeights:
    """A fitted TfIdf.

    Attributes:
        settings: what it was fitted with.
        terms: F terms.
        idf: (F,) float32 weight of each.
    """

    settings: TfIdf
    terms: Terms
    idf: Float32Array

    @property
    def names(self) -> tuple[str, ...]:
        """The terms."""
        return tuple(self.terms.words.tolist())

    def transform(self, column: Column) -> CSR:
        """(n, F), rows of unit length or zero."""
        return weigh_terms(self.terms.count(as_texts(column)), self.idf)


@dataclasses.dataclass(frozen=True)
class HashedText:
    """TF-IDF without a vocabulary: each n-gram goes to one of ``buckets`` columns, with a sign, by its hash.

    The table never grows, whatever words come; in return a column has no name. Rows have unit length.

    Attributes:
        buckets: number of columns F.
        ngrams: longest run of words.
        function_words: as in TfIdf.
    """

    buckets: int = 2**14
    ngrams: int = 2
    function_words: bool = False

    def __post_init__(self) -> None:
        check_at_least("buckets", self.buckets, 1)
        check_between("ngrams", self.ngrams, 1, 5)

    def fit(self, column: Column, run: Run = Run()) -> "HashedWeights":  # noqa: ARG002 - nothing random
        """Learn how rare each bucket is."""
        empty = HashedWeights(self, np.ones(self.buckets, np.float32))
        return dataclasses.replace(empty, idf=idf(empty.count(column)))


@dataclasses.dataclass(frozen=True, eq=False)
class HashedWeights:
    """A fitted HashedText.

    Attributes:
        settings: what it was fitted with.
        idf: (F,) float32.
    """

    settings: HashedText
    idf: Float32Array

    @property
    def names(self) -> tuple[str, ...]:
        """``#0``, ``#1`` …: a bucket has no word of its own."""
        return tuple(f"#{bucket}" for bucket in range(self.settings.buckets))

    @functools.cached_property
    def _hasher(self) -> Any:
        analyzer = _analyzer(self.settings.ngrams, function_words=self.settings.function_words)
        return HashingVectorizer(n_features=self.settings.buckets, analyzer=analyzer, norm=None, dtype=np.float32)

    def count(self, column: Column) -> CSR:
        """(n, F) signed counts."""
        texts = as_texts(column)
        return csr(self._hasher.transform(texts)) if texts else empty_csr(0, self.settings.buckets)

    def transform(self, column: Column) -> CSR:
        """(n, F), rows of unit length or zero."""
        return weigh_terms(self.count(column), self.idf)


def _analyzer(ngrams: int, *, function_words: bool) -> "functools.partial[list[str]]":
    return functools.partial(tokens, ngrams=ngrams, without=frozenset() if function_words else FUNCTION_WORDS)


def idf(counts: CSR) -> Float32Array:
    """(F,) 1 + ln((1 + n) / (1 + df)), as scikit-learn has it."""
    items = np.bincount(counts.indices, minlength=counts.shape[1])
    return (1 + np.log((1 + counts.shape[0]) / (1 + items))).astype(np.float32)


def weigh_terms(counts: CSR, weights: Float32Array) -> CSR:
    """Counts → unit rows of sublinear TF-IDF."""
    data = np.sign(counts.data) * (1 + np.log(np.abs(counts.data))) * weights[counts.indices]
    weighted = sp.csr_array((data, counts.indices, counts.indptr), shape=counts.shape)
    return csr(normalize(weighted)) if weighted.nnz else csr(weighted)


def _check(ngrams: int, max_terms: int, min_items: int, max_share: float) -> None:
    check_between("ngrams", ngrams, 1, 5)
    check_at_least("max_terms", max_terms, 1)
    check_at_least("min_items", min_items, 1)
    check_between("max_share", max_share, 0, 1)
