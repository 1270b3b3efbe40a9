"""Exceptions and warnings of leanrec.

    LeanrecError
    ├── DataError (ValueError)         the data cannot be used as it is
    │   ├── SourceError                a file, frame or query cannot be read
    │   └── ColumnError                a column is missing or has the wrong type
    ├── SettingError (ValueError)      a setting is outside its range or unknown
    ├── UnknownIdError (LookupError)   a user or an item that is not in the vocabulary
    ├── ArtifactError                  a saved model or data set does not verify
    ├── BusyError                      too many requests wait already
    ├── CacheError                     a shared cache did not answer in time
    ├── ConflictError                  the state was changed by another process meanwhile
    ├── RequestError                   a server did not answer in time, or refused a request
    ├── BudgetError                    the work would not fit the memory or time it was given
    ├── DivergedError                  the training loss is not finite, and there are no earlier weights to restore
    ├── WorkerError                    a process of distributed training failed, or the processes disagree
    └── MissingExtraError (ImportError)  an optional dependency is not installed

    TrainingWarning (UserWarning)      training ended with a usable model, but did not go as it should

Each message states what must hold, what was found, and what to do. The command line prints the
message alone and exits with 2; a traceback there means a bug in leanrec.
"""

__all__ = [
    "ArtifactError",
    "BudgetError",
    "BusyError",
    "CacheError",
    "ColumnError",
    "ConflictError",
    "DataError",
    "DivergedError",
    "LeanrecError",
    "MissingExtraError",
    "RequestError",
    "SettingError",
    "SourceError",
    "TrainingWarning",
    "UnknownIdError",
    "WorkerError",
]


class LeanrecError(Exception):
    """Base class of the exceptions of leanrec."""


class DataError(LeanrecError, ValueError):
    """The data cannot be used as it is."""


class BusyError(LeanrecError):
    """Too many requests wait already, so this one was refused and changed nothing. Try again after a second."""


class CacheError(LeanrecError):
    """A shared cache did not answer in time. That is no miss: it may have what was asked for.

    Attributes:
        is_asked: whether the cache was asked; False while it is known to fail.
    """

    def __init__(self, message: str, *, is_asked: bool = True) -> None:
        super().__init__(message)
        self.is_asked = is_asked


class ConflictError(LeanrecError):
    """The state was changed by another process meanwhile, so nothing was done. Read the new state, and try again."""


class RequestError(LeanrecError):
    """A server did not answer in time, or refused a request.

    Attributes:
        status: of the answer; None if there was none.
        events: the events that may not be stored, with their ids, if the request was to record some.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        """Take the message, and the status of the answer."""
        super().__init__(message)
        self.status = status
        self.events: list[dict[str, object]] = []


class SourceError(DataError):
    """A file, frame or query cannot be read."""


class ColumnError(DataError):
    """A column is missing or has the wrong type."""


class SettingError(LeanrecError, ValueError):
    """A setting is outside its range, or no such setting exists."""


class UnknownIdError(LeanrecError, LookupError):
    """A user or an item that is not in the vocabulary."""


class ArtifactError(LeanrecError):
    """A saved model or data set is damaged, was not written by leanrec, or has another format."""


class BudgetError(LeanrecError):
    """The work would not fit the memory or time it was given."""


class DivergedError(LeanrecError):
    """The training loss is not finite, and there are no earlier weights to restore."""


class TrainingWarning(UserWarning):
    """Training ended with a usable model, but did not go as it should: it diverged late, or had little to learn from."""


class WorkerError(LeanrecError):
    """A process of distributed training failed, or the processes were given different work."""


class MissingExtraError(LeanrecError, ImportError):
    """An optional dependency is not installed."""

    # Package that modules of leanrec import at the top → the extra that installs it.
    _EXTRAS = {"torch": "deep", "safetensors": "deep", "optuna": "tune", "onnx": "onnx", "onnxruntime": "onnx"}  # noqa: RUF012 - never changed

    @classmethod
    def from_import_error(cls, what: str, error: ImportError) -> "MissingExtraError | None":
        """Return the error to raise where ``what`` failed to import because of a missing extra, or None for another cause."""
        extra = cls._EXTRAS.get((error.name or "").partition(".")[0])
        return None if extra is None else cls(what, extra)

    def __init__(self, what: str, extra: str) -> None:
        """Take the name of the feature and of the extra that installs its package."""
        super().__init__(
            f'{what} needs an optional package. Install it with: pip install "leanrec[{extra}]", '
            f'or in a checkout: pip install ".[{extra}]".'
        )
