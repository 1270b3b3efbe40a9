"""Ratings that are written with their scale, and words that are likes and dislikes."""

import math
from pathlib import Path

import numpy as np
import pytest

import leanrec
from contracts.followed_advice import list_advice
from leanrec.errors import SettingError


def read_ratings(path: Path, texts: list[str]) -> leanrec.Dataset:
    path.write_text("user,item,rating\n" + "".join(f'u{i},i{i},"{text}"\n' for i, text in enumerate(texts)))
    return leanrec.ingest(path).data


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["4/5", "2/5", "5/5"], [4, 2, 5]),
        (["8,5 / 10", "7 / 10", "1 / 10"], [8.5, 7, 1]),
        (["4.0 out of 5 stars", "1.0 out of 5 stars", "3.0 out of 5 stars"], [4, 1, 3]),
        (["5 stars", "1 star", "3 stars"], [5, 1, 3]),
        (["★★★★☆", "★☆☆☆☆", "★★★☆☆"], [4, 1, 3]),
        (["★★½", "★", "★★★★★"], [2.5, 1, 5]),
        (["80%", "20%", "100%"], [80, 20, 100]),
        (["5 - excellent", "1 - bad", "3 - so so"], [5, 1, 3]),
        (["5: Excellent", "1: Bad"], [5, 1]),
        (["5 (sehr gut)", "4,5 (gut)"], [5, 4.5]),
        (["4 von 5 Sternen", "2 von 5 Sternen"], [4, 2]),
        (["3,5 su 5 stelle", "1 su 5 stelle"], [3.5, 1]),
        (["4½", "½", "2 ½ stars"], [4.5, 0.5, 2.5]),
        (["5星", "3星", "1星"], [5, 3, 1]),
        (["Excellent (5)", "Bad (1)"], [5, 1]),
        (["5 = très bien", "1 = mal"], [5, 1]),
    ],
)
def test_a_rating_with_its_scale_is_the_number(tmp_path: Path, texts: list[str], values: list[float]) -> None:
    rating = read_ratings(tmp_path / "log.csv", texts).events.rating
    assert rating is not None
    assert sorted(rating.tolist()) == sorted(values)


@pytest.mark.parametrize(
    "texts", [["4/5", "8/10", "2/5"], ["2 weeks", "3 days"], ["5 - 10 hours", "1 - 2 hours"], ["A1", "B2"]]
)
def test_several_scales_and_units_are_no_rating(tmp_path: Path, texts: list[str]) -> None:
    rating = read_ratings(tmp_path / "log.csv", texts).events.rating
    assert rating is None or not np.isfinite(rating).any()


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["Very bad", "bad", "OK", "good", "very good"], [1, 2, 3, 4, 5]),
        (["excellent", "good", "poor"], [5, 3, 1]),
        (["strongly agree", "Agree", "neutral", "disagree", "strongly disagree"], [5, 4, 3, 2, 1]),
        (["A", "B", "F", "C", "D"], [5, 4, 1, 3, 2]),
        (["A+", "B-", "F", "C"], [5.3, 3.7, 1, 3]),
        (["three", "one", "five"], [3, 1, 5]),
        (["ONE_STAR", "THREE_STARS", "FIVE_STARS"], [1, 3, 5]),
        (["VERY_GOOD", "BAD", "so-so"], [5, 2, 3]),
        (["sehr gut", "gut", "mittel", "schlecht", "sehr schlecht"], [5, 4, 3, 2, 1]),
        (["mangelhaft", "gut", "befriedigend"], [2, 5, 4]),
        (["Très bien", "mauvais", "moyen"], [5, 2, 3]),
        (["muy malo", "regular", "bueno"], [1, 3, 4]),
        (["отлично", "плохо", "хорошо"], [5, 2, 4]),
        (["力荐", "较差", "还行"], [5, 2, 3]),
        (["love", "like", "hate", "dislike"], [5, 4, 1, 2]),
        (["it was amazing", "liked it", "did not like it"], [5, 3, 1]),
        (["very satisfied", "dissatisfied", "neutral"], [5, 2, 3]),
        (["low", "high", "medium"], [2, 4, 3]),
        (["good", "4", "bad"], [4, 4, 2]),
    ],
)
def test_words_of_a_scale_are_its_numbers(tmp_path: Path, texts: list[str], values: list[float]) -> None:
    rating = read_ratings(tmp_path / "log.csv", texts).events.rating
    assert rating is not None
    assert sorted(rating.round(2).tolist()) == pytest.approx(sorted(values))


