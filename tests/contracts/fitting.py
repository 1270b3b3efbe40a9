"""Models that tests share: one fit for each estimator, data set and run of a session."""

from typing import Any

from leanrec.data.dataset import Dataset
from leanrec.run import Run

_MODELS: dict[tuple[Any, str, Run], Any] = {}


def fit_once(estimator: Any, data: Dataset, run: Run) -> Any:
    """The model of an estimator on a data set, fitted at the first call and kept until the session ends.

    The data set is recognized by its fingerprint, so matrices that a test put into it by hand are not seen.
    """
    key = estimator, data.fingerprint, run
    if key not in _MODELS:
        _MODELS[key] = estimator.fit(data, run)
    return _MODELS[key]
