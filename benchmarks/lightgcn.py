"""LightGCN of Gowalla: seconds to a quality, beside torch-geometric's as its own example trains it; and its relatives.

    python benchmarks/lightgcn.py [--batches 6] [--epochs 0] [--quick] [--test]

torch-geometric: its LightGCN under the loop of its examples/lightgcn.py – BPR with one negative a pair, batches of 8,192
pairs, Adam at .001, 64 numbers, 3 layers as the paper has on this set – once as there (edge lists), once with the adjacency
as a sparse matrix in its normalised form, which is quicker. A whole training is hours, so ``--batches`` steps are timed
after two of warm-up, and an epoch is that times its batches. How many epochs it needs is not measured here: the authors'
own log (github.com/gusye1234/LightGCN-PyTorch, batches of 2,048 pairs) has Recall@20 .1071 on test after 5 epochs and
.1824 after 1,000, where the paper too stops. PEER_EPOCHS is a tenth of those, each of which
here has a quarter of the steps, as batches are four times as large: a bound that flatters the peer.
``--epochs 3`` also trains the quicker of the two for so many whole epochs and judges it on valid.

RecBole 1.2.1 is no contestant: making its Config reads np.float_ (recbole/config/configurator.py), which NumPy 2 has not.
"""

import argparse
import functools
import time
from typing import Any

from harness import Claim, Comparison, Contestant, Probe, parser, run

WIDTH, LAYERS, BATCH, RATE = 64, 3, 8192, 1e-3
# A fortieth of the steps that the authors train for.
PEER_EPOCHS = 100
OURS = "lightgcn"
# The other trained graph models, with what was tuned on valid and is not their default.
OTHERS = {"xsimgcl": "xsimgcl", "ultragcn": "ultragcn", "graphsage": "graphsage"}


def ours(probe: Probe, text: str, part: str) -> None:
    from datasets import gowalla_cases, gowalla_data

    from leanrec.cli.options import parse_model
    from leanrec.data.datasets.simulation import Simulation
    from leanrec.evaluation.evaluate import evaluate

    estimator = parse_model(text)
    data = gowalla_data({"valid": "fit", "test": "train"}[part])
    assert data.interactions.nnz
    with probe.warmup():
        # Large enough for the kernels that run in threads.
        estimator.fit(Simulation(users=3_000, items=4_000, events=60_000).dataset(), probe.run)
    with probe.timed():
        model = estimator.fit(data, probe.run)
    means = evaluate(model, gowalla_cases(part, users=500 if probe.quick else None), k=(20,)).means()
    probe.reached(recall_20=means["recall@20"], ndcg_20=means["ndcg@20"])
    probe.note(repr(estimator))


class Peer:
    """torch-geometric's LightGCN and the loop of its example."""

    def __init__(self, probe: Probe, part: str, *, sparse: bool) -> None:
        import torch
        from datasets import gowalla
        from torch_geometric.nn import LightGCN
        from torch_geometric.nn.conv.gcn_conv import gcn_norm

        torch.set_num_threads(probe.threads)
        torch.manual_seed(probe.turn)
        X = gowalla({"valid": "fit", "test": "train"}[part]).tocoo()
        self.torch, (self.users, self.items) = torch, X.shape
        user, item = (torch.from_numpy(each.astype("int64")) for each in X.coords)
        self.pairs = torch.stack([user, item + self.users])
        self.graph: Any = torch.cat([self.pairs, self.pairs.flip(0)], 1)
        self.model = LightGCN(num_nodes=self.users + self.items, embedding_dim=WIDTH, num_layers=LAYERS)
        if sparse:
            edges, weights = gcn_norm(self.graph, None, self.users + self.items, add_self_loops=False)
            shape = (self.users + self.items,) * 2
            self.graph = torch.sparse_coo_tensor(edges.flip(0), weights, shape).coalesce().to_sparse_csr()
            for conv in self.model.convs:
                conv.normalize = False
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=RATE)

    def epoch(self, most: int = 0) -> int:
        """One epoch, or so many batches of it; how many were run."""
        torch = self.torch
        order = torch.randperm(self.pairs.shape[1]).split(BATCH)
        for index in order[: most or None]:
            positive = self.pairs[:, index]
            drawn = torch.randint(self.users, self.users + self.items, (len(index),))
            labels = torch.cat([positive, torch.stack([positive[0], drawn])], 1)
            self.optimiser.zero_grad()
            positive_rank, negative_rank = self.model(self.graph, labels).chunk(2)
            loss = self.model.recommendation_loss(positive_rank, negative_rank, node_id=labels.unique())
            loss.backward()
            self.optimiser.step()
        return len(order)

    def judge(self, part: str) -> dict[str, float]:
        import numpy as np
        from datasets import gowalla_cases

        from leanrec.kernels.topk.selection import top_k

        with self.torch.no_grad():
            vectors = self.model.get_embedding(self.graph).numpy()
        cases = gowalla_cases(part)
        recall, ndcg, gains = 0.0, 0.0, 1 / np.log2(np.arange(2, 22))
        for start in range(0, len(cases), 1024):
            block = cases.queries.block(start, min(start + 1024, len(cases)))
            lists, _ = top_k(vectors[block.users] @ vectors[self.users :].T, 20, seen=block.history)
            for row, listed in enumerate(lists, start):
                truth = cases.ground_truth.indices[cases.ground_truth.indptr[row] : cases.ground_truth.indptr[row + 1]]
                hit = np.isin(listed, truth)
                recall += hit.sum() / len(truth)
                ndcg += gains[hit].sum() / gains[: len(truth)].sum()
        return {"recall_20": recall / len(cases), "ndcg_20": ndcg / len(cases)}


