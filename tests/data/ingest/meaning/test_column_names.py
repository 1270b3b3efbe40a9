"""Roles by the words in the names of columns."""

import pytest

from leanrec.data.ingest.meaning.column_names import find_title, guess_role, holds_codes, split_words


@pytest.mark.parametrize(
    ("role", "names"),
    [
        ("user", "userIds User_IDs users customerNo buyer-ids"),
        ("item", "movieIDs items Artist-ID article_nr product.codes"),
        ("time", "t_dat purchase.date timestamp_utc CheckinTime date_time purchase_times"),
        ("rating", "Book-Rating userRatings movie_stars"),
        ("event_type", "event_types user_action interactionType"),
        ("weight", "playCount n_plays totalPlays listen_count"),
        ("label", "is_clicked click_label"),
        (
            None,
            "avg_rating ratings_count release_date product_category_id order_id price title tags watch_time birth_date timezone",
        ),
    ],
)
def test_words_mean_roles(role: str | None, names: str) -> None:
    assert {name: guess_role(name) for name in names.split()} == dict.fromkeys(names.split(), role)


def test_names_are_split_at_case_and_punctuation() -> None:
    assert split_words("Book-RatingsXML") == ["book", "rating", "xml"]
    assert split_words("1") == []


def test_codes_and_titles_are_texts() -> None:
    assert [
        name
        for name in ("zip", "ZipCode", "imdbId", "title", "categoryid", "price", "year", "width", "paid")
        if holds_codes(name)
    ] == [
        "zip",
        "ZipCode",
        "imdbId",
        "title",
        "categoryid",
    ]


@pytest.mark.parametrize(
    ("role", "names", "found"),
    [
        ("item", ["user", "title", "rating"], "title"),
        ("item", ["Customer Name", "Product Name"], "Product Name"),
        ("item", ["artistname", "trackname", "playlistname"], "trackname"),
        ("item", ["artist_name", "plays"], "artist_name"),
        ("item", ["Movie Title", "score"], "Movie Title"),
        ("item", ["review title", "name"], None),
        ("item", ["ID", "title"], None),
        ("user", ["Customer Name", "Product Name"], "Customer Name"),
        ("user", ["name", "filename"], None),
    ],
)
def test_titles_tell_apart_what_has_no_id(role: str, names: list[str], found: str | None) -> None:
    assert find_title(role, names) == found
