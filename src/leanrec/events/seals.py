"""Seals of an event store: checksums of its rows, and keyed hashes of the ids of users who were forgotten."""

import hashlib
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from leanrec.data.vocabulary import Id
from leanrec.events.records import ForgottenUser
from leanrec.types import IdArray, Int32Array

__all__ = ["digest_user", "find_forgotten", "seal_extended", "seal_row"]


def seal_row(*values: Any) -> int:
    """Checksum of the values of a row, in the types in which they are stored."""
    return zlib.crc32(repr(values).encode(errors="surrogatepass"))


def seal_extended(values: Sequence[Any], n_later: int) -> int:
    """Checksum of a row that may be from an older file: without the last ``n_later`` values, if all of them are None."""
    if n_later and values[-n_later:].count(None) == n_later:
        values = values[:-n_later]
    return seal_row(*values)


def digest_user(log_id: str, user: Id) -> str:
    """Keyed hash of the id of a user who is forgotten: 12 and "12" have the same, and each store has another.

    A reader of the store can test a list of ids against it, but cannot read an id from it.
    """
    return hashlib.blake2b(str(user).encode(), digest_size=16, key=log_id.encode()).hexdigest()


def find_forgotten(ids: IdArray, log_id: str, forgotten: Sequence[ForgottenUser]) -> Int32Array:
    """Positions of the ids that were forgotten in a store. O(U), or O(1) where none was."""
    digests = {each.digest for each in forgotten}
    is_forgotten = [digest_user(log_id, each) in digests for each in ids.tolist()] if digests else []
    return np.flatnonzero(is_forgotten).astype(np.int32)
