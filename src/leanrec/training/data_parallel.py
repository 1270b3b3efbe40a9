"""Data-parallel training under ``torchrun``: every worker steps on its part of the batches with the mean gradient of all.

The loop asks; no model knows. Together the workers do what one process does that adds up the gradients of as many
batches before a step (``accumulate``). What all have to decide alike (stop, or the loss is not a number) travels with the
gradients, so that nobody waits for a worker that has already stopped.
"""

import atexit
import contextlib
import dataclasses
import datetime
import math
import os
from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from leanrec.errors import WorkerError
from leanrec.units import parse_seconds

__all__ = ["WorkerGroup", "local_parameters", "collective_errors"]

# A bucket of gradients: large enough that the start of a reduction costs nothing, small enough to be copied in the cache's reach.
_BUCKET_BYTES = 32 * 2**20
_SECONDS = "LEANREC_WORKER_TIME"


@dataclasses.dataclass(frozen=True)
class WorkerGroup:
    """The processes that train together; one where nobody started more."""

    rank: int = 0
    count: int = 1

    @classmethod
    def now(cls) -> "WorkerGroup":
        """The workers that ``torchrun`` started, or this process alone. Raises WorkerError if they do not meet."""
        if not dist.is_available():
            return cls()
        if not dist.is_initialized():
            if int(os.environ.get("WORLD_SIZE", "1")) == 1:
                return cls()
            _meet()
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this is the worker that writes and speaks for all."""
        return self.rank == 0

    def deal(self, batches: int) -> range:
        """The numbers of this worker's batches; all get equally many.

        Step s is batches s · count to (s + 1) · count − 1, one for each worker. Numbers from ``batches`` on stand for nothing.
        """
        return range(self.rank, -(-batches // self.count) * self.count, self.count)

    def share(self, network: nn.Module, *, buffers: bool = False) -> None:
        """Give every worker the weights of the first, or its buffers alone."""
        if self.count == 1:
            return
        own = local_parameters(network)
        values = list(network.buffers()) if buffers else [*network.parameters(), *network.buffers()]
        with collective_errors():
            for value in values:
                if value not in own:
                    dist.broadcast(value.detach(), 0)

    def average(self, network: nn.Module, *signs: float) -> list[float]:
        """Replace each gradient by its mean over the workers; the sums of the ``signs`` of all come back.

        A worker without a gradient counts as zeros. Dense gradients travel in flat buckets of 32 MB; those of tables with
        sparse gradients as rows: R rows of each worker cost count · R · (D + 2) numbers, whatever the table's length.
        """
        if self.count == 1:
            return list(signs)
        own = local_parameters(network)
        tables = {m.weight for m in network.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag) and m.sparse}
        shared = [p for p in network.parameters() if p.requires_grad and p not in own]
        with collective_errors():
            sums = self._average_dense([p for p in shared if p not in tables], signs)
            self._average_rows([p for p in shared if p in tables])
        return sums

    def _average_dense(self, parameters: Sequence[nn.Parameter], signs: Sequence[float]) -> list[float]:
        notes = torch.tensor([*signs, *(float(p.grad is not None) for p in parameters)])
        kept: list[Tensor] = []
        for bucket in _buckets(parameters) or [[]]:
            parts = [_dense(p).reshape(-1) for p in bucket]
            if not kept:
                notes = notes.to(parts[0]) if parts else notes
                parts.append(notes)
            flat = torch.cat(parts) if len(parts) > 1 else parts[0]
            dist.all_reduce(flat)
            split = flat.split([len(part) for part in parts])
            kept = kept or [split[-1].clone()]
            for parameter, part in zip(bucket, split, strict=False):
                parameter.grad = part.view_as(parameter).div_(self.count)
        sums: list[float] = kept[0].tolist()
        for parameter, present in zip(parameters, sums[len(signs) :], strict=True):
            parameter.grad = parameter.grad if present else None
        return sums[: len(signs)]

    def _average_rows(self, tables: Sequence[nn.Parameter]) -> None:
        if not tables:
            return
        grads = [_rows(table) for table in tables]
        sizes = self._gather(torch.tensor([len(rows) for rows, _ in grads])).tolist()
        widths = [table.shape[1] for table in tables]
        cells = [[r * width for r, width in zip(each, widths, strict=True)] for each in sizes]
        rows = self._gather(torch.cat([rows for rows, _ in grads]), max(map(sum, sizes)))
        values = self._gather(torch.cat([values.reshape(-1) for _, values in grads]), max(map(sum, cells)))
        split_rows = [each[: sum(n)].split(n) for each, n in zip(rows, sizes, strict=True)]
        split_values = [each[: sum(n)].split(n) for each, n in zip(values, cells, strict=True)]
        for i, table in enumerate(tables):
            at = torch.cat([each[i] for each in split_rows])
            mean = torch.cat([each[i] for each in split_values]).view(-1, widths[i]).div_(self.count)
            table.grad = torch.sparse_coo_tensor(at[None], mean, table.shape).coalesce() if len(at) else None

    def _gather(self, value: Tensor, length: int | None = None) -> Tensor:
        """(count, length) the vectors of all workers; shorter ones are filled up."""
        padded = value if length is None else nn.functional.pad(value, (0, length - len(value)))
        out = padded.new_empty(self.count * len(padded))
        dist.all_gather(list(out.view(self.count, -1).unbind()), padded.contiguous())
        return out.view(self.count, -1)

    def clip(self, network: nn.Module, most: float) -> None:
        """Scale all gradients down so that their norm, over every worker's own weights too, is at most ``most``."""
        own = local_parameters(network)
        grads = {p: _values(p, p.grad) for p in network.parameters() if p.grad is not None}
        square = sum(float(grad.square().sum()) for p, grad in grads.items() if p not in own)
        if own:
            square += self.sum(sum(float(grad.square().sum()) for p, grad in grads.items() if p in own))
        if square > most**2:
            for grad in grads.values():
                grad.mul_(most / math.sqrt(square))

    def sum(self, value: float) -> float:
        """The sum of a number over the workers."""
        if self.count == 1:
            return value
        with collective_errors():
            total = torch.tensor(value, dtype=torch.float64)
            dist.all_reduce(total)
        return float(total)

    def first_says(self, value: float) -> float:
        """The number that the first worker has."""
        if self.count == 1:
            return value
        with collective_errors():
            said = torch.tensor(value, dtype=torch.float64)
            dist.broadcast(said, 0)
        return float(said)

    def agree(self, what: str, value: int) -> None:
        """Raise WorkerError, in every worker, unless all have the same number."""
        if self.count == 1:
            return
        with collective_errors():
            found = self._gather(torch.tensor([value])).reshape(-1).tolist()
        if len(set(found)) > 1:
            raise WorkerError(
                f"Every worker must have the same {what}. Found {', '.join(map(str, found))}, from the first worker to the last. "
                "Give all of them the same data, settings, seed and checkpoint folder."
            )


