"""Losses over hidden states and a table of items: which item comes next among all, among a few, or among the batch.

Shapes: T targets in a step, D width, N items, S negatives. Every loss returns the mean over the T targets.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "alignment",
    "bce",
    "bpr",
    "cross_entropy",
    "gbce",
    "info_nce",
    "multinomial",
    "sampled_softmax",
    "stretch_bytes",
    "uniformity",
]

# Logits of one stretch of targets: 4 MB stay in a processor's cache between the product and the softmax; a GPU wants few, large calls.
_STRETCH_BYTES = {"cpu": 4 * 2**20, "cuda": 512 * 2**20}
_LEAST = 16


def _stretch(n_items: int, width: int, device: str = "cpu") -> int:
    """Rows of a stretch of logits. Where the table does not stay in the cache, reading it pays for half as many rows as it is wide."""
    room = _STRETCH_BYTES.get(device, _STRETCH_BYTES["cpu"]) // (4 * n_items)
    return max(_LEAST, width // 2, room)


def stretch_bytes(n_items: int, width: int) -> int:
    """What the losses over all items hold on a processor beside states, tables and their gradients: three stretches of logits."""
    return 3 * 4 * n_items * _stretch(n_items, width)


class _MadeForward(torch.autograd.Function):
    """A mean whose gradients by states, table and bias, its first arguments, are made on the way forward."""

    @staticmethod
    def keep(ctx: Any, total: Tensor, n: int, *gradients: Tensor | None) -> Tensor:
        """The mean of a sum over n, and what the way back needs."""
        ctx.save_for_backward(*gradients)
        ctx.n = max(1, n)
        mean: Tensor = total / ctx.n
        return mean

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        # In place, because fresh memory of a large table costs more than the product; a second way back is refused by torch.
        scale = grads[0] / ctx.n
        found = [None if each is None else each.mul_(scale) for each in ctx.saved_tensors]
        return (*found, *[None] * (len(ctx.needs_input_grad) - len(found)))


class _CrossEntropy(_MadeForward):
    """Softmax over all items, a stretch of targets at a time."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, table: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        total, d_hidden, d_table = table.new_zeros(()), torch.empty_like(hidden), torch.zeros_like(table)
        d_bias = None if bias is None else torch.zeros_like(bias)
        # Where the states are in bfloat16 so are the products; sums and the softmax are in the type of the table.
        W = table.to(hidden.dtype)
        step = _stretch(len(table), table.shape[1], table.device.type)
        for start in range(0, len(hidden), step):
            h, t = hidden[start : start + step], targets[start : start + step, None]
            logits = (h @ W.T).to(table.dtype)
            if bias is not None:
                logits += bias
            log_p = logits.log_softmax(1)
            total -= log_p.gather(1, t).sum()
            p = log_p.exp_()
            p.scatter_add_(1, t, p.new_full(t.shape, -1))
            if d_bias is not None:
                d_bias += p.sum(0)
            p = p.to(hidden.dtype)
            torch.mm(p, W, out=d_hidden[start : start + step])
            if W is table:
                d_table.addmm_(p.T, h)
            else:
                d_table += p.T @ h
        return _MadeForward.keep(ctx, total, len(hidden), d_hidden, d_table, d_bias)


