"""Return types of a pipeline, by external id."""

import dataclasses
from typing import Any, NamedTuple

from leanrec.data.vocabulary import Id
from leanrec.types import Float32Array, IdArray

__all__ = [
    "RUNGS",
    "AddItemsResult",
    "Contribution",
    "DroppedStage",
    "HistoryEvent",
    "ItemEmbeddings",
    "ItemExplanation",
    "Recommendations",
    "RecommendedItem",
    "RecordResult",
    "RejectedEvent",
    "StageTrace",
]

RUNGS = ("full", "no_reasons", "cached", "popular")  # of a list, best first: `Recommendations.rung`


@dataclasses.dataclass(frozen=True, slots=True)  # a cache of lists holds a hundred thousand
class RecommendedItem:
    """One item of a recommendation list.

    Attributes:
        id: external id.
        title: title of the item, or its id if it has none.
        score: score of the model that ranked it, which is that of ``source``. For a model that predicts ratings this is the
            expected rating, inside the range of the data; for others only the order within one list has a meaning.
        reasons: the explanation as text, strongest reason first.
        image_url: address of an image of the item, or None.
        source: where it comes from: "model", "fallback", "pin" (of the rules; its score is 0), or the name of a source of the
            pipeline.
    """

    id: Id
    title: str
    score: float
    reasons: tuple[str, ...] = ()
    image_url: str | None = None
    source: str = "model"


@dataclasses.dataclass(frozen=True)
class StageTrace:
    """What one stage of a list did.

    Attributes:
        stage: "rules" (which items may be listed), "retrieve" (those that the model scores best), "fill" (ties, and items
            of the fallback where the model has no evidence), "source NAME" (candidates of another source; after:
            those in the list), "explore" (draws) or "explain". Without time for the model: "cached" (an earlier list) or
            "popular" (the same list for all).
        milliseconds: how long it took.
        before: number of candidates before it.
        after: number of candidates after it.
        dropped: number of candidates that it dropped, by reason. Each counts once, for the first that applies of "hidden",
            "denied", "not allowed", "condition" and "seen", then "lower score" or "no evidence".
        budget: milliseconds that were left until the deadline of the list when it began; None = no deadline.
    """

    stage: str
    milliseconds: float
    before: int
    after: int
    dropped: dict[str, int] = dataclasses.field(default_factory=dict)
    budget: float | None = None


@dataclasses.dataclass(frozen=True)
class DroppedStage:
    """A stage of a list that was left out.

    Attributes:
        stage: "rank" (of the items by the model), "source NAME" or "explain".
        reason: "deadline", or "load" of the server.
        milliseconds: how long it would have taken, by the latest lists; 0.0 where that is not known.
    """

    stage: str
    reason: str
    milliseconds: float


@dataclasses.dataclass(frozen=True)
class Recommendations:
    """A recommendation list, best item first.

    Attributes:
        request: id of this list; an event that names it can be attributed to a rank.
        items: at most the requested n.
        fallback: name of the fallback model if the whole list came from it because the model had no evidence for
            the user; else None. Sources of the pipeline keep their places in it.
        user: external id of the user, if one was given.
        ignored: ids of the call (history, allow, deny) that are not in the catalog.
        note: a remark on the list: how many items were filled from the fallback, or why there are fewer than n.
        model: name of the model.
        version: `Pipeline.version` of the pipeline that made the list.
        policy: what made the list: model and version, "ease/3f9c2ab81d04", and after "+" the name of each source and of each rule
            that changes lists or draws. Two lists with the same policy were made in the same way.
        arm: arm of an experiment to which the user belongs, or None.
        rung: how much of the work was done: "full", "no_reasons" (the reasons are missing), "cached" (an earlier list of the
            user) or "popular" (the same list for all).
        propensities: probability with which each item was shown at its rank, None for an item that was not drawn. None: nothing
            was drawn.
        dropped: the stages that were left out: below the rung "full", and sources for which there was no time.
        trace: the stages that made the list, if they were asked for.
    """

    request: str
    items: tuple[RecommendedItem, ...]
    fallback: str | None = None
    user: Id | None = None
    ignored: tuple[Id, ...] = ()
    note: str | None = None
    model: str = ""
    version: str = ""
    policy: str = ""
    arm: str | None = None
    rung: str = "full"
    propensities: tuple[float | None, ...] | None = None
    dropped: tuple[DroppedStage, ...] = ()
    trace: tuple[StageTrace, ...] | None = None

    def with_request(self, request: str) -> "Recommendations":
        """The same list under another id."""
        # dataclasses.replace would take several times as long as the rest of the work on a list from a cache.
        changed = object.__new__(Recommendations)
        vars(changed).update(vars(self), request=request)
        return changed

    def to_dict(self) -> dict[str, Any]:
        """As plain dictionaries and lists, for JSON."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Contribution:
    """An item of the history, and how much it adds to the score of another item."""

    id: Id
    title: str
    weight: float


@dataclasses.dataclass(frozen=True)
class ItemExplanation:
    """Why an item is recommended to a user.

    Attributes:
        id: external id of the item.
        title: title of the item, or its id if it has none.
        reasons: the explanation as text.
        contributions: items of the history with a positive contribution, largest first.
        features: words and labels that contribute, strongest first.
        fallback: name of the fallback model if the model had no evidence for the user; else None.
        paths: links from items of the history, such as "Heat → actor: Al Pacino → The Insider", strongest first.
    """

    id: Id
    title: str
    reasons: tuple[str, ...]
    contributions: tuple[Contribution, ...] = ()
    features: tuple[str, ...] = ()
    fallback: str | None = None
    paths: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain dictionaries and lists, for JSON."""
        return dataclasses.asdict(self)


class ItemEmbeddings(NamedTuple):
    """Vectors of items, for a vector store.

    Attributes:
        ids: (M,) external ids.
        vectors: (M, D) float32; the dot product with the vector of a user is the score of the item.
    """

    ids: IdArray
    vectors: Float32Array


@dataclasses.dataclass(frozen=True)
class HistoryEvent:
    """One event of a user's history.

    Attributes:
        id: external id of the item.
        title: title of the item, or its id if it has none.
        event_type: "click", "purchase", "rating", …
        time: seconds since 1970.
        weight: strength as positive evidence.
        rating: the explicit rating, or None.
    """

    id: Id
    title: str
    event_type: str
    time: int
    weight: float
    rating: float | None = None


@dataclasses.dataclass(frozen=True)
class RejectedEvent:
    """An event that cannot be applied to a history: its position in the batch, and the reason."""

    position: int
    reason: str


@dataclasses.dataclass(frozen=True)
class RecordResult:
    """Result of recording a batch of events.

    Attributes:
        applied: number of events added to histories; the next recommendation uses them.
        rejected: the events that cannot be used.
    """

    applied: int
    rejected: tuple[RejectedEvent, ...] = ()


@dataclasses.dataclass(frozen=True)
class AddItemsResult:
    """Result of adding items.

    Attributes:
        added: number of items that are new.
        corrected: number of items, added since the fit, whose content changed.
        unchanged: number of other known items. The content of items of the fit changes with the next fit only.
    """

    added: int = 0
    corrected: int = 0
    unchanged: int = 0
