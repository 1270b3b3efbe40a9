"""Ingestion: a log in any common format → Dataset, with a report of its contents and of the rejected rows.

DuckDB does the work, within the limits of ``Run``: it reads the log once, finds the reason to reject each row, replaces ids
by codes and sorts by user and time. The ordered log is then read in blocks of whole users, cleaned by the rules that need
more than one row, and written to memory, or to mapped files where memory is short.
"""

import contextlib
import dataclasses
import inspect
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec

import numpy as np

from leanrec import artifacts
from leanrec.data.conventions import LogConventions
from leanrec.data.dataset import Dataset
from leanrec.data.datasets.known import KnownDataset, find_known, recognize
from leanrec.data.engine import SqlEngine, make_scratch, open_engine
from leanrec.data.event_types import find_later_types
from leanrec.data.ingest.block_rules import describe_constant, describe_largest, describe_spared_bots, reject_events
from leanrec.data.ingest.cleaning import CleaningRules
from leanrec.data.ingest.csv_repair import count_rejected
from leanrec.data.ingest.encoding import EncodedLog, encode_log, find_ids, make_dictionary
from leanrec.data.ingest.forms.headers import read_delimiter, read_names
from leanrec.data.ingest.forms.lines import check_layout
from leanrec.data.ingest.link_files import add_links, read_links
from leanrec.data.ingest.meaning.calendars import describe_year
from leanrec.data.ingest.meaning.id_forms import IdForms
from leanrec.data.ingest.meaning.number_text import NumberMarks
from leanrec.data.ingest.meaning.rating_text import RatingWords
from leanrec.data.ingest.meaning.ratings import describe_no_ratings
from leanrec.data.ingest.meaning.time_counts import describe_doubt
from leanrec.data.ingest.outputs import build_dataset, find_kept_rows, write_events
from leanrec.data.ingest.rejects import CHOSEN_REASONS, REASONS, check_quarantine_path, write_quarantine
from leanrec.data.ingest.report import DataReport, EventCounter, describe_dataset, global_rules_note, report_from_dict
from leanrec.data.ingest.schema import LogSchema, read_schema
from leanrec.data.ingest.side_tables import SideTables, choose_ids, open_side_tables
from leanrec.data.ingest.sources import Source, describe_source
from leanrec.data.ingest.staging import LogProfile, StagedLog, find_example, stage_log, validate_rows
from leanrec.data.ingest.text_files import check_encoding
from leanrec.data.ingest.timestamps import FORMS, TimeFormat
from leanrec.data.time_kind import TimeKind
from leanrec.errors import ArtifactError, ColumnError, DataError, SettingError, SourceError
from leanrec.run import Run
from leanrec.units import format_bytes

__all__ = ["IngestResult", "ingest", "is_dataset", "open_dataset"]

# An example of a rejected field is shown where so many rows have one that it is found quickly.
_COUNTED_ROWS = 1_000_000
_MANY_ROWS = 20
_EXAMPLE_SHARE = 0.01
_WITH_EXAMPLE = ("time not understood", "rating is not a finite number", "weight is not a finite number")
_IMPOSSIBLE_TIMES = ("time before 1990 or in the future", "negative order")
P = ParamSpec("P")
_NOT_USED = re.compile(r"Not used: (?P<name>.+?) \((?P<what>.*)\)\.", re.DOTALL)

# Arguments that say how the text of a log is read.
_READING = (
    "time_format",
    "encoding",
    "layout",
    "delimiter",
    "decimal",
    "rating_words",
    "names",
    "item_names",
    "user_names",
)


class IngestResult(NamedTuple):
    """A data set and the report about it."""

    data: Dataset
    report: DataReport


