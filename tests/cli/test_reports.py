"""What reports say of scales, of rules that see the whole log, and of tables that few models read."""

import json
from pathlib import Path
from typing import Any

import pytest

from leanrec.data.ingest.ingest import ingest
from leanrec.data.ingest.report import report_from_dict
from leanrec.models import list_models


@pytest.fixture
def rated(tmp_path: Path) -> Path:
    rows = [f"u{i % 40},i{i % 50},{1 + i % 5},{1_600_000_000 + i}" for i in range(2000)]
    rows[7] = "u7,i7,99,1600000007"
    path = tmp_path / "ratings.csv"
    path.write_text("\n".join(["user,item,rating,timestamp", *rows]))
    return path


def test_an_inferred_scale_says_what_it_left_out(run: Any, rated: Path) -> None:
    code, out, _ = run("ingest", rated)
    shown = " ".join(out.split())
    assert code == 0
    assert "1 to 5, inferred from the ratings; 1 row outside" in shown
    assert "1 row outside was set aside, such as 99. If another scale is meant, name it: --rating-range LOW..HIGH" in shown
    report = ingest(rated).report
    assert (report.rating_range, report.rating_range_inferred) == ((1.0, 5.0), True)
    assert report_from_dict(json.loads(json.dumps(report.to_dict()))) == report


def test_a_given_scale_is_not_commented_on(run: Any, rated: Path) -> None:
    _, out, _ = run("ingest", rated, "--rating-range", "1..100", "--json")
    report = json.loads(out)
    assert (report["rating_range"], report["rating_range_inferred"]) == ([1.0, 100.0], False)
    assert not any("usual scale" in warning for warning in report["warnings"])
    _, out, _ = run("ingest", rated, "--rating-range", "1..5")
    assert "1 to 5, as given; 1 row outside" in " ".join(out.split())


def test_rules_that_saw_the_held_out_events_are_named(run: Any, tmp_path: Path) -> None:
    rows = [f"u{i % 20},i{(i // 20 + i % 20) % 30},{1_600_000_000 + i}" for i in range(400)] + ["solo,i1,1600000999"]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["user,item,timestamp", *rows]))
    words = ("-m", "popularity", "--split", "leave-one-out")
    _, out, _ = run("ingest", path, "--min-user-events", 3, "--json")
    said = "rules that look at the whole log (k-core 1), before any split"
    assert any(said in warning for warning in json.loads(out)["warnings"])
    _, _, err = run("evaluate", path, "--min-user-events", 3, *words)
    assert said in " ".join(err.split())
    _, _, err = run("evaluate", path, *words)
    assert "whole log" not in err
    held = tmp_path / "test.csv"
    held.write_text("user,item,timestamp\nu1,i29,1600002000\nu2,i28,1600002000\n")
    _, _, err = run("evaluate", path, "--min-user-events", 3, "-m", "popularity", "--test", held)
    assert "whole log" not in err


def test_who_reads_the_user_table_is_said(run: Any, tmp_path: Path) -> None:
    log, people = tmp_path / "log.csv", tmp_path / "people.csv"
    log.write_text("user,item\na,x\nb,y\na,y\n")
    people.write_text("user,age\na,31\nb,47\n")
    _, out, _ = run("ingest", log, "--users", people)
    assert "used by" in out
    assert "two_tower" in out
    _, out, _ = run("ingest", log, "--users", people, "--json")
    used = json.loads(out)["user_columns_used_by"]
    assert {"two_tower", "deepfm", "dcn", "dlrm", "wide_deep", "multitask"} <= set(used)
    assert not {"ease", "ials", "content", "sasrec", "popularity"} & set(used)
    _, out, _ = run("ingest", log, "--json")
    assert json.loads(out)["user_columns_used_by"] == []


def test_models_know_whether_they_read_the_user_table() -> None:
    infos = list_models()
    assert infos["two_tower"].reads_users
    assert infos["deepfm"].reads_users
    assert not infos["ease"].reads_users


def test_an_encoding_is_an_option_of_every_command_that_reads(run: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_bytes("user,item,title\n张三,书一,红楼梦\n李四,书二,西游记\n".encode("gbk"))
    code, out, _ = run("ingest", log, "--encoding", "gbk", "--json")
    assert code == 0
    assert json.loads(out)["events"] == 2
    code, _, err = run("ingest", log, "--encoding", "utf-8")
    assert code == 2
    assert f"{log}, line 2: byte" in " ".join(err.split())
    assert "--encoding NAME" in err
