"""Advice of a refusal or of a note, followed literally, reads the file as it was meant."""

from pathlib import Path
from typing import Any

import pytest

from contracts.followed_advice import list_advice
from leanrec.data.ingest.ingest import ingest
from leanrec.errors import LeanrecError

PLACES = {"COLUMN", "PATH", "NAME"}
MIXED = "user,item,time\n" + "".join(
    f"u{i},i{i},{day}/{month}/2024\n" for i, (day, month) in enumerate([(1, 2), (3, 4), (5, 6)])
)


def fill(value: Any, place: str) -> Any:
    """Return a value of an option with what the user knows in place of a placeholder."""
    if isinstance(value, dict):
        return {key: fill(each, place) for key, each in value.items()}
    return place if value in PLACES else value


def read_pairs(source: Any, options: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the users and items of the events, as text."""
    data = ingest(source, **options).data
    users, items = data.users.ids[data.events.user], data.items.ids[data.events.item]
    return [(str(user), str(item)) for user, item in zip(users, items, strict=True)]


# Text, options of the first call, the option of the advice with its number in the message, the answer for a placeholder,
# and (user, item) of the first event.
REFUSALS = [
    ("wer,item\na,x\nb,y\n", {}, ("columns", 0), "", ("a", "x")),
    ("user,this,that\na,x,p\nb,y,q\n", {}, ("columns", 0), "this", ("a", "x")),
    ("1,5,9\n2,6,8\n3,7,7\n", {}, ("columns", 0), "", ("1", "5")),
    ("1,5\n2,6\n3,7\n", {}, ("names", 0), "", ("1", "5")),
    ("9 5 6 7\n2 6\n3 7 5\n", {}, ("layout", 0), "", ("2", "6")),
    ("9 5 6 7\n2 6\n3 7 5\n", {}, ("layout", 1), "", ("1", "9")),
    ("ann x y z\nbob x\ncyd y z\n", {}, ("layout", 0), "", ("ann", "x")),
    ("ann x y z\nbob x\ncyd y z\n", {}, ("layout", 1), "", ("1", "ann")),
    ("user,up,down,left\na,1,2,3\nb,2,3,4\n", {}, ("layout", 0), "", ("a", "up")),
    (MIXED, {}, ("time_format", 0), "", ("u0", "i0")),
    (MIXED, {}, ("time_format", 1), "", ("u0", "i0")),
    ("user,item,time\na,x,soon\nb,y,later\n", {}, ("columns", 0), "", ("a", "x")),
    ("7 5 6 9\n3 2 1 4\n", {}, ("layout", 0), "", ("3", "2")),
    ("b\xfcch,item\na,x\n".encode("cp1252"), {"columns": {"user": "1"}}, ("encoding", 0), "", ("a", "x")),
    ("user,item\na,caf\xe9\n".encode("cp1252"), {"encoding": "utf-8"}, ("encoding", 0), "cp1252", ("a", "caf\xe9")),
    ("user,item\na,x\n,y\n,z\n", {}, ("allow_rejects", 0), "", ("a", "x")),
    ("user,item,what\na,null,x\nb,null,y\n", {}, ("columns", 0), "what", ("a", "x")),
    ("user,item,who\n,x,a\n,y,b\n", {}, ("columns", 0), "who", ("a", "x")),
    ("user,item,type\na,x,view\nb,y,\nb,z,\n", {}, ("columns", 0), "", ("a", "x")),
    ("Go,Chess,Risk,Uno\n4,,9,1\n4,7,,1\n", {}, ("layout", 0), "", ("1", "Go")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "options", "advice", "answer", "first"), REFUSALS)
def test_advice_of_a_refusal_works(
    tmp_path: Path,
    text: str | bytes,
    options: dict[str, Any],
    advice: tuple[str, int],
    answer: str,
    first: tuple[str, str],
) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(LeanrecError) as refusal:
        ingest(path, **options)
    name, number = advice
    values = [value for each, value in list_advice(str(refusal.value)) if each == name]
    value = fill(values[number], answer)
    if name == "columns":
        value = options.get("columns", {}) | value
    assert read_pairs(path, {**options, name: value})[0] == first
