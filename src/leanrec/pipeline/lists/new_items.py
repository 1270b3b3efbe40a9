"""New items: a source of candidates that lists the newest items first, the same for all users."""

import dataclasses
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.table import Table
from leanrec.errors import SettingError
from leanrec.field_checks import ArrayShape
from leanrec.run import Run
from leanrec.types import Float32Array, Int32Array, Queries

__all__ = ["NewItems", "NewItemsModel"]


@dataclasses.dataclass(frozen=True)
class NewItems:
    """The newest items: those that were added since the fit, the last one first, then by their date.

    Items of the fit without a date are not new, so this source never lists them.

    Cost: fit O(E); a query O(N); the model 4 N bytes.

    Attributes:
        column: column of the item table with the dates, as numbers or as text such as "2026-11-30" that sorts by time.
            "" = the time of the first event.
    """

    column: str = ""

    def fit_bytes(self, shape: DatasetShape) -> int:
        """The dates and their order."""
        return 32 * shape.items + 2**20

    def fit(self, data: Dataset, run: Run = Run()) -> "NewItemsModel":
        """Order the items by date.

        Raises SettingError for a column that the items do not have, and for a log whose times cannot be compared.
        """
        run.require_memory(self.fit_bytes(data.shape), f"NewItems over {len(data.items)} items")
        dates, has_date = self._read_column(data) if self.column else _find_first_events(data)
        ages = np.zeros(len(data.items), np.float32)
        ages[has_date] = 1 + np.unique(dates[has_date], return_inverse=True)[1]
        return NewItemsModel(self, ages)

    def _read_column(self, data: Dataset) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        columns = {} if data.item_table is None else data.item_table.columns
        if self.column not in columns:
            known = ", ".join(columns) or "none: there is no item table"
            raise SettingError(f"column must be a column of the item table. Got {self.column!r}. Columns: {known}.")
        dates = columns[self.column]
        return dates, dates != "" if dates.dtype.kind == "T" else np.isfinite(dates.astype(np.float64))


def _find_first_events(data: Dataset) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(N,) times of the first events of the items, and whether an item has one."""
    if not data.time_kind.is_comparable:
        raise SettingError(
            "The log must have times that can be compared between users, to tell which items are new. It has none: name a column "
            "of the item table with dates, NewItems(column=NAME)."
        )
    never = np.iinfo(np.int64).max
    first = np.full(len(data.items), never)
    np.minimum.at(first, data.events.item, data.events.time)
    return first, first < never


@dataclasses.dataclass(frozen=True, eq=False)
class NewItemsModel:
    """A fitted `NewItems`.

    Attributes:
        settings: settings of the fit.
        recency: (N,) float32 rank of the date, 1 = the oldest; 0 without a date.
    """

    settings: NewItems
    recency: Annotated[Float32Array, ArrayShape("N")]

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return len(self.recency)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """The recency, the same for all users: (B, N), or (B, K) for ``items`` (K,) or (B, K)."""
        chosen = self.recency if items is None else self.recency[items]
        return np.array(np.broadcast_to(chosen, (len(queries), chosen.shape[-1])))

    def extend(self, items: Table) -> "NewItemsModel":
        """The model with M more items, each newer than those before."""
        newest = self.recency.max(initial=0)
        added = newest + 1 + np.arange(len(items), dtype=np.float32)
        return dataclasses.replace(self, recency=np.concatenate([self.recency, added]))
