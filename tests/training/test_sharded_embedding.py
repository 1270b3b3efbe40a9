"""Sharded item tables in two processes, against one full table."""

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from conftest import make_dataset
from contracts import two_workers
from leanrec.callbacks import ModelCheckpoint
from leanrec.data.dataset import DatasetShape
from leanrec.errors import SettingError
from leanrec.models.sequential.core import training
from leanrec.models.sequential.sasrec import SASRec
from leanrec.run import Distributed, Run
from leanrec.training import sharded_embedding
from leanrec.training.data_parallel import WorkerGroup
from leanrec.training.early_stopping import hold_out
from leanrec.training.histories import PackedHistories
from leanrec.training.negative_sampling import NegativeSampler
from leanrec.training.sharded_embedding import ShardedEmbedding
from leanrec.training.trainer import train

N = 41  # does not divide evenly
RUN = Run(seed=5, threads=1, distributed=Distributed(shard_items=True))
SETTINGS = SASRec(
    embedding_dim=8, n_layers=1, max_length=10, epochs=4, batch_size=64, learning_rate=0.03, loss="sampled_softmax", n_negatives=20,
    init="random", max_grad_norm=1.0, patience=4,
)  # fmt: skip


def learn(network: nn.Module, settings: SASRec) -> dict[str, Any]:
    """Losses, validation scores and weights of a training of ``network``."""
    data, valid = hold_out(make_dataset(n_items=N), np.random.default_rng(0))
    histories = PackedHistories.from_dataset(data)
    objective = training.NextItemObjective(
        settings, histories, NegativeSampler.from_counts("uniform", np.zeros(N, np.int64))
    )
    score = functools.partial(training._validate, network, settings, valid)
    history = train(network, objective, settings, RUN, score=score)
    weights = {name: each.tolist() for name, each in sharded_embedding.gather_arrays(network).items()}
    return {"losses": history.losses, "scores": history.scores, "weights": weights}


# ---- what the two processes do


def lookups() -> dict[str, Any]:
    """A lookup with repeated rows and an empty one; the gradient of local rows against that of both workers' losses."""
    workers = WorkerGroup.current()
    whole = torch.arange(N * 3, dtype=torch.float32).view(N, 3)
    part = nn.Embedding(21, 3)
    part.weight.data[: len(whole[workers.rank :: 2])] = whole[workers.rank :: 2]
    table = ShardedEmbedding(part, N, workers)
    asked = [torch.tensor([[0, 5, 5], [40, 39, 5]]), torch.tensor([[7, 5]])]
    mine = asked[workers.rank]
    (table(mine).square().sum() + table(torch.empty(0, dtype=torch.int64)).sum()).backward()
    plain = nn.Parameter(whole.clone())
    (sum(plain[each].square().sum() for each in asked) / 2).backward()
    at, own = table.local_rows()
    return {
        "same": torch.equal(table(mine), whole[mine]),
        "gradient": torch.equal(part.weight.grad.to_dense()[: len(own)], plain.grad[at]),
        "whole": np.array_equal(table.gather(), whole),
    }


def train_sharded() -> dict[str, Any]:
    network = sharded_embedding.build_sharded(SETTINGS.build_network, N, RUN)
    WorkerGroup.current().broadcast_weights(network)
    before = {name: each.tolist() for name, each in sharded_embedding.gather_arrays(network).items()}
    held = [name for name, each in network.named_parameters() if len(each) == 21]
    return {"before": before, "held": held, **learn(network, SETTINGS)}


def fitting(folder: Path) -> dict[str, Any]:
    """A full fit, and another from its checkpoint."""
    data, run = make_dataset(n_items=N), dataclasses.replace(RUN, callbacks=(ModelCheckpoint(folder / "checkpoint"),))
    first, second = SETTINGS.fit(data, run), SETTINGS.fit(data, run)
    again = np.array_equal(first.embed_items(), second.embed_items())
    return {"scores": first.score(data.queries()).tolist(), "again": again}


def main(what: str, folder: Path) -> None:
    two_workers.write(what, folder, {"lookups": lookups(), "training": train_sharded(), "fitting": fitting(folder)})