def peer(probe: Probe, part: str, batches: int, epochs: int, *, sparse: bool) -> None:
    work = Peer(probe, part, sparse=sparse)
    with probe.warmup():
        work.epoch(2)
    batches = 1 if probe.quick else batches
    start = time.perf_counter()
    with probe.timed():
        of = work.epoch(batches)
    step = (time.perf_counter() - start) / batches
    probe.reached(seconds_of_an_epoch=step * of, seconds_at_least=step * of * PEER_EPOCHS)
    probe.note(
        f"{batches} of {of} batches timed, {step:.2f} s each: an epoch is {step * of:.0f} s, {PEER_EPOCHS} are {step * of * PEER_EPOCHS:.0f} s"
    )
    if epochs and not probe.quick:
        start = time.perf_counter()
        for _ in range(epochs):
            work.epoch()
        probe.reached(**work.judge(part))
        probe.note(f"quality after {epochs} whole epochs, {time.perf_counter() - start:.0f} s")


def make_claim(asked: argparse.Namespace) -> Claim:
    part = "test" if asked.test else "valid"
    how = functools.partial(peer, part=part, batches=asked.batches)
    contestants = {
        OURS: Contestant(functools.partial(ours, text=asked.model, part=part)),
        **{name: Contestant(functools.partial(ours, text=text, part=part)) for name, text in OTHERS.items()},
        "torch-geometric": Contestant(functools.partial(how, epochs=0, sparse=False), repeats=1),
        "torch-geometric, sparse": Contestant(
            functools.partial(how, epochs=asked.epochs, sparse=True), repeats=1, seconds=36_000
        ),
    }
    rows = [
        Comparison(what=f"LightGCN, a whole fit, {part}", ours=OURS),
        Comparison(
            what=f"LightGCN, {part}", ours=OURS, measure="recall@20", at_least=0.183 if part == "test" else None
        ),
        Comparison(
            what=f"LightGCN, {part}",
            ours=OURS,
            measure="ndcg@20",
            at_least=0.155 if part == "test" else None,
            cause="The seeds differ by .0010, more than what is missing. 128 numbers, which valid preferred (.2178 / .1235 where 64 have "
            ".2149 / .1222), have .1535 on test. Next: a little of ChebyCF, with which it has .1596.",
        ),
    ]
    rows += [
        Comparison(what=f"{name}, {part}", ours=name, measure=measure)
        for name in OTHERS
        for measure in ("recall@20", "ndcg@20")
    ]
    for name in ("torch-geometric", "torch-geometric, sparse"):
        rows += [
            Comparison(what=f"{name}: an epoch", ours=name, measure="seconds_of_an_epoch"),
            Comparison(what=f"{name}: {PEER_EPOCHS} epochs, extrapolated", ours=name, measure="seconds_at_least"),
        ]
    return Claim(
        name="lightgcn" if part == "valid" else "lightgcn_test",
        title="LightGCN: a whole fit of ours beside epochs of torch-geometric.",
        data=f"Gowalla in LightGCN's split, {'train' if part == 'test' else 'train without valid'}, judged on {part}, full ranking",
        contestants=contestants,
        comparisons=rows,
    )


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--batches", type=int, default=6, help="of the peer that are timed")
    options.add_argument("--epochs", type=int, default=0, help="whole epochs that the quicker peer trains for")
    options.add_argument("--model", default=OURS, help="ours, with settings after commas")
    options.add_argument("--test", action="store_true", help="judge on the test set: once, at the end")
    asked = options.parse_args()
    run(make_claim(asked), asked)
