"""Events over HTTP: a batch is read, written to the log and applied without a thread; a bad event harms only itself."""

import asyncio
import contextlib
import math
import time
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from leanrec.errors import SettingError
from leanrec.events.event_store import EventStore
from leanrec.events.records import AppendResult
from leanrec.events.user_events import UserEvent
from leanrec.online.live_pipeline import LivePipeline
from leanrec.pipeline.lists.unique_ids import make_id
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.responses import RecordResult, RejectedEvent
from leanrec.serving.prometheus import EVENT_OUTCOMES, ServingMetrics
from leanrec.serving.schemas import EXACT_NUMBERS, MAX_EVENTS

__all__ = ["EventBatch", "EventMessage", "EventOutcome", "EventRecorder", "RefusedEvent", "Rejection", "read_event"]

_DAY = 86_400
_MAX_RANK = 10_000
_AT_ONCE = 50  # events applied before other requests have their turn

_Id = Annotated[int, Meta(gt=-EXACT_NUMBERS, lt=EXACT_NUMBERS)] | Annotated[str, Meta(min_length=1, max_length=200)]


class EventMessage(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One event as a client sends it; ``EventRequest`` describes the fields."""

    user: _Id
    item: _Id
    id: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    event_type: Annotated[str, Meta(min_length=1, max_length=100)] = "click"
    time: Annotated[float, Meta(ge=0)] | None = None
    rating: float | None = None
    weight: Annotated[float, Meta(ge=0, le=1e6)] | None = None
    request: Annotated[str, Meta(max_length=200)] | None = None
    rank: Annotated[float, Meta(ge=0, lt=_MAX_RANK)] | None = None  # 5.0 is a whole number of JSON


class EventBatch(msgspec.Struct, forbid_unknown_fields=True):
    """A batch in which each event has the right form."""

    events: Annotated[list[EventMessage], Meta(min_length=1, max_length=MAX_EVENTS)]


class RefusedEvent(NamedTuple):
    """What is no event: the part that is wrong, and why."""

    part: str
    reason: str


class Rejection(msgspec.Struct):
    """An event that is not applied; ``RejectedDetail`` describes the fields."""

    position: int
    reason: str
    stored: bool


class EventOutcome(msgspec.Struct):
    """What became of a batch; ``EventsResponse`` describes the fields."""

    stored: int
    duplicates: int
    applied: int
    rejected: list[Rejection]
    as_of: int


def read_event(value: object) -> EventMessage | RefusedEvent:
    """The event in a value of JSON, or why it is none. The one reading of events: also of those that need no conversion."""
    try:
        event = value if isinstance(value, EventMessage) else msgspec.convert(value, EventMessage)
    except msgspec.ValidationError as error:
        return _explain_refusal(str(error))
    except UnicodeEncodeError as error:
        return RefusedEvent("", f"must be valid Unicode. Got {ascii(error.object)[:80]}.")
    for name in ("user", "item", "id", "event_type", "request"):
        text = getattr(event, name)
        if isinstance(text, str) and not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                return RefusedEvent(name, f"must be valid Unicode. Got {ascii(text)[:80]}.")
    for name in ("time", "rating"):
        number = getattr(event, name)
        if number is not None and not math.isfinite(number):
            return RefusedEvent(name, f"must be a finite number. Got {number}.")
    if event.rank is not None and event.rank != int(event.rank):
        return RefusedEvent("rank", f"must be a whole number. Got {event.rank}.")
    return event


def _explain_refusal(message: str) -> RefusedEvent:
    what, _, where = message.partition(" - at ")
    part = where.strip("`").removeprefix("$").removeprefix(".")
    name = what.partition("`")[2].rstrip("`")
    if what.startswith("Object missing"):
        return RefusedEvent(name, "must be given.")
    if what.startswith("Object contains"):
        return RefusedEvent(name, f"must be one of {', '.join(EventMessage.__struct_fields__)}. Got another field.")
    if part in {"user", "item"} and "`int`" in what and "`str`" not in what:
        return RefusedEvent(
            part, "must be text from 2^53 on, since readers of JSON round such numbers. Write it in quotation marks."
        )
    return RefusedEvent(part, f"must be valid: {what[0].lower()}{what[1:]}.")


class EventRecorder:
    """Writes events to the log, and applies them to the pipeline in the order of the log.

    Attributes:
        as_of: sequence number, in the log, of the last event that is applied. All events before it are applied too.
    """

    def __init__(
        self, live: LivePipeline, log: EventStore, metrics: ServingMetrics, extra_event_types: Sequence[str]
    ) -> None:
        self.live, self.log, self.metrics, self.extra_event_types = live, log, metrics, extra_event_types
        # To find a counter by its label takes longer than to count.
        self._counters = {outcome: metrics.events.labels(outcome) for outcome in EVENT_OUTCOMES}
        self.as_of = live.current.n_replayed
        self._applying = asyncio.Lock()  # first come, first served, and so in the order of the log

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline of the current version."""
        return self.live.pipeline

    @property
    def event_types(self) -> tuple[str, ...]:
        """The event types that are accepted."""
        return tuple(dict.fromkeys((*self.pipeline.event_types, *self.extra_event_types)))

    def following(self) -> contextlib.AbstractAsyncContextManager[None]:
        """A context in which events of others are applied too, where there are others."""
        return contextlib.nullcontext()

    async def record(self, values: Sequence[object]) -> EventOutcome:
        """Record the events that are right: they are on disk and applied at the return.

        Raises SettingError if no event is right, BusyError and SourceError if the log does not take them.
        """
        now, accepted = time.time(), self.event_types
        sent: list[UserEvent] = []
        positions: dict[int, int] = {}
        rejected: list[Rejection] = []
        for position, value in enumerate(values):
            event = read_event(value)
            found = event if isinstance(event, RefusedEvent) else self._to_user_event(event, now, accepted)
            if isinstance(found, RefusedEvent):
                part = f"events.{position}.{found.part}".rstrip(".")
                rejected.append(Rejection(position, f"{part} {found.reason}", stored=False))
            else:
                sent.append(found)
                positions[id(found)] = position
        self._count("invalid", len(rejected))
        if not sent:
            rest = f" ({len(rejected) - 1} more in this request.)" if len(rejected) > 1 else ""
            raise SettingError(f"{rejected[0].reason}{rest}")
        sent.sort(key=lambda each: each.time)  # events of the same second count in the order of the log
        storing = asyncio.ensure_future(self._store(sent))
        storing.add_done_callback(lambda done: done.cancelled() or done.exception())  # its client may have given up
        appended, recorded = await self.log.wait_async(storing)
        rejected += [
            Rejection(positions[id(appended.new[each.position])], each.reason, stored=True)
            for each in recorded.rejected
        ]
        rejected.sort(key=lambda each: each.position)
        return EventOutcome(len(appended.new), appended.duplicates, recorded.applied, rejected, self.as_of)

    async def _store(self, user_events: Sequence[UserEvent]) -> tuple[AppendResult, RecordResult]:
        """Write events and apply them, whether or not their client still waits for that."""
        start = time.perf_counter()
        appended, recorded = await self._write(user_events)
        self._note_stored(time.perf_counter() - start)
        self._count("stored", len(appended.new))
        n_responses = sum(each.weight > 0 for each in appended.new if each.request is not None)
        if n_responses:
            self.metrics.feedback.inc(n_responses)
        self._count("duplicate", appended.duplicates)
        self._count("rejected", len(recorded.rejected))
        return appended, recorded

    def _note_stored(self, seconds: float) -> None:
        """Note after how many seconds lists of this process reflect events that it has stored."""
        self.note_freshness(seconds)

    def note_freshness(self, seconds: float) -> None:
        """Note after how many seconds lists of this process reflect events of any process."""
        self.metrics.freshness.observe(seconds)

    def _count(self, outcome: str, count: int) -> None:
        if count:
            self._counters[outcome].inc(count)

    async def _write(self, user_events: Sequence[UserEvent]) -> tuple[AppendResult, RecordResult]:
        """Write events to the log, and apply them once they are on disk."""
        appended = await asyncio.wrap_future(self.log.submit(user_events))
        async with self._applying:
            return appended, await self.apply_events(appended)

    async def apply_events(self, appended: AppendResult) -> RecordResult:
        """Apply the next events of the log, so that other requests have their turn meanwhile."""
        applied, unusable = 0, list[RejectedEvent]()
        for start in range(0, len(appended.new), _AT_ONCE):
            if start:
                await asyncio.sleep(0)
            part = appended.new[start : start + _AT_ONCE]
            recorded = self.live.record(part, appended.last_seq - len(appended.new) + start + len(part))
            applied += recorded.applied
            unusable += [RejectedEvent(start + each.position, each.reason) for each in recorded.rejected]
        self.as_of = max(self.as_of, appended.last_seq)
        return RecordResult(applied, tuple(unusable))

    def _to_user_event(self, event: EventMessage, now: float, accepted: Sequence[str]) -> UserEvent | RefusedEvent:
        """The event with defaults filled in, or why its event type, time or rating is wrong."""
        low, high = self.pipeline.rating_range or (-math.inf, math.inf)
        if event.event_type not in accepted:
            return RefusedEvent("event_type", f"must be one of {', '.join(accepted)}. Got {event.event_type!r}.")
        if event.time is not None and event.time > now + _DAY:
            hint = " It looks like milliseconds." if event.time > 100 * now else ""
            got = f"Got {event.time:.15g}.{hint}"
            return RefusedEvent("time", f"must be seconds since 1970 and not in the future. {got}")
        if event.rating is not None and not low <= event.rating <= high:
            return RefusedEvent("rating", f"must be from {low:g} to {high:g}. Got {event.rating:g}.")
        weight = event.weight
        if weight is None:
            weight = self.pipeline.evidence_weights.weight(event.event_type, event.rating)
        return UserEvent(
            id=event.id or make_id(),
            user=self.pipeline.external_user_id(event.user),
            item=self.pipeline.external_item_id(event.item),
            event_type=event.event_type,
            time=now if event.time is None else event.time,
            weight=weight,
            rating=event.rating,
            request=event.request,
            rank=None if event.rank is None else int(event.rank),
        )