def local_parameters(network: nn.Module) -> set[Tensor]:
    """The weights that are this worker's own part of something larger: those of modules that say so by ``apart``."""
    return {p for module in network.modules() if getattr(module, "apart", False) for p in module.parameters()}


def _buckets(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Runs of parameters of one kind of number and one device, of at most 32 MB where there is more than one."""
    buckets: list[list[nn.Parameter]] = []
    size = 0
    for parameter in parameters:
        bytes_ = parameter.numel() * parameter.element_size()
        like = bool(buckets) and (buckets[-1][-1].dtype, buckets[-1][-1].device) == (parameter.dtype, parameter.device)
        if not like or size + bytes_ > _BUCKET_BYTES:
            buckets.append([])
            size = 0
        buckets[-1].append(parameter)
        size += bytes_
    return buckets


def _dense(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        return torch.zeros_like(parameter)
    return parameter.grad.to_dense() if parameter.grad.is_sparse else parameter.grad


def _rows(table: nn.Parameter) -> tuple[Tensor, Tensor]:
    """Rows (R,) and values (R, D) of a gradient."""
    if table.grad is None:
        return torch.zeros(0, dtype=torch.int64, device=table.device), table.new_zeros(0, table.shape[1])
    grad = table.grad.coalesce() if table.grad.is_sparse else table.grad.to_sparse(1)
    return grad.indices()[0], grad.values()


def _values(parameter: nn.Parameter, grad: Tensor) -> Tensor:
    """The numbers of a gradient, to be changed in place; of a sparse one those of its rows, each once."""
    if not grad.is_sparse:
        return grad
    parameter.grad = grad.coalesce()
    return parameter.grad.values()


def _meet() -> None:
    """Join the workers that the environment speaks of: gloo between CPUs, NCCL between GPUs."""
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=datetime.timedelta(seconds=_seconds()))
    except (RuntimeError, ValueError) as error:
        raise WorkerError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but the workers do not meet: {_line(error)}. Start them by torchrun."
        ) from error
    atexit.register(_leave)


def _leave() -> None:
    with contextlib.suppress(RuntimeError, AssertionError):
        dist.destroy_process_group()


def _seconds() -> float:
    return parse_seconds(os.environ.get(_SECONDS, "300s"))


@contextlib.contextmanager
def collective_errors() -> Iterator[None]:
    """What all workers do at once; what goes wrong there has to do with another one."""
    try:
        yield
    except RuntimeError as error:
        raise WorkerError(
            f"Worker {dist.get_rank()} of {dist.get_world_size()} lost another one, which ended or gave no answer for {_seconds():g} s ({_line(error)}). "
            "What that one said last tells why. Start all again; with a checkpoint folder they go on from the last epoch."
        ) from error


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:200]
