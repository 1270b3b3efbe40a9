"""Advice about XML: which elements are rows, and the call that makes a frame of them."""

import collections
import contextlib
import io
import re
from collections.abc import Mapping
from typing import NamedTuple
from xml.etree import ElementTree as ET

__all__ = ["advise_xml"]

_SHEET = re.compile(r"<\?mso-application|<office:document|urn:schemas-microsoft-com:office:spreadsheet")
_NAMED_FIELDS = re.compile(r"<(?P<field>field|column)\s+name=")
_EXPORT = "Export it as delimited text, JSON lines or Parquet."
_ENCODING = re.compile(rb"""(?<=\s)encoding=["']([^"']*)["']""")
_NAME = re.compile(r"[A-Za-z_][\w.-]*")


class _Elements(NamedTuple):
    """The elements of a document by their paths.

    Attributes:
        counts: path of an element → how often it is there.
        fields: paths of elements with attributes or elements inside.
        keyed: paths of elements with attributes.
    """

    counts: Mapping[tuple[str, ...], int]
    fields: frozenset[tuple[str, ...]]
    keyed: frozenset[tuple[str, ...]]


def advise_xml(data: bytes, text: str, label: str) -> str:
    """Return what an XML file is and how to make a log of it.

    Args:
        data: its first bytes.
        text: these as text.
        label: its name in messages.
    """
    if _SHEET.search(text[:2000]):
        return f"{label} is a spreadsheet as XML, not a log. Open it in a spreadsheet and save it as CSV, or as .xlsx."
    if "<plist" in text[:1000]:
        return (
            f"{label} is a property list, such as the library of Apple Music, not a log: it is of one person, and a recommender needs the "
            "logs of many people."
        )
    found = _list_elements(data)
    if (match := _NAMED_FIELDS.search(text)) is not None:
        rows = next((path[-2] for path in found.counts if path[-1] == match["field"] and len(path) > 1), "row")
        fields = f"{{f.get('name'): f.text for f in row}} for row in ET.parse({label!r}).iter({rows!r})"
        return _write(label, f"from xml.etree import ElementTree as ET; ingest(pandas.DataFrame([{fields}]))")
    rows_of = _find_rows(found)
    if rows_of is None or not all(map(_NAME.fullmatch, rows_of[-2:])):
        return f"{label} is XML, not a log. {_EXPORT}"
    row, outer = rows_of[-1], rows_of[:-1]
    if len(rows_of) > 1 and outer in found.keyed and found.counts[outer] > 1:
        fields = (
            f"{{f'{{e.tag}}_{{k}}': v for e in (outer, row) for k, v in e.items()}} for outer in ET.parse({label!r}).iter({outer[-1]!r}) "
            f"for row in outer.iter({row!r})"
        )
        return _write(label, f"from xml.etree import ElementTree as ET; ingest(pandas.DataFrame([{fields}]))")
    declared = _ENCODING.search(data)
    encoding = declared[1].decode("ascii", "ignore") if declared else "utf-8"
    more = "" if encoding.lower() in {"utf-8", "ascii", "us-ascii"} else f", encoding={encoding!r}"
    read = f"pandas.read_xml({label!r}, xpath='.//{row}', parser='etree'{more})"
    if rows_of[0] == "myanimelist":
        frame = f"{read}.rename({{'series_animedb_id': 'item'}}, axis=1).assign(user='ann')"
        return (
            f"{label} is an export of the data of one person (MyAnimeList), not a log: it has no user column. Pass the exports of many "
            f"people in Python, each with its user: ingest([{frame}, …])."
        )
    return _write(label, f"ingest({read})")


def _write(label: str, call: str) -> str:
    return f"{label} is XML, not a log. Pass its elements in Python as a frame: {call}."


def _list_elements(data: bytes) -> _Elements:
    """Count the elements of the begin of a document."""
    counts: collections.Counter[tuple[str, ...]] = collections.Counter()
    fields, keyed, path = set[tuple[str, ...]](), set[tuple[str, ...]](), list[str]()
    # Text in other encodings was converted to UTF-8.
    stream = io.BytesIO(_ENCODING.sub(b"", data, count=1))
    # The begin of a long document ends in the middle of an element.
    with contextlib.suppress(ET.ParseError, ValueError, LookupError):
        for event, element in ET.iterparse(stream, ("start", "end")):  # noqa: S314 - expat limits entities, and fetches nothing
            if event == "end":
                path.pop()
                continue
            fields |= {tuple(path)} if path else set()
            path.append(element.tag)
            counts[tuple(path)] += 1
            if element.attrib:
                keyed.add(tuple(path))
    return _Elements(counts, frozenset(fields | keyed), frozenset(keyed))


def _find_rows(found: _Elements) -> tuple[str, ...] | None:
    """Return the path of the most frequent elements that have fields; None where there are no such elements."""
    paths = [path for path in found.counts if path in found.fields and len(path) > 1]
    return max(paths, key=lambda path: (found.counts[path], len(path)), default=None)
