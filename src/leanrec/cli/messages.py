"""Translation of the library's messages into flags of the command line.

Errors and notes of the library give advice as arguments of Python calls, such as ``encoding="gbk"`` or
``columns={"user": "visitor"}``. ``to_flags`` writes the same advice as flags, so that it can be followed on a terminal.
"""

import re
import shlex
from collections.abc import Mapping

__all__ = ["FLAGS", "to_flags"]

# Argument or setting of the library → flag of the command line that sets it.
FLAGS: Mapping[str, str] = {
    "allow_rejects": "--allow-rejects",
    "allow_repeats": "--allow-repeats",
    "allowed_hosts": "--allowed-host",
    "cache": "--cache",
    "columns": "--column",
    "cooldown_hours": "--cooldown",
    "decimal": "--decimal",
    "delimiter": "--delimiter",
    "device": "--device",
    "encoding": "--encoding",
    "event_weights": "--event-weight",
    "events_free_bytes": "--events-free-space",
    "explore": "--explore",
    "how": "--split",
    "insecure": "--insecure",
    "item_links": "--item-links",
    "item_names": "--item-names",
    "latency_target_ms": "--latency-target-ms",
    "layout": "--layout",
    "judged_share": "--judged-share",
    "keys": "--keys",
    "known_as": "--as",
    "lists_free_bytes": "--lists-free-space",
    "level": "--level",
    "log_format": "--log-format",
    "max_connections": "--max-connections",
    "max_days": "--retention-days",
    "max_in_flight": "--max-in-flight",
    "max_lists": "--retention-lists",
    "max_per_day": "--max-events-per-day",
    "max_bot_share": "--max-bot-share",
    "max_share": "--learning-share",
    "max_user_events": "--learning-events",
    "metric": "--metric",
    "min_item": "--min-item-events",
    "min_user": "--min-user-events",
    "min_users": "--min-users",
    "names": "--names",
    "no_rating": "--no-rating",
    "positive_from": "--positive-from",
    "port": "--port",
    "quarantine": "--rejected",
    "ratio": "--arm",
    "rating_range": "--rating-range",
    "rating_words": "--rating-word",
    "rebind_log": "--rebind-log",
    "retrieval": "--retrieval",
    "request_timeout": "--request-timeout",
    "shard_items": "--shard-embeddings",
    "since": "--since",
    "share": "--share",
    "slow_request": "--slow-request",
    "space": "--space",
    "store": "--storage",
    "test": "--test-share",
    "test_events": "--test",
    "time_format": "--time-format",
    "tightest_at": "--expected-users",
    "tls_cert": "--tls-cert",
    "tls_key": "--tls-key",
    "trial": "--trial",
    "trace_share": "--trace-share",
    "until": "--until",
    "user_links": "--user-links",
    "user_names": "--user-names",
    "valid": "--valid-share",
    "valid_events": "--valid",
    "wal_bytes": "--max-wal",
    "workers": "--workers",
}

# Advice that is no argument of a call → the same with the flag that does it.
_PHRASES = {
    "NewItems(column=NAME)": 'model = "new_items,column=NAME"',
    "Make a key with add_key": "Make a key with leanrec keys add",
    "Make it with add_key": "Make it with leanrec keys add",
    "fit the model with this log": "fit the model with this log (fit --event-log)",
    "Stop that trial first": "Stop that trial first (leanrec versions stop)",
    "Start one with start_trial": "Start one with leanrec versions try",
    "rebind the log to the model": "rebind the log to the model (serve --rebind-log)",
}

_NAMES = "|".join(sorted(FLAGS, key=len, reverse=True))
# A constructor around one argument adds nothing on a terminal: CleaningRules(rating_range=…) → --rating-range ….
_WRAPPED = re.compile(rf"(?:\b\w+=)?\b[A-Z]\w*\(((?:{_NAMES})=(?:\([^()]*\)|[^(),]*))\)")
_ARGUMENT = re.compile(
    rf"""(?<![\w.-])(?P<name>{_NAMES})=(?:
        \{{(?P<pairs>[^{{}}]*)\}}                            # a dictionary
      | \((?P<low>[^(),]+),\s*(?P<high>[^(),]+)\)          # a range
      | (?P<quote>["'])(?P<text>.*?)(?P=quote)              # a text
      | (?P<word>[^\s"'(){{}},;]*[^\s"'(){{}},;:.?])          # a number or a placeholder
    )""",
    re.VERBOSE,
)
# A sentence about an argument begins with its name: "device must be …", "space: …".
_SUBJECT = re.compile(rf"^(?P<name>{_NAMES})(?=:| (?:must|needs|goes|is only)\b)")
# Names with an underscore are not words of a sentence.
_BARE = re.compile(rf"(?<![\w.\"'/-])(?P<name>{'|'.join(name for name in FLAGS if '_' in name)})(?![\w\"'/(-])")


# Calls that a command makes → the command.
_CALLS = {
    r"Pipeline\.fit\(get_model\('([^']+)'\)\(\), ingest\('([^']+)'\)\[0\]\)\.save\('([^']+)'\)": "leanrec fit {} {} --out {}",
    r"\bsave\(ingest\('([^']+)'\)\[0\], '([^']+)'\)": "leanrec ingest {} --out {}",
    r"VersionStore\.create\('([^']+)'\)": "leanrec versions add {} MODEL",
}


def to_flags(message: str) -> str:
    """The message with arguments of Python calls written as flags: ``how='ratio'`` becomes ``--split ratio``."""
    for call, command in _CALLS.items():
        message = re.sub(call, lambda match, text=command: text.format(*map(shlex.quote, match.groups())), message)  # type: ignore[misc]
    message = _ARGUMENT.sub(_to_flag, _WRAPPED.sub(r"\1", message))
    message = _SUBJECT.sub(lambda match: FLAGS[match["name"]], message)
    for phrase, advice in _PHRASES.items():
        message = message.replace(phrase, advice)
    return _BARE.sub(lambda match: FLAGS[match["name"]], message)


def _to_flag(match: re.Match[str]) -> str:
    flag = FLAGS[match["name"]]
    if match["name"] == "how" and match["text"] == "given":
        return "--valid FILE and --test FILE"  # which imply the split
    if match["name"] == "how" and match["text"] == "users":
        return "--split cold-users"  # folds over users
    if match["word"] == "True":
        return flag
    if match["pairs"] is not None:
        pairs = re.findall(r"""["'](.*?)["']:\s*["']?([^"',]+)["']?""", match["pairs"])
        # No column for a role is the word None in Python, and nothing on a terminal.
        texts = {key: "" if value.strip() == "None" else value.strip() for key, value in pairs}
        named = (f"{key}={value}" for key, value in texts.items())
        return " ".join(f'{flag} "{each}"' if " " in each else f"{flag} {each}" for each in named)
    if match["low"] is not None:
        return f"{flag} {match['low'].strip()}..{match['high'].strip()}"
    if match["text"] is not None:
        simple = re.fullmatch(r"[\w./-]*\w[\w./-]*", match["text"])
        return f"{flag} {match['text']}" if simple else f'{flag} "{match["text"]}"'
    return f"{flag} {match['word']}"
