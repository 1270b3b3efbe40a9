"""Columns without a role are told with their contents."""

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.followed_advice import list_advice
from leanrec.data.engine import open_engine
from leanrec.data.ingest.ingest import ingest
from leanrec.data.ingest.meaning.unused_columns import describe_unused
from leanrec.data.ingest.report import DataReport
from leanrec.data.ingest.sources import SourcePart
from leanrec.errors import ColumnError
from leanrec.run import Run


def test_every_column_that_is_not_used_is_told() -> None:
    frame = pd.DataFrame(
        {
            "user": ["a", "b", "c"],
            "item": ["x", "y", "z"],
            "shop": [1, 2, 90],
            "note": ["call", "pay", "wait"],
            "empty": [None, None, None],
            "device": ["web", "web", "web"],
        }
    )
    warnings = ingest(frame).report.warnings
    assert [each for each in warnings if each.startswith("Not used")] == [
        'Not used: shop (numbers from 1 to 90; as the weight: columns={"weight": "shop"}, about the item columns={"content": "shop"}).',
        'Not used: note (texts such as \'call\'; about the item: columns={"content": "note"}).',
        "Not used: empty (no values in the first rows).",
        'Not used: device (only \'web\'; about the item: columns={"content": "device"}).',
    ]


@pytest.mark.parametrize("unit", [1, 1000, 10**6, 10**9])
def test_numbers_of_the_clock_are_offered_as_the_time_and_the_advice_works(tmp_path: Path, unit: int) -> None:
    file = tmp_path / "plays.txt"
    times = [1_260_759_144, 1_260_759_179, 1_260_759_182]
    file.write_text(
        "".join(f"{user}|{item}|{time * unit}\n" for user, item, time in zip("718", "113", times, strict=True))
    )
    roles = {"user": "1", "item": "2"}
    assert any('as the time: columns={"time": "3"}' in each for each in ingest(file, columns=roles).report.warnings)
    assert sorted(ingest(file, columns=roles | {"time": "3"}).data.events.time.tolist()) == times


def test_the_advice_works() -> None:
    frame = pd.DataFrame({"user": [1, 2], "item": [1, 2], "shop": [3, 4], "day": ["mon", "tue"]})
    data, report = ingest(frame, columns={"weight": "shop", "content": "day"})
    assert data.events.weight.tolist() == [3, 4]
    assert data.item_table.columns["day"].tolist() == ["mon", "tue"]
    assert not [each for each in report.warnings if each.startswith("Not used")]


@pytest.mark.parametrize("word", ["Cancelled", "annulé", "devuelto", "storniert", "已取消", "refunded", "отменён"])
def test_purchases_that_were_taken_back_are_told_and_the_advice_works(word: str) -> None:
    frame = pd.DataFrame(
        {"user": [1, 1, 2], "item": [1, 2, 1], "order_id": [7, 8, 9], "status": ["sent", word, "sent"]}
    )
    told = [each for each in ingest(frame).report.warnings if each.startswith("Not used: status")]
    assert len(told) == 1
    assert repr(word) in told[0]
    assert 'columns={"event_type": "status"}' in told[0]
    data, _ = ingest(frame, columns={"event_type": "status"})
    assert data.events.weight.tolist() == [1, 0, 1]


@pytest.mark.parametrize("name", ["tagID", "review_id", "品牌ID"])
def test_ids_are_never_advised_as_weights(name: str) -> None:
    frame = pd.DataFrame({"user": [1, 1, 2], "item": [1, 2, 1], name: [70, 80, 90]})
    told = [each for each in ingest(frame).report.warnings if each.startswith(f"Not used: {name}")]
    assert told == [f'Not used: {name} (numbers from 70 to 90; about the item: columns={{"content": "{name}"}}).']


