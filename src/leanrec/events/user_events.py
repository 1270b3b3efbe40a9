"""User events by external id, and how much they count as evidence of preference."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from leanrec.data.conventions import LogConventions
from leanrec.data.event_types import normalize_name, resolve_event_weights
from leanrec.data.merge import MAX_EVENT_TYPES
from leanrec.data.vocabulary import Id, id_array
from leanrec.types import Events, Float32Array

__all__ = ["EvidenceWeights", "UserEvent", "to_events", "to_milliseconds"]


@dataclasses.dataclass(frozen=True)
class UserEvent:
    """One event of a user, by external id.

    Attributes:
        id: chosen by the client; events with the same id are the same event.
        user: external id of the user.
        item: external id of the item.
        event_type: "click", "view", "purchase", "rating", …
        time: seconds since 1970; an event store keeps milliseconds.
        weight: strength as positive evidence; 0 = no evidence of preference.
        rating: the explicit rating, or None.
        request: id of the served list that the event responds to, or None.
        rank: position in that list, 0 = first; None = unknown, and the event store looks it up.
        propensity: probability with which the list showed the item; None = it was not drawn, or unknown. The event store fills
            it from the list.
    """

    id: str
    user: Id
    item: Id
    event_type: str
    time: float
    weight: float
    rating: float | None = None
    request: str | None = None
    rank: int | None = None
    propensity: float | None = None


@dataclasses.dataclass(frozen=True)
class EvidenceWeights:
    """Weights of new events: what was settled when the log was read, and estimates from the data of the fit for the rest.

    Attributes:
        event_types: weight of each type: the mean of its positive events; where there is none the settled weight, or else 0.
        default: mean weight of all positive events, for an event of unknown type.
        positive_from: lowest rating with positive weight; None: every rating has it.
    """

    event_types: Mapping[str, float]
    default: float = 1.0
    positive_from: float | None = None

    @classmethod
    def from_events(cls, events: Events, conventions: LogConventions = LogConventions()) -> "EvidenceWeights":
        """Weights for later events. O(E).

        Args:
            events: the events of a fit.
            conventions: what was settled when the log was read. Without event weights nothing is known of that reading, and
                the lowest positive rating of the events stands for ``positive_from``.
        """
        positive = events.weight > 0
        of_type = {name: events.event_type == code for code, name in enumerate(events.event_types)}
        event_types = dict(conventions.event_weights)
        for name, mask in of_type.items():
            if mask.any():
                event_types[name] = _mean_weight(events.weight[positive & mask], event_types.get(name, 0.0))
        lowest = conventions.positive_from
        if events.rating is not None and not conventions.event_weights:
            lowest = min(events.rating[positive & np.isfinite(events.rating)].tolist(), default=None)
        return cls(MappingProxyType(event_types), _mean_weight(events.weight[positive], 1.0), lowest)

    @functools.cached_property
    def _by_plain_name(self) -> Mapping[str, float]:
        """Weights by normalized name, earlier types first: ``Purchase`` is the ``purchase`` of the log."""
        return {normalize_name(name): weight for name, weight in reversed(list(self.event_types.items()))}

    @functools.cached_property
    def _of_other_types(self) -> dict[str, float]:
        """Weights of types that were asked for before; to normalize a name takes longer than to apply the event."""
        return {}

    def weight(self, event_type: str | None = None, rating: float | None = None) -> float:
        """Weight of one event.

        0 for a rating below ``positive_from``. A type that is not in the data gets the default weight of its name;
        None stands for an event of which only the item is known.
        """
        if rating is not None and self.positive_from is not None and rating < self.positive_from:
            return 0.0
        if event_type is None:
            return self.default
        if event_type in self.event_types:
            return self.event_types[event_type]
        found = self._of_other_types.get(event_type)
        if found is None:
            settled = self._by_plain_name.get(normalize_name(event_type))
            found = resolve_event_weights([event_type], None)[0][event_type] if settled is None else settled
            if len(self._of_other_types) < MAX_EVENT_TYPES:
                self._of_other_types[event_type] = found
        return found


def to_events(user_events: Sequence[UserEvent]) -> Events:
    """The events as columns, by external id, with times in whole seconds. O(E)."""
    event_types = tuple(dict.fromkeys(each.event_type for each in user_events)) or ("interaction",)
    code = {name: number for number, name in enumerate(event_types)}
    ranks = [-1 if each.rank is None else each.rank for each in user_events]
    propensities = [np.nan if each.propensity is None else each.propensity for each in user_events]
    was_drawn = any(each.propensity is not None for each in user_events)
    return Events(
        user=id_array([each.user for each in user_events]),
        item=id_array([each.item for each in user_events]),
        # By milliseconds, as an event store keeps them: 1.9996 is in the second in which it is read again.
        time=np.array([to_milliseconds(each.time) // 1000 for each in user_events], np.int64),
        event_type=np.array([code[each.event_type] for each in user_events], np.int8),
        weight=np.array([each.weight for each in user_events], np.float32),
        rating=np.array([np.nan if each.rating is None else each.rating for each in user_events], np.float32),
        request=np.array([each.request or "" for each in user_events], np.dtypes.StringDType()),
        rank=np.array(ranks, np.int32),
        propensity=np.array(propensities, np.float32) if was_drawn else None,
        event_types=event_types,
    )


def to_milliseconds(time: float) -> int:
    """Seconds as whole milliseconds."""
    return round(time * 1000)


def _mean_weight(weights: Float32Array, default: float) -> float:
    return float(weights.mean()) if len(weights) else default
