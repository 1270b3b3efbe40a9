"""Losses over hidden states and an item table: full softmax, sampled softmax, pairwise and contrastive.

Shapes: T targets in a step, D embedding dimension, N items, S negatives. Every loss returns the mean over the T targets.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from leanrec.training.logit_blocks import block_rows

__all__ = [
    "alignment",
    "bce",
    "bpr",
    "cross_entropy",
    "gbce",
    "info_nce",
    "multinomial",
    "sampled_softmax",
    "soft_cross_entropy",
    "uniformity",
]


class _ForwardGradients(torch.autograd.Function):
    """A mean loss whose gradients by states, table and bias, its first arguments, are computed in the forward pass."""

    @staticmethod
    def finish(ctx: Any, total: Tensor, n: int, *gradients: Tensor | None) -> Tensor:
        """Save the gradients and return total / n."""
        ctx.save_for_backward(*gradients)
        ctx.n = max(1, n)
        mean: Tensor = total / ctx.n
        return mean

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        # In place: allocating a large table costs more than the product. torch refuses a second backward pass.
        scale = grads[0] / ctx.n
        scaled = [None if each is None else each.mul_(scale) for each in ctx.saved_tensors]
        return (*scaled, *[None] * (len(ctx.needs_input_grad) - len(scaled)))


class _CrossEntropy(_ForwardGradients):
    """Softmax over all items, computed in blocks of targets."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, table: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        total, d_hidden, d_table = table.new_zeros(()), torch.empty_like(hidden), torch.zeros_like(table)
        d_bias = None if bias is None else torch.zeros_like(bias)
        # With states in bfloat16 the products are too; sums and the softmax stay in the dtype of the table.
        W = table.to(hidden.dtype)
        step = block_rows(len(table), table.shape[1], table.device.type)
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
        return _ForwardGradients.finish(ctx, total, len(hidden), d_hidden, d_table, d_bias)


def cross_entropy(hidden: Tensor, table: Tensor, targets: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax cross-entropy of ``hidden`` (T, D) against all rows of ``table`` (N, D); ``targets`` (T,).

    The (T, N) logits are never materialized: each block of targets computes its part of the gradients. Forward takes
    6 T N D operations, backward none of that order. Memory: three blocks of logits of about 4 MB (512 MB on a GPU), but
    of at least 16 and D / 2 targets, plus T D and N D floats.
    """
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind):
        hidden = hidden.to(torch.get_autocast_dtype(kind))
    with torch.autocast(kind, enabled=False):
        loss: Tensor = _CrossEntropy.apply(hidden, table, bias, targets)
    return loss


class _SoftCrossEntropy(_ForwardGradients):
    """Softmax over all items with the softmax of another model as the targets, computed in blocks of targets."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        table: Tensor,
        targets: Tensor,
        soft_hidden: Tensor,
        soft_table: Tensor,
        observed: float,
    ) -> Tensor:
        total, d_hidden, d_table = table.new_zeros(()), torch.empty_like(hidden), torch.zeros_like(table)
        step = block_rows(len(table), table.shape[1], table.device.type)
        for start in range(0, len(hidden), step):
            h, t = hidden[start : start + step], targets[start : start + step, None]
            expected = (soft_hidden[start : start + step] @ soft_table.T).softmax(1).mul_(1 - observed)
            expected.scatter_add_(1, t, expected.new_full(t.shape, observed))
            log_p = (h @ table.T).log_softmax(1)
            total -= torch.dot(expected.view(-1), log_p.view(-1))
            error = log_p.exp_().sub_(expected)
            torch.mm(error, table, out=d_hidden[start : start + step])
            d_table.addmm_(error.T, h)
        return _ForwardGradients.finish(ctx, total, len(hidden), d_hidden, d_table)


def soft_cross_entropy(
    hidden: Tensor, table: Tensor, targets: Tensor, soft_hidden: Tensor, soft_table: Tensor, observed: float = 0.0
) -> Tensor:
    """Cross-entropy of the softmax of ``hidden`` (T, D) · ``table`` (N, D) to that of another model's states and table.

    A share ``observed`` of each target distribution is the item that came next, ``targets`` (T,); with 1 it is
    ``cross_entropy``. The (T, N) logits are never materialized: memory as there; T N (6 D + 2 E) operations for
    ``soft_table`` (N, E). The other model gets no gradient.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        states = hidden.to(table.dtype)
        loss: Tensor = _SoftCrossEntropy.apply(
            states, table, targets, soft_hidden.to(soft_table.dtype), soft_table, observed
        )
    return loss


class _Multinomial(_ForwardGradients):
    """−Σ log softmax over the items of each user, divided by the number of all items."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, table: Tensor, bias: Tensor, items: Tensor, bounds: Tensor) -> Tensor:
        hidden = hidden.to(table.dtype)
        total = hidden.new_zeros(())
        d_hidden, d_table, d_bias = torch.empty_like(hidden), torch.zeros_like(table), torch.zeros_like(bias)
        step, lengths = block_rows(len(table), table.shape[1], table.device.type), bounds.diff()
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
        return _ForwardGradients.finish(ctx, total, len(items), d_hidden, d_table, d_bias)


