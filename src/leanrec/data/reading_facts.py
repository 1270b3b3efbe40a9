"""Reading facts: what was understood, left out, matched and repaired while a log is read, collected for its report."""

import dataclasses

__all__ = ["ReadingFacts"]


@dataclasses.dataclass
class ReadingFacts:
    """Facts about one reading of a log. Every step of the reading has them as ``engine.facts`` and adds its own.

    Each field is the field of ``DataReport`` of the same name. The command line prints all of them, before the work of any
    command that opens a log. A fact about many rows is one sentence with a count, never one sentence for each row.

    Attributes:
        understood: role (user, item, time, rating, weight, event_type, label, items.id, …) → how its values were read, in a
            few words without a full stop: ``facts.understood["time"] = "seconds"``, ``["item"] = "whole numbers"``.
        unused_columns: column of the log → what it holds, and how to use it:
            ``facts.unused_columns["Book-Rating"] = 'numbers from 0 to 10; use them with columns={"rating": "Book-Rating"}'``.
        joins: table → what was matched, in the form "118 of 120 items":
            ``facts.joins["item table"] = "118 of 120 items"``.
        skipped_files: path → why it was not read: ``facts.skipped_files["logs/part-3.csv"] = "empty"``.
        warnings: what else a person should check, in whole sentences; ``warn`` adds one.
    """

    understood: dict[str, str] = dataclasses.field(default_factory=dict)
    unused_columns: dict[str, str] = dataclasses.field(default_factory=dict)
    joins: dict[str, str] = dataclasses.field(default_factory=dict)
    skipped_files: dict[str, str] = dataclasses.field(default_factory=dict)
    warnings: list[str] = dataclasses.field(default_factory=list)

    def warn(self, sentence: str) -> None:
        """Add a warning, once: a part that is read again repeats its warnings."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)
