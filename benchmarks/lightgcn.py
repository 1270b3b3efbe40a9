"""LightGCN on Gowalla compared with torch-geometric's example: seconds to a quality; and the other trained graph models.

    python benchmarks/lightgcn.py [--batches 6] [--epochs 0] [--quick] [--test]

torch-geometric: its LightGCN under the loop of its examples/lightgcn.py – BPR with one negative per pair, batches of 8,192
pairs, Adam at .001, 64 dimensions, 3 layers as in the paper – once as there (edge lists), once with the normalized adjacency
as a sparse matrix, which is faster. A whole training takes hours, so ``--batches`` steps are timed after two of warm-up and
extrapolated to an epoch. The number of epochs is not measured here: the authors'
log (github.com/gusye1234/LightGCN-PyTorch, batches of 2,048 pairs) has Recall@20 .1071 on test after 5 epochs and
.1824 after 1,000, where the paper stops too. PEER_EPOCHS is a tenth of those with a quarter of the steps each, as batches
are four times as large: a bound in favor of the peer.
``--epochs 3`` also trains the faster of the two for three whole epochs and evaluates it on valid.

RecBole 1.2.1 is no contestant: its Config reads np.float_ (recbole/config/configurator.py), which NumPy 2 removed.
"""

import argparse
import functools
import time
from typing import Any

from harness import Claim, Comparison, Contestant, Probe, build_parser, run_claim

EMBEDDING_DIM, LAYERS, BATCH_SIZE, LEARNING_RATE = 64, 3, 8192, 1e-3
# A fortieth of the steps of the authors' training.
PEER_EPOCHS = 100
OURS = "lightgcn"
# The other trained graph models, with settings where they differ from the defaults.
OTHERS = {"xsimgcl": "xsimgcl", "ultragcn": "ultragcn", "graphsage": "graphsage"}


def train_leanrec(probe: Probe, text: str, part: str) -> None:
    from datasets import gowalla_dataset, gowalla_evaluation_set

    from leanrec.data import Simulation
    from leanrec.evaluation import evaluate
    from leanrec.models import parse_model

    estimator = parse_model(text)
    data = gowalla_dataset({"valid": "fit", "test": "train"}[part])
    assert data.interactions.nnz
    with probe.warmup():
        # Large enough for the parallel kernels.
        estimator.fit(Simulation(users=3_000, items=4_000, events=60_000).dataset(), probe.run)
    with probe.timed():
        model = estimator.fit(data, probe.run)
    means = evaluate(model, gowalla_evaluation_set(part, users=500 if probe.quick else None), k=(20,)).means()
    probe.record_quality(recall_20=means["recall@20"], ndcg_20=means["ndcg@20"])
    probe.add_note(repr(estimator))


