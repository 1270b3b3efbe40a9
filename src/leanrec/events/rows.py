"""Rows of an event store: events and served lists as values of the types that every store keeps, and back."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from leanrec.data.vocabulary import Id
from leanrec.events.records import ServedList
from leanrec.events.user_events import UserEvent, to_milliseconds

__all__ = [
    "build_event_row",
    "build_list_row",
    "change_reasons",
    "index_shown",
    "read_list_row",
    "select_new",
    "to_stored_id",
]

_LARGEST = 2**63
_encode = msgspec.json.Encoder().encode
_Shown = dict[tuple[str, Id], tuple[int, float | None]]


def to_stored_id(value: Id) -> Id:
    """An external id as stores keep it."""
    return int(value) if isinstance(value, int | np.integer) else str(value)


def select_new(batches: Sequence[Sequence[UserEvent]], known: set[str]) -> list[list[UserEvent]]:
    """The events of each batch whose ids are not known and came in no batch before. Adds their ids to ``known``."""
    new_of: list[list[UserEvent]] = []
    for batch in batches:
        new_of.append([])
        for each in batch:
            if each.id not in known:
                known.add(each.id)
                new_of[-1].append(each)
    return new_of


def index_shown(lists: Iterable[tuple[str, Sequence[Id], Sequence[float | None] | None]]) -> _Shown:
    """Rank and propensity of each item by list and item, for lists of (request, items, propensities)."""
    return {
        (request, item): (rank, None if drawn is None else drawn[rank])
        for request, items, drawn in lists
        for rank, item in reversed(list(enumerate(items)))
    }


def build_event_row(event: UserEvent, shown: Mapping[tuple[str, Id], tuple[int, float | None]]) -> tuple[Any, ...]:
    """The values of an event from its id to its propensity; the checksum is of these, since they are what will be read.

    Args:
        event: the event.
        shown: rank and propensity of the items of the lists that events name, see ``index_shown``.
    """
    item, rank, propensity = to_stored_id(event.item), event.rank, event.propensity
    found = None if event.request is None else shown.get((event.request, item))
    if found is not None:
        rank, propensity = found[0] if rank is None else rank, found[1]
    return (
        str(event.id),
        to_stored_id(event.user),
        item,
        str(event.event_type),
        to_milliseconds(event.time),
        float(event.weight),
        None if event.rating is None or math.isnan(event.rating) else float(event.rating),
        event.request,
        None if rank is None else int(rank),
        None if propensity is None else float(propensity),
    )


def build_list_row(served: ServedList) -> tuple[Any, ...]:
    """The values of a served list from its request to its propensities. Raises what can be no value of a row.

    Raises TypeError, ValueError or OverflowError, so that one such list does not keep others from being written.
    """
    user = None if served.user is None else to_stored_id(served.user)
    drawn = None if served.propensities is None else _write_json(served.propensities)
    for each in (user, served.request):
        if isinstance(each, int) and not -_LARGEST <= each < _LARGEST:
            raise OverflowError(f"{each} has more than 64 bits.")
        if isinstance(each, str) and not each.isascii():
            each.encode()
    return (
        str(served.request),
        to_milliseconds(served.time),
        user,
        served.fallback,
        _write_json(served.items),
        _write_json(served.scores),
        str(served.version),
        str(served.policy),
        served.arm,
        str(served.rung),
        drawn,
    )


def _write_json(values: Sequence[Any]) -> str:
    """JSON of ids or numbers, in a tenth of the time that ``json`` takes, which also writes what is no JSON, such as NaN."""
    try:
        text = _encode(values).decode()
    except (OverflowError, TypeError, UnicodeEncodeError):
        return json.dumps(values)
    return json.dumps(values) if "null" in text else text


def read_list_row(row: Sequence[Any]) -> ServedList:
    """The served list of such values."""
    request, time, user, fallback, items, scores, version, policy, arm, rung, drawn = row
    return ServedList(
        request,
        time / 1000,
        user,
        tuple(json.loads(items)),
        tuple(json.loads(scores)),
        fallback,
        version or "",
        policy or "",
        arm,
        rung or "full",
        None if drawn is None else tuple(json.loads(drawn)),
    )


def change_reasons(reasons: int, *, hidden: bool, by_stock: bool) -> int:
    """The reasons for which an item is hidden (1 = by a decision, 2 = out of stock, 3 = both) after one of them changes."""
    reason = 2 if by_stock else 1
    return reasons | reason if hidden else reasons & ~reason
