"""What goes over the wire: requests that are checked, and answers with examples."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from leanrec.pipeline.responses import Because, Past, Shown

__all__ = [
    "Added",
    "Ask",
    "EventIn",
    "EventsIn",
    "EventsOut",
    "Health",
    "HistoryOut",
    "ItemOut",
    "ItemsIn",
    "ItemsOut",
    "ListOut",
    "Problem",
    "UserOut",
    "UsersOut",
    "WhyOut",
]

_MOST_IDS = 10_000

# Whole numbers of 64 bits, or text; a JSON true is neither.
OwnId = Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)] | Annotated[StrictStr, Field(min_length=1, max_length=200)]
Ids = Annotated[list[OwnId], Field(max_length=_MOST_IDS)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1000)]


class _In(BaseModel):
    """A request: a name it does not know is an error, so that a misspelt one is not lost."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Ask(_In):
    """Who asks, and what may be shown."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"user": 1, "n": 5},
                {"history": [1, 260, 1196], "n": 5, "where": {"genres": "Comedy", "year": {"min": 1990}}},
            ]
        },
    )

    user: OwnId | None = Field(None, description="Own id of the asker.")
    history: Ids | None = Field(
        None, description="Items that stand for the asker, oldest first; [] = nothing is known."
    )
    weights: Annotated[list[Positive], Field(max_length=_MOST_IDS)] | None = Field(
        None, description="Strength of each item of the history."
    )
    ratings: Annotated[list[Finite | None], Field(max_length=_MOST_IDS)] | None = Field(
        None, description="Rating of each item of the history, null where there is none."
    )
    n: Count = Field(10, description="Length of the list.")
    exclude_seen: bool = Field(default=True, description="Leave out what the asker has touched.")
    allow: Ids | None = Field(None, description="Only these items.")
    deny: Ids | None = Field(None, description="None of these items.")
    where: dict[str, Any] | None = Field(
        None,
        max_length=20,
        description="Conditions on columns of the item table: a label, a number, a list (any of them), "
        '{"min": a, "max": b}, {"contains": text} or {"not": …}; at most 100, five levels deep.',
    )
    reasons: bool = Field(default=True, description="Say why, in words.")


class EventIn(_In):
    """Something that somebody did."""

    id: StrictStr | None = Field(
        None, min_length=1, max_length=200, description="Chosen by the client: sent twice, it counts once."
    )
    user: OwnId
    item: OwnId
    kind: StrictStr = Field(
        "click",
        min_length=1,
        max_length=100,
        description="A kind of the data, or one that the server takes: GET /health.",
    )
    time: int | None = Field(None, ge=0, description="Seconds since 1970; default: now.")
    value: Finite | None = Field(None, description="The rating, if it is one.")
    weight: Positive | None = Field(None, description="Evidence of liking; default: as in the data.")
    request: StrictStr | None = Field(None, max_length=200, description="The list that it answers.")
    rank: int | None = Field(None, ge=0, lt=10_000, description="Position in that list, 0 = first.")


class EventsIn(_In):
    """A batch of events."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"events": [{"id": "c-1", "user": 1, "item": 260, "kind": "click"}]}]},
    )

    events: list[EventIn] = Field(min_length=1, max_length=1000)


class ItemIn(_In):
    """A new item and its content."""

    id: OwnId
    content: dict[Annotated[str, Field(max_length=200)], Finite | Annotated[str, Field(max_length=10_000)] | None] = (
        Field(max_length=100, description="Values of columns of the item table.")
    )


class ItemsIn(_In):
    """New items."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"items": [{"id": 900001, "content": {"title": "New", "genres": "Comedy"}}]}]},
    )

    items: list[ItemIn] = Field(min_length=1, max_length=1000)


class ListOut(BaseModel):
    """A list, best first."""

    request: str = Field(description="Send it back with an event, and the event is attributed to this list.")
    user: int | str | None = None
    items: list[Shown]
    model: str
    fallback: str | None = Field(None, description="The model that answered for want of a history.")
    ignored: list[int | str] = Field([], description="Ids of the request that are no items here.")
    note: str | None = None


class WhyOut(BaseModel):
    """Why an item suits a user."""

    id: int | str
    title: str
    reasons: list[str]
    because: list[Because] = []
    features: list[str] = []
    paths: list[str] = []
    fallback: str | None = None


class SetAsideOut(BaseModel):
    """An accepted event that lists cannot reflect yet."""

    position: int
    why: str


class EventsOut(BaseModel):
    """What became of a batch."""

    accepted: int = Field(description="Events now on disk for the first time.")
    duplicates: int = Field(description="Events whose id was there already.")
    reflected: int = Field(description="Accepted events that the next list takes into account.")
    set_aside: list[SetAsideOut] = Field([], description="Accepted events that it cannot, and why.")


class Added(BaseModel):
    """How many items are new."""

    added: int


class ItemOut(BaseModel):
    """An item."""

    id: int | str
    title: str
    content: dict[str, Any] = {}


class ItemsOut(BaseModel):
    """Items found."""

    items: list[ItemOut]


class UserOut(BaseModel):
    """A user."""

    id: int | str
    events: int


class UsersOut(BaseModel):
    """Users found."""

    users: list[UserOut]


class HistoryOut(BaseModel):
    """What a user did, newest first."""

    user: int | str
    events: list[Past]


class Health(BaseModel):
    """What is served."""

    status: str
    model: str
    settings: str | None = None
    made: str | None = None
    fallback: str
    version: str
    users: int
    items: int
    kinds: list[str] = Field(description="Kinds of events that are taken.")
    columns: list[str] = Field(description="Columns of the item table, for filters.")
    rating_range: tuple[float, float] | None = None


class Trouble(BaseModel):
    """What went wrong."""

    what: str = Field(description="What must hold and what came.")
    where: str = Field(description="The part of the request it is about.")
    do: str = Field(description="What to do about it.")


class Problem(BaseModel):
    """Every error has this form."""

    error: Trouble
