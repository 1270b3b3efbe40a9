"""Advice of the library is shown as flags that exist, and following it literally works."""

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from leanrec.cli.app import app
from leanrec.cli.messages import FLAGS, to_flags

SOURCE = Path(__file__).parents[2] / "src" / "leanrec"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Split with how='ratio'.", "Split with --split ratio."),
        ("Pass the parts with how='given'.", "Pass the parts with --valid FILE and --test FILE."),
        ("Name it: encoding=NAME, such as gbk.", "Name it: --encoding NAME, such as gbk."),
        (
            'Give time_format="%d/%m/%Y" or time_format="%m/%d/%Y".',
            'Give --time-format "%d/%m/%Y" or --time-format "%m/%d/%Y".',
        ),
        ('Name it: columns={"user": "COLUMN"}.', "Name it: --column user=COLUMN."),
        ("Set CleaningRules(rating_range=(LOW, HIGH)).", "Set --rating-range LOW..HIGH."),
        ("time_format needs a time column.", "--time-format needs a time column."),
        ("device must be cpu. Got gpu.", "--device must be cpu. Got gpu."),
        ("Pass cleaning=CleaningRules(rating_range=(1, 5)).", "Pass --rating-range 1..5."),
        ("With positive_from, lower ratings get weight 0.", "With --positive-from, lower ratings get weight 0."),
        ("No file 'my_time_format' here.", "No file 'my_time_format' here."),
        ("Make fewer folds, or use how='users'.", "Make fewer folds, or use --split cold-users."),
        ('Pass rating_words={"bad": 2, "very good": 5}.', 'Pass --rating-word bad=2 --rating-word "very good=5".'),
        ('If a dot separates thousands, pass decimal=",".', 'If a dot separates thousands, pass --decimal ",".'),
        ("Pass allow_rejects=True.", "Pass --allow-rejects."),
        ("Count them with allow_repeats=True, or leave them.", "Count them with --allow-repeats, or leave them."),
        ("l2 must be a positive number. Got -1.", "l2 must be a positive number. Got -1."),
        (
            "Make it again: Pipeline.fit(get_model('ease')(), ingest('my films.csv')[0]).save('out').",
            "Make it again: leanrec fit ease 'my films.csv' --out out.",
        ),
        ("Make it again: save(ingest('LOG')[0], 'data').", "Make it again: leanrec ingest LOG --out data."),
    ],
)
def test_arguments_become_flags(message: str, shown: str) -> None:
    assert to_flags(message) == shown


def test_every_flag_of_the_table_exists() -> None:
    commands = list(typer.main.get_command(app).commands.values())  # type: ignore[attr-defined]
    commands += [each for command in commands for each in getattr(command, "commands", {}).values()]
    flags = {flag for command in commands for parameter in command.params for flag in parameter.opts}
    assert set(FLAGS.values()) <= flags


def test_the_library_names_no_flags() -> None:
    found = []
    for file in sorted(SOURCE.rglob("*.py")):
        if "cli" in file.relative_to(SOURCE).parts:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents
            if is_text and re.search(r"(?:^|[\s`(\[])--[a-z][a-z-]+", node.value):
                found.append(f"{file.relative_to(SOURCE)}:{node.lineno}: {node.value[:60]!r}")
    assert not found, "\n".join(found)


def follow(message: str, flag: str) -> list[str]:
    """The first occurrence of a flag in a message with its value, as words of a command line."""
    match = re.search(rf"{flag} (\"[^\"]*\"|\S+)", " ".join(message.split()))
    assert match, message
    return [flag, *shlex.split(match[1].rstrip(".,;:"))]


def test_advice_on_the_format_of_times_works(run: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("user,item,date\na,x,05/03/2024\nb,y,01/02/2024\n")
    code, _, err = run("ingest", log)
    assert code == 2
    assert run("ingest", log, *follow(err, "--time-format"))[0] == 0


def test_advice_on_the_column_of_a_role_works(run: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("wer,item\na,x\nb,y\n")
    code, _, err = run("ingest", log)
    assert code == 2
    flag, value = follow(err, "--column")
    role, _, _ = value.partition("=")
    assert role == "user"
    assert run("ingest", log, flag, f"{role}=wer")[0] == 0


def test_advice_on_the_share_of_a_part_works(run: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("user,item\n" + "".join(f"u{i},i{i % 4}\n" for i in range(12)))
    words = ("frontier", log, "-m", "popularity", "--split", "cold-users", "--out", tmp_path / "f")
    code, _, err = run(*words, "--valid-share", 0)
    assert code == 2
    assert run(*words, *follow(err, "--valid-share"))[0] == 0


def test_advice_on_the_rating_range_works(run: Any, tmp_path: Path) -> None:
    rows = [f"u{i % 40},i{i % 50},{1 + i % 5},{1_600_000_000 + i}" for i in range(2000)]
    rows[7] = "u7,i7,99,1600000007"
    log = tmp_path / "ratings.csv"
    log.write_text("\n".join(["user,item,rating,timestamp", *rows]))
    _, out, _ = run("ingest", log)
    flag, value = follow(out, "--rating-range")
    assert value == "LOW..HIGH"
    code, out, _ = run("ingest", log, flag, "1..100")
    assert (code, "rating outside the range" in out) == (0, False)


def test_advice_on_the_split_works(run: Any, tmp_path: Path) -> None:
    rows = [f"u{i},i{(i + k) % 15},{1_600_000_000 + 1000 * i + k}" for i in range(30) for k in range(4)]
    log = tmp_path / "log.csv"
    log.write_text("\n".join(["user,item,timestamp", *rows]))
    code, _, err = run("evaluate", log, "-m", "popularity")
    assert code == 0
    assert run("evaluate", log, "-m", "popularity", *follow(err, "--split"))[0] == 0


@pytest.mark.parametrize(
    ("words", "right"),
    [
        (("fit", "eaze", "{log}", "--out", "{out}"), "ease"),
        (("evaluate", "{log}", "-m", "populrity"), "popularity"),
        (("fit", "ease", "{log}", "--set", "weigting=log", "--out", "{out}"), "weighting"),
        (("fit", "ials,embeding_dim=8", "{log}", "--out", "{out}"), "embedding_dim"),
        (("evaluate", "{log}", "-m", "ials,emedding_dim=8"), "embedding_dim"),
        (("tune", "ease", "{log}", "--space", "weigting=log"), "weighting"),
    ],
)
def test_misspelled_names_propose_the_nearest(run: Any, log: Path, tmp_path: Path, words: Any, right: str) -> None:
    code, _, err = run(*(word.format(log=log, out=tmp_path / "m") for word in words))
    assert code == 2
    assert f"Did you mean '{right}'?" in " ".join(err.split())
