"""DLRM: numbers become a vector like any field, and a perceptron reads the dot products of all pairs.

Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation Systems", 2019.
"""

import dataclasses

import torch
from torch import Tensor

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import Cases
from leanrec.errors import SettingError
from leanrec.models.ctr.core.examples import Examples
from leanrec.models.ctr.core.models import FieldModel, RowModel
from leanrec.models.ctr.core.settings import ByFields
from leanrec.models.ctr.core.training import fit_events, fit_rows
from leanrec.nn.fields import FieldNetwork, Fields, FieldVectors, Perceptron, dot_interactions
from leanrec.run import Run
from leanrec.settings import check_at_least

__all__ = ["DLRM"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DLRM(ByFields):
    """A bottom perceptron for the numbers, dot products of all pairs of vectors, and a top perceptron over both.

    Cost of a row: F² · D for the pairs, F² / 2 · hidden[0] + … for the top; a query judges N rows, or the K that are
    asked for.

    Attributes:
        bottom: widths of the layers between the numbers and their vector; () = a linear layer.
        vectors: let the top read the field vectors too, beside the vector of the numbers and the products.
    """

    bottom: tuple[int, ...] = (64,)
    vectors: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for wide in self.bottom:
            check_at_least("bottom", wide, 1)

    def network(self, sides: tuple[Fields, ...], tasks: int) -> FieldNetwork:
        """The network with fresh weights. Raises SettingError where there are fewer than two vectors to multiply."""
        return _DLRMNetwork(self, sides, tasks)

    def fit(self, data: Dataset, run: Run = Run(), valid: Cases | None = None) -> FieldModel:
        """Learn from positive events against untouched items."""
        return fit_events(self, data, run, valid)

    def fit_rows(self, examples: Examples, run: Run = Run(), valid: Examples | None = None) -> RowModel:
        """Learn from rows and what came of them."""
        return fit_rows(self, examples, run, valid)


class _DLRMNetwork(FieldNetwork):
    def __init__(self, settings: DLRM, sides: tuple[Fields, ...], tasks: int) -> None:
        super().__init__(sides, settings.width)
        self.bottom = Perceptron(self.numbers, settings.bottom, settings.width) if self.numbers else None
        count = self.fields + bool(self.numbers)
        if count < 2:
            raise SettingError(f"DLRM must have two fields to multiply, or one and numbers. Got {count}.")
        self.all = settings.vectors
        direct = count * settings.width if self.all else settings.width * bool(self.numbers)
        self.top = Perceptron(
            count * (count - 1) // 2 + direct,
            settings.hidden,
            tasks,
            dropout=settings.dropout,
            batch_norm=settings.batch_norm,
        )

    def judge(self, rows: FieldVectors) -> Tensor:
        """(R, T) logits."""
        vectors = rows.vectors
        if self.bottom is not None:
            vectors = torch.cat([self.bottom(rows.numbers)[:, None], vectors], 1)
        direct = vectors if self.all else vectors[:, : int(self.bottom is not None)]
        logits: Tensor = self.top(torch.cat([direct.flatten(1), dot_interactions(vectors)], 1))
        return logits
