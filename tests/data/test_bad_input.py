"""Bad input ends in one clear message (what, where, what to do), or in a counted row."""

import importlib
import re
from pathlib import Path

import pandas as pd
import pytest

from leanrec.data.ingest.cleaning import CleaningRules
from leanrec.data.ingest.ingest import ingest
from leanrec.errors import ArtifactError, ColumnError, SettingError, SourceError

GOOD = "user,item,rating,time\n1,a,4,1600000000\n2,a,5,1600000001\n2,b,3,1600000002\n"


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def message(kind: type[Exception], source: object, **options: object) -> str:
    with pytest.raises(kind) as caught:
        ingest(source, **options)
    return str(caught.value)


def test_a_missing_column_is_reported_with_the_columns_and_the_argument(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "who,item_id\n1,2\n")
    assert message(ColumnError, path) == (
        f"{path} has no user column. Its columns are: 'who', 'item_id'. Looked for user, userid, useruid, uid, visitor, visitorid "
        'and similar names, in any case. Name it: columns={"user": "who"}. If a later line of the file has the names, remove the lines '
        "above it. If each file is the log of one user, put it into a folder such as logs/user=ann, and pass logs."
    )
    assert ingest(path, columns={"user": "WHO"}).data.users.ids.tolist() == [1]


def test_a_missing_column_is_suggested_from_columns_without_a_role(tmp_path: Path) -> None:
    several = message(ColumnError, write(tmp_path / "a.csv", "user,shelf,label,entities\n1,x,1,y\n"))
    assert "Name it: columns={\"item\": \"COLUMN\"}, where COLUMN is one of 'shelf', 'entities'." in several
    one = message(ColumnError, write(tmp_path / "b.csv", "user,thing\n1,x\n"))
    assert 'Name it: columns={"item": "thing"}. If a later line' in one
    none = message(ColumnError, write(tmp_path / "c.csv", "user,label\n1,1\n"))
    assert "None of them is left for the items. If" in none
    assert "If a later line" in none
    table = message(ColumnError, pd.DataFrame({"user": [1], "item": [2]}), items=pd.DataFrame({"a": [1], "b": [2]}))
    assert table.endswith("Name it: columns={\"items.id\": \"COLUMN\"}, where COLUMN is one of 'a', 'b'.")


def test_a_misspelt_column_is_corrected(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "customer_name,item\n1,2\n")
    found = message(ColumnError, path, columns={"user": "custmer_nme"})
    assert "has no column 'custmer_nme', which was named as the user. Did you mean 'customer_name'?" in found


def test_a_role_that_does_not_exist() -> None:
    frame = pd.DataFrame({"user": [1], "item": [2]})
    assert message(SettingError, frame, columns={"usr": "user"}) == (
        "columns must map user, item, time, rating, weight, event_type, label or content to a column. Got 'usr'."
    )


def test_a_column_of_the_wrong_type(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "user,item,liked\n1,2,very\n")
    assert message(ColumnError, path, columns={"rating": "liked"}) == (
        f"The rating must be a number. The column 'liked' of {path} holds 'very'; name another column, "
        'or pass rating_words={"very": NUMBER}.'
    )


def test_a_column_whose_values_do_not_fit_its_name_is_skipped_with_a_warning(tmp_path: Path) -> None:
    _, report = ingest(write(tmp_path / "x.csv", "user,item,rating\n1,2,blue\n1,3,red\n"))
    assert report.ratings == {}
    assert any(
        "the column 'rating' holds no numbers and was not used as the rating" in each for each in report.warnings
    )


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.csv", b"", "is empty: it has no bytes. Check how it was written."),
        ("x.csv", b"\n\n", "is empty: it has no line of text"),
        (
            "x.csv",
            bytes(range(256)) * 9,
            "is a binary file (a zero byte at offset 0), not delimited text, JSON lines or Parquet",
        ),
        ("x.parquet", b"user,item\n1,2\n", "is named as Parquet but does not begin with PAR1"),
        ("x.parquet", b"PAR1 and then nothing of the kind", "cannot be read: No magic bytes found at end of file"),
        (
            "x.jsonl",
            b"not json at all\n",
            'has no JSON objects. Each line must be one, such as {"user": 1, "item": 2}.',
        ),
        ("x.csv", b"user,item\n", "has columns but no rows. Check how it was written."),
    ],
    ids=["empty", "blank", "binary", "fake-parquet", "cut-parquet", "no-json", "header-only"],
)
def test_files_that_are_not_what_they_should_be(name: str, content: bytes, expected: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, content)
    found = message(SourceError, path)
    assert str(path) in found
    assert expected in found
    assert "\n" not in found


