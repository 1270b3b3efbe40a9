"""Network of Mult-VAE: an encoder of histories with noise, a decoder, and their training."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.nn.arrays import to_arrays
from leanrec.protocols import Embedder
from leanrec.run import Run
from leanrec.training.early_stopping import hold_out, mean_ndcg_of_embedder
from leanrec.training.losses import multinomial
from leanrec.training.trainer import limit_torch_threads, resolve_device, train
from leanrec.types import CSR, Int64Array

if TYPE_CHECKING:
    from leanrec.models.deep.mult_vae import MultVAE

__all__ = ["train_mult_vae"]

_Model = TypeVar("_Model", bound=Embedder)
# Tables of this many rows or more have sparse gradients.
_SPARSE_FROM = 10_000


def train_mult_vae(
    settings: "MultVAE",
    data: Dataset,
    run: Run,
    valid: EvaluationSet | None,
    build_model: Callable[[dict[str, NDArray[Any]]], _Model],
) -> _Model:
    """Train the network, and give the model that ``build_model`` makes of its weights, by name."""
    resolve_device(run)
    if settings.patience and valid is None:
        data, valid = hold_out(data, run.rng())
    X = data.interactions
    with torch.random.fork_rng(devices=[]), limit_torch_threads(run):
        torch.manual_seed(run.seed)
        network = _MultVAENetwork(settings, X.shape[1])
        score = None if valid is None else lambda: mean_ndcg_of_embedder(build_model(to_arrays(network)), valid)
        train(network, _HistoryObjective(settings, X), settings, run, score=score, name="MultVAE", data=(data, valid))
    return build_model(to_arrays(network))


@dataclasses.dataclass(frozen=True, eq=False)
class _Batch:
    """Items of some users, end to end, and their boundaries (B + 1,)."""

    items: Tensor
    bounds: Tensor


class _MultVAENetwork(nn.Module):
    def __init__(self, settings: "MultVAE", n_items: int) -> None:
        super().__init__()
        self.settings, hidden = settings, settings.hidden_dim
        self.first = nn.EmbeddingBag(n_items, hidden, mode="sum", sparse=n_items >= _SPARSE_FROM)
        nn.init.normal_(self.first.weight, std=0.05)
        self.first_bias = nn.Parameter(torch.zeros(hidden))
        self.upper = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(settings.n_layers - 1))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(settings.n_layers))
        self.mean, self.log_variance = (
            nn.Linear(hidden, settings.embedding_dim),
            nn.Linear(hidden, settings.embedding_dim),
        )
        nn.init.zeros_(self.log_variance.weight)
        nn.init.constant_(self.log_variance.bias, -4.0)
        self.decoder_hidden = nn.Linear(settings.embedding_dim, settings.decoder_dim) if settings.decoder_dim else None
        self.items = nn.Linear(settings.decoder_dim or settings.embedding_dim, n_items)
        nn.init.normal_(self.items.weight, std=0.01)
        nn.init.zeros_(self.items.bias)

    def encode(self, batch: _Batch) -> tuple[Tensor, Tensor]:
        """(B, D) means and log-variances."""
        lengths = batch.bounds.diff()
        is_kept = torch.rand(len(batch.items), device=lengths.device) >= self.settings.dropout
        weights = (lengths.clamp(min=1) ** -0.5 / (1 - self.settings.dropout)).repeat_interleave(lengths)
        x = self.first(batch.items, batch.bounds[:-1], per_sample_weights=weights * is_kept) + self.first_bias
        x = self.norms[0](F.silu(x))
        for layer, norm in zip(self.upper, list(self.norms)[1:], strict=True):
            x = norm(x + F.silu(layer(x)))
        return self.mean(x), self.log_variance(x)

    def decode(self, z: Tensor) -> Tensor:
        """(B, D) to the input of the last layer."""
        return z if self.decoder_hidden is None else torch.tanh(self.decoder_hidden(z))


@dataclasses.dataclass(frozen=True, eq=False)
class _HistoryObjective:
    """Reconstructs whole histories from parts of them."""

    settings: "MultVAE"
    X: CSR

    def batches(self, rng: np.random.Generator) -> Sequence[Int64Array]:
        users = np.flatnonzero(np.diff(self.X.indptr))
        rng.shuffle(users)
        return [
            users[start : start + self.settings.batch_size] for start in range(0, len(users), self.settings.batch_size)
        ]

    def loss(self, network: nn.Module, batch: Int64Array, rng: np.random.Generator) -> Tensor:  # noqa: ARG002 - the noise comes from torch
        net = cast(_MultVAENetwork, network)
        rows, device = self.X[batch], net.items.weight.device
        items, bounds = (torch.from_numpy(each.astype(np.int64)).to(device) for each in (rows.indices, rows.indptr))
        mean, log_variance = net.encode(_Batch(items, bounds))
        z = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
        reconstruction = multinomial(net.decode(z), net.items.weight, net.items.bias, items, bounds)
        return reconstruction + self.settings.beta * (divergence * bounds.diff()).sum() / max(1, len(items))