@pytest.mark.parametrize(
    ("name", "values", "role"),
    [
        ("delivery_day", [20240101, 20240131, 20241231], "time"),
        ("zone_code_sum", [20249901, 20249902, 20249903], "weight"),
        ("chance", [float("nan")] * 3, "content"),
        ("Date Shipped", ["13/02/2024", "14/03/2024", "15/04/2024"], "time"),
        ("long_view", [0, 1, 0], "label"),
        ("finished", ["yes", "no", "no"], "label"),
        ("anonymous_code", ["a", "b", "b"], "content"),
        ("shelf", ["top", "low", "low"], "event_type"),
    ],
)
def test_the_advice_fits_the_values(name: str, values: list[object], role: str) -> None:
    frame = pd.DataFrame({"user": [1, 1, 2] * 2, "item": [1, 2, 1] * 2, name: values * 2})
    told = [each for each in ingest(frame).report.warnings if each.startswith(f"Not used: {name}")]
    assert len(told) == 1
    if name != "chance":
        assert f'columns={{"{role}": "{name}"}}' in told[0]


def test_the_advice_about_dates_works() -> None:
    frame = pd.DataFrame(
        {"user": [1, 1, 2], "item": [1, 2, 1], "Date Shipped": ["13/02/2024", "14/03/2024", "15/04/2024"]}
    )
    assert any('columns={"time": "Date Shipped"}' in each for each in ingest(frame).report.warnings)
    times = ingest(frame, columns={"time": "Date Shipped"}).data.events.time
    assert pd.to_datetime(sorted(times.tolist()), unit="s").month.tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    ("name", "values"),
    [("is_dislike", [0, 1, 0]), ("skipped", ["true", "false", "false"]), ("returned", ["no", "yes", "no"])],
)
def test_marks_of_the_opposite_of_a_preference_are_no_role(name: str, values: list[object]) -> None:
    frame = pd.DataFrame({"user": [1, 1, 2], "item": [1, 2, 1], name: values})
    told = [each for each in ingest(frame).report.warnings if each.startswith(f"Not used: {name}")]
    assert len(told) == 1
    assert "the opposite of a preference" in told[0]
    assert "columns=" not in told[0]
    typed = frame.assign(event=["dislike" if value in {1, "true", "yes"} else "view" for value in values])
    assert sorted(ingest(typed).data.events.weight.tolist()) == [0, 1, 1]


def test_a_label_is_not_advised_beside_event_types() -> None:
    frame = pd.DataFrame({"user": [1, 1, 2], "item": [1, 2, 1], "event": ["a", "b", "b"], "long_view": [0, 1, 0]})
    told = next(each for each in ingest(frame).report.warnings if each.startswith("Not used: long_view"))
    assert '"label"' not in told
    plain = ingest(frame.drop(columns="event"), columns={"label": "long_view"}).data
    assert sorted(plain.events.weight.tolist()) == [0, 0, 1]


def test_labels_that_are_ratings_are_told_with_advice_that_works() -> None:
    frame = pd.DataFrame({"user": [1, 1, 2], "item": [1, 2, 1], "label": [1, 4, 5]})
    assert any('columns={"rating": "label"}' in each for each in ingest(frame).report.warnings)
    rating = ingest(frame, columns={"rating": "label"}).data.events.rating
    assert rating is not None
    assert sorted(rating.tolist()) == [1, 4, 5]


SCALES: dict[str, list[float]] = {
    "1 to 5": [1, 2, 3, 4, 5, 5],
    "1 to 10": [1, 4, 7, 8, 10, 10],
    "0 to 5": [0, 2, 3, 4, 5, 5],
    "halves": [0.5, 3.5, 4, 4.5, 5, 5],
    "0 to 10": [0, 5, 6, 8, 9, 10],
    "1 to 7": [1, 2, 5, 6, 7, 7],
    "few low ones": [2, 3, 4, 4, 5, 5],
    "none below 3": [3, 4, 4, 5, 5, 5],
}


def write_log(path: Path, third: list[float], name: str | None) -> Path:
    """Write users, items and a third column as CSV, Parquet or lines of JSON; without a line of names where it has none."""
    frame = pd.DataFrame({"user": list("aabbcc"), "item": list("xyxzyz"), name or "3": third})
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False, header=name is not None)
    return path


def list_roles(report: DataReport) -> dict[str, list[str]]:
    """Return column → the roles that the report offers, in its order."""
    told = [each.removeprefix("Not used: ") for each in report.warnings if each.startswith("Not used: ")]
    return {each.partition(" (")[0]: [role for _, value in list_advice(each) for role in value] for each in told}


