"""Approximate retrieval: nearly the lists of exact search, under every rule, and exactly those where the index would not do."""

import dataclasses
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec import artifacts
from leanrec.errors import DataError, MissingExtraError, SettingError
from leanrec.protocols import Context
from leanrec.retrieval.approximate import RECALL, ApproximateIndex, ApproximateRetriever, has_faiss
from leanrec.retrieval.exact import ExactRetriever
from leanrec.types import Candidates, Float32Array, Int32Array, Queries, empty_csr

N, D, CLUSTERS = 20_000, 16, 200


@dataclasses.dataclass(frozen=True, eq=False)
class UserVectors:
    """Vectors of items and of users; the row of a query is its user."""

    vectors: Float32Array
    users: Float32Array

    @property
    def n_items(self) -> int:
        return len(self.vectors)

    def embed_queries(self, queries: Queries) -> Float32Array:
        return self.users[queries.users]

    def embed_items(self) -> Float32Array:
        return self.vectors

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        scores = self.embed_queries(queries) @ self.vectors.T
        return scores if items is None else scores[:, items]


def _make_model(seed: int = 0) -> tuple[UserVectors, np.ndarray]:
    """Items in clusters of different lengths, and the cluster of each. Item 0 is blank."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(CLUSTERS, D))
    cluster = rng.integers(0, CLUSTERS, N)
    vectors = (centers[cluster] + 0.2 * rng.normal(size=(N, D))) * rng.lognormal(0, 0.1, (N, 1))
    vectors[0] = 0
    users = centers[rng.integers(0, CLUSTERS, 220)] + 0.2 * rng.normal(size=(220, D))
    return UserVectors(vectors.astype(np.float32), users.astype(np.float32)), cluster


MODEL, CLUSTER = _make_model()
INDEX = ApproximateIndex.build(MODEL.vectors, MODEL.users[:160], threads=1)
assert INDEX is not None
TESTED = np.arange(160, 220, dtype=np.int32)  # users that the index was not measured on


def _ask(users: np.ndarray, n_items: int = N, seen: sp.csr_array | None = None) -> Queries:
    return Queries(users.astype(np.int32), empty_csr(len(users), n_items), seen=seen)


def _both(
    queries: Queries, k: int, context: Context = Context(), model: UserVectors = MODEL
) -> tuple[Candidates, Candidates]:
    approximate = ApproximateRetriever(model, context=context, index=INDEX)
    approximate.index.watch.share = 0.0
    return approximate.retrieve(queries, k), ExactRetriever(model, context=context).retrieve(queries, k)


def _find_recall(found: Candidates, true: Candidates) -> float:
    pairs = zip(found.items, true.items, strict=True)
    return float(np.mean([len(set(a.tolist()) & set(b.tolist())) / len(b) for a, b in pairs]))


def _count_searches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the lists that are asked of the index."""
    asked: list[int] = []
    search = ApproximateIndex.search

    def count(self: ApproximateIndex, q: Float32Array, k: int, *args: float) -> Int32Array | None:
        found = search(self, q, k, *args)
        if found is not None:
            asked.append(k)
        return found

    monkeypatch.setattr(ApproximateIndex, "search", count)
    return asked


def test_lists_of_other_queries_reach_the_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _count_searches(monkeypatch)
    found, true = _both(_ask(TESTED), 10)
    assert _find_recall(found, true) >= RECALL
    assert len(asked) == len(TESTED)
    assert (INDEX.recalls >= RECALL).all()
    assert (INDEX.probes < 0.15 * INDEX.n_lists).all()


def test_what_is_found_has_the_scores_and_order_of_exact_search() -> None:
    found, true = _both(_ask(TESTED), 10)
    same = (found.items == true.items).all(axis=1)
    assert same.mean() > 0.8
    np.testing.assert_allclose(found.scores[same], true.scores[same], rtol=1e-6)
    assert (np.diff(found.scores, axis=1) <= 0).all()
    assert found.scores.dtype == np.float32
    assert found.items.dtype == np.int32


@pytest.mark.parametrize("share", [0.999, 0.5, 0.2, 0.1, 0.05, 0.01, 0.0005])
def test_filters_of_any_share_reach_the_recall(share: float) -> None:
    allow = np.sort(np.random.default_rng(1).choice(N, int(share * N), replace=False)).astype(np.int32)
    found, true = _both(_ask(TESTED), 10, Context(allow=allow))
    assert np.isin(found.items, [*allow, -1]).all()
    assert ((found.items >= 0).sum(axis=1) == (true.items >= 0).sum(axis=1)).all()
    assert _find_recall(found, true) >= RECALL


