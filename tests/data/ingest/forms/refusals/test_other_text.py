"""Text that is no table is named for what it is, and the command of the message writes a log of it."""

import json
from pathlib import Path

import pytest

from contracts.followed_advice import list_advice, list_pairs, run_command
from leanrec.data.ingest.ingest import ingest
from leanrec.errors import LeanrecError, SourceError

EVENTS = [("u7", "i12", 5), ("u7", "i13", 1), ("u8", "i12", 4), ("u9", "i14", 2)]
RATED = [(user, item, float(rating)) for user, item, rating in EVENTS]
USERS = ("u7", "u8", "u9")


def fill(form: str) -> str:
    return "".join(form.format(u=u, i=i, r=r) for u, i, r in EVENTS)


def nest(outer: str, inner: str) -> str:
    return "".join(
        outer.format(u=user) + "".join(inner.format(i=i, r=r) for u, i, r in EVENTS if u == user) for user in USERS
    )


YAML = {
    "list": "# ratings\n" + fill("- user: {u}\n  item: {i}\n  rating: {r}\n"),
    "top": "---\nratings:\n" + fill("  - user_id: '{u}'\n    item_id: {i}\n    rating: {r}\n    day: 2024-01-05\n"),
    "flow": fill("- {{user: {u}, item: {i}, rating: {r}}}\n"),
    "documents": fill("---\nuser: {u}\nitem: {i}\nrating: {r}\n"),
    "nested": "ratings:\n" + nest("  {u}:\n", "    {i}: {r}\n"),
}


@pytest.mark.parametrize("text", [*YAML.values(), fill('[[ratings]]\nuser = "{u}"\nitem = "{i}"\nrating = {r}\n\n')])
def test_settings_become_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "it's a log.txt"
    path.write_text(text)
    with pytest.raises(SourceError, match="is (YAML|TOML), not a log.*Convert it to JSON") as refusal:
        ingest(path)
    assert list_pairs(ingest(run_command(str(refusal.value), tmp_path))) == RATED


def test_lists_of_users_in_yaml(tmp_path: Path) -> None:
    path = tmp_path / "users.yaml"
    path.write_text(nest("{u}:\n", "  - {i}\n"))
    with pytest.raises(SourceError, match="is YAML") as refusal:
        ingest(path)
    pairs = list_pairs(ingest(run_command(str(refusal.value), tmp_path)))
    assert [each[:2] for each in pairs] == [each[:2] for each in RATED]


TRIPLES = fill("<http://x.org/{u}> <http://x.org/likes> <http://x.org/{i}> .\n")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (TRIPLES + '<http://x.org/i12> <http://x.org/name> "Tea, black"@en .\n_:b1 <http://x.org/is> _:b2 .\n', "RDF"),
        (TRIPLES.replace(" .\n", " <http://x.org/graph> .\n"), "RDF"),
        (nest("[{u}]\n", "{i} = {r}\n"), "settings in sections"),
    ],
)
def test_the_command_writes_the_pairs(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "a b.txt"
    path.write_text(text)
    with pytest.raises(SourceError, match=what) as refusal:
        ingest(path)
    names = dict(list_advice(str(refusal.value)))["names"]
    pairs = list_pairs(ingest(run_command(str(refusal.value), tmp_path), names=names))
    assert [(u.strip("<>").split("/")[-1], i.strip("<>").split("/")[-1]) for u, i, _ in pairs] == [
        each[:2] for each in RATED
    ]


def test_turtle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.ttl"
    path.write_text("# likes\n@prefix ex: <http://x.org/> .\nex:u7 ex:likes ex:i12, ex:i13 .\n")
    with pytest.raises(SourceError, match="RDF in Turtle.*format='turtle'.*pass log.nt"):
        ingest(path)


@pytest.mark.parametrize(
    "form",
    ["callback({});\n", "window.YTD.like.part0 = {}\n", "const log = {};", "export default {};\n", "parse( {} )\n"],
)
def test_json_in_javascript(tmp_path: Path, form: str) -> None:
    path = tmp_path / "like.js"
    path.write_text(form.format(json.dumps([{"user": u, "item": i, "rating": r} for u, i, r in EVENTS], indent=1)))
    with pytest.raises(SourceError, match="JavaScript around JSON") as refusal:
        ingest(path)
    assert list_pairs(ingest(run_command(str(refusal.value), tmp_path))) == RATED


def test_dumps_without_rows_are_named(tmp_path: Path) -> None:
    path = tmp_path / "shop.sql"
    path.write_text("-- MySQL dump\nDROP TABLE IF EXISTS `r`;\nCREATE TABLE `r` (\n  `user` int,\n  `item` int\n);\n")
    with pytest.raises(SourceError, match="creates tables and fills none.*mysqldump without -d"):
        ingest(path)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("1:\n5,3,2005-01-01\n6,4,2005-01-02\n2:\n5,1,2005-01-03\n", {}),
        ("user: ann\nitem: tea\n\nuser: bob\nitem: milk\n", {}),
        ("ann: x y\nbob: x z\ncyd: y\n", {"layout": "adjacency"}),
        ("key=1,user=2,item=3\nkey=2,user=3,item=4\n", {}),
        ("<user>,<item>\na,x\nb,y\n", {"names": "user,item"}),
    ],
)
def test_other_layouts_are_read(tmp_path: Path, text: str, options: dict[str, str]) -> None:
    path = tmp_path / "log.txt"
    path.write_text(text)
    assert len(ingest(path, **options).data.events) >= 2


def test_objects_behind_a_key_in_each_line_are_no_script(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text('ctx={"a":1} body={"user_id":7}\n' * 5)
    with pytest.raises(LeanrecError) as refusal:
        ingest(path)
    assert "JavaScript" not in str(refusal.value)
