"""Messages between the workers and the owner of the event log: msgpack, each frame with its length in front."""

import asyncio
import struct
from typing import Any

import msgspec

from leanrec.data.vocabulary import Id
from leanrec.errors import BusyError, ConflictError, DataError, LeanrecError, SourceError
from leanrec.events.records import DataOrigin, ForgottenUser, ServedList
from leanrec.events.user_events import UserEvent

__all__ = [
    "AddItems",
    "AppendEvents",
    "AppendLists",
    "Appended",
    "BindLog",
    "Bound",
    "Change",
    "ChangeLog",
    "Changed",
    "CollectSamples",
    "CollectedSamples",
    "ForgetUser",
    "HideItems",
    "ItemContent",
    "JoinStream",
    "LogStatus",
    "Message",
    "PushSamples",
    "Refused",
    "ReplaceRules",
    "Sample",
    "Welcome",
    "decode_message",
    "encode_message",
    "make_error",
    "read_message",
    "refuse",
]

_LENGTH = struct.Struct(">I")
_MAX_FRAME = 256 * 2**20  # a length above it is no length
_ERRORS: dict[str, type[LeanrecError]] = {
    each.__name__: each for each in (BusyError, ConflictError, SourceError, DataError)
}

ItemContent = tuple[Id, dict[str, Any]]
Sample = tuple[str, str, tuple[tuple[str, str], ...], float]  # family, name, labels and value of a metric


class JoinStream(msgspec.Struct, tag=True, frozen=True):
    """Worker: the first message of a connection.

    Attributes:
        process: id of the process.
        after: sequence number of the last event that it has applied.
        forgotten: number of the last user whom it has forgotten.
    """

    process: int
    after: int
    forgotten: int = 0


class Welcome(msgspec.Struct, tag=True, frozen=True):
    """Owner: the number of the connection. The worker has all events up to now, and gets the others as they arrive."""

    client: int


class AppendEvents(msgspec.Struct, tag=True, frozen=True):
    """Worker: write events. The answer is `Appended` in the stream, or `Refused`.

    Attributes:
        number: number of the request.
        events: the events.
        arrived: when they arrived, by the monotonic clock, which the processes of a machine share.
    """

    number: int
    events: list[UserEvent]
    arrived: float = 0.0


class Appended(msgspec.Struct, tag=True, frozen=True):
    """Owner: events that are on disk, in the order of the log.

    Attributes:
        after: sequence number of the last event before them.
        last_seq: sequence number of the last of them.
        events: the events that are new.
        duplicates: how many of the batch were stored before.
        client: the connection that sent the batch, 0 for events that are read from the log.
        number: number of its request.
        arrived: when the events arrived, 0 for events that are read from the log.
    """

    after: int
    last_seq: int
    events: list[UserEvent]
    duplicates: int = 0
    client: int = 0
    number: int = 0
    arrived: float = 0.0


class AppendLists(msgspec.Struct, tag=True, frozen=True):
    """Worker: write served lists. There is no answer."""

    lists: list[ServedList]


class AddItems(msgspec.Struct, tag=True, frozen=True):
    """A change: new items, or other content of items that were added before."""

    items: list[ItemContent]


class HideItems(msgspec.Struct, tag=True, frozen=True):
    """A change: items that no list shows, or may show again.

    Attributes:
        items: external ids.
        hidden: no list shows them.
        by_stock: in a request: because they are out of stock, or back.
    """

    items: list[Id]
    hidden: bool
    by_stock: bool = False


class ForgetUser(msgspec.Struct, tag=True, frozen=True):
    """A change: a user is forgotten.

    Attributes:
        user: the id; None in what a worker gets that joins later, since a log keeps no such id.
        forgotten: what the log has of it; None in a request.
    """

    user: Id | None
    forgotten: ForgottenUser | None = None


class ReplaceRules(msgspec.Struct, tag=True, frozen=True):
    """A change: other rules of lists.

    Attributes:
        rules: the rules as JSON.
        revision: in a request that of the rules before, and then that of these.
    """

    rules: str
    revision: int


