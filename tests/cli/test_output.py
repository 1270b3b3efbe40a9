"""Output: literal text, plain JSON, numbers in tables."""

import json
from pathlib import Path
from typing import Any

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
