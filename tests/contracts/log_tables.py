"""Typed forms in which a known log is written: JSON in many shapes, Parquet, Arrow, ORC, Avro, Excel and frames."""

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import fastavro
import openpyxl
import polars as pl
import pyarrow as pa
import pyarrow.feather as pa_feather
import pyarrow.orc as pa_orc
import pyarrow.parquet as pa_parquet
from hypothesis import assume
from hypothesis import strategies as st

from contracts.known_logs import KnownLog
from contracts.log_forms import PACKINGS, TextTable, WrittenLog, list_answers, pack, text_tables

_DAY = 86_400_000_000
_Choices = list[tuple[str, Callable[[], pa.Array]]]


def _find_numbers(cells: Sequence[str | None]) -> list[int | None] | None:
    """Return the cells as whole numbers; None where one is another text."""
    present = [cell for cell in cells if cell is not None]
    if not present or not all(cell.lstrip("-").isdecimal() and str(int(cell)) == cell for cell in present):
        return None
    return [None if cell is None else int(cell) for cell in cells]


def _type_rows(table: TextTable, log: KnownLog, draw: st.DrawFn, *, limit: int = 2**63) -> list[dict[str, Any]]:
    """Return rows with numbers as numbers, or as text, where the form has types."""
    as_text = {role for role in log.roles if draw(st.integers(0, 3)) == 0}
    by_name = {name: role for role, name in table.roles.items()}
    columns: dict[str, list[Any]] = {}
    for name, cells in table.columns.items():
        role, numbers = by_name.get(name), _find_numbers(cells)
        columns[name] = list(cells)
        if role in {"user", "item"}:
            if numbers is not None and all(abs(each or 0) < limit for each in numbers) and draw(st.booleans()):
                columns[name] = numbers
        elif role not in as_text and (
            role in {"rating", "weight"} or (role == "time" and "seconds" in table.time_notation)
        ):
            columns[name] = numbers or [None if cell is None else float(cell) for cell in cells]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _nest_fields(row: Mapping[str, Any], table: TextTable) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        outer = "context" if name in {table.roles["user"], table.roles.get("time")} else "properties"
        found.setdefault(outer, {})[name] = value
    return found


def _group_rows(rows: Sequence[Mapping[str, Any]], user: str) -> dict[Any, list[dict[str, Any]]]:
    groups: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row[user], []).append({name: value for name, value in row.items() if name != user})
    return groups


@st.composite
def shaped_rows(draw: st.DrawFn, log: KnownLog, table: TextTable) -> tuple[str, list[Any], dict[str, Any]]:
    """Return a shape, the objects of a JSON file, and the answers to a refusal."""
    rows = _type_rows(table, log, draw, limit=2**80)
    if draw(st.booleans()):
        rows = [{name: value for name, value in row.items() if value is not None} for row in rows]
    shape, answers = draw(st.sampled_from(["flat", "flat", "nested", "by user", "parallel"])), list_answers(table)
    user = table.roles["user"]
    if shape == "nested":
        answers["columns"] = {
            role: f"{'context' if role in {'user', 'time'} else 'properties'}.{name}"
            for role, name in table.roles.items()
        }
        return shape, [_nest_fields(row, table) for row in rows], answers
    if shape == "flat":
        return shape, rows, answers
    assume(None not in log.values("user") and user != "session")
    groups = _group_rows(rows, user)
    if shape == "by user":
        key = draw(st.sampled_from(["events", "history", "interactions", "items"]))
        return shape, [{user: each, key: events} for each, events in groups.items()], answers
    others = [name for name in table.columns if name != user]
    listed = [
        {user: each} | {f"{name.removesuffix('s')}s": [event.get(name) for event in events] for name in others}
        for each, events in groups.items()
    ]
    return shape, listed, answers


@st.composite
def written_json(draw: st.DrawFn, log: KnownLog, folder: Path) -> WrittenLog:
    """Write lines, arrays, pretty objects, a wrapper or Python literals."""
    table = draw(text_tables(log))
    shape, rows, answers = draw(shaped_rows(log, table))
    ascii_only = draw(st.booleans())

    def dump(value: Any, indent: int | None = None) -> str:
        return json.dumps(value, ensure_ascii=ascii_only, indent=indent)

    layouts = {
        "lines": lambda: "".join(f"{dump(each)}\n" for each in rows),
        "array": lambda: dump(rows),
        "pretty array": lambda: dump(rows, 2),
        "pretty objects": lambda: "".join(f"{dump(each, 2)}\n" for each in rows),
        "wrapper": lambda: dump({"count": len(rows), "data": rows}),
        "python": lambda: "".join(f"{each!r}\n" for each in rows),
    }
    layout = draw(st.sampled_from(["lines"] if shape != "flat" else list(layouts)))
    mark = "\ufeff" if draw(st.integers(0, 7)) == 0 else ""
    packing = draw(st.sampled_from(PACKINGS))
    name = draw(st.sampled_from(["log.json", "log.jsonl"]))
    path = pack(folder / name, (mark + layouts[layout]()).encode(), packing)
    return WrittenLog(path, {}, answers, f"JSON {shape} {layout} {packing} {table.time_notation} {mark!r}")