# ---- what is expected of them


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], ...]:
    return two_workers.both(__file__, "all", tmp_path_factory.mktemp("sharded"))


@pytest.mark.system
def test_rows_and_gradients_are_exchanged_between_workers(found: tuple[dict[str, Any], ...]) -> None:
    for each in found:
        assert each["lookups"] == {"same": True, "gradient": True, "whole": True}


@pytest.mark.system
def test_two_shards_learn_the_same_as_one_full_table(found: tuple[dict[str, Any], ...]) -> None:
    settings = dataclasses.replace(SETTINGS, gradient_accumulation=2)
    network = sharded_embedding.build_sharded(settings.build_network, N, RUN)
    before = {
        name.replace("items.", "items.part."): torch.tensor(each)
        for name, each in found[0]["training"]["before"].items()
    }
    network.load_state_dict(before)
    with torch.random.fork_rng(devices=[]):
        alone = learn(network, settings)
    for each in found:
        assert each["training"]["held"] == ["items.part.weight"]
        np.testing.assert_allclose(each["training"]["losses"], alone["losses"], rtol=1e-5)
        np.testing.assert_allclose(each["training"]["scores"], alone["scores"], rtol=1e-5)
        # Attention does not depend on the bias of its keys, so that Adam steps by what rounding leaves there.
        for name in alone["weights"].keys() - {"blocks.0.qkv.bias"}:
            weights = alone["weights"][name]
            np.testing.assert_allclose(each["training"]["weights"][name], weights, rtol=2e-3, atol=1e-4, err_msg=name)


@pytest.mark.system
def test_all_workers_end_with_the_same_full_model(found: tuple[dict[str, Any], ...]) -> None:
    assert found[0]["fitting"] == found[1]["fitting"]
    assert found[0]["fitting"]["again"]
    assert np.shape(found[0]["fitting"]["scores"])[1] == N


def test_single_worker_has_a_table_with_sparse_gradients() -> None:
    plain = SETTINGS.build_network(N)
    table = ShardedEmbedding(nn.Embedding(N, 8), N, WorkerGroup())
    table.part.load_state_dict(plain.items.state_dict())
    rows = torch.tensor([[3, 3, 9]])
    torch.testing.assert_close(table(rows), plain.items(rows))
    distinct, vectors, (first, second) = table.lookup_unique(torch.tensor([9, 3]), torch.tensor([[3], [0]]))
    assert distinct[first].tolist() == [9, 3]
    assert distinct[second].tolist() == [[3], [0]]
    torch.testing.assert_close(vectors, table.part.weight[distinct])


@pytest.mark.parametrize("change", [{"loss": "cross_entropy"}, {"init": "spectral"}])
def test_settings_that_need_all_vectors_are_refused(change: dict[str, str]) -> None:
    with pytest.raises(SettingError, match=f"With sharded items {next(iter(change))} must be"):
        dataclasses.replace(SETTINGS, **change).fit(make_dataset(n_items=N), RUN)


def test_sharding_needs_a_plain_item_table() -> None:
    def make(rows: int) -> nn.Module:
        network = nn.Module()
        network.items = nn.Embedding(rows + 1, 2)
        return network

    with pytest.raises(SettingError, match="must have a plain item table. Module has none"):
        sharded_embedding.build_sharded(make, 10, RUN)


def test_memory_estimate_counts_the_items_of_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WorkerGroup, "current", lambda: WorkerGroup(0, 4))
    assert sharded_embedding.shape_per_worker(DatasetShape(users=3, items=41, events=5), RUN) == DatasetShape(
        users=3, items=11, events=5
    )
    assert sharded_embedding.shape_per_worker(DatasetShape(users=3, items=41, events=5), Run()).items == 41


def test_large_table_is_gathered_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharded_embedding, "_FILE_BYTES", 100)
    monkeypatch.setattr(sharded_embedding, "_BLOCK_BYTES", 100)
    table = ShardedEmbedding(nn.Embedding(50, 4), N, WorkerGroup())
    whole = table.gather()
    assert isinstance(whole.base, np.memmap) or isinstance(whole.base.base, np.memmap)
    np.testing.assert_array_equal(whole, table.part.weight.detach()[:N])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
