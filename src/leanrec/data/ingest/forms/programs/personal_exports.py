"""Exports of the data of one person, by which a service answers a request for it: they have no users."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from leanrec.data.event_types import normalize_name

__all__ = ["describe_export"]


class _PersonalExport(NamedTuple):
    """Columns of an export, by normalized names, and the columns of its items."""

    columns: Collection[str]
    items: tuple[str, ...]


_EXPORTS: Mapping[str, _PersonalExport] = {
    "Letterboxd": _PersonalExport({"date", "name", "year", "letterboxduri"}, ("letterboxduri",)),
    "Goodreads": _PersonalExport({"bookid", "title", "author", "myrating", "bookshelves"}, ("bookid",)),
    "IMDb": _PersonalExport({"const", "yourrating", "daterated"}, ("const",)),
    "Spotify": _PersonalExport({"endtime", "artistname", "trackname", "msplayed"}, ("trackname",)),
    "YouTube": _PersonalExport({"header", "title", "titleurl", "time"}, ("titleurl",)),
    "Netflix": _PersonalExport({"title", "date"}, ("title",)),
    "Amazon": _PersonalExport({"orderid", "orderdate", "asin", "website"}, ("asin",)),
}


def describe_export(names: Collection[str], where: str) -> str:
    """Return what a table without users is and how to combine the exports of several people; "" where it is no such export."""
    found = {normalize_name(name): name for name in names}
    for service, export in _EXPORTS.items():
        # The columns of Netflix are common names, so that there must be no others.
        if set(export.columns) <= set(found) and (service != "Netflix" or len(found) == len(export.columns)):
            item = found[export.items[0]]
            return (
                f"{where} has the form of an export of the data of one person ({service}): it has no user column. A recommender needs the "
                "logs of many people. Put the file of each person into a folder that names the person, such as exports/user=ann and "
                f'exports/user=bob, and pass the folder exports with columns={{"item": "{item}"}}.'
            )
    return ""