@dataclasses.dataclass(frozen=True)
class _IngestTask:
    """The arguments of ``ingest``."""

    source: Source
    items: Source | None
    users: Source | None
    columns: Mapping[str, str | None]
    event_weights: Mapping[str, float] | None
    positive_from: float | None
    cleaning: CleaningRules
    quarantine: Path | None
    time_format: str | None
    encoding: str | None
    item_links: Source | None
    user_links: Source | None
    allow_rejects: bool
    like: Dataset | None
    layout: str | None
    delimiter: str | None
    decimal: str | None
    rating_words: Mapping[str, float] | None
    names: Mapping[str, tuple[str, ...]]
    known_note: str
    run: Run

    def __post_init__(self) -> None:
        if self.positive_from is not None and not math.isfinite(self.positive_from):
            raise SettingError(f"positive_from must be a number. Got {self.positive_from!r}.")
        if self.encoding is not None:
            check_encoding(self.encoding)
        check_layout(self.layout)
        if self.decimal not in {None, ".", ","}:
            raise SettingError(f'decimal must be "." or ",", the mark before decimals. Got {self.decimal!r}.')
        for word, number in (self.rating_words or {}).items():
            if not math.isfinite(number):
                raise SettingError(f"rating_words must map words to numbers. Got {number!r} for {word!r}.")
        if self.quarantine is not None:
            check_quarantine_path(self.quarantine)

    @property
    def is_default(self) -> bool:
        """Whether no option changes how the log is read."""
        options = (
            self.items,
            self.users,
            self.event_weights,
            self.positive_from,
            self.quarantine,
            self.time_format,
            self.encoding,
            self.layout,
            self.delimiter,
            self.decimal,
            self.rating_words or None,
            self.names or None,
            self.item_links,
            self.user_links,
        )
        return all(option is None for option in options) and not self.columns and self.cleaning == CleaningRules()

    @property
    def conventions(self) -> LogConventions:
        """What an earlier log settled about this one."""
        return LogConventions() if self.like is None else self.like.conventions

    @property
    def weights(self) -> dict[str, float]:
        """Event type → weight, settled or given."""
        return dict(self.conventions.event_weights) | dict(self.event_weights or {})

    def settle(self) -> "_IngestTask":
        """Return the task with what ``like`` settled, where no argument says otherwise."""
        if self.like is None:
            return self
        cleaning = self.cleaning
        if cleaning.rating_range is None and not self.conventions.rating_range_inferred:
            cleaning = dataclasses.replace(cleaning, rating_range=self.conventions.rating_range)
        if cleaning.no_rating is None and self.conventions.rating_range is not None:
            cleaning = dataclasses.replace(cleaning, no_rating=self.conventions.no_rating)
        return dataclasses.replace(
            self,
            cleaning=cleaning,
            positive_from=self.conventions.positive_from if self.positive_from is None else self.positive_from,
            layout=self.layout or self.conventions.layout,
            delimiter=self.delimiter or self.conventions.delimiter,
            decimal=self.decimal or self.conventions.decimal,
            rating_words=self.rating_words or self.conventions.rating_words,
            names=({"log": self.conventions.names} if self.conventions.names else {}) | dict(self.names),
        )

    def explain_plan(self, schema: LogSchema) -> str:
        """Return the estimated memory of the work, and what happens if that is more than the limit."""
        need = sum(part.size * {"parquet": 5}.get(part.form, 2) for part in schema.parts) + 64_000_000
        limit = self.run.available_memory()
        how = "in memory" if need <= limit else "spilling to disk"
        return f"needs about {format_bytes(need)} and may use {format_bytes(limit)}: {how}"

    def describe_columns(self, engine: SqlEngine, schema: LogSchema, tables: SideTables) -> str:
        """Return what is read, and as what, in one sentence."""
        size, understood = sum(part.size for part in schema.parts), engine.facts.understood
        log = {
            role: column + (f" ({understood[role]})" if role in understood else "")
            for role, column in next(iter(schema.to_dict().values())).items()
        }
        columns = {"": log, **{f"; {table}: ": roles for table, roles in tables.to_dict().items()}}
        roles = "".join(f"{table}{', '.join(map('='.join, found.items()))}" for table, found in columns.items())
        return f"Reading {describe_source(self.source)}{f' ({format_bytes(size)})' if size else ''}: {roles}."


