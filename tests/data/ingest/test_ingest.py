"""From a file to a Dataset: every form, the order, the weights, the tables, saving, memory."""

import datetime
import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from leanrec.budget import Budget
from leanrec.callbacks import Callback, ProgressBar
from leanrec.data.dataset import DatasetShape
from leanrec.data.datasets.bundled import load_sample, sample_path
from leanrec.data.engine import open_engine
from leanrec.data.ingest.cleaning import CleaningRules
from leanrec.data.ingest.ingest import ingest, open_dataset
from leanrec.data.ingest.sources import SqlQuery
from leanrec.errors import ArtifactError, BudgetError, DataError, SettingError
from leanrec.run import Run
from leanrec.units import format_bytes

ROWS = [
    ("u2", "b", 5.0, 1_600_000_300),
    ("u1", "a", 4.0, 1_600_000_200),
    ("u1", "c", 1.0, 1_600_000_100),
    ("u2", "a", 3.0, 1_600_000_400),
    ("u3", "a", 2.0, 1_600_000_000),
]
FRAME = pd.DataFrame(ROWS, columns=["user_id", "item_id", "rating", "timestamp"])


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def events_of(data) -> list[tuple]:
    """The events in external ids."""
    e = data.events
    value = e.rating if e.rating is not None else np.full(len(e), np.nan)
    rows = zip(
        data.users.ids[e.user].tolist(),
        data.items.ids[e.item].tolist(),
        value.tolist(),
        e.time.tolist(),
        strict=True,
    )
    return list(rows)


def as_csv(folder: Path) -> object:
    FRAME.to_csv(folder / "log.csv", index=False)
    return folder / "log.csv"


def as_tsv(folder: Path) -> object:
    FRAME.to_csv(folder / "log.tsv", index=False, sep="\t")
    return str(folder / "log.tsv")


def as_semicolons(folder: Path) -> object:
    FRAME.to_csv(folder / "log.csv", index=False, sep=";")
    return folder / "log.csv"


def as_gzip(folder: Path) -> object:
    FRAME.to_csv(folder / "log.csv.gz", index=False)
    return folder / "log.csv.gz"


def as_json_lines(folder: Path) -> object:
    FRAME.to_json(folder / "log.jsonl", orient="records", lines=True)
    return folder / "log.jsonl"


def as_json(folder: Path) -> object:
    FRAME.to_json(folder / "log.json", orient="records")
    return folder / "log.json"


def as_parquet(folder: Path) -> object:
    FRAME.to_parquet(folder / "log.parquet")
    return folder / "log.parquet"


def as_folder(folder: Path) -> object:
    for i in range(2):
        FRAME.iloc[3 * i : 3 * i + 3].to_parquet(folder / f"part-{i}.parquet")
    return folder


def as_glob(folder: Path) -> object:
    for i in range(2):
        FRAME.iloc[3 * i : 3 * i + 3].to_csv(folder / f"part-{i}.csv", index=False)
    return f"{folder}/part-*.csv"


def as_list(folder: Path) -> object:
    as_glob(folder)
    return [folder / "part-0.csv", folder / "part-1.csv"]


def as_pandas(folder: Path) -> object:
    return FRAME


def as_polars(folder: Path) -> object:
    return pl.DataFrame(FRAME.to_dict("list"))


def as_arrow(folder: Path) -> object:
    return pa.table(FRAME.to_dict("list"))


def as_sql(folder: Path) -> object:
    FRAME.to_parquet(folder / "x.parquet")
    return f"sql:SELECT * FROM '{folder}/x.parquet'"


def as_database(folder: Path) -> object:
    with duckdb.connect(str(folder / "x.duckdb")) as con:
        con.register("frame", FRAME)
        con.execute("CREATE TABLE log AS SELECT * FROM frame")
    return SqlQuery("SELECT * FROM log", folder / "x.duckdb")


FORMS = [
    as_csv,
    as_tsv,
    as_semicolons,
    as_gzip,
    as_json_lines,
    as_json,
    as_parquet,
    as_folder,
    as_glob,
    as_list,
]
FORMS += [as_pandas, as_polars, as_arrow, as_sql, as_database]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_gives_the_same_data_set(form, tmp_path: Path) -> None:
    data, report = ingest(form(tmp_path))
    assert events_of(data) == [
        ("u1", "c", 1.0, 1_600_000_100),
        ("u1", "a", 4.0, 1_600_000_200),
        ("u2", "b", 5.0, 1_600_000_300),
        ("u2", "a", 3.0, 1_600_000_400),
        ("u3", "a", 2.0, 1_600_000_000),
    ]
    assert (report.rows_read, report.events, report.users, report.items) == (5, 5, 3, 3)
    assert report.has_clock
    assert data.rating_range == (1.0, 5.0)
    assert data.events.user.dtype == data.events.item.dtype == np.int32
    assert data.events.time.dtype == np.int64
    assert data.events.weight.dtype == np.float32


