"""Values in the types of other systems become plain text, numbers and times."""

import dataclasses
import datetime
import json
import uuid
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import leanrec
from leanrec.data.engine import open_engine
from leanrec.data.ingest.forms.values import convert_columns, holds_numbers, number_of_text
from leanrec.data.ingest.sources import open_parts
from leanrec.errors import ColumnError
from leanrec.run import Run


def test_bytes_are_text_where_they_are_utf8_and_digits_where_not(tmp_path: Path) -> None:
    ids = [uuid.uuid5(uuid.NAMESPACE_URL, str(i)) for i in range(3)]
    table = pa.table(
        {
            "user": pa.array([each.bytes for each in ids], pa.binary()),
            "item": pa.array(["sku-é".encode(), b"sku-1", b"sku-1"], pa.binary()),
            "code": pa.array([b"\xff\x00", b"\x01", b"\x02"], pa.binary()),
        }
    )
    pq.write_table(table, tmp_path / "log.parquet")
    with open_engine(Run()) as engine:
        part = convert_columns(engine, open_parts(engine, tmp_path / "log.parquet")[0])
        rows = engine.fetch_rows(f'SELECT "user", item, code FROM {part.scan}')
    assert rows[0] == (str(ids[0]), "sku-é", "ff00")
    data, _ = leanrec.ingest(tmp_path / "log.parquet")
    assert sorted(data.users.ids.tolist()) == sorted(map(str, ids))
    assert sorted(data.items.ids.tolist()) == ["sku-1", "sku-é"]


def test_nanoseconds_with_a_zone_categories_and_decimals_are_read(tmp_path: Path) -> None:
    moments = pd.to_datetime(["2024-03-13 13:05:00.000000005", "2024-03-13 14:05:00.000000001"]).tz_localize(
        "Europe/Berlin"
    )
    table = pa.table(
        {
            "user": pa.array([Decimal(1), Decimal(2)], pa.decimal128(10, 0)),
            "item": pa.array(["a", "PRINT"]).dictionary_encode(),
            "rating": pa.array([Decimal("4.50"), Decimal("3.00")], pa.decimal128(5, 2)),
            "timestamp": pa.array(moments, pa.timestamp("ns", "Europe/Berlin")),
        }
    )
    pq.write_table(table, tmp_path / "log.parquet")
    for source in (tmp_path / "log.parquet", table, table.to_pandas()):
        data, report = leanrec.ingest(source)
        assert (data.users.ids.tolist(), data.items.ids.tolist()) == ([1, 2], ["PRINT", "a"])
        assert data.events.time[0] == datetime.datetime(2024, 3, 13, 12, 5, tzinfo=datetime.UTC).timestamp()
        assert data.events.rating is not None
        assert data.events.rating.tolist() == [4.5, 3]
        assert not report.rejected


@pytest.mark.parametrize(
    ("yes", "no"), [("1", "0"), ("True", "False"), ("yes", "no"), ("t", "f"), (True, False), ("ja", "nein")]
)
def test_a_label_of_no_is_no_liking(tmp_path: Path, yes: object, no: object) -> None:
    rows = [{"user": i % 3, "item": i, "click": yes if i % 5 == 0 else no} for i in range(20)]
    (tmp_path / "log.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    data, report = leanrec.ingest(tmp_path / "log.jsonl")
    assert (len(data.events), int((data.events.weight > 0).sum())) == (20, 4)
    assert set(report.event_types) == {"click", "impression"}
    pd.DataFrame(rows).to_csv(tmp_path / "log.csv", index=False)
    data, _ = leanrec.ingest(tmp_path / "log.csv")
    assert (len(data.events), int((data.events.weight > 0).sum())) == (20, 4)


def test_ratings_and_weights_written_as_text_are_numbers(tmp_path: Path) -> None:
    rows = [{"user": i % 3, "item": i, "rating": str(i % 5 + 1), "plays": f"{i}.5"} for i in range(10)]
    (tmp_path / "log.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    data, report = leanrec.ingest(tmp_path / "log.jsonl")
    assert data.events.rating is not None
    assert sorted(set(data.events.rating.tolist())) == [1, 2, 3, 4, 5]
    assert report.columns[str(tmp_path / "log.jsonl")]["weight"] == "plays"


def test_words_are_no_numbers(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,item,rating,other\n1,2,blue,5\n1,3,red,yes\n1,4,blue,4\n")
    with open_engine(Run()) as engine:
        part = open_parts(engine, tmp_path / "log.csv")[0]
        assert not holds_numbers(engine, part, "rating")
        assert holds_numbers(engine, dataclasses.replace(part, types=dict.fromkeys(part.types, "VARCHAR")), "other")
        texts = "(VALUES ('5'), (' Yes '), ('FALSE'), ('good'))"
        rows = engine.fetch_rows(f"SELECT {number_of_text('x', 'DOUBLE')} FROM {texts} AS t(x)")
        assert [row[0] for row in rows] == [5, 1, 0, None]
    with pytest.raises(ColumnError, match="must be a number"):
        leanrec.ingest(tmp_path / "log.csv", columns={"rating": "rating"})


@pytest.mark.parametrize("name", ["liked", "like"])
def test_a_column_of_likes_is_a_label(tmp_path: Path, name: str) -> None:
    rows = [{"user": i, "item": i, name: i % 2 == 0} for i in range(6)]
    (tmp_path / "log.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    data, report = leanrec.ingest(tmp_path / "log.jsonl")
    assert {name: facts["events"] for name, facts in report.event_types.items()} == {"like": 3, "impression": 3}
    assert int((data.events.weight > 0).sum()) == 3


def test_numbers_and_text_in_one_column_of_json_are_numbers(tmp_path: Path) -> None:
    ratings = ["N/A", "4.5", 4, 3, "2"]
    (tmp_path / "log.jsonl").write_text(
        "".join(f"{json.dumps({'user': i, 'item': i, 'rating': r})}\n" for i, r in enumerate(ratings))
    )
    data, report = leanrec.ingest(tmp_path / "log.jsonl")
    assert data.events.rating is not None
    assert data.events.rating.tolist() == [4.5, 4, 3, 2]
    assert report.rejected == {"rating is not a finite number": 1}


def test_values_inside_structs_and_lists_have_plain_types_too(tmp_path: Path) -> None:
    stamps = pa.array([1_600_000_000_000_000_000, 1_600_000_001_000_000_000], pa.timestamp("ns", tz="UTC"))
    inner = pa.StructArray.from_arrays([pa.array(["\xe4\u6771".encode(), b"b"], pa.binary()), stamps], ["item", "time"])
    users = pa.array([b"\xc3\xa4"], pa.binary())
    nested = {"user": users, "events": pa.ListArray.from_arrays(pa.array([0, 2], pa.int32()), inner)}
    flat = {"log": pa.StructArray.from_arrays([inner.field(0), *inner.flatten()], ["user", "item", "time"])}
    for i, table in enumerate((nested, flat)):
        pq.write_table(pa.table(table), tmp_path / f"{i}.parquet")
        data = leanrec.ingest(tmp_path / f"{i}.parquet").data
        assert data.items.ids.tolist() == ["b", "\xe4\u6771"]
        assert sorted(data.events.time.tolist()) == [1_600_000_000, 1_600_000_001]