def _list_text_types(cells: Sequence[str | None]) -> _Choices:
    coded = [None if cell is None else cell.encode() for cell in cells]
    return [
        ("string", lambda: pa.array(cells, pa.string())),
        ("large_string", lambda: pa.array(cells, pa.large_string())),
        ("dictionary", lambda: pa.array(cells, pa.string()).dictionary_encode()),
        ("binary", lambda: pa.array(coded, pa.binary())),
    ]


def _list_id_types(cells: Sequence[str | None]) -> _Choices:
    numbers = _find_numbers(cells)
    if numbers is None:
        return _list_text_types(cells)
    size, more = (
        max(abs(each or 0) for each in numbers),
        {"uint64": pa.uint64()} if min(each or 0 for each in numbers) >= 0 else {},
    )
    if size < 2**63:
        more = {"int64": pa.int64(), "decimal": pa.decimal128(25, 0)}
    if size < 2**31:
        more |= {"int32": pa.int32(), "double": pa.float64()}
    more = more if size < 2**64 else {}
    return _list_text_types(cells) + [(word, lambda kind=kind: pa.array(numbers, kind)) for word, kind in more.items()]


def _list_number_types(cells: Sequence[str | None]) -> _Choices:
    numbers = [None if cell is None else float(cell) for cell in cells]
    return [
        ("string", lambda: pa.array(cells, pa.string())),
        ("float32", lambda: pa.array(numbers, pa.float32())),
        ("float64", lambda: pa.array(numbers, pa.float64())),
        ("decimal", lambda: pa.array(numbers, pa.float64()).cast(pa.decimal128(9, 1))),
    ]


