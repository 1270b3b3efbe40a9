"""Provenance of a pipeline: the model, the data it was fitted on, and the cost of the fit."""

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.events.event_reader import EventReader
from leanrec.events.records import DataOrigin
from leanrec.protocols import Estimator
from leanrec.run import Run

__all__ = ["build_provenance", "check_estimator", "get_data_origin", "get_model_name"]


def check_estimator(estimator: object) -> None:
    """Raise SettingError if this is not an estimator, but for example the name or the class of one."""
    if isinstance(estimator, str):
        advice = f"leanrec.models.get_model({estimator!r})()"
    elif isinstance(estimator, type):
        advice = f"{estimator.__name__}()"
    elif hasattr(estimator, "fit"):
        return
    else:
        advice = "such as leanrec.models.get_model('ease')()"
    raise SettingError(f"estimator must be the settings of a model. Got {estimator!r}; write {advice}.")


def get_model_name(estimator: Estimator) -> str:
    """Name of a model on the command line: that of its module."""
    return type(estimator).__module__.rpartition(".")[2]


def build_provenance(
    estimator: Estimator, data: Dataset, run: Run, cost: Mapping[str, float], log: EventReader | None
) -> dict[str, Any]:
    """The provenance of a fit, as the manifest of a saved pipeline holds it."""
    provenance = {
        "model": get_model_name(estimator),
        "settings": repr(estimator),
        "data": _describe_data(data),
        "fit": dict(cost),
        "seed": run.seed,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return provenance if log is None else provenance | {"log": log.id}


def get_data_origin(provenance: Mapping[str, Any], data: Dataset) -> DataOrigin:
    """The data set that a model was fitted on: by its provenance if that names one, else ``data``."""
    fitted = provenance.get("data") or _describe_data(data)
    description = "{events:,} events of {users:,} users and {items:,} items".format(**fitted)
    if fitted["source"]:
        description = f"{fitted['source']}: {description}"
    return DataOrigin(fitted["fingerprint"], description, provenance.get("log"))


def _describe_data(data: Dataset) -> dict[str, Any]:
    return {"fingerprint": data.fingerprint, "source": data.source, **dataclasses.asdict(data.shape)}