def test_a_bare_file_with_text_works_as_it_is(tmp_path: Path) -> None:
    path = write(
        tmp_path / "user_data.csv",
        'user_id,behavior,content_id,content\n1,view,10,about cats\n1,like,11,\n2,view,11,"dogs, mostly"\n2,skip,10,other text\n',
    )
    data, report = ingest(path)
    assert data.users.ids.tolist() == [1, 2]
    assert data.items.ids.tolist() == [10, 11]
    assert data.item_table.columns["content"].tolist() == ["about cats", "dogs, mostly"]
    assert {name: kind["weight"] for name, kind in report.event_types.items()} == {
        "like": 2.0,
        "skip": 0.0,
        "view": 1.0,
    }
    assert data.events.weight.tolist() == [1.0, 2.0, 1.0, 0.0]
    # No clock: the order of the log within each user.
    assert data.events.time.tolist() == [0, 0, 0, 0]
    assert report.columns[str(path)] == {
        "user": "user_id",
        "item": "content_id",
        "event_type": "behavior",
        "content": "content",
    }


def test_one_file_per_event_type_ignores_a_number_column_named_event(tmp_path: Path) -> None:
    view = pd.DataFrame({"visitorid": [1, 1, 2], "itemid": [5, 6, 5], "event": [1, 1, 1]})
    buy = pd.DataFrame({"visitorid": [2], "itemid": [5], "event": [1]})
    data, report = ingest({"view": view, "purchase": buy}, event_weights={"purchase": 7})
    assert report.event_types == {"purchase": {"events": 1, "weight": 7.0}, "view": {"events": 3, "weight": 1.0}}
    assert data.interactions.toarray().tolist() == [[1, 1], [8, 0]]


def test_a_single_number_column_named_event_is_pointed_out() -> None:
    _, report = ingest(pd.DataFrame({"user": [1], "item": [2], "event": [1]}))
    assert list(report.event_types) == ["interaction"]
    assert any("'event' holds numbers" in warning for warning in report.warnings)
    _, report = ingest(pd.DataFrame({"user": [1], "item": [2], "event": [1]}), columns={"event_type": "event"})
    assert list(report.event_types) == ["1"]


def test_labels_are_clicks_and_impressions() -> None:
    frame = pd.DataFrame(
        {"user": [1, 1, 2], "title": ["x", "y", "x"], "label": [0, 1, 1], "entities": ["a:b", "", "q"]}
    )
    data, report = ingest(frame, columns={"item": "title"})
    assert {name: kind["weight"] for name, kind in report.event_types.items()} == {"click": 1.0, "impression": 0.0}
    assert data.events.weight.tolist() == [0.0, 1.0, 1.0]
    assert data.item_table.columns["title"].tolist() == ["x", "y"]
    assert data.item_table.columns["entities"].tolist() == ["a:b", ""]


def test_ratings_below_the_bar_weigh_nothing_and_are_kept() -> None:
    data, _ = ingest(FRAME, positive_from=3)
    assert data.events.weight.tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]
    assert data.events.rating.tolist() == [1.0, 4.0, 5.0, 3.0, 2.0]


def test_counts_become_weights_and_files_without_them_count_one() -> None:
    buy = pd.DataFrame({"User_ID": [1], "Game_ID": [7], "Purchase": [1.0]})
    play = pd.DataFrame({"User_ID": [1], "Game_ID": [7], "Hours": [12.5]})
    data, _ = ingest(
        {"purchase": buy, "play": play}, items=pd.DataFrame({"Game_ID": [7, 8], "Game Name": ["go", "chess"]})
    )
    assert data.events.weight.tolist() == [3.0, 12.5]
    assert data.item_table.title == "Game Name"
    assert data.items.ids.tolist() == [7, 8]  # 8 has no events, and it can be recommended


