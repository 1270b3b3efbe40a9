"""Options that several commands share, written once."""

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from leanrec.data.dataset import Dataset
from leanrec.data.ingest.cleaning import Cleaning
from leanrec.data.ingest.ingest import Ingested, open_dataset
from leanrec.data.ingest.report import whole_log_note
from leanrec.data.ingest.sources import Source
from leanrec.data.splits.split import HOW, Split, split
from leanrec.data.table import Table
from leanrec.errors import SettingError
from leanrec.models import get_model
from leanrec.protocols import Estimator
from leanrec.run import Run, parse_bytes, parse_seconds
from leanrec.settings import build, split_list

__all__ = [
    "DataOptions",
    "Json",
    "RunOptions",
    "Sources",
    "SplitOptions",
    "TrainOptions",
    "conditions",
    "gather",
    "model_of",
    "pairs",
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Sources = Annotated[
    list[str],
    typer.Argument(
        help="A prepared data set, or a log: a file, pattern or folder; several files; KIND=FILE for each behaviour; sql:SELECT …",
        metavar="DATA...",
    ),
]
_DATA = "Data"
_HELD_OUT = "Held out"
_WORK = "Work"


def pairs(texts: Iterable[str], flag: str) -> dict[str, str]:
    """``["a=1", "b=2"]`` as a dictionary. Raises SettingError for a text without '='."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise SettingError(f"{flag} must have the form NAME=VALUE. Got {text!r}.")
        found[name.strip()] = value.strip()
    return found


def conditions(texts: list[str] | None, items: Table | None) -> dict[str, Any] | None:
    """``["genres=Comedy", "year=1990..1999"]`` as the conditions that a pipeline understands."""
    found: dict[str, Any] = {}
    for name, text in pairs(texts or (), "--where").items():
        column = None if items is None else items.columns.get(name)
        if column is None or column.dtype.kind == "T":
            found[name] = text
            continue
        low, dots, high = text.partition("..")
        bounds = {"min": low, "max": high}
        numbers = {bound: _float(f"--where {name}", value) for bound, value in bounds.items() if value}
        found[name] = numbers if dots else _float(f"--where {name}", text)
    return found or None


def _float(what: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SettingError(f"{what}: must be a number. Got {text!r}.") from None


def model_of(text: str, more: Iterable[str] = ()) -> Estimator:
    """``"ials,width=32"`` as settings: a model's name, then settings that are not the usual ones, and ``more`` of --set."""
    name, *settings = split_list(text) or ("",)
    return build(get_model(name), pairs(settings, f"--model {name}") | pairs(more, "--set"))


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """How a log is read and cleaned. A prepared data set needs none of it."""

    items: Annotated[
        str | None, typer.Option(help="A table about items (titles, genres, …).", rich_help_panel=_DATA)
    ] = None
    users: Annotated[str | None, typer.Option(help="A table about users.", rich_help_panel=_DATA)] = None
    item_links: Annotated[
        str | None, typer.Option(help="Knowledge about items: triples head, relation, tail.", rich_help_panel=_DATA)
    ] = None
    user_links: Annotated[
        str | None,
        typer.Option(help="Who trusts or befriends whom: user, friend, maybe weight.", rich_help_panel=_DATA),
    ] = None
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            "-c",
            help="Which column plays a role, e.g. user=visitor, items.id=sku or item_links.head=movie; repeatable.",
            rich_help_panel=_DATA,
        ),
    ] = None
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help="How much a behaviour counts, e.g. purchase=3; repeatable.", rich_help_panel=_DATA),
    ] = None
    positive_from: Annotated[
        float | None, typer.Option(help="Ratings below it are no evidence of liking.", rich_help_panel=_DATA)
    ] = None
    min_user: Annotated[int, typer.Option(help="Keep users with that many events (k-core).", rich_help_panel=_DATA)] = 1
    min_item: Annotated[int, typer.Option(help="Keep items with that many events (k-core).", rich_help_panel=_DATA)] = 1
    since: Annotated[
        str | None,
        typer.Option(help="Keep events from this date on, e.g. 2019-05-01.", rich_help_panel=_DATA),
    ] = None
    until: Annotated[str | None, typer.Option(help="Keep events before this date.", rich_help_panel=_DATA)] = None
    ratings: Annotated[
        str | None, typer.Option(help="Lowest and highest rating allowed, e.g. 1..5.", rich_help_panel=_DATA)
    ] = None
    bots: Annotated[
        bool, typer.Option(help="Set aside users and weights far outside the usual.", rich_help_panel=_DATA)
    ] = True
    max_per_day: Annotated[
        int | None, typer.Option(help="A user with more events on one day is a bot.", rich_help_panel=_DATA)
    ] = None
    keep_duplicates: Annotated[
        bool,
        typer.Option("--keep-duplicates", help="Keep events that repeat an earlier one.", rich_help_panel=_DATA),
    ] = False
    quarantine: Annotated[
        Path | None,
        typer.Option(
            help="File (.csv or .parquet) for the rows that are set aside, with the reason.",
            rich_help_panel=_DATA,
        ),
    ] = None

    time_format: Annotated[
        str | None,
        typer.Option(
            help="How times are written, where it is not told by themselves, e.g. '%d/%m/%Y %H:%M'.",
            rich_help_panel=_DATA,
        ),
    ] = None

    encoding: Annotated[
        str | None,
        typer.Option(
            help="Encoding of the text files, e.g. cp1252, gbk or utf-16. Default: UTF-8, and Windows-1252 where it is not.",
            rich_help_panel=_DATA,
        ),
    ] = None

    def arguments(self, sources: list[str]) -> dict[str, Any]:
        """These options as arguments of ``leanrec.data.ingest.ingest``."""
        return {
            "source": source_of(sources),
            "items": self.items,
            "users": self.users,
            "columns": pairs(self.column or (), "--column"),
            "kinds": {name: _float(f"--kind {name}", text) for name, text in pairs(self.kind or (), "--kind").items()}
            or None,
            "positive_from": self.positive_from,
            "cleaning": self._cleaning(),
            "quarantine": self.quarantine,
            "time_format": self.time_format,
            "encoding": self.encoding,
            "item_links": self.item_links,
            "user_links": self.user_links,
        }

    def open(self, sources: list[str], run: Run) -> Ingested:
        """The data set, from a prepared folder or from the log itself."""
        return open_dataset(**self.arguments(sources), run=run)

    def held_out(self, source: str, run: Run) -> Dataset:
        """A file of events that is read as the log is; no event of it is set aside as unusual."""
        usual = dataclasses.replace(self, items=None, users=None, bots=False, min_user=1, min_item=1, quarantine=None)
        usual = dataclasses.replace(usual, item_links=None, user_links=None)
        return usual.open([source], run).data

    def _cleaning(self) -> Cleaning:
        usual = Cleaning()
        return Cleaning(
            duplicates="keep" if self.keep_duplicates else "drop",
            min_user=self.min_user,
            min_item=self.min_item,
            since=self.since,
            until=self.until,
            rating_range=None if self.ratings is None else _range(self.ratings),
            bot_sigmas=usual.bot_sigmas if self.bots else None,
            max_per_day=self.max_per_day,
            outlier_sigmas=usual.outlier_sigmas if self.bots else None,
        )