@pytest.mark.parametrize("n_clusters", [1, 3, 10, 30])
def test_filters_far_from_the_query_reach_the_recall(n_clusters: int) -> None:
    allow = np.flatnonzero(n_clusters > CLUSTER).astype(np.int32)
    found, true = _both(_ask(TESTED), 10, Context(allow=allow))
    assert _find_recall(found, true) >= RECALL


def test_a_filter_of_half_of_the_items_is_searched_in_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _count_searches(monkeypatch)
    allow = np.arange(0, N, 2, dtype=np.int32)
    _both(_ask(TESTED), 10, Context(allow=allow))
    assert len(asked) > len(TESTED) / 2


@pytest.mark.parametrize("n_seen", [1, 40, 200, 900, 3000])
def test_seen_items_are_left_out_and_lists_stay_full(n_seen: int) -> None:
    best = ExactRetriever(MODEL).retrieve(_ask(TESTED), n_seen).items
    seen = sp.csr_array((np.ones(best.size, np.float32), np.sort(best).ravel(), np.arange(0, best.size + 1, n_seen)))
    seen.resize(len(TESTED), N)
    found, true = _both(_ask(TESTED, seen=seen), 10)
    assert all(not np.isin(items, old).any() for items, old in zip(found.items, best, strict=True))
    assert (found.items >= 0).all() | (true.items < 0).any()
    assert _find_recall(found, true) >= RECALL


def test_denied_and_hidden_items_are_not_listed() -> None:
    deny = np.unique(ExactRetriever(MODEL).retrieve(_ask(TESTED), 5).items)
    shown = np.ones(N, np.bool_)
    shown[::3] = False
    found, true = _both(_ask(TESTED), 10, Context(deny=deny, shown=shown))
    assert not np.isin(found.items, deny).any()
    assert shown[found.items].all()
    assert _find_recall(found, true) >= RECALL


def test_blank_vectors_are_not_in_the_index_and_are_listed_as_exact_search_lists_them() -> None:
    assert INDEX.list_of[0] == -1
    assert (INDEX.list_of[1:] >= 0).all()
    allow = np.r_[0, np.flatnonzero(MODEL.vectors @ MODEL.users[160] < 0)].astype(np.int32)
    found, true = _both(_ask(TESTED[:1]), 10, Context(allow=allow))
    np.testing.assert_array_equal(found.items, true.items)
    assert found.items[0, 0] == 0


def test_vectors_that_are_not_finite_are_not_in_the_index() -> None:
    broken = MODEL.vectors.copy()
    broken[5], broken[6, 3] = np.nan, np.inf
    index = ApproximateIndex.build(broken, MODEL.users[:160], threads=1)
    assert index is not None
    assert np.flatnonzero(index.list_of < 0).tolist() == [0, 5, 6]


def test_queries_without_evidence_get_the_list_of_exact_search() -> None:
    users = MODEL.users.copy()
    users[0] = 0
    model = dataclasses.replace(MODEL, users=users)
    found, true = _both(_ask(np.array([0, 160])), 10, model=model)
    assert found.fallback is not None
    assert found.fallback.tolist() == [True, False]
    np.testing.assert_array_equal(found.items[0], true.items[0])


def test_added_items_are_found_beside_those_of_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _count_searches(monkeypatch)
    added = np.concatenate([1.5 * MODEL.users[160:190], 0 * MODEL.users[:1]])
    longer = np.concatenate([MODEL.vectors, added]).astype(np.float32)
    model = dataclasses.replace(MODEL, vectors=longer)
    seen = sp.csr_array((np.ones(60, np.float32), np.full(60, N + 3, np.int32), np.arange(61)), shape=(60, len(longer)))
    found, true = _both(_ask(TESTED, len(longer), seen), 10, model=model)
    assert len(asked) == 60
    assert (found.items >= N).any(axis=1)[:30].mean() > 0.8
    assert not (found.items == N + 3).any()
    assert _find_recall(found, true) >= RECALL


def test_vectors_of_another_fit_are_searched_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _count_searches(monkeypatch)
    found, true = _both(_ask(TESTED), 10, model=dataclasses.replace(MODEL, vectors=MODEL.vectors + np.float32(0.01)))
    assert not asked
    np.testing.assert_array_equal(found.items, true.items)


def test_one_more_dimension_that_is_zero_for_the_indexed_items_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _count_searches(monkeypatch)
    wider = np.pad(MODEL.vectors, ((0, 2), (0, 1)))
    wider[N:, -1] = -1
    users = np.pad(MODEL.users, ((0, 0), (0, 1)), constant_values=3)
    found, true = _both(_ask(TESTED, N + 2), 10, model=UserVectors(wider, users))
    assert len(asked) == 60
    assert _find_recall(found, true) >= RECALL


