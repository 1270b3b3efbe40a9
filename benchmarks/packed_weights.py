"""Item-item weights in few bytes: NDCG@20 of EASE pruned and packed, beside plain pruning by magnitude and SciPy, and times of lists.

    python benchmarks/packed_weights.py [--repeats 3] [--quick]

ML-1M (a fifth of the ratings is held out), and local regression on the test part of Gowalla, whose bytes and bits were chosen on
validation; dense EASE has an NDCG@20 of .1466 there, in 163,924 bytes an item. The bytes are all those of the packed weights: columns, values, factors and row starts.
"""

import dataclasses
import functools
from typing import Any

import numpy as np
import scipy.sparse as sp
from datasets import dataset_from_matrix, read_gowalla
from harness import Claim, Comparison, Contestant, Probe, main
from linear import L2, load_split

from leanrec.data import EvaluationSet
from leanrec.types import CSR, Queries

# Bytes per item, and the share of the NDCG of the dense model that is to be kept.
GOALS = {256: 0.997, 128: 0.99, 64: 0.965}
USERS, LISTS = 1_000, 20
VALUE_BITS, GOWALLA_BITS = 6, 5
PEERS = {"magnitude": True, "magnitude in CSR": False}
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


def prune_by_magnitude(probe: Probe, bytes_per_item: int, *, is_packed: bool) -> None:
    """EASE with its largest weights alone, as they are: packed, or in the CSR of SciPy with 8 bytes a weight."""
    from leanrec.compression import pack
    from leanrec.compression.weights.packed_weights import count_weight_bytes
    from leanrec.models import EASE

    train, held_out = load_split(probe, "ml-1m")
    dense = EASE(l2=L2).fit(dataset_from_matrix(train), probe.run)
    weights = np.asarray(dense.weights)
    n_items, limit = len(weights), bytes_per_item * len(weights)
    with probe.timed():
        sizes = np.sort(np.abs(weights), axis=None)[::-1]
        count = (limit - 4 * n_items) // 8 if not is_packed else limit * 2 // 3
        while True:
            kept = sp.csr_array(np.where(np.abs(weights) > sizes[count], weights, 0))
            if not is_packed or count_weight_bytes(np.diff(kept.indptr), VALUE_BITS, n_items) <= limit:
                break
            count = count * 49 // 50
        model: Any = dataclasses.replace(dense, weights=kept)
        if is_packed:
            model = pack(model, value_bits=VALUE_BITS)
    probe.add_note(f"{count_bytes(model) / n_items:.1f} B and {kept.nnz / n_items:.0f} weights an item")
    probe.record_quality(ndcg_20=compute_ndcg(model, train, held_out))


def count_bytes(model: Any) -> int:
    """Bytes of packed weights, or of the three arrays of CSR."""
    weights: Any = model.weights
    is_packed = not sp.issparse(weights)
    return int(weights.nbytes if is_packed else weights.data.nbytes + weights.indices.nbytes + weights.indptr.nbytes)


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
    served = pack(model) if is_packed else model
    probe.record_quality(bytes=count_bytes(served) / train.shape[1])
    retriever = ExactRetriever(served)
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
        **{
            f"{name}, {limit} B": Contestant(
                functools.partial(prune_by_magnitude, bytes_per_item=limit, is_packed=is_packed)
            )
            for name, is_packed in PEERS.items()
            for limit in GOALS
        },
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
            what=f"NDCG@20 of EASE in {limit} B an item, and of its largest weights in as many",
            ours=f"{limit} B",
            peer=f"{name}, {limit} B",
            measure="ndcg@20",
            at_least=1.0,
        )
        for name in PEERS
        for limit in GOALS
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
            what="bytes an item of a hundred weights an item",
            ours="lists from packed rows",
            peer="lists from CSR",
            measure="bytes",
            at_most=1 / 3,
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
