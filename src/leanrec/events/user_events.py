"""Reactions, as they come in, and their strength as evidence."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from leanrec.data.event_types import kind_weights
from leanrec.data.vocabulary import Id, id_array
from leanrec.types import Events, Float32Array

__all__ = ["Reaction", "Strength", "to_events"]


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
        kinds: mean weight of the positive events of each kind; 0 for a kind without any.
        default: mean weight of all positive events: what an item counts of which nothing else is known.
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
            name: _mean(events.weight[positive & (events.kind == code)], 0.0)
            for code, name in enumerate(events.kinds)
            if (events.kind == code).any()
        }
        return cls(
            kinds=MappingProxyType(kinds),
            default=_mean(events.weight[positive], 1.0),
            positive_from=_lowest_positive(events.value, positive),
        )

    def weight(self, kind: str | None = None, value: float | None = None) -> float:
        """Weight of one reaction.

        A rating below ``positive_from`` gets 0. A kind that the data does not have counts what kinds of its
        name usually do; None is an event of which only the item is known.
        """
        if value is not None and self.positive_from is not None and value < self.positive_from:
            return 0.0
        if kind is None:
            return self.default
        return self.kinds[kind] if kind in self.kinds else kind_weights([kind], None)[0][kind]


def _mean(weights: Float32Array, otherwise: float) -> float:
    return float(weights.mean()) if len(weights) else otherwise


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