def test_numbers_of_a_scale_are_offered_as_the_rating_before_the_weight() -> None:
    frame = pd.DataFrame({"user": list("aabbcc"), "item": list("xyxzyz"), **SCALES})
    offered = list_roles(ingest(frame).report)
    assert offered == {name: ["rating", "weight", "content"] for name in SCALES}


@pytest.mark.parametrize("scale", ["1 to 5", "halves"])
def test_ratings_of_a_scale_may_be_weights_too(scale: str) -> None:
    frame = pd.DataFrame({"user": list("aabbcc"), "item": list("xyxzyz"), "opinion": SCALES[scale]})
    rating = ingest(frame, columns={"rating": "opinion"}).data.events.rating
    assert rating is not None
    assert sorted(rating.tolist()) == sorted(SCALES[scale])
    assert sorted(ingest(frame, columns={"weight": "opinion"}).data.events.weight.tolist()) == sorted(SCALES[scale])


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_numbers_of_a_scale_are_offered_as_the_rating_in_every_format(tmp_path: Path, suffix: str) -> None:
    path = write_log(tmp_path / f"log{suffix}", [1, 2, 3, 4, 5, 5], "opinion")
    told = next(each for each in ingest(path).report.warnings if each.startswith("Not used: opinion"))
    assert next(value for _, value in list_advice(told)) == {"rating": "opinion"}
    assert ingest(path, columns={"rating": "opinion"}).data.rating_range == (1, 5)