def test_tables_join_by_their_ids_whatever_their_type() -> None:
    items = pd.DataFrame(
        {
            "id": ["c", "a", "b", "a", None],
            "name": ["see", "ay", "bee", "again", "none"],
            "year": [1, 2.0, None, 4, 5],
        }
    )
    users = pl.DataFrame({"userId": ["u1", "u9"], "gender": ["f", "m"]})
    data, report = ingest(FRAME, items=items, users=users)
    assert data.items.ids.tolist() == ["a", "b", "c"]
    assert data.item_table.columns["name"].tolist() == ["ay", "bee", "see"]
    np.testing.assert_array_equal(data.item_table.columns["year"], [2, np.nan, 1])
    assert data.users.ids.tolist() == ["u1", "u2", "u3", "u9"]  # u9 has no events, and can be asked for a list
    assert data.user_table.columns["gender"].tolist() == ["f", "", "", "m"]
    assert (report.users, len(data.queries().users)) == (3, 4)
    assert report.rejected_in_tables == {
        "item table: missing id": 1,
        "item table: repeated id (the first row was kept)": 1,
    }


def test_integer_ids_meet_text_ids_of_a_table(tmp_path: Path) -> None:
    items = write(tmp_path / "items.csv", "item_id,title,price\n2,two,1.5\n1,one,\n")
    data, _ = ingest(pd.DataFrame({"user": [7], "item": [1]}), items=items)
    assert data.items.ids.tolist() == [1, 2]
    assert data.item_table.columns["title"].tolist() == ["one", "two"]
    np.testing.assert_array_equal(data.item_table.columns["price"], [np.nan, 1.5])


@pytest.mark.parametrize(
    ("texts", "ids"),
    [
        (["1", "2", "10"], [1, 2, 10]),
        (["007", "7", "10"], ["007", "10", "7"]),
        (["-3", "5"], [-3, 5]),
        (["1.0", "2", "31.00"], [1, 2, 31]),
        (["1.0", "2", "1.5"], ["1.0", "1.5", "2"]),
        (["1.0", "007"], ["007", "1.0"]),
        (["99999999999999999999", "1"], ["1", "99999999999999999999"]),
        (["ü", "a b", "NaNa"], ["NaNa", "a b", "ü"]),
        (["NULL", "\\N", "(not set)", "9", "8", "7"], [7, 8, 9]),
    ],
)
def test_ids_in_text_are_numbers_only_where_they_are_the_plain_form_of_one(
    texts: list[str], ids: list, tmp_path: Path
) -> None:
    path = write(tmp_path / "x.csv", "user,item\n" + "".join(f"{each},1\n" for each in texts))
    assert ingest(path).data.users.ids.tolist() == ids


def test_typed_text_stays_text() -> None:
    assert ingest(pd.DataFrame({"user": ["1", "2"], "item": [3, 4]})).data.users.ids.tolist() == ["1", "2"]


def test_whole_doubles_are_whole_numbers() -> None:
    data, report = ingest(pd.DataFrame({"user": [1.0, 2.0, None], "item": [3, 4, 5]}))
    assert data.users.ids.tolist() == [1, 2]
    assert report.rejected == {"missing user": 1}


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ([1_600_000_000, 1_600_000_001], [1_600_000_000, 1_600_000_001]),
        ([1_600_000_000_000, 1_600_000_001_500], [1_600_000_000, 1_600_000_001]),
        ([1_600_000_000_000_000, 1_600_000_001_000_000], [1_600_000_000, 1_600_000_001]),
        ([1_600_000_000_000_000_000, 1_600_000_001_000_000_000], [1_600_000_000, 1_600_000_001]),
        ([1_600_000_000.25, 1_600_000_001.75], [1_600_000_000, 1_600_000_001]),
        (["2020-09-13T12:26:40Z", "2020-09-13 12:26:41"], [1_600_000_000, 1_600_000_001]),
        (["2020-09-13T14:26:40+02:00", "1600000001"], [1_600_000_000, 1_600_000_001]),
        (["2020/09/13", "Sep 14, 2020"], [1_599_955_200, 1_600_041_600]),
        (pd.to_datetime(["2020-09-13T12:26:40", "2020-09-13T12:26:41"]), [1_600_000_000, 1_600_000_001]),
        (pd.to_datetime(["2020-09-13T12:26:40Z", "2020-09-13T12:26:41Z"]), [1_600_000_000, 1_600_000_001]),
    ],
    ids=["s", "ms", "us", "ns", "float", "iso", "mixed", "dates", "timestamp", "zoned"],
)
@pytest.mark.parametrize("through_text", [False, True])
def test_times_of_any_unit_become_seconds(times, seconds: list[int], through_text: bool, tmp_path: Path) -> None:
    source: object = pd.DataFrame({"user": [1, 1], "item": [1, 2], "time": times})
    if through_text:
        source.to_csv(tmp_path / "x.csv", index=False)
        source = tmp_path / "x.csv"
    data, report = ingest(source)
    assert data.events.time.tolist() == seconds
    assert report.has_clock


