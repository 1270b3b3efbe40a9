"""Typed headers of RecBole's atomic files: ``user_id:token``, ``rating:float``, ``item_list:token_seq``."""

import dataclasses
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leanrec.data.ingest.sources import SourcePart

__all__ = ["TYPED_SUFFIXES", "strip_types"]

TYPED_SUFFIXES = (".inter", ".user", ".item", ".kg", ".link", ".net")
"""Endings of RecBole's files, which are text with tabs between the columns."""

_TYPED = re.compile(r"(?P<name>.+):(?P<type>token|float|token_seq|float_seq)")
_TYPES = {"token": "VARCHAR", "float": "DOUBLE", "token_seq": "VARCHAR[]", "float_seq": "DOUBLE[]"}


def strip_types(part: "SourcePart") -> "SourcePart":
    """Return the table with the names of its columns alone, where every name of its header ends in a type of RecBole.

    Numbers are ``DOUBLE`` in ``types``, and all else is text. Columns of sequences are kept as text in ``types``;
    their names are in ``sequences``. Any other table is returned as it is.
    """
    file = part.file
    typed = [] if file is None else [_TYPED.fullmatch(name.strip()) for name in file.names]
    if file is None or not typed or not all(typed):
        return part
    found = {match["name"].strip(): _TYPES[match["type"]] for match in typed if match is not None}
    if len(found) < len(typed):
        return part
    named = dataclasses.replace(file, names=tuple(found), header=True)
    renamed = dict(zip(file.names, found, strict=True))
    types = {renamed.get(name, name): "VARCHAR" for name in part.types}
    types |= {name: "DOUBLE" for name, column_type in found.items() if column_type == "DOUBLE"}
    sequences = frozenset(name for name, column_type in found.items() if column_type.endswith("]"))
    return dataclasses.replace(part, scan=named.scan(), types=types, file=named, sequences=sequences)
