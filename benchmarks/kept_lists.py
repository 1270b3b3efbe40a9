"""Lists of compressed models in a folder, so that a run of many contestants that was stopped goes on where it was."""

import dataclasses
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np

from leanrec import artifacts
from leanrec.data import Dataset
from leanrec.evaluation.compression.ranking_sample import METRICS, MeasuredLists
from leanrec.models import parse_model
from leanrec.protocols import Scorer
from leanrec.run import Run

__all__ = ["KeptLists"]


@dataclasses.dataclass(frozen=True)
class KeptLists:
    """A folder with the lists of each contestant, of one base model and sample of users.

    Attributes:
        folder: None = nothing is kept.
        base: the base model; lists of another one are measured anew.
        fingerprint: of the sample, likewise.
    """

    folder: Path | None
    base: str
    fingerprint: str

    def read(self, name: str) -> tuple[MeasuredLists, float, float] | None:
        """Lists, bytes an item and seconds of a contestant; None if they are not kept."""
        path = self._find_path(name)
        if path is None or not path.exists():
            return None
        with np.load(path) as arrays:
            described = json.loads(str(arrays["described"]))
            if (described["base"], described["fingerprint"]) != (self.base, self.fingerprint):
                return None
            per_query = {metric: arrays[metric] for metric in METRICS}
            lists = MeasuredLists(per_query=per_query, fingerprint=self.fingerprint, seed=0, items=arrays["items"])
        return lists, described["bytes"], described["seconds"]

    def write(self, name: str, lists: MeasuredLists, n_bytes: float, seconds: float) -> None:
        """Keep the lists of a contestant. A stopped run leaves no half of a file."""
        path = self._find_path(name)
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        own = {"base": self.base, "fingerprint": self.fingerprint, "bytes": n_bytes, "seconds": seconds}
        half = path.with_suffix(".half.npz")
        arrays: dict[str, Any] = {**lists.per_query, "items": lists.items, "described": np.array(json.dumps(own))}
        np.savez(half, **arrays)
        half.replace(path)

    def fit_base(self, data: Dataset, run: Run) -> tuple[Scorer, float]:
        """The base model and the seconds of its fit; 0 where it was kept."""
        path = self._find_path(f"{self.base} {data.source}")
        if path is not None and path.with_suffix("").exists():
            kept: Scorer = artifacts.load(path.with_suffix(""))
            return kept, 0.0
        start = time.perf_counter()
        model: Scorer = parse_model(self.base).fit(data, run)
        seconds = time.perf_counter() - start
        if path is not None:
            artifacts.save(model, path.with_suffix(""))
        return model, seconds

    def _find_path(self, name: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{re.sub(r'[^A-Za-z0-9.]+', '_', name)}.npz"
