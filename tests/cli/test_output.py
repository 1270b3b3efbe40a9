"""Output: literal text, plain JSON, numbers in tables."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from leanrec.cli.output import print_json, print_line, print_note, print_table


def test_brackets_are_printed_literally(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text("user,item,title\n1,a,[REC] horror\n1,b,[bold]soap\n2,a,[REC] horror\n2,c,[REC] two horror\n")
    run("fit", "content", file, "--out", tmp_path / "m")
    _, out, _ = run("recommend", tmp_path / "m", "--user", 1)
    assert "[REC] two horror" in out
    assert "[REC] horror" in out
    _, _, err = run("fit", "ease", tmp_path / "[x]", "--out", tmp_path / "n")
    assert "[x]" in err


def test_control_characters_of_the_data_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "\x1b[2J\x9b31mred\a"
    print_line(hostile)
    print_table("t", ["title"], [[hostile]])
    print_note(hostile)
    print_json({"title": hostile})
    out, err = capsys.readouterr()
    assert not any(mark in out + err for mark in "\x1b\x9b\a")
    assert out.count("\\x1b[2J\\x9b31mred\\x07") == 2
    assert json.loads(out[out.index("{") :]) == {"title": hostile}


def test_titles_and_ids_reach_the_terminal_in_no_part_of_an_output(run: Any, tmp_path: Path) -> None:
    """Titles of tables, names of columns, bold lines and errors have them too; U+202E turns a line around."""
    hostile = "\x1b[31mred\x9b2J\u202e"
    frame = pd.DataFrame(
        {"user": [f"u{n % 6}{hostile}" for n in range(60)], "item": [f"i{n % 11}{hostile}" for n in range(60)]}
    )
    items = pd.DataFrame({"item": frame["item"].unique()}).assign(title=lambda table: "T " + table["item"])
    frame.assign(time=1_700_000_000 + np.arange(60)).to_parquet(tmp_path / "log.parquet")
    items.to_parquet(tmp_path / "items.parquet")
    model, user, item = tmp_path / "model", frame["user"][1], frame["item"][1]
    for words in (
        ("fit", "item_knn", tmp_path / "log.parquet", "--items", tmp_path / "items.parquet", "--out", model),
        ("recommend", model, "--user", user),
        ("similar", model, "--item", item),
        ("explain", model, "--user", user, "--item", item),
        ("explain", model, "--user", user, "--item", "none" + hostile),
        ("models", hostile),
    ):
        code, out, errors = run(*words)
        assert code == (2 if words[-1] in {hostile, "none" + hostile} else 0), errors
        assert not re.search("[\x1b\x9b\u202e]", out + errors), words
        if words[0] in {"recommend", "similar", "explain"}:
            assert "\\u202e" in out + errors


def test_names_and_titles_of_tables_are_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("of \x1b[2J", ("a\x07", "b"), [("c\x9b", 1)])
    assert capsys.readouterr().out.split() == ["of", "\\x1b[2J", "a\\x07", "b", "c\\x9b", "1"]