def test_a_missing_file_names_similar_files(tmp_path: Path) -> None:
    write(tmp_path / "ratings.csv", GOOD)
    path = tmp_path / "rating.csv"
    assert message(SourceError, path) == f"{path} does not exist. In {tmp_path} there is: ratings.csv. Check the path."


def test_a_folder_without_data_and_a_pattern_without_files(tmp_path: Path) -> None:
    assert f"The folder {tmp_path} has no data. It must have files ending in .csv" in message(SourceError, tmp_path)
    assert f"No file matches {tmp_path}/*.csv" in message(SourceError, f"{tmp_path}/*.csv")


def test_a_folder_of_two_forms_is_ambiguous(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", GOOD)
    write(tmp_path / "a.jsonl", '{"user": 1, "item": 2, "rating": 3, "time": 1600000000}\n')
    assert "must have one log in files of one format. It has csv and json" in message(SourceError, tmp_path)


def test_other_objects_are_refused_as_a_source() -> None:
    assert message(SourceError, 12) == (
        "A source must be a path, a list of paths, a pandas, Polars or Arrow frame, or an SQL query. Got int."
    )
    assert message(SourceError, []) == "A source must name at least one file. Got none."


def test_a_query_that_fails_says_why(tmp_path: Path) -> None:
    assert "The query 'SELECT * FROM nowhere' cannot be read" in message(SourceError, "sql:SELECT * FROM nowhere")


def test_ragged_lines_are_set_aside_with_their_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", GOOD + "3\n4,a,3,1600000003,more,and more\n5,b,2,1600000004\n")
    quarantine = tmp_path / "q.csv"
    data, report = ingest(path, quarantine=quarantine)
    assert report.rejected == {"unreadable line": 2}
    assert (report.rows_read, len(data.events)) == (6, 4)
    rows = pd.read_csv(quarantine)
    assert rows["row"].tolist() == [5, 6]
    assert rows["line"].tolist() == ["3", "4,a,3,1600000003,more,and more"]
    assert ingest(path).report.rejected == {"unreadable line": 2}


def test_blanks_around_ids_are_trimmed_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "user , item,rating\n a , x ,4\nb,x,5\n a,y,3\n  ,z,3\n7,\t,3\n")
    items = write(tmp_path / "items.csv", "item,title\n x ,ex\n")
    data, report = ingest(path, items=items, quarantine=tmp_path / "q.csv")
    assert (data.users.ids.tolist(), data.items.ids.tolist()) == (["a", "b"], ["x", "y"])
    assert data.item_table is not None
    assert data.item_table.columns["title"].tolist() == ["ex", ""]
    assert report.rejected == {"missing user": 1, "missing item": 1}
    assert "Blanks around ids were removed in 4 rows." in report.warnings
    assert pd.read_csv(tmp_path / "q.csv")["row"].tolist() == [4, 5]


def test_numbers_with_blanks_around_them_are_numbers(tmp_path: Path) -> None:
    data, _ = ingest(write(tmp_path / "x.csv", "user,item\n 7,1\n7, 2\n"))
    assert (data.users.ids.tolist(), data.items.ids.tolist()) == ([7], [1, 2])


