"""Members of a file that holds several tables."""

from functools import partial

import pytest

from leanrec.data.ingest.forms.containers.members import Member, choose_members, read_columns
from leanrec.errors import SourceError

LENS = {
    "ml/links.csv": "movieId,imdbId,tmdbId",
    "ml/movies.csv": "movieId,title,genres",
    "ml/ratings.csv": "userId,movieId,rating,timestamp",
    "ml/tags.csv": "userId,movieId,tag,timestamp",
}
OLD = dict.fromkeys(["movies.dat", "ratings.dat", "users.dat"], "")


def split_names(text: str) -> list[str]:
    return text.split(",") if text else []


def choose(tables: dict[str, str], role: str) -> list[str]:
    members = [Member(name, 1, partial(split_names, text)) for name, text in tables.items()]
    return [member.name for member in choose_members("x.zip", members, role)[0]]


@pytest.mark.parametrize(
    ("tables", "role", "chosen"),
    [
        (LENS, "log", "ml/ratings.csv"),
        (LENS, "item_table", "ml/movies.csv"),
        (OLD, "log", "ratings.dat"),
        (OLD, "item_table", "movies.dat"),
        (OLD, "user_table", "users.dat"),
        ({"a.csv": "user,item", "b.csv": "item,title"}, "log", "a.csv"),
        ({"goods.csv": "sku,title", "who.csv": "customer_id,age", "x.csv": "customer_id,sku"}, "log", "x.csv"),
    ],
)
def test_columns_and_names_say_which_table_is_meant(tables: dict[str, str], role: str, chosen: str) -> None:
    assert choose(tables, role) == [chosen]


@pytest.mark.parametrize(
    ("tables", "role"),
    [
        ({"views.csv": "user,item", "purchases.csv": "user,item"}, "log"),
        ({"a.csv": "", "b.csv": ""}, "log"),
        ({"a.csv": "item,title", "b.csv": "user,age"}, "log"),
        (LENS, "user_table"),
        (LENS, "item_links"),
    ],
)
def test_what_is_not_certain_is_refused_with_the_names(tables: dict[str, str], role: str) -> None:
    with pytest.raises(
        SourceError, match="x.zip has several tables: .*Pass the path of the one that is meant, such as 'x.zip/"
    ):
        choose(tables, role)


def test_parts_of_one_table_stay_together_and_others_are_told() -> None:
    members = [Member(name, 1, lambda: ["user", "item"]) for name in ("p/part-1.csv", "p/part-2.csv")]
    assert choose_members("x.zip", members, "log") == (members, "")
    other = Member("about.csv", 1, lambda: ["item", "title"])
    chosen, note = choose_members("x.zip", [*members, other], "log")
    assert chosen == members
    assert (
        note
        == "x.zip: p/part-1.csv was read, and not about.csv. Another one is named by its path, such as 'x.zip/about.csv'."
    )


def test_columns_are_read_from_the_first_bytes() -> None:
    assert read_columns(b"\xef\xbb\xbfuser;item\n1;2\n3;4\n5;") == ["user", "item"]
    assert read_columns(b'{"user": 1, "item": 2}\n{"user": 2') == ["user", "item"]
    assert read_columns(b"1::2::5\n1::3::4\n") == []
    assert read_columns(b"PAR1\0\0") == []
