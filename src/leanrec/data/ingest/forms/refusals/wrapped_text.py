"""Refusals of a log inside something else, such as a patch or base64, with the command that takes it out."""

import json
import re
import shlex
from pathlib import Path

from leanrec.errors import SourceError

__all__ = ["refuse_wrapped"]

_GRAPH = "Pass its edges in Python: ingest(networkx.to_pandas_edgelist(networkx.read_{form}({path!r}), source='user', target='item'))"
_DOT = (
    'Write its edges: sed -nE \'s/^[[:space:]]*"?([^" ]+)"? *-[->] *"?([^"; ]+).*/\\1,\\2/p\' {quoted} > log.csv, and pass log.csv with '
    'names="user,item".'
)
_EVENTS = "Pass the file with the events."
_ENCODED = re.compile(rb"(?:[A-Za-z0-9+/]{60,76}\r?\n){2,}")
_PADDED = re.compile(rb"[^\0]*\n[^\0\n]*\0+\Z")
# The begin of a file → what it is, and the way out.
_WRAPPED: tuple[tuple[re.Pattern[bytes], str, str], ...] = (
    (
        re.compile(rb"(?:diff --git .*\n(?:.*\n){0,4}?)?--- \S.*\n\+\+\+ \S.*\n@@ "),
        "a patch, the differences between two files, not a log",
        "Take the lines that it adds: sed -n 's/^+\\([^+]\\)/\\1/p' {quoted} > log.csv, and pass log.csv.",
    ),
    (
        re.compile(rb"-----BEGIN PGP MESSAGE-----"),
        "encrypted with PGP",
        "Decrypt it: gpg -d {quoted} > log.csv, and pass log.csv.",
    ),
    (
        re.compile(rb"\s*\{(?=[\s\S]*\"nbformat\"\s*:)\s*\"(?:cells|metadata|nbformat)"),
        "a Jupyter notebook, not a log",
        "Pass the file that it reads or writes.",
    ),
    (
        re.compile(rb'\s*\{\s*"format":\s*\d+,\s*"leanrec":\s*"'),
        "the manifest of a folder that leanrec has saved, not a log",
        "Name the folder, {folder}: a data set is read, and a model can be served.",
    ),
    (
        re.compile(rb'\s*\{(?=[\s\S]*"(?:openapi|swagger)"\s*:\s*"[23]\.)\s*"(?:openapi|swagger|info|servers|tags|host|basePath|schemes)"'),
        "a description of an interface (OpenAPI), not a log",
        _EVENTS,
    ),
    (
        re.compile(rb'\s*\{(?=[\s\S]*"\$schema"\s*:\s*"[^"]*json-schema)\s*"(?:\$schema|\$id|title|type|description|definitions)"'),
        "a JSON Schema, not a log",
        _EVENTS,
    ),
    (re.compile(rb'\s*\{\s*"log"\s*:\s*\{\s*"version"\s*:\s*"1\.[12]"'), "a recording of a browser (HAR), not a log of events", _EVENTS),
    (
        re.compile(rb'\s*"[\[{][^"\n]*\\"'),
        "JSON that is written as a text of JSON",
        "Take the text out: python -c {program} > log.jsonl, and pass log.jsonl.",
    ),
    (
        re.compile(rb"\s*\{.*\},[ \t]*\r?\n\s*\{"),
        "a list of JSON objects without its brackets",
        "Remove the commas between them: sed 's/,[[:space:]]*$//' {quoted} > log.jsonl, and pass log.jsonl.",
    ),
    (
        re.compile(rb"\s*\{[^{}\n]*\}[ \t]*\{"),
        "JSON with several objects in one line",
        "Write one in each line: awk '{{gsub(/}}[ \\t]*{{/, \"}}\\n{{\"); print}}' {quoted} > log.jsonl, and pass log.jsonl.",
    ),
    (
        re.compile(rb"\s*(?://.*\n\s*)+[\[{]"),
        "JSON with comments",
        "Remove these lines: sed '/^[[:space:]]*\\/\\//d' {quoted} > log.json, and pass log.json.",
    ),
    (
        re.compile(rb"[^\n\x1e]*\x1f[^\n\x1e]*\x1e"),
        "text whose records end in the mark 0x1e, and not in the end of a line",
        "Write it with tabs and line ends: tr '\\037\\036' '\\t\\n' < {quoted} > log.tsv, and pass log.tsv.",
    ),
    (re.compile(rb"\s*(?:Creator.*\n\s*)?graph\s*\[\s"), "a graph in GML, not a log", _GRAPH.replace("{form}", "gml") + "."),
    (re.compile(rb"\*vertices\s", re.IGNORECASE), "a graph of Pajek, not a log", _GRAPH.replace("{form}", "pajek") + "."),
    (
        re.compile(rb"\s*(?:strict\s+)?(?:di)?graph\s+(?:\w+\s*)?\{\s"),
        "a graph in DOT of Graphviz, not a log",
        _DOT,
    ),
    (
        re.compile(rb"BEGIN:V(?:CALENDAR|CARD)\b"),
        "a calendar or an address book, not a log",
        "Pass a log.",
    ),
    (
        re.compile(rb"\s*\\(?:documentclass|begin\{)"),
        "LaTeX, not a log",
        "Pass the table that it was made from, as delimited text.",
    ),
    (
        re.compile(rb"\s*\{\|[^}\n]*\n(?:.*\n)*?(?:!|\|-)"),
        "a table of MediaWiki, not a log",
        "Pass the table that it was made from, as delimited text.",
    ),
)  # fmt: skip


def refuse_wrapped(data: bytes, label: str) -> None:
    """Raise SourceError where the log is inside something else, such as a patch, base64 or a second archive.

    Args:
        data: the first bytes, unpacked.
        label: name of the file in messages.
    """
    quoted = shlex.quote(label)
    if data.startswith(b"\x1f\x8b"):
        raise SourceError(
            f"{label} is packed with gzip twice. Unpack it: gunzip -c < {quoted} > log.csv.gz, and pass log.csv.gz."
        )
    if data.startswith((b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ")):
        raise SourceError(f"{label} is an archive inside another one. Unpack the outer one, and pass the inner one.")
    if _PADDED.fullmatch(data):
        raise SourceError(
            f"{label} is text with zero bytes at its end, as a copy that was interrupted leaves them. Where nothing is missing before "
            f"them, remove them: tr -d '\\000' < {quoted} > log.csv, and pass log.csv."
        )
    begin = data.removeprefix(b"\xef\xbb\xbf")
    if _ENCODED.match(begin) and b"," not in begin:
        raise SourceError(f"{label} is encoded in base64. Decode it: base64 -d {quoted} > log.csv, and pass log.csv.")
    for pattern, what, way_out in _WRAPPED:
        if pattern.match(begin):
            program = f"import json; [print(json.loads(line)) for line in open({json.dumps(label)})]"
            advice = way_out.format(path=label, folder=Path(label).parent, quoted=quoted, program=shlex.quote(program))
            raise SourceError(f"{label} is {what}. {advice}")