def test_capital_letters_do_not_make_another_event_type(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "user,item,event\na,x,View\nb,x,view\na,y,view\nb,y,Purchase\n")
    data, report = ingest(path, event_weights={"VIEW": 0.5})
    assert {name: kind["events"] for name, kind in report.event_types.items()} == {"view": 3, "Purchase": 1}
    assert sorted(data.events.weight.tolist()) == [0.5, 0.5, 0.5, 3.0]
    assert "Event types that differ only in capital letters count as one: View, view." in report.warnings


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("user;item;rating\na;x;4,5\na;y;3\na;z;1,125\n", [4.5, 3.0, 1.125]),
        ("user\titem\trating\na\tx\t4,5\na\ty\t3\n", [4.5, 3.0]),
        ('user,item,rating\na,x,"4,5"\na,y,3\n', [4.5, 3.0]),
    ],
    ids=["semicolons", "tabs", "quoted"],
)
def test_a_comma_may_mark_the_decimals(text: str, values: list[float], tmp_path: Path) -> None:
    assert sorted(ingest(write(tmp_path / "x.csv", text)).data.events.rating.tolist()) == sorted(values)


def test_a_comma_that_may_mark_thousands_is_no_decimal_comma(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", 'user,item,plays\na,x,5\na,y,7\na,z,"1,234"\n')
    data, report = ingest(path)
    assert sorted(data.events.weight.tolist()) == [5, 7, 1234]
    assert any(each.startswith("Numbers such as 1,234 in the column 'plays'") for each in report.warnings)


def test_a_folder_of_leanrec_is_no_log(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", GOOD)
    ingest(path, out=tmp_path / "set")
    beside = message(SourceError, [tmp_path / "set", path])
    assert beside.startswith(f"{tmp_path / 'set'} is a folder that leanrec wrote, not a log")
    assert message(SourceError, path, items=tmp_path / "set") == beside


BAD_ROWS = {
    ",a,4,1600000000": "missing user",
    "1,,4,1600000000": "missing item",
    "1,a,4,": "missing time",
    "1,a,4,yesterday": "time not understood",
    "1,a,inf,1600000000": "rating is not a finite number",
    "1,a,good,1600000000": "rating is not a finite number",
    "1,a,4,-5": "time before 1990 or in the future",
    "1,a,4,99999999999": "time before 1990 or in the future",
    "1,b,11,1600000000": "rating outside the range",
    "1,a,4,1600000000": "duplicate",
}


@pytest.mark.parametrize("row", BAD_ROWS, ids=lambda row: row)
@pytest.mark.parametrize("form", [".csv", ".parquet"])
def test_a_bad_row_is_counted_and_quarantined(row: str, form: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", GOOD + row + "\n")
    quarantine = tmp_path / f"q{form}"
    data, report = ingest(path, cleaning=CleaningRules(rating_range=(1, 5)), quarantine=quarantine)
    assert report.rejected == {BAD_ROWS[row]: 1}
    assert (report.rows_read, report.events, len(data.events)) == (4, 3, 3)
    rows = (
        pd.read_csv(quarantine, dtype=str, keep_default_na=False)
        if form == ".csv"
        else pd.read_parquet(quarantine).fillna("")
    )
    assert rows["reason"].tolist() == [BAD_ROWS[row]]
    assert rows["file"].tolist() == [str(path)]
    assert [int(each) for each in rows["row"]] == [4]
    fields = [rows[name][0] or "" for name in ("user", "item", "rating", "time")]
    assert ",".join(fields) == row
    assert [each.name for each in sorted(tmp_path.iterdir())] == [quarantine.name, "x.csv"]
    # Without a quarantine file another road is taken: the counts must not differ.
    assert ingest(path, cleaning=CleaningRules(rating_range=(1, 5))).report.rejected == {BAD_ROWS[row]: 1}


@pytest.mark.parametrize(
    ("plays", "reason"),
    [("-1", "negative weight"), ("", "missing weight"), ("inf", "weight is not a finite number")],
)
def test_bad_weights(plays: str, reason: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", f"user,item,plays\n1,a,3\n1,b,{plays}\n")
    assert ingest(path).report.rejected == {reason: 1}


def test_a_missing_rating_is_accepted_where_events_have_types(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "user,item,event,rating\n1,a,view,\n1,a,rating,4\n,a,view,\n2,a,,3\n")
    data, report = ingest(path)
    assert report.rejected == {"missing user": 1, "missing event type": 1}
    assert data.ratings.toarray().tolist() == [[4.0]]


def test_a_scale_is_inferred_only_where_nearly_all_ratings_agree() -> None:
    ratings = [1.0, 2, 3, 4, 5] * 400 + [250.0]
    frame = pd.DataFrame({"user": range(len(ratings)), "item": 1, "rating": ratings})
    assert ingest(frame).report.rejected == {"rating outside the range": 1}
    data, report = ingest(frame.iloc[-20:])
    assert report.rejected == {}
    assert data.rating_range == (1.0, 250.0)


def test_too_many_event_types_mean_the_wrong_column() -> None:
    frame = pd.DataFrame({"user": [1] * 200, "item": range(200), "type": [f"t{i}" for i in range(200)]})
    told = message(ColumnError, frame, columns={"event_type": "type"})
    assert "must be one of at most 120 names. The column 'type' has more" in told
    assert ingest(frame).report.warnings[0].startswith("Not used: 'type' of a pandas DataFrame (another text in most")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"event_weights": {"veiw": 3}},
            "Got 'veiw', which the log does not have. Did you mean 'view'? The log has view.",
        ),
        (
            {"event_weights": {"view": -1}},
            "The weight of the event type 'view' must be a number of at least 0. Got -1.0.",
        ),
        ({"positive_from": float("nan")}, "positive_from must be a number. Got nan."),
        ({"quarantine": "bad.txt"}, "The quarantine file must end in .csv or .parquet. Got 'bad.txt'."),
        ({"cleaning": CleaningRules(since="2020-01-01")}, "since and until need times that are seconds since 1970."),
    ],
    ids=["kind", "weight", "bar", "quarantine", "window"],
)
def test_options_that_do_not_fit(options: dict, expected: str) -> None:
    frame = pd.DataFrame({"user": [1], "item": [2], "event": ["view"]})
    assert expected in message(SettingError, frame, **options)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"min_user": 0}, "min_user must be a number of at least 1. Got 0."),
        ({"duplicates": "maybe"}, "duplicates must be one of drop, keep. Got 'maybe'."),
        ({"rating_range": (5, 1)}, "rating_range must be a lower and a higher number. Got (5, 1)."),
        (
            {"since": "soon"},
            "since must be an ISO date such as 2019-05-01, or seconds since 1970. Got 'soon'.",
        ),
        ({"since": "2020-01-02", "until": "2020-01-01"}, "since must be before until."),
        ({"bot_sigmas": -1}, "bot_sigmas must be a positive number. Got -1."),
    ],
)
def test_settings_of_cleaning_are_checked_where_they_are_written(settings: dict, expected: str) -> None:
    with pytest.raises(SettingError, match=re.escape(expected)):
        CleaningRules(**settings)


