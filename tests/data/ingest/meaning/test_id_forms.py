"""Words for nothing, whole numbers printed as 13085.0, and ids printed as b'13085'."""

from pathlib import Path

import pandas as pd
import pytest

from leanrec.data.engine import open_engine
from leanrec.data.ingest.ingest import ingest
from leanrec.data.ingest.meaning.id_forms import MISSING_WORDS, IdForm, find_id_form, is_missing
from leanrec.errors import DataError
from leanrec.run import Run


@pytest.mark.parametrize(
    ("ids", "form"),
    [
        (["a", "b"], IdForm()),
        (["a", "NULL"], IdForm(missing=True)),
        (["11.0", "12"], IdForm(whole=True)),
        (["11.0", "nan"], IdForm(missing=True, whole=True)),
        (["11.0", "1.5"], IdForm()),
        (["011.0"], IdForm()),
        (["7.65612E+16", "a"], IdForm(rounded="7.65612E+16", damaged=True)),
        (["7,65612E+16", "a", "b"], IdForm(rounded="7,65612E+16")),
        (["7.6561198012345678e+16", "1"], IdForm(rounded="7.6561198012345678e+16")),
        ([f"7656119801234{n}000" for n in range(10, 19)], IdForm(rounded="765611980123418000", damaged=True)),
        ([f"12345678901234{n}0" for n in range(10, 19)], IdForm(rounded="12345678901234180", damaged=True)),
        ([f"765611980123{n}000" for n in range(10, 19)] + ["76561198012345671"], IdForm()),
        ([f"7656119801234{n}000" for n in range(10, 13)], IdForm()),
        ([f"{n}000" for n in range(10, 30)], IdForm()),
        (["e+1", "C+12"], IdForm()),
        (["998", "1,001", "12,345"], IdForm(thousands=",")),
        (["1'001"], IdForm(thousands="'")),
        (["1\u00a0001", "nan"], IdForm(missing=True, thousands="\u00a0")),
        (["1 001", " 12 001"], IdForm(thousands=" ")),
        (["1,001.0", "7.0"], IdForm(whole=True, thousands=",")),
        (["732 829 320", "552 100 554"], IdForm()),
        (["1 732 829", "999"], IdForm(thousands=" ")),
        (["998", "1.001"], IdForm(thousands=".")),
        (["1.001", "1.234.567"], IdForm(thousands=".")),
        (["1.001", "1.200"], IdForm()),
        (["192.168.100.101", "10.168.100.102"], IdForm()),
        (["1,001", "1002"], IdForm()),
        (["1,001", "b"], IdForm()),
        (["1,001", "1.002"], IdForm()),
        (["0,001", "1,001"], IdForm()),
        (["1,00,001"], IdForm()),
        (["12-345", "12-346"], IdForm()),
        (["4 006381 333931", "4 006381 333932"], IdForm()),
        (["b'a1'", "b'a2'"], IdForm(printed=True)),
        (["b'a1'", 'b"it\'s"', "nan"], IdForm(missing=True, printed=True)),
        (["'a1'", "'a2'"], IdForm(printed=True)),
        (["ObjectId(5f1e)", "ObjectId('5f1f')", 'ObjectId("5f20")'], IdForm(printed=True)),
        (['="007"', '="12"'], IdForm(printed=True)),
        (['="007"', "12"], IdForm()),
        (["b'a1'", "a2"], IdForm()),
        (["'n sync", "'til tuesday"], IdForm()),
        (["b'caf\\xc3'"], IdForm()),
    ],
)
def test_forms_are_found(ids: list[str], form: IdForm) -> None:
    with open_engine(Run()) as engine:
        engine.register_table("x", pd.DataFrame({"id": ids}))
        assert find_id_form(engine, "x") == form


def test_long_numbers_that_end_in_zeros_are_rounded() -> None:
    with open_engine(Run()) as engine:
        engine.register_table("x", pd.DataFrame({"id": [76561198012340000 + 100 * n for n in range(10)]}))
        assert find_id_form(engine, "x").damaged
        engine.register_table("y", pd.DataFrame({"id": [76561198012340000 + 101 * n for n in range(10)]}))
        assert find_id_form(engine, "y") == IdForm()


def test_damaged_ids_are_refused_and_the_advice_works(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item\n1.23457E+12,a\n1.23458E+12,b\n1.23457E+12,c\n")
    with pytest.raises(DataError, match=r"User ids such as 1.23457E\+12 were rounded.*allow_rejects=True"):
        ingest(path)
    data, report = ingest(path, allow_rejects=True)
    assert len(data.users) == 2
    assert any("were rounded" in each for each in report.warnings)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_words_for_nothing_are_missing_ids(kind: str, tmp_path: Path) -> None:
    users, items = ["NULL", "u1", "(not set)", "u2", "u2", "u2"], ["a", "None", "b", "c", "d", "e"]
    frame = pd.DataFrame({"user": users, "item": items, "time": 1_600_000_000})
    path = tmp_path / f"x.{kind}"
    frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path)
    data, report = ingest(path)
    assert report.rejected == {"missing user": 2, "missing item": 1}
    assert (data.users.ids.tolist(), data.items.ids.tolist()) == (["u2"], ["c", "d", "e"])


def test_numbers_with_a_point_meet_those_of_the_table(tmp_path: Path) -> None:
    log, users = tmp_path / "log.csv", tmp_path / "users.csv"
    log.write_text("user,item\n90001.0,1\n,1\n90002.0,2.0\n", encoding="utf-8")
    users.write_text("user,land\n90001,x\n90002,y\n", encoding="utf-8")
    data, report = ingest(log, users=users)
    assert (data.users.ids.tolist(), data.items.ids.tolist()) == ([90001, 90002], [1, 2])
    assert data.user_table.columns["land"].tolist() == ["x", "y"]
    assert "The user table matches 2 of 2 users of the log." in report.warnings
    assert "User ids are whole numbers that end in .0. They are read without it: 7.0 is 7." in report.warnings


