"""Embedding tables whose rows are dealt over the workers, for tables that are larger than the memory of one.

Each worker holds N / count rows with their moments, and asks the others for those that its batch needs: row numbers go
out and rows come back (all-to-all), and their gradients take the same way home. Rajbhandari et al. (ZeRO, SC 2020) and
Ivchenko et al. (TorchRec, RecSys 2022) do the same; this is the row-wise kind, which nothing but torch.distributed carries.
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

from leanrec.data.dataset import Shape
from leanrec.data.splits.evaluation_set import Cases
from leanrec.errors import SettingError
from leanrec.kernels.topk.selection import top_k
from leanrec.nn.arrays import to_arrays
from leanrec.run import Run
from leanrec.training.data_parallel import Workers, together
from leanrec.training.early_stopping import mean_ndcg_of_lists
from leanrec.types import Float32Array

__all__ = ["ShardedTable", "mean_ndcg_sharded", "part_of", "rows_of_step", "sharded", "whole_arrays"]

# A table that is put together is kept in a file from this size on, and passes through memory in blocks of this size.
_IN_FILE, _BLOCK = 64 * 2**20, 8 * 2**20
_JUDGED = 64


class ShardedTable(nn.Module):
    """A table (N, D): row r is row r // count of the part that worker r mod count holds.

    It takes the place of an ``nn.Embedding``. All workers must call it equally often; each may ask for other rows. The
    gradient of a row is the mean over the workers, as for weights that all of them hold. One lookup of K distinct rows
    sends 8 K bytes and receives 4 K D; the way back sends 4 K D.
    """

    # What this module holds is no other worker's (see ``distributed.apart_from_others``).
    apart = True

    def __init__(self, part: nn.Embedding, rows: int, workers: Workers) -> None:
        super().__init__()
        self.part, self.workers = part, workers
        self.part.sparse = True
        self.num_embeddings, self.embedding_dim = rows, part.embedding_dim

    def forward(self, rows: Tensor) -> Tensor:
        """(…, D) of ``rows`` (…)."""
        distinct, place = self._sorted(rows)
        return F.embedding(place, self._fetch(distinct))

    def small(self, *rows: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The distinct rows (K,) among ``rows``, their vectors (K, D), and ``rows`` as positions among them."""
        keys, place = self._sorted(torch.cat([each.reshape(-1) for each in rows]))
        per = len(self.part.weight)
        parts = place.split([each.numel() for each in rows])
        places = [part.view(each.shape) for part, each in zip(parts, rows, strict=True)]
        return keys % per * self.workers.count + keys // per, self._fetch(keys), places

    def _sorted(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The distinct rows by worker and place there, as worker · N / count + place; and where each of ``rows`` is."""
        keys = rows % self.workers.count * len(self.part.weight) + rows // self.workers.count
        distinct, place = keys.unique(return_inverse=True)
        return distinct, place

    def _fetch(self, keys: Tensor) -> Tensor:
        count, per = self.workers.count, len(self.part.weight)
        if count == 1:
            return cast(Tensor, self.part(keys))
        mine = torch.bincount(keys // per, minlength=count)
        theirs = torch.empty_like(mine)
        with together():
            dist.all_to_all_single(theirs, mine)
            here, there = mine.tolist(), theirs.tolist()
            asked = keys.new_empty(sum(there))
            dist.all_to_all_single(asked, keys % per, there, here)
        fetched: Tensor = _Exchange.apply(self.part(asked), there, here)
        return fetched

    def own(self) -> tuple[slice, Tensor]:
        """Which rows this worker holds, and their vectors."""
        at = slice(self.workers.rank, self.num_embeddings, self.workers.count)
        return at, self.part.weight.detach()[: len(range(self.num_embeddings)[at])]

    def whole(self) -> Float32Array:
        """(N, D), in every worker: in memory up to 64 MB, beyond in a file that is gone when nobody looks at it any more."""
        N, D, count = self.num_embeddings, self.embedding_dim, self.workers.count
        part = self.part.weight.detach().float().cpu()
        per = len(part)
        out = _array((per * count, D))
        step = max(1, _BLOCK // (4 * D * count))
        for start in range(0, per, step):
            block = part[start : start + step]
            with together():
                parts = [torch.empty_like(block) for _ in range(count)] if count > 1 else [block]
                if count > 1:
                    dist.all_gather(parts, block.contiguous())
            out[start * count : (start + len(block)) * count] = torch.stack(parts, 1).reshape(-1, D).numpy()
        return out[:N]


class _Exchange(torch.autograd.Function):
    """Rows to those who asked for them; on the way back their gradients, divided by the number of workers."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sent: list[int], received: list[int]) -> Tensor:
        ctx.sent, ctx.received = sent, received
        out = rows.new_empty(sum(received), rows.shape[1])
        with together():
            dist.all_to_all_single(out, rows.contiguous(), received, sent)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        out = grads[0].new_empty(sum(ctx.sent), grads[0].shape[1])
        with together():
            dist.all_to_all_single(out, grads[0].contiguous(), ctx.sent, ctx.received)
        return out.div_(len(ctx.sent)), None, None


def sharded(make: Callable[[int], nn.Module], rows: int, run: Run) -> nn.Module:
    """``make(rows)``; with ``run.shard`` a network whose table ``items`` is dealt over the workers.

    The network is made for as many rows as one worker holds, so that none ever holds all. Raises SettingError if it has
    more in it that depends on their number.
    """
    if not run.shard:
        return make(rows)
    workers = Workers.now()
    part = -(-rows // workers.count)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(run.seed * workers.count + workers.rank)
        network = make(part)
    if type(network.items) is not nn.Embedding or network.items.num_embeddings != part:
        raise SettingError(f"shard=True must be left out: the items of {type(network).__name__} are no plain table.")
    network.items = ShardedTable(network.items, rows, workers)
    return network


def part_of(shape: Shape, run: Run) -> Shape:
    """What one worker has to hold of the items, to estimate its memory from."""
    return dataclasses.replace(shape, items=-(-shape.items // Workers.now().count)) if run.shard else shape


def rows_of_step(
    table: Tensor | ShardedTable, log_q: Tensor, targets: Tensor, negatives: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Table, log_q, targets and negatives: of a sharded table, the rows of this step alone, and positions among these."""
    if isinstance(table, Tensor):
        return table, log_q, targets, negatives
    rows, vectors, (targets, negatives) = table.small(targets, negatives)
    return vectors, log_q.to(rows.device)[rows], targets, negatives


def whole_arrays(network: nn.Module) -> dict[str, NDArray[Any]]:
    """The weights of a network by name, with sharded tables put together: those of the network that is not sharded."""
    tables = {name: m for name, m in network.named_modules() if isinstance(m, ShardedTable)}
    if not tables:
        return to_arrays(network)
    state = {
        name: value for name, value in network.state_dict().items() if name.removesuffix(".part.weight") not in tables
    }
    arrays: dict[str, NDArray[Any]] = {
        name: value.detach().to("cpu", copy=True).numpy() for name, value in state.items()
    }
    return arrays | {f"{name}.weight": table.whole() for name, table in tables.items()}


def mean_ndcg_sharded(states: Float32Array, table: ShardedTable, cases: Cases, k: int = 10) -> float:
    """Mean NDCG@k by ``states`` · rows: each worker finds the best among its own rows, and the best of these are the list."""
    count = table.workers.count
    at, vectors = table.own()
    part = vectors.float().cpu().numpy()

    def lists(rows: NDArray[Any], seen: Any) -> NDArray[Any]:
        found, scores = top_k(states[rows] @ part.T, k, seen=None if seen is None else seen[:, at])
        if count == 1:
            return found
        found = np.where(found < 0, -1, found * count + table.workers.rank)
        both = torch.from_numpy(np.stack([found.astype(np.float64), scores.astype(np.float64)]))
        every = [torch.empty_like(both) for _ in range(count)]
        with together():
            dist.all_gather(every, both)
        ids, values = torch.cat(every, 2).numpy()
        best = np.argsort(-values, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(ids, best, 1).astype(np.int64)

    return mean_ndcg_of_lists(lists, cases, k, _JUDGED)


def _array(shape: tuple[int, int]) -> Float32Array:
    """An array to be filled, in a file without a name where it is large."""
    if 4 * shape[0] * shape[1] < _IN_FILE:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile(prefix="leanrec-") as file:
        return np.asarray(np.memmap(file, np.float32, "w+", shape=shape))
