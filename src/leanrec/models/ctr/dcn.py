"""DCN-V2: cross layers that build products of fields of any degree, beside a perceptron.

Wang, Shivanna, Cheng, Jain, Lin, Hong & Chi, "DCN V2: Improved Deep & Cross Network and Practical Lessons for
Web-scale Learning to Rank Systems", WWW 2021.
"""

import dataclasses

import torch
from torch import Tensor, nn

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import Cases
from leanrec.models.ctr.core.examples import Examples
from leanrec.models.ctr.core.models import FieldModel, RowModel
from leanrec.models.ctr.core.settings import ByFields
from leanrec.models.ctr.core.training import fit_events, fit_rows
from leanrec.nn.fields import CrossLayers, FieldNetwork, Fields, FieldVectors, Perceptron
from leanrec.run import Run
from leanrec.settings import check_at_least

__all__ = ["DCN"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DCN(ByFields):
    """Cross layers and a perceptron side by side over the field vectors, then one linear layer.

    Cost of a row with X = F · D: crosses · X², or crosses · experts · 2 · X · rank, and X · hidden[0] + … for the
    perceptron; a query judges N rows, or the K that are asked for.

    Attributes:
        crosses: cross layers; each adds one degree.
        rank: of their matrices; 0 = full.
        experts: low-rank matrices of each layer, mixed by a gate; only with a rank.
    """

    crosses: int = 3
    rank: int = 0
    experts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("crosses", self.crosses, 1)
        check_at_least("rank", self.rank, 0)
        check_at_least("experts", self.experts, 1)

    def network(self, sides: tuple[Fields, ...], tasks: int) -> FieldNetwork:
        """The network with fresh weights."""
        return _DCNNetwork(self, sides, tasks)

    def fit(self, data: Dataset, run: Run = Run(), valid: Cases | None = None) -> FieldModel:
        """Learn from positive events against untouched items."""
        return fit_events(self, data, run, valid)

    def fit_rows(self, examples: Examples, run: Run = Run(), valid: Examples | None = None) -> RowModel:
        """Learn from rows and what came of them."""
        return fit_rows(self, examples, run, valid)


class _DCNNetwork(FieldNetwork):
    def __init__(self, settings: DCN, sides: tuple[Fields, ...], tasks: int) -> None:
        super().__init__(sides, settings.width)
        width = self.fields * settings.width + self.numbers
        self.cross = CrossLayers(width, settings.crosses, settings.rank, settings.experts)
        self.deep = Perceptron(width, settings.hidden, dropout=settings.dropout, batch_norm=settings.batch_norm)
        self.out = nn.Linear(width + self.deep.width, tasks)

    def judge(self, rows: FieldVectors) -> Tensor:
        """(R, T) logits."""
        x = torch.cat([rows.vectors.flatten(1), rows.numbers], 1)
        logits: Tensor = self.out(torch.cat([self.cross(x), self.deep(x)], 1))
        return logits