def test_an_order_is_kept_as_it_is() -> None:
    data, report = ingest(pd.DataFrame({"user": [1, 1, 2], "item": [5, 6, 5], "pos": [2, 1, 9]}))
    assert data.events.time.tolist() == [1, 2, 9]
    assert data.events.item.tolist() == [1, 0, 0]
    assert not report.has_clock
    assert report.start is None


def test_a_file_without_names_is_read_by_position(tmp_path: Path) -> None:
    path = write(tmp_path / "u.data", "196\t242\t3\t881250949\n186\t302\t3\t891717742\n")
    data, _ = ingest(path, columns={"user": "1", "item": "2", "rating": "3", "time": "4"})
    assert events_of(data) == [(186, 302, 3.0, 891717742), (196, 242, 3.0, 881250949)]


def test_saving_is_one_call_and_opens_as_the_same_data_set(tmp_path: Path) -> None:
    data, report = ingest(FRAME, items=pd.DataFrame({"item_id": ["a"], "title": ["A"]}), out=tmp_path / "set")
    again, report_again = open_dataset(tmp_path / "set")
    assert again.fingerprint == data.fingerprint
    assert again.item_table.columns["title"].tolist() == ["A", "", ""]
    assert report_again.to_dict() == report.to_dict()
    assert json.loads(json.dumps(report.to_dict()))["events"] == 5
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    with pytest.raises(SettingError, match="a saved data set, which was read when it was made"):
        open_dataset(tmp_path / "set", columns={"user": "who"})


