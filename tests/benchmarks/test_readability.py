"""The measures of the source: names, helpers used once, full folders, and modules without a test."""

import sys
from pathlib import Path

import pytest
import readability
from readability import ONE_WORD_CLASS, ONE_WORD_FUNCTION, full_folders, one_word, read_source, untested

MODULE = '''"""A module."""
import functools


def evaluate():
    return _weigh(1) + _weigh(2) + _round_once()


def build_index():
    class Inner: ...


def _weigh(x):
    return x


def _round_once():
    return 0


@functools.cache
def _registered_elsewhere():
    return 1


class Row:
    def __len__(self):
        return self._used_as_attribute()

    def _used_as_attribute(self):
        return 0


class ItemIndex: ...
'''


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of two folders: ``data`` with one module, ``full`` with sixteen."""
    folder = tmp_path / "src" / "package"
    for name in ("data", "full", "models/full", "tests"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("")
    (folder / "data" / "table.py").write_text(MODULE)
    for number in range(16):
        (folder / "full" / f"module_{number}.py").write_text("class Row: ...\n")
        (folder / "models" / "full" / f"model_{number}.py").write_text("")
    (folder / "tests" / "test_package.py").write_text("def test(): ...\n")
    return folder


def test_names_of_one_word_are_found(package: Path) -> None:
    source = read_source(package, "data")
    assert {each.name for each in one_word(source.functions, ONE_WORD_FUNCTION)} == {"evaluate", "_weigh"}
    assert [each.name for each in one_word(source.classes, ONE_WORD_CLASS)] == ["Row"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("EASE", True), ("RP3", True), ("Row", True), ("_Row", True), ("EASEModel", False), ("ItemKNN", False)],
)
def test_acronyms_are_one_word(name: str, expected: bool) -> None:
    assert (ONE_WORD_CLASS.fullmatch(name) is not None) == expected


def test_private_functions_used_once_are_found(package: Path) -> None:
    source = read_source(package, "data")
    # A decorated function may be used by its decorator.
    assert {each.name for each in source.once} == {"_round_once", "_used_as_attribute"}
    assert source.private == 4


def test_lengths_count_all_lines_of_a_function(package: Path) -> None:
    lines = {each.name: each.lines for each in read_source(package, "data").every_function}
    assert lines["evaluate"] == 2
    assert lines["_registered_elsewhere"] == 2


def test_full_folders_are_found_but_not_the_families_of_models(package: Path) -> None:
    assert full_folders(read_source(package), package) == {"full": 16}


def test_modules_without_a_test_of_their_name_are_found(package: Path, tmp_path: Path) -> None:
    tests = tmp_path / "tests"
    (tests / "full").mkdir(parents=True)
    (tests / "full" / "test_module_3.py").write_text("")
    missing = {str(file.relative_to(package)) for file in untested(read_source(package), package, tests)}
    assert "data/table.py" in missing
    assert "full/module_3.py" not in missing
    assert "full/module_4.py" in missing


def test_tests_inside_a_package_are_not_measured(package: Path) -> None:
    assert not any("tests" in file.parts for file in (f.relative_to(package) for f in read_source(package).modules))


def test_the_report_names_each_goal(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["readability.py", "--package", str(package)])
    readability.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    assert all("goal ≤" in line and line.rstrip().endswith(("met", "MISSED")) for line in lines[:-1])
    assert "class names defined twice" in lines[5]


def test_offenders_are_listed(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(readability, "ROOT", package.parents[1])
    found = {}
    for what in ("functions", "classes", "once", "folders", "twice", "untested"):
        monkeypatch.setattr(sys, "argv", ["readability.py", "--package", str(package), "--list", what])
        readability.main()
        found[what] = capsys.readouterr().out.splitlines()
    assert "data/table.py  evaluate  2 lines" in found["functions"]
    assert "data/table.py  _round_once  2 lines" in found["once"]
    assert found["folders"] == ["full 16"]
    assert len(found["twice"]) == 17
    assert "data/table.py" in found["untested"]