def ingest(
    source: Source,
    *,
    items: Source | None = None,
    users: Source | None = None,
    columns: Mapping[str, str | None] | None = None,
    event_weights: Mapping[str, float] | None = None,
    positive_from: float | None = None,
    cleaning: CleaningRules = CleaningRules(),  # noqa: B008 - frozen
    quarantine: str | Path | None = None,
    time_format: str | None = None,
    encoding: str | None = None,
    item_links: Source | None = None,
    user_links: Source | None = None,
    allow_rejects: bool = False,
    like: Dataset | None = None,
    layout: str | None = None,
    delimiter: str | None = None,
    decimal: str | None = None,
    rating_words: Mapping[str, float] | None = None,
    names: str | Sequence[str] | None = None,
    item_names: str | Sequence[str] | None = None,
    user_names: str | Sequence[str] | None = None,
    known_as: str | Path | None = None,
    out: str | Path | None = None,
    run: Run = Run(),
) -> IngestResult:
    """Read a log.

    Args:
        source: a file (CSV, TSV, JSON lines, Parquet; .gz and .zst too), a pattern, a folder, a list of these,
            ``{"view": file, "purchase": file}`` with one event type per file, a pandas, Polars or Arrow frame,
            ``"sql:SELECT …"`` or ``SqlQuery(query, database)``.
        items: a table about items, in any of these forms. Without one, content columns of the log (content, text, title,
            category, …) become the item table.
        users: a table about users.
        columns: role → column, where the common names do not fit. Roles: user, item, time, rating, weight, event_type,
            label, content (several with commas); ``items.id`` and ``users.id`` for the tables; ``item_links.head``,
            ``.relation``, ``.tail`` and ``user_links.user``, ``.friend``, ``.weight``. In a file without a header the
            columns are named "1", "2", …. None: no column has the role.
        event_weights: event type → weight as evidence of a preference. Other types get the default weight of their name,
            otherwise 1.
        positive_from: ratings below it get weight 0. None: every rating counts as an interaction.
        cleaning: rules for rejecting rows.
        quarantine: file (.csv or .parquet) for every rejected row, with reason, file and row.
        time_format: how the times are written, in strptime format ("%d/%m/%Y %H:%M"), or "excel days", "unix days", "matlab days",
            "apple seconds", "dotnet ticks", "filetime", "webkit microseconds", "julian days", "modified julian days", "ordinal dates",
            "months", "quarters" or "iso weeks". None: numbers, ISO dates and other common formats, found from the values.
        encoding: encoding of all text files, such as "cp1252", "gbk" or "utf-16". None: UTF-8, and Windows-1252 where a
            file has no UTF-8 beyond ASCII.
        item_links: knowledge graph triples (head, relation, tail), in any of these forms; heads and tails are items by
            external id, or other entities.
        user_links: trust or friendship (user, friend and, optionally, weight). People who occur only in links become
            users without events.
        allow_rejects: go on although more than half of the rows cannot be used. Rows that a rule leaves out (dates, k-core,
            duplicates, bots) do not count.
        like: an earlier data set whose conventions hold here too, for held-out files: columns, event weights, liked ratings,
            rating scale, notation of times, and whether ids are numbers. Arguments take precedence.
        layout: "long" (each row is an event), "adjacency" (each line is a user and the items of the user), "sequences" (each
            line has the items of one user), "counted" (the same after the number of items), "blocks" (``item:`` before the
            lines of the item) or "wide" (a column for each item). None: found from the first rows, which the report then says.
        delimiter: text between two fields of delimited text, such as "::", "|" or "tab"; a blank is any number of blanks and
            tabs. None: found for each file, as the one that gives the same number of fields on most lines.
        decimal: mark before the decimals of numbers in text, "." or ","; the other one separates thousands. None: found from the
            values of each column, which the report tells where there is doubt.
        rating_words: word → rating, for ratings in words, in any case. None: common scales such as poor to excellent, strongly
            disagree to strongly agree, and grades; the report tells the numbers.
        names: names of the columns of a log without a line of names, in their order: a list, or a text with commas.
        item_names: the same for ``items``.
        user_names: the same for ``users``.
        known_as: the source is the folder of a known data set (``list_known``), or of one that a .toml file declares, or a file
            of its log; arguments take precedence over its declaration. None: a folder or a file is recognized where names and
            first line leave no doubt and no argument says how to read it, which the report then tells; "none" reads it as any
            other.
        out: folder to save the data set and its report to, for ``open_dataset``. It is written atomically, and replaces
            an older data set there.
        run: threads and memory. Events that do not fit the memory are mapped from files.

    Raises:
        SourceError: a source cannot be read or is empty.
        ColumnError: a column is missing, or has the wrong type.
        DataError: no event is left, or more than half of the rows cannot be used.
        SettingError: an option that is not valid.
        BudgetError: the memory limit is too low even with spilling to disk.
        ArtifactError: ``out`` exists and is not a data set, or the disk is full.

    Cost: O(E log E) time; about 25 bytes per event for the result, and as much again, on disk if necessary, for the sort.
    """
    arguments = dict(locals())
    arguments.pop("out")
    task = _make_task(**arguments)
    if out is None:
        return _run_ingest(task, None)
    target = Path(out)
    with _sibling_folder(target) as folder:
        done = _run_ingest(task, folder)
        artifacts.save(done.data, target, provenance={"report": done.report.to_dict()}, link_from=folder)
    return done


def _take_arguments_of(
    model: Callable[P, IngestResult],
) -> Callable[[Callable[..., IngestResult]], Callable[P, IngestResult]]:
    """Declare that a function takes the arguments of another one, for help texts and type checkers."""

    def declare(function: Callable[..., IngestResult]) -> Callable[P, IngestResult]:
        function.__signature__ = inspect.signature(model)  # type: ignore[attr-defined]
        return function

    return declare


