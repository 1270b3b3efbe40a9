"""Reading as a user reads: the plain call first, and after each refusal the call that its message advises."""

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

from contracts.log_forms import WrittenLog
from leanrec.data.ingest.ingest import IngestResult, ingest
from leanrec.errors import LeanrecError

_ARGUMENT = re.compile(
    r"""\b(?P<name>columns|names|item_names|time_format|encoding|layout|delimiter|decimal|rating_words|allow_rejects|known_as|rating_range|no_rating)=
    (?P<value>\{[^{}]*\}|\([^()]*\)|"[^"]*"|'[^']*'|[\w.-]*\w)""",
    re.VERBOSE,
)
_TRIES = 5


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
