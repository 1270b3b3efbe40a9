"""Headers with types, as RecBole writes them, and lines of types, units and meanings below the names."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import leanrec
from leanrec.data.engine import open_engine
from leanrec.data.ingest.forms.typed_header import count_below_names, strip_types
from leanrec.data.ingest.sources import open_parts
from leanrec.run import Run


def test_atomic_files_are_read_with_their_tables_and_links(tmp_path: Path) -> None:
    rows = "".join(f"{i % 3}\t{i % 4}\t{i % 5 + 1}\t{881250949 + i}\n" for i in range(12))
    (tmp_path / "x.inter").write_text(f"user_id:token\titem_id:token\trating:float\ttimestamp:float\n{rows}")
    (tmp_path / "x.item").write_text("item_id:token\tgenre:token_seq\tyear:float\n0\tA B\t1999\n1\tA\t2001\n")
    (tmp_path / "x.user").write_text("user_id:token\tage:float\n0\t30\n1\t40\n2\t50\n")
    (tmp_path / "x.kg").write_text(
        "head_id:token\trelation_id:token\ttail_id:token\n0\tfilm.actor\tm.1\n1\tfilm.actor\tm.1\n"
    )
    data, report = leanrec.ingest(
        tmp_path / "x.inter", items=tmp_path / "x.item", users=tmp_path / "x.user", item_links=tmp_path / "x.kg"
    )
    assert report.columns[str(tmp_path / "x.inter")] == {
        "user": "user_id", "item": "item_id", "time": "timestamp", "rating": "rating"
    }  # fmt: skip
    assert data.events.rating is not None
    assert sorted(set(data.events.rating.tolist())) == [1, 2, 3, 4, 5]
    assert data.item_links is not None
    assert (len(data.item_links), data.item_links.relations.tolist()) == (2, ["film.actor"])
    assert data.item_table is not None
    assert data.item_table.columns["genre"].tolist() == ["A B", "A", "", ""]
    assert data.user_table is not None
    assert data.user_table.columns["age"].tolist() == [30, 40, 50]


def test_sequences_of_tokens_are_events_in_order(tmp_path: Path) -> None:
    (tmp_path / "s.inter").write_text("session_id:token\titem_id_list:token_seq\n1\ta b c\n2\tb d\n")
    data, _ = leanrec.ingest(tmp_path / "s.inter")
    assert (len(data.events), data.items.ids.tolist()) == (5, ["a", "b", "c", "d"])


def test_other_names_with_colons_stay(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user:id,item:id\n1,2\n")
    with open_engine(Run()) as engine:
        part = open_parts(engine, tmp_path / "log.csv")[0]
        assert strip_types(part) is part
        assert part.names == ("user:id", "item:id")


PAIRS = [["u1", "i1"], ["u2", "i7"], ["u1", "i9"], ["u3", "i1"]]


@pytest.mark.parametrize(
    "cells",
    [
        ["str", "str"], ["int", "int"], ["object", "object"], ["VARCHAR", "BIGINT"], ["varchar(20)", "char(5) not null"],
        ["StringType()", "LongType()"], ["<chr>", "<chr>"], ["Int64", "datetime64[ns]"], ["Nullable(String)", "uuid"],
        ["user id", "item id"], ["The id of the user", "Which item?"], ["(text)", "(text)"], ["-", "unix s"],
        ["Benutzer", "Artikel"], ["-------", "-------"], ["===", "==="],
    ],
)  # fmt: skip
def test_types_units_and_meanings_are_told_from_ids(cells: list[str]) -> None:
    assert count_below_names(["user_id", "item_id"], [cells, *PAIRS]) == 1


@pytest.mark.parametrize("cells", [["str", "str"], ["user id", "item id"]])
def test_a_line_of_types_or_meanings_is_no_event(tmp_path: Path, cells: list[str]) -> None:
    path = tmp_path / "log.csv"
    path.write_text("\n".join(map(",".join, [["user_id", "item_id"], cells, *PAIRS])))
    data, report = leanrec.ingest(path)
    assert (len(data.events), data.users.ids.tolist()) == (4, ["u1", "u2", "u3"])
    assert report.rows_read == 4
    assert any(", ".join(cells) in note for note in report.warnings)


@pytest.mark.parametrize(
    "cells",
    [["u9", "i9"], ["admin", "home"], ["user_17", "item_3"], ["int", "i4"], ["string", "7"], ["1", "2"], ["-", "-"]],
)
def test_a_first_row_that_is_unlike_the_others_is_an_event(cells: list[str]) -> None:
    assert count_below_names(["user_id", "item_id"], [cells, *PAIRS]) == 0


def test_ids_that_are_words_for_types_are_ids() -> None:
    tags = [["int", "float"], ["string", "int"], ["float", "list"], ["int", "string"]]
    assert count_below_names(["tag", "other_tag"], tags) == 0
    seen = [["user", "item"], ["user", "film"], ["item user", "user"]]
    assert count_below_names(["user", "item"], [["text", "date"], *seen]) == 1


def test_types_and_roles_of_orange_are_two_lines_below_the_names(tmp_path: Path) -> None:
    path = tmp_path / "log.tab"
    path.write_text("user\titem\trating\ndiscrete\tdiscrete\tcontinuous\nmeta\tmeta\tclass\n1\t2\t3\n2\t2\t5\n")
    data, report = leanrec.ingest(path)
    assert (report.rows_read, len(data.events)) == (2, 2)
    assert data.events.rating is not None
    assert sorted(data.events.rating.tolist()) == [3, 5]


def test_files_one_after_another_repeat_names_and_types(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,rating\nint,int,float\n1,2,3\n2,2,5\n" * 3)
    _, report = leanrec.ingest(path)
    assert (report.rows_read, report.rejected) == (10, {"repeated line of names": 4, "duplicate": 4})
    path.write_text("user_id,item_id\na,x\nUSER_ID,ITEM_ID\nb,x\nuserid,itemid\nuserid,y\n")
    data, report = leanrec.ingest(path)
    assert (report.rejected, data.users.ids.tolist()) == ({"repeated line of names": 2}, ["a", "b", "userid"])
    frame = pd.DataFrame({"user": ["a", "user", "b"], "item": ["x", "item", "y"]})
    assert leanrec.ingest(frame).report.rejected == {"repeated line of names": 1}


def test_given_names_replace_a_line_of_types(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("str,str,bigint\nu1,i1,1600000000\nu2,i2,1600000001\n")
    data, report = leanrec.ingest(path, names="user,item,time")
    assert (report.rows_read, data.users.ids.tolist()) == (2, ["u1", "u2"])


ROWS = [
    ("int", "string", "float", "s"),
    *((str(u), f"i{u % 3}", str(u % 5 + 1), str(1_600_000_000 + u)) for u in range(6)),
]


@pytest.mark.parametrize("form", ["frame", "parquet", "jsonl", "query", "twice"])
def test_rows_of_types_are_no_events_in_tables_that_are_no_text(tmp_path: Path, form: str) -> None:
    frame = pd.DataFrame(ROWS * (2 if form == "twice" else 1), columns=["user", "item", "rating", "time"])
    path = tmp_path / "log.parquet"
    frame.to_parquet(path)
    frame.to_json(tmp_path / "log.jsonl", orient="records", lines=True)
    source = {"frame": frame, "jsonl": tmp_path / "log.jsonl", "query": f"sql:SELECT * FROM '{path}'"}.get(form, path)
    data, report = leanrec.ingest(
        source, items=pd.DataFrame([("string", "string"), ("i0", "A"), ("i1", "B")], columns=["item", "title"])
    )
    assert (len(data.events), data.users.ids.tolist()) == (6, list("012345"))
    assert data.items.ids.tolist() == ["i0", "i1", "i2"]
    assert data.events.rating is not None
    assert sorted(data.events.rating.tolist()) == [1, 1, 2, 3, 4, 5]
    assert (int(data.events.time.min()), report.rejected) == (
        1_600_000_000,
        {"duplicate": 6} if form == "twice" else {},
    )
    assert any("a row tells about the columns: int, string, float, s." in note for note in report.warnings)


def test_a_frame_of_text_without_such_a_row_is_read_whole() -> None:
    frame = pd.DataFrame(PAIRS, columns=["user", "item"])
    assert leanrec.ingest(frame).report.rows_read == len(PAIRS)


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (["user_id:token", "item_id:token", "rating:float"], ["user_id", "item_id", "rating"]),
        ([("user_id", "int"), ("item_id", "int"), ("rating", "stars")], ["user_id", "item_id", "rating"]),
        (
            [("customer", "id"), ("product", "id"), ("rating", "Unnamed: 2_level_1")],
            ["customer id", "product id", "rating"],
        ),
    ],
)
def test_names_of_a_frame_may_have_types_or_two_levels(tmp_path: Path, names: list[Any], columns: list[str]) -> None:
    frame = pd.DataFrame([(1, 2, 3.0), (1, 4, 5.0), (2, 2, 4.0)])
    frame.columns = pd.MultiIndex.from_tuples(names) if isinstance(names[0], tuple) else pd.Index(names)
    path = tmp_path / "log.parquet"
    frame.set_axis([str(name) for name in names], axis=1).to_parquet(path)
    for source in (frame, path):
        data, report = leanrec.ingest(source)
        assert list(next(iter(report.columns.values())).values()) == columns
        assert (data.users.ids.tolist(), data.items.ids.tolist()) == ([1, 2], [2, 4])
        assert data.events.rating is not None
        assert sorted(data.events.rating.tolist()) == [3, 4, 5]