def test_ties_are_in_the_order_of_rows_and_go_to_the_fallback() -> None:
    vectors = np.repeat(MODEL.vectors[1:5001], 4, axis=0)
    model = dataclasses.replace(MODEL, vectors=vectors)
    index = ApproximateIndex.build(vectors, MODEL.users[:160], threads=1)
    assert index is not None
    found = ApproximateRetriever(model, index=index).retrieve(_ask(TESTED), 8)
    assert (found.items % 4 == [0, 1, 2, 3, 0, 1, 2, 3]).all(axis=1).mean() > 0.9

    popular = UserVectors(np.arange(20_000, dtype=np.float32)[:, None], np.ones((220, 1), np.float32))
    found = ApproximateRetriever(model, popular, index=index).retrieve(_ask(TESTED), 8)
    assert (found.items % 4 == [3, 2, 1, 0, 3, 2, 1, 0]).all(axis=1).mean() > 0.9
    assert found.n_from_model is not None
    assert (found.n_from_model == 8).all()


def test_a_saved_index_is_mapped_and_gives_the_same_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ApproximateIndex, "MAPPED_FROM", 1_000)
    artifacts.save(INDEX, tmp_path / "index")
    loaded = artifacts.load(tmp_path / "index", ApproximateIndex)
    assert isinstance(loaded.data, np.memmap)
    assert (loaded.n_items, loaded.n_lists, loaded.n_dims) == (N, INDEX.n_lists, D)
    before = ApproximateRetriever(MODEL, index=INDEX).retrieve(_ask(TESTED), 10)
    after = ApproximateRetriever(MODEL, index=loaded).retrieve(_ask(TESTED), 10)
    np.testing.assert_array_equal(before.items, after.items)
    np.testing.assert_array_equal(before.scores, after.scores)


def test_an_index_whose_parts_do_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must have the vectors that list_of names"):
        artifacts.save(dataclasses.replace(INDEX, list_of=INDEX.list_of[:-1]), tmp_path / "short")
    with pytest.raises(DataError, match="must be an index of faiss"):
        artifacts.save(dataclasses.replace(INDEX, data=INDEX.data[:100]), tmp_path / "cut")


def test_two_threads_get_the_lists_of_one() -> None:
    retriever = ApproximateRetriever(MODEL, index=INDEX)
    expected = retriever.retrieve(_ask(TESTED), 10)
    results: list[list[list[int]]] = [[], []]

    def work(mine: list[list[int]]) -> None:
        mine.extend(retriever.retrieve(_ask(TESTED[row : row + 1]), 10).items[0].tolist() for row in range(60))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in results]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert results == [expected.items.tolist()] * 2


def test_vectors_without_structure_get_no_index() -> None:
    rng = np.random.default_rng(0)
    V = rng.normal(size=(4_000, 64)).astype(np.float32)
    V /= np.linalg.norm(V, axis=1, keepdims=True)
    assert ApproximateIndex.build(V, rng.normal(size=(60, 64)).astype(np.float32), threads=1) is None


def test_too_few_vectors_are_refused_with_a_way_out() -> None:
    with pytest.raises(SettingError, match=r"needs 60 item vectors\. Got 9: use retrieval='exact'"):
        ApproximateIndex.build(MODEL.vectors[:10], MODEL.users)


def test_without_faiss_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    artifacts.save(INDEX, tmp_path / "index")
    assert has_faiss()
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"leanrec\[ann\]"):
        ApproximateIndex.build(MODEL.vectors, MODEL.users)
    with pytest.raises(MissingExtraError, match=r"leanrec\[ann\]"):
        artifacts.load(tmp_path / "index", ApproximateIndex)


def test_a_share_of_the_lists_is_compared_with_exact_ones() -> None:
    retriever = ApproximateRetriever(MODEL, index=dataclasses.replace(INDEX))
    watch = retriever.index.watch
    watch.share = 1.0
    for user in TESTED[:3]:
        retriever.retrieve(_ask(np.array([user])), 10)
    end = time.monotonic() + 60
    while watch.n_compared < 3 and time.monotonic() < end:
        time.sleep(0.005)
    assert (watch.n_compared, watch.n_failed, watch.n_dropped) == (3, 0, 0)
    assert watch.total >= 3 * 0.9


def test_the_measured_recall_is_that_of_the_list() -> None:
    retriever = ApproximateRetriever(MODEL, index=INDEX)
    Q = MODEL.users[160:161]
    _, (best,) = retriever.search_exactly(Q, 10)
    assert retriever._measure_recall(Q, 10, best, None, None) == 1.0
    worse = np.sort(np.concatenate([best[:7], best[7:] - 1]))[::-1]
    assert retriever._measure_recall(Q, 10, worse, None, None) == 0.7
