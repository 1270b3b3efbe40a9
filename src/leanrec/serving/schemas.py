"""Schemas of the HTTP API: validated requests, and responses with descriptions."""

import dataclasses
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SkipValidation,
    StrictBool,
    StrictInt,
    StrictStr,
    model_validator,
)
from pydantic_core import PydanticKnownError

from leanrec.online.live_pipeline import LivePipeline
from leanrec.pipeline.lists.rules import ColumnLimit, ListRules, PinnedItem
from leanrec.pipeline.responses import Contribution, DroppedStage, HistoryEvent, RecommendedItem, StageTrace

__all__ = [
    "EXACT_NUMBERS",
    "MAX_EVENTS",
    "MAX_LIST_LENGTH",
    "MAX_REQUEST_BYTES",
    "MAX_TIME_LIMIT_MS",
    "AddItemsRequest",
    "AddItemsResponse",
    "ChangeItemRequest",
    "ChangeItemsRequest",
    "ChangeItemsResponse",
    "ErrorDetail",
    "ErrorResponse",
    "EventRequest",
    "EventsRequest",
    "EventsResponse",
    "ExplainResponse",
    "ForgetResponse",
    "HealthResponse",
    "HistoryResponse",
    "ItemDetail",
    "ItemsResponse",
    "ListLength",
    "ListRulesRequest",
    "ListRulesResponse",
    "RecommendRequest",
    "RecommendResponse",
    "RejectedDetail",
    "StatusResponse",
    "TimeLimit",
    "TrialDetail",
    "UserDetail",
    "UsersResponse",
    "VersionsResponse",
]

_MAX_IDS = 10_000

# JavaScript and many other readers of JSON round whole numbers from 2^53 on, so such ids are text in both directions.
EXACT_NUMBERS = 2**53
MAX_LIST_LENGTH = 1000
MAX_REQUEST_BYTES = 4 * 2**20
MAX_EVENTS = 1000  # of a request
MAX_TIME_LIMIT_MS = 600_000


def to_exact(value: Any) -> Any:
    """An id that every reader of JSON keeps: text for a whole number from 2^53 on."""
    return str(value) if isinstance(value, int) and abs(value) >= EXACT_NUMBERS else value


def with_exact_id(value: Any) -> Any:
    """A part of a response, as dataclass or dictionary, with such an id."""
    if isinstance(value, dict):
        return value | {"id": to_exact(value["id"])}
    exact = to_exact(value.id)
    return value if exact is value.id else dataclasses.replace(value, id=exact)


def check_integer(value: Any) -> Any:
    """A whole number of a body, also as 5.0. Raises PydanticKnownError for text and for true, which would be read as 1."""
    if isinstance(value, bool | str):
        raise PydanticKnownError("int_type")
    return value


# Whole numbers or text. A JSON true is neither.
ExternalId = (
    Annotated[StrictInt, Field(gt=-EXACT_NUMBERS, lt=EXACT_NUMBERS, description="From 2^53 on ids are sent as text.")]
    | Annotated[StrictStr, Field(min_length=1, max_length=200)]
)
ResponseId = Annotated[int | str, BeforeValidator(to_exact)]
IdList = Annotated[list[ExternalId], Field(max_length=_MAX_IDS)]
FiniteNumber = Annotated[float, Field(strict=True, allow_inf_nan=False)]
EventWeight = Annotated[float, Field(strict=True, ge=0, le=1e6, allow_inf_nan=False)]
EventTime = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
EventRank = Annotated[int, Field(ge=0, lt=10_000), BeforeValidator(check_integer)]
# A tuple would be described by prefixItems, which generators of clients do not read.
RatingRange = Annotated[list[float], Field(min_length=2, max_length=2)]
TimeLimit = Annotated[float, Field(gt=0, le=MAX_TIME_LIMIT_MS)]
ListLength = Annotated[int, Field(ge=1, le=MAX_LIST_LENGTH)]