class TorchGeometricPeer:
    """torch-geometric's LightGCN and the loop of its example."""

    def __init__(self, probe: Probe, part: str, *, sparse: bool) -> None:
        import torch
        from datasets import read_gowalla
        from torch_geometric.nn import LightGCN
        from torch_geometric.nn.conv.gcn_conv import gcn_norm

        torch.set_num_threads(probe.threads)
        torch.manual_seed(probe.round_number)
        X = read_gowalla({"valid": "fit", "test": "train"}[part]).tocoo()
        self.torch, (self.users, self.items) = torch, X.shape
        user, item = (torch.from_numpy(each.astype("int64")) for each in X.coords)
        self.pairs = torch.stack([user, item + self.users])
        self.graph: Any = torch.cat([self.pairs, self.pairs.flip(0)], 1)
        self.model = LightGCN(num_nodes=self.users + self.items, embedding_dim=EMBEDDING_DIM, num_layers=LAYERS)
        if sparse:
            edges, weights = gcn_norm(self.graph, None, self.users + self.items, add_self_loops=False)
            shape = (self.users + self.items,) * 2
            self.graph = torch.sparse_coo_tensor(edges.flip(0), weights, shape).coalesce().to_sparse_csr()
            for conv in self.model.convs:
                conv.normalize = False
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE)

    def run_epoch(self, max_batches: int = 0) -> int:
        """Train one epoch, or that many of its batches. Returns the number of batches of an epoch."""
        torch = self.torch
        order = torch.randperm(self.pairs.shape[1]).split(BATCH_SIZE)
        for index in order[: max_batches or None]:
            positive = self.pairs[:, index]
            negatives = torch.randint(self.users, self.users + self.items, (len(index),))
            labels = torch.cat([positive, torch.stack([positive[0], negatives])], 1)
            self.optimizer.zero_grad()
            positive_rank, negative_rank = self.model(self.graph, labels).chunk(2)
            loss = self.model.recommendation_loss(positive_rank, negative_rank, node_id=labels.unique())
            loss.backward()
            self.optimizer.step()
        return len(order)

    def evaluate(self, part: str) -> dict[str, float]:
        import numpy as np
        from datasets import gowalla_evaluation_set

        from leanrec.kernels.topk.selection import top_k

        with self.torch.no_grad():
            vectors = self.model.get_embedding(self.graph).numpy()
        evaluation_set = gowalla_evaluation_set(part)
        recall, ndcg, gains = 0.0, 0.0, 1 / np.log2(np.arange(2, 22))
        for start in range(0, len(evaluation_set), 1024):
            block = evaluation_set.queries.block(start, min(start + 1024, len(evaluation_set)))
            lists, _ = top_k(vectors[block.users] @ vectors[self.users :].T, 20, seen=block.history)
            for row, listed in enumerate(lists, start):
                truth = evaluation_set.ground_truth.indices[
                    evaluation_set.ground_truth.indptr[row] : evaluation_set.ground_truth.indptr[row + 1]
                ]
                hit = np.isin(listed, truth)
                recall += hit.sum() / len(truth)
                ndcg += gains[hit].sum() / gains[: len(truth)].sum()
        return {"recall_20": recall / len(evaluation_set), "ndcg_20": ndcg / len(evaluation_set)}


def train_peer(probe: Probe, part: str, batches: int, epochs: int, *, sparse: bool) -> None:
    work = TorchGeometricPeer(probe, part, sparse=sparse)
    with probe.warmup():
        work.run_epoch(2)
    batches = 1 if probe.quick else batches
    start = time.perf_counter()
    with probe.timed():
        n_batches = work.run_epoch(batches)
    step = (time.perf_counter() - start) / batches
    probe.record_quality(seconds_of_an_epoch=step * n_batches, seconds_at_least=step * n_batches * PEER_EPOCHS)
    probe.add_note(
        f"{batches} of {n_batches} batches timed, {step:.2f} s each: an epoch is {step * n_batches:.0f} s, {PEER_EPOCHS} are {step * n_batches * PEER_EPOCHS:.0f} s"
    )
    if epochs and not probe.quick:
        start = time.perf_counter()
        for _ in range(epochs):
            work.run_epoch()
        probe.record_quality(**work.evaluate(part))
        probe.add_note(f"quality after {epochs} whole epochs, {time.perf_counter() - start:.0f} s")


def make_claim(args: argparse.Namespace) -> Claim:
    part = "test" if args.test else "valid"
    how = functools.partial(train_peer, part=part, batches=args.batches)
    contestants = {
        OURS: Contestant(functools.partial(train_leanrec, text=args.model, part=part)),
        **{name: Contestant(functools.partial(train_leanrec, text=text, part=part)) for name, text in OTHERS.items()},
        "torch-geometric": Contestant(functools.partial(how, epochs=0, sparse=False), repeats=1),
        "torch-geometric, sparse": Contestant(
            functools.partial(how, epochs=args.epochs, sparse=True), repeats=1, seconds=36_000
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
            cause="The seeds differ by .0010, more than what is missing. 128 dimensions, which valid preferred (.2178 / .1235 where 64 have "
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
        title="LightGCN: a whole fit of leanrec compared with epochs of torch-geometric.",
        data=f"Gowalla in LightGCN's split, {'train' if part == 'test' else 'train without valid'}, evaluated on {part}, full ranking",
        contestants=contestants,
        comparisons=rows,
    )


if __name__ == "__main__":
    options = build_parser(__doc__)
    options.add_argument("--batches", type=int, default=6, help="number of timed batches of the peer")
    options.add_argument("--epochs", type=int, default=0, help="whole epochs to train the faster peer")
    options.add_argument("--model", default=OURS, help="leanrec's model, with settings after commas")
    options.add_argument("--test", action="store_true", help="evaluate on the test set: once, at the end")
    args = options.parse_args()
    run_claim(make_claim(args), args)
