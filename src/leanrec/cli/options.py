"""Options that several commands share, and values parsed from their text."""

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from leanrec.budget import Budget
from leanrec.callbacks import Callback, ProgressBar
from leanrec.cli import output
from leanrec.data.dataset import Dataset
from leanrec.data.ingest.cleaning import CleaningRules
from leanrec.data.ingest.forms.lines import LAYOUTS
from leanrec.data.ingest.ingest import IngestResult, is_dataset, open_dataset
from leanrec.data.ingest.report import global_rules_note
from leanrec.data.ingest.sources import Source
from leanrec.data.splits.split import HOW, Split, split
from leanrec.data.table import Table
from leanrec.errors import SettingError
from leanrec.models import get_model
from leanrec.protocols import Estimator
from leanrec.run import Run
from leanrec.settings import parse_settings, split_list
from leanrec.units import parse_bytes, parse_seconds

__all__ = [
    "ColumnsNote",
    "DataOptions",
    "Json",
    "RunOptions",
    "Sources",
    "SplitOptions",
    "TrainOptions",
    "parse_conditions",
    "parse_limit",
    "parse_model",
    "parse_number",
    "parse_pairs",
    "with_options",
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Sources = Annotated[
    list[str],
    typer.Argument(
        help="A prepared data set, or a log: a file, pattern or folder; several files; TYPE=FILE for each event type; sql:SELECT …",
        metavar="DATA...",
    ),
]
_DATA = "Data"
_HELD_OUT = "Held out"
_WORK = "Work"


def parse_pairs(texts: Iterable[str], flag: str) -> dict[str, str]:
    """Parse ``["a=1", "b=2"]`` into a dictionary. Raises SettingError for a text without '='."""
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise SettingError(f"{flag} must have the form NAME=VALUE. Got {text!r}.")
        values[name.strip()] = value.strip()
    return values


def parse_conditions(texts: list[str] | None, items: Table | None) -> dict[str, Any] | None:
    """Parse ``["genres=Comedy", "year=1990..1999"]`` into the ``where`` argument of a pipeline; None without any."""
    conditions: dict[str, Any] = {}
    for name, text in parse_pairs(texts or (), "--where").items():
        column = None if items is None else items.columns.get(name)
        if column is None or column.dtype.kind == "T":
            conditions[name] = text
            continue
        low, dots, high = text.partition("..")
        bounds = {"min": low, "max": high}
        numbers = {bound: parse_number(f"--where {name}", value) for bound, value in bounds.items() if value}
        conditions[name] = numbers if dots else parse_number(f"--where {name}", text)
    return conditions or None


def parse_number(what: str, text: str) -> float:
    """Parse a number. Raises SettingError that says what it is."""
    try:
        return float(text)
    except ValueError:
        raise SettingError(f"{what}: must be a number. Got {text!r}.") from None


def parse_limit(flag: str, text: str | None, parse: Callable[[str], float]) -> float | None:
    """Parse a limit such as "2GB" with ``parse``; None stays None. Raises SettingError that names the flag."""
    try:
        return None if text is None else parse(text)
    except SettingError as error:
        raise SettingError(f"{flag}: {error}") from None


def parse_model(text: str, more: Iterable[str] = ()) -> Estimator:
    """Build a model's settings from ``"ials,embedding_dim=32"`` and the values of ``--set`` in ``more``."""
    name, *settings = split_list(text) or ("",)
    return parse_settings(get_model(name), parse_pairs(settings, f"--model {name}") | parse_pairs(more, "--set"))


@dataclasses.dataclass(frozen=True)
class ColumnsNote(Callback):
    """Prints on standard error how the columns of a log are understood, before its rows are read."""

    def on_schema_read(self, description: str) -> None:
        """Print the sentence."""
        output.print_note(description)


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """Options for reading and cleaning a log. A prepared data set needs none of them."""

    items: Annotated[
        str | None, typer.Option(help="A table about items (titles, genres, …).", rich_help_panel=_DATA)
    ] = None
    users: Annotated[str | None, typer.Option(help="A table about users.", rich_help_panel=_DATA)] = None
    item_links: Annotated[
        str | None,
        typer.Option(
            help="Knowledge graph about items: a table of triples head, relation, tail.", rich_help_panel=_DATA
        ),
    ] = None
    user_links: Annotated[
        str | None,
        typer.Option(help="Social links: a table of user, friend and optionally weight.", rich_help_panel=_DATA),
    ] = None
    known_as: Annotated[
        str | None,
        typer.Option(
            "--as",
            help="The folder is this known data set (see the guide to data sets), or one declared in a .toml file. "
            "Default: recognized by its files; none = read as any other.",
            metavar="NAME",
            rich_help_panel=_DATA,
        ),
    ] = None
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            "-c",
            help="Column for a role, e.g. user=visitor, items.id=sku or item_links.head=movie; repeatable.",
            rich_help_panel=_DATA,
        ),
    ] = None
    event_weight: Annotated[
        list[str] | None,
        typer.Option(
            "--event-weight", help="Weight of an event type, e.g. purchase=3; repeatable.", rich_help_panel=_DATA
        ),
    ] = None
    positive_from: Annotated[
        float | None, typer.Option(help="Ratings below this count as no evidence of liking.", rich_help_panel=_DATA)
    ] = None
    min_user_events: Annotated[
        int, typer.Option(help="Keep users with at least this many events (k-core).", rich_help_panel=_DATA)
    ] = 1
    min_item_events: Annotated[
        int, typer.Option(help="Keep items with at least this many events (k-core).", rich_help_panel=_DATA)
    ] = 1
    since: Annotated[
        str | None,
        typer.Option(help="Keep events from this date on, e.g. 2019-05-01.", rich_help_panel=_DATA),
    ] = None
    until: Annotated[str | None, typer.Option(help="Keep events before this date.", rich_help_panel=_DATA)] = None
    rating_range: Annotated[
        str | None, typer.Option(help="Lowest and highest rating allowed, e.g. 1..5.", rich_help_panel=_DATA)
    ] = None
    no_rating: Annotated[
        list[float] | None,
        typer.Option(
            "--no-rating",
            help="A rating that means not rated, e.g. -1: the event stays, without a rating; repeatable. Default: found from the values.",
            metavar="VALUE",
            rich_help_panel=_DATA,
        ),
    ] = None
    drop_outliers: Annotated[
        bool,
        typer.Option(
            "--drop-outliers/--keep-outliers",
            help="Reject the events of users with implausibly many events (bots), and implausible weights.",
            rich_help_panel=_DATA,
        ),
    ] = True
    max_bot_share: Annotated[
        float,
        typer.Option(
            help="Keep users with implausibly many events, with a warning, where they have more than this share of all events.",
            rich_help_panel=_DATA,
        ),
    ] = CleaningRules().max_bot_share
    max_events_per_day: Annotated[
        int | None,
        typer.Option(help="Treat a user with more events than this on one day as a bot.", rich_help_panel=_DATA),
    ] = None
    keep_duplicates: Annotated[
        bool,
        typer.Option("--keep-duplicates", help="Keep exact duplicates of earlier events.", rich_help_panel=_DATA),
    ] = False
    rejected: Annotated[
        Path | None,
        typer.Option(help="File (.csv or .parquet) for rejected rows, with the reason.", rich_help_panel=_DATA),
    ] = None
    allow_rejects: Annotated[
        bool,
        typer.Option(
            "--allow-rejects",
            help="Continue although more than half of the rows cannot be used.",
            rich_help_panel=_DATA,
        ),
    ] = False
    delimiter: Annotated[
        str | None,
        typer.Option(
            help="Text between two fields, e.g. '::', '|' or '\\t'. Default: found for each file.",
            rich_help_panel=_DATA,
        ),
    ] = None
    decimal: Annotated[
        str | None,
        typer.Option(
            help="Mark before decimals, '.' or ','; the other one separates thousands. Default: found from the values.",
            rich_help_panel=_DATA,
        ),
    ] = None
    rating_word: Annotated[
        list[str] | None,
        typer.Option(
            "--rating-word",
            help="Rating that a word stands for, e.g. good=4; repeatable. Default: common scales of words.",
            rich_help_panel=_DATA,
        ),
    ] = None
    names: Annotated[
        str | None,
        typer.Option(
            help="Columns of a log without a line of names, in their order, e.g. user,item,rating,time.",
            rich_help_panel=_DATA,
        ),
    ] = None
    item_names: Annotated[
        str | None, typer.Option(help="The same for --items, e.g. item,title,genres.", rich_help_panel=_DATA)
    ] = None
    user_names: Annotated[str | None, typer.Option(help="The same for --users.", rich_help_panel=_DATA)] = None
    layout: Annotated[
        str | None,
        typer.Option(
            help=f"Layout of the log: {', '.join(LAYOUTS)}. Default: found from the first rows.", rich_help_panel=_DATA
        ),
    ] = None
    time_format: Annotated[
        str | None,
        typer.Option(
            help="Format of the times where it cannot be inferred, e.g. '%d/%m/%Y %H:%M' (strptime).",
            rich_help_panel=_DATA,
        ),
    ] = None
    encoding: Annotated[
        str | None,
        typer.Option(
            help="Encoding of the text files, e.g. cp1252, gbk or utf-16. Default: UTF-8, with Windows-1252 as fallback.",
            rich_help_panel=_DATA,
        ),
    ] = None

    def to_ingest_arguments(self, sources: list[str]) -> dict[str, Any]:
        """Keyword arguments of ``leanrec.ingest``."""
        weights = parse_pairs(self.event_weight or (), "--event-weight")
        words = parse_pairs(self.rating_word or (), "--rating-word")
        return {
            "source": parse_sources(sources),
            "items": self.items,
            "users": self.users,
            "columns": parse_pairs(self.column or (), "--column"),
            "event_weights": {name: parse_number(f"--event-weight {name}", text) for name, text in weights.items()}
            or None,
            "positive_from": self.positive_from,
            "cleaning": self.to_cleaning(),
            "quarantine": self.rejected,
            "time_format": self.time_format,
            "encoding": self.encoding,
            "layout": self.layout,
            "delimiter": self.delimiter,
            "decimal": self.decimal,
            "rating_words": {word: parse_number(f"--rating-word {word}", text) for word, text in words.items()} or None,
            "names": self.names,
            "item_names": self.item_names,
            "user_names": self.user_names,
            "item_links": self.item_links,
            "user_links": self.user_links,
            "allow_rejects": self.allow_rejects,
            "known_as": self.known_as,
        }

    def open_data(self, sources: list[str], run: Run) -> IngestResult:
        """Open a prepared data set, or ingest the log and tell on standard error how it was understood."""
        arguments = self.to_ingest_arguments(sources)
        opened = open_dataset(**arguments, run=dataclasses.replace(run, callbacks=(*run.callbacks, ColumnsNote())))
        if not is_dataset(arguments["source"]):
            for line in opened.report.summarize():
                output.print_note(line)
        return opened

    def open_held_out(self, source: str, like: Dataset, run: Run) -> IngestResult:
        """Ingest a file of held-out events as the log was read, but without filters that drop events."""
        plain = dataclasses.replace(
            self,
            items=None,
            users=None,
            item_links=None,
            user_links=None,
            item_names=None,
            user_names=None,
            drop_outliers=False,
            min_user_events=1,
            min_item_events=1,
            max_events_per_day=None,
            since=None,
            until=None,
            rejected=None,
        )
        arguments = plain.to_ingest_arguments([source])
        held_out = open_dataset(**arguments, like=None if is_dataset(arguments["source"]) else like, run=run)
        if held_out.report.rejected:
            for line in held_out.report.summarize(n_lines=2):
                output.print_note(line)
        return held_out

    def to_cleaning(self) -> CleaningRules:
        """Settings of cleaning."""
        default = CleaningRules()
        return CleaningRules(
            duplicates="keep" if self.keep_duplicates else "drop",
            min_user=self.min_user_events,
            min_item=self.min_item_events,
            since=self.since,
            until=self.until,
            rating_range=None if self.rating_range is None else _parse_range("--rating-range", self.rating_range),
            no_rating=tuple(self.no_rating) if self.no_rating else None,
            bot_sigmas=default.bot_sigmas if self.drop_outliers else None,
            max_bot_share=self.max_bot_share,
            max_per_day=self.max_events_per_day,
            outlier_sigmas=default.outlier_sigmas if self.drop_outliers else None,
        )


