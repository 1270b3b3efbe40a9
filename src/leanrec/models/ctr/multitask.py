"""Multi-task: what a user will do with an item, each kind of behaviour foretold by its own gate over shared experts.

Ma, Zhao, Yi, Chen, Hong & Chi, "Modeling Task Relationships in Multi-task Learning with Multi-gate
Mixture-of-Experts", KDD 2018; that a kind is asked for where there is an event: Ma, Zhao, Huang, Wang, Hu, Zhu & Gai, "Entire
Space Multi-Task Model", SIGIR 2018; shared bottom: Caruana, "Multitask Learning", Machine Learning 28, 1997; the pairs of fields beside
them as in Guo, Tang, Ye, Li & He, "DeepFM", IJCAI 2017.
"""

import dataclasses

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import Cases
from leanrec.errors import SettingError
from leanrec.models.ctr.core.examples import Examples
from leanrec.models.ctr.core.models import FieldModel, RowModel
from leanrec.models.ctr.core.settings import ByFields
from leanrec.models.ctr.core.training import fit_events, fit_rows
from leanrec.nn.fields import FieldNetwork, Fields, FieldVectors, Perceptron, pair_products
from leanrec.run import Run
from leanrec.settings import check_at_least, check_one_of
from leanrec.types import Float32Array

__all__ = ["MultiTask"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiTask(ByFields):
    """A task for each kind of positive event (view, click, purchase …), in the order of the data's kinds, and one for any of them.

    An example is a positive event or an untouched item. The first task says whether the pair has an event at all, the others, of
    events alone, whether it ever had one of their kind: pₜ = p(any) · p(kind t | any), so that what was viewed and not bought
    does not count as if nobody had touched it. The score is the logarithm of p(any) · Π p(kind t | any) ^ importanceₜ. With
    one kind of event there is one task. Rows of a table have the tasks that their targets say, all alike.

    Cost of a row with X = F · D: experts · (X · hidden[0] + …) and T towers; a query judges N rows, or the K that are
    asked for.

    Attributes:
        sharing: "experts" (MMoE: each task mixes them by a gate of its own) or "bottom" (one that all tasks share).
        experts: how many; not for "bottom".
        tower: width of the hidden layer of each task.
        pairs: add to each task's logit a linear part and the products of all pairs of field vectors, column by column
            with weights of its own. A perceptron hardly learns such products by itself (Rendle et al., RecSys 2020).
        kinds: what the loss of each kind weighs beside that of any event.
        importance: exponent of each kind in the score: (0, 0, 1) orders by the probability of the third, () = 1 / T for
            all by the geometric mean of all, and zeros by that of any event.
    """

    sharing: str = "experts"
    experts: int = 4
    tower: int = 32
    pairs: bool = True
    kinds: float = 0.1
    importance: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_one_of("sharing", self.sharing, ("experts", "bottom"))
        check_at_least("experts", self.experts, 1)
        check_at_least("tower", self.tower, 1)
        for each in self.importance:
            check_at_least("importance", each, 0)
        check_at_least("kinds", self.kinds, 0)

    def network(self, sides: tuple[Fields, ...], tasks: int) -> FieldNetwork:
        """The network with fresh weights."""
        return _MultiTaskNetwork(self, sides, tasks)

    def tasks(self, data: Dataset) -> tuple[str, ...]:
        """Any event, and where there are several the kinds that have a positive one. Raises SettingError where importance has another number."""
        events = data.events
        some = np.unique(events.kind[events.weight > 0])
        kinds = tuple(events.kinds[code] for code in some.tolist()) or events.kinds[:1]
        if self.importance and len(self.importance) != len(kinds):
            raise SettingError(
                f"importance must have one number for each kind of positive event: {', '.join(kinds)}. Got {self.importance}."
            )
        return ("positive", *(kinds if len(kinds) > 1 else ()))

    def task_weights(self, tasks: int) -> Float32Array:
        """(1 + T,) one for any event."""
        return np.array([1.0] + [self.kinds] * (tasks - 1), np.float32)

    def combined(self, logits: Tensor) -> Tensor:
        """(R,) log p(any) + Σ importance · log p(kind | any), from logits of any event (R, 1), and of the kinds given that there is one (R, 1 + T)."""
        log_p = F.logsigmoid(logits)
        if log_p.shape[1] == 1:
            return log_p[:, 0]
        kinds = log_p.shape[1] - 1
        return log_p[:, 0] + log_p[:, 1:] @ logits.new_tensor(self.importance or (1 / kinds,) * kinds)

    def fit(self, data: Dataset, run: Run = Run(), valid: Cases | None = None) -> FieldModel:
        """Learn from positive events against untouched items."""
        return fit_events(self, data, run, valid)

    def fit_rows(self, examples: Examples, run: Run = Run(), valid: Examples | None = None) -> RowModel:
        """Learn from rows and what came of them, a column of labels for each task."""
        return fit_rows(self, examples, run, valid)


class _MultiTaskNetwork(FieldNetwork):
    def __init__(self, settings: MultiTask, sides: tuple[Fields, ...], tasks: int) -> None:
        self.linear = tasks if settings.pairs else 0
        super().__init__(sides, settings.width + self.linear)
        width = self.fields * settings.width + self.numbers
        many = settings.sharing == "experts"
        drop, norm = settings.dropout, settings.batch_norm
        self.experts = nn.ModuleList(
            Perceptron(width, settings.hidden, dropout=drop, batch_norm=norm)
            for _ in range(settings.experts if many else 1)
        )
        self.gates = nn.ModuleList(nn.Linear(width, settings.experts) for _ in range(tasks if many else 0))
        self.towers = nn.ModuleList(Perceptron(settings.hidden[-1], (settings.tower,), 1) for _ in range(tasks))
        self.pairs = nn.Linear(settings.width, tasks, bias=False) if settings.pairs else None
        if self.pairs is not None:
            nn.init.ones_(self.pairs.weight)

    def judge(self, rows: FieldVectors) -> Tensor:
        """(R, T) logits."""
        vectors = rows.vectors[..., : rows.vectors.shape[-1] - self.linear]
        x = torch.cat([vectors.flatten(1), rows.numbers], 1)
        shared = torch.stack([expert(x) for expert in self.experts], 1)
        mixed = [torch.einsum("re,rew->rw", gate(x).softmax(1), shared) for gate in self.gates]
        inputs = mixed or [shared[:, 0]] * len(self.towers)
        logits = torch.cat([tower(each) for tower, each in zip(self.towers, inputs, strict=True)], 1)
        if self.pairs is not None:
            logits = logits + self.pairs(pair_products(vectors)) + rows.vectors[..., -self.linear :].sum(1)
        return logits
