"""The input of an exported model: histories as padded rows of items, from which unknown items are left out."""

import dataclasses

import numpy as np

from leanrec.integrations.onnx.graph import GraphBuilder

__all__ = ["INPUTS", "HistoryCells", "HistoryWindow"]

# Name → type and shape of the inputs of every exported model.
INPUTS = {"history": (np.int64, ("batch", "length")), "lengths": (np.int64, ("batch",))}


@dataclasses.dataclass(frozen=True)
class HistoryWindow:
    """The latest items of each history.

    Attributes:
        rows: (B, W) rows of items; 0 in cells without one.
        is_item: (B, W) bool, whether a cell has an item.
        width: (1,) W.
        counts: (B, 1) number of items.
    """

    rows: str
    is_item: str
    width: str
    counts: str


class HistoryCells:
    """The cells of the inputs ``history`` (B, L) and ``lengths`` (B,), with an empty one added, so that L is at least 1.

    A cell counts if it is before the length of its row and is a row of an item. The others are left out wherever they are,
    as ids are that a model does not know.

    Attributes:
        rows: (B, L) rows of items; 0 in cells that do not count.
        is_item: (B, L) bool, whether a cell counts.
    """

    def __init__(self, graph: GraphBuilder, n_items: int) -> None:
        self._graph = graph
        cells = graph.apply("Pad", "history", np.array([0, 0, 0, 1]), np.int64(-1))
        self._width = graph.size(cells, 1)
        inside = graph.apply("Less", graph.count_up(self._width), graph.apply("Unsqueeze", "lengths", np.array([1])))
        known = graph.apply(
            "And", graph.apply("GreaterOrEqual", cells, np.int64(0)), graph.apply("Less", cells, np.int64(n_items))
        )
        self.is_item = graph.apply("And", inside, known)
        self.rows = graph.apply("Where", self.is_item, cells, np.int64(0))

    def take_latest(self, max_length: int, *, align_right: bool = True) -> HistoryWindow:
        """The latest ``max_length`` items of each history without gaps, at the end or at the start of the row.

        At the end, the latest item of each history is in the last column, so that no network looks for it.
        """
        graph = self._graph
        counted = graph.cast(self.is_item, np.int64)
        order = graph.apply("CumSum", counted, np.int64(1))
        total = graph.apply("ReduceSum", counted, np.array([1]), keepdims=1)
        width = graph.apply("Min", self._width, np.array([max_length]))
        from_end = graph.apply("Sub", total, order)
        kept = graph.apply("And", self.is_item, graph.apply("Less", from_end, width))
        counts = graph.apply("Min", total, width)
        last = graph.apply("Sub", width if align_right else counts, np.array([1]))
        # What is not kept adds 0 to a column beyond the window.
        column = graph.apply("Where", kept, graph.apply("Sub", last, from_end), width)
        moved = graph.apply(
            "ScatterElements",
            graph.apply("Expand", np.int64(0), self._shape(graph.apply("Add", width, np.array([1])))),
            column,
            graph.apply("Where", kept, self.rows, np.int64(0)),
            axis=1,
            reduction="add",
        )
        columns = graph.count_up(width)
        if align_right:
            is_item = graph.apply("GreaterOrEqual", columns, graph.apply("Sub", width, counts))
        else:
            is_item = graph.apply("Less", columns, counts)
        return HistoryWindow(graph.slice(moved, 0, width, 1), is_item, width, counts)

    def find_first(self) -> str:
        """(B, L) bool: the cells whose item is in no cell before, for models that read the set of the items. O(B · L²)."""
        graph = self._graph
        here, before = (graph.apply("Unsqueeze", self.rows, np.array([axis])) for axis in (2, 1))
        columns = graph.count_up(self._width)
        is_before = graph.apply("Less", columns, graph.apply("Unsqueeze", columns, np.array([1])))
        counted = graph.apply("Unsqueeze", self.is_item, np.array([1]))
        repeats = graph.apply(
            "And", graph.apply("And", graph.apply("Equal", here, before), counted), is_before
        )  # (B, L, L)
        n_repeats = graph.apply("ReduceSum", graph.cast(repeats, np.int64), np.array([2]), keepdims=0)
        return graph.apply("And", self.is_item, graph.apply("Equal", n_repeats, np.int64(0)))

    def _shape(self, width: str) -> str:
        return self._graph.apply("Concat", self._graph.size("history", 0), width, axis=0)
