"""A log of any usual form → Dataset and a report of what it holds and of what was set aside.

The work is done by DuckDB, under the limits of ``Run``: read once, give each row a reason if it cannot be
used,
replace ids by codes, sort by user and time. The ordered log then passes by in blocks of whole users, is
cleaned
by the rules that need more than one row, and lands in memory, or in mapped files where memory is short.
"""

import contextlib
import dataclasses
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from leanrec import artifacts
from leanrec.data.dataset import Dataset
from leanrec.data.engine import SqlEngine, open_engine
from leanrec.data.ingest.block_rules import reject_events
from leanrec.data.ingest.cleaning import CleaningRules
from leanrec.data.ingest.csv_repair import count_aside
from leanrec.data.ingest.encoding import EncodedLog, encode, find_ids, make_dictionary
from leanrec.data.ingest.link_files import FoundLinks, attach, read_links
from leanrec.data.ingest.outputs import KeptRows, final_rows, make_dataset, write_events
from leanrec.data.ingest.reject_reasons import REASONS
from leanrec.data.ingest.rejects import check_path, write_quarantine
from leanrec.data.ingest.report import DataReport, describe_dataset, global_rules_note, report_from_dict
from leanrec.data.ingest.schema import LogSchema, understand
from leanrec.data.ingest.side_tables import SideTables, open_sides
from leanrec.data.ingest.sources import Source, describe_source
from leanrec.data.ingest.staging import LogProfile, StagedLog, example, judge, stage
from leanrec.data.ingest.timestamps import FORMS
from leanrec.data.ingest.transcoding import check_encoding
from leanrec.errors import ArtifactError, DataError, SettingError, SourceError
from leanrec.run import Run
from leanrec.units import format_bytes

__all__ = ["IngestResult", "ingest", "open_dataset"]

# A field that could not be used is shown where so many rows have one that it is found at once.
_SHOWN_FROM = 0.01
_OUTSIDE = "rating outside the range"
_SHOWN = ("time not understood", "rating is not a finite number", "weight is not a finite number")


class IngestResult(NamedTuple):
    """A data set and the report about it."""

    data: Dataset
    report: DataReport


@dataclasses.dataclass(frozen=True)
class _Task:
    """What was asked for; the fields are the arguments of ``ingest``."""

    source: Source
    items: Source | None
    users: Source | None
    columns: Mapping[str, str]
    event_weights: Mapping[str, float] | None
    positive_from: float | None
    cleaning: CleaningRules
    quarantine: Path | None
    time_format: str | None
    encoding: str | None
    item_links: Source | None
    user_links: Source | None
    run: Run

    def __post_init__(self) -> None:
        if self.positive_from is not None and not math.isfinite(self.positive_from):
            raise SettingError(f"positive_from must be a number. Got {self.positive_from!r}.")
        if self.encoding is not None:
            check_encoding(self.encoding)
        if self.quarantine is not None:
            check_path(self.quarantine)

    @property
    def is_plain(self) -> bool:
        """Whether no option changes how the log is read."""
        options = (
            self.items,
            self.users,
            self.event_weights,
            self.positive_from,
            self.quarantine,
            self.time_format,
            self.encoding,
            self.item_links,
            self.user_links,
        )
        return all(option is None for option in options) and not self.columns and self.cleaning == CleaningRules()


