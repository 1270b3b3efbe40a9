"""Translation of the library's messages into flags of the command line.

The library's errors and notes give advice as arguments of Python calls, such as ``encoding="gbk"`` or
``columns={"user": "visitor"}``. ``to_flags`` writes the same advice as flags, so that it can be followed on a terminal.
"""

import re
from collections.abc import Mapping

__all__ = ["FLAGS", "to_flags"]

# Argument or setting of the library → flag of the command line that sets it.
FLAGS: Mapping[str, str] = {
    "callbacks": "--checkpoint",
    "columns": "--column",
    "device": "--device",
    "encoding": "--encoding",
    "event_types": "--event-weight",
    "exclude_seen": "--include-seen",
    "fixed": "--set",
    "how": "--split",
    "item_links": "--item-links",
    "max_per_day": "--max-events-per-day",
    "min_item": "--min-item-events",
    "min_user": "--min-user-events",
    "positive_from": "--positive-from",
    "quarantine": "--rejected",
    "rating_range": "--rating-range",
    "shard_items": "--shard-embeddings",
    "since": "--since",
    "space": "--space",
    "store": "--storage",
    "test_events": "--test",
    "time_format": "--time-format",
    "until": "--until",
    "user_links": "--user-links",
    "valid_events": "--valid",
}
# Classes whose constructor calls in a message add nothing on a terminal: CleaningRules(rating_range=…) → --rating-range ….
_WRAPPERS = ("Cleaning", "Budget", "Run", "Search", "Distributed")

_NAMES = "|".join(sorted(FLAGS, key=len, reverse=True))
_WRAPPED = re.compile(rf"\b(?:{'|'.join(_WRAPPERS)})\(((?:{_NAMES})=(?:\([^()]*\)|[^()]*))\)")
_ARGUMENT = re.compile(
    rf"""\b(?P<name>{_NAMES})=(?:
        \{{\s*(?P<pairs>[^{{}}]*?)\s*\}}            # a dictionary
      | \((?P<low>[^(),]+),\s*(?P<high>[^(),]+)\)   # a range
      | (?P<quote>["'])(?P<text>.*?)(?P=quote)      # a text
      | (?P<word>[^\s"'(){{}},;:]*[^\s"'(){{}},;:.])  # a number or a placeholder
    )""",
    re.VERBOSE,
)
_SUBJECT = re.compile(rf"^(?P<name>{'|'.join(name for name in FLAGS if '_' in name)})(?= (?:must|goes|needs|is|has)\b)")


def to_flags(message: str) -> str:
    """The message with arguments of Python calls written as flags: ``how='ratio'`` becomes ``--split ratio``."""
    message = _SUBJECT.sub(lambda match: FLAGS[match["name"]], message)
    return _ARGUMENT.sub(_to_flag, _WRAPPED.sub(r"\1", message))


def _to_flag(match: re.Match[str]) -> str:
    flag = FLAGS[match["name"]]
    if match["pairs"] is not None:
        pairs = (pair.partition(":") for pair in match["pairs"].split(", "))
        return " ".join(f"{flag} {key.strip(_QUOTES)}={value.strip(_QUOTES)}" for key, _, value in pairs)
    if match["low"] is not None:
        return f"{flag} {match['low']}..{match['high']}"
    if match["text"] is not None:
        quote = "" if re.fullmatch(r"[\w./-]+", match["text"]) else '"'
        return f"{flag} {quote}{match['text']}{quote}"
    return f"{flag} {match['word']}"


_QUOTES = " \"'"