class _RequestModel(BaseModel):
    """A request. An unknown field is an error, so that a misspelled one is not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RecommendRequest(_RequestModel):
    """A user or a history, and which items may be recommended."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"user": 1, "n": 5},
                {"history": [1, 260, 1196], "n": 5, "where": {"genres": "Comedy", "year": {"min": 1990}}},
            ]
        },
    )

    user: ExternalId | None = Field(None, description="External id of the user.")
    history: IdList | None = Field(
        None, description="Items instead of the stored history, oldest first; [] gives the list of the fallback."
    )
    weights: Annotated[list[EventWeight], Field(max_length=_MAX_IDS)] | None = Field(
        None, description="Strength of each item of the history."
    )
    ratings: Annotated[list[FiniteNumber | None], Field(max_length=_MAX_IDS)] | None = Field(
        None, description="Rating of each item of the history, null where there is none."
    )
    n: Annotated[ListLength, BeforeValidator(check_integer)] = Field(10, description="Length of the list.")
    exclude_seen: StrictBool = Field(default=True, description="Leave out items of the history.")
    allow: IdList | None = Field(None, description="Recommend only these items.")
    deny: IdList | None = Field(None, description="Recommend none of these items.")
    where: dict[str, Any] | None = Field(
        None,
        max_length=20,
        description="Conditions on columns of the item table: a label, a number, a list (any of them), "
        '{"min": a, "max": b}, {"contains": text} or {"not": …}; at most 100, five levels deep.',
    )
    reasons: StrictBool = Field(default=True, description="Explain each item.")
    trace: StrictBool = Field(
        default=False, description="Tell the stages that made the list. It is never from the cache."
    )
    time_limit_ms: Annotated[TimeLimit, Field(strict=True)] | None = Field(
        None,
        description="Milliseconds from the arrival of the request in which the list should be ready: what would take longer is "
        "left out.",
    )


class EventRequest(_RequestModel):
    """One event of a user."""

    id: StrictStr | None = Field(
        None, min_length=1, max_length=200, description="Chosen by the client: an id that is sent again is ignored."
    )
    user: ExternalId
    item: ExternalId
    event_type: StrictStr = Field(
        "click",
        min_length=1,
        max_length=100,
        description="An event type of the data, or one that the server accepts: GET /health.",
    )
    time: EventTime | None = Field(None, description="Seconds since 1970, with milliseconds as fraction; default: now.")
    rating: FiniteNumber | None = Field(None, description="The explicit rating, if there is one.")
    weight: EventWeight | None = Field(
        None, description="Strength as positive evidence; default: the mean of its type in the data."
    )
    request: StrictStr | None = Field(None, max_length=200, description="Id of the list that the event responds to.")
    rank: EventRank | None = Field(None, description="Position in that list, 0 = first.")


class EventsRequest(_RequestModel):
    """A batch of events."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"events": [{"id": "c-1", "user": 1, "item": 260, "event_type": "click"}]}]},
    )

    # Each event is read alone, so that a wrong one does not refuse the others.
    events: list[SkipValidation[EventRequest]] = Field(min_length=1, max_length=MAX_EVENTS)


class NewItem(_RequestModel):
    """A new item and its content."""

    id: ExternalId
    content: dict[
        Annotated[str, Field(max_length=200)], FiniteNumber | Annotated[str, Field(max_length=10_000)] | None
    ] = Field(max_length=100, description="Values of columns of the item table.")


class AddItemsRequest(_RequestModel):
    """New items."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"items": [{"id": 900001, "content": {"title": "New", "genres": "Comedy"}}]}]},
    )

    items: list[NewItem] = Field(min_length=1, max_length=1000)


class ChangeItemRequest(_RequestModel):
    """A change of an item."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"hidden": True}, {"in_stock": False}]})

    hidden: StrictBool | None = Field(
        default=None, description="true: no list shows the item. false: lists may show it again, if it is in stock."
    )
    in_stock: StrictBool | None = Field(
        default=None,
        description="false: no list shows the item. true: lists may show it again, unless it is hidden too.",
    )

    @model_validator(mode="after")
    def _check_fields(self) -> Self:
        if self.hidden is None and self.in_stock is None:
            raise ValueError("hidden or in_stock must be given")
        return self


class ItemChange(ChangeItemRequest):
    """A change of one of several items."""

    id: ExternalId


class ChangeItemsRequest(_RequestModel):
    """Changes of items. Of two for one item the last counts."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"items": [{"id": 1, "in_stock": False}, {"id": 2, "in_stock": True}]}]},
    )

    items: list[ItemChange] = Field(min_length=1, max_length=10_000)


def check_time_text(value: Any) -> Any:
    """A time as text, or none. Raises PydanticKnownError for a number, whose unit would be a guess."""
    if value is not None and not isinstance(value, str | datetime):
        raise PydanticKnownError("datetime_type")
    return value


class PinRule(_RequestModel):
    """An item that stands at a position of lists."""

    item: Annotated[ExternalId, BeforeValidator(to_exact)]
    position: StrictInt = Field(description="Rank in the list, 1 = the first.")
    users: dict[str, Any] | None = Field(
        None, max_length=20, description="Only for users whose row of the user table meets these conditions."
    )
    until: Annotated[datetime, BeforeValidator(check_time_text)] | None = Field(
        None, description="When it ends, such as 2026-12-24T18:00:00Z; in UTC unless it says otherwise."
    )


class LimitRule(_RequestModel):
    """A limit on the items of a list that have the same label in a column of the item table."""

    column: StrictStr = Field(max_length=200)
    n: StrictInt = Field(description="Largest number of items with the same label.")