@_take_arguments_of(ingest)
def open_dataset(source: Source, **options: Any) -> IngestResult:
    """Open a data set saved by ``ingest(…, out=folder)``, or read anything else as ``ingest`` does, with its arguments.

    Large arrays of a saved data set are mapped, not read. Raises ArtifactError if it does not verify, and SettingError for
    arguments that would change a saved data set.
    """
    if not is_dataset(source):
        return ingest(source, **options)
    given = inspect.signature(ingest).bind(source, **options)
    given.apply_defaults()
    out = given.arguments.pop("out")
    if out is not None or not _make_task(**given.arguments).is_default:
        raise SettingError(
            f"Options of reading need a log. Got {source}, a saved data set, which was read when it was made. Leave the "
            "options out, or pass the log itself."
        )
    data = artifacts.load(source, Dataset, mapped=True)
    report = artifacts.read_manifest(source).get("provenance", {}).get("report")
    return IngestResult(data, describe_dataset(data) if report is None else report_from_dict(report))


def _make_task(
    *,
    source: Source,
    known_as: str | Path | None,
    cleaning: CleaningRules,
    columns: Mapping[str, str | None] | None,
    quarantine: str | Path | None,
    delimiter: str | None,
    names: str | Sequence[str] | None,
    item_names: str | Sequence[str] | None,
    user_names: str | Sequence[str] | None,
    **others: Any,
) -> _IngestTask:
    """Return the checked arguments, completed by the declaration of a known data set."""
    given = {**others, "delimiter": delimiter, "names": names, "item_names": item_names, "user_names": user_names}
    is_open = not columns and all(given[name] is None for name in _READING)
    known, note = None, ""
    if known_as is not None:
        known = None if str(known_as) == "none" else find_known(known_as)
    elif is_open and not is_dataset(source) and (known := recognize(source)) is not None:
        note = known.explain(source)
    if known is not None and not is_dataset(source):
        source, cleaning, columns, given = _apply_known(
            known, source, cleaning, columns or {}, given, alone=known_as is None
        )
    texts = [given.pop(name) for name in ("names", "item_names", "user_names")]
    return _IngestTask(
        source=source,
        cleaning=cleaning,
        columns=dict(columns or {}),
        quarantine=None if quarantine is None else Path(quarantine),
        delimiter=read_delimiter(given.pop("delimiter")),
        names=read_names(*texts),
        known_note=note,
        **given,
    )


def _apply_known(
    known: KnownDataset,
    source: Source,
    cleaning: CleaningRules,
    columns: Mapping[str, str | None],
    given: Mapping[str, Any],
    *,
    alone: bool,
) -> tuple[Source, CleaningRules, Mapping[str, str | None], dict[str, Any]]:
    """Return source, cleaning, columns and other arguments, with what the declaration says where nothing is given."""
    paths = source if isinstance(source, list | tuple) and source else [source]
    if not all(isinstance(path, str | Path) for path in paths):
        raise SettingError(f"known_as needs a folder or a file. Got {describe_source(source)}.")
    declared = known.to_arguments(source, given, alone=alone)
    source = declared.pop("source")
    columns = declared.pop("columns", {}) | dict(columns)
    rules = {name: declared.pop(name) for name in ("no_rating", "rating_range") if name in declared}
    rules = {name: tuple(value) if isinstance(value, list) else value for name, value in rules.items()}
    cleaning = dataclasses.replace(cleaning, **{name: rules[name] for name in rules if getattr(cleaning, name) is None})
    if unknown := sorted(declared.keys() - given.keys()):
        raise SettingError(f"The settings of {known.name} must be arguments of ingest. Got {unknown[0]!r}.")
    return (
        source,
        cleaning,
        columns,
        {name: declared.get(name) if value is None else value for name, value in given.items()},
    )


def is_dataset(source: Source) -> bool:
    """Whether the source is the folder of a saved data set rather than a log."""
    # Unlike Path.is_file, this has an answer for a query that is longer than any name of a file.
    return isinstance(source, str | Path) and os.path.isfile(os.path.join(source, "manifest.json"))  # noqa: PTH113, PTH118


@contextlib.contextmanager
def _sibling_folder(target: Path) -> Iterator[Path]:
    """Make a folder beside the target: files written there become part of the artifact by a link, without a second write."""
    if target.exists() and not (target / "manifest.json").exists():
        raise ArtifactError(
            f"{target} exists and is not a leanrec artifact, so it is not replaced. Choose another path."
        )
    with contextlib.ExitStack() as stack:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(make_scratch(f".{target.name}-events-", target.parent))
        except OSError as error:
            raise ArtifactError(
                f"Cannot write {target}: {error.strerror or error}. Nothing was changed there."
            ) from error
        yield folder