def ingest(
    source: Source,
    *,
    items: Source | None = None,
    users: Source | None = None,
    columns: Mapping[str, str] | None = None,
    event_weights: Mapping[str, float] | None = None,
    positive_from: float | None = None,
    cleaning: CleaningRules = CleaningRules(),  # noqa: B008 - frozen
    quarantine: str | Path | None = None,
    time_format: str | None = None,
    encoding: str | None = None,
    item_links: Source | None = None,
    user_links: Source | None = None,
    out: str | Path | None = None,
    run: Run = Run(),
) -> IngestResult:
    """Read a log.

    Args:
        source: a file (CSV, TSV, JSON lines, Parquet; .gz and .zst too), a pattern, a folder, a list of
            these,
            ``{"view": file, "purchase": file}`` with one behaviour per file, a pandas, Polars or Arrow frame,
            ``"sql:SELECT …"`` or ``SqlQuery(query, database)``.
        items: a table about items, in any of these forms. Without one, content columns of the log
            (content, text, title, category, …) become the item table.
        users: a table about users.
        columns: role → column, where the usual names do not fit. Roles: user, item, time, value, weight,
            kind,
            label, content (several with commas); ``items.id`` and ``users.id`` for the tables;
            ``item_links.head``, ``.relation``, ``.tail`` and ``user_links.user``, ``.friend``, ``.weight``. In a file
            without a line of names the columns are called "1", "2", ….
        event_weights: event type → weight as evidence of liking. Others get a usual weight by name, otherwise 1.
        positive_from: ratings below it get weight 0. None: every rating counts as an interaction.
        cleaning: what is set aside.
        quarantine: file (.csv or .parquet) for every row that was set aside, with reason, file and row.
        time_format: how the times are written, in the letters of strptime ("%d/%m/%Y %H:%M"). None: numbers,
            ISO dates and other usual forms, told apart by the values themselves.
        encoding: of all text files, such as "cp1252", "gbk" or "utf-16". None: UTF-8, and Windows-1252 where a file
            is none of it.
        item_links: knowledge triples (head, relation, tail) about items, in any of these forms; heads and tails are
            items by their own id, or other entities.
        user_links: who trusts or befriends whom (user, friend and, where there is one, weight). People whom only
            links know become users without events.
        out: folder to save the data set and its report to, which ``open_dataset`` opens. It appears whole or
            not at all, and replaces an older data set there.
        run: threads and memory. Where the events do not fit the memory they are mapped from files.

    Raises:
        SourceError: a source cannot be read or is empty.
        ColumnError: a column is missing, or has the wrong type.
        DataError: no event is left.
        SettingError: an option that does not fit.
        BudgetError: not even spilling to disk keeps the limit.
        ArtifactError: ``out`` is something else than a data set, or the disk is full.

    Cost: O(E log E) time; about 25 bytes an event for the result, and as much again, on disk if need be,
        for the sort.
    """
    path = None if quarantine is None else Path(quarantine)
    named = dict(columns or {})
    links = (item_links, user_links)
    task = _Task(source, items, users, named, event_weights, positive_from, cleaning, path, time_format, encoding, *links, run)
    if out is None:
        return _ingest(task, None)
    target = Path(out)
    with _beside(target) as folder:
        done = _ingest(task, folder)
        artifacts.save(done.data, target, provenance={"report": done.report.to_dict()}, adopt=folder)
    return done


