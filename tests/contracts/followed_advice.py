"""Reading as a user reads: the plain call first, and after each refusal the call that its message advises."""

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.io

from contracts.log_forms import WrittenLog
from leanrec.data.ingest.ingest import IngestResult, ingest
from leanrec.errors import LeanrecError

_ARGUMENT = re.compile(
    r"""\b(?P<name>columns|names|item_names|time_format|encoding|layout|delimiter|decimal|rating_words|allow_rejects|known_as|rating_range|no_rating)=
    (?P<value>\{[^{}]*\}|\([^()]*\)|"[^"]*"|'[^']*'|[\w.-]*\w)""",
    re.VERBOSE,
)
_TRIES = 5
_COMMAND = re.compile(r": (?P<command>(?:awk|sed|grep|tr|base64|gunzip|python -c) .*?)(?=, and pass|$)")
_CALL = re.compile(r": (?P<call>(?:from [\w.]+ import \w+(?: as \w+)?; |\w+ = [^;]*; )*ingest\(.*\))(?=, where|\.|$)")


def list_advice(message: str) -> Iterator[tuple[str, Any]]:
    """Yield the arguments that a message names, with their values; a placeholder such as NAME is a text."""
    for match in _ARGUMENT.finditer(message):
        text = re.sub(r": [A-Z]+(?=[,}])", ": None", match["value"])
        yield match["name"], text if re.fullmatch(r"[A-Z]+", text) else ast.literal_eval(text)


def follow_advice(message: str, answers: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with what the message advises. ``answers`` is what a user knows: names, the right choice of several."""
    found = dict(options)
    for name, value in list_advice(message):
        if name == "columns":
            known = answers.get("columns", {})
            found["columns"] = {**found.get("columns", {}), **{role: known[role] for role in value if role in known}}
        elif name in {"names", "encoding", "time_format", "layout"}:
            found |= {name: answers[name]} if name in answers else {}
        elif name in {"allow_rejects", "delimiter"}:
            found[name] = value
    return found


def read_log(written: WrittenLog) -> tuple[IngestResult, list[str]]:
    """Read a written log, following the advice of each refusal; return the result and the refusals.

    Raises the last refusal where its advice says nothing new.
    """
    options, refusals = dict(written.options), list[str]()
    while True:
        try:
            return ingest(written.source, **options), refusals
        except LeanrecError as error:
            refusals.append(str(error))
            followed = follow_advice(str(error), written.answers, options)
            if followed == options or len(refusals) > _TRIES:
                raise
            options = followed


def run_command(message: str, folder: Path) -> Path:
    """Run the command that a message advises, as a user does in that folder, and return the file that it writes."""
    match = _COMMAND.search(message)
    assert match is not None, message
    before = set(folder.iterdir())
    command = match["command"].replace("python -c", f"{shlex.quote(sys.executable)} -c", 1)
    subprocess.run(["/bin/bash", "-c", command], cwd=folder, check=True)
    (written,) = set(folder.iterdir()) - before
    return written


def run_call(message: str, **answers: str) -> IngestResult:
    """Run the call of ``ingest`` in Python that a message advises; ``answers`` are what a user fills in for NAME, in their order."""
    match = _CALL.search(message)
    assert match is not None, message
    *statements, call = match["call"].split("; ")
    for name in answers.values():
        call = call.replace("NAME", name, 1)
    scope = {"ingest": ingest, "numpy": np, "pandas": pd, "scipy": scipy}
    for statement in statements:
        exec(statement, scope)
    result = eval(call.replace(", …", ""), scope)
    assert isinstance(result, IngestResult)
    return result


def list_pairs(result: IngestResult) -> list[tuple[str, str, float | None]]:
    """Return user, item and rating of each event, ids as text."""
    data, events = result.data, result.data.events
    ratings = [None] * len(events) if events.rating is None else events.rating.tolist()
    users, items = data.users.ids[events.user].tolist(), data.items.ids[events.item].tolist()
    return [(str(user), str(item), rating) for user, item, rating in zip(users, items, ratings, strict=True)]
