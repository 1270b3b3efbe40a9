"""Data-parallel training with ``torchrun``: each worker takes part of the batches, and all average their gradients.

The trainer does all of it; models need no code of their own. The workers together do what one process does that
accumulates as many batches per step (``gradient_accumulation``). Decisions that must agree (stop, or a loss that is not
finite) travel with the gradients, so that no worker waits for one that has stopped.
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

from leanrec.errors import SettingError, WorkerError
from leanrec.training.optimizers import sparse_tables
from leanrec.units import parse_seconds

__all__ = ["WorkerGroup", "local_parameters", "translate_collective_errors"]

# Size of a gradient bucket: large enough to amortize the latency of a reduction, small enough to be copied within the cache.
_BUCKET_BYTES = 32 * 2**20
_TIMEOUT_VARIABLE = "LEANREC_WORKER_TIME"


@dataclasses.dataclass(frozen=True)
class WorkerGroup:
    """The processes that train together; one without ``torchrun``.

    Attributes:
        rank: of this process, from 0.
        count: number of processes.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def current(cls) -> "WorkerGroup":
        """The workers that ``torchrun`` started, or this process alone. Raises WorkerError if they cannot connect."""
        if not dist.is_available():
            return cls()
        if not dist.is_initialized():
            if int(os.environ.get("WORLD_SIZE", "1")) == 1:
                return cls()
            _init_process_group()
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this worker writes files and messages for all."""
        return self.rank == 0

    def assign_batches(self, n_batches: int) -> range:
        """Indices of this worker's batches; every worker gets the same number.

        Step s takes the batches s · count to (s + 1) · count − 1, one per worker. Indices from ``n_batches`` on are fillers.
        """
        return range(self.rank, -(-n_batches // self.count) * self.count, self.count)

    def broadcast_weights(self, network: nn.Module, *, buffers: bool = False) -> None:
        """Copy the weights of the first worker to all, or its ``buffers`` only. Local parameters are left out."""
        if self.count == 1:
            return
        local = local_parameters(network)
        values = list(network.buffers()) if buffers else [*network.parameters(), *network.buffers()]
        with translate_collective_errors():
            for value in values:
                if value not in local:
                    dist.broadcast(value.detach(), 0)

    def average_gradients(self, network: nn.Module, *flags: float) -> list[float]:
        """Replace each gradient by its mean over the workers. Returns the sums of the ``flags`` over the workers.

        A worker without a gradient counts as zeros. Dense gradients travel in flat buckets of 32 MB. Gradients of sparse
        tables travel as rows: R rows per worker cost count · R · (D + 2) floats, whatever the size of the table.
        """
        if self.count == 1:
            return list(flags)
        local = local_parameters(network)
        tables = sparse_tables(network)
        shared = [p for p in network.parameters() if p.requires_grad and p not in local]
        with translate_collective_errors():
            sums = self._average_dense([p for p in shared if p not in tables], flags)
            self._average_sparse([p for p in shared if p in tables])
        return sums

    def _average_dense(self, parameters: Sequence[nn.Parameter], flags: Sequence[float]) -> list[float]:
        # The flags ride at the end of the first bucket, with one flag per parameter: whether any worker has a gradient.
        extra = torch.tensor([*flags, *(float(p.grad is not None) for p in parameters)])
        reduced: list[Tensor] = []
        for bucket in _make_buckets(parameters) or [[]]:
            grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
            parts = [(grad.to_dense() if grad.is_sparse else grad).reshape(-1) for grad in grads]
            if not reduced:
                extra = extra.to(parts[0]) if parts else extra
                parts.append(extra)
            flat = torch.cat(parts) if len(parts) > 1 else parts[0]
            dist.all_reduce(flat)
            split = flat.split([len(part) for part in parts])
            reduced = reduced or [split[-1].clone()]
            for parameter, part in zip(bucket, split, strict=False):
                parameter.grad = part.view_as(parameter).div_(self.count)
        sums: list[float] = reduced[0].tolist()
        for parameter, present in zip(parameters, sums[len(flags) :], strict=True):
            parameter.grad = parameter.grad if present else None
        return sums[: len(flags)]

    def _average_sparse(self, tables: Sequence[nn.Parameter]) -> None:
        if not tables:
            return
        grads = [_sparse_gradient(table) for table in tables]
        sizes = self._gather(torch.tensor([len(rows) for rows, _ in grads])).tolist()
        widths = [table.shape[1] for table in tables]
        cells = [[n * width for n, width in zip(each, widths, strict=True)] for each in sizes]
        rows = self._gather(torch.cat([rows for rows, _ in grads]), max(map(sum, sizes)))
        values = self._gather(torch.cat([values.reshape(-1) for _, values in grads]), max(map(sum, cells)))
        split_rows = [each[: sum(n)].split(n) for each, n in zip(rows, sizes, strict=True)]
        split_values = [each[: sum(n)].split(n) for each, n in zip(values, cells, strict=True)]
        for i, table in enumerate(tables):
            index = torch.cat([each[i] for each in split_rows])
            mean = torch.cat([each[i] for each in split_values]).view(-1, widths[i]).div_(self.count)
            table.grad = torch.sparse_coo_tensor(index[None], mean, table.shape).coalesce() if len(index) else None

    def _gather(self, value: Tensor, length: int | None = None) -> Tensor:
        """The vectors of all workers, each padded to ``length``, as rows: (count, length)."""
        padded = value if length is None else nn.functional.pad(value, (0, length - len(value)))
        out = padded.new_empty(self.count * len(padded))
        dist.all_gather(list(out.view(self.count, -1).unbind()), padded.contiguous())
        return out.view(self.count, -1)

    def clip_gradients(self, network: nn.Module, max_norm: float) -> None:
        """Scale all gradients so that their norm, local parameters of every worker included, is at most ``max_norm``."""
        local = local_parameters(network)
        grads = {}
        for p in network.parameters():
            if p.grad is not None:
                # Duplicate rows of a sparse gradient are summed before their norm is taken.
                p.grad = p.grad.coalesce() if p.grad.is_sparse else p.grad
                grads[p] = p.grad.values() if p.grad.is_sparse else p.grad
        square = sum(float(grad.square().sum()) for p, grad in grads.items() if p not in local)
        if local:
            square += self.sum_over_workers(sum(float(grad.square().sum()) for p, grad in grads.items() if p in local))
        if square > max_norm**2:
            for grad in grads.values():
                grad.mul_(max_norm / math.sqrt(square))

    def sum_over_workers(self, value: float) -> float:
        """The sum of a number over the workers."""
        if self.count == 1:
            return value
        with translate_collective_errors():
            total = torch.tensor(value, dtype=torch.float64)
            dist.all_reduce(total)
        return float(total)

    def broadcast_value(self, value: float) -> float:
        """The number of the first worker, in every worker."""
        if self.count == 1:
            return value
        with translate_collective_errors():
            sent = torch.tensor(value, dtype=torch.float64)
            dist.broadcast(sent, 0)
        return float(sent)

    def check_equal(self, what: str, value: int) -> None:
        """Raise WorkerError in every worker unless all have the same number."""
        if self.count == 1:
            return
        with translate_collective_errors():
            values = self._gather(torch.tensor([value])).reshape(-1).tolist()
        if len(set(values)) > 1:
            raise WorkerError(
                f"Every worker must have the same {what}. Got {', '.join(map(str, values))}, from the first worker to the "
                "last. Give all of them the same data, settings, seed and checkpoint folder."
            )


def local_parameters(network: nn.Module) -> set[Tensor]:
    """The parameters that differ between workers: those of modules with ``is_local = True``, such as shards of a table."""
    return {p for module in network.modules() if getattr(module, "is_local", False) for p in module.parameters()}


def _make_buckets(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Consecutive parameters of the same dtype and device, in buckets of at most 32 MB or one parameter."""
    buckets: list[list[nn.Parameter]] = []
    size = 0
    for parameter in parameters:
        bytes_ = parameter.numel() * parameter.element_size()
        fits = bool(buckets) and (buckets[-1][-1].dtype, buckets[-1][-1].device) == (parameter.dtype, parameter.device)
        if not fits or size + bytes_ > _BUCKET_BYTES:
            buckets.append([])
            size = 0
        buckets[-1].append(parameter)
        size += bytes_
    return buckets


