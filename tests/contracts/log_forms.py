"""Text forms in which a known log is written: dialects, packings, folders, layouts without columns."""

import bz2
import dataclasses
import datetime
import email.utils
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from hypothesis import assume
from hypothesis import strategies as st

from contracts.known_logs import UTC, WORDS, KnownLog

NAMES: Mapping[str, Sequence[str]] = {
    "user": ("user", "user_id", "userId", "visitorid", "Customer ID", "reviewerID", "profile_id", "session"),
    "item": ("item", "item_id", "movieId", "product_id", "asin", "Track ID", "isbn", "article_id"),
    "time": ("time", "timestamp", "ts", "created_at", "date", "event_time", "unixReviewTime", "t_dat"),
    "rating": ("rating", "Book-Rating", "stars", "score", "overall"),
    "event_type": ("event", "event_type", "action", "behavior", "type"),
    "weight": ("weight", "plays", "playCount", "hours"),
}
EXTRA_NAMES = ("remark", "ip", "country", "page number", "device_class", "is_new")
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=UTC)
Write = Callable[[int], str]


def moment(time: int) -> datetime.datetime:
    return EPOCH + datetime.timedelta(microseconds=time)


def strftime(notation: str) -> Write:
    return lambda time: moment(time).strftime(notation)


def shifted(notation: str, hours: float) -> Write:
    zone = datetime.timezone(datetime.timedelta(hours=hours))
    return lambda time: moment(time).astimezone(zone).strftime(notation)


