"""DeepFM: a factorisation machine and a perceptron over the same field vectors.

Guo, Tang, Ye, Li & He, "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction", IJCAI 2017.
"""

import dataclasses

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import Cases
from leanrec.models.ctr.core.examples import Examples
from leanrec.models.ctr.core.models import FieldModel, RowModel
from leanrec.models.ctr.core.settings import ByFields
from leanrec.models.ctr.core.training import fit_events, fit_rows
from leanrec.nn.fields import FieldNetwork, Fields, WideAndDeep
from leanrec.run import Run

__all__ = ["DeepFM"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepFM(ByFields):
    """A linear part, the dot products of all pairs of field vectors, and a perceptron over all of them, added up.

    Cost of a row: O(F · D) for the pairs, F · D · hidden[0] + hidden[0] · hidden[1] + … for the perceptron; a query
    judges N rows, or the K that are asked for.
    """

    def network(self, sides: tuple[Fields, ...], tasks: int) -> FieldNetwork:
        """The network with fresh weights."""
        drop, norm = self.dropout, self.batch_norm
        return WideAndDeep(sides, self.width, self.hidden, tasks, fm=True, dropout=drop, batch_norm=norm)

    def fit(self, data: Dataset, run: Run = Run(), valid: Cases | None = None) -> FieldModel:
        """Learn from positive events against untouched items."""
        return fit_events(self, data, run, valid)

    def fit_rows(self, examples: Examples, run: Run = Run(), valid: Examples | None = None) -> RowModel:
        """Learn from rows and what came of them."""
        return fit_rows(self, examples, run, valid)