def _sparse_gradient(table: nn.Parameter) -> tuple[Tensor, Tensor]:
    """Rows (R,) and values (R, D) of a gradient."""
    if table.grad is None:
        return torch.zeros(0, dtype=torch.int64, device=table.device), table.new_zeros(0, table.shape[1])
    grad = table.grad.coalesce() if table.grad.is_sparse else table.grad.to_sparse(1)
    return grad.indices()[0], grad.values()


def _init_process_group() -> None:
    """Connect the workers described by the environment: gloo between CPUs, NCCL between GPUs."""
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    timeout = datetime.timedelta(seconds=_timeout_seconds())
    try:
        dist.init_process_group(backend, timeout=timeout)
    except (RuntimeError, ValueError) as error:
        raise WorkerError(
            f"The workers must be able to connect. WORLD_SIZE is {os.environ['WORLD_SIZE']}: {_first_line(error)}. "
            "Start them with torchrun."
        ) from error
    atexit.register(_destroy_process_group)


def _destroy_process_group() -> None:
    with contextlib.suppress(RuntimeError, AssertionError):
        dist.destroy_process_group()


def _timeout_seconds() -> float:
    try:
        return parse_seconds(os.environ.get(_TIMEOUT_VARIABLE, "300s"))
    except SettingError as error:
        raise SettingError(f"{_TIMEOUT_VARIABLE}: {error}") from None


@contextlib.contextmanager
def translate_collective_errors() -> Iterator[None]:
    """Raise WorkerError for a failed collective operation, which another worker must have caused."""
    try:
        yield
    except RuntimeError as error:
        raise WorkerError(
            f"Worker {dist.get_rank()} of {dist.get_world_size()} lost another worker, which ended or did not answer for "
            f"{_timeout_seconds():g} s ({_first_line(error)}). The last message of that worker tells why. "
            "Start all again; with a checkpoint folder they resume from the last epoch."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:200]