def parse_sources(texts: list[str]) -> Source:
    """Parse the sources of a command: one path, several paths, or ``TYPE=PATH`` with one file for each event type."""
    named = [
        text.partition("=")
        for text in texts
        # With a folder before the sign it is part of a path, not an event type: logs/date=*/part.csv.
        if "=" in text and "/" not in text.partition("=")[0] and not text.startswith("sql:") and not Path(text).exists()
    ]
    if named and len(named) == len(texts):
        return {event_type: path for event_type, _, path in named}
    if named:
        raise SettingError(
            f"Sources must all have the form TYPE=PATH, or none of them. Got {' '.join(texts)}. "
            "Name the event type of each file."
        )
    return texts[0] if len(texts) == 1 else list(texts)


def _parse_range(flag: str, text: str) -> tuple[float, float]:
    low, dots, high = text.partition("..")
    if not dots:
        raise SettingError(f"{flag} must have the form LOW..HIGH, e.g. 1..5. Got {text!r}.")
    return parse_number(flag, low), parse_number(flag, high)


@dataclasses.dataclass(frozen=True)
class SplitOptions:
    """Options of the split into training, validation and test part."""

    split: Annotated[
        str,
        typer.Option(
            help=f"{', '.join(HOW[:-1])}; given = the files of --valid and --test.", rich_help_panel=_HELD_OUT
        ),
    ] = "auto"
    valid: Annotated[str | None, typer.Option(help="A log of validation events.", rich_help_panel=_HELD_OUT)] = None
    test: Annotated[str | None, typer.Option(help="A log of test events.", rich_help_panel=_HELD_OUT)] = None
    valid_share: Annotated[
        float, typer.Option(help="Share of the events, users or items for validation.", rich_help_panel=_HELD_OUT)
    ] = 0.1
    test_share: Annotated[float, typer.Option(help="The same for test.", rich_help_panel=_HELD_OUT)] = 0.1
    allow_repeats: Annotated[
        bool,
        typer.Option(
            "--allow-repeats",
            help="Count items that the user had before as relevant, and recommend them again (music, groceries).",
            rich_help_panel=_HELD_OUT,
        ),
    ] = False

    def apply_split(self, ingested: IngestResult, options: DataOptions, run: Run) -> Split:
        """Split the data. Files of held-out events imply the split ``given``.

        The note of the result names cleaning rules that saw the held-out events.
        """
        valid, test = (
            None if file is None else options.open_held_out(file, ingested.data, run).data
            for file in (self.valid, self.test)
        )
        files = valid is not None or test is not None
        how = "given" if files and self.split == "auto" else self.split
        if how == "given" and not files:
            raise SettingError("--split given needs the held-out events: --test FILE, --valid FILE or both.")
        if files and how != "given":
            raise SettingError(f"--valid and --test go with --split given. Got --split {how}.")
        parts = split(
            ingested.data,
            how,
            valid=self.valid_share,
            test=self.test_share,
            seed=run.seed,
            valid_events=valid,
            test_events=test,
            allow_repeats=self.allow_repeats,
        )
        # Held-out events from files of their own were not in the log when it was cleaned.
        note = "" if files else global_rules_note(ingested.report.rejected)
        return dataclasses.replace(parts, note=" ".join(filter(None, (parts.note, note))))


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Options of every command that computes."""

    seed: Annotated[int, typer.Option(help="Seed of every random choice.", rich_help_panel=_WORK)] = 0
    threads: Annotated[int, typer.Option(help="Threads; 0 = one per core.", rich_help_panel=_WORK)] = 0
    memory_limit: Annotated[
        str | None, typer.Option(help="Memory limit, e.g. 2GB; larger work spills to disk.", rich_help_panel=_WORK)
    ] = None
    time_limit: Annotated[
        str | None,
        typer.Option(help="Time after which a fit stops and keeps its best state, e.g. 60s.", rich_help_panel=_WORK),
    ] = None
    progress: Annotated[bool, typer.Option(help="Show progress bars on a terminal.", rich_help_panel=_WORK)] = True

    def to_run(self) -> Run:
        """The ``Run`` with these options."""
        on_terminal = typer.get_text_stream("stderr").isatty()
        return Run(
            seed=self.seed,
            threads=self.threads,
            budget=Budget(
                memory=parse_limit("--memory-limit", self.memory_limit, parse_bytes),
                fit_time=parse_limit("--time-limit", self.time_limit, parse_seconds),
            ),
            callbacks=(ProgressBar(),) if self.progress and on_terminal else (),
        )


@dataclasses.dataclass(frozen=True)
class TrainOptions(RunOptions):
    """Options of commands that fit models."""

    device: Annotated[
        str,
        typer.Option(help="Device of models that train with torch: cpu, cuda or cuda:N.", rich_help_panel=_WORK),
    ] = "cpu"

    def to_run(self) -> Run:
        """The ``Run`` with these options."""
        return dataclasses.replace(super().to_run(), device=self.device)


def with_options(*groups: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command one flag for each field of the dataclasses ``groups``.

    The command takes one keyword argument for each dataclass, named by its class in lower case without
    "Options" (``DataOptions`` → ``data``), and receives an instance of it.
    """
    names = {group.__name__.removesuffix("Options").lower(): group for group in groups}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own = [p for name, p in inspect.signature(command).parameters.items() if name not in names]
        flags = [_make_parameter(field, group) for group in groups for field in dataclasses.fields(group)]

        @functools.wraps(command)
        def wrapper(**values: Any) -> Any:
            options = {
                name: group(**{f.name: values.pop(f.name) for f in dataclasses.fields(group)})
                for name, group in names.items()
            }
            return command(**values, **options)

        parameters = [*own, *flags]
        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
        return wrapper

    return decorate


def _make_parameter(field: dataclasses.Field[Any], group: type) -> inspect.Parameter:
    hint = typing.get_type_hints(group, include_extras=True)[field.name]
    default = field.default if field.default is not dataclasses.MISSING else field.default_factory()  # type: ignore[operator]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
