"""``leanrec ingest``: reports, warnings and options of reading."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from leanrec.data.ingest.ingest import ingest
from leanrec.data.ingest.report import report_from_dict


def test_ingest_reports_and_saves(run: Any, log: Path, tmp_path: Path) -> None:
    code, out, _ = run("ingest", log, "--out", tmp_path / "data", "--json")
    report = json.loads(out)
    assert code == 0
    assert (report["events"], report["users"], report["items"]) == (7, 4, 5)
    code, out, _ = run("fit", "popularity", tmp_path / "data", "--out", tmp_path / "m", "--json")
    assert code == 0
    assert json.loads(out)["cost"]["wall"] > 0


def test_the_columns_are_noted_first_but_not_beside_json(run: Any, log: Path, tmp_path: Path) -> None:
    _, out, notes = run("ingest", log)
    assert notes.splitlines()[0].startswith(f"Reading {log} (")
    assert notes.splitlines()[0].endswith("): user=user_id, item=content_id, event_type=behavior, content=content.")
    assert "Reading" not in out
    assert run("ingest", log, "--json")[2] == ""
    _, _, notes = run("fit", "popularity", log, "--out", tmp_path / "m")
    assert [line.partition(" ")[0] for line in notes.splitlines()[:2]] == ["Reading", "Read"]


def test_report_shows_columns_and_rejected_rows(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text(
        "userId,movieId,rating,timestamp\n1,10,4,964982703\n1,11,nan,964982704\n,12,3,964982705\n2,10,5,964982706\n2,10,5,964982706\n"
    )
    quarantine = tmp_path / "aside.csv"
    code, out, _ = run("ingest", file, "--rejected", quarantine)
    assert code == 0
    assert "user=userId" in out
    assert "Rejected rows" in out
    assert "duplicate" in out
    assert quarantine.read_text().count("\n") >= 3


def test_time_format_is_a_flag(run: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("user,item,date\na,x,05/03/2024\nb,y,01/02/2024\n")
    code, _, err = run("ingest", log)
    assert code == 2
    assert '--time-format "%d/%m/%Y" or --time-format "%m/%d/%Y"' in " ".join(err.split())
    code, out, _ = run("ingest", log, "--time-format", "%d/%m/%Y", "--json")
    assert code == 0
    assert json.loads(out)["start"] == "2024-02-01T00:00:00Z"


@pytest.fixture
def rated(tmp_path: Path) -> Path:
    rows = [f"u{i % 40},i{i % 50},{1 + i % 5},{1_600_000_000 + i}" for i in range(2000)]
    rows[7] = "u7,i7,99,1600000007"
    path = tmp_path / "ratings.csv"
    path.write_text("\n".join(["user,item,rating,timestamp", *rows]))
    return path


def test_report_names_rows_outside_an_inferred_rating_range(run: Any, rated: Path) -> None:
    code, out, _ = run("ingest", rated)
    printed = " ".join(out.split())
    assert code == 0
    assert "1 to 5, inferred from the ratings; 1 row outside" in printed
    assert "1 row outside was rejected, such as 99. For another scale pass --rating-range LOW..HIGH" in printed
    report = ingest(rated).report
    assert (report.rating_range, report.rating_range_inferred) == ((1.0, 5.0), True)
    assert report_from_dict(json.loads(json.dumps(report.to_dict()))) == report


def test_given_rating_range_has_no_warning(run: Any, rated: Path) -> None:
    _, out, _ = run("ingest", rated, "--rating-range", "1..100", "--json")
    report = json.loads(out)
    assert (report["rating_range"], report["rating_range_inferred"]) == ([1.0, 100.0], False)
    assert not any("usual scale" in warning for warning in report["warnings"])
    _, out, _ = run("ingest", rated, "--rating-range", "1..5")
    assert "1 to 5, as given; 1 row outside" in " ".join(out.split())


def test_rules_over_the_whole_log_are_named(run: Any, tmp_path: Path) -> None:
    rows = [f"u{i % 20},i{(i // 20 + i % 20) % 30},{1_600_000_000 + i}" for i in range(400)] + ["solo,i1,1600000999"]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["user,item,timestamp", *rows]))
    words = ("-m", "popularity", "--split", "leave-one-out")
    _, out, _ = run("ingest", path, "--min-user-events", 3, "--json")
    said = "rules that use the whole log (k-core 1), before any split"
    assert any(said in warning for warning in json.loads(out)["warnings"])
    _, _, err = run("evaluate", path, "--min-user-events", 3, *words)
    assert said in " ".join(err.split())
    _, _, err = run("evaluate", path, *words)
    assert "whole log" not in err
    held = tmp_path / "test.csv"
    held.write_text("user,item,timestamp\nu1,i29,1600002000\nu2,i28,1600002000\n")
    _, _, err = run("evaluate", path, "--min-user-events", 3, "-m", "popularity", "--test", held)
    assert "whole log" not in err


def test_report_tells_how_to_find_models_that_use_the_user_table(run: Any, tmp_path: Path) -> None:
    log, people = tmp_path / "log.csv", tmp_path / "people.csv"
    log.write_text("user,item\na,x\nb,y\na,y\n")
    people.write_text("user,age\na,31\nb,47\n")
    _, out, _ = run("ingest", log, "--users", people)
    assert "leanrec models --reads users" in out
    _, out, _ = run("ingest", log)
    assert "--reads users" not in out


def test_encoding_is_an_option(run: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_bytes("user,item,title\n张三,书一,红楼梦\n李四,书二,西游记\n".encode("gbk"))
    code, out, _ = run("ingest", log, "--encoding", "gbk", "--json")
    assert code == 0
    assert json.loads(out)["events"] == 2
    code, _, err = run("ingest", log, "--encoding", "utf-8")
    assert code == 2
    assert f"{log}, line 2: byte" in " ".join(err.split())
    assert "--encoding NAME" in err


def test_a_known_data_set_is_named_by_a_flag_or_recognized(run: Any, tmp_path: Path) -> None:
    rows = "".join(f"{u}::{(u + k) % 9}::{1 + k}::{1_600_000_000 + k}\n" for u in range(9) for k in range(5))
    (tmp_path / "ratings.dat").write_text(rows)
    (tmp_path / "movies.dat").write_text("".join(f"{i}::Film {i}::Drama\n" for i in range(9)))
    code, out, _ = run("ingest", tmp_path, "--as", "movielens-1m", "--json")
    assert code == 0
    assert json.loads(out)["item_columns"] == ["title", "genres"]
    code, out, _ = run("ingest", tmp_path)
    assert code == 0
    assert "pass --as none" in out.replace("\n", " ")
    code, _, err = run("ingest", tmp_path, "--as", "none")
    assert code == 2
    code, _, err = run("ingest", tmp_path, "--as", "movielens-2m")
    assert code == 2
    assert "Did you mean 'movielens-1m'" in err


@pytest.mark.system
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_in_words_and_leave_nothing(number: int, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    with log.open("w") as out:
        out.write("user,item,time\n")
        for i in range(1_500_000):
            out.write(f"{i * 7919 % 90_001},{i % 9_001},{1_600_000_000 + i}\n")
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, "-c", "from leanrec.cli import main; main()", "ingest", log, "--out", tmp_path / "out"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path / "tmp")}
    )
    while process.poll() is None and not list((tmp_path / "tmp").glob("leanrec-*")):
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate()
    assert (process.returncode, err) == (130, "error: Interrupted. No incomplete file was left.\n")
    assert list((tmp_path / "tmp").glob("leanrec-*")) == []
    assert sorted(each.name for each in tmp_path.iterdir()) == ["log.csv", "tmp"]


def test_columns_of_a_file_without_names_are_named_on_the_command_line(run: Any, tmp_path: Path) -> None:
    log, items = tmp_path / "stars.dat", tmp_path / "films.dat"
    log.write_text("1::10::4::1600000000\n2::11::5::1600000001\n")
    items.write_text("10::Heat (1995)::Drama\n11::Up (2009)::Comedy\n")
    code, _, err = run("ingest", log)
    assert code == 2
    assert (
        'such as --column user=1 --column item=2, or name all columns in their order, such as --names "user,item"'
        in err
    )
    assert run("ingest", log, "-c", "user=1", "-c", "item=2")[0] == 0
    named = ("ingest", log, "--names", "user,item,rating,time", "--delimiter", "::")
    code, _, err = run(*named, "--items", items)
    assert code == 2
    assert "--column items.id=1" in err
    code, out, _ = run(*named, "--items", items, "--item-names", "item,title,genres")
    assert code == 0
    assert "title, genres" in out


def test_a_folder_before_an_equals_sign_is_no_event_type(run: Any, tmp_path: Path) -> None:
    (tmp_path / "date=1").mkdir()
    (tmp_path / "date=1" / "log.csv").write_text("user,item\n1,2\n")
    assert run("ingest", f"{tmp_path}/date=*/log.csv")[0] == 0


def test_purchases_and_returns_are_told_with_flags_that_work(run: Any, tmp_path: Path) -> None:
    log = tmp_path / "sales.csv"
    log.write_text("order_id,user,item,quantity\n1,ann,mug,2\n2,bob,mug,1\n3,bob,mug,-1\n4,ann,cup,1\n")
    code, out, _ = run("ingest", log)
    told = " ".join(out.split())
    assert code == 0
    assert "purchase 2 (weight 3), return 1 (weight 0)" in told
    assert "--column event_type=" in told
    assert "--column weight=quantity" in told
    code, out, _ = run("ingest", log, "--column", "event_type=", "--json")
    assert (code, list(json.loads(out)["event_types"])) == (0, ["interaction"])
    code, out, _ = run("ingest", log, "--column", "weight=quantity", "--json")
    assert (code, json.loads(out)["events"]) == (0, 3)
