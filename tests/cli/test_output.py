"""Output: literal text, plain JSON, numbers in tables."""

from pathlib import Path
from typing import Any


def test_brackets_are_printed_literally(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text("user,item,title\n1,a,[REC] horror\n1,b,[bold]soap\n2,a,[REC] horror\n2,c,[REC] two horror\n")
    run("fit", "content", file, "--out", tmp_path / "m")
    _, out, _ = run("recommend", tmp_path / "m", "--user", 1)
    assert "[REC] two horror" in out
    assert "[REC] horror" in out
    _, _, err = run("fit", "ease", tmp_path / "[x]", "--out", tmp_path / "n")
    assert "[x]" in err
