"""Exports of one person are refused with advice that works for many."""

import re
from pathlib import Path

import pytest

from contracts.followed_advice import list_advice
from leanrec.data.ingest.forms.programs.personal_exports import describe_export
from leanrec.data.ingest.ingest import ingest
from leanrec.errors import ColumnError

EXPORTS = {
    "Letterboxd": (
        "ratings.csv",
        "Date,Name,Year,Letterboxd URI,Rating\n2023-01-0{n},Heat,1995,https://boxd.it/{n},4.5\n",
    ),
    "Goodreads": (
        "library.csv",
        "Book Id,Title,Author,My Rating,Average Rating,Date Added,Bookshelves\n{n},Emma,Jane Austen,4,3.99,2023/01/0{n},read\n",
    ),
    "IMDb": ("ratings.csv", "Const,Your Rating,Date Rated,Title\ntt000{n},7,2023-01-0{n},Heat\n"),
    "Spotify": (
        "StreamingHistory0.json",
        '[{{"endTime": "2023-01-0{n} 10:00", "artistName": "A", "trackName": "T {n}", "msPlayed": 9}}]',
    ),
    "YouTube": (
        "watch-history.json",
        '[{{"header": "YouTube", "title": "Watched x", "titleUrl": "https://y/{n}", "time": "2023-01-0{n}T10:00:00Z"}}]',
    ),
    "Netflix": ("NetflixViewingHistory.csv", "Title,Date\nHeat {n},2023-01-0{n}\n"),
    "Amazon": (
        "Retail.OrderHistory.1.csv",
        "Website,Order ID,Order Date,ASIN\nAmazon.com,1-{n},2023-01-0{n}T00:00:00Z,B00{n}\n",
    ),
}


@pytest.mark.parametrize("service", EXPORTS)
def test_exports_are_combined_as_advised(service: str, tmp_path: Path) -> None:
    name, text = EXPORTS[service]
    for n, person in enumerate(("ann", "bob"), 1):
        folder = tmp_path / f"exports/user={person}"
        folder.mkdir(parents=True)
        (folder / name).write_text(text.format(n=n))
    with pytest.raises(ColumnError, match=rf"one person \({service}\): it has no user column") as refused:
        ingest(tmp_path / "exports/user=ann" / name)
    advice = dict(list_advice(str(refused.value)))
    assert re.search("exports/user=ann", str(refused.value))
    data, report = ingest(tmp_path / "exports", **advice)
    assert data.users.ids.tolist() == ["ann", "bob"]
    assert (len(data.items.ids), report.events) == (2, 2)
    assert report.rejected == {}


def test_other_tables_are_no_exports() -> None:
    assert describe_export(["title", "date", "price"], "log.csv") == ""


def test_files_of_users_are_named_by_folders(tmp_path: Path) -> None:
    for user in ("ann", "bob"):
        path = tmp_path / f"logs/user={user}/{user}.csv"
        path.parent.mkdir(parents=True)
        path.write_text("item_id,rating\n1,4\n2,5\n")
    with pytest.raises(
        ColumnError, match=r"If each file is the log of one user, put it into a folder such as logs/user=ann"
    ):
        ingest(tmp_path / "logs/user=ann/ann.csv")
    assert ingest(tmp_path / "logs").data.users.ids.tolist() == ["ann", "bob"]