class ListRulesRequest(_RequestModel):
    """Rules of lists, which take the place of all others."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"pins": [{"item": 318, "position": 1}], "limits": [{"column": "genres", "n": 2}], "revision": 0}
            ]
        },
    )

    pins: list[PinRule] = Field(description="At most 200.")
    limits: list[LimitRule] = Field(description="At most 20.")
    revision: StrictInt = Field(ge=0, description="Revision that was read, and that these rules replace.")

    def to_rules(self) -> ListRules:
        """The rules. Raises SettingError for impossible values."""
        pins = [PinnedItem(each.item, each.position, each.users, _to_seconds(each.until)) for each in self.pins]
        return ListRules(tuple(pins), tuple(ColumnLimit(each.column, each.n) for each in self.limits))


class ListRulesResponse(BaseModel):
    """Rules of lists."""

    pins: list[PinRule]
    limits: list[LimitRule]
    revision: int = Field(description="Number of the last change; 0: there never was one.")
    policy: str | None = Field(
        None, description="What the policy of a list says of these rules; it changes when a pin ends. None: no rules."
    )
    fixed: bool = Field(description="The rules are those of a file that was given at the start, and cannot be changed.")
    problem: str | None = Field(None, description="Why the lists are not made by these rules.")

    @classmethod
    def of_live(cls, live: LivePipeline) -> "ListRulesResponse":
        """The response for the rules of a pipeline."""
        return cls.of_rules(*live.read_rules(), fixed=live.fixed_rules is not None, problem=live.rules_problem)

    @classmethod
    def of_rules(
        cls, rules: ListRules, revision: int, *, fixed: bool = False, problem: str | None = None
    ) -> "ListRulesResponse":
        """The response for rules."""
        pins = [
            PinRule(
                item=each.item,
                position=each.position,
                users=None if each.users is None else dict(each.users),
                until=None if each.until is None else datetime.fromtimestamp(each.until, UTC),
            )
            for each in rules.pins
        ]
        limits = [LimitRule(column=each.column, n=each.n) for each in rules.limits]
        policy = f"rules={rules.digest}" if rules else None
        return cls(pins=pins, limits=limits, revision=revision, policy=policy, fixed=fixed, problem=problem)


def _to_seconds(moment: datetime | None) -> float | None:
    if moment is None:
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


class RecommendResponse(BaseModel):
    """A recommendation list, best item first."""

    request: str = Field(description="Id of this list. Send it back with an event to attribute the event to the list.")
    user: ResponseId | None = None
    items: list[Annotated[RecommendedItem, BeforeValidator(with_exact_id)]]
    model: str
    fallback: str | None = Field(
        None, description="Name of the fallback model, if the whole list came from it for want of a history."
    )
    ignored: list[ResponseId] = Field([], description="Ids of the request that are not in the catalog.")
    version: str = Field(description="Version of the model: the start of the digest of its artifact.")
    policy: str = Field(
        description='What made the list: model and version, and after "+" the name of each source and of each rule that changes lists '
        "or draws."
    )
    arm: str | None = Field(None, description="Arm of an experiment to which the user belongs.")
    rung: str = Field(
        "full",
        description="How much of the work was done: full; no_reasons; cached, an earlier list; or popular, one list for all.",
    )
    propensities: list[float | None] | None = Field(
        None,
        description="Probability with which each item was shown at its rank, null if it was not drawn. null: none was.",
    )
    dropped: list[DroppedStage] = Field([], description="The stages that were left out, for a deadline or under load.")
    as_of: int = Field(
        description="Sequence number of the last event in the log that the list reflects, with all before it."
    )
    note: str | None = Field(
        None, description="How many items were filled from the fallback, or why the list is short."
    )
    trace: list[StageTrace] | None = Field(
        None, description="The stages that made the list, with milliseconds, if they were asked for."
    )


class ExplainResponse(BaseModel):
    """Why an item is recommended to a user."""

    id: ResponseId
    title: str
    reasons: list[str]
    contributions: list[Annotated[Contribution, BeforeValidator(with_exact_id)]] = Field(
        [], description="Items of the history and what each adds to the score."
    )
    features: list[str] = Field([], description="Words and labels that contribute.")
    paths: list[str] = Field([], description="Links from items of the history.")
    fallback: str | None = None


class RejectedDetail(BaseModel):
    """An event that is not applied."""

    position: int = Field(description="Position in the request, 0 = first.")
    reason: str
    stored: bool = Field(
        description="true: it is in the log for the next fit, as one of an unknown item is. false: correct it and send it again."
    )


class EventsResponse(BaseModel):
    """Result of a batch of events."""

    stored: int = Field(description="Events that are new; they are on disk.")
    duplicates: int = Field(description="Events whose id was stored before.")
    applied: int = Field(description="Stored events that the next recommendation uses.")
    rejected: list[RejectedDetail] = Field([], description="Events that it cannot use.")
    as_of: int = Field(
        description="Sequence number of the last event in the log that every list from now on reflects, with all before it."
    )


class AddItemsResponse(BaseModel):
    """Numbers of items that are new, corrected and unchanged."""

    added: int = Field(description="Items that are new.")
    corrected: int = Field(description="Items, added since the fit, whose content was replaced.")
    unchanged: int = Field(description="Other known items; those of the fit keep their content until the next fit.")


class ChangeItemsResponse(BaseModel):
    """Which items were changed."""

    changed: int = Field(description="Items that are known, each counted once.")
    unknown: list[ResponseId] = Field(description="Ids of no item, for which nothing was kept.")


class ItemDetail(BaseModel):
    """An item."""

    id: ResponseId
    title: str
    content: dict[str, Any] = {}
    hidden: bool = Field(description="No list shows the item: it is hidden, or out of stock.")


class ItemsResponse(BaseModel):
    """Items of a search."""

    items: list[ItemDetail]


class UserDetail(BaseModel):
    """A user and the number of their events."""

    id: ResponseId
    events: int


class UsersResponse(BaseModel):
    """Users of a search."""

    users: list[UserDetail]


class HistoryResponse(BaseModel):
    """The events of a user, newest first."""

    user: ResponseId
    events: list[Annotated[HistoryEvent, BeforeValidator(with_exact_id)]]


class ForgetResponse(BaseModel):
    """What was deleted of a user."""

    events: int = Field(description="Events that were deleted from the event log.")


class HealthResponse(BaseModel):
    """The model that is served."""

    status: str
    model: str
    settings: str | None = None
    created: str | None = Field(None, description="When the model was fitted.")
    model_version: str = Field(description="The start of the digest of the artifact of the model.")
    fallback: str
    version: str = Field(description="Version of leanrec.")
    users: int
    items: int
    event_types: list[str] = Field(description="Event types that are accepted.")
    columns: list[str] = Field(description="Columns of the item table, for conditions.")
    rating_range: RatingRange | None = Field(None, description="The lowest and the highest rating of the data.")


class TrialArm(BaseModel):
    """The users on one side of a trial."""

    users: int = Field(description="Users who have got a list.")
    lists: int
    failures: int = Field(description="Lists of the current version, because the version on trial could not make one.")
    p50_ms: float | None = Field(None, description="Milliseconds of the last 200 lists that were made: the median.")
    p99_ms: float | None = None
    reward: float = Field(description="Positive events for each user, after the first list; at most 20 count.")


class TrialDifference(BaseModel):
    """Difference of the rewards, version on trial − current version, with an interval that holds at every look."""

    value: float
    low: float
    high: float


class TrialVerdict(BaseModel):
    """Why a guard has ended a trial."""

    guard: str = Field(description="failures, latency, reward or sample ratio.")
    reason: str


class ShadowDetail(BaseModel):
    """Lists that were made only to compare them."""

    compared: int
    failed: int = Field(description="Lists that the version could not make.")
    dropped: int = Field(description="Lists that were not made because others waited.")
    overlap: float | None = Field(None, description="Mean share of items that both lists have.")
    current_ms: float = Field(description="Mean CPU milliseconds of a list.")
    candidate_ms: float = Field(description="The same for the version on trial.")


class TrialDetail(BaseModel):
    """A version on trial."""

    version: str
    model: str
    share: float
    is_shadow: bool
    started: str
    verdict: TrialVerdict | None = None
    arms: dict[str, TrialArm] | None = Field(None, description="control and candidate; none for a shadow.")
    other_lists: int = Field(0, description="Lists of users who take no part.")
    lists_without_user: int = Field(0, description="Lists of requests without a user, which take no part.")
    difference: TrialDifference | None = Field(None, description="None until both sides have 25 users.")
    ratio_p_value: float | None = Field(
        None, description="Whether half of the users are on each side; at most 0.001: nothing can be concluded."
    )
    shadow: ShadowDetail | None = None


class VersionsResponse(BaseModel):
    """The version that is served, and the one on trial."""

    model: str
    version: str
    trial: TrialDetail | None = None


class StatusResponse(BaseModel):
    """An answer to a probe."""

    status: str = Field(description='"ok", or what is wrong.')


class ErrorDetail(BaseModel):
    """An error."""

    message: str = Field(description="What must hold and what came.")
    location: str = Field(description="The part of the request that caused it.")
    hint: str = Field(description="What to do about it.")


class ErrorResponse(BaseModel):
    """The form of every error."""

    error: ErrorDetail
