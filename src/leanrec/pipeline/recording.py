"""Which recorded events can be used, and whose they are."""

from collections.abc import Iterator, Sequence

import numpy as np

from leanrec.data.vocabulary import Id
from leanrec.types import Events, IdArray, Int32Array

__all__ = ["by_user", "unusable"]


def unusable(
    events: Events, rows: Int32Array, codes: Sequence[int | None], rating_range: tuple[float, float] | None
) -> dict[int, str]:
    """Positions of the events that cannot be used, and why."""
    aside = {int(at): f"No item has the id {str(events.item[at])!r}." for at in np.flatnonzero(rows < 0)}
    sane = np.isfinite(events.weight) & (events.weight >= 0)
    aside |= {int(at): f"The weight must be 0 or more. Got {events.weight[at]}." for at in np.flatnonzero(~sane)}
    if events.value is not None and rating_range is not None:
        low, high = rating_range
        outside = np.flatnonzero((events.value < low) | (events.value > high))
        aside |= {int(at): f"The rating must be from {low:g} to {high:g}. Got {events.value[at]:g}." for at in outside}
    for code, name in zip(codes, events.kinds, strict=True):
        if code is None:
            late = np.flatnonzero(events.kind == events.kinds.index(name))
            aside |= {int(at): f"There are too many kinds of events to add {name!r}." for at in late}
    return aside


def by_user(users: IdArray, positions: np.ndarray) -> Iterator[tuple[Id, list[int]]]:
    """Each user with the positions of their events, in log order."""
    groups: dict[Id, list[int]] = {}
    for user, position in zip(users[positions].tolist(), positions.tolist(), strict=True):
        groups.setdefault(user, []).append(position)
    yield from groups.items()
