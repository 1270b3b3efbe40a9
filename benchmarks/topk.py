"""Exact top-20 inner product search compared with implicit, FAISS and numpy; batches, and one query on a million items.

python benchmarks/topk.py [--repeats 3] [--quick]
"""

import functools
from collections.abc import Callable

import numpy as np
from harness import Claim, Comparison, Contestant, Probe, Roofline, main

from leanrec.run import Run
from leanrec.types import Float32Array, Int32Array

USERS, ITEMS, WIDTH, K = 29_858, 40_981, 64, 20
SINGLE_ITEMS = 1_000_000
Search = Callable[[Float32Array, Float32Array, int], Int32Array]


def make_vectors(kind: str, probe: Probe) -> tuple[Float32Array, Float32Array]:
    """Query and item vectors: random normal, or those of iALS on Gowalla."""
    users, items = (USERS // 10, ITEMS // 10) if probe.quick else (USERS, ITEMS)
    if kind == "random":
        rng = np.random.default_rng(0)
        return tuple(rng.standard_normal((n, WIDTH), dtype=np.float32) for n in (users, items))  # type: ignore[return-value]
    from datasets import gowalla_dataset

    from leanrec.models import IALS

    data = gowalla_dataset()
    model = IALS(embedding_dim=WIDTH).fit(data, Run(threads=probe.threads))
    return model.embed_queries(data.queries())[:users], model.embed_items()[:items]


def with_leanrec(Q: Float32Array, V: Float32Array, k: int) -> Int32Array:
    from leanrec.kernels.topk.inner_product import top_k_dot

    items: Int32Array = top_k_dot(Q, V, k)[0]
    return items


def with_implicit(Q: Float32Array, V: Float32Array, k: int) -> Int32Array:
    from implicit.cpu.topk import topk

    return np.asarray(topk(V, Q, k)[0], dtype=np.int32)


def with_faiss(Q: Float32Array, V: Float32Array, k: int) -> Int32Array:
    import faiss

    index = faiss.IndexFlatIP(V.shape[1])
    index.add(V)
    return np.asarray(index.search(Q, k)[1], dtype=np.int32)


def with_numpy(Q: Float32Array, V: Float32Array, k: int) -> Int32Array:
    found = np.empty((len(Q), k), np.int32)
    for start in range(0, len(Q), 1000):
        scores = Q[start : start + 1000] @ V.T
        best = np.argpartition(-scores, k, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        found[start : start + 1000] = np.take_along_axis(best, order, axis=1)
    return found


def search_batch(probe: Probe, kind: str, search: Search) -> None:
    Q, V = make_vectors(kind, probe)
    with probe.warmup():
        search(Q[:1000], V[:5000], K)
    for _ in range(1 if probe.quick else 3):
        with probe.timed():
            found = search(Q, V, K)
    chosen = np.linspace(0, len(Q) - 1, 500).astype(int)
    exact = np.take_along_axis(Q[chosen] @ V.T, with_numpy(Q[chosen], V, K), axis=1)[:, -1:]
    reached = np.take_along_axis(Q[chosen] @ V.T, found[chosen], axis=1)
    probe.record_quality(exact=(reached >= exact - 1e-4).mean())


def search_single(probe: Probe, search: Search) -> None:
    rng = np.random.default_rng(0)
    V = rng.standard_normal((SINGLE_ITEMS // 20 if probe.quick else SINGLE_ITEMS, WIDTH), dtype=np.float32)
    Q = rng.standard_normal((50 if probe.quick else 300, WIDTH), dtype=np.float32)
    probe.measure_latency(lambda q: search(q[None], V, K), Q)


def leanrec_single(probe: Probe) -> None:
    from leanrec.kernels.topk.inner_product import ItemIndex

    index: list[ItemIndex] = []

    def search(Q: Float32Array, V: Float32Array, k: int) -> Int32Array:
        if not index:
            index.append(ItemIndex.build(V))
        found: Int32Array = index[0].top_k(Q, k)[0]
        return found

    search_single(probe, search)


def faiss_single(probe: Probe) -> None:
    import faiss

    index = faiss.IndexFlatIP(WIDTH)

    def search(Q: Float32Array, V: Float32Array, k: int) -> Int32Array:
        if not index.ntotal:
            index.add(V)
        return np.asarray(index.search(Q, k)[1], dtype=np.int32)

    search_single(probe, search)


TOOLS: dict[str, Search] = {"ours": with_leanrec, "implicit": with_implicit, "faiss": with_faiss, "numpy": with_numpy}
# numpy takes ten times as long as the others: one round is enough.
BATCHES = {
    f"{name} {kind}": Contestant(
        functools.partial(search_batch, kind=kind, search=search), repeats=int(name == "numpy")
    )
    for kind in ("random", "iALS")
    for name, search in TOOLS.items()
}
SINGLES = {
    "ours single": Contestant(leanrec_single, threads=1),
    "implicit single": Contestant(functools.partial(search_single, search=with_implicit), threads=1),
    "faiss single": Contestant(faiss_single, threads=1),
}
FLOOR = Roofline(
    operations=2.0 * USERS * ITEMS * WIDTH,
    bytes=4.0 * WIDTH * (USERS + ITEMS) + 8.0 * USERS * K,
    why="float32 product 2 · B · N · D; vectors read once, lists written once",
)
SINGLE_FLOOR = Roofline(
    operations=2.0 * SINGLE_ITEMS * WIDTH, bytes=4.0 * SINGLE_ITEMS * WIDTH, why="2 · N · D; every vector read once"
)
SIZE = f"{USERS:,} × {ITEMS:,} × {WIDTH}, k = {K}"


def compare_with(kind: str, peer: str) -> Comparison:
    return Comparison(
        what=f"exact top-k, {SIZE}, {kind} vectors",
        ours=f"ours {kind}",
        peer=f"{peer} {kind}",
        at_most=None if peer == "numpy" else 0.5,
        quality="exact",
        tolerance=1e-4,
        roofline=FLOOR if peer == "implicit" else None,
    )


def make_comparisons() -> list[Comparison]:
    one = f"one query, {SINGLE_ITEMS:,} × {WIDTH}, one core"
    return [
        *(compare_with(kind, peer) for kind in ("random", "iALS") for peer in ("implicit", "faiss", "numpy")),
        Comparison(what=one, ours="ours single", measure="p50", at_most=5e-3, roofline=SINGLE_FLOOR),
        *(Comparison(what=one, ours="ours single", peer=f"{it} single", measure="p50") for it in ("implicit", "faiss")),
    ]


CLAIM = Claim(
    name="topk",
    title="Exact top-k of Q · Vᵀ.",
    data="Random normal vectors, and the vectors of iALS on Gowalla (train without valid)",
    contestants=BATCHES | SINGLES,
    comparisons=make_comparisons(),
)

if __name__ == "__main__":
    main(CLAIM, __doc__)
