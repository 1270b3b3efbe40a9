"""Links from files: columns, missing headers and rejected rows."""

from pathlib import Path

import pandas as pd
import pytest

from leanrec.data.ingest.ingest import ingest
from leanrec.errors import ColumnError, SourceError

LOG = pd.DataFrame({"user": ["ann", "bob"], "item": ["heat", "ronin"]})


@pytest.mark.parametrize("header", ["subject,predicate,object\n", ""])
def test_triples_are_read_with_and_without_a_header(header: str, tmp_path: Path) -> None:
    file = tmp_path / "triples.csv"
    file.write_text(header + "heat,actor,pacino\nheat,actor,pacino\nronin,actor,niro\n")
    data, report = ingest(LOG, item_links=file)
    assert data.item_links is not None
    assert len(data.item_links) == 2
    assert report.rejected_in_tables == {"item links: repeated triple (it counts once)": 1}


def test_a_missing_column_is_reported_with_the_argument() -> None:
    links = pd.DataFrame({"head": ["heat"], "relation": ["actor"], "odd": ["pacino"]})
    with pytest.raises(ColumnError, match=r'no tail column.*columns=\{"item_links.tail": "COLUMN"\}'):
        ingest(LOG, item_links=links)
    data, _ = ingest(LOG, item_links=links, columns={"item_links.tail": "odd"})
    assert data.item_links is not None


def test_columns_may_be_named_by_their_numbers() -> None:
    links = pd.DataFrame({"truster": ["ann"], "trustee": ["bob"], "w": [2.0]})
    columns = {"user_links.user": "1", "user_links.friend": "2", "user_links.weight": "3"}
    found = ingest(LOG, user_links=links, columns=columns).data.user_links
    assert found is not None
    assert (found.people.ids[found.friend].tolist(), found.weight.tolist()) == (["bob"], [2.0])
    with pytest.raises(ColumnError, match="no column '4'"):
        ingest(LOG, user_links=links, columns={**columns, "user_links.friend": "4"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("users.csv", 'user_id,friends\nann,"bob, cleo"\nbob,ann\n'),
        ("users.jsonl", '{"user_id": "ann", "friends": ["bob", "cleo"]}\n{"user_id": "bob", "friends": ["ann"]}\n'),
        ("users.jsonl", '{"user_id": "ann", "friends": "bob, cleo"}\n{"user_id": "bob", "friends": "ann"}\n{"user_id": "dan", "friends": "None"}\n'),
        ("x.net", "source_id:token\ttarget_id:token\nann\tbob\nann\tcleo\nbob\tann\n"),
    ],
)  # fmt: skip
def test_lists_of_friends_are_links(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    data, _ = ingest(LOG, user_links=tmp_path / name)
    assert data.user_links is not None
    people = data.user_links.people.ids
    found = {(people[u], people[f]) for u, f in zip(data.user_links.user, data.user_links.friend, strict=True)}
    assert found == {("ann", "bob"), ("ann", "cleo"), ("bob", "ann")}


def test_lines_of_a_user_and_all_friends_are_links(tmp_path: Path) -> None:
    (tmp_path / "trust.txt").write_text("1 2 3\n2 1\n3 1 2\n")
    log = pd.DataFrame({"user": [1, 2], "item": [7, 8]})
    data, _ = ingest(log, user_links=tmp_path / "trust.txt")
    assert data.user_links is not None
    assert len(data.user_links) == 5


def test_a_list_of_friends_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "people.jsonl").write_text('{"who": "ann", "circle": ["bob", "cleo"]}\n')
    columns = {"user_links.user": "who", "user_links.friend": "circle"}
    data, _ = ingest(LOG, user_links=tmp_path / "people.jsonl", columns=columns)
    assert data.user_links is not None
    assert len(data.user_links) == 2


def test_ids_have_the_forms_of_the_log(tmp_path: Path) -> None:
    path = tmp_path / "trust.csv"
    path.write_text("user,friend\n1.0,2.0\n2.0,3.0\n3.0,NULL\n", encoding="utf-8")
    log = pd.DataFrame({"user": [1, 2, 3], "item": [1, 1, 1]})
    data, report = ingest(log, user_links=path)
    assert data.user_links.people.ids.tolist() == ["1", "2", "3"]
    assert report.rejected_in_tables == {"user links: missing friend": 1}


def test_a_file_of_items_and_entities_gives_triples_the_ids_of_items(tmp_path: Path) -> None:
    (tmp_path / "x.kg").write_text(
        "head_id:token\trelation_id:token\ttail_id:token\nm.1\tactor\tm.9\nm.2\tactor\tm.9\nm.9\tin\tm.1\n"
    )
    (tmp_path / "x.link").write_text("item_id:token\tentity_id:token\nheat\tm.1\nronin\tm.2\n")
    data, _ = ingest(LOG, item_links=[tmp_path / "x.kg", tmp_path / "x.link"])
    assert data.item_links is not None
    assert sorted(data.item_links.nodes.ids.tolist()) == ["heat", "m.9", "ronin"]
    assert data.item_links.find_linked_items(data.items).all()
    with pytest.raises(SourceError, match="Pass the file of triples beside it"):
        ingest(LOG, item_links=tmp_path / "x.link")
