"""Item-item weights in few bytes: NDCG@20 that EASE keeps when it is pruned and packed, and the time of lists from packed rows.

    python benchmarks/packed_weights.py [--repeats 3] [--quick]

ML-1M (a fifth of the ratings is held out), and local regression on the test part of Gowalla, whose bytes and bits were chosen on
validation; dense EASE has an NDCG@20 of .1466 there, in 163,924 bytes an item. The bytes are all those of the packed weights: columns, values, factors and row starts.
"""

import functools
from typing import Any

import numpy as np
from datasets import dataset_from_matrix, read_gowalla
from harness import Claim, Comparison, Contestant, Probe, main
from linear import L2, load_split

from leanrec.data import EvaluationSet
from leanrec.types import CSR, Queries

# Bytes per item, and the share of the NDCG of the dense model that is to be kept.
GOALS = {256: 0.997, 128: 0.99, 64: 0.965}
USERS, LISTS = 1_000, 20
GOWALLA_BITS = 5
DENSE_EASE_GOWALLA = 0.1466  # NDCG@20 of benchmarks/gowalla.py


def compute_ndcg(scorer: object, train: CSR, held_out: CSR) -> float:
    from leanrec.evaluation import evaluate

    rows = np.flatnonzero(np.diff(held_out.indptr)).astype(np.int32)
    evaluation_set = EvaluationSet(queries=Queries(users=rows, history=train[rows]), ground_truth=held_out[rows])
    return evaluate(scorer, evaluation_set, k=(20,)).means()["ndcg@20"]  # type: ignore[arg-type]


def compress_ease(probe: Probe, bytes_per_item: int) -> None:
    """Time to prune and pack; 0 bytes: the dense model, and the time of its fit."""
    from leanrec.compression import WeightCompression
    from leanrec.models import EASE

    train, held_out = load_split(probe, "ml-1m")
    data, small = dataset_from_matrix(train), dataset_from_matrix(train[:200, :300])
    method = WeightCompression(bytes_per_item)
    with probe.warmup():
        warm = EASE(l2=L2).fit(small, probe.run)
        WeightCompression(40).compress(warm, small, probe.run)
    if bytes_per_item:
        dense = EASE(l2=L2).fit(data, probe.run)
        with probe.timed():
            model = method.compress(dense, data, probe.run)
        weights: Any = model.weights  # type: ignore[attr-defined]
        n_items = model.n_items
        probe.add_note(f"{weights.nbytes / n_items:.1f} B and {weights.nnz / n_items:.0f} weights an item")
    else:
        with probe.timed():
            model = EASE(l2=L2).fit(data, probe.run)
    probe.record_quality(ndcg_20=compute_ndcg(model, train, held_out))


def compress_gowalla(probe: Probe, bytes_per_item: int) -> None:
    """The same for local regression on Gowalla, evaluated on test; on the small ML-1M with ``--quick``."""
    from leanrec.compression import WeightCompression
    from leanrec.models import LocalRegression

    if probe.quick:
        train, held_out = load_split(probe, "ml-1m")
    else:
        train, held_out = read_gowalla("train"), read_gowalla("test")
    data = dataset_from_matrix(train)
    model = LocalRegression().fit(data, probe.run)
    with probe.timed():
        smaller = (
            WeightCompression(bytes_per_item, GOWALLA_BITS).compress(model, data, probe.run)
            if bytes_per_item
            else model
        )
    probe.record_quality(ndcg_20=compute_ndcg(smaller, train, held_out))


def list_items(probe: Probe, *, is_packed: bool) -> None:
    """Lists of single users from the weights of EASE with a hundred an item."""
    from leanrec.compression import pack
    from leanrec.models import EASE
    from leanrec.retrieval import ExactRetriever

    train, _ = load_split(probe, "ml-1m")
    model = EASE(l2=L2, top_k=100).fit(dataset_from_matrix(train), probe.run)
    retriever = ExactRetriever(pack(model) if is_packed else model)
    queries = [Queries(users=np.array([-1], np.int32), history=train[[row]]) for row in range(USERS)]
    with probe.warmup():
        retriever.retrieve(queries[0], LISTS)
    with probe.timed():
        for query in queries:
            retriever.retrieve(query, LISTS)


CLAIM = Claim(
    name="packed_weights",
    title="Item-item weights pruned under one budget and packed.",
    data="ML-1M, four entries in five; Gowalla, test",
    contestants={
        "dense EASE": Contestant(functools.partial(compress_ease, bytes_per_item=0)),
        **{f"{limit} B": Contestant(functools.partial(compress_ease, bytes_per_item=limit)) for limit in GOALS},
        "Gowalla": Contestant(functools.partial(compress_gowalla, bytes_per_item=0)),
        **{
            f"Gowalla, {limit} B": Contestant(functools.partial(compress_gowalla, bytes_per_item=limit))
            for limit in GOALS
        },
        "lists from CSR": Contestant(functools.partial(list_items, is_packed=False)),
        "lists from packed rows": Contestant(functools.partial(list_items, is_packed=True)),
    },
    comparisons=[
        Comparison(
            what=f"NDCG@20 kept by EASE in {limit} B an item",
            ours=f"{limit} B",
            peer="dense EASE",
            measure="ndcg@20",
            at_least=share,
        )
        for limit, share in GOALS.items()
    ]
    + [
        Comparison(
            what="NDCG@20 of local regression on Gowalla in 256 B an item, where dense EASE has .1466",
            ours="Gowalla, 256 B",
            measure="ndcg@20",
            at_least=DENSE_EASE_GOWALLA,
        ),
        *(
            Comparison(
                what=f"NDCG@20 kept by local regression on Gowalla in {limit} B an item",
                ours=f"Gowalla, {limit} B",
                peer="Gowalla",
                measure="ndcg@20",
            )
            for limit in GOALS
        ),
        Comparison(
            what="1,000 lists from packed rows",
            ours="lists from packed rows",
            peer="lists from CSR",
            at_most=1.0,
        ),
    ],
)

if __name__ == "__main__":
    main(CLAIM, __doc__)
