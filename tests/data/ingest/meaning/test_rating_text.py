"""Ratings that are written with their scale, and words that are likes and dislikes."""

from pathlib import Path

import numpy as np
import pytest

import leanrec


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
    ],
)
def test_a_rating_with_its_scale_is_the_number(tmp_path: Path, texts: list[str], values: list[float]) -> None:
    rating = read_ratings(tmp_path / "log.csv", texts).events.rating
    assert rating is not None
    assert sorted(rating.tolist()) == sorted(values)


def test_several_scales_are_no_rating(tmp_path: Path) -> None:
    rating = read_ratings(tmp_path / "log.csv", ["4/5", "8/10", "2/5"]).events.rating
    assert rating is None or not np.isfinite(rating).any()


@pytest.mark.parametrize(("yes", "no"), [("like", "dislike"), ("thumbs up", "thumbs down"), ("TRUE", "FALSE")])
def test_words_are_likes_and_dislikes(tmp_path: Path, yes: str, no: str) -> None:
    data = read_ratings(tmp_path / "log.csv", [yes, no, yes])
    assert sorted((data.events.weight > 0).tolist()) == [False, True, True]
