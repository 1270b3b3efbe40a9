"""Bundled sample data, and local data sets by name.

MovieLens ml-latest-small (F. M. Harper and J. A. Konstan, "The MovieLens Datasets: History and Context", 2015) is part of
the package under its own terms, in LICENCE.txt beside it: research, non-commercial, citation.
"""

import os
from pathlib import Path

from leanrec.data.dataset import Dataset
from leanrec.data.engine import quote_literal
from leanrec.data.ingest.ingest import ingest
from leanrec.data.ingest.sources import SqlQuery
from leanrec.errors import SourceError
from leanrec.run import Run

__all__ = ["SAMPLES", "find_data", "load_sample", "sample_items", "sample_path"]

_HERE = Path(__file__).parent / "files"

SAMPLES = ("ml-latest-small",)
"""Names of the samples."""


def sample_path(name: str = "ml-latest-small") -> Path:
    """Return the folder of a sample: ratings.parquet, movies.parquet, tags.parquet, LICENCE.txt. Raises SourceError for another name."""
    if name not in SAMPLES:
        raise SourceError(
            f"The sample must be one of {', '.join(SAMPLES)}. Got {name!r}; for other data pass its files to ingest."
        )
    return _HERE / name


def sample_items(name: str = "ml-latest-small") -> SqlQuery:
    """Return the item table of a sample: title, genres and user tags, with "|" between several values."""
    folder = sample_path(name)
    tags = (
        "SELECT movieId, string_agg(DISTINCT lower(trim(tag)), '|' ORDER BY lower(trim(tag))) AS tags "
        f"FROM read_parquet({quote_literal(folder / 'tags.parquet')}) GROUP BY movieId"
    )
    return SqlQuery(
        "SELECT m.movieId, m.title, m.genres, t.tags "
        f"FROM read_parquet({quote_literal(folder / 'movies.parquet')}) AS m LEFT JOIN ({tags}) AS t USING "
        "(movieId) ORDER BY m.movieId"
    )


def load_sample(name: str = "ml-latest-small", *, positive_from: float | None = None, run: Run = Run()) -> Dataset:
    """Load a sample as a Dataset: 610 users, 9,742 movies with titles, genres and tags, 100,836 ratings. Takes half a second."""
    return ingest(
        sample_path(name) / "ratings.parquet", items=sample_items(name), positive_from=positive_from, run=run
    ).data


def find_data(name: str) -> Path:
    """Find the folder or file ``name`` in $LEANREC_DATA, then in the cache folder of the user, then among the samples.

    Raises SourceError with the folders that were searched.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leanrec"
    folders = [Path(os.environ["LEANREC_DATA"])] if os.environ.get("LEANREC_DATA") else []
    for folder in (*folders, cache, _HERE):
        if (folder / name).exists():
            return folder / name
    searched = ", ".join(str(folder) for folder in (*folders, cache))
    raise SourceError(
        f"There is no data set {name!r} in {searched}. Put it there, or set LEANREC_DATA to the folder that contains it."
    )
