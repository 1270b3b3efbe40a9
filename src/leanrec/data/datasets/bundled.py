"""Data that comes along, and data that a person keeps.

MovieLens ml-latest-small (F. M. Harper and J. A. Konstan, "The MovieLens Datasets: History and Context",
2015) is part
of the package under its own terms, which stand beside it in LICENCE.txt: research, non-commercial, citation.
"""

import os
from pathlib import Path

from leanrec.data.dataset import Dataset
from leanrec.data.engine import text
from leanrec.data.ingest.ingest import ingest
from leanrec.data.ingest.sources import Sql
from leanrec.errors import SourceError
from leanrec.run import Run

__all__ = ["SAMPLES", "find_data", "load_sample", "sample_items", "sample_path"]

_HERE = Path(__file__).parent / "files"

SAMPLES = ("ml-latest-small",)
"""Names of the samples."""


def sample_path(name: str = "ml-latest-small") -> Path:
    """The folder of a sample: ratings.parquet, movies.parquet, tags.parquet, LICENCE.txt. Raises SourceError for another name."""
    if name not in SAMPLES:
        raise SourceError(
            f"There is no sample {name!r}. There is: {', '.join(SAMPLES)}. For other data name its files."
        )
    return _HERE / name


def sample_items(name: str = "ml-latest-small") -> Sql:
    """The item table of a sample: title, genres and the tags that people gave, each with "|" between the parts."""
    folder = sample_path(name)
    tags = (
        "SELECT movieId, string_agg(DISTINCT lower(trim(tag)), '|' ORDER BY lower(trim(tag))) AS tags "
        f"FROM read_parquet({text(folder / 'tags.parquet')}) GROUP BY movieId"
    )
    return Sql(
        "SELECT m.movieId, m.title, m.genres, t.tags "
        f"FROM read_parquet({text(folder / 'movies.parquet')}) AS m LEFT JOIN ({tags}) AS t USING "
        "(movieId) ORDER BY m.movieId"
    )


def load_sample(name: str = "ml-latest-small", *, positive_from: float | None = None, run: Run = Run()) -> Dataset:
    """A sample as a Dataset: 610 users, 9,742 films with titles, genres and tags, 100,836 ratings. Takes half a second."""
    return ingest(
        sample_path(name) / "ratings.parquet", items=sample_items(name), positive_from=positive_from, run=run
    ).data


def find_data(name: str) -> Path:
    """The folder or file ``name`` in $LEANREC_DATA, then in the user's cache folder, then among the samples.

    Raises SourceError with the places that were looked at.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leanrec"
    places = [Path(os.environ["LEANREC_DATA"])] if os.environ.get("LEANREC_DATA") else []
    for place in (*places, cache, _HERE):
        if (place / name).exists():
            return place / name
    looked = ", ".join(str(place) for place in (*places, cache))
    raise SourceError(
        f"There is no data set {name!r} in {looked}. Put it there, or set LEANREC_DATA to the folder that holds it."
    )
