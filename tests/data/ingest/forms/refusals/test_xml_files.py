"""XML: the call of the message makes rows of the right elements, with attributes, text and those around them."""

from pathlib import Path

import pytest

from contracts.followed_advice import list_pairs, run_call
from leanrec.data.ingest.ingest import ingest
from leanrec.errors import SourceError

EVENTS = [("7", "12", 5), ("7", "13", 1), ("8", "12", 4), ("9", "14", 2)]
RATED = [(user, item, float(rating)) for user, item, rating in EVENTS]


def fill(form: str) -> str:
    return "".join(form.format(u=u, i=i, r=r) for u, i, r in EVENTS)


@pytest.mark.parametrize(
    "text",
    [
        "<ratings>" + fill("<rating><user>{u}</user><item>{i}</item><rating>{r}</rating></rating>") + "</ratings>",
        "<?xml version='1.0'?>\n<votes>\n"
        + fill("  <row Id='{u}{i}' UserId='{u}' ItemId='{i}' Rating='{r}' />\n")
        + "</votes>\n",
        "<export date='x'><log>"
        + fill("<event user='{u}' item='{i}'><rating>{r}</rating></event>")
        + "</log></export>",
        "<?xml version='1.0' encoding='utf-16'?>\n<log>" + fill("<e user='{u}' item='{i}' rating='{r}'/>") + "</log>",
        "<dump><table_data>"
        + fill(
            '<row><field name="user">{u}</field><field name="item">{i}</field><field name="rating">{r}</field></row>'
        )
        + "</table_data></dump>",
    ],
)
def test_the_call_reads_the_elements(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a b.xml"
    path.write_text(text, encoding="utf-16" if "utf-16" in text else "utf-8")
    with pytest.raises(SourceError, match="is XML, not a log") as refusal:
        ingest(path)
    assert list_pairs(run_call(str(refusal.value))) == RATED


def test_elements_inside_others_keep_their_user(tmp_path: Path) -> None:
    inner = {user: [f'<item id="{i}" rating="{r}"/>' for u, i, r in EVENTS if u == user] for user, *_ in EVENTS}
    body = "".join(f'<user id="{user}">{"".join(items)}</user>' for user, items in inner.items())
    path = tmp_path / "users.xml"
    path.write_text(f"<?xml version='1.0'?><users>{body}</users>")
    with pytest.raises(SourceError, match="is XML, not a log") as refusal:
        ingest(path)
    result = run_call(str(refusal.value))
    assert [each[:2] for each in list_pairs(result)] == [each[:2] for each in RATED]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<?xml version='1.0'?><Error/>", "is XML, not a log. Export it as"),
        ("<?xml version='1.0'?><a:x xmlns:a='u'><a:y b='1'/><a:y b='2'/></a:x>", "is XML, not a log. Export it as"),
        ("<?xml version='1.0'?><!DOCTYPE plist><plist><dict/></plist>", "is a property list.*one person"),
        (
            "<?xml version='1.0'?><?mso-application progid='Excel.Sheet'?><Workbook/>",
            "a spreadsheet as XML.*save it as CSV",
        ),
        (
            "<?xml version='1.0'?><myanimelist><anime><series_animedb_id>1</series_animedb_id></anime></myanimelist>",
            "export of the data of one person.*assign",
        ),
    ],
)
def test_other_documents_are_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "log.xml"
    path.write_text(text)
    with pytest.raises(SourceError, match=says):
        ingest(path)


def test_exports_of_people_are_read_together(tmp_path: Path) -> None:
    rows = "".join(
        f"<anime><series_animedb_id>{i}</series_animedb_id><my_score>{r}</my_score></anime>" for _, i, r in EVENTS
    )
    path = tmp_path / "list.xml"
    path.write_text(f"<?xml version='1.0'?><myanimelist><myinfo><user_id>1</user_id></myinfo>{rows}</myanimelist>")
    with pytest.raises(SourceError, match="one person") as refusal:
        ingest(path)
    assert {each[:2] for each in list_pairs(run_call(str(refusal.value)))} == {("ann", each[1]) for each in EVENTS}
