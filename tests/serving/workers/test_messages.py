"""Messages between processes: what is sent arrives, and what is no message is an error."""

import asyncio
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanrec.errors import BusyError, DataError, LeanrecError, SourceError
from leanrec.events.records import DataOrigin, ServedList
from leanrec.events.user_events import UserEvent
from leanrec.serving.workers.messages import (
    AddItems,
    Appended,
    AppendEvents,
    AppendLists,
    BindLog,
    Changed,
    ChangeLog,
    HideItems,
    Message,
    ReplaceRules,
    decode_message,
    encode_message,
    make_error,
    read_message,
    refuse,
)

_ids = st.integers(-(2**53), 2**53) | st.text(min_size=1)
_numbers = st.floats(allow_nan=False, allow_infinity=False)
_events = st.builds(
    UserEvent,
    id=st.text(min_size=1),
    user=_ids,
    item=_ids,
    event_type=st.text(min_size=1),
    time=_numbers,
    weight=_numbers,
    rating=st.none() | _numbers,
    request=st.none() | st.text(),
    rank=st.none() | st.integers(0, 9999),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(_events, max_size=3), st.integers(0, 2**53))
def test_events_arrive_as_they_were_sent(events: list[UserEvent], number: int) -> None:
    for message in (AppendEvents(number, events), Appended(number, number + len(events), events, 1, 2, 3)):
        received = decode_message(encode_message(message))
        assert received == message
        assert [type(each.item) for each in received.events] == [type(each.item) for each in events]


@pytest.mark.parametrize(
    "message",
    [
        AppendLists([ServedList("r", 1.5, None, (1, "two"), (0.5, -1.0), "popularity")]),
        AppendLists([ServedList("r", 1.5, 1, (1, 2), (0.5, 0.25), None, "v", "m/v+draw", "a", "cached", (0.5, None))]),
        Changed(AddItems([(1, {"title": "A", "year": 1999, "price": None}), ("b", {})]), 4, 5),
        Changed(HideItems([1, "b"], hidden=False)),
        ChangeLog(1, HideItems([1, "b"], hidden=True, by_stock=True)),
        Changed(ReplaceRules('{"pins": []}', 3), 2, 1),
        BindLog(DataOrigin("f", "a sample"), rebind=True),
    ],
)
def test_other_messages_arrive_as_they_were_sent(message: Message) -> None:
    assert decode_message(encode_message(message)) == message


def test_what_cannot_be_sent_is_the_fault_of_the_data() -> None:
    with pytest.raises(DataError, match="valid text"):
        encode_message(AppendLists([ServedList("r", 0.0, "\ud800", (), ())]))
    with pytest.raises(DataError, match="64 bits"):
        encode_message(HideItems([2**70], hidden=True))  # type: ignore[arg-type]


def _read(content: bytes) -> Message | None:
    async def read() -> Message | None:
        reader = asyncio.StreamReader()
        reader.feed_data(content)
        reader.feed_eof()
        return await read_message(reader)

    return asyncio.run(read())


def test_a_connection_ends_between_messages_or_within_one() -> None:
    frame = encode_message(Changed(HideItems([1], hidden=True)))
    assert _read(frame) == Changed(HideItems([1], hidden=True))
    for length in range(len(frame)):
        assert _read(frame[:length]) is None
    for wrong in (struct.pack(">I", 2**31) + b"x", struct.pack(">I", 2) + b"{}", b"GET / HTTP/1.1\r\n\r\n"):
        with pytest.raises(SourceError):
            _read(wrong)


@pytest.mark.parametrize("error", [BusyError("busy"), SourceError("gone"), DataError("wrong")])
def test_an_error_arrives_as_the_same_error(error: LeanrecError) -> None:
    received = decode_message(encode_message(refuse(7, error)))
    assert (received.number, type(make_error(received)), str(make_error(received))) == (7, type(error), str(error))  # type: ignore[union-attr,arg-type]


def test_a_defect_arrives_as_a_source_error() -> None:
    assert isinstance(make_error(refuse(7, ZeroDivisionError())), SourceError)
    assert str(make_error(refuse(7, ZeroDivisionError()))) == "ZeroDivisionError"