def _list_time_types(cells: Sequence[str | None], times: Sequence[int | None], precision: int) -> _Choices:
    stamp = pa.array(times, pa.timestamp("us"))
    found: _Choices = [("string", lambda: pa.array(cells, pa.string()))]
    for unit, finest in (("us", 1), ("ns", 1), ("ms", 1_000), ("s", 1_000_000)):
        if finest > precision:
            continue
        whole = [None if time is None else time * 1000 if unit == "ns" else time // finest for time in times]
        found += [
            (f"timestamp {unit}", lambda unit=unit: stamp.cast(pa.timestamp(unit))),
            (f"timestamp {unit} tz", lambda unit=unit: stamp.cast(pa.timestamp(unit, tz="Europe/Berlin"))),
            (f"int {unit}", lambda whole=whole: pa.array(whole, pa.int64())),
        ]
    if precision >= _DAY:
        found.append(("date", lambda: stamp.cast(pa.date32())))
    if precision >= 1_000:
        seconds = [None if time is None else time / 1e6 for time in times]
        found.append(("double", lambda: pa.array(seconds, pa.float64())))
    return found


@st.composite
def arrow_tables(draw: st.DrawFn, log: KnownLog, table: TextTable) -> tuple[pa.Table, set[str]]:
    """Return the log with types that programs write, and the names of these types."""
    by_name = {name: role for role, name in table.roles.items()}
    arrays, words = {}, set()
    for name, cells in table.columns.items():
        role = by_name.get(name)
        if role == "time":
            choices = _list_time_types(cells, log.values("time"), log.precision)
        elif role in {"rating", "weight"}:
            choices = _list_number_types(cells)
        else:
            choices = _list_id_types(cells) if role in {"user", "item"} else _list_text_types(cells)
        word, make = draw(st.sampled_from(choices))
        arrays[name] = make()
        words.add(word)
    return pa.table(arrays), words


def _list_by_user(arrow: pa.Table, user: str, key: str | None) -> pa.Table:
    """Return one row for each user, with a list of structs, or parallel lists where ``key`` is None."""
    order: dict[Any, list[int]] = {}
    for i, value in enumerate(arrow[user].to_pylist()):
        order.setdefault(value, []).append(i)
    flat = arrow.take(pa.array([i for rows in order.values() for i in rows]))
    ends = [0]
    for rows in order.values():
        ends.append(ends[-1] + len(rows))
    offsets, users = pa.array(ends, pa.int32()), pa.array(list(order), arrow[user].type)
    others = {name: flat[name].combine_chunks() for name in arrow.column_names if name != user}
    if key is not None:
        structs = pa.StructArray.from_arrays(list(others.values()), list(others))
        return pa.table({user: users, key: pa.ListArray.from_arrays(offsets, structs)})
    return pa.table(
        {user: users}
        | {f"{name.removesuffix('s')}s": pa.ListArray.from_arrays(offsets, each) for name, each in others.items()}
    )


@st.composite
def written_parquet(draw: st.DrawFn, log: KnownLog, folder: Path) -> WrittenLog:
    """Write Parquet: flat, in one struct, with a list of structs or with parallel lists."""
    table = draw(text_tables(log, with_extras=draw(st.booleans())))
    arrow, words = draw(arrow_tables(log, table))
    shape = draw(st.sampled_from(["flat", "flat", "struct", "structs", "lists"]))
    answers, user = list_answers(table), table.roles["user"]
    if shape == "struct":
        assume("dictionary" not in words)
        columns = [arrow[name].combine_chunks() for name in arrow.column_names]
        arrow = pa.table({"payload": pa.StructArray.from_arrays(columns, arrow.column_names)})
        answers["columns"] = {role: f"payload.{name}" for role, name in table.roles.items()}
    elif shape != "flat":
        assume(None not in log.values("user") and not words & {"dictionary", "binary"} and user != "session")
        key = draw(st.sampled_from(["events", "history", "interactions"])) if shape == "structs" else None
        arrow = _list_by_user(arrow, user, key)
    pa_parquet.write_table(arrow, folder / "log.parquet", row_group_size=draw(st.sampled_from([3, 100])))
    return WrittenLog(folder / "log.parquet", {}, answers, f"Parquet {shape} {sorted(words)}")


@st.composite
def written_tables(draw: st.DrawFn, log: KnownLog, folder: Path) -> WrittenLog:
    """Write Feather, Arrow or ORC, or make a frame."""
    table = draw(text_tables(log))
    arrow, words = draw(arrow_tables(log, table))
    form = draw(st.sampled_from(["feather", "orc", "arrow", "pandas", "polars"]))
    source: Any = folder / f"log.{form}"
    if form == "feather":
        pa_feather.write_feather(arrow, source)
    elif form == "arrow":
        with pa.ipc.new_file(source, arrow.schema) as sink:
            sink.write_table(arrow)
    elif form == "orc":
        assume(not words & {"dictionary", "uint64", "large_string"} and not any(" tz" in word for word in words))
        pa_orc.write_table(arrow, source)
    else:
        source = arrow.to_pandas() if form == "pandas" else pl.from_arrow(arrow)
    return WrittenLog(source, {}, list_answers(table), f"{form} {sorted(words)}")


@st.composite
def written_workbooks(draw: st.DrawFn, log: KnownLog, folder: Path) -> WrittenLog:
    """Write an Excel workbook, with times as text or as dates."""
    # Excel takes =1+1 for a formula.
    assume("sums" not in {log.user_kind, log.item_kind})
    table = draw(text_tables(log))
    as_dates = table.time_notation == "ISO" and draw(st.booleans())
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.append(list(table.columns))
    for row in _type_rows(table, log, draw, limit=2**53):
        time = table.roles.get("time")
        if as_dates and time is not None and row[time] is not None:
            row[time] = datetime.datetime.fromisoformat(row[time])
        sheet.append(list(row.values()))
    book.save(folder / "log.xlsx")
    return WrittenLog(folder / "log.xlsx", {}, list_answers(table), f"xlsx {table.time_notation}")


@st.composite
def written_avro(draw: st.DrawFn, log: KnownLog, folder: Path) -> WrittenLog:
    """Write an Avro file of flat records."""
    table = draw(text_tables(log))
    rows = _type_rows(table, log, draw)
    plain = {name: "".join(letter if letter.isalnum() else "_" for letter in name) for name in table.columns}
    kinds = {int: "long", float: "double", str: "string"}
    fields = []
    for name in table.columns:
        types = {type(row[name]) for row in rows if row[name] is not None}
        fields.append({"name": plain[name], "type": ["null", *(kinds[each] for each in types)]})
    with (folder / "log.avro").open("wb") as target:
        fastavro.writer(
            target,
            fastavro.parse_schema({"type": "record", "name": "event", "fields": fields}),
            [{plain[name]: value for name, value in row.items()} for row in rows],
        )
    answers = list_answers(table) | {"columns": {role: plain[name] for role, name in table.roles.items()}}
    return WrittenLog(folder / "log.avro", {}, answers, f"Avro {table.time_notation}")