def open_dataset(
    source: Source,
    *,
    items: Source | None = None,
    users: Source | None = None,
    columns: Mapping[str, str] | None = None,
    event_weights: Mapping[str, float] | None = None,
    positive_from: float | None = None,
    cleaning: CleaningRules = CleaningRules(),  # noqa: B008 - frozen
    quarantine: str | Path | None = None,
    time_format: str | None = None,
    encoding: str | None = None,
    item_links: Source | None = None,
    user_links: Source | None = None,
    run: Run = Run(),
) -> IngestResult:
    """A data set saved by ``ingest(…, out=folder)``, or anything that ``ingest`` takes, with the same options.

    Large arrays of a saved data set are mapped, not read. Raises ArtifactError if it does not verify, and
    SettingError for options that would change a saved data set.
    """
    path = None if quarantine is None else Path(quarantine)
    named = dict(columns or {})
    links = (item_links, user_links)
    task = _Task(source, items, users, named, event_weights, positive_from, cleaning, path, time_format, encoding, *links, run)
    if not (isinstance(source, str | Path) and (Path(source) / "manifest.json").is_file()):
        return _ingest(task, None)
    if not task.is_plain:
        raise SettingError(
            f"{source} is a saved data set; how it is read was settled when it was made. Leave the "
            "options out, or name the log itself."
        )
    data = artifacts.load(source, Dataset, mapped=True)
    kept = artifacts.read_manifest(source).get("provenance", {}).get("report")
    return IngestResult(data, describe_dataset(data) if kept is None else report_from_dict(kept))


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A folder beside the target: what is written there becomes part of the artifact by a link, not by a second write."""
    if target.exists() and not (target / "manifest.json").exists():
        raise ArtifactError(f"{target} exists and is not a leanrec artifact, so it is left alone. Choose another path.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-events-", dir=target.parent))
    except OSError as error:
        raise ArtifactError(f"Cannot write {target}: {error.strerror or error}. Nothing was changed there.") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ingest(task: _Task, folder: Path | None) -> IngestResult:
    began = time.perf_counter()
    with open_engine(task.run, encoding=task.encoding) as engine, _saying(task.run) as say:
        say(f"Looking at {describe_source(task.source)}")
        found = understand(engine, task.source, task.columns)
        sides = open_sides(engine, task.items, task.users, found.columns, task.columns)
        links = read_links(engine, task.item_links, task.user_links, task.columns)
        say(f"Reading {format_bytes(sum(part.size for part in found.parts))}; {_plan(found, task.run)}")
        staged = stage(
            engine,
            found.parts,
            found.columns,
            raw=task.quarantine is not None,
            key_types=sides.key_types,
            time_format=task.time_format,
        )
        blanks = find_ids(engine, staged)
        profile = judge(engine, staged, task.cleaning)
        sides.load(engine, staged, trim=blanks > 0)
        ingested = _linked(_index(task, engine, _Facts(found, staged, blanks, profile, sides), say, folder), links)
    report = dataclasses.replace(ingested.report, seconds=time.perf_counter() - began)
    return IngestResult(ingested.data, report)


def _linked(ingested: IngestResult, links: FoundLinks) -> IngestResult:
    """The same with links, and what the report says of them."""
    data, notes = attach(ingested.data, links)
    report = dataclasses.replace(
        ingested.report,
        rejected_in_tables={**ingested.report.rejected_in_tables, **links.rejected},
        columns={**ingested.report.columns, **links.columns},
        warnings=(*ingested.report.warnings, *links.notes, *notes),
    )
    return IngestResult(data, report)


@dataclasses.dataclass(frozen=True)
class _Facts:
    """What was learnt about the source before its rows are indexed."""

    found: LogSchema
    staged: StagedLog
    blanks: int
    profile: LogProfile
    sides: SideTables

    def notes(self) -> tuple[str, ...]:
        """What was left out or put right while reading, in sentences."""
        read = (note for part in self.staged.parts for note in part.notes)
        blanks = f"Ids with blanks around them count as the same without, in {self.blanks:,} rows."
        return (*self.found.warnings, *read, *self.sides.notes(), *([blanks] if self.blanks else []))


@dataclasses.dataclass(frozen=True, eq=False)
class _Judged:
    """The log in order, and why each row of it is kept or not.

    Attributes:
        log: the ordered log.
        reason: (E,) 0 = kept.
        counts: reason → rows set aside, those that never got into the log among them.
        notes: what was put right in ids and kinds, in sentences.
        numbers: whether the ids of users, and of items, are numbers.
    """

    log: EncodedLog
    reason: NDArray[np.int8]
    counts: dict[str, int]
    notes: tuple[str, ...]
    numbers: tuple[bool, bool]


def _index(task: _Task, engine: SqlEngine, facts: _Facts, say: Callable[[str], None], folder: Path | None) -> IngestResult:
    """From ``judged`` rows to a Dataset."""
    say("Giving users and items their rows")
    judged = _clean(task, engine, facts, say)
    if task.quarantine is not None:
        write_quarantine(engine, facts.staged, judged.log, judged.reason, task.quarantine)
    if not (judged.reason == 0).any():
        raise _nothing_left(task, engine, facts.staged, judged.counts)
    say("Writing events")
    sides, clock = facts.sides, facts.profile.clock
    core = task.cleaning.min_user > 1 or task.cleaning.min_item > 1
    rows: KeptRows = final_rows(engine, judged.log, judged.reason, sides.loaded_items, core=core)
    events, tally, where = write_events(
        judged.log, judged.reason, rows, positive_from=task.positive_from, clock=clock, run=task.run, folder=folder
    )
    tables = (sides.loaded_users, sides.loaded_items)
    data = make_dataset(engine, events, rows, tally, tables, judged.numbers, describe_source(task.source))
    report = tally.report(
        source=data.source,
        event_types=judged.log.event_types,
        clock=clock,
        warnings=(
            *facts.notes(),
            *judged.notes,
            *_examples(engine, facts.staged, judged.counts),
            *_warnings(task, facts, judged.log, data, judged.counts),
        ),
        **_facts_of(task, facts, judged.counts, data, where),
    )
    return IngestResult(data, report)


def _clean(task: _Task, engine: SqlEngine, facts: _Facts, say: Callable[[str], None]) -> _Judged:
    """Give users and items their codes, put the log in order, and judge it by all rules."""
    staged = facts.staged
    numbers = _dictionaries(engine, staged, facts.sides)
    counts = _first_counts(engine, staged)
    log = encode(
        engine,
        staged,
        clocked=staged.has("time"),
        event_weights=task.event_weights,
        keep_sequence=task.quarantine is not None,
        block_rows=_block_rows(task.run),
    )
    say(f"Cleaning {log.events:,} events")
    comparable = staged.has("time") or staged.has("rating")
    reason = reject_events(log, task.cleaning, clock=facts.profile.clock, comparable=comparable)
    for code in np.flatnonzero(np.bincount(reason, minlength=len(REASONS))[1:]) + 1:
        counts[REASONS[code]] = int(np.count_nonzero(reason == code))
    notes = [f"Kinds that differ in capital letters only count as one: {each}." for each in log.spellings]
    return _Judged(log, reason, counts, tuple(notes), numbers)


def _dictionaries(engine: SqlEngine, staged: StagedLog, sides: SideTables) -> tuple[bool, bool]:
    """Make ``users`` and ``items``; whether the ids of each are numbers."""
    untyped_items = staged.untyped_items
    if sides.items is not None:
        engine.execute("INSERT INTO items_found SELECT id FROM item_rows ANTI JOIN items_found USING (id)")
        untyped_items = untyped_items and sides.items.untyped
    users = make_dictionary(engine, "users", untyped=staged.untyped_users)
    items = make_dictionary(engine, "items", untyped=untyped_items)
    return users or staged.integer_users, items or staged.integer_items


def _first_counts(engine: SqlEngine, staged: StagedLog) -> dict[str, int]:
    """Reason → rows, for the rules that look at single rows."""
    found = engine.fetch_rows("SELECT reason, count(*) FROM judged WHERE reason <> 0 GROUP BY reason ORDER BY reason")
    return count_aside(engine, staged.parts) | {REASONS[code]: int(n) for code, n in found}


def _rows_read(staged: StagedLog, counts: Mapping[str, int]) -> int:
    return staged.rows + sum(n for reason, n in counts.items() if reason not in REASONS)


def _facts_of(task: _Task, facts: _Facts, counts: Mapping[str, int], data: Dataset, where: str) -> dict[str, object]:
    """Fields of the report that no count of events tells."""
    return {
        "rows_read": _rows_read(facts.staged, counts),
        "rejected": dict(counts),
        "rejected_in_tables": facts.sides.rejected(),
        "columns": facts.found.listed() | facts.sides.listed(),
        "item_columns": () if data.item_table is None else tuple(data.item_table.columns),
        "user_columns": () if data.user_table is None else tuple(data.user_table.columns),
        "memory": {"limit": task.run.budget.memory, "plan": _plan(facts.found, task.run), "events": where},
        "rating_range": facts.profile.scale,
        "rating_range_inferred": facts.profile.inferred,
        "quarantine": None if task.quarantine is None else str(task.quarantine),
    }


def _examples(engine: SqlEngine, staged: StagedLog, counts: Mapping[str, int]) -> Iterator[str]:
    """What fields hold that many rows were set aside for."""
    for reason in _SHOWN:
        if counts.get(reason, 0) >= max(1, _SHOWN_FROM * staged.rows):
            found = example(engine, staged, reason)
            rows = "1 row was" if counts[reason] == 1 else f"{counts[reason]:,} rows were"
            yield f"{reason[0].upper()}{reason[1:]}, such as {found!r}: {rows} set aside."


def _outside(profile: LogProfile, n: int) -> str:
    low, high = profile.scale or (math.nan, math.nan)
    rows = "1 row outside was" if n == 1 else f"{n:,} rows outside were"
    example = "" if profile.outside is None else f", such as {profile.outside:g}"
    return (
        f"Ratings are taken to go from {low:g} to {high:g}, the narrowest usual scale that holds 99.9 % of them; {rows} set "
        f"aside{example}. If another scale is meant, name it: --ratings LOW..HIGH, or CleaningRules(rating_range=(LOW, HIGH))."
    )


def _warnings(task: _Task, facts: _Facts, log: EncodedLog, data: Dataset, counts: Mapping[str, int]) -> Iterator[str]:
    staged, profile = facts.staged, facts.profile
    if not staged.has("time"):
        yield "There is no time column: events keep the order of the log, and splits by time have nothing to go by."
    elif not profile.clock:
        yield "Times are an order, not a clock: recency and splits by date have nothing to go by."
    if not (staged.has("time") or staged.has("rating")):
        yield "Without times and ratings a repeated row is taken for a repeated event, not for a duplicate."
    if staged.has("rating") and task.positive_from is None:
        yield "Every rating counts as an interaction, low ones too. With positive_from, ratings below it get weight 0."
    if profile.inferred and (n := counts.get(_OUTSIDE, 0)):
        yield _outside(profile, n)
    if note := global_rules_note(counts):
        yield note
    if log.unknown_types:
        yield f"Kinds with no usual weight count 1: {', '.join(log.unknown_types[:10])}. Give weights with event_weights."
    if not (data.events.weight > 0).any():
        yield "No event has a weight above zero, so nothing says what anybody likes. Give weights with event_weights, or lower positive_from."


def _nothing_left(task: _Task, engine: SqlEngine, staged: StagedLog, counts: Mapping[str, int]) -> DataError:
    listed = "; ".join(f"{reason}: {n:,}" for reason, n in counts.items())
    rows = _rows_read(staged, counts)
    if not rows:
        return SourceError(f"{describe_source(task.source)} has columns and no row. Check how it was written.")
    worst = max(counts, key=lambda reason: counts[reason])
    what_to_do = "Check the columns, or loosen the cleaning."
    if worst not in REASONS:
        read = " ".join(note for part in staged.parts for note in part.notes)
        what_to_do = f"{read} Check how the lines were written: --quarantine FILE keeps each of them.".lstrip()
    if worst in (*_SHOWN, "time before 1990 or in the future"):
        what_to_do = f"A field that was set aside so holds {example(engine, staged, worst)!r}. "
        what_to_do += "Name the right column, or correct the values."
        if worst.startswith("time"):
            what_to_do += (
                f' Times are understood as {FORMS}. For another form say how it is written: --time-format "%d-%b-%y", or '
                'time_format="%d-%b-%y".'
            )
    return DataError(
        f"No event is left of the {rows:,} rows of {describe_source(task.source)}. Set aside: {listed}. {what_to_do}"
    )


def _plan(found: LogSchema, run: Run) -> str:
    """What the work needs by estimate, and what happens if that is more than it may use."""
    need = sum(part.size * {"parquet": 5}.get(part.form, 2) for part in found.parts) + 64_000_000
    limit = run.available_memory()
    how = "in memory" if need <= limit else "spilling to disk"
    return f"needs about {format_bytes(need)} and may use {format_bytes(limit)}: {how}"


def _block_rows(run: Run) -> int:
    """Rows of a block: about a twentieth of the memory at 100 bytes a row."""
    return int(min(1_000_000, max(50_000, run.available_memory() // 2000)))


@contextlib.contextmanager
def _saying(run: Run) -> Iterator[Callable[[str], None]]:
    """Say what is being done, on standard error, where progress is wanted."""
    if not run.shows_progress:
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - most runs show nothing

    with Console(stderr=True).status("…") as status:
        yield status.update
