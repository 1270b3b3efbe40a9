"""Rules of lists: items that are pinned to a position, and limits on items that are alike."""

import dataclasses
import functools
import hashlib
import json
import math

import numpy as np
from numpy.typing import NDArray

from leanrec.data.vocabulary import Id
from leanrec.errors import SettingError
from leanrec.pipeline.catalog import Catalog, Where
from leanrec.protocols import Context
from leanrec.retrieval.exact import build_item_mask, find_excluded
from leanrec.settings import check_at_least
from leanrec.types import Int32Array, Queries

__all__ = ["ColumnLimit", "ListRules", "PinnedItem", "RuleStage"]

_MAX_POSITION = 1000
_MAX_PINS, _MAX_LIMITS = 200, 20  # a pin costs each list about 10 microseconds


@dataclasses.dataclass(frozen=True)
class PinnedItem:
    """An item that stands at a position of lists, whatever the model thinks of it.

    It obeys the rules of the list: it is not shown to users who have seen it, nor where it is hidden, denied or not allowed.
    The item of the model moves up then. Of two that are pinned to one position the first that may be shown is.

    Attributes:
        item: external id. One that the catalog does not have yet is pinned once it has it.
        position: rank in the list, 1 = the first.
        users: only for users whose row of the user table meets these conditions; see ``Catalog.filter_rows``. None = for all.
        until: seconds since 1970 from which on it is not pinned any more; None = without an end.
    """

    item: Id
    position: int
    users: Where | None = None
    until: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.position, int) or not 1 <= self.position <= _MAX_POSITION:
            raise SettingError(f"position must be a rank from 1 to {_MAX_POSITION}. Got {self.position!r}.")


@dataclasses.dataclass(frozen=True)
class ColumnLimit:
    """A limit on the items of a list that have the same label in a column of the item table.

    Each label of a cell such as "Comedy|Drama" counts, in any case, and so does a number. Items without a value have no limit.
    Pinned items count, and are shown in any case.

    Attributes:
        column: name of the column.
        n: largest number of items with the same label.
    """

    column: str
    n: int

    def __post_init__(self) -> None:
        check_at_least("n", self.n, 1)


@dataclasses.dataclass(frozen=True)
class ListRules:
    """Rules that all lists for users obey: at most 200 pins, and 20 limits.

    Cost: about 10 microseconds for each pin and list. With limits the model makes a list four times as long, or longer where
    most items are left out.

    Attributes:
        pins: items at fixed positions.
        limits: limits on items that are alike.
    """

    pins: tuple[PinnedItem, ...] = ()
    limits: tuple[ColumnLimit, ...] = ()

    def __post_init__(self) -> None:
        for name, largest in (("pins", _MAX_PINS), ("limits", _MAX_LIMITS)):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if len(getattr(self, name)) > largest:
                raise SettingError(f"{name} must be at most {largest}. Got {len(getattr(self, name))}.")

    def __bool__(self) -> bool:
        return bool(self.pins or self.limits)

    @functools.cached_property
    def digest(self) -> str:
        """Eight hexadecimal digits that tell these rules from others."""
        return hashlib.blake2b(repr(self).encode(), digest_size=4).hexdigest()

    def to_json(self) -> str:
        """The rules as JSON, from which ``from_json`` makes the same."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "ListRules":
        """The rules of what ``to_json`` gave. Raises SettingError if they are not valid."""
        found = json.loads(text)
        return cls(
            tuple(PinnedItem(**each) for each in found["pins"]), tuple(ColumnLimit(**each) for each in found["limits"])
        )

    def drop_ended(self, now: float) -> "ListRules":
        """The rules without the pins that have ended."""
        return ListRules(tuple(each for each in self.pins if each.until is None or each.until > now), self.limits)


@dataclasses.dataclass(frozen=True, eq=False)
class RuleStage:
    """Rules over the items of one catalog.

    Attributes:
        rules: the rules.
        pins: rows of the pinned items of the catalog, their places from 0 on, and the users (U,) that get them, None = all.
        indptr: (N + 1,) where the labels of each item begin in ``codes``.
        codes: (P,) labels of the items.
        limits: (C,) largest number of items with each label.
        end: seconds since 1970 when the first pin ends.
    """

    rules: ListRules
    pins: tuple[tuple[int, int, NDArray[np.bool_] | None], ...]
    indptr: Int32Array
    codes: Int32Array
    limits: Int32Array
    end: float

    @classmethod
    def build(cls, rules: ListRules, catalog: Catalog, users: Catalog) -> "RuleStage":
        """The rules over these items and users. O(N).

        Raises SettingError for a column that the items or the users do not have.
        """
        rows = catalog.items.rows([each.item for each in rules.pins], missing=-1).tolist()
        masks = [None if each.users is None else _mask_users(users, each.users) for each in rules.pins]
        pins = tuple(
            (row, each.position - 1, mask) for each, row, mask in zip(rules.pins, rows, masks, strict=True) if row >= 0
        )
        end = min((each.until for each in rules.pins if each.until is not None), default=math.inf)
        item = np.zeros(0, np.int32)
        code, limits = item, item
        for each in rules.limits:
            labels, of_item = catalog.number_labels(each.column)
            code = np.concatenate([code, labels + np.int32(len(limits))])
            item = np.concatenate([item, of_item])
            limits = np.concatenate([limits, np.full(labels.max(initial=-1) + 1, each.n, np.int32)])
        order = np.argsort(item, kind="stable")
        indptr = np.zeros(len(catalog) + 1, np.int32)
        np.cumsum(np.bincount(item, minlength=len(catalog)), out=indptr[1:])
        return cls(rules, pins, indptr, code[order], limits, end)

    def find_length(self, n: int) -> int:
        """How many items to find for a list of n, of which the rules leave some out."""
        return (n + len(self.pins)) * (4 if len(self.limits) else 1)

    def choose_pins(self, users: Int32Array, queries: Queries, n: int, context: Context) -> Int32Array:
        """(B, n) the row of the item that is pinned to each place of the list of each query, −1 where none is.

        Args:
            users: (B,) rows of the users in the user table, −1 for one without.
            queries: B queries.
            n: length of the lists.
            context: the rules of the lists.
        """
        chosen = np.full((len(users), n), -1, np.int32)
        allowed, seen = build_item_mask(context, len(self.indptr) - 1), find_excluded(context, queries)
        for row, place, mask in self.pins:
            if place >= n or (allowed is not None and not allowed[row]):
                continue
            may_see = (chosen[:, place] < 0) & ~(chosen == row).any(axis=1)
            if mask is not None:
                may_see &= (users >= 0) & (users < len(mask)) & mask[np.clip(users, 0, len(mask) - 1)]
            if seen is not None:
                has_seen = np.zeros(len(users), np.bool_)
                at = np.flatnonzero(seen.indices == row)
                has_seen[np.searchsorted(seen.indptr, at, side="right") - 1] = True
                may_see &= ~has_seen
            chosen[may_see, place] = row
        return chosen


def _mask_users(users: Catalog, where: Where) -> NDArray[np.bool_]:
    """(U,) whether users meet conditions, and one more entry."""
    mask = np.zeros(len(users) + 1, np.bool_)
    try:
        mask[users.filter_rows(where)] = True
    except SettingError as error:
        raise SettingError(f"users of a pinned item: {error}") from error
    return mask
