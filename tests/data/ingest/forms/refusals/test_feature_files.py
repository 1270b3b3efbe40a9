"""Examples of learners are named for what they are, and the command of the message writes the log that is in them."""

from pathlib import Path

import pytest

from contracts.followed_advice import list_advice, list_pairs, run_command
from leanrec.data.ingest.ingest import ingest
from leanrec.errors import SourceError

EVENTS = [("7", "12", 5), ("7", "13", 1), ("8", "12", 4), ("9", "14", 2)]
RATED = [(user, item, float(rating)) for user, item, rating in EVENTS]


def write(folder: Path, name: str, form: str) -> Path:
    path = folder / name
    path.write_text("".join(form.format(u=u, i=i, r=r, l=2 * (r > 3) - 1, k=k) for k, (u, i, r) in enumerate(EVENTS)))
    return path


@pytest.mark.parametrize(
    ("form", "what", "target"),
    [
        ("{r} |u {u} |i {i}\n", "Vowpal Wabbit", "rating"),
        ("{l} |u {u} |i {i}\n", "Vowpal Wabbit", "label"),
        ("{r} 1.0 'tag{k}|user {u} age:20 |item {i} price:3.5\n", "Vowpal Wabbit", "rating"),
        ("{r} |item {i} |user {u}\n", "Vowpal Wabbit", "rating"),
        ("{l} | {u} {i}\n", "Vowpal Wabbit", "label"),
        ("{r} |f {u}:1 {i} 3\n", "Vowpal Wabbit", "rating"),
        ("{r} {u}:1 {i}:1\n", "LIBSVM form.*as libFM", "rating"),
        ("{l} {u}:1 {i}:1 99:0.5\n", "LIBSVM form.*as libFM", "label"),
        ("{l}\t0:{u}:1\t1:{i}:1\n", "libffm", "label"),
        ("{r} qid:{u} 1:0.5 2:3 # docid = {i}\n", "SVMrank", "rating"),
        ("{r} qid:{u} 1:0.5 #{i}\n", "SVMrank", "rating"),
    ],
)
def test_the_command_writes_the_log(tmp_path: Path, form: str, what: str, target: str) -> None:
    path = write(tmp_path, "a b.txt", form)
    with pytest.raises(SourceError, match=what) as refusal:
        ingest(path)
    advised = dict(list_advice(str(refusal.value)))
    assert advised["names"] == f"user,item,{target}"
    result = ingest(run_command(str(refusal.value), tmp_path), names=advised["names"])
    if target == "rating":
        assert list_pairs(result) == RATED
    else:
        assert [(each[:2]) for each in list_pairs(result)] == [each[:2] for each in RATED]
        assert result.data.events.weight.tolist() == [1, 0, 1, 0]


def test_lines_that_are_users_keep_their_items(tmp_path: Path) -> None:
    path = tmp_path / "users.svm"
    path.write_text("1 12:5 13:1\n0 12:4\n1 14:2 15:1 16:1\n")
    with pytest.raises(SourceError, match="LIBSVM form.*names no user") as refusal:
        ingest(path)
    result = ingest(run_command(str(refusal.value), tmp_path), names="user,item,weight")
    assert [each[:2] for each in list_pairs(result)] == [
        ("1", "12"),
        ("1", "13"),
        ("2", "12"),
        ("3", "14"),
        ("3", "15"),
        ("3", "16"),
    ]


@pytest.mark.parametrize(
    "form",
    ["shared |u {u}\n0:-1:0.5 |i {i}\n|i 99\n\n", "1:0.5:0.2 |u {u} |i {i}\n"],
)
def test_examples_of_several_lines_have_no_command(tmp_path: Path, form: str) -> None:
    with pytest.raises(SourceError, match="Vowpal Wabbit.*lines belong together.*user,item,label"):
        ingest(write(tmp_path, "log.vw", form))


def test_ranked_lines_without_an_item_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="SVMrank.*does not name the items"):
        ingest(write(tmp_path, "log.txt", "{r} qid:{u} 1:0.5 2:3\n"))


@pytest.mark.parametrize(
    ("form", "names"),
    [
        ("{r}|u{u}|i{i}\n", "rating,user,item"),
        ("{r}|{u}|{i}\n", "rating,user,item"),
        ("{r} | {u} | {i}\n", "rating,user,item"),
        ("{u} {i} {r}\n", "user,item,rating"),
    ],
)
def test_tables_with_marks_are_tables(tmp_path: Path, form: str, names: str) -> None:
    pairs = list_pairs(ingest(write(tmp_path, "log.txt", form), names=names))
    assert [(user.lstrip("u"), item.lstrip("i"), rating) for user, item, rating in pairs] == RATED