def multinomial(hidden: Tensor, table: Tensor, bias: Tensor, items: Tensor, bounds: Tensor) -> Tensor:
    """Multinomial negative log-likelihood of the items of each row, per item.

    −Σ log softmax(``hidden`` (B, D) · ``table`` (N, D) + ``bias`` (N,)) over the items of each row. ``items`` holds the
    rows end to end, and ``bounds`` (B + 1,) their boundaries. The (B, N) logits are never materialized; cost and memory
    are those of ``cross_entropy`` with B instead of T.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        loss: Tensor = _Multinomial.apply(hidden, table, bias, items, bounds)
    return loss


def sampled_softmax(
    hidden: Tensor, table: Tensor, targets: Tensor, negatives: Tensor, log_q: Tensor | None = None
) -> Tensor:
    """Softmax of each target against S negatives shared by the whole step.

    Args:
        hidden: (T, D).
        table: (N, D).
        targets: (T,) rows of the table.
        negatives: (S,) rows of the table; a negative equal to the target is ignored.
        log_q: (N,) logarithm of the expected number of draws of each item. Subtracted from the logits of the negatives,
            it makes the loss estimate the full softmax (Bengio & Senécal 2008; in-batch: Yi et al., RecSys 2019).
    """
    positive = (hidden * F.embedding(targets, table)).sum(1, keepdim=True)
    logits = hidden @ F.embedding(negatives, table).T
    if log_q is not None:
        logits = logits - log_q[negatives]
    logits = logits.masked_fill(negatives[None, :] == targets[:, None], -torch.inf)
    return (torch.cat([positive, logits], 1).logsumexp(1, keepdim=True) - positive).mean()


def _pair_scores(hidden: Tensor, table: Tensor, targets: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """(T,) scores of the targets and (T, S) of their own negatives; −inf, which adds no loss, for the target itself."""
    positive = (hidden * F.embedding(targets, table)).sum(1)
    negative = torch.einsum("td,tsd->ts", hidden, F.embedding(negatives, table))
    return positive, negative.masked_fill(negatives == targets[:, None], -torch.inf)


def bce(hidden: Tensor, table: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
    """Binary cross-entropy of each target against its own negatives (T, S) (SASRec, Kang & McAuley 2018).

    A negative equal to the target is ignored.
    """
    positive, negative = _pair_scores(hidden, table, targets, negatives)
    return (F.softplus(-positive) + F.softplus(negative).sum(1)).mean()


def gbce(
    hidden: Tensor, table: Tensor, targets: Tensor, negatives: Tensor, *, sampling_rate: float, t: float = 0.75
) -> Tensor:
    """Binary cross-entropy with a calibrated positive part against overconfidence (gSASRec, Petrov & Macdonald 2023).

    ``sampling_rate`` is S / (N − 1), the share of the other items drawn uniformly; t = 1 removes all of the bias of
    sampling, t = 0 none. A negative equal to the target is ignored.
    """
    beta = sampling_rate * (t * (1 - 1 / sampling_rate) + 1 / sampling_rate)
    positive, negative = _pair_scores(hidden, table, targets, negatives)
    return (beta * F.softplus(-positive) + F.softplus(negative).sum(1)).mean()


def bpr(hidden: Tensor, table: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
    """−log σ(score of the target − score of each of its negatives), mean over the negatives (Rendle et al. 2009).

    A negative equal to the target is ignored; a target without other negatives has no loss.
    """
    positive, negative = _pair_scores(hidden, table, targets, negatives)
    n_valid = (negatives != targets[:, None]).sum(1).clamp(min=1)
    return (F.softplus(negative - positive[:, None]).sum(1) / n_valid).mean()


def info_nce(first: Tensor, second: Tensor, temperature: float = 0.2) -> Tensor:
    """InfoNCE between two views (T, D) of the same entities: each row against all rows of the other view.

    Softmax cross-entropy over cosines / ``temperature`` (van den Oord et al. 2018; for graphs XSimGCL, Yu et al. 2023).
    The (T, T) logits are never materialized.
    """
    positives = torch.arange(len(first), device=first.device)
    return cross_entropy(F.normalize(first, dim=1) / temperature, F.normalize(second, dim=1), positives)


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared distance on the unit sphere between the paired rows of ``first`` and ``second`` (T, D).

    Together with ``uniformity`` of both sides this is the DirectAU loss (Wang et al., KDD 2022).
    """
    return (F.normalize(first, dim=1) - F.normalize(second, dim=1)).square().sum(1).mean()


def uniformity(x: Tensor) -> Tensor:
    """Log of the mean of exp(−2 · squared distance) over pairs of rows (T, D) on the unit sphere: low when spread out.

    0 for a single row (Wang & Isola, ICML 2020). Memory T² floats.
    """
    n = len(x)
    if n < 2:
        return x.sum() * 0
    x = F.normalize(x, dim=1)
    exponents = (4 * (x @ x.T) - 4).masked_fill(torch.eye(n, dtype=torch.bool, device=x.device), -torch.inf)
    return exponents.flatten().logsumexp(0) - math.log(n * (n - 1))
