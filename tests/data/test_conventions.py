"""Conventions of a log: they are saved with the data set, and do not change what models are fitted on."""

import dataclasses
from pathlib import Path

from conftest import make_dataset
from leanrec import artifacts
from leanrec.data.conventions import LogConventions
from leanrec.data.dataset import Dataset


def test_conventions_are_saved_with_the_data_set(tmp_path: Path) -> None:
    settled = LogConventions(
        columns={"user": "userId"},
        event_weights={"view": 1.0, "purchase": 5.0},
        positive_from=4.0,
        rating_range=(1.0, 5.0),
        no_rating=(-1.0,),
        time_formats=("%d/%m/%Y",),
        only_time_formats=True,
        delimiter=";",
        decimal=",",
        rating_words={"good": 4.0, "bad": 2.0},
        names=("user", "item"),
        has_clock=True,
    )
    data = dataclasses.replace(make_dataset(), conventions=settled)
    artifacts.save(data, tmp_path / "data")
    assert artifacts.load(tmp_path / "data", Dataset).conventions == settled
    assert data.fingerprint == make_dataset().fingerprint
