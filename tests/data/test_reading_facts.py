"""Reading facts: each warning is told once."""

from leanrec.data.reading_facts import ReadingFacts


def test_a_repeated_warning_is_told_once() -> None:
    facts = ReadingFacts()
    facts.warn("Two lines were repaired.")
    facts.warn("One line was not.")
    facts.warn("Two lines were repaired.")
    assert facts.warnings == ["Two lines were repaired.", "One line was not."]
