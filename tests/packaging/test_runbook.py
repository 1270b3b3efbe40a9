"""The runbook names metrics, settings, commands and tests that exist."""

import re
from pathlib import Path

import pytest

from leanrec.serving.prometheus import ServingMetrics

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "run-in-production.md").read_text(encoding="utf-8")


def test_every_fault_has_a_test_that_exists() -> None:
    table = PAGE.partition("## What is kept in each fault")[2]
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| fault")]
    assert len(rows) > 15
    for row in rows:
        tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert tests, row
        for file, name in tests:
            assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file} has no {name}"


def test_every_metric_exists() -> None:
    named = set(re.findall(r"\b(leanrec_\w+)", PAGE))
    text = ServingMetrics().render().decode()
    known = set(re.findall(r"^# HELP (leanrec_\w+)", text, re.MULTILINE))
    for name in named:
        assert re.sub("_(bucket|sum|count)$", "", name) in known, name


@pytest.mark.parametrize("word", ["lists-free-space", "events-free-space", "max-connections"])
def test_settings_are_flags(word: str) -> None:
    assert f"`{word}`" in PAGE
    assert f"--{word}" in (ROOT / "docs" / "how-to" / "serve.md").read_text(encoding="utf-8")