Change = AddItems | HideItems | ForgetUser | ReplaceRules


class ChangeLog(msgspec.Struct, tag=True, frozen=True):
    """Worker: write a change. The answer is `Changed` in the stream, or `Refused`."""

    number: int
    change: Change


class Changed(msgspec.Struct, tag=True, frozen=True):
    """Owner: a change that is on disk, in the order of the log."""

    change: Change
    client: int = 0
    number: int = 0


class BindLog(msgspec.Struct, tag=True, frozen=True):
    """The only message of a connection: bind the log to a data set. The answer is `Bound` or `Refused`."""

    origin: DataOrigin
    rebind: bool


class Bound(msgspec.Struct, tag=True, frozen=True):
    """Owner: the log is bound to the data set."""


class Refused(msgspec.Struct, tag=True, frozen=True):
    """Owner: a request is not done.

    Attributes:
        number: number of the request.
        error: name of the class of the error.
        reason: its message.
    """

    number: int
    error: str
    reason: str


class PushSamples(msgspec.Struct, tag=True, frozen=True):
    """Worker: the values of its metrics."""

    samples: list[Sample]


class CollectSamples(msgspec.Struct, tag=True, frozen=True):
    """Worker: the values of its metrics, and a request for those of all processes."""

    number: int
    samples: list[Sample]


class CollectedSamples(msgspec.Struct, tag=True, frozen=True):
    """Owner: the metrics of all processes together."""

    number: int
    samples: list[Sample]


class LogStatus(msgspec.Struct, tag=True, frozen=True):
    """Owner, several times a second: what a worker needs to know of the log without a question.

    Attributes:
        waiting: seconds for which the writer has worked on the same transaction.
        problem: why nothing can be written, or None.
    """

    waiting: float
    problem: str | None


Message = (
    JoinStream
    | Welcome
    | AppendEvents
    | Appended
    | AppendLists
    | ChangeLog
    | Changed
    | BindLog
    | Bound
    | Refused
    | PushSamples
    | CollectSamples
    | CollectedSamples
    | LogStatus
)
_encoder = msgspec.msgpack.Encoder()
_decoder: "msgspec.msgpack.Decoder[Message]" = msgspec.msgpack.Decoder(Message)


def encode_message(message: Message) -> bytes:
    """The frame of a message. Raises DataError for a number of more than 64 bits or text that is not valid."""
    try:
        body = _encoder.encode(message)
    except (OverflowError, UnicodeError, TypeError) as error:
        raise DataError(f"An event must hold numbers of at most 64 bits and valid text. Got: {error}.") from error
    return _LENGTH.pack(len(body)) + body


def decode_message(frame: bytes) -> Message:
    """The message of a whole frame. Raises SourceError if it is none."""
    try:
        return _decoder.decode(memoryview(frame)[_LENGTH.size :])
    except msgspec.DecodeError as error:
        raise SourceError(f"A message between processes must be valid. It is not: {error}.") from error


async def read_message(reader: asyncio.StreamReader) -> Message | None:
    """The next message of a connection, None at its end. Raises SourceError for what is no message."""
    try:
        head = await reader.readexactly(_LENGTH.size)
        (length,) = _LENGTH.unpack(head)
        if length > _MAX_FRAME:
            raise SourceError(f"A message between processes must have at most {_MAX_FRAME} bytes. It has {length}.")
        return decode_message(head + await reader.readexactly(length))
    except (asyncio.IncompleteReadError, OSError):
        return None


def refuse(number: int, error: BaseException) -> Refused:
    """The answer to a request that raised an error. What is no error of leanrec is a SourceError for the worker."""
    name = next((name for name, kind in _ERRORS.items() if isinstance(error, kind)), SourceError.__name__)
    return Refused(number, name, str(error) or type(error).__name__)


def make_error(refused: Refused) -> LeanrecError:
    """The error that an answer stands for."""
    return _ERRORS.get(refused.error, SourceError)(refused.reason)
