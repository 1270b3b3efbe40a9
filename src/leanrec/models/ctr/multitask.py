"""Multi-gate mixture-of-experts: one task per event type over shared experts.

Ma, Zhao, Yi, Chen, Hong & Chi, "Modeling Task Relationships in Multi-task Learning with Multi-gate
Mixture-of-Experts", KDD 2018; conditional tasks: Ma, Zhao, Huang, Wang, Hu, Zhu & Gai, "Entire Space Multi-Task Model:
An Effective Approach for Estimating Post-Click Conversion Rate", SIGIR 2018; shared bottom: Caruana, "Multitask Learning", Machine Learning 28, 1997; pairwise terms: Guo, Tang, Ye, Li &
He, "DeepFM", IJCAI 2017.
"""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.kernels.layers.field_layers import (
    FieldBlock,
    FieldSizes,
    apply_mlp,
    field_shapes,
    mlp_shapes,
    pairwise_products,
    softmax,
)
from leanrec.kernels.layers.named_layers import NamedLayers, linear_shapes
from leanrec.models.ctr.core.settings import CTRSettings
from leanrec.settings import setting
from leanrec.types import Float32Array

if TYPE_CHECKING:
    from leanrec.nn.fields import FieldNetwork

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

    def build_network(self, sides: tuple[FieldSizes, ...], n_tasks: int) -> "FieldNetwork":
        """The network with fresh weights, for training with torch."""
        from leanrec.models.ctr.core.networks.multitask import MultiTaskNetwork  # noqa: PLC0415 - torch is optional

        return MultiTaskNetwork(self, sides, n_tasks)

    def weight_shapes(self, sides: tuple[FieldSizes, ...], n_tasks: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights of that network, by name."""
        D, pairs = self.embedding_dim, self.pairwise_terms
        width = sum(side.n_fields * D + side.numbers for side in sides)
        shapes = field_shapes(sides, D + n_tasks * pairs)
        for i in range(self.n_experts if self.sharing == "experts" else 1):
            shapes |= self.hidden_shapes(f"experts.{i}", width)
        for i in range(n_tasks):
            if self.sharing == "experts":
                shapes |= linear_shapes(f"gates.{i}", width, self.n_experts)
            shapes |= mlp_shapes(f"towers.{i}", self.hidden_sizes[-1], (self.tower_size,), 1)
        return shapes | (linear_shapes("pairs", D, n_tasks, bias=False) if pairs else {})

    def predict_logits(self, layers: NamedLayers, rows: FieldBlock) -> Float32Array:
        """(R, T) logits, computed without torch."""
        D, is_mixture = self.embedding_dim, self.sharing == "experts"
        vectors = rows.vectors[..., :D]
        x, weights = FieldBlock(vectors, rows.numbers).flatten(), rows.vectors[..., D:]
        shared = [
            self.apply_hidden(layers, f"experts.{i}", x, has_output=False)
            for i in range(self.n_experts if is_mixture else 1)
        ]
        columns, task = [], 0
        while f"towers.{task}.0.weight" in layers.weights:
            mixed = shared[0]
            if is_mixture:
                gates = softmax(layers.apply_linear(f"gates.{task}", x))
                mixed = np.einsum("re,erw->rw", gates, np.stack(shared))
            columns.append(apply_mlp(layers, f"towers.{task}", mixed, 1))
            task += 1
        logits = np.concatenate(columns, axis=1)
        if self.pairwise_terms:
            logits += layers.apply_linear("pairs", pairwise_products(vectors)) + weights.sum(axis=1)
        return logits

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

    def combine_logits(self, logits: Float32Array) -> Float32Array:
        """(R,) log p(any) + Σ exponentₜ · log p(type t | any), from logits (R, 1 + T)."""
        log_p = -np.logaddexp(np.float32(0), -logits)
        n_types = log_p.shape[1] - 1
        if not n_types:
            return np.asarray(log_p[:, 0], np.float32)
        exponents = np.array(self.task_exponents or (1 / n_types,) * n_types, np.float32)
        return np.asarray(log_p[:, 0] + log_p[:, 1:] @ exponents, np.float32)
