"""What a pipeline answers, in own ids."""

import dataclasses
from typing import Any

from leanrec.data.vocabulary import Id

__all__ = ["Because", "Past", "Recorded", "Served", "SetAside", "Shown", "Why"]


@dataclasses.dataclass(frozen=True)
class Shown:
    """One item of a list.

    Attributes:
        id: own id.
        title: what to call it.
        score: the model's score: the expected rating, inside the range of the data, of a model that predicts
            ratings; of others only its order within one list means something.
        reasons: why, in words, strongest first.
        picture: address of a picture of it, or None.
    """

    id: Id
    title: str
    score: float
    reasons: tuple[str, ...] = ()
    picture: str | None = None


@dataclasses.dataclass(frozen=True)
class Served:
    """A list, best first.

    Attributes:
        request: id of this list; a reaction that names it can be attributed to a rank.
        items: at most the n that were asked for.
        fallback: name of the model that answered because the fitted one knew nothing of the asker; else None.
        user: the asker, where one was named.
        ignored: ids of the call (history, allow, deny) that are no items here.
        note: what the asker should know: why the list is short, or from where on the model had nothing to say.
    """

    request: str
    items: tuple[Shown, ...]
    fallback: str | None = None
    user: Id | None = None
    ignored: tuple[Id, ...] = ()
    note: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain dictionaries and lists, for JSON."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Because:
    """An item of the history that speaks for another, and what it adds to the score."""

    id: Id
    title: str
    weight: float


@dataclasses.dataclass(frozen=True)
class Why:
    """Why an item suits a user.

    Attributes:
        id: own id of the item.
        title: what to call it.
        reasons: in words.
        because: items of the history that speak for it, strongest first.
        features: words and labels that speak for it, strongest first.
        fallback: name of the fallback where the model knew nothing of the asker; else None.
        paths: how items of the history lead to it, such as "Heat → actor: Al Pacino → The Insider", strongest first.
    """

    id: Id
    title: str
    reasons: tuple[str, ...]
    because: tuple[Because, ...] = ()
    features: tuple[str, ...] = ()
    fallback: str | None = None
    paths: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain dictionaries and lists, for JSON."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Past:
    """One event of a history.

    Attributes:
        id: own id of the item.
        title: what to call it.
        kind: what the user did.
        time: seconds since 1970.
        weight: strength as positive evidence.
        value: the rating, or None.
    """

    id: Id
    title: str
    kind: str
    time: int
    weight: float
    value: float | None = None


@dataclasses.dataclass(frozen=True)
class SetAside:
    """An event that recommendations cannot reflect: its position in the batch, and why."""

    position: int
    why: str


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What became of recorded events.

    Attributes:
        reflected: how many were added to histories, so that recommendations reflect them.
        set_aside: those that cannot be used, with the reason.
    """

    reflected: int
    set_aside: tuple[SetAside, ...] = ()