# Notation → (finest time that it writes, in microseconds; function).
TIMES: Mapping[str, tuple[int, Write]] = {
    "seconds": (1_000_000, lambda t: str(t // 1_000_000)),
    "float seconds": (1_000, lambda t: f"{t / 1_000_000:.3f}"),
    "whole float seconds": (1_000_000, lambda t: f"{t // 1_000_000}.0"),
    "milliseconds": (1_000, lambda t: str(t // 1_000)),
    "microseconds": (1, str),
    "nanoseconds": (1, lambda t: f"{t}000"),
    "ISO": (1_000_000, strftime("%Y-%m-%dT%H:%M:%S")),
    "ISO Z": (1_000_000, strftime("%Y-%m-%dT%H:%M:%SZ")),
    "ISO fractions": (1, strftime("%Y-%m-%d %H:%M:%S.%f")),
    "ISO fractions Z": (1, strftime("%Y-%m-%dT%H:%M:%S.%fZ")),
    "ISO mixed": (1, lambda t: moment(t).isoformat()),
    "ISO offset": (1_000_000, shifted("%Y-%m-%dT%H:%M:%S+05:30", 5.5)),
    "ISO short offset": (1, shifted("%Y-%m-%d %H:%M:%S.%f-0700", -7)),
    "ISO UTC": (1_000_000, strftime("%Y-%m-%d %H:%M:%S UTC")),
    "ISO minutes": (60_000_000, strftime("%Y-%m-%d %H:%M")),
    "ISO comma": (1_000, lambda t: moment(t).strftime("%Y-%m-%d %H:%M:%S") + f",{t // 1000 % 1000:03d}"),
    "day": (86_400_000_000, strftime("%Y-%m-%d")),
    "compact day": (86_400_000_000, strftime("%Y%m%d")),
    "compact": (1_000_000, strftime("%Y%m%d%H%M%S")),
    "slashes": (86_400_000_000, strftime("%Y/%m/%d")),
    "slashes with time": (1_000_000, strftime("%Y/%m/%d %H:%M:%S")),
    "German": (60_000_000, strftime("%d.%m.%Y %H:%M")),
    "British": (1_000_000, strftime("%d/%m/%Y %H:%M:%S")),
    "British short": (86_400_000_000, strftime("%d/%m/%y")),
    "American": (1_000_000, strftime("%m/%d/%Y %I:%M:%S %p")),
    "American short": (60_000_000, lambda t: f"{moment(t).month}/{moment(t).day}/{moment(t):%y %H:%M}"),
    "mail": (1_000_000, lambda t: email.utils.format_datetime(moment(t))),
    "mail GMT": (1_000_000, strftime("%a, %d %b %Y %H:%M:%S GMT")),
    "ctime": (1_000_000, strftime("%a %b %d %H:%M:%S %Y")),
    "ctime offset": (1_000_000, shifted("%a %b %d %H:%M:%S -0700 %Y", -7)),
    "ctime zone": (1_000_000, shifted("%a %b %d %H:%M:%S PDT %Y", -7)),
    "Apache": (1_000_000, shifted("%d/%b/%Y:%H:%M:%S +0200", 2)),
    "month name": (86_400_000_000, strftime("%b %d, %Y")),
    "long month name": (86_400_000_000, strftime("%B %d, %Y")),
    "Oracle": (86_400_000_000, strftime("%d-%b-%y")),
}

ISO_LIKE = frozenset(["ISO", "ISO Z", "ISO fractions", "ISO mixed", "day", "seconds", "milliseconds"])


@dataclasses.dataclass(frozen=True)
class WrittenLog:
    """A log in some form.

    Attributes:
        source: what ``ingest`` gets.
        options: its options, those that nobody could guess.
        answers: option → value that a refusal may ask for.
        form: the form in words.
        is_ordered: whether events without times keep the order of the log.
    """

    source: Any
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    answers: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    form: str = ""
    is_ordered: bool = True


@dataclasses.dataclass
class TextTable:
    """A log as columns of text: name and cells, None where a value is missing. ``roles``: role → name."""

    columns: dict[str, list[str | None]]
    roles: dict[str, str]
    time_notation: str = ""


def to_number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


@st.composite
def text_tables(
    draw: st.DrawFn,
    log: KnownLog,
    *,
    with_extras: bool = True,
    with_thousands: bool = False,
    times: Sequence[str] | None = None,
) -> TextTable:
    """Write the values of a log as text, in columns of any order under common names."""
    found: dict[str, tuple[str, list[str | None]]] = {}
    notation = ""
    for role in ("user", "item", *log.roles):
        values = log.values(role)
        if role == "time":
            fitting = [name for name in (times or TIMES) if TIMES[name][0] <= log.precision]
            assume(fitting)
            notation = draw(st.sampled_from(fitting))
            cells = [None if value is None else TIMES[notation][1](value) for value in values]
        elif role in {"rating", "weight"}:
            write = draw(st.sampled_from([to_number, lambda value: f"{value:.1f}", str]))
            if with_thousands and max((value or 0 for value in values), default=0) >= 1000:
                mark = draw(st.sampled_from([",", ".", " ", "\u00a0", "'", ""]))
                write = lambda value, mark=mark: f"{value:,.0f}".replace(",", mark)  # noqa: E731
            cells = [None if value is None else write(value) for value in values]
        else:
            cells = list(values)
        found[role] = (draw(st.sampled_from(NAMES[role])), cells)
    columns = list(found.values())
    n = len(log.rows)
    if with_extras:
        for name in draw(st.lists(st.sampled_from(EXTRA_NAMES), max_size=2, unique=True)):
            kind = draw(st.sampled_from(["words", "numbers", "few", "empty"]))
            cells = {
                "words": lambda: [draw(st.sampled_from(WORDS)) or None for _ in range(n)],
                "numbers": lambda: [str(draw(st.integers(0, 999))) for _ in range(n)],
                "few": lambda: [draw(st.sampled_from(["DE", "FR"])) for _ in range(n)],
                "empty": lambda: [None] * n,
            }[kind]()
            columns.append((name, cells))
    order = draw(st.sampled_from(["given", "reversed", "permuted"]))
    columns = {"given": columns, "reversed": columns[::-1], "permuted": columns[1:] + columns[:1]}[order]
    assume(len({name.lower() for name, _ in columns}) == len(columns))
    return TextTable(dict(columns), {role: name for role, (name, _) in found.items()}, notation)


def list_answers(table: TextTable, delimiter: str | None = None, **more: Any) -> dict[str, Any]:
    formats = {
        "British": "%d/%m/%Y %H:%M:%S", "British short": "%d/%m/%y", "American": "%m/%d/%Y %I:%M:%S %p", "American short": "%m/%d/%y %H:%M",
    }  # fmt: skip
    found: dict[str, Any] = {"columns": dict(table.roles), **more}
    if table.time_notation in formats:
        found["time_format"] = formats[table.time_notation]
    if delimiter is not None:
        found["delimiter"] = delimiter
    return found


def _quote(cell: str, mode: str, delimiter: str) -> str:
    needs = any(mark in cell for mark in (delimiter, '"', "\n", "\r")) or cell != cell.strip()
    is_number = cell.replace(".", "", 1).lstrip("-").isdecimal()
    if mode == "all" or (mode == "minimal" and needs) or (mode == "text" and (needs or not is_number)):
        return '"' + cell.replace('"', '""') + '"'
    return cell


DELIMITERS = (",", "\t", ";", "|", "::", " ", ",", "\t")


@st.composite
def delimited_texts(draw: st.DrawFn, log: KnownLog) -> tuple[str, str, dict[str, Any], dict[str, Any], str]:
    """Return a text, the suffix of its file, options, answers and a description."""
    table = draw(text_tables(log, with_thousands=True))
    delimiter = draw(st.sampled_from(DELIMITERS))
    mode = draw(st.sampled_from(["minimal", "all", "text", "never"]))
    missing = draw(st.sampled_from(["", "", "NULL", r"\N", "NA", "nan"]))
    mode = "never" if delimiter in {"::", " "} else mode
    cells = [cell for column in table.columns.values() for cell in column if cell is not None]
    names = list(table.columns)
    if delimiter == " ":
        assume(all(cell and " " not in cell for cell in [*cells, *names]))
        missing = missing or "NA"
    if mode == "never":
        assume(not any(delimiter in cell or '"' in cell for cell in [*cells, *names]))
    header = draw(st.sampled_from(["names", "names", "names", "none", "given", "numbers"]))
    rows = [
        [missing if cell is None else _quote(cell, mode, delimiter) for cell in row]
        for row in zip(*table.columns.values(), strict=True)
    ]
    lines = [delimiter.join(row) for row in rows]
    options: dict[str, Any] = {}
    if header == "names":
        lines.insert(0, delimiter.join(_quote(name, mode, delimiter) for name in names))
    elif header == "given":
        options["names"] = names
    elif header == "numbers":
        options["columns"] = {role: str(names.index(name) + 1) for role, name in table.roles.items()}
    trimmings = draw(st.sets(st.sampled_from(["blank lines", "comment", "no end", "CRLF", "BOM"]), max_size=2))
    if "blank lines" in trimmings:
        lines = [lines[0], "", *lines[1:], ""]
    if "comment" in trimmings and not any(line.startswith(("#", "%")) for line in lines):
        lines.insert(0, "# exported by a program")
    end = "\r\n" if "CRLF" in trimmings else "\n"
    text = end.join(lines) + ("" if "no end" in trimmings else end)
    text = "\ufeff" + text if "BOM" in trimmings else text
    suffix = draw(st.sampled_from([".csv", ".txt", ".tsv" if delimiter == "\t" else ".dat"]))
    answers = list_answers(table, delimiter, names=names)
    return (
        text,
        suffix,
        options,
        answers,
        f"{delimiter!r} {mode} {header} {sorted(trimmings)} missing {missing!r} time {table.time_notation}",
    )


def pack(path: Path, data: bytes, how: str) -> Path:
    """Write bytes to a file, packed."""
    if how == "tar.gz":
        target = path.with_name(path.name + ".tar.gz")
        with tarfile.open(target, "w:gz") as archive:
            member = tarfile.TarInfo(path.name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        return target
    if how == "zip":
        target = path.with_name(path.name + ".zip")
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr(path.name, data)
        return target
    packers: Mapping[str, Callable[[bytes], bytes]] = {
        "gz": gzip.compress,
        "bz2": bz2.compress,
        "xz": lzma.compress,
        "": bytes,
    }
    target = path.with_name(path.name + f".{how}" * bool(how))
    target.write_bytes(packers[how](data))
    return target


PACKINGS = ("", "", "", "", "gz", "bz2", "xz", "zip", "tar.gz")


@st.composite
def written_texts(draw: st.DrawFn, log: KnownLog, folder: Path) -> WrittenLog:
    text, suffix, options, answers, form = draw(delimited_texts(log))
    packing = draw(st.sampled_from(PACKINGS))
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-16", "cp1252"]))
    if encoding != "utf-8":
        assume(not text.startswith("\ufeff"))
    try:
        data = text.encode(encoding)
    except UnicodeEncodeError:
        encoding, data = "utf-8", text.encode()
    answers["encoding"] = encoding
    path = pack(folder / f"log{suffix}", data, packing)
    return WrittenLog(path, options, answers, f"text {form} {packing} {encoding}")


@st.composite
def folders_of_texts(draw: st.DrawFn, log: KnownLog, folder: Path) -> WrittenLog:
    """Part files, with the names in each or in the first only."""
    text, suffix, options, answers, form = draw(delimited_texts(log))
    lines = text.removeprefix("\ufeff").splitlines()
    assume("comment" not in form and "blank lines" not in form and suffix not in {".txt", ".dat"})
    has_names = "names" in form.split()
    head, rows = (lines[:1], lines[1:]) if has_names else ([], lines)
    size = draw(st.integers(1, len(rows)))
    each = draw(st.booleans())
    base = folder / "logs"
    base.mkdir()
    for number, start in enumerate(range(0, len(rows), size)):
        part = [*(head if each or not number else []), *rows[start : start + size]]
        (base / f"part-{number}{suffix}").write_text("\n".join(part) + "\n", encoding="utf-8", newline="")
    return WrittenLog(base, options, answers, f"folder of {form} {'each' if each else 'first'} size {size}")


@st.composite
def hive_folders(draw: st.DrawFn, log: KnownLog, folder: Path) -> WrittenLog:
    """Partitions by event type, as CSV or Parquet."""
    assume("event_type" in log.roles and None not in log.values("event_type"))
    table = draw(text_tables(log, with_extras=False, times=sorted(ISO_LIKE)))
    name = table.roles["event_type"]
    frame = pd.DataFrame(table.columns, dtype="string")
    base, suffix = folder / "logs", draw(st.sampled_from(["csv", "parquet"]))
    for value, part in frame.groupby(name, sort=False):
        target = base / f"{name}={str(value).replace(' ', '%20')}"
        target.mkdir(parents=True)
        if suffix == "csv":
            part.drop(columns=name).to_csv(target / "part-0.csv", index=False)
        else:
            part.drop(columns=name).to_parquet(target / "part-0.parquet", index=False)
    return WrittenLog(base, {}, list_answers(table), f"hive {suffix} {table.time_notation}", is_ordered=False)


@st.composite
def typed_headers(draw: st.DrawFn, log: KnownLog, folder: Path) -> WrittenLog:
    """RecBole's atomic files."""
    table = draw(text_tables(log, with_extras=False, times=["seconds", "float seconds", "whole float seconds"]))
    cells = [cell for column in table.columns.values() for cell in column if cell is not None]
    assume(not any("\t" in cell or '"' in cell for cell in cells))
    by_name = {name: role for role, name in table.roles.items()}
    heads = [
        f"{name}:{'float' if by_name[name] in {'rating', 'time', 'weight'} else 'token'}" for name in table.columns
    ]
    rows = ["\t".join(cell or "" for cell in row) for row in zip(*table.columns.values(), strict=True)]
    path = folder / "log.inter"
    path.write_text("\n".join(["\t".join(heads), *rows]) + "\n", encoding="utf-8")
    return WrittenLog(path, {}, list_answers(table), f"recbole {table.time_notation}")


LINE_KINDS = ("numbers", "prefixed", "hashes", "leading zeros", "large numbers", "mixed")


def _group(log: KnownLog) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for row in log.rows:
        assume(row.user is not None and row.item is not None)
        groups.setdefault(str(row.user), []).append(str(row.item))
    return groups


@st.composite
def line_layouts(draw: st.DrawFn, log: KnownLog, folder: Path) -> WrittenLog:
    """Adjacency lists, blocks, and lists in cells."""
    groups = _group(log)
    layout = draw(st.sampled_from(["adjacency", "blocks", "cells", "adjacency", "cells"]))
    path = folder / "log.txt"
    answers: dict[str, Any] = {}
    if layout == "adjacency":
        text = "".join(f"{user} {' '.join(items)}\n" for user, items in groups.items())
        answers["layout"] = "adjacency"
        if draw(st.booleans()):
            text = text.replace(" ", "\t")
    elif layout == "blocks":
        by_item: dict[str, list[str]] = {}
        for row in log.rows:
            by_item.setdefault(str(row.item), []).append(str(row.user))
        text = "".join(f"{item}:\n" + "".join(f"{user}\n" for user in users) for item, users in by_item.items())
        answers["layout"] = "blocks"
    else:
        mark = draw(st.sampled_from([" ", ",", "|", ", ", ";", "["]))
        name = draw(st.sampled_from(["history", "items", "movie_ids", "item_id"]))
        outer = draw(st.sampled_from(["\t", ","]))
        lines = [f"user_id{outer}{name}"]
        for user, items in groups.items():
            cell = json.dumps(items) if mark == "[" else mark.join(items)
            lines.append(f"{user}{outer}" + _quote(cell, "all" if outer == "," else "minimal", outer))
        text = "\n".join(lines) + "\n"
        path = folder / ("log.tsv" if outer == "\t" else "log.csv")
        layout = f"cells {mark!r} {name} {outer!r}"
        answers["columns"] = {"user": "user_id", "item": name}
        if name == "item_id":
            assume(
                max(map(len, groups.values())) > 2
                and sum(len(items) > 1 for items in groups.values()) * 2 >= len(groups)
            )
    path.write_text(text, encoding="utf-8")
    return WrittenLog(path, {}, answers, layout, is_ordered=layout != "blocks")


@st.composite
def wide_matrices(draw: st.DrawFn, log: KnownLog, folder: Path) -> WrittenLog:
    assume(log.roles == ("rating",) and log.no_rating is None)
    cells: dict[str, dict[str, float]] = {}
    for row in log.rows:
        assume(row.user is not None and row.item is not None and row.rating is not None)
        assume(str(row.item) not in cells.setdefault(str(row.user), {}))
        cells[str(row.user)][str(row.item)] = float(row.rating)  # type: ignore[arg-type]
    items = draw(st.permutations(sorted({str(row.item) for row in log.rows})))
    assume(len(items) >= 3)
    lines = [",".join(["user_id", *items])]
    lines += [
        ",".join([user, *(to_number(rated[item]) if item in rated else "" for item in items)])
        for user, rated in cells.items()
    ]
    path = folder / "log.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return WrittenLog(path, {}, {"layout": "wide", "columns": {"user": "user_id"}}, "wide", is_ordered=False)
