"""An example frontier and readers of its plots, for tests of plots."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from contracts.frontier_results import make_result
from leanrec.budget import Budget
from leanrec.evaluation.frontier.frontier import Frontier
from leanrec.evaluation.frontier.results import ModelResult, QualityEstimate
from leanrec.evaluation.frontier.selection import annotate_results, select_model


def _make_result(name: str, family: str, quality: float, p99: float, size: int) -> ModelResult:
    made = make_result(name, quality, p99=p99, memory=2 * size, fit=size / 1e6, size=size, family=family)
    valid = QualityEstimate(quality, quality - 0.02, quality + 0.02, 100)
    test = QualityEstimate(0.5 - quality, 0.48 - quality, 0.52 - quality, 100)
    return dataclasses.replace(made, settings={"l2": 5.0}, valid=valid, test=test)


def make_frontier(budget: Budget = Budget(p99="5ms", memory="90MB")) -> Frontier:
    """Five fitted models of four families and a skipped one."""
    results = [
        _make_result("popularity", "linear", 0.10, 0.0001, 40_000),
        _make_result("ease", "linear", 0.31, 0.002, 60_000_000),
        _make_result("item_knn", "linear", 0.28, 0.001, 5_000_000),
        _make_result("content", "content", 0.15, 0.003, 2_000_000),
        _make_result("</script><b>机器 & Co", "plugin", 0.33, 0.02, 9_000_000),
        ModelResult("slim", "slim", "linear", {}, "skipped", reason="Its fit needs about 5 GB."),
    ]
    annotated = annotate_results(results, budget)
    return Frontier(annotated, budget, select_model(annotated), "ndcg@10", "films", "About films.", ("A note.",))


def make_empty_frontier() -> Frontier:
    """The same without the fitted models."""
    found = make_frontier()
    results = tuple(result for result in found.results if result.status != "fitted")
    return Frontier(
        results, found.budget, select_model(results), found.metric, found.data, found.description, found.notes
    )


def read_png_size(path: Path) -> tuple[int, int]:
    """Width and height, from the header of a PNG."""
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])


def read_report_data(page: str) -> dict[str, Any]:
    """The JSON in an HTML report."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data
