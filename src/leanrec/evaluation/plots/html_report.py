"""HTML report of the frontier: one interactive file that works offline."""

import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

from leanrec.artifacts import replace_file
from leanrec.errors import ArtifactError
from leanrec.evaluation.frontier.frontier import Frontier

__all__ = ["render_html_report", "write_html_report"]


def render_html_report(frontier: Frontier) -> str:
    """The report as text: plots of quality against each cost, and a table; about 25 kB and 1 kB for each model."""
    template = files("leanrec.evaluation.plots").joinpath("report.html").read_text(encoding="utf-8")
    data = json.dumps(_replace_non_finite(frontier.to_dict()), ensure_ascii=False, allow_nan=False)
    # Only "<" could end the script element: escaped, a title such as "</script>" does no harm.
    return template.replace("__DATA__", data.replace("<", "\\u003c"))


def write_html_report(frontier: Frontier, path: str | Path) -> Path:
    """Write the report to a file, in one step. Raises ArtifactError if the file cannot be written."""
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, render_html_report(frontier).encode())
    except OSError as error:
        raise ArtifactError(f"Cannot write {target}: {error.strerror or error}.") from error
    return target


def _replace_non_finite(value: Any) -> Any:
    """The value with None for NaN and infinity, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _replace_non_finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_non_finite(each) for each in value]
    return value