def source_of(texts: list[str]) -> Source:
    """One path, several paths, or ``KIND=PATH`` for files that hold one behaviour each."""
    named = [
        text.partition("=") for text in texts if "=" in text and not text.startswith("sql:") and not Path(text).exists()
    ]
    if named and len(named) == len(texts):
        return {kind: path for kind, _, path in named}
    if named:
        raise SettingError(f"Either every source has the form KIND=PATH or none has. Got {' '.join(texts)}.")
    return texts[0] if len(texts) == 1 else list(texts)


def _range(text: str) -> tuple[float, float]:
    low, dots, high = text.partition("..")
    if not dots:
        raise SettingError(f"--ratings must have the form LOW..HIGH, e.g. 1..5. Got {text!r}.")
    return _float("--ratings", low), _float("--ratings", high)


@dataclasses.dataclass(frozen=True)
class SplitOptions:
    """What is held out."""

    split: Annotated[
        str,
        typer.Option(help=f"{', '.join(HOW[:-1])}; given = the files below.", rich_help_panel=_HELD_OUT),
    ] = "auto"
    valid: Annotated[
        str | None, typer.Option(help="A log of events to choose models by.", rich_help_panel=_HELD_OUT)
    ] = None
    test: Annotated[str | None, typer.Option(help="A log of events to report on.", rich_help_panel=_HELD_OUT)] = None

    def apply(self, ingested: Ingested, options: DataOptions, run: Run) -> Split:
        """The three parts. Files to hold out mean the split ``given``. The note tells of rules that saw them all."""
        valid, test = (None if file is None else options.held_out(file, run) for file in (self.valid, self.test))
        files = valid is not None or test is not None
        how = "given" if files and self.split == "auto" else self.split
        if how == "given" and not files:
            raise SettingError("--split given needs the held-out events: --test FILE, --valid FILE or both.")
        if files and how != "given":
            raise SettingError(f"--valid and --test go with --split given. Got --split {how}.")
        parts = split(ingested.data, how, seed=run.seed, valid_events=valid, test_events=test)
        # Files of their own were not there when the log was cleaned.
        note = "" if files else whole_log_note(ingested.report.set_aside)
        return dataclasses.replace(parts, note=" ".join(filter(None, (parts.note, note))))


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """How the work is done."""

    seed: Annotated[int, typer.Option(help="Everything random follows from it.", rich_help_panel=_WORK)] = 0
    threads: Annotated[int, typer.Option(help="Threads; 0 = one per core.", rich_help_panel=_WORK)] = 0
    memory: Annotated[
        str | None, typer.Option(help="Memory the work may use, e.g. 2GB; it is kept.", rich_help_panel=_WORK)
    ] = None
    time: Annotated[
        str | None,
        typer.Option(help="Time after which a fit stops with the best it has, e.g. 60s.", rich_help_panel=_WORK),
    ] = None
    progress: Annotated[bool, typer.Option(help="Show progress bars on a terminal.", rich_help_panel=_WORK)] = True

    def run(self) -> Run:
        """These options as the conditions of a run."""
        return Run(
            seed=self.seed,
            threads=self.threads,
            memory=None if self.memory is None else parse_bytes(self.memory),
            seconds=None if self.time is None else parse_seconds(self.time),
            progress=self.progress and typer.get_text_stream("stderr").isatty(),
        )