def test_open_dataset_takes_a_raw_file_too(tmp_path: Path) -> None:
    assert open_dataset(as_csv(tmp_path)).data.shape.events == 5


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "mine.txt", "dear diary")
    with pytest.raises(ArtifactError, match="exists and is not a leanrec artifact, so it is not replaced"):
        ingest(FRAME, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300,000 events with long ids and many ties, in no order."""
    path = tmp_path_factory.mktemp("large") / "log.csv"
    with duckdb.connect() as con:
        con.execute(
            "COPY (SELECT 'a-user-with-a-long-name-' || (hash(i) % 5000) AS user, 'item-' || (hash(i + 7) % 900) AS item, "
            f"1600000000 + hash(i * 3) % 100000 AS time FROM range(300000) r(i)) TO '{path}' (HEADER)"
        )
    return path


def test_a_small_limit_gives_the_same_data_set_through_files(large: Path, tmp_path: Path) -> None:
    free, _ = ingest(large)
    tight, report = ingest(large, out=tmp_path / "set", run=Run(budget=Budget(memory=75_000_000)))
    assert tight.fingerprint == free.fingerprint
    assert report.memory["plan"].endswith("may use 75 MB: spilling to disk")
    assert open_dataset(tmp_path / "set").data.fingerprint == free.fingerprint


def test_mapped_events_equal_those_in_memory(large: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from leanrec.data.ingest import outputs as writing

    free, _ = ingest(large)
    monkeypatch.setattr(writing, "_ARRAY_SHARE", 0.0)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    mapped, report = ingest(large)
    assert report.memory["events"] == "mapped files"
    assert isinstance(mapped.events.user, np.memmap)
    assert mapped.fingerprint == free.fingerprint
    assert len(list(tmp_path.iterdir())) == 1
    del mapped
    assert list(tmp_path.iterdir()) == []


def test_the_columns_are_told_before_the_rows_are_read(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from leanrec.data.ingest import ingest as reading

    happened: list[str] = []

    class Listen(Callback):
        def on_schema_read(self, description: str) -> None:
            happened.append(description)

    stage_log = reading.stage_log
    monkeypatch.setattr(reading, "stage_log", lambda *a, **k: happened.append("rows") or stage_log(*a, **k))
    items = pd.DataFrame({"item": ["item-1"], "title": ["One"]})
    ingest(large, items=items, run=Run(callbacks=(Listen(),)))
    size = format_bytes(large.stat().st_size)
    assert happened == [f"Reading {large} ({size}): user=user, item=item, time=time; item table: id=item.", "rows"]


def test_a_bar_shows_how_far_a_statement_is(
    large: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, seen = Run(callbacks=(ProgressBar(),)), []
    with open_engine(run) as engine:
        assert engine.query_progress() is None
        engine.execute("CREATE TABLE numbers AS SELECT hash(i) AS n FROM range(300000) AS r(i)")
        with ThreadPoolExecutor(1) as pool:
            sums = (
                "CREATE TABLE sums AS SELECT sum(hash(a.n, b.n)) FROM numbers a JOIN (FROM numbers LIMIT 30) b ON true"
            )
            work = pool.submit(engine.execute, sums)
            while not work.done():
                seen.append(engine.query_progress())
            work.result()
    assert all(percent is None or 0 <= percent <= 100 for percent in seen)
    assert any(percent is not None for percent in seen)
    ingest(large, run=run)
    assert capsys.readouterr().err == ""  # no terminal
    monkeypatch.setenv("FORCE_COLOR", "1")
    ingest(large, run=run)
    assert "Writing events" in capsys.readouterr().err


def test_a_limit_that_nothing_fits_is_refused_before_reading() -> None:
    with pytest.raises(BudgetError, match="Reading a log needs at least 72.7 MB of memory. Got 2 MB"):
        ingest(FRAME, run=Run(budget=Budget(memory=2_000_000)))


def test_events_are_in_time_order_with_ties_in_log_order(large: Path) -> None:
    data, _ = ingest(large, cleaning=CleaningRules(duplicates="keep"))
    frame = pd.read_csv(large)
    expected = frame.assign(row=np.arange(len(frame))).sort_values(["user", "time", "row"])
    assert data.users.ids[data.events.user].tolist() == expected["user"].tolist()
    assert data.items.ids[data.events.item].tolist() == expected["item"].tolist()
    np.testing.assert_array_equal(data.events.time, expected["time"])


def test_threads_change_nothing(large: Path) -> None:
    assert ingest(large, run=Run(threads=1)).data.fingerprint == ingest(large, run=Run(threads=2)).data.fingerprint


def test_nothing_left_says_what_happened_to_all_rows() -> None:
    with pytest.raises(
        DataError, match=r"No event is left of the 2 rows .* Rejected: missing user: 1; missing item: 1"
    ):
        ingest(pd.DataFrame({"user": [None, "a"], "item": ["x", None]}))


def test_the_sample_is_the_published_one() -> None:
    data = load_sample()
    assert data.shape == DatasetShape(610, 9742, 100836)
    assert data.rating_range == (0.5, 5.0)
    assert data.item_table.columns["title"][data.items.row(1)] == "Toy Story (1995)"
    assert data.item_table.columns["tags"][data.items.row(1)] == "fun|pixar"
    assert (sample_path() / "LICENCE.txt").read_text(encoding="utf-8").startswith("Summary")
    assert sum(path.stat().st_size for path in sample_path().iterdir()) < 1_000_000


def test_twins_agree_on_the_sample_with_positive_from() -> None:
    data = load_sample(positive_from=4)
    frame = pd.read_parquet(sample_path() / "ratings.parquet")
    assert (data.events.weight > 0).sum() == (frame["rating"] >= 4).sum()
    assert data.ratings.nnz == len(frame)


def test_a_held_out_file_is_read_like_the_log(tmp_path: Path) -> None:
    train, test = tmp_path / "train.txt", tmp_path / "test.txt"
    train.write_text("".join(f"{u};{u % 3};{1 + u % 28}/03/2024;{2 + u % 3}\n" for u in range(40)))
    test.write_text("1;2;05/04/2024;5\n2;1;06/04/2024;1\n")
    rules = CleaningRules(rating_range=(1, 5))
    data = ingest(
        train, names="who,what,when,mark", columns={"user": "who", "item": "what", "time": "when", "rating": "mark"}, delimiter=";",
        cleaning=rules, positive_from=4, out=tmp_path / "data",
    ).data  # fmt: skip
    for like in (data, open_dataset(tmp_path / "data").data):
        held_out = ingest(test, like=like)
        assert held_out.report.rejected == {}
        assert held_out.report.start == "2024-04-05T00:00:00Z"
        assert held_out.data.events.weight.tolist() == [1, 0]
        assert held_out.data.rating_range == (1, 5)


@pytest.mark.parametrize(
    ("known", "later", "scale"),
    [
        ([1, 2, 3, 4], [5, 4, 3], (1, 5)),
        ([2, 3, 4], [1, 3], (1, 4)),
        ([2, 3, 4], [2, 5], (1, 5)),
        ([1, 2, 3, 4, 4.5], [0.5, 5], (0.5, 5)),
        ([3, 2], [6, 7], (1, 7)),
        ([10, 20, 70], [101, 0], (0, 101)),
        ([1, 5], [3], (1, 5)),
    ],
)
def test_a_held_out_file_may_widen_a_scale_that_was_inferred(
    tmp_path: Path, known: list[float], later: list[float], scale: tuple[float, float]
) -> None:
    """The best ratings of a test part are no errors because training has none of them."""
    logs = {}
    for name, ratings in (("log", known), ("later", later)):
        frame = pd.DataFrame({"rating": np.array(ratings * 6, float)}).rename_axis("item").reset_index()
        logs[name] = frame.assign(user=frame["item"] % 4, time=1_700_000_000 + frame["item"])
    data = ingest(logs["log"], out=tmp_path / "data").data
    for like in (data, open_dataset(tmp_path / "data").data):
        found = ingest(logs["later"], like=like)
        assert found.report.rejected == {}
        assert found.data.ratings.nnz == len(logs["later"])
        assert found.data.rating_range == scale
        assert any("it is read like" in each for each in found.report.warnings) == (scale != data.rating_range)
    settled = ingest(logs["log"], cleaning=CleaningRules(rating_range=(min(known), max(known)))).data
    strict = [each for each in later if min(known) <= each <= max(known)]
    if strict:
        assert len(ingest(logs["later"], like=settled).data.events) == 6 * len(strict)


def test_rejected_rows_of_parquet_are_counted_as_those_of_text(tmp_path: Path) -> None:
    times = [1_600_000_000 + i for i in range(6)]
    frame = pd.DataFrame(
        {"user": ["ann", None, "bo", "bo", "cy", "cy"], "item": ["a", "b", None, "c", "d", "e"], "time": times}
    )
    frame.loc[5, "time"] = 99
    frame.to_parquet(tmp_path / "log.parquet", index=False)
    frame.to_csv(tmp_path / "log.csv", index=False)
    reports = [ingest(tmp_path / name).report for name in ("log.parquet", "log.csv")]
    rejected = {"missing user": 1, "missing item": 1, "time before 1990 or in the future": 1}
    assert [report.rejected for report in reports] == [rejected, rejected]
    assert [report.rows_read for report in reports] == [6, 6]


PARTS = {
    "seconds": (",", "%s", "."),
    "milliseconds": (",", "%s000", "."),
    "dates": ("\t", "%Y-%m-%dT%H:%M:%S", "."),
    "zones": (",", "%Y-%m-%dT%H:%M:%SZ", "."),
    "semicolons": (";", "%d.%m.%Y %H:%M:%S", ","),
    "bars": ("|", "%Y-%m-%d %H:%M:%S", "."),
}


@pytest.mark.parametrize(("first", "second"), list(itertools.pairwise([*PARTS, "seconds"])))
def test_parts_of_a_folder_may_have_different_notations(tmp_path: Path, first: str, second: str) -> None:
    """Each part has delimiters, decimal marks and times of its own."""
    expected = []
    for part, name in enumerate((first, second)):
        delimiter, notation, decimal = PARTS[name]
        lines = [delimiter.join(["user", "item", "rating", "timestamp"])]
        for row in range(20):
            day = datetime.datetime(2024, 3 + part, 1 + row, 9, 30, tzinfo=datetime.UTC)
            time, rating = int(day.timestamp()), 0.5 + row % 5
            text = day.strftime(notation.replace("%s", str(time)))
            lines.append(delimiter.join([f"u{row % 4}", f"i{row}", str(rating).replace(".", decimal), text]))
            expected.append((f"u{row % 4}", f"i{row}", rating, time))
        (tmp_path / f"{part}.csv").write_text("\n".join(lines) + "\n")
    data = ingest(tmp_path).data
    events = data.events
    found = zip(data.users.ids[events.user], data.items.ids[events.item], events.rating, events.time, strict=True)
    assert sorted(found) == sorted(expected)


def test_names_in_another_order_are_told(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,time\na,x,1600000000\nb,y,1600000001\nitem,user,time\nz,c,1600000002\n")
    (told,) = (each for each in ingest(path).report.warnings if "another order" in each)
    assert told.startswith("Time not understood, such as 'time': 1 row was rejected.")
    again = path.read_text().replace("item,user,time\nz,c", "user,item,time\nc,z")
    path.write_text(again)
    assert not any("another order" in each for each in ingest(path).report.warnings)
