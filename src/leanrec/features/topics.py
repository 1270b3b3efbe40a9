"""Topic models of a text column: non-negative matrix factorization, or latent Dirichlet allocation.

Lee & Seung, "Learning the parts of objects by non-negative matrix factorization", Nature 1999; Blei, Ng &
Jordan, "Latent Dirichlet Allocation", JMLR 2003 (with the online updates of Hoffman, Blei & Bach, NIPS 2010).
"""

import dataclasses
import functools
import warnings
from typing import Annotated, Any

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.special
from sklearn.decomposition import NMF, LatentDirichletAllocation
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import normalize

from leanrec.features.base import Column, to_csr, to_texts
from leanrec.features.text import TermVocabulary, compute_idf, weigh_terms
from leanrec.field_checks import ArrayShape, SharedSizes
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, empty_csr

__all__ = ["FittedTopicModel", "TopicModel"]


@dataclasses.dataclass(frozen=True)
class TopicModel:
    """Share of each of K topics in a text. Rows have unit length.

    Cost: fit O(iterations · entries · K); a text O(words · K) and a K × K least-squares problem.
    """

    n_topics: int = setting(20, at_least=1, doc="Number of topics K; fewer where there are fewer texts or terms.")
    method: str = setting(
        "nmf",
        one_of=("nmf", "lda"),
        doc='"nmf" (non-negative factors, sharper on short texts) or "lda" (a mixture, for longer ones).',
    )
    max_terms: int = setting(5_000, at_least=1, doc="Maximum number of terms.")
    min_items: int = setting(2, at_least=1, doc="Minimum number of texts with a term.")
    n_iter: int = setting(
        0,
        at_least=0,
        doc='Maximum number of iterations; 0 = 200 for "nmf", 10 for "lda".',
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(self, column: Column, run: Run = Run()) -> "FittedTopicModel":
        """Learn the topics. The result depends on ``run.seed``."""
        terms, counts = TermVocabulary.learn(
            to_texts(column), 1, self.max_terms, self.min_items, 0.5, keep_stop_words=False
        )
        weights = compute_idf(counts)
        k = min(self.n_topics, *counts.shape)
        if not k:
            return FittedTopicModel(self, terms, weights, np.zeros((0, len(terms)), np.float32))
        with run.limit_threads():
            topics = (
                self._nmf(weigh_terms(counts, weights), k, run) if self.method == "nmf" else self._lda(counts, k, run)
            )
        return FittedTopicModel(self, terms, weights, topics)

    def _nmf(self, X: CSR, k: int, run: Run) -> Float32Array:
        model = NMF(k, init="nndsvda", random_state=run.seed, max_iter=self.n_iter or 200, tol=1e-3)
        with warnings.catch_warnings(), np.errstate(invalid="ignore"):
            # Factors that have not quite converged are good topics. The square root of a residual that rounding made
            # negative is only reported.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X.astype(np.float64))
        topics: Float32Array = model.components_[model.components_.sum(axis=1) > 0].astype(np.float32)
        return topics

    def _lda(self, X: CSR, k: int, run: Run) -> Float32Array:
        model = LatentDirichletAllocation(
            k, random_state=run.seed, max_iter=self.n_iter or 10, learning_method="online"
        )
        topics: Float32Array = model.fit(X).components_.astype(np.float32)
        return topics


@dataclasses.dataclass(frozen=True, eq=False)
class FittedTopicModel:
    """A fitted `TopicModel`.

    Attributes:
        settings: settings of the fit.
        terms: F terms.
        idf: (F,) float32.
        topics: (K, F) float32 weight of each term in each topic.
    """

    settings: TopicModel
    terms: Annotated[TermVocabulary, SharedSizes(F="F")]
    idf: Annotated[Float32Array, ArrayShape("F")]
    topics: Annotated[Float32Array, ArrayShape("K", "F")]

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The three strongest terms of each topic."""
        best = np.argsort(-self.topics, axis=1, kind="stable")[:, :3]
        return tuple(" ".join(words) for words in self.terms.words[best].tolist())

    def transform(self, column: Column) -> CSR:
        """(n, K), rows of unit length or zero."""
        counts = self.terms.count(to_texts(column))
        if not len(self.topics) or not counts.nnz:
            return empty_csr(counts.shape[0], len(self.topics))
        some = np.flatnonzero(np.diff(counts.indptr))
        shares = np.zeros((counts.shape[0], len(self.topics)))
        shares[some] = self._nmf(counts[some]) if self.settings.method == "nmf" else self._lda(counts[some])
        return to_csr(normalize(shares))

    def _nmf(self, counts: CSR) -> Any:
        """Non-negative least squares for each text, so that a text gives the same result alone and in a batch."""
        gram = self.topics.astype(np.float64) @ self.topics.T
        gram[np.diag_indices_from(gram)] += 1e-9 * gram.trace()
        lower = scipy.linalg.cholesky(gram, lower=True)
        products = weigh_terms(counts, self.idf) @ self.topics.T.astype(np.float64)
        targets = scipy.linalg.solve_triangular(lower, products.T, lower=True).T
        return np.array([scipy.optimize.nnls(lower.T, target)[0] for target in targets])

    @functools.cached_property
    def _model(self) -> Any:
        k = len(self.topics)
        model = LatentDirichletAllocation(k)
        model.components_ = self.topics.astype(np.float64)
        model.n_features_in_ = self.topics.shape[1]
        model.doc_topic_prior_ = 1 / k
        # exp(E[log β]) under the Dirichlet that the topics are the parameters of.
        model.exp_dirichlet_component_ = np.exp(
            scipy.special.digamma(model.components_) - scipy.special.digamma(model.components_.sum(axis=1))[:, None]
        )
        return model

    def _lda(self, counts: CSR) -> Any:
        return self._model.transform(counts.astype(np.float64))
