"""Event stores: user events and served lists, written while serving and read by the next fit."""

from typing import TYPE_CHECKING

from leanrec._lazy import export_lazily

if TYPE_CHECKING:
    from leanrec.events.event_reader import EventReader as EventReader
    from leanrec.events.event_store import EventStore as EventStore
    from leanrec.events.records import (
        DataOrigin as DataOrigin,
    )
    from leanrec.events.records import (
        ForgottenUser as ForgottenUser,
    )
    from leanrec.events.records import (
        LogSummary as LogSummary,
    )
    from leanrec.events.records import (
        RankCounts as RankCounts,
    )
    from leanrec.events.records import (
        RetentionPolicy as RetentionPolicy,
    )
    from leanrec.events.records import (
        ServedList as ServedList,
    )
    from leanrec.events.records import (
        StorageLimits as StorageLimits,
    )
    from leanrec.events.records import (
        StoredRules as StoredRules,
    )
    from leanrec.events.sqlite_reader import SQLiteEventReader as SQLiteEventReader
    from leanrec.events.sqlite_store import SQLiteEventStore as SQLiteEventStore
    from leanrec.events.user_events import (
        EvidenceWeights as EvidenceWeights,
    )
    from leanrec.events.user_events import (
        UserEvent as UserEvent,
    )
    from leanrec.events.user_events import (
        to_events as to_events,
    )

__getattr__, __dir__, __all__ = export_lazily(
    __name__,
    {
        "event_reader": ["EventReader"],
        "event_store": ["EventStore"],
        "records": [
            "DataOrigin",
            "ForgottenUser",
            "LogSummary",
            "RankCounts",
            "RetentionPolicy",
            "ServedList",
            "StorageLimits",
            "StoredRules",
        ],
        "sqlite_reader": ["SQLiteEventReader"],
        "sqlite_store": ["SQLiteEventStore"],
        "user_events": ["EvidenceWeights", "UserEvent", "to_events"],
    },
)