def test_a_quarantine_file_that_cannot_be_written(tmp_path: Path) -> None:
    write(tmp_path / "file", "x")
    path = write(tmp_path / "x.csv", GOOD)
    found = message(SourceError, path, quarantine=tmp_path / "file" / "q.csv")
    assert found.startswith(f"The quarantine file {tmp_path / 'file' / 'q.csv'} cannot be written: ")


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("leanrec.artifacts.os.fsync", full)
    path = write(tmp_path / "x.csv", GOOD)
    assert message(ArtifactError, path, out=tmp_path / "set") == (
        f"Cannot write {tmp_path / 'set'}: No space left on device. Nothing was changed there."
    )
    assert [each.name for each in tmp_path.iterdir()] == ["x.csv"]


@pytest.mark.parametrize(
    "where",
    [
        ("leanrec.data.ingest.ingest", "reject_events"),
        ("leanrec.data.ingest.ingest", "write_events"),
        ("leanrec.artifacts", "_move_into_place"),
    ],
)
def test_ctrl_c_leaves_nothing_behind(where: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    path = write(tmp_path / "x.csv", GOOD)
    ingest(path, out=tmp_path / "set")
    before = sorted(each.name for each in (tmp_path / "set").iterdir())
    monkeypatch.setattr(importlib.import_module(where[0]), where[1], stop)
    with pytest.raises(KeyboardInterrupt):
        ingest(path, out=tmp_path / "set", quarantine=tmp_path / "q.csv")
    assert sorted(each.name for each in (tmp_path / "set").iterdir()) == before
    assert {each.name for each in tmp_path.iterdir()} <= {"x.csv", "set", "q.csv"}
