"""Values that an event store takes and returns, whatever it is built on."""

import dataclasses
from typing import NamedTuple

from leanrec.data.vocabulary import Id
from leanrec.errors import ConflictError, DataError
from leanrec.events.user_events import UserEvent
from leanrec.settings import check_at_least, check_positive
from leanrec.types import Int64Array

__all__ = [
    "AppendResult",
    "DataOrigin",
    "ForgottenUser",
    "LogSummary",
    "RankCounts",
    "RetentionPolicy",
    "ServedList",
    "StorageLimits",
    "StoredRules",
]


class AppendResult(NamedTuple):
    """Result of appending a batch.

    Attributes:
        new: the events that were new.
        duplicates: number of events whose id the store already had.
        last_seq: sequence number of the last event of the store after this batch.
    """

    new: tuple[UserEvent, ...]
    duplicates: int
    last_seq: int


@dataclasses.dataclass(frozen=True)
class DataOrigin:
    """The data set that a model was fitted on. An event store is bound to one, because its ids refer to it.

    Attributes:
        fingerprint: fingerprint of the data set.
        description: its source and size, for messages.
        log_id: id of the event store that was merged into the data, or None.
    """

    fingerprint: str
    description: str
    log_id: str | None = None


class ForgottenUser(NamedTuple):
    """A user whose events and served lists were deleted from an event store. The id is not kept.

    Attributes:
        number: 1 for the first one of the store; each later one has a larger number.
        digest: keyed hash of the id, by which data sets of other files can be cleaned of the same user; see ``digest_user``.
        n_events: number of deleted events.
        last_seq: sequence number of the last event of the store at that moment; the user may have later ones.
    """

    number: int
    digest: str
    n_events: int
    last_seq: int


class StoredRules(NamedTuple):
    """The rules of lists that a store keeps.

    Attributes:
        revision: number of their last change, 0 if there never was one.
        rules: the rules as JSON, "" if there never were any.
    """

    revision: int = 0
    rules: str = ""

    def replace(self, rules: str, revision: int) -> "StoredRules":
        """The rules after a change by a client that has read a revision. The last change, sent again, is none.

        Raises ConflictError if another client has changed them since.
        """
        if (revision, rules) == (self.revision - 1, self.rules):
            return self
        if revision != self.revision:
            raise ConflictError(
                f"revision must be {self.revision}, that of the rules of lists now. Got {revision}: they were changed meanwhile, and "
                "nothing was done. Read them again, and repeat the change."
            )
        return StoredRules(revision + 1, rules)


@dataclasses.dataclass(frozen=True)
class LogSummary:
    """What an event store has, after every row was read and verified.

    Attributes:
        events: number of events.
        last_seq: sequence number of the last event.
        served_lists: number of served lists.
        items: number of items that were added while serving.
        forgotten_users: number of users who were forgotten.
        format_version: version of the format of the file.
    """

    events: int
    last_seq: int
    served_lists: int
    items: int
    forgotten_users: int
    format_version: int


@dataclasses.dataclass(frozen=True)
class RetentionPolicy:
    """How long served lists are kept. Events are never deleted, and keep the rank they were given.

    Attributes:
        max_lists: largest number of lists; those written first are deleted first. A list of ten items takes about 400 bytes.
        max_days: a list is deleted once it is this much older than the newest lists: than the median of the latest nine, so that
            one with a wrong clock deletes no other.
    """

    max_lists: int = 1_000_000
    max_days: float = 90.0

    def __post_init__(self) -> None:
        check_at_least("max_lists", self.max_lists, 0)
        check_positive("max_days", self.max_days)


@dataclasses.dataclass(frozen=True)
class StorageLimits:
    """How much space an event store leaves on its disk. Served lists are given up first, events last.

    Attributes:
        lists_free_bytes: with less free space, served lists are not written.
        events_free_bytes: with less free space, nothing is written.
        wal_bytes: largest size of the write-ahead log, which grows while another program reads the store in one long
            transaction. Above half of it served lists are not written, above all of it nothing is.
    """

    lists_free_bytes: int = 256 * 2**20
    events_free_bytes: int = 64 * 2**20
    wal_bytes: int = 256 * 2**20

    def __post_init__(self) -> None:
        check_at_least("events_free_bytes", self.events_free_bytes, 0)
        check_at_least("lists_free_bytes", self.lists_free_bytes, self.events_free_bytes)
        check_positive("wal_bytes", self.wal_bytes)


@dataclasses.dataclass(frozen=True)
class ServedList:
    """One recommendation list as it was served.

    Attributes:
        request: id of the list, unique in the store.
        time: seconds since 1970; milliseconds are kept.
        user: external id of the user, or None where only a history was given.
        items: external ids of the items; the position of an item is its rank.
        scores: score of each item.
        fallback: name of the fallback model if the list came from it, else None.
        version: `Pipeline.version` of the pipeline that made the list; "" = unknown.
        policy: what made the list, as `Recommendations.policy` has it; "" = unknown.
        arm: arm of an experiment to which the user belongs, or None.
        rung: how much of the work of a list was done, as `Recommendations.rung` has it.
        propensities: probability with which each item was shown at its rank, None for an item that was not drawn. None: nothing
            was drawn.
    """

    request: str
    time: float
    user: Id | None
    items: tuple[Id, ...]
    scores: tuple[float, ...]
    fallback: str | None = None
    version: str = ""
    policy: str = ""
    arm: str | None = None
    rung: str = "full"
    propensities: tuple[float | None, ...] | None = None

    def __post_init__(self) -> None:
        if self.propensities is None:
            return
        if len(self.propensities) != len(self.items):
            raise DataError(
                f"propensities must have one entry for each of the {len(self.items)} items. Got {len(self.propensities)}."
            )
        for each in self.propensities:
            if each is not None and not 0 < each <= 1:
                raise DataError(f"A propensity must be above 0 and at most 1, or None. Got {each}.")


@dataclasses.dataclass(frozen=True, eq=False)
class RankCounts:
    """Impressions and positive events by rank.

    Attributes:
        shown: (K,) number of lists that had an item at this rank.
        clicked: (K,) number of events with positive weight attributed to this rank.
    """

    shown: Int64Array
    clicked: Int64Array