@dataclasses.dataclass(frozen=True)
class _ReadLog:
    """The log as it was read, before its rows are indexed."""

    schema: LogSchema
    staged: StagedLog
    forms: IdForms
    profile: LogProfile
    tables: SideTables

    def count_rows(self, counts: Mapping[str, int]) -> int:
        """Return the rows read, unreadable lines included."""
        return self.staged.rows + sum(n for reason, n in counts.items() if reason not in REASONS)

    def list_notes(self) -> tuple[str, ...]:
        """Return what was left out or repaired while reading, in sentences."""
        notes = [*self.schema.warnings, *(note for part in self.staged.parts for note in part.notes)]
        notes += self.tables.list_notes()
        notes += self.forms.list_notes()
        return tuple(notes)

    def explain_meaning(
        self, positive_from: float | None, cleaning: CleaningRules, counts: Mapping[str, int]
    ) -> Iterator[str]:
        """Yield how times, repeated rows and ratings were understood, in sentences."""
        staged, profile = self.staged, self.profile
        if self.count_rows(counts) == 1:
            yield "Only one row was read. A log has a row for each event: check that this is one, and not a document or settings."
        if not staged.has("time"):
            yield "There is no time column: events keep the order of the log, and splits by time are not possible."
        elif not profile.has_clock:
            yield "Times are an order, not timestamps: recency and splits by date are not possible."
        if profile.span is not None and not staged.reader.times.only and (doubt := describe_doubt(*profile.span)):
            yield doubt
        if not (staged.has("time") or staged.has("rating")):
            yield "Without times and ratings a repeated row counts as a repeated event, not as a duplicate."
        if staged.has("rating") and positive_from is None:
            yield "Every rating counts as an interaction, low ones too. With positive_from, ratings below it get weight 0."
        if profile.returns:
            rows = "1 row is a return" if profile.returns == 1 else f"{profile.returns:,} rows are returns"
            yield (
                f"{rows[0].upper()}{rows[1:]} (a quantity below zero, or an invoice that begins with C), with weight 0. Purchases of a "
                f"user and an item of which all units came back do not count: {counts.get('returned: all units came back', 0):,}."
            )
        given = cleaning.no_rating is not None
        yield from describe_no_ratings(profile.no_rating, profile.scale, profile.zeros, profile.unrated, given=given)
        if profile.only_days and not staged.has("rating"):
            yield "Times are days: a repeated row of one day counts as a repeated event, not as a duplicate."
        if profile.inferred and profile.scale is not None and (n := counts.get("rating outside the range", 0)):
            low, high = profile.scale
            rows = "1 row outside was" if n == 1 else f"{n:,} rows outside were"
            example = "" if profile.outside is None else f", such as {profile.outside:g}"
            yield (
                f"The rating scale is inferred as {low:g} to {high:g}, the narrowest common scale that contains 99.9 % of the "
                f"ratings; {rows} rejected{example}. For another scale pass CleaningRules(rating_range=(LOW, HIGH))"
                + (', and where 0 means "not rated" CleaningRules(no_rating=0).' if profile.outside == 0 else ".")
            )


def _run_ingest(task: _IngestTask, folder: Path | None) -> IngestResult:
    began = time.perf_counter()
    task, settled = task.settle(), task.conventions
    with (
        open_engine(task.run, encoding=task.encoding, delimiter=task.delimiter, names=task.names) as engine,
        _show_progress(task.run, engine) as show,
    ):
        engine.allow_rejects, engine.decimal = task.allow_rejects, task.decimal
        engine.rating_words = task.rating_words or {}
        show(f"Opening {describe_source(task.source)}")
        if task.known_note:
            engine.facts.warn(task.known_note)
        schema = read_schema(engine, task.source, task.columns, settled.columns, task.layout)
        tables = open_side_tables(engine, task.items, task.users, schema.columns, task.columns)
        schema, tables = choose_ids(engine, schema, tables, task.columns)
        task.run.on_schema_read(task.describe_columns(engine, schema, tables))
        links = read_links(engine, task.item_links, task.user_links, task.columns)
        size = sum(part.size for part in schema.parts)
        show(f"Reading {format_bytes(size)}; {task.explain_plan(schema)}")
        staged = stage_log(
            engine,
            schema.parts,
            schema.columns,
            raw=task.quarantine is not None,
            key_types=tables.key_types,
            time_format=task.time_format,
            settled_times=TimeFormat(settled.time_formats, settled.only_time_formats) if settled.time_formats else None,
        )
        forms = find_ids(engine, staged, tables.select_ids())
        if task.like is None and not task.columns.get("item"):
            _check_items(engine, schema, staged)
        profile = validate_rows(
            engine, staged, task.cleaning, has_clock=settled.has_clock, known_scale=settled.rating_range
        )
        known, scale = settled.rating_range, profile.scale
        if profile.inferred and known is not None and scale is not None and known != scale:
            engine.facts.warn(
                "The ratings of this log are {:g} to {:g}, and those of the log that it is read like {:g} to {:g}. If others are "
                "errors, pass CleaningRules(rating_range=(LOW, HIGH)).".format(*scale, *known)
            )
        tables.load(engine, staged, forms)
        read = _ReadLog(schema, staged, forms, profile, tables)
        data, report = _index_log(task, engine, read, show, folder)
    data, notes = add_links(data, links)
    facts, times = engine.facts, {}
    if report.start is not None and report.end is not None and "time" in facts.understood:
        times = {"time": f"{facts.understood['time']}, {report.start[:10]} to {report.end[:10]}"}
    report = dataclasses.replace(
        report,
        understood=facts.understood | times,
        unused_columns=facts.unused_columns,
        joins=facts.joins,
        skipped_files=facts.skipped_files,
        rejected_in_tables={**report.rejected_in_tables, **links.rejected},
        columns={**report.columns, **links.columns},
        warnings=(*facts.warnings, *report.warnings, *links.notes, *notes),
        seconds=time.perf_counter() - began,
    )
    return IngestResult(data, report)


