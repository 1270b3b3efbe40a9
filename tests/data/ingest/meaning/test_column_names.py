"""Roles by the words in the names of columns."""

from pathlib import Path

import pytest

from leanrec.data.ingest.ingest import ingest
from leanrec.data.ingest.meaning.column_names import (
    describes_reviews,
    find_title,
    guess_role,
    holds_codes,
    names_time,
    split_words,
)
from leanrec.data.ingest.schema import find_columns


@pytest.mark.parametrize(
    ("role", "names"),
    [
        ("user", "userIds User_IDs users customerNo buyer-ids"),
        ("item", "movieIDs items Artist-ID article_nr product.codes productSKU item_ean book_isbn"),
        (
            "time",
            "t_dat purchase.date timestamp_utc CheckinTime date_time purchase_times date_add CreatedOn last_seen lastPlayed event_time_us eventTimeNs ts_listen epoch_millis unixSeconds",
        ),
        ("rating", "Book-Rating userRatings movie_stars"),
        ("event_type", "event_types user_action interactionType verb evt tipo_evento"),
        ("weight", "playCount n_plays totalPlays listen_count"),
        ("label", "is_clicked click_label"),
        (
            None,
            "visitNumber play_number avg_rating ratings_count release_date product_category_id order_id price title tags watch_time birth_date watch_time_ms notifications_on last_name last_login date_of_birth timezone n_users num_items",
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


def test_codes_and_titles_of_a_table_keep_their_characters(tmp_path: Path) -> None:
    log, items, users = tmp_path / "log.csv", tmp_path / "items.csv", tmp_path / "users.csv"
    log.write_text("user,item\n1,7\n2,8\n", encoding="utf-8")
    items.write_text(",item,imdbId,title,price\n0,7,0114709,300,1.50\n1,8,0000021,1917,2\n", encoding="utf-8")
    users.write_text("user,zip\n1,01234\n2,90210\n", encoding="utf-8")
    data, report = ingest(log, items=items, users=users)
    assert data.item_table is not None
    assert data.user_table is not None
    assert {name: column.tolist() for name, column in data.item_table.columns.items()} == {
        "imdbId": ["0114709", "0000021"],
        "title": ["300", "1917"],
        "price": [1.5, 2.0],
    }
    assert data.item_table.title == "title"
    assert data.user_table.columns["zip"].tolist() == ["01234", "90210"]
    assert any("the first column has no name and counts the rows; it was ignored" in each for each in report.warnings)


@pytest.mark.parametrize("total", ["avg_rating", "ratings_count", "numReviews", "average score"])
def test_a_count_beside_totals_of_the_item_is_no_weight(total: str) -> None:
    names = ["user_id", "beer_id", "rating_score", "checkins_count"]
    assert find_columns(names, {}, "the log").weight == "checkins_count"
    assert find_columns([*names, total], {}, "the log").weight is None
    assert find_columns(["user_id", "beer_id", "plays", total], {}, "the log").weight == "plays"


@pytest.mark.parametrize(
    ("names", "roles"),
    [
        ("usuario_id musica_id nota fecha_compra", "user item rating time"),
        ("usuário_id música_id avaliação data_avaliação", "user item rating time"),
        ("id_client id_produit date_commande", "user item time"),
        ("idUtilisateur idFilm note date", "user item rating time"),
        ("id_utente id_prodotto voto data_ordine", "user item rating time"),
        ("nutzer_id buch_id bewertung", "user item rating"),
        ("user_id novel_id", "user item"),
        ("cod_cliente codigo_articulo fecha", "user item time"),
        ("KdNr ArtNr Datum", "user item time"),
        ("klient produkt", "user item"),
        ("kullanici_id urun_id", "user item"),
        ("ID_пользователя ID_товара", "user item"),
        ("member_no content_no", "user item"),
        ("Email_(Billing) SKU date_reviews", "user item time"),
        ("PatronBarcode ItemBarcode", "user item"),
        ("id id_user id_item", " user item"),
    ],
)
def test_nouns_of_other_languages_are_ids(names: str, roles: str) -> None:
    expected = {role: name for role, name in zip(roles.split(" "), names.split(" "), strict=True) if role}
    assert find_columns(names.split(), {}, "the log").to_dict() == expected


@pytest.mark.parametrize(
    "name", ["date_naissance", "data_nascimento", "fecha_registro", "data_source", "date_livraison"]
)
def test_other_dates_are_not_the_time(name: str) -> None:
    assert find_columns(["user", "item", name], {}, "the log").time is None


def test_a_track_is_the_item_beside_its_artist() -> None:
    assert find_columns(["user", "artist", "track"], {}, "the log").item == "track"
    assert find_columns(["user", "artist", "plays"], {}, "the log").item == "artist"


def test_reviews_are_told_by_their_columns() -> None:
    assert describes_reviews(["user", "app_id", "review_text", "recommended"])
    assert describes_reviews(["user", "app_id", "hours", "is_recommended"])
    assert not describes_reviews(["customer_id", "product_id", "price", "recommended", "timestamp"])


def test_names_of_times_have_a_word_for_one() -> None:
    assert all(map(names_time, ["Date Paid", "fecha_alta", "stopTime", "review-date"]))
    assert not any(map(names_time, ["update", "data", "candidate", "times_seen_by"]))
