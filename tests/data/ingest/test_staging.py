"""Staging: the common form of rows, and the codes of rejected ones."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from leanrec.data.engine import SqlEngine, open_engine
from leanrec.data.ingest import staging
from leanrec.data.ingest.cleaning import CleaningRules
from leanrec.data.ingest.ingest import ingest
from leanrec.data.ingest.rejects import REASONS
from leanrec.data.ingest.schema import read_schema
from leanrec.data.ingest.staging import StagedLog, find_example, id_expression, stage_log, validate_rows
from leanrec.run import Run

T = 1_600_000_000


def stage(engine: SqlEngine, frame: pd.DataFrame) -> StagedLog:
    schema = read_schema(engine, frame, {})
    return stage_log(engine, schema.parts, schema.columns, raw=False, key_types=(None, None))


def test_rows_get_the_code_of_the_first_reason() -> None:
    frame = pd.DataFrame(
        {
            "user": ["a", None, "a", "b"],
            "item": ["x", "x", None, "y"],
            "rating": [4, 5, 3, float("inf")],
            "time": [T, T, T, T],
        }
    )
    with open_engine(Run()) as engine:
        staged = stage(engine, frame)
        profile = validate_rows(engine, staged, CleaningRules())
        reasons = [REASONS[code] for (code,) in engine.fetch_rows("SELECT reason FROM validated ORDER BY seq")]
        assert find_example(engine, staged, "rating is not a finite number") == "inf"
    assert reasons == ["", "missing user", "missing item", "rating is not a finite number"]
    assert profile.has_clock


@pytest.mark.parametrize(
    ("ratings", "scale"), [([1, 3, 5], (1, 5)), ([0.5, 4], (0.5, 4)), ([0, 1, 1], (0, 1)), ([7, 100], (0, 100))]
)
def test_the_narrowest_common_scale_is_inferred(ratings: list[float], scale: tuple[float, float]) -> None:
    frame = pd.DataFrame({"user": range(len(ratings)), "item": 1, "rating": ratings})
    with open_engine(Run()) as engine:
        profile = validate_rows(engine, stage(engine, frame), CleaningRules())
    assert (profile.scale, profile.inferred, profile.has_clock) == (scale, True, False)


def test_whole_floats_are_ids_without_a_fraction() -> None:
    with open_engine(Run()) as engine:
        select = (
            f"SELECT {id_expression('x', 'DOUBLE', integer=False)} FROM (VALUES (12.0), (1.5), ('nan'::DOUBLE)) AS t(x)"
        )
        assert engine.fetch_rows(select) == [("12",), ("1.5",), (None,)]


@pytest.mark.parametrize("empty", ["", '""', "''"])
def test_empty_fields_are_missing_ids_quoted_or_not(empty: str, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    mark = empty[:1] or '"'
    rows = [f"{mark}u{n % 3}{mark},i{n % 5},{T + n}" for n in range(12)] + [f"{empty},i1,{T}", f"u1,{empty},{T}"]
    path.write_text("\n".join(["user,item,time", *rows]) + "\n")
    report = ingest(path).report
    assert report.rejected == {"missing user": 1, "missing item": 1}
    assert (report.users, report.items, report.events) == (3, 5, 12)


def test_a_line_of_names_has_no_time(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"user,item,time\na,x,{T}\nuser,item,time\nb,y,{T}\nuser,item,\nuser,item,{T}\n")
    data, report = ingest(path)
    assert report.rejected == {"repeated line of names": 2}
    assert data.users.ids.tolist() == ["a", "b", "user"]


def test_the_parts_of_a_log_are_told_apart(tmp_path: Path) -> None:
    """Ids of delimited text lose the blanks around them, those of other formats keep them."""
    frames = {
        name: pd.DataFrame({"user": [" a", "b"], "item": ["x", "y"], "time": [T + n, T + n + 1]})
        for n, name in enumerate(("one.csv", "two.parquet"))
    }
    frames["one.csv"].to_csv(tmp_path / "one.csv", index=False)
    frames["two.parquet"].to_parquet(tmp_path / "two.parquet")
    both = [tmp_path / name for name in frames]
    users = {len(files): ingest(files).data.users.ids.tolist() for files in ([both[0]], both)}
    assert users == {1: ["a", "b"], 2: [" a", "a", "b"]}
    assert ingest(both[1]).data.users.ids.tolist() == [" a", "b"]


def test_empty_rows_are_counted_apart(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,item,rating\nann,mug,4\nbob,cup,5\n,jar,3\n" + ",,\n" * 20)
    # Twenty rows below the last one of a spreadsheet are not twenty users that are missing.
    report = ingest(tmp_path / "log.csv").report
    assert (report.events, report.rows_read) == (2, 23)
    assert report.rejected == {"missing user": 1, "empty row": 20}


@pytest.mark.parametrize("word", ["NULL", r"\N", "nan", ""])
def test_a_word_for_nothing_is_no_event_type(word: str, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"user,item,event\na,x,view\nb,y,click\nc,z,{word}\n")
    data, report = ingest(path)
    assert report.rejected == {"missing event type": 1}
    assert data.events.event_types == ("click", "view")


@pytest.mark.parametrize("form", ["csv", "parquet", "frame"])
def test_event_types_without_blanks_and_words_for_nothing_keep_the_first_reason(form: str, tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "user": ["a", "b", None, "d", "e", "f"],
            "item": ["x", "y", "z", "x", "y", "z"],
            "event": [" view", "view", "(not set)", "N/A ", "click", "--"],
            "time": ["2024-05-01", "2024-05-02", "2024-05-02", "never", "never", "2024-05-03"],
        }
    )
    path = tmp_path / f"log.{form}"
    if form != "frame":
        frame.to_csv(path, index=False) if form == "csv" else frame.to_parquet(path)
    with open_engine(Run()) as engine:
        schema = read_schema(engine, frame if form == "frame" else path, {})
        staged = stage_log(engine, schema.parts, schema.columns, raw=False, key_types=(None, None))
        validate_rows(engine, staged, CleaningRules())
        rows = engine.fetch_rows("SELECT event_type, reason FROM validated ORDER BY seq")
        assert engine.fetch_rows("SELECT * FROM types_found ORDER BY name") == [("click", 1), ("view", 2)]
    missing = "missing event type"
    assert [(name, REASONS[code]) for name, code in rows] == [
        ("view", ""),
        ("view", ""),
        (None, "missing user"),
        (None, missing),
        ("click", "time not understood"),
        (None, missing),
    ]


@pytest.mark.parametrize("first", [1, 30, 10_000])
@pytest.mark.parametrize("several", [False, True])
def test_event_types_as_numbers_are_those_of_the_text(
    first: int, several: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows have the types of the first rows as numbers, and all others, and those to clean, as text."""
    rng = np.random.default_rng(5)
    names = ["view", "View", " view", "buy", "a, b", "it's", "NULL", "", "-"]
    frame = pd.DataFrame({"user": rng.integers(0, 9, 300), "item": rng.integers(0, 9, 300)})
    frame["event"] = ["view", *rng.choice(names[:4], 299)]
    frame.loc[150:, "event"] = rng.choice(names, 150)
    frame["time"] = rng.integers(T, T + 40, 300)
    files = [tmp_path / "one.csv", tmp_path / "two.csv"]
    frame[:200].to_csv(files[0], index=False)
    frame[200:].to_csv(files[1], index=False)
    monkeypatch.setattr(staging, "_FIRST_ROWS", first)
    results, rejected = [], []
    for large in (0, 1_000_000):
        monkeypatch.setattr(staging, "_LARGE", large)
        with open_engine(Run()) as engine:
            schema = read_schema(engine, files if several else files[0], {})
            staged = stage_log(engine, schema.parts, schema.columns, raw=False, key_types=(None, None))
            validate_rows(engine, staged, CleaningRules())
            assert bool(staged.short_types) == (large == 0)
            results.append(engine.fetch_rows("SELECT part, usr, itm, event_type, t, bad FROM staged ORDER BY seq"))
            results.append(engine.fetch_rows("SELECT * FROM types_found ORDER BY name"))
        data, report = ingest(files if several else files[0], quarantine=tmp_path / "rejected.csv")
        rejected.append((tmp_path / "rejected.csv").read_text())
        results += [[column.tolist() for column in data.events.columns().values()], data.events.event_types]
        results.append([report.rejected, report.event_types, report.warnings])
    assert results[: len(results) // 2] == results[len(results) // 2 :]
    assert rejected[0] == rejected[1]
    found = dict(results[1])
    assert {name for name in found if name.casefold() == "view"} == {"view", "View"}
    assert sum(found.values()) + results[4][0].get("missing event type", 0) == (300 if several else 200)


def test_rows_are_staged_without_a_join_which_would_not_keep_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        "user,item,event,time,rating,plays\nann,a,view,NULL,4.5,3\nbo,b,buy,2024-05-01,,yes\ncy,c,view,-,n/a,\n"
    )
    statements: list[str] = []
    execute = SqlEngine.execute

    def record(engine: SqlEngine, sql: str, *args: str) -> None:
        statements.append(sql)
        execute(engine, sql, *args)

    monkeypatch.setattr(SqlEngine, "execute", record)
    monkeypatch.setattr(staging, "_LARGE", 0)
    with open_engine(Run()) as engine:
        schema = read_schema(engine, path, {"event_type": "event", "weight": "plays"})
        stage_log(engine, schema.parts, schema.columns, raw=False, key_types=(None, None))
        staged = next(sql for sql in statements if "TABLE staged_rows" in sql)
        plan = engine.fetch_rows(f"EXPLAIN {staged}")[0][1]
    assert " AS k" in staged
    assert "JOIN" not in plan
    assert "MARK" not in plan
