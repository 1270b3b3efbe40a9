"""Sources: files, folders, frames and queries become tables."""

from pathlib import Path

import duckdb
import pandas as pd
import pytest

from leanrec.data.engine import open_engine
from leanrec.data.ingest.ingest import ingest
from leanrec.data.ingest.sources import SqlQuery, describe_source, open_parts
from leanrec.errors import SourceError
from leanrec.run import Run


def test_content_decides_the_format_before_the_name(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text('{"user": 1, "item": 2}\n')
    pd.DataFrame({"user": [1], "item": [2]}).to_parquet(tmp_path / "log.txt")
    with open_engine(Run()) as engine:
        parts = open_parts(engine, [tmp_path / "log.csv", tmp_path / "log.txt"])
    assert [part.form for part in parts] == ["json", "parquet"]
    assert [part.names for part in parts] == [("user", "item")] * 2


def test_a_mapping_gives_each_file_an_event_type(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("user,item\n1,2\n")
    with open_engine(Run()) as engine:
        parts = open_parts(engine, {"view": tmp_path / "v.csv", "buy": pd.DataFrame({"user": [1], "item": [3]})})
    assert [(part.event_type, part.form) for part in parts] == [("view", "csv"), ("buy", "frame")]


def test_sources_have_short_descriptions() -> None:
    assert describe_source(SqlQuery("SELECT 1")) == "sql:SELECT 1"
    assert describe_source({"view": "a.csv", "buy": "b.csv"}) == "view=a.csv, buy=b.csv"


def test_a_missing_file_is_reported_with_its_neighbors(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,item\n")
    with open_engine(Run()) as engine, pytest.raises(SourceError, match=r"does not exist.*there is: log\.csv"):
        open_parts(engine, tmp_path / "lgo.csv")


@pytest.mark.parametrize(
    "query", ["SELECT 1 AS user, 2 AS item; DROP TABLE x", "DELETE FROM x", "COPY x TO 'y'", "", "-- no"]
)
def test_a_query_is_one_select(tmp_path: Path, query: str) -> None:
    database = tmp_path / "events.duckdb"
    with duckdb.connect(str(database)) as connection:
        connection.execute("CREATE TABLE x AS SELECT 1 AS user, 2 AS item")
    with pytest.raises(SourceError, match="must be one SELECT"):
        ingest(SqlQuery(query, database))
    assert len(ingest(SqlQuery("FROM x; -- all of it", database)).data.events) == 1


def test_arrays_without_names_take_the_given_ones(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text('[["u1", "i1", 5, "x"], ["u2", "i2", 4, "y"]]')
    for options in ({"names": "user,item,rating"}, {"columns": {"user": "1", "item": "2", "rating": "3"}}):
        data = ingest(path, **options).data
        assert (data.users.ids.tolist(), data.items.ids.tolist()) == (["u1", "u2"], ["i1", "i2"])
        assert data.events.rating is not None
        assert data.events.rating.tolist() == [5, 4]
