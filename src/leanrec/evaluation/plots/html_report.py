"""The frontier as one HTML file: interactive, without network, readable from ``file://``."""

import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

from leanrec.errors import ArtifactError
from leanrec.evaluation.frontier.frontier import Frontier

__all__ = ["frontier_page", "write_frontier_page"]


def frontier_page(frontier: Frontier) -> str:
    """The page as text: quality against each cost, the limits, the table; about 25 kB and 1 kB a model."""
    template = files("leanrec.evaluation.plots").joinpath("report.html").read_text(encoding="utf-8")
    data = json.dumps(_finite(frontier.to_dict()), ensure_ascii=False, allow_nan=False)
    # Inside a script element only "<" could end it: escaped, a title such as "</script>" stays a title.
    return template.replace("__DATA__", data.replace("<", "\\u003c"))


def write_frontier_page(frontier: Frontier, path: str | Path) -> Path:
    """Write the page. Raises ArtifactError if that is not possible."""
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(frontier_page(frontier), encoding="utf-8")
    except OSError as error:
        raise ArtifactError(f"Cannot write {target}: {error.strerror or error}.") from error
    return target


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
