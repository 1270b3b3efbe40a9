"""A pipeline takes in what an event log holds."""

import dataclasses
from pathlib import Path

from leanrec.errors import LeanrecError
from leanrec.events.event_log import EventLog
from leanrec.events.reader import LogReader
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.responses import SetAside

__all__ = ["Replayed", "attach", "log_beside", "replay"]


@dataclasses.dataclass(frozen=True)
class Replayed:
    """What became of a log.

    Attributes:
        reflected: events that were not there yet and are now.
        set_aside: events that cannot be used, with the reason.
        items: new items that were taken in.
        refused: why the new items of the log were not, or None.
    """

    reflected: int
    set_aside: tuple[SetAside, ...] = ()
    items: int = 0
    refused: str | None = None

    def notes(self) -> tuple[str, ...]:
        """What whoever starts a server should know, in sentences; nothing where all went well."""
        notes = [] if self.refused is None else [f"The new items of the log were left out: {self.refused}"]
        if self.set_aside:
            count, first = len(self.set_aside), self.set_aside[0].why
            notes.append(
                f"{count} events of the log cannot be used; they stay in it for the next fit. The first: {first}"
            )
        return tuple(notes)


def log_beside(model_path: str | Path) -> Path:
    """Where the event log of a saved pipeline is unless another place is named."""
    return Path(f"{Path(model_path)}.events.db")


def replay(pipeline: Pipeline, log: LogReader) -> Replayed:
    """Tell a pipeline what a log holds: new items first, then events. Replaying twice changes nothing.

    New items that the pipeline cannot take in are left out, and ``refused`` says why.
    """
    ids, table = log.items()
    items, refused = 0, None
    try:
        items = pipeline.add_items(ids, table)
    except LeanrecError as error:
        refused = str(error)
    recorded = pipeline.record(log.events(), replayed=True)
    return Replayed(recorded.reflected, recorded.set_aside, items, refused)


def attach(pipeline: Pipeline, log: LogReader, *, adopt: bool = False) -> Replayed:
    """``replay`` after a check that the log was kept for the data of this pipeline, which a server's log then notes.

    Args:
        pipeline: takes the events in.
        log: a log to read, or the one of a server.
        adopt: take the log over from other data, whose ids mean the same people and items.

    Raises SourceError if the log was kept for other data.
    """
    if not adopt:
        log.check_origin(pipeline.origin)
    if isinstance(log, EventLog):
        log.belongs_to(pipeline.origin, adopt=adopt)
    return replay(pipeline, log)
