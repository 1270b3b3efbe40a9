"""Every error leanrec raises on purpose.

    LeanrecError
    ├── DataError (ValueError)         the data cannot be used as it is
    │   ├── SourceError                a file, frame or query cannot be read
    │   └── ColumnError                a column is missing or has the wrong type
    ├── SettingError (ValueError)      a setting is outside its range or unknown
    ├── UnknownIdError (LookupError)   a user or an item that was never seen
    ├── ArtifactError                  a saved model or data set does not verify
    ├── BudgetError                    the work would not fit the memory or time it was given
    ├── DivergedError                  a training whose loss is not a number, and nothing to go back to
    ├── WorkerError                    processes that train together lost each other, or do not agree
    └── MissingExtraError (ImportError)  an optional dependency is not installed

    TrainingWarning (UserWarning)      a training ended early with the best it had, or had nothing to learn from

Each message says what must hold, what came, and what to do about it. The command line prints the
message alone and exits with 2; a traceback there means a defect in leanrec.
"""

__all__ = [
    "ArtifactError",
    "BudgetError",
    "ColumnError",
    "DataError",
    "DivergedError",
    "LeanrecError",
    "MissingExtraError",
    "SettingError",
    "SourceError",
    "TrainingWarning",
    "UnknownIdError",
    "WorkerError",
]


class LeanrecError(Exception):
    """Root of the errors that leanrec raises on purpose."""


class DataError(LeanrecError, ValueError):
    """The data cannot be used as it is."""


class SourceError(DataError):
    """A file, frame or query cannot be read."""


class ColumnError(DataError):
    """A column is missing or has the wrong type."""


class SettingError(LeanrecError, ValueError):
    """A setting is outside its range, or no such setting exists."""


class UnknownIdError(LeanrecError, LookupError):
    """A user or an item that was never seen."""


class ArtifactError(LeanrecError):
    """A saved model or data set is damaged, foreign, or of another format."""


class BudgetError(LeanrecError):
    """The work would not fit the memory or time it was given."""


class DivergedError(LeanrecError):
    """The loss of a training is not a number, and there is nothing good to go back to."""


class TrainingWarning(UserWarning):
    """Training ended early with the best weights it had, or had nothing to learn from."""


class WorkerError(LeanrecError):
    """Processes that train together lost one of them, or have not been given the same work."""


class MissingExtraError(LeanrecError, ImportError):
    """An optional dependency is not installed."""

    # The extra that brings a package which leanrec's own modules import at their top.
    _OF = {"torch": "deep", "safetensors": "deep", "optuna": "tune"}  # noqa: RUF012 - never changed

    @classmethod
    def of(cls, what: str, error: ImportError) -> "MissingExtraError | None":
        """What to raise where ``what`` failed to import because of a package that an extra brings; else None."""
        extra = cls._OF.get((error.name or "").partition(".")[0])
        return None if extra is None else cls(what, extra)

    def __init__(self, what: str, extra: str) -> None:
        """Name the feature that was asked for and the extra that brings it."""
        super().__init__(
            f'{what} needs an optional package. Install it with: pip install "leanrec[{extra}]", '
            f'or in a checkout: pip install ".[{extra}]".'
        )