def test_words_of_the_user_are_read_and_unknown_ones_are_told(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        "user,item,rating\n" + "".join(f"u{i},i{i},{word}\n" for i, word in enumerate(["knorke", "mies", "knorke"]))
    )
    data, report = leanrec.ingest(path)
    assert (len(data.events), data.events.rating) == (3, None)
    advice = [dict(list_advice(each)) for each in report.warnings if "rating_words" in each]
    assert [list(each["rating_words"]) for each in advice] == [["knorke", "mies"]]
    words = {"Knorke": 4, "mies": 2}
    read = leanrec.ingest(path, rating_words=words).data
    assert read.events.rating is not None
    assert sorted(read.events.rating.tolist()) == [2, 4, 4]
    later = leanrec.ingest(path, like=read).data
    assert later.events.rating is not None
    assert sorted(later.events.rating.tolist()) == [2, 4, 4]
    with pytest.raises(SettingError, match="rating_words must map"):
        leanrec.ingest(path, rating_words={"knorke": math.inf})


def test_a_scale_that_was_found_holds_for_held_out_files(tmp_path: Path) -> None:
    log = read_ratings(tmp_path / "log.csv", ["poor", "fair", "very good", "excellent"])
    (tmp_path / "test.csv").write_text("user,item,rating\nu0,i0,very good\nu1,i1,poor\n")
    later = leanrec.ingest(tmp_path / "test.csv", like=log).data
    assert later.events.rating is not None
    assert sorted(later.events.rating.tolist()) == [1, 4]


@pytest.mark.parametrize("nothing", ["-", "N/A", ""])
def test_an_event_without_a_rating_stays(tmp_path: Path, nothing: str) -> None:
    for texts in (["4", nothing, "2"], ["good", nothing, "bad"]):
        data = read_ratings(tmp_path / "log.csv", texts)
        assert data.events.rating is not None
        assert np.isfinite(data.events.rating).tolist().count(False) == 1
        assert data.events.weight.tolist() == [1, 1, 1]


def test_reactions_are_event_types_with_a_sign(tmp_path: Path) -> None:
    kinds = ["love", "like", "haha", "wow", "sad", "angry", "👍", "👎"]
    text = "user,item,reaction\n" + "".join(f"u{i % 3},i{i},{kind}\n" for i, kind in enumerate(kinds * 2))
    (tmp_path / "log.csv").write_text(text, encoding="utf-8")
    events = leanrec.ingest(tmp_path / "log.csv").data.events
    liked = {
        events.event_types[kind] for kind, weight in zip(events.event_type, events.weight, strict=True) if weight > 0
    }
    assert liked == {"love", "like", "haha", "wow", "👍"}


@pytest.mark.parametrize(
    ("yes", "no"),
    [
        ("like", "dislike"), ("thumbs up", "thumbs down"), ("TRUE", "FALSE"), ("Gefällt mir", "Gefällt mir nicht"),
        ("j'aime", "je n'aime pas"), ("me gusta", "no me gusta"), ("нравится", "не нравится"), ("喜欢", "不喜欢"), ("WAHR", "FALSCH"),
        ("oui", "non"), ("да", "нет"), ("はい", "いいえ"),
    ],
)  # fmt: skip
def test_words_are_likes_and_dislikes(tmp_path: Path, yes: str, no: str) -> None:
    data = read_ratings(tmp_path / "log.csv", [yes, no, yes])
    assert sorted((data.events.weight > 0).tolist()) == [False, True, True]


def test_halves_between_numbers_are_ratings(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        "user,item,rating\n" + "".join(f"a,x{n},{text}\n" for n, text in enumerate(["3½", "4", "5", "2", "½"]))
    )
    rating = leanrec.ingest(path).data.events.rating
    assert rating is not None
    assert rating.tolist() == [3.5, 4, 5, 2, 0.5]
