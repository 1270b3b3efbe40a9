"""Links of a data set: knowledge graph triples about items, and trust or friendship between users.

Links refer to their own list of external ids, not to internal rows of a Dataset. So they do not change when users and items
are added, and an entity of the knowledge graph becomes an item as soon as its id is in the vocabulary.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.data.vocabulary import Vocabulary
from leanrec.errors import DataError
from leanrec.field_checks import ArrayShape, CodeRange, SharedSizes
from leanrec.types import CSR, Float32Array, Int32Array

__all__ = ["ItemLinks", "UserLinks"]

_STRINGS = np.dtypes.StringDType()


@dataclasses.dataclass(frozen=True, eq=False)
class ItemLinks:
    """Knowledge about items as T triples (head, relation, tail) over M nodes and R relations.

    Attributes:
        head: (T,) int32 codes of nodes.
        relation: (T,) int32 codes of relations.
        tail: (T,) int32 codes of nodes.
        nodes: M external ids as text; a node with the id of an item is that item, any other node is an entity.
        relations: (R,) StringDType names.
    """

    head: Annotated[Int32Array, ArrayShape("T"), CodeRange("M")]
    relation: Annotated[Int32Array, ArrayShape("T"), CodeRange("R")]
    tail: Annotated[Int32Array, ArrayShape("T"), CodeRange("M")]
    nodes: Annotated[Vocabulary, SharedSizes(M="n")]
    relations: Annotated[NDArray[Any], ArrayShape("R")]

    def __post_init__(self) -> None:
        for name, codes, size in (
            ("head", self.head, len(self.nodes)),
            ("relation", self.relation, len(self.relations)),
            ("tail", self.tail, len(self.nodes)),
        ):
            _check_codes(f"ItemLinks.{name}", codes, len(self.head), size)

    def __len__(self) -> int:
        return len(self.head)

    @classmethod
    def from_triples(cls, triples: Iterable[tuple[Any, Any, Any]]) -> "ItemLinks":
        """Build links from (head, relation, tail) of external ids; a repeated triple counts once. O(T)."""
        rows = list(dict.fromkeys((str(head), str(relation), str(tail)) for head, relation, tail in triples))
        heads, relations, tails = zip(*rows, strict=True) if rows else ((), (), ())
        nodes, codes = _encode_texts([*heads, *tails])
        names, relation = _encode_texts(relations)
        return cls(codes[: len(rows)], relation, codes[len(rows) :], Vocabulary(nodes, "entity"), names)

    def rows(self, items: Vocabulary) -> Int32Array:
        """(M,) internal item row of each node, −1 for an entity. O(M)."""
        return items.rows(self.nodes.ids, missing=-1)

    def find_linked_items(self, items: Vocabulary) -> NDArray[np.bool_]:
        """(N,) whether an item occurs in a triple. O(M + T)."""
        rows = self.rows(items)
        used = rows[np.concatenate([self.head, self.tail])]
        return np.bincount(used[used >= 0], minlength=len(items)) > 0

    @property
    def columns(self) -> tuple[NDArray[Any], ...]:
        """Arrays that identify the links, for a fingerprint."""
        return (self.head, self.relation, self.tail, self.nodes.ids, self.relations)


@dataclasses.dataclass(frozen=True, eq=False)
class UserLinks:
    """Trust, follow or friend relations: T directed links among P people.

    Attributes:
        user: (T,) int32 codes of the people who trust.
        friend: (T,) int32 codes of the people who are trusted.
        weight: (T,) float32, above zero.
        people: P external ids as text.
    """

    user: Annotated[Int32Array, ArrayShape("T"), CodeRange("P")]
    friend: Annotated[Int32Array, ArrayShape("T"), CodeRange("P")]
    weight: Annotated[Float32Array, ArrayShape("T")]
    people: Annotated[Vocabulary, SharedSizes(P="n")]

    def __post_init__(self) -> None:
        for name in ("user", "friend"):
            _check_codes(f"UserLinks.{name}", getattr(self, name), len(self.user), len(self.people))
        if len(self.weight) != len(self.user) or not (np.isfinite(self.weight) & (self.weight > 0)).all():
            raise DataError(
                "UserLinks.weight must have a finite number above zero for each link. Remove the other links."
            )

    def __len__(self) -> int:
        return len(self.user)

    @classmethod
    def from_pairs(cls, links: Iterable[Sequence[Any]]) -> "UserLinks":
        """Build links from (user, friend) or (user, friend, weight) of external ids; of repeated links the first counts. O(T)."""
        first: dict[tuple[str, str], float] = {}
        for user, friend, *weight in links:
            first.setdefault((str(user), str(friend)), float(weight[0]) if weight else 1.0)
        people, codes = _encode_texts([user for user, _ in first] + [friend for _, friend in first])
        weights = np.array(list(first.values()), np.float32)
        return cls(codes[: len(first)], codes[len(first) :], weights, Vocabulary(people, "user"))

    def to_matrix(self, users: Vocabulary) -> CSR:
        """(U, U) float32: row u has the weights of the users whom u trusts. Links of people who are not users are left out. O(T)."""
        rows = users.rows(self.people.ids, missing=-1)
        user, friend = rows[self.user], rows[self.friend]
        known = (user >= 0) & (friend >= 0)
        shape = (len(users), len(users))
        entries = (self.weight[known], (user[known], friend[known]))
        return sp.coo_array(entries, shape=shape, dtype=np.float32).tocsr()

    @property
    def columns(self) -> tuple[NDArray[Any], ...]:
        """Arrays that identify the links, for a fingerprint."""
        return (self.user, self.friend, self.weight, self.people.ids)


def _encode_texts(texts: Sequence[str]) -> tuple[NDArray[Any], Int32Array]:
    """Return the distinct texts, in order of appearance, and the code of each text."""
    codes: dict[str, int] = {}
    coded = np.array([codes.setdefault(text, len(codes)) for text in texts], np.int32)
    return np.array(list(codes), dtype=_STRINGS), coded


def _check_codes(what: str, codes: Int32Array, length: int, size: int) -> None:
    if len(codes) != length:
        raise DataError(f"{what} must have {length} entries, like the other columns. Got {len(codes)}.")
    if length and not (codes.min() >= 0 and codes.max() < size):
        raise DataError(f"{what} must hold codes from 0 to {size - 1}. Got {codes.min()} to {codes.max()}.")