@dataclasses.dataclass(frozen=True)
class TrainOptions(RunOptions):
    """How models are fitted."""

    device: Annotated[
        str,
        typer.Option(help="Where models that train with torch do so: cpu, cuda or cuda:N.", rich_help_panel=_WORK),
    ] = "cpu"

    def run(self) -> Run:
        """These options as the conditions of a run."""
        return dataclasses.replace(super().run(), device=self.device)


def gather(*kinds: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command one flag for each field of the dataclasses ``kinds``.

    The command takes one keyword argument for each dataclass, named by its class in lower case without
    "Options" (``DataOptions`` → ``data``), and receives it filled in.
    """
    names = {kind.__name__.removesuffix("Options").lower(): kind for kind in kinds}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own = [p for name, p in inspect.signature(command).parameters.items() if name not in names]
        flags = [_parameter(field, kind) for kind in kinds for field in dataclasses.fields(kind)]

        @functools.wraps(command)
        def called(**values: Any) -> Any:
            filled = {
                name: kind(**{f.name: values.pop(f.name) for f in dataclasses.fields(kind)})
                for name, kind in names.items()
            }
            return command(**values, **filled)

        parameters = [*own, *flags]
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in parameters}
        return called

    return decorate


def _parameter(field: dataclasses.Field[Any], kind: type) -> inspect.Parameter:
    hint = typing.get_type_hints(kind, include_extras=True)[field.name]
    default = field.default if field.default is not dataclasses.MISSING else field.default_factory()  # type: ignore[operator]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