def _check_items(engine: SqlEngine, schema: LogSchema, staged: StagedLog) -> None:
    """Raise ColumnError where all events have one item and another column may hold the items."""
    items = engine.fetch_rows("SELECT id FROM items_found LIMIT 2") if staged.rows >= _MANY_ROWS else []
    cols, part = schema.columns[0], schema.parts[0]
    free = [name for name in part.names if name not in {*cols.to_dict().values(), *part.nested}]
    if len(items) == 1 and free:
        raise ColumnError(
            f"Items must differ. All {staged.rows:,} rows of {part.label} have the item {str(items[0][0])!r}, from the column "
            f'{cols.item!r}. If another column holds the items, name it: columns={{"item": "COLUMN"}}, where COLUMN is one of '
            f'{", ".join(map(repr, free[:20]))}. If there is one item only, pass columns={{"item": "{cols.item}"}}.'
        )


def _index_log(
    task: _IngestTask, engine: SqlEngine, read: _ReadLog, show: Callable[[str], None], folder: Path | None
) -> IngestResult:
    """From ``validated`` rows to a Dataset and its report, still without links."""
    show("Indexing users and items")
    staged, tables, has_clock = read.staged, read.tables, read.profile.has_clock
    tables.count_matches(engine)
    numbers = _make_dictionaries(engine, staged, tables)
    counts = count_rejected(engine, staged.parts)
    if not staged.is_view:
        counts |= _count_by_rule(engine)
    log = encode_log(
        engine,
        staged,
        has_time=staged.has("time"),
        span=read.profile.span,
        event_weights=task.weights or None,
        keep_sequence=task.quarantine is not None,
        # About a twentieth of the memory, at 100 bytes a row.
        block_rows=int(min(500_000, max(50_000, task.run.available_memory() // 2000))),
    )
    if staged.is_view and log.events < staged.rows:
        # A view reads its files again, which is needed only where rows are missing.
        counts |= _count_by_rule(engine)
    show(f"Cleaning {log.events:,} events")
    comparable = (staged.has("time") and not read.profile.only_days) or staged.has("rating")
    reason = reject_events(log, task.cleaning, has_clock=has_clock, comparable=comparable)
    # A count of all codes at once would make each an integer of eight bytes.
    blocks = (reason[start : start + _COUNTED_ROWS] for start in range(0, len(reason), _COUNTED_ROWS))
    by_code = sum(np.bincount(block[block > 0], minlength=len(REASONS)) for block in blocks)
    counts |= {REASONS[code]: int(n) for code, n in enumerate(np.atleast_1d(by_code)) if n}
    if task.quarantine is not None:
        write_quarantine(engine, staged, log, reason, task.quarantine)
    _check_kept(task, engine, read, counts, bool((reason == 0).any()))
    show("Writing events")
    core = task.cleaning.min_user > 1 or task.cleaning.min_item > 1
    loaded = (tables.loaded_users, tables.loaded_items)
    rows = find_kept_rows(engine, log, reason, loaded, core=core)
    events, counter, where = write_events(
        log, reason, rows, positive_from=task.positive_from, has_clock=has_clock, run=task.run, folder=folder
    )
    rating_range = read.profile.scale if counter.ratings else None
    bounds = (counter.first, counter.last)
    data = build_dataset(engine, events, rows, rating_range, loaded, numbers, describe_source(task.source), bounds)
    data = dataclasses.replace(data, conventions=_settle_conventions(task, read, log))
    if not has_clock and data.time_kind is TimeKind.TIMESTAMP:
        # An order by the name of its column, or times before 1990.
        data = dataclasses.replace(data, time_kind=TimeKind.COMPARABLE)
    _add_default_facts(engine, read)
    report = counter.to_report(
        source=data.source,
        event_types=log.event_types,
        has_clock=has_clock,
        rows_read=read.count_rows(counts),
        rejected=dict(counts),
        rejected_in_tables=tables.count_rejected(),
        columns=read.schema.to_dict() | tables.to_dict(),
        item_columns=() if data.item_table is None else tuple(data.item_table.columns),
        user_columns=() if data.user_table is None else tuple(data.user_table.columns),
        warnings=tuple(_list_warnings(task, engine, read, log, data, counts, counter)),
        memory={"limit": task.run.budget.memory, "plan": task.explain_plan(read.schema), "events": where},
        rating_range=read.profile.scale,
        rating_range_inferred=read.profile.inferred,
        quarantine=None if task.quarantine is None else str(task.quarantine),
    )
    return IngestResult(data, report)


def _count_by_rule(engine: SqlEngine) -> dict[str, int]:
    """Return reason → number of rows rejected for it, from the rows of ``validated``."""
    by_rule = "SELECT reason, count(*) FROM validated WHERE reason <> 0 GROUP BY reason ORDER BY reason"
    return {REASONS[code]: int(n) for code, n in engine.fetch_rows(by_rule)}


def _settle_conventions(task: _IngestTask, read: _ReadLog, log: EncodedLog) -> LogConventions:
    """Return what this reading settled for later events."""
    times, later = read.staged.reader.times, find_later_types(list(log.event_types), task.event_weights)
    notations = [each for cols in read.schema.columns for each in cols.notations.values()]
    decimals = [each.decimal for each in notations if isinstance(each, NumberMarks)]
    words = [each.numbers for each in notations if isinstance(each, RatingWords)]
    return LogConventions(
        columns=read.schema.columns[0].to_dict(),
        event_weights=dict(log.event_types) | dict(task.conventions.event_weights) | later,
        positive_from=task.positive_from,
        rating_range=read.profile.scale,
        rating_range_inferred=read.profile.inferred,
        no_rating=tuple(read.profile.no_rating),
        time_formats=times.formats,
        only_time_formats=times.only,
        layout=task.layout,
        delimiter=task.delimiter,
        decimal=task.decimal or next(iter(decimals), None),
        rating_words=task.rating_words or next(iter(words), {}),
        names=task.names.get("log", ()),
        has_clock=read.profile.has_clock if read.staged.has("time") else None,
    )


def _add_default_facts(engine: SqlEngine, read: _ReadLog) -> None:
    """Tell how ratings and times were understood, and which columns were not used, where no earlier step has said so."""
    facts = engine.facts
    if read.profile.scale is not None:
        facts.understood.setdefault("rating", "{:g} to {:g}".format(*read.profile.scale))
    if read.staged.has("time"):
        facts.understood.setdefault("time", "timestamps" if read.profile.has_clock else "an order")
    for note in read.list_notes():
        if found := _NOT_USED.fullmatch(note):
            facts.unused_columns.setdefault(found["name"], found["what"])


def _make_dictionaries(engine: SqlEngine, staged: StagedLog, tables: SideTables) -> tuple[bool, bool]:
    """Make ``users`` and ``items``; return whether the ids of each are numbers."""
    sides = (("users", tables.users, staged.untyped_users), ("items", tables.items, staged.untyped_items))
    numbers = []
    for name, side, untyped in sides:
        if side is not None:
            engine.execute(
                f"INSERT INTO {name}_found SELECT id FROM {side.role}_rows ANTI JOIN {name}_found USING (id)"
            )
        numbers.append(make_dictionary(engine, name, untyped=untyped and (side is None or side.is_untyped)))
    return numbers[0] or staged.integer_users, numbers[1] or staged.integer_items


def _tell_rejected_values(engine: SqlEngine, staged: StagedLog, counts: Mapping[str, int]) -> Iterator[str]:
    """Yield the reasons for which many values were rejected, each with one of them."""
    for reason in _WITH_EXAMPLE:
        if counts.get(reason, 0) >= max(1, _EXAMPLE_SHARE * staged.rows):
            rows = "1 row was" if counts[reason] == 1 else f"{counts[reason]:,} rows were"
            found = find_example(engine, staged, reason)
            told = f"{reason[0].upper()}{reason[1:]}, such as {found!r}: {rows} rejected."
            if any(found in {each.time, each.rating, each.weight} for each in staged.columns):
                # A line of names in the order of the first one has a reason of its own.
                told += (
                    f" {found!r} is the name of the column: a later line has the names in another order, and the rows below it were read "
                    "in the order of the first line. Write the rows from that line on to a file of their own, and pass both files."
                )
            yield told


def _list_warnings(
    task: _IngestTask,
    engine: SqlEngine,
    read: _ReadLog,
    log: EncodedLog,
    data: Dataset,
    counts: Mapping[str, int],
    counter: EventCounter,
) -> Iterator[str]:
    """Yield what a user of the data set should check, in sentences."""
    staged = read.staged
    yield from read.list_notes()
    for each in log.spellings:
        yield f"Event types that differ only in capital letters count as one: {each}."
    yield from _tell_rejected_values(engine, staged, counts)
    yield from read.explain_meaning(task.positive_from, task.cleaning, counts)
    if later := find_later_types(list(log.event_types), task.event_weights):
        names = ", ".join(f"{name} {weight:g}" for name, weight in later.items())
        yield f"No event of the log has the type of these weights, which are kept for later events: {names}."
    shares = (
        describe_spared_bots(log, task.cleaning),
        describe_largest(counter.of_user, data.users),
        describe_largest(counter.of_item, data.items),
        describe_constant(counter.of_user, "user"),
        describe_constant(counter.of_item, "item"),
    )
    yield from filter(None, shares)
    if note := global_rules_note(counts):
        yield note
    if log.unknown_types:
        names = ", ".join(log.unknown_types[:10])
        yield f"Event types without a default weight get weight 1: {names}. Pass weights with event_weights."
    if not counter.positive:
        yield "No event has a weight above zero, so there are no preferences. Pass event_weights, or lower positive_from."


def _check_kept(
    task: _IngestTask, engine: SqlEngine, read: _ReadLog, counts: Mapping[str, int], any_kept: bool
) -> None:
    """Raise DataError if no event is left, or if more than half of the rows cannot be used, unless that is allowed."""
    source, rows = describe_source(task.source), read.count_rows(counts)
    if not rows:
        raise SourceError(f"{source} has columns but no rows. Check how it was written.")
    unusable = {reason: n for reason, n in counts.items() if reason not in CHOSEN_REASONS}
    n_unusable = sum(unusable.values())
    if any_kept and (task.allow_rejects or 2 * n_unusable <= rows):
        return
    reasons = "; ".join(f"{reason}: {n:,}" for reason, n in counts.items())
    advice = _advise(engine, read, unusable or counts)
    if not any_kept:
        raise DataError(f"No event is left of the {rows:,} rows of {source}. Rejected: {reasons}. {advice}")
    listed = "To list each, pass quarantine=FILE.csv" if task.quarantine is None else f"{task.quarantine} lists them"
    raise DataError(
        f"More than half of the rows cannot be used: {n_unusable:,} of the {rows:,} rows of {source}. Rejected: {reasons}. "
        f"{advice} {listed}. To go on with the other rows, pass allow_rejects=True."
    )


def _advise(engine: SqlEngine, read: _ReadLog, counts: Mapping[str, int]) -> str:
    """Return what to do about the most frequent reason to reject a row."""
    worst = max(counts, key=lambda reason: counts[reason])
    if worst not in REASONS:
        notes = " ".join(note for part in read.staged.parts for note in part.notes)
        return f"{notes} Check how the lines were written: quarantine=FILE lists each of them.".lstrip()
    if worst == "missing time":
        return 'If the events without a time count too, pass columns={"time": None}, or name another time.'
    if worst == "missing event type":
        return 'If the events without a type count too, pass columns={"event_type": None}.'
    if worst in {"missing user", "missing item"}:
        role = worst.removeprefix("missing ")
        names = ", ".join(dict.fromkeys(repr(getattr(each, role)) for each in read.staged.columns))
        return f'Such rows have no {role} in the column {names}. If another column has the {role}s: columns={{"{role}": "COLUMN"}}.'
    if worst not in (*_WITH_EXAMPLE, *_IMPOSSIBLE_TIMES):
        return "Check the columns, or relax the cleaning rules."
    example = find_example(engine, read.staged, worst)
    advice = f"A field that was rejected for this reason holds {example!r}. "
    if example is not None and example.startswith("'"):
        advice += "Its apostrophe is the mark of a spreadsheet for text: remove it from the values. "
    if worst in _IMPOSSIBLE_TIMES and example is not None:
        advice += describe_year(example)
    advice += "Name the right column, or correct the values."
    if worst in _IMPOSSIBLE_TIMES or worst.startswith("time"):
        advice += f' Times are understood as {FORMS}. For another format pass time_format, such as "%d-%b-%y"; '
        advice += 'if the column is no time, pass columns={"time": None}.'
    return advice


@contextlib.contextmanager
def _show_progress(run: Run, engine: SqlEngine) -> Iterator[Callable[[str], None]]:
    """Show the current step and how far its statement is on standard error, where progress is wanted."""
    if not run.shows_progress:
        yield lambda _: None
        return
    from rich.console import Console, RenderableType  # noqa: PLC0415 - most runs show nothing
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    class StepBar(Progress):
        """A bar that asks the engine how far it is whenever it is drawn, in the thread that draws."""

        def get_renderables(self) -> Iterable[RenderableType]:
            percent = engine.query_progress()
            for task in self.tasks:
                task.total, task.completed = None if percent is None else 100, percent or 0
            return super().get_renderables()

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with StepBar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        step = bar.add_task("…")
        yield lambda description: bar.update(step, description=description)
