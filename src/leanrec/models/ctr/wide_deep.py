"""Wide & Deep: a linear model and a perceptron over field vectors, trained together.

Cheng et al., "Wide & Deep Learning for Recommender Systems", DLRS 2016.
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

__all__ = ["WideDeep"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class WideDeep(ByFields):
    """A linear part over all values and a perceptron over the field vectors, added up.

    It is DeepFM without the factorisation machine. The paper's wide part also crosses chosen fields by hand; here it
    holds the fields as they are, because nobody chooses crosses for data that is not known yet.

    Cost of a row: F · D · hidden[0] + hidden[0] · hidden[1] + …; a query judges N rows, or the K that are asked for.
    """

    def network(self, sides: tuple[Fields, ...], tasks: int) -> FieldNetwork:
        """The network with fresh weights."""
        drop, norm = self.dropout, self.batch_norm
        return WideAndDeep(sides, self.width, self.hidden, tasks, fm=False, dropout=drop, batch_norm=norm)

    def fit(self, data: Dataset, run: Run = Run(), valid: Cases | None = None) -> FieldModel:
        """Learn from positive events against untouched items."""
        return fit_events(self, data, run, valid)

    def fit_rows(self, examples: Examples, run: Run = Run(), valid: Examples | None = None) -> RowModel:
        """Learn from rows and what came of them."""
        return fit_rows(self, examples, run, valid)
