"""Row-wise sharded embedding tables, for item tables larger than the memory of one worker.

Each worker holds N / count rows with their optimizer state. A batch's row numbers go out and the rows come back
(all-to-all), and their gradients return the same way. Rajbhandari et al. (ZeRO, SC 2020) and Ivchenko et al. (TorchRec,
RecSys 2022) do the same; this row-wise variant needs torch.distributed only.
"""

import dataclasses
import tempfile
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.data.dataset import DatasetShape
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.errors import SettingError
from leanrec.kernels.topk.selection import top_k
from leanrec.nn.arrays import to_arrays
from leanrec.run import Run
from leanrec.training.data_parallel import WorkerGroup, translate_collective_errors
from leanrec.training.early_stopping import mean_ndcg_of_lists
from leanrec.types import Float32Array

__all__ = [
    "ShardedEmbedding",
    "build_sharded",
    "gather_arrays",
    "gather_step_rows",
    "mean_ndcg_sharded",
    "shape_per_worker",
]

# Gathered tables of this size or more are kept in a file, and are gathered in blocks.
_FILE_BYTES, _BLOCK_BYTES = 64 * 2**20, 8 * 2**20
# Queries per block of validation.
_VALIDATION_BLOCK = 64


class ShardedEmbedding(nn.Module):
    """An embedding table (N, D) in shards: row r is row r // count of the shard of worker r mod count.

    A replacement for ``nn.Embedding``. All workers must call it equally often; each may look up other rows. The gradient
    of a row is the mean over the workers, as for replicated weights. A lookup of K distinct rows sends 8 K bytes and
    receives 4 K D; the backward pass sends 4 K D.
    """

    # The parameters differ between workers (see ``data_parallel.local_parameters``).
    is_local = True

    def __init__(self, part: nn.Embedding, n_rows: int, workers: WorkerGroup) -> None:
        super().__init__()
        self.part, self.workers = part, workers
        self.part.sparse = True
        self.num_embeddings, self.embedding_dim = n_rows, part.embedding_dim

    def forward(self, rows: Tensor) -> Tensor:
        """(…, D) vectors of ``rows`` (…)."""
        keys, position = self._unique_keys(rows)
        return F.embedding(position, self._fetch(keys))

    def lookup_unique(self, *rows: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The unique rows (K,) among all of ``rows``, their vectors (K, D), and each of ``rows`` as positions among them."""
        keys, position = self._unique_keys(torch.cat([each.reshape(-1) for each in rows]))
        per_worker = len(self.part.weight)
        parts = position.split([each.numel() for each in rows])
        positions = [part.view(each.shape) for part, each in zip(parts, rows, strict=True)]
        return keys % per_worker * self.workers.count + keys // per_worker, self._fetch(keys), positions

    def _unique_keys(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Unique keys, worker · N / count + row in its shard, and the position of each of ``rows`` among them."""
        keys = rows % self.workers.count * len(self.part.weight) + rows // self.workers.count
        unique, position = keys.unique(return_inverse=True)
        return unique, position

    def _fetch(self, keys: Tensor) -> Tensor:
        """(K, D) vectors of sorted keys, from the workers that hold them."""
        count, per_worker = self.workers.count, len(self.part.weight)
        if count == 1:
            return cast(Tensor, self.part(keys))
        n_requested = torch.bincount(keys // per_worker, minlength=count)
        n_received = torch.empty_like(n_requested)
        with translate_collective_errors():
            dist.all_to_all_single(n_received, n_requested)
            requested, received = n_requested.tolist(), n_received.tolist()
            rows = keys.new_empty(sum(received))
            dist.all_to_all_single(rows, keys % per_worker, received, requested)
        fetched: Tensor = _ExchangeRows.apply(self.part(rows), received, requested)
        return fetched

    def local_rows(self) -> tuple[slice, Tensor]:
        """The rows of this worker as a slice, and their vectors."""
        rows = slice(self.workers.rank, self.num_embeddings, self.workers.count)
        return rows, self.part.weight.detach()[: len(range(self.num_embeddings)[rows])]

    def gather(self) -> Float32Array:
        """(N, D) in every worker: in memory up to 64 MB, else in a temporary file that is deleted with the array."""
        N, D, count = self.num_embeddings, self.embedding_dim, self.workers.count
        part = self.part.weight.detach().float().cpu()
        per_worker = len(part)
        shape = (per_worker * count, D)
        if 4 * shape[0] * D < _FILE_BYTES:
            out = np.empty(shape, np.float32)
        else:  # in an unnamed temporary file
            with tempfile.TemporaryFile(prefix="leanrec-") as file:
                out = np.asarray(np.memmap(file, np.float32, "w+", shape=shape))
        step = max(1, _BLOCK_BYTES // (4 * D * count))
        for start in range(0, per_worker, step):
            block = part[start : start + step]
            with translate_collective_errors():
                parts = [torch.empty_like(block) for _ in range(count)] if count > 1 else [block]
                if count > 1:
                    dist.all_gather(parts, block.contiguous())
            out[start * count : (start + len(block)) * count] = torch.stack(parts, 1).reshape(-1, D).numpy()
        return out[:N]


class _ExchangeRows(torch.autograd.Function):
    """Send rows to the workers that requested them; backward returns their gradients, divided by the number of workers."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sent: list[int], received: list[int]) -> Tensor:
        ctx.sent, ctx.received = sent, received
        out = rows.new_empty(sum(received), rows.shape[1])
        with translate_collective_errors():
            dist.all_to_all_single(out, rows.contiguous(), received, sent)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        out = grads[0].new_empty(sum(ctx.sent), grads[0].shape[1])
        with translate_collective_errors():
            dist.all_to_all_single(out, grads[0].contiguous(), ctx.sent, ctx.received)
        return out.div_(len(ctx.sent)), None, None


def build_sharded(build: Callable[[int], nn.Module], n_rows: int, run: Run) -> nn.Module:
    """``build(n_rows)``, or with ``run.distributed.shard_items`` a network whose table ``items`` is sharded.

    The network is built with as many rows as one worker holds, so that the whole table never exists. Raises SettingError
    if ``items`` is not a plain ``nn.Embedding``.
    """
    if not run.distributed.shard_items:
        return build(n_rows)
    workers = WorkerGroup.current()
    per_worker = -(-n_rows // workers.count)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(run.seed * workers.count + workers.rank)
        network = build(per_worker)
    if type(network.items) is not nn.Embedding or network.items.num_embeddings != per_worker:
        raise SettingError(
            f"To shard the items, the network must have a plain item table. {type(network).__name__} has none. "
            "Train without shard_items."
        )
    network.items = ShardedEmbedding(network.items, n_rows, workers)
    return network


def shape_per_worker(shape: DatasetShape, run: Run) -> DatasetShape:
    """The shape with the number of items that one worker holds, for memory estimates."""
    if not run.distributed.shard_items:
        return shape
    return dataclasses.replace(shape, items=-(-shape.items // WorkerGroup.current().count))


def gather_step_rows(
    table: Tensor | ShardedEmbedding, log_q: Tensor, targets: Tensor, negatives: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs of a sampled loss. Of a sharded table only the rows of this step, with items as positions among them."""
    if isinstance(table, Tensor):
        return table, log_q, targets, negatives
    rows, vectors, (targets, negatives) = table.lookup_unique(targets, negatives)
    return vectors, log_q.to(rows.device)[rows], targets, negatives


def gather_arrays(network: nn.Module) -> dict[str, NDArray[Any]]:
    """The weights of a network by name, with sharded tables gathered, as an unsharded network has them."""
    tables = {name: m for name, m in network.named_modules() if isinstance(m, ShardedEmbedding)}
    if not tables:
        return to_arrays(network)
    arrays: dict[str, NDArray[Any]] = {
        name: value.detach().to("cpu", copy=True).numpy()
        for name, value in network.state_dict().items()
        if name.removesuffix(".part.weight") not in tables
    }
    return arrays | {f"{name}.weight": table.gather() for name, table in tables.items()}


def mean_ndcg_sharded(states: Float32Array, table: ShardedEmbedding, cases: EvaluationSet, k: int = 10) -> float:
    """Mean NDCG@k of the rankings by ``states`` · table; each worker ranks its own rows, and the top k are merged."""
    count = table.workers.count
    local, vectors = table.local_rows()
    part = vectors.float().cpu().numpy()

    def recommend(rows: NDArray[Any], seen: Any) -> NDArray[Any]:
        found, scores = top_k(states[rows] @ part.T, k, seen=None if seen is None else seen[:, local])
        if count == 1:
            return found
        found = np.where(found < 0, -1, found * count + table.workers.rank)
        both = torch.from_numpy(np.stack([found.astype(np.float64), scores.astype(np.float64)]))
        gathered = [torch.empty_like(both) for _ in range(count)]
        with translate_collective_errors():
            dist.all_gather(gathered, both)
        items, values = torch.cat(gathered, 2).numpy()
        best = np.argsort(-values, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(items, best, 1).astype(np.int64)

    return mean_ndcg_of_lists(recommend, cases, k, _VALIDATION_BLOCK)
