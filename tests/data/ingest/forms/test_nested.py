"""Nested columns of a log become one row for each event."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

import leanrec
from leanrec.data.engine import open_engine
from leanrec.data.ingest.forms.nested import flatten_structs, is_nested, name_singular, unnest_events
from leanrec.data.ingest.schema import read_schema
from leanrec.data.ingest.sources import open_parts
from leanrec.errors import ColumnError
from leanrec.run import Run

NAMES = {"user": ("user", "session"), "item": ("item", "itemid", "productid"), "time": ("ts",), "rating": ("rating",)}


def write_lines(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def unnested(path: Path, given: dict[str, str] | None = None) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    with open_engine(Run()) as engine:
        part = unnest_events(engine, open_parts(engine, path)[0], given or {}, NAMES)
        return part.names, engine.fetch_rows(f"SELECT * FROM {part.scan}")


def test_a_list_of_structs_is_one_event_for_each_struct(tmp_path: Path) -> None:
    rows = [
        {"session": 7, "events": [{"aid": 3, "ts": 1661200010000, "type": "clicks"}, {"aid": 4, "ts": 1661200020000, "type": "orders"}]},
        {"session": 8, "events": [{"aid": 3, "ts": 1661200030000, "type": "carts"}]},
        {"session": 9, "events": []},
    ]  # fmt: skip
    data, report = leanrec.ingest(write_lines(tmp_path / "sessions.jsonl", rows))
    assert (report.rows_read, data.users.ids.tolist(), data.items.ids.tolist()) == (3, [7, 8], [3, 4])
    assert {name: facts["events"] for name, facts in report.event_types.items()} == {
        "clicks": 1,
        "orders": 1,
        "carts": 1,
    }
    assert data.events.time.tolist() == [1661200010, 1661200020, 1661200030]
    assert any("each element of the lists in the column 'events'" in note for note in report.warnings)


def test_a_wrapper_object_is_unwrapped(tmp_path: Path) -> None:
    rows = [{"count": 2, "data": [{"user": "u1", "item": "i1"}, {"user": "u2", "item": "i1"}]}]
    data, _ = leanrec.ingest(write_lines(tmp_path / "wrapped.json", rows))
    assert (data.users.ids.tolist(), data.items.ids.tolist(), len(data.events)) == (["u1", "u2"], ["i1"], 2)


def test_a_path_names_a_field_inside_structs_and_lists(tmp_path: Path) -> None:
    flat = [{"who": {"id": i}, "properties": {"product_id": f"p{i}", "price": 2.5}} for i in range(3)]
    columns = {"user": "who.id", "item": "properties.product_id"}
    data, _ = leanrec.ingest(write_lines(tmp_path / "flat.jsonl", flat), columns=columns)
    assert (data.users.ids.tolist(), data.items.ids.tolist()) == ([0, 1, 2], ["p0", "p1", "p2"])
    lists = [{"who": 1, "baskets": [{"lines": [{"code": "a"}, {"code": "b"}]}, {"lines": [{"code": "a"}]}]}]
    columns = {"user": "who", "item": "baskets.lines.code"}
    data, _ = leanrec.ingest(write_lines(tmp_path / "deep.jsonl", lists), columns=columns)
    assert (len(data.events), data.items.ids.tolist()) == (3, ["a", "b"])


def test_lists_of_equal_length_are_read_together(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"user": [1, 2], "items": [[5, 6, 7], [6]], "ts": [[10, 20, 30], [40]], "tags": [["x"], ["y", "z"]]}
    )
    frame.to_parquet(tmp_path / "lists.parquet")
    names, rows = unnested(tmp_path / "lists.parquet")
    assert names == ("user", "item", "ts", "tags")
    assert [row[:3] for row in rows] == [(1, 5, 10), (1, 6, 20), (1, 7, 30), (2, 6, 40)]


def test_pairs_in_lists_have_numbered_columns(tmp_path: Path) -> None:
    rows = [{"user": i, "history": [["a", 1600000000 + i], ["b", 1600000010 + i]]} for i in range(2)]
    path = write_lines(tmp_path / "pairs.jsonl", rows)
    with pytest.raises(ColumnError, match="COLUMN is one of '1', '2'"):
        leanrec.ingest(path)
    for first, second in (("1", "2"), ("history.1", "history.2")):
        data, _ = leanrec.ingest(path, columns={"item": first, "time": second})
        assert (data.items.ids.tolist(), data.events.time.tolist()) == (
            ["a", "b"], [1600000000, 1600000010, 1600000001, 1600000011]
        )  # fmt: skip


def test_lists_of_different_lists_are_all_events(tmp_path: Path) -> None:
    rows = [{"user": i, "sessions": [["a", "b", "c"], ["b"]]} for i in range(2)]
    data, _ = leanrec.ingest(write_lines(tmp_path / "sessions.jsonl", rows))
    assert (data.users.ids.tolist(), data.items.ids.tolist(), len(data.events)) == ([0, 1], ["a", "b", "c"], 8)


def test_a_map_from_items_to_ratings_is_a_list_of_both() -> None:
    table = pa.table(
        {"user": [1, 2], "scores": pa.array([[("a", 5), ("b", 3)], [("a", 4)]], pa.map_(pa.string(), pa.int64()))}
    )
    data, _ = leanrec.ingest(table)
    assert data.events.rating is not None
    assert (data.items.ids.tolist(), data.events.rating.tolist()) == (["a", "b"], [5, 3, 4])


def test_an_object_of_items_and_ratings_is_read_as_wide(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "objects.jsonl", [{"user": 1, "ratings": {"a": 5, "b": 3}}, {"user": 2, "ratings": {"a": 4}}]
    )
    data, _ = leanrec.ingest(path, layout="wide")
    assert data.events.rating is not None
    assert (data.items.ids.tolist(), sorted(data.events.rating.tolist())) == (["a", "b"], [3, 4, 5])


def test_a_named_list_brings_the_lists_of_equal_length() -> None:
    frame = pd.DataFrame(
        {
            "user_id": [1, 2],
            "read_time_fixed": [[0.5, 3.0], [2.0]],
            "article_id_fixed": [[11, 12], [12]],
            "impression_time_fixed": [[1600000000, 1600000001], [1600000002]],
        }
    )
    with pytest.raises(ColumnError, match="PATH is one of .*'article_id_fixed'"):
        leanrec.ingest(frame)
    columns = {"item": "article_id_fixed", "time": "impression_time_fixed"}
    data, _ = leanrec.ingest(frame, columns=columns)
    assert (data.items.ids.tolist(), data.events.time.tolist()) == ([11, 12], [1600000000, 1600000001, 1600000002])


def test_the_id_in_a_list_of_items_is_the_item_and_the_outer_id_stays(tmp_path: Path) -> None:
    rows = [{"id": 100, "user": 1, "ts": 5, "products": [{"id": "a", "qty": 2}, {"id": "b", "qty": 1}]}]
    assert unnested(write_lines(tmp_path / "orders.jsonl", rows)) == (
        ("id", "user", "ts", "product.id", "qty"),
        [(100, 1, 5, "a", 2), (100, 1, 5, "b", 1)],
    )


def test_the_time_of_an_event_wins_over_the_time_of_its_session(tmp_path: Path) -> None:
    rows = [{"user": 1, "ts": 5, "events": [{"item": "a", "ts": 6}]}]
    assert unnested(write_lines(tmp_path / "log.jsonl", rows))[0] == ("user", "outer.ts", "item", "ts")


def test_a_flat_log_keeps_its_lists_as_content(tmp_path: Path) -> None:
    rows = [{"user": i, "item": i, "genres": ["a", "b"], "cast": [{"name": "x"}]} for i in range(2)]
    data, report = leanrec.ingest(write_lines(tmp_path / "log.jsonl", rows))
    assert (len(data.events), report.item_columns) == (2, ("genres",))
    assert data.item_table is not None
    assert data.item_table.columns["genres"].tolist() == ["a|b", "a|b"]


def test_a_nested_column_is_never_offered_as_an_id(tmp_path: Path) -> None:
    rows = [{"user": 1, "item": 2, "tags": ["a"]}]
    path = write_lines(tmp_path / "log.jsonl", rows)
    with open_engine(Run()) as engine, pytest.raises(ColumnError, match="'nobody'.*'item'") as error:
        read_schema(engine, path, {"user": "nobody"})
    assert "tags" not in str(error.value)
    path = write_lines(tmp_path / "two.jsonl", [{"user": 1, "seen": ["a"], "kept": ["b", "c"]}])
    with pytest.raises(ColumnError, match="PATH is one of 'seen', 'kept'"):
        leanrec.ingest(path)
    assert len(leanrec.ingest(path, columns={"item": "kept"}).data.events) == 2


def test_structs_become_columns_and_parquet_keeps_its_row_numbers(tmp_path: Path) -> None:
    pd.DataFrame({"a": [{"b": {"c": 1}, "d": "x"}]}).to_parquet(tmp_path / "log.parquet")
    with open_engine(Run()) as engine:
        part = flatten_structs(open_parts(engine, tmp_path / "log.parquet")[0])
        assert engine.fetch_rows(f'SELECT "a.b.c", "a.d", file_row_number FROM {part.scan}') == [(1, "x", 0)]
    assert (part.names, part.form) == (("a.b.c", "a.d"), "parquet")


@pytest.mark.parametrize(
    ("plural", "singular"),
    [
        ("items", "item"),
        ("movie_ids", "movie_id"),
        ("item_id_list", "item_id"),
        ("movies", "movie"),
        ("news", "news"),
        ("class", "class"),
    ],
)
def test_names_of_lists_have_a_singular(plural: str, singular: str) -> None:
    assert name_singular(plural) == singular


def test_nested_types_are_recognized() -> None:
    types = ["BIGINT[]", "STRUCT(a BIGINT)", "MAP(VARCHAR, BIGINT)", "BIGINT", "VARCHAR", "DECIMAL(9,2)"]
    assert [is_nested(each) for each in types] == [True, True, True, False, False, False]


@pytest.mark.parametrize(
    ("row", "ids"),
    [
        ({"userId": {"$oid": "a"}, "productId": {"$oid": "b"}, "rating": 4, "at": {"$date": "2023-05-11T22:06:08Z"}}, ("a", "b")),
        (
            {"user_id": {"$numberInt": "7"}, "item_id": {"$numberLong": "8"}, "rating": {"$numberDouble": "4.0"}, "ts": {"$date": {"$numberLong": "1683842768000"}}},
            (7, 8),
        ),
        ({"Item": {"user_id": {"S": "a"}, "item_id": {"S": "b"}, "rating": {"N": "4"}, "timestamp": {"N": "1683842768"}}}, ("a", "b")),
        ({"_index": "x", "_type": "_doc", "_score": 1, "_source": {"user_id": "a", "item_id": "b", "rating": 4, "ts": 1683842768}}, ("a", "b")),
    ],
    ids=["mongo", "mongo canonical", "dynamo", "elastic"],
)  # fmt: skip
def test_objects_around_values_are_taken_off(
    row: dict[str, object], ids: tuple[object, object], tmp_path: Path
) -> None:
    data, _ = leanrec.ingest(write_lines(tmp_path / "log.jsonl", [row]))
    assert (data.users.ids[0], data.items.ids[0], data.events.time.tolist()) == (*ids, [1683842768])
    assert data.events.rating is not None
    assert data.events.rating.tolist() == [4.0]


def test_a_list_of_typed_values(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"user": {"$oid": "a"}, "items": [{"$oid": "b"}, {"$oid": "c"}]}]
    data, _ = leanrec.ingest(write_lines(tmp_path / "log.jsonl", rows))
    assert data.items.ids.tolist() == ["b", "c"]


def test_the_score_of_a_search_is_no_rating(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"_index": "x", "_score": 1.0, "_source": {"user_id": "a", "item_id": "b"}}]
    data, _ = leanrec.ingest(write_lines(tmp_path / "log.jsonl", rows))
    assert data.events.rating is None


def test_views_have_a_plain_item_and_orders_a_list(tmp_path: Path) -> None:
    view: dict[str, object] = {
        "event": "Product Viewed",
        "userId": "a",
        "properties": {"product_id": "p1", "name": "Cup"},
    }
    lines = [{"product_id": "p2", "name": "Pan"}, {"product_id": "p3", "name": "Pot"}]
    order: dict[str, object] = {
        "event": "Order Completed",
        "userId": "a",
        "properties": {"order_id": "o", "products": lines},
    }
    data, _ = leanrec.ingest(write_lines(tmp_path / "log.jsonl", [view, order, {**view, "userId": "b"}]))
    events = data.events
    found = [(data.items.ids[i], events.event_types[t]) for i, t in zip(events.item, events.event_type, strict=True)]
    assert sorted(found) == [
        ("p1", "Product Viewed"),
        ("p1", "Product Viewed"),
        ("p2", "Order Completed"),
        ("p3", "Order Completed"),
    ]


def test_clicked_lists_are_the_items_of_an_impression(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"user_id": 1, "article_id": 5, "article_ids_inview": [7, 8], "article_ids_clicked": [8]}
    ]
    data, _ = leanrec.ingest(write_lines(tmp_path / "log.jsonl", rows))
    assert (data.users.ids.tolist(), data.items.ids.tolist()) == ([1], [8])


def test_items_beside_lists_of_numbers_are_the_items(tmp_path: Path) -> None:
    path = tmp_path / "places.json"
    features = [
        {"properties": {"user": f"u{k % 2}", "item": f"i{k}"}, "geometry": {"coordinates": [k, 2.5]}} for k in range(4)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert sorted(leanrec.ingest(path).data.items.ids.tolist()) == ["i0", "i1", "i2", "i3"]


@pytest.mark.parametrize(
    "document",
    [
        lambda events: {
            "took": 3,
            "hits": {
                "total": {"value": 3},
                "max_score": 1.0,
                "hits": [{"_id": "a", "_source": each} for each in events],
            },
        },
        lambda events: {"meta": {"total": 3, "score": 5}, "data": events},
        lambda events: {"data": events, "paging": {"limit": 100, "total": {"count": 3}}},
        lambda events: {"summary": {"rating": 4.2, "weight": 7}, "events": events},
        lambda events: {"version": 2, "value": 17, "events": events},
    ],
)
def test_numbers_beside_a_list_with_users_and_items_are_no_ratings(
    tmp_path: Path, document: Callable[[list[dict[str, int]]], object]
) -> None:
    path = tmp_path / "log.json"
    path.write_text(json.dumps(document([{"user": 1, "item": 2}, {"user": 1, "item": 3}, {"user": 2, "item": 2}])))
    data, report = leanrec.ingest(path)
    assert data.events.weight.tolist() == [1, 1, 1]
    assert data.events.rating is None
    assert any("stand beside the list of events and were not used" in each for each in report.warnings)


@pytest.mark.parametrize(
    "document",
    [
        lambda events: {"exported_at": "2024-05-01T10:00:00Z", "events": events},
        lambda events: {"meta": {"timestamp": 1714557600}, "data": events},
        lambda events: {"date": "2024-05-01", "result": {"rows": events}},
    ],
)
def test_a_time_beside_a_list_with_users_and_items_is_that_of_the_document(
    tmp_path: Path, document: Callable[[list[dict[str, int]]], object]
) -> None:
    path = tmp_path / "log.json"
    path.write_text(json.dumps(document([{"user": 1, "item": 2}, {"user": 1, "item": 3}, {"user": 2, "item": 2}])))
    data, report = leanrec.ingest(path)
    assert data.events.time.max() < 1_000_000
    assert any("stand beside the list of events and were not used" in each for each in report.warnings)
    named = next(name for name in ("exported_at", "meta.timestamp", "date") if name.split(".")[-1] in path.read_text())
    assert (leanrec.ingest(path, columns={"time": named})[0].events.time > 1_000_000_000).all()


def test_a_number_beside_the_list_of_one_user_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text(
        json.dumps({"user": 7, "rating": 4, "timestamp": 1_700_000_000, "events": [{"item": 2}, {"item": 3}]})
    )
    data = leanrec.ingest(path).data
    assert data.events.rating is not None
    assert data.events.rating.tolist() == [4, 4]
    outer = {"score": 5, "events": [{"user": 1, "item": 2}]}
    path.write_text(json.dumps(outer))
    named = leanrec.ingest(path, columns={"rating": "score"}).data
    assert named.events.rating is not None
    assert named.events.rating.tolist() == [5]


def test_the_count_of_a_list_is_no_weight(tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    rows = [{"user": f"u{k % 2}", "item": f"i{k}", "rating": 3} for k in range(4)]
    path.write_text(json.dumps({"data": rows, "count": 40}))
    assert set(leanrec.ingest(path).data.events.weight.tolist()) == {1}
    path.write_text("".join(json.dumps({"user": f"u{k}", "count": 7, "items": ["a", "b"]}) + "\n" for k in range(3)))
    assert set(leanrec.ingest(path).data.events.weight.tolist()) == {7}


@pytest.mark.parametrize("properties", [[{}], [{f"key{j}": 1.5 for j in range(k, k + 3)} for k in range(60)]])
def test_properties_of_an_event_are_no_items(tmp_path: Path, properties: list[dict[str, float]]) -> None:
    rows = [
        {
            "account": f"u{k % 4}",
            "thing": f"i{k % 5}",
            "time": 1709287200 + k,
            "properties": properties[k % len(properties)],
        }
        for k in range(60)
    ]
    log = write_lines(tmp_path / "events.jsonl", rows)
    with pytest.raises(ColumnError, match="no item column"):
        leanrec.ingest(log)
    data, report = leanrec.ingest(log, columns={"item": "thing"})
    assert (report.rows_read, len(data.users), len(data.items)) == (60, 4, 5)


def test_empty_lists_are_no_items(tmp_path: Path) -> None:
    rows = [{"entityId": f"u{k % 3}", "targetEntityId": f"i{k % 4}", "tags": []} for k in range(12)]
    data, report = leanrec.ingest(write_lines(tmp_path / "events.jsonl", rows))
    assert (report.rows_read, len(data.users), len(data.items)) == (12, 3, 4)
