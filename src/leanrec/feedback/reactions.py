"""Reactions, as they come in, and their strength as evidence."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from leanrec.data.vocabulary import Id, id_array
from leanrec.types import Events, Float32Array

__all__ = ["Reaction", "Strength", "to_events"]

# Behaviour that was noticed but says nothing good about an item.
_NEUTRAL = frozenset({"impression", "skip", "dislike", "hide"})


@dataclasses.dataclass(frozen=True)
class Reaction:
    """One thing that somebody did, in own ids.

    Attributes:
        id: chosen by the client; the same id twice is the same reaction.
        user: who.
        item: what.
        kind: how: "click", "view", "purchase", "rating", …
        time: seconds since 1970.
        weight: strength as positive evidence; 0 = no evidence of liking.
        value: the explicit rating, or None.
        request: id of the served list it answers, or None.
        rank: position in that list, 0 = first; None = unknown, and then the log looks it up.
    """

    id: str
    user: Id
    item: Id
    kind: str
    time: int
    weight: float
    value: float | None = None
    request: str | None = None
    rank: int | None = None


@dataclasses.dataclass(frozen=True)
class Strength:
    """How much a new reaction counts, read off the data that a model was fitted on.

    Attributes:
        kinds: mean weight of the positive events of each kind.
        default: weight of a kind that the data does not know: the mean over all positive events.
        positive_from: lowest rating that counted as positive; None where there are no ratings.
    """

    kinds: Mapping[str, float]
    default: float = 1.0
    positive_from: float | None = None

    @classmethod
    def of(cls, events: Events) -> "Strength":
        """What the events show. O(E)."""
        positive = events.weight > 0
        kinds = {
            name: float(events.weight[positive & (events.kind == code)].mean())
            for code, name in enumerate(events.kinds)
            if (positive & (events.kind == code)).any()
        }
        return cls(
            kinds=MappingProxyType(kinds),
            default=float(events.weight[positive].mean()) if positive.any() else 1.0,
            positive_from=_lowest_positive(events.value, positive),
        )

    def weight(self, kind: str, value: float | None = None) -> float:
        """Weight of one reaction: 0 for a rating below ``positive_from`` and for kinds such as "skip"."""
        if kind in _NEUTRAL:
            return 0.0
        if value is not None and self.positive_from is not None and value < self.positive_from:
            return 0.0
        return self.kinds.get(kind, self.default)


def _lowest_positive(value: Float32Array | None, positive: np.ndarray) -> float | None:
    if value is None:
        return None
    rated = value[positive & np.isfinite(value)]
    return float(rated.min()) if len(rated) else None


def to_events(reactions: Sequence[Reaction]) -> Events:
    """The reactions as a log in own ids. O(E)."""
    kinds = tuple(dict.fromkeys(each.kind for each in reactions)) or ("interaction",)
    code = {name: number for number, name in enumerate(kinds)}
    ranks = [-1 if each.rank is None else each.rank for each in reactions]
    return Events(
        user=id_array([each.user for each in reactions]),
        item=id_array([each.item for each in reactions]),
        time=np.array([each.time for each in reactions], np.int64),
        kind=np.array([code[each.kind] for each in reactions], np.int8),
        weight=np.array([each.weight for each in reactions], np.float32),
        value=np.array([np.nan if each.value is None else each.value for each in reactions], np.float32),
        request=np.array([each.request or "" for each in reactions], np.dtypes.StringDType()),
        rank=np.array(ranks, np.int32),
        kinds=kinds,
    )