def test_words_for_nothing_have_any_case_and_blanks_around_them() -> None:
    words = [
        f"{before}{each}{after}" for each in MISSING_WORDS for before in ("", " ", "\t\u00a0") for after in ("", " ")
    ]
    texts = [
        *words,
        *map(str.upper, words),
        *map(str.title, words),
        "x",
        "nulls",
        "nullnull",
        "n a",
        "-1",
        "---",
        "0",
        "null\n",
    ]
    with open_engine(Run()) as engine:
        engine.register_table("texts", pd.DataFrame({"x": texts}))
        found = dict(engine.fetch_rows(f"SELECT x, {is_missing('x')} FROM texts"))
        assert engine.fetch_rows(f"SELECT {is_missing('NULL::VARCHAR')}") == [(None,)]
    assert found == {each: each.strip(" \t\u00a0").lower() in MISSING_WORDS for each in texts}


def test_printed_ids_meet_those_of_the_table(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,item\n=\"u1\",ObjectId(5f1e)\nb'u2',ObjectId(5f20)\n")
    (tmp_path / "items.csv").write_text("item,title\n5f1e,One\n5f20,Two\n")
    data, report = ingest(tmp_path / "log.csv", items=tmp_path / "items.csv")
    assert data.users.ids.tolist() == ["u1", "u2"]
    assert data.items.ids.tolist() == ["5f1e", "5f20"]
    assert any("User ids are printed" in each for each in report.warnings)


@pytest.mark.parametrize(
    ("log", "table"),
    [
        (["1,001", "1,002", "7"], ["1001", "1002", "7"]),
        (["1001", "1002", "7"], ["1,001", "1,002", "7"]),
        (["1,001", "1,002", "7"], ["1,001", "1,002", "7"]),
        (["1,001", "1002", "7"], ["1001", "1002", "7"]),
        (["1.001", "1.002", "7"], ["1001", "1002", "7"]),
        (["1001", "1002", "7"], ["1.001", "1.002", "7"]),
        (["1,001.0", "1,002.0", "7.0"], ["1001", "1002", "7"]),
    ],
)
def test_numbers_with_thousands_separators_meet_those_of_the_table(
    tmp_path: Path, log: list[str], table: list[str]
) -> None:
    pd.DataFrame({"user": ["a", "a", "b"], "item": log}).to_csv(tmp_path / "log.csv", index=False)
    pd.DataFrame({"item": table, "title": ["One", "Two", "Seven"]}).to_csv(tmp_path / "items.csv", index=False)
    data, report = ingest(tmp_path / "log.csv", items=tmp_path / "items.csv")
    assert data.items.ids.tolist() == [7, 1001, 1002]
    assert data.item_table is not None
    assert data.item_table.columns["title"].tolist() == ["Seven", "One", "Two"]
    assert "The item table matches 3 of 3 items of the log." in report.warnings
    assert any("whole numbers with thousands separators" in each for each in report.warnings)


@pytest.mark.parametrize(
    "ids",
    [
        ["1.001", "1.200", "2.017"],
        ["12-345", "12-346", "99-001"],
        ["4 006381 333931", "4 006381 333948", "5 901234 123457"],
    ],
)
def test_codes_that_look_like_thousands_stay_text_and_nothing_is_told(tmp_path: Path, ids: list[str]) -> None:
    pd.DataFrame({"user": ["a", "b", "b"], "item": ids}).to_csv(tmp_path / "log.csv", index=False)
    pd.DataFrame({"item": ids, "title": ["One", "Two", "Three"]}).to_csv(tmp_path / "items.csv", index=False)
    data, report = ingest(tmp_path / "log.csv", items=tmp_path / "items.csv")
    assert data.items.ids.tolist() == sorted(ids)
    assert not any("separators" in each for each in report.warnings)


def test_decimal_says_what_a_point_in_ids_means(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item\n1.001,998\n1.002,1.001\n")
    assert ingest(path, decimal=",").data.users.ids.tolist() == [1001, 1002]
    assert ingest(path, decimal=".").data.items.ids.tolist() == ["1.001", "998"]


def test_typed_text_and_links_may_have_thousands_separators(tmp_path: Path) -> None:
    log = pd.DataFrame({"user": ["a", "a", "b"], "item": ["1,001", "1,002", "7"]})
    links = pd.DataFrame({"head": ["1,001", "7"], "relation": ["by", "by"], "tail": ["z", "z"]})
    links.to_csv(tmp_path / "links.csv", index=False)
    data, report = ingest(log, item_links=tmp_path / "links.csv")
    assert data.items.ids.tolist() == ["1001", "1002", "7"]
    assert data.item_links is not None
    assert (
        "Item links: head ids are whole numbers with thousands separators, such as 1,001. They are read without them: 1001."
        in report.warnings
    )


@pytest.mark.parametrize("mark", [",", " "])
def test_numbers_with_thousands_separators_are_no_lists(tmp_path: Path, mark: str) -> None:
    numbers = [998, 1_001, 12_345, 1_234_567, 2_000_001]
    path = tmp_path / "log.tsv"
    path.write_text("user\titem\n" + "".join(f"a{n % 2}\t{n:,}\n".replace(",", mark) for n in numbers))
    assert ingest(path).data.items.ids.tolist() == numbers
    path.write_text("user\titem\n" + "".join(f"a{n}\t101{mark}20{n}{mark}30{n}\n" for n in range(5)))
    data, report = ingest(path)
    assert len(data.events) == 15
    assert any("were read as lists" in each for each in report.warnings)