def test_a_refusal_offers_ratings_and_times_of_a_file_without_names(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("".join(f"a{n},x{n},{1 + n % 5},{1_600_000_000 + n},{7 * n}\n" for n in range(9)))
    with pytest.raises(ColumnError) as refusal:
        ingest(path)
    advice = [value for name, value in list_advice(str(refusal.value)) if name == "columns"]
    assert advice[-3:] == [{"rating": "3"}, {"weight": "3"}, {"time": "4"}]
    data = ingest(path, columns={**advice[0], **advice[-3], **advice[-1]}).data
    assert data.rating_range == (1, 5)
    assert sorted(data.events.time.tolist()) == [1_600_000_000 + n for n in range(9)]
    assert ingest(path, columns={**advice[0], **advice[-2]}).data.events.weight.max() == 5


def test_a_refusal_offers_ratings_of_unknown_names(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log.csv", [1, 2, 3, 4, 5, 5], "opinion")
    path.write_text(path.read_text().replace("user", "qui"))
    with pytest.raises(ColumnError, match=r"'opinion' as the rating: columns=\{\"rating\": \"opinion\"\}"):
        ingest(path)


OTHERS: dict[str, tuple[list[object], list[str]]] = {
    "visits": ([1, 1, 1, 2, 9, 40], ["weight", "content"]),
    "units": ([1, 1, 1, 2, 3, 4], ["weight", "content"]),
    "n_clicks": ([1, 2, 3, 4, 5, 5], ["weight", "content"]),
    "depth": ([0.12, 0.5, 3.7, 4.1, 4.9, 5], ["weight", "content"]),
    "joke": ([-9.5, -2, 0, 3.25, 8, 9.75], ["rating", "content"]),
    "anime": ([-1, 7, 8, 8, 9, 10], ["rating", "content"]),
    "thumb": ([-1, 1, 1, 1, -1, 1], ["label", "content"]),
    "seen": ([0, 1, 1, 0, 0, 1], ["label", "content"]),
    "same": ([5, 5, 5, 5, 5, 5], ["content"]),
    "release_date": ([20240101, 20240131, 20241231] * 2, ["content", "time"]),
    "published": (["2024-01-01", "2024-01-31", "2024-02-01"] * 2, ["content", "time"]),
    "Sent": (["13/03/2024", "14/03/2024", "15/03/2024"] * 2, ["time"]),
    "out": (["4/5", "3/5", "5/5", "1/5", "2/5", "5/5"], ["rating", "content"]),
    "drawn": (["★★★", "★", "★★★★★", "★★", "★★★", "★★★"], ["rating", "content"]),
    "sized": (["M-38", "M-39", "M-38", "M-39", "M-38", "M-39"], ["event_type", "content"]),
}


def test_the_roles_of_other_numbers_and_of_texts_follow_from_their_values() -> None:
    values = {name: each for name, (each, _) in OTHERS.items()}
    frame = pd.DataFrame({"user": list("aabbcc"), "item": list("xyxzyz"), **values})
    assert list_roles(ingest(frame).report) == {name: roles for name, (_, roles) in OTHERS.items()}


@pytest.mark.parametrize("name", ["joke", "thumb", "out", "drawn"])
def test_the_first_role_that_is_offered_works(name: str) -> None:
    frame = pd.DataFrame({"user": list("aabbcc"), "item": list("xyxzyz"), name: OTHERS[name][0]})
    report = ingest(frame, columns={OTHERS[name][1][0]: name}).report
    assert (report.events, dict(report.rejected)) == (len(frame), {})


NUMBERS = (
    st.floats() | st.integers(19_000_000, 21_010_000).map(float) | st.sampled_from([-1.0, 0.0, 1.0, 5.0, 45_364.0])
)
CELLS = (
    st.text(max_size=6) | NUMBERS.map(str) | st.sampled_from(["nan", "inf", "-Infinity", "1e400", "20240131", "4/5"])
)


def test_any_values_can_be_described() -> None:
    part = SourcePart("x", "x", {"number": "DOUBLE", "cell": "VARCHAR"}, "sql")

    @settings(max_examples=25, deadline=None)
    @given(st.lists(NUMBERS, min_size=1, max_size=5), st.lists(CELLS, min_size=1, max_size=5))
    def describe(numbers: list[float], cells: list[str]) -> None:
        frame = pd.DataFrame({"number": pd.Series(numbers), "cell": pd.Series(cells, dtype="string")})
        engine.register_table("x", frame)
        told = describe_unused(engine, [part], [set()], [False])
        names = [each.partition(",")[0].partition(" (")[0] for each in told]
        assert names == ["Not used: number", "Not used: cell"]

    with open_engine(Run()) as engine:
        describe()


@pytest.mark.parametrize(
    "pattern",
    [
        "%d %b %Y %H:%M",
        "%a %b %d %H:%M:%S +0000 %Y",
        "%d-%b-%y",
        "%b %d, %Y",
        "%B %d, %Y, %H:%M",
        "%a, %d %b %Y %H:%M:%S",
        " %d %b %Y ",
    ],
)
def test_dates_with_names_of_months_are_offered_as_the_time(pattern: str) -> None:
    days = pd.date_range("2024-03-11 10:00", periods=12, freq="29h")
    frame = pd.DataFrame(
        {
            "user": [f"u{i % 3}" for i in range(12)],
            "item": [f"i{i % 4}" for i in range(12)],
            "x": days.strftime(pattern),
        }
    )
    (told,) = (each for each in ingest(frame).report.warnings if each.startswith("Not used: x (dates such as"))
    assert told.endswith('; as the time: columns={"time": "x"}).')
    start = ingest(frame, columns={"time": "x"}).report.start
    assert str(start).startswith("2024-03-11")


@pytest.mark.parametrize("text", ["Mar 12", "May", "12 March Street", "Decibel 10", "marbles 12 2024x"])
def test_texts_with_names_of_months_are_no_dates(text: str) -> None:
    frame = pd.DataFrame({"user": [1, 1, 2], "item": [1, 2, 2], "x": [f"{text}", f"{text}", f"{text} a"]})
    (told,) = (each for each in ingest(frame).report.warnings if each.startswith("Not used: x"))
    assert "as the time" not in told


def test_lists_and_objects_that_are_not_used_are_told(tmp_path: Path) -> None:
    lines = [
        {"user": f"u{n % 3}", "params": [{"key": "page", "value": n}], "products": [{"item_id": f"p{n % 4}"}]}
        for n in range(12)
    ]
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    _, report = ingest(path)
    assert [note for note in report.warnings if "params" in note] == ["Not used: params (lists or objects)."]
