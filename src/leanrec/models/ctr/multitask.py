"""Multi-gate mixture-of-experts: one task per event type over shared experts.

Ma, Zhao, Yi, Chen, Hong & Chi, "Modeling Task Relationships in Multi-task Learning with Multi-gate
Mixture-of-Experts", KDD 2018; conditional tasks: Ma, Zhao, Huang, Wang, Hu, Zhu & Gai, "Entire Space Multi-Task Model:
An Effective Approach for Estimating Post-Click Conversion Rate", SIGIR 2018; shared bottom: Caruana, "Multitask Learning", Machine Learning 28, 1997; pairwise terms: Guo, Tang, Ye, Li &
He, "DeepFM", IJCAI 2017.
"""

import dataclasses
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.errors import SettingError
from leanrec.finiteness import require_finite
from leanrec.models.ctr.core.examples import LabeledRows
from leanrec.models.ctr.core.models import FieldModel, RowModel
from leanrec.models.ctr.core.settings import CTRSettings
from leanrec.models.ctr.core.training import fit_events, fit_rows
from leanrec.nn.fields import MLP, FieldNetwork, FieldSizes, FieldVectors, pairwise_products
from leanrec.run import Run
from leanrec.settings import setting
from leanrec.types import Float32Array

__all__ = ["MultiTask"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiTask(CTRSettings):
    """One task for any positive event, and one per type of positive event (view, click, purchase …).

    An example is a positive event or a sampled item without interaction. The first task predicts whether the pair has an
    event at all; the others predict, for pairs with an event only, whether it ever had one of their type:
    pₜ = p(any) · p(type t | any). So a viewed item that was not bought differs from a negative. The score is the logarithm
    of p(any) · Π p(type t | any) ^ exponentₜ. With one event type there is one task. On labeled rows every target is a
    task, with equal weights.

    When to use: several event types, such as click and purchase, predicted together.

    Cost per row with X = F · D: n_experts · (X · hidden_sizes[0] + …) and T towers; a query takes N rows, or K for given
    candidates.
    """

    READS: ClassVar[frozenset[str]] = CTRSettings.READS | {"event_types"}

    sharing: str = setting(
        "experts",
        one_of=("experts", "bottom"),
        doc='"experts" (MMoE: each task mixes them by its own gate) or "bottom" (one shared by all tasks).',
    )
    n_experts: int = setting(4, at_least=1, doc='Number of experts; not used for "bottom".')
    tower_size: int = setting(32, at_least=1, doc="Size of the hidden layer of the tower of each task.")
    pairwise_terms: bool = setting(
        True,
        doc="Add to each task's logit a linear part and the products of all pairs of field vectors, per dimension with "
        "learned weights. An MLP hardly learns such products by itself (Rendle et al., RecSys 2020).",
    )
    task_weight: float = setting(
        0.1, at_least=0, doc="Weight of the loss of each event type, relative to the task of any event."
    )
    task_exponents: tuple[float, ...] = setting(
        (),
        at_least=0,
        doc="Exponent of each event type in the score: (0, 0, 1) ranks by the probability of the third, () by the "
        "geometric mean of all (1 / T each), zeros by the probability of any event.",
    )

    def build_network(self, sides: tuple[FieldSizes, ...], n_tasks: int) -> FieldNetwork:
        """The network with fresh weights."""
        return _MultiTaskNetwork(self, sides, n_tasks)

    def task_names(self, data: Dataset) -> tuple[str, ...]:
        """Any event, and each type of positive event if there are several.

        Raises SettingError if ``task_exponents`` has another length.
        """
        events = data.events
        codes = np.unique(events.event_type[data.is_positive])
        names = tuple(events.event_types[code] for code in codes.tolist()) or events.event_types[:1]
        if self.task_exponents and len(self.task_exponents) != len(names):
            raise SettingError(
                f"task_exponents must have one number per type of positive event: {', '.join(names)}. "
                f"Got {self.task_exponents}."
            )
        return ("positive", *(names if len(names) > 1 else ()))

    def task_weights(self, n_tasks: int) -> Float32Array:
        """(1 + T,) weights of the losses; 1 for any event."""
        return np.array([1.0] + [self.task_weight] * (n_tasks - 1), np.float32)

    def combine_logits(self, logits: Tensor) -> Tensor:
        """(R,) log p(any) + Σ exponentₜ · log p(type t | any), from logits (R, 1 + T)."""
        log_p = F.logsigmoid(logits)
        if log_p.shape[1] == 1:
            return log_p[:, 0]
        n_types = log_p.shape[1] - 1
        return log_p[:, 0] + log_p[:, 1:] @ logits.new_tensor(self.task_exponents or (1 / n_types,) * n_types)

    @require_finite
    def fit(self, data: Dataset, run: Run = Run(), valid: EvaluationSet | None = None) -> FieldModel:
        """Train on positive events against sampled items without interaction.

        With ``patience`` the validation score is NDCG@10 on 300 queries of ``valid``; if that is None, on the latest item of 5 % of the
        users, which is then left out of training.
        """
        return fit_events(self, data, run, valid)

    def fit_rows(self, examples: LabeledRows, run: Run = Run(), valid: LabeledRows | None = None) -> RowModel:
        """Train on labeled rows, with one column of labels per task.

        With ``patience`` the validation score is the mean AUC of the tasks on ``valid``; if that is None, on a random tenth
        of the rows, which is then left out of training. Raises DataError if there are no rows.
        """
        return fit_rows(self, examples, run, valid)


class _MultiTaskNetwork(FieldNetwork):
    def __init__(self, settings: MultiTask, sides: tuple[FieldSizes, ...], n_tasks: int) -> None:
        # The linear weights of each task are the last cells of every vector.
        self.n_linear = n_tasks if settings.pairwise_terms else 0
        super().__init__(sides, settings.embedding_dim + self.n_linear)
        width = self.n_fields * settings.embedding_dim + self.n_numbers
        is_mixture = settings.sharing == "experts"
        self.experts = nn.ModuleList(
            MLP(width, settings.hidden_sizes, dropout=settings.dropout, batch_norm=settings.batch_norm)
            for _ in range(settings.n_experts if is_mixture else 1)
        )
        self.gates = nn.ModuleList(nn.Linear(width, settings.n_experts) for _ in range(n_tasks if is_mixture else 0))
        self.towers = nn.ModuleList(MLP(settings.hidden_sizes[-1], (settings.tower_size,), 1) for _ in range(n_tasks))
        self.pairs = nn.Linear(settings.embedding_dim, n_tasks, bias=False) if settings.pairwise_terms else None
        if self.pairs is not None:
            nn.init.ones_(self.pairs.weight)

    def predict_logits(self, rows: FieldVectors) -> Tensor:
        """(R, T) logits."""
        vectors = rows.vectors[..., : rows.vectors.shape[-1] - self.n_linear]
        x = torch.cat([vectors.flatten(1), rows.numbers], 1)
        shared = torch.stack([expert(x) for expert in self.experts], 1)
        mixed = [torch.einsum("re,rew->rw", gate(x).softmax(1), shared) for gate in self.gates]
        inputs = mixed or [shared[:, 0]] * len(self.towers)
        logits = torch.cat([tower(each) for tower, each in zip(self.towers, inputs, strict=True)], 1)
        if self.pairs is not None:
            logits = logits + self.pairs(pairwise_products(vectors)) + rows.vectors[..., -self.n_linear :].sum(1)
        return logits
