"""Sources: files, folders, frames and queries become tables."""

import dataclasses
import re
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


def test_a_folder_may_have_tables_beside_the_log(tmp_path: Path) -> None:
    (tmp_path / "movies.csv").write_text("movieId,title\nx,Heat\ny,Jaws\n")
    (tmp_path / "tags.csv").write_text("userId,movieId,tag\na,x,tense\n")
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating\na,x,4\nb,y,5\n")
    (tmp_path / "users.jsonl").write_text('{"userId": "a", "age": 30}\n')
    data, report = ingest(tmp_path, items=tmp_path)
    assert data.events.rating is not None
    assert data.events.rating.tolist() == [4, 5]
    assert data.item_table is not None
    assert data.item_table.columns["title"].tolist() == ["Heat", "Jaws"]
    left_out = f"{tmp_path}: ratings.csv was read, and not movies.csv, tags.csv, users.jsonl. Another one is named by its path, such as"
    assert any(each.startswith(left_out) for each in report.warnings)


def test_files_of_the_same_roles_are_parts_and_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "berlin.csv").write_text("user,item,time\na,x,1600000000\n")
    (tmp_path / "oslo.csv").write_text("user_id,item_id,ts,note\nb,y,1600000001,hi\n")
    assert ingest(tmp_path).data.shape.users == 2
    (tmp_path / "rome.csv").write_text("user,item,time,rating\nc,z,1600000001,3\n")
    with pytest.raises(
        SourceError, match="has several tables: berlin.csv, oslo.csv, rome.csv. Pass the path of the one"
    ) as refusal:
        ingest(tmp_path)
    path = re.findall(r"such as '([^']+)'", str(refusal.value))[0]
    assert ingest(path).data.shape.users == 1
    assert ingest(sorted(tmp_path.iterdir())).data.shape.users == 3


def test_files_of_one_table_may_have_other_columns(tmp_path: Path) -> None:
    (tmp_path / "log-2023.csv").write_text("user,item\na,x\n")
    (tmp_path / "log-2024.csv").write_text("user,item,rating\nb,y,4\n")
    assert ingest(tmp_path).data.shape.users == 2


def test_fields_of_delimited_text_are_told_from_computed_columns(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item\n1,2\n3,4\n")
    with open_engine(Run()) as engine:
        [part] = open_parts(engine, path)
        assert part.file is not None
        assert [part.is_field(name) for name in ("user", "item", "day")] == [True, True, False]
        file = dataclasses.replace(part.file, computed={"item": "'x'"})
        computed = dataclasses.replace(part, file=file, scan=file.scan())
        assert [computed.is_field(name) for name in ("user", "item")] == [True, False]
        assert not dataclasses.replace(part, scan=f"(SELECT * FROM {part.scan})").is_field("user")
