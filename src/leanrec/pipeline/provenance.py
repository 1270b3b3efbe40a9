"""Where a pipeline comes from: which model, fitted on which data, at what cost."""

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.events.reader import LogReader, Origin
from leanrec.protocols import Estimator
from leanrec.run import Run

__all__ = ["check_estimator", "model_name", "origin", "provenance"]


def check_estimator(estimator: object) -> None:
    """Raise SettingError unless this is the settings of a model: a name and a class are usual mistakes."""
    if isinstance(estimator, str):
        write = f"leanrec.models.get_model({estimator!r})()"
    elif isinstance(estimator, type):
        write = f"{estimator.__name__}()"
    elif hasattr(estimator, "fit"):
        return
    else:
        write = "such as leanrec.models.get_model('ease')()"
    raise SettingError(f"estimator must be the settings of a model. Got {estimator!r}; write {write}.")


def model_name(estimator: Estimator) -> str:
    """What the command line calls a model: the name of its module."""
    return type(estimator).__module__.rpartition(".")[2]


def provenance(
    estimator: Estimator, data: Dataset, run: Run, cost: Mapping[str, float], log: LogReader | None
) -> dict[str, Any]:
    """What is noted about a fit, for the manifest."""
    made = {
        "model": model_name(estimator),
        "settings": repr(estimator),
        "data": {"fingerprint": data.fingerprint, "source": data.source, **dataclasses.asdict(data.shape)},
        "fit": dict(cost),
        "seed": run.seed,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return made if log is None else made | {"log": log.id}


def origin(made: Mapping[str, Any], data: Dataset) -> Origin:
    """The data that a model was fitted on, as noted at the fit, or else ``data``."""
    noted = made.get("data") or {
        "fingerprint": data.fingerprint,
        "source": data.source,
        **dataclasses.asdict(data.shape),
    }
    about = "{events:,} events of {users:,} users and {items:,} items".format(**noted)
    if noted["source"]:
        about = f"{noted['source']}: {about}"
    return Origin(noted["fingerprint"], about, made.get("log"))