def cross_entropy(hidden: Tensor, table: Tensor, targets: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax cross-entropy of ``hidden`` (T, D) against all rows of ``table`` (N, D); ``targets`` (T,).

    The (T, N) logits are never held: each stretch of targets makes its part of the gradients as it passes.
    Cost 6 T N D operations forward and none of that order backward; memory three stretches of at least 16 and D / 2 targets, each of about 4 MB where that is more (512 MB on a GPU), T D and N D numbers.
    """
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind):
        hidden = hidden.to(torch.get_autocast_dtype(kind))
    with torch.autocast(kind, enabled=False):
        loss: Tensor = _CrossEntropy.apply(hidden, table, bias, targets)
    return loss


class _Multinomial(_MadeForward):
    """−Σ log softmax over the items of each user, by the number of all items."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, table: Tensor, bias: Tensor, items: Tensor, bounds: Tensor) -> Tensor:
        hidden = hidden.to(table.dtype)
        total = hidden.new_zeros(())
        d_hidden, d_table, d_bias = torch.empty_like(hidden), torch.zeros_like(table), torch.zeros_like(bias)
        step, lengths = _stretch(len(table), table.shape[1], table.device.type), bounds.diff()
        edges = bounds[::step].tolist() + bounds[-1:].tolist()
        for i, start in enumerate(range(0, len(hidden), step)):
            h, n = hidden[start : start + step], lengths[start : start + step, None]
            columns = items[edges[i] : edges[i + 1]]
            rows = torch.arange(len(h), device=h.device).repeat_interleave(n[:, 0])
            logits = torch.addmm(bias, h, table.T)
            log_p = logits.log_softmax(1)
            total -= log_p[rows, columns].sum()
            p = log_p.exp_().mul_(n)
            p.index_put_((rows, columns), p.new_full((len(rows),), -1.0), accumulate=True)
            torch.mm(p, table, out=d_hidden[start : start + step])
            d_table.addmm_(p.T, h)
            d_bias += p.sum(0)
        return _MadeForward.keep(ctx, total, len(items), d_hidden, d_table, d_bias)


def multinomial(hidden: Tensor, table: Tensor, bias: Tensor, items: Tensor, bounds: Tensor) -> Tensor:
    """−Σ log softmax of ``hidden`` (B, D) against ``table`` (N, D) with ``bias`` (N,), over the items of each row, by their number.

    ``items`` are those of all rows, one row after the other; ``bounds`` (B + 1,) says where each begins and ends. The (B, N) logits are
    never held, as in ``cross_entropy``, and cost and memory are of the same kind with B in the place of T.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        loss: Tensor = _Multinomial.apply(hidden, table, bias, items, bounds)
    return loss


def sampled_softmax(
    hidden: Tensor, table: Tensor, targets: Tensor, negatives: Tensor, log_q: Tensor | None = None
) -> Tensor:
    """Softmax of each target against S negatives that the whole step shares.

    ``negatives`` (S,) rows of the table. ``log_q`` (N,) the logarithm of the expected number of draws of each item:
    subtracted from the logits of the negatives, the loss estimates the full one (Bengio & Senécal 2008;
    for the batch's own items Yi et al., RecSys 2019). A negative that is the target itself does not count.
    """
    positive = (hidden * F.embedding(targets, table)).sum(1, keepdim=True)
    logits = hidden @ F.embedding(negatives, table).T
    if log_q is not None:
        logits = logits - log_q[negatives]
    logits = logits.masked_fill(negatives[None, :] == targets[:, None], -torch.inf)
    return (torch.cat([positive, logits], 1).logsumexp(1, keepdim=True) - positive).mean()


def _scores(hidden: Tensor, table: Tensor, targets: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """(T,) of the targets and (T, S) of each target's own negatives; −∞, which costs nothing, for a draw of the target itself."""
    positive = (hidden * F.embedding(targets, table)).sum(1)
    negative = torch.einsum("td,tsd->ts", hidden, F.embedding(negatives, table))
    return positive, negative.masked_fill(negatives == targets[:, None], -torch.inf)


def bce(hidden: Tensor, table: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
    """Binary cross-entropy of a target against its own negatives (T, S) (SASRec, Kang & McAuley 2018).

    A negative that is the target itself does not count.
    """
    positive, negative = _scores(hidden, table, targets, negatives)
    return (F.softplus(-positive) + F.softplus(negative).sum(1)).mean()


def gbce(hidden: Tensor, table: Tensor, targets: Tensor, negatives: Tensor, *, share: float, t: float = 0.75) -> Tensor:
    """Binary cross-entropy whose positive part is tempered to undo overconfidence (gSASRec, Petrov & Macdonald 2023).

    ``share`` is S / (N − 1), how many of the others were drawn, all alike; t = 1 undoes all of the bias, t = 0 none.
    A negative that is the target itself does not count.
    """
    beta = share * (t * (1 - 1 / share) + 1 / share)
    positive, negative = _scores(hidden, table, targets, negatives)
    return (beta * F.softplus(-positive) + F.softplus(negative).sum(1)).mean()


def bpr(hidden: Tensor, table: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
    """−log σ(score of the target − score of each of its negatives), mean over the negatives (Rendle et al. 2009).

    A negative that is the target itself does not count; a target without any other costs nothing.
    """
    positive, negative = _scores(hidden, table, targets, negatives)
    left = (negatives != targets[:, None]).sum(1).clamp(min=1)
    return (F.softplus(negative - positive[:, None]).sum(1) / left).mean()


def info_nce(first: Tensor, second: Tensor, temperature: float = 0.2) -> Tensor:
    """Contrast of two views (T, D) of the same things: each row has to find its twin among all rows of the other view.

    Softmax cross-entropy over cosines / ``temperature`` (van den Oord et al. 2018; for graphs XSimGCL, Yu et al. 2023).
    The (T, T) logits are never held.
    """
    twins = torch.arange(len(first), device=first.device)
    return cross_entropy(F.normalize(first, dim=1) / temperature, F.normalize(second, dim=1), twins)


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared distance, on the unit sphere, of what belongs together: row t of ``first`` and of ``second`` (T, D).

    With ``uniformity`` of either side it is all of DirectAU's loss (Wang et al., KDD 2022).
    """
    return (F.normalize(first, dim=1) - F.normalize(second, dim=1)).square().sum(1).mean()


def uniformity(x: Tensor) -> Tensor:
    """Logarithm of the mean of exp(−2 · squared distance) over pairs of rows (T, D) on the unit sphere: low when spread out.

    0 for a single row (Wang & Isola, ICML 2020). Memory T² numbers.
    """
    n = len(x)
    if n < 2:
        return x.sum() * 0
    x = F.normalize(x, dim=1)
    near = (4 * (x @ x.T) - 4).masked_fill(torch.eye(n, dtype=torch.bool, device=x.device), -torch.inf)
    return near.flatten().logsumexp(0) - math.log(n * (n - 1))
