"""Links: what they are, how they are read, and that they stay with a data set whatever happens to it."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import make_dataset
from leanrec import artifacts
from leanrec.data.dataset import Dataset
from leanrec.data.ingest.ingest import ingest, open_dataset
from leanrec.data.links import ItemLinks, UserLinks
from leanrec.data.merge import merge_events
from leanrec.data.splits.split import split
from leanrec.data.vocabulary import Vocabulary, id_array
from leanrec.errors import ColumnError, DataError, SettingError, SourceError
from leanrec.types import Events

LOG = "user,item,time\nann,heat,1600000001\nann,ronin,1600000002\nbob,heat,1600000003\n"
TRIPLES = [
    ("heat", "actor", "De Niro"),
    ("ronin", "actor", "De Niro"),
    ("heat", "genre", "crime"),
    ("crime", "kind of", "drama"),
]
TRUST = [("ann", "bob", 0.5), ("bob", "eve", 1.0), ("eve", "ann", 2.0)]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write(tmp_path / "log.csv", LOG)


def named(links: ItemLinks) -> list[tuple[str, str, str]]:
    """The triples in external ids."""
    ids, relations = links.nodes.ids.tolist(), links.relations.tolist()
    rows = zip(links.head.tolist(), links.relation.tolist(), links.tail.tolist(), strict=True)
    return [(ids[head], relations[relation], ids[tail]) for head, relation, tail in rows]


def text_of(rows: list[tuple], divider: str, header: str = "") -> str:
    return header + "\n".join(divider.join(map(str, row)) for row in rows) + "\n"


def test_links_from_rows_in_own_ids() -> None:
    links = ItemLinks.from_triples([*TRIPLES, TRIPLES[0]])
    assert named(links) == TRIPLES
    items = Vocabulary(id_array(["ronin", "heat", "speed"]), "item")
    assert sorted(links.rows(items).tolist()) == [-1, -1, -1, 0, 1]
    assert links.find_linked_items(items).tolist() == [True, True, False]


def test_ids_of_items_that_are_numbers_are_found() -> None:
    links = ItemLinks.from_triples([(7, "actor", "x"), (9, "actor", "x")])
    assert links.find_linked_items(Vocabulary(np.array([9, 8, 7]), "item")).tolist() == [True, False, True]


def test_trust_is_a_matrix_with_a_direction() -> None:
    users = Vocabulary(id_array(["bob", "ann"]), "user")
    matrix = UserLinks.from_pairs([*TRUST, ("ann", "bob", 9.0)]).to_matrix(users)
    assert matrix.toarray().tolist() == [[0, 0], [0.5, 0]]


def test_nothing_is_a_set_of_links_too() -> None:
    assert len(ItemLinks.from_triples([])) == 0
    assert UserLinks.from_pairs([]).to_matrix(Vocabulary(id_array(["a"]), "user")).nnz == 0


@pytest.mark.parametrize("column", ["head", "relation", "tail"])
def test_codes_must_be_codes(column: str) -> None:
    with pytest.raises(DataError, match=f"{column} must hold codes from 0"):
        dataclasses.replace(ItemLinks.from_triples(TRIPLES), **{column: np.full(len(TRIPLES), 99, np.int32)})
    with pytest.raises(DataError, match="must have 4 entries"):
        dataclasses.replace(ItemLinks.from_triples(TRIPLES), relation=np.zeros(1, np.int32))


def test_weights_are_above_zero() -> None:
    with pytest.raises(DataError, match="above zero"):
        UserLinks.from_pairs([("a", "b", 0.0)])


def as_csv(folder: Path) -> object:
    return write(folder / "triples.csv", text_of(TRIPLES, ",", "subject,predicate,object\n"))


def as_tsv_without_names(folder: Path) -> object:
    return write(folder / "kg_final.txt", text_of(TRIPLES, "\t"))


def as_parquet(folder: Path) -> object:
    pd.DataFrame(TRIPLES, columns=["Head", "Relation", "Tail"]).to_parquet(folder / "t.parquet")
    return folder / "t.parquet"


def as_two_files(folder: Path) -> object:
    pd.DataFrame(TRIPLES[:2], columns=["h", "r", "t"]).to_parquet(folder / "a.parquet")
    pd.DataFrame(TRIPLES[2:], columns=["h", "r", "t"]).to_parquet(folder / "b.parquet")
    return [folder / "a.parquet", folder / "b.parquet"]


def as_frame(folder: Path) -> object:
    return pd.DataFrame(TRIPLES, columns=["head", "relation", "tail"])


@pytest.mark.parametrize("form", [as_csv, as_tsv_without_names, as_parquet, as_two_files, as_frame])
def test_triples_of_every_form(form, log: Path, tmp_path: Path) -> None:
    data, report = ingest(log, item_links=form(tmp_path))
    assert data.item_links is not None
    assert named(data.item_links) == TRIPLES
    assert any("4 triples of 3 relations about 2 of 2 items" in note for note in report.warnings)
    assert set(report.columns["item links"]) == {"head", "relation", "tail"}


@pytest.mark.parametrize(
    "text",
    ["user,trustee,trust\nann,bob,0.5\nbob,eve,1\neve,ann,2\n", "ann\tbob\t0.5\nbob\teve\t1\neve\tann\t2\n"],
    ids=["named", "headless"],
)
def test_people_who_occur_only_in_links_become_users(text: str, log: Path, tmp_path: Path) -> None:
    data, report = ingest(log, user_links=write(tmp_path / "trust.csv", text))
    assert data.users.ids.tolist() == ["ann", "bob", "eve"]
    assert data.friends is not None
    assert data.friends.toarray().tolist() == [[0, 0.5, 0], [0, 0, 1], [2, 0, 0]]
    assert data.interactions.shape == (3, 2)
    assert any("3 among 2 of 2 users; people without events: 1" in note for note in report.warnings)


def test_friends_without_weights_count_one(log: Path, tmp_path: Path) -> None:
    data, _ = ingest(log, user_links=write(tmp_path / "f.csv", "userID,friendID\nann,bob\n"))
    assert data.friends is not None
    assert data.friends.toarray().tolist() == [[0, 1], [0, 0]]
    data, _ = ingest(log, user_links=write(tmp_path / "plain.csv", "ann,bob\nbob,ann\n"))
    assert data.friends is not None
    assert data.friends.nnz == 2


def test_a_user_table_gets_rows_for_new_people(log: Path, tmp_path: Path) -> None:
    users = write(tmp_path / "users.csv", "user,age\nann,30\nbob,40\n")
    data, _ = ingest(log, users=users, user_links=write(tmp_path / "f.csv", "user,friend\nann,eve\n"))
    assert data.user_table is not None
    assert np.isnan(data.user_table.columns["age"][2])


def test_bad_rows_are_rejected_and_counted(log: Path, tmp_path: Path) -> None:
    triples = text_of(
        [*TRIPLES, TRIPLES[0], ("", "actor", "x"), ("heat", "", "x"), ("heat", "actor", " ")],
        ",",
        "head,relation,tail\n",
    )
    trust = "user,friend,w\nann,bob,1\nann,bob,3\nann,ann,1\nbob,,1\n,bob,1\nbob,ann,much\nbob,eve,-1\nbob,eve,0\nbob,joe,nan\nbob,joe,1e300\n"
    links = {"item_links": write(tmp_path / "t.csv", triples), "user_links": write(tmp_path / "w.csv", trust)}
    data, report = ingest(log, **links)
    assert data.item_links is not None
    assert data.user_links is not None
    assert named(data.item_links) == TRIPLES
    assert data.user_links.weight.tolist() == [1.0]
    assert report.rejected_in_tables == {
        "item links: missing head": 1,
        "item links: missing relation": 1,
        "item links: missing tail": 1,
        "item links: repeated triple (it counts once)": 1,
        "user links: missing user": 1,
        "user links: missing friend": 1,
        "user links: user linked to the same user": 1,
        "user links: weight is not a number above zero": 5,
        "user links: repeated link (the first one was kept)": 1,
    }


def test_a_column_may_be_named(log: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "odd.csv", text_of([(*row, 1) for row in TRIPLES], ",", "film,what,who,extra\n"))
    with pytest.raises(ColumnError, match=r"no head column.*'film'.*columns=.*item_links.head"):
        ingest(log, item_links=file)
    names = {"item_links.head": "film", "item_links.relation": "what", "item_links.tail": "who"}
    data, _ = ingest(log, item_links=file, columns=names)
    assert data.item_links is not None
    assert named(data.item_links) == TRIPLES
    with pytest.raises(ColumnError, match="no column 'movie', which was named as the head"):
        ingest(log, item_links=file, columns=names | {"item_links.head": "movie"})


@pytest.mark.parametrize(
    ("links", "error", "match"),
    [
        (
            {"item_links": "head,relation,tail\nx,actor,y\n"},
            DataError,
            "must be an item id. Got 2 others. Item ids look like: heat",
        ),
        ({"user_links": "user,friend\nx,y\n"}, DataError, "must be a user of the log. Got 2 others"),
        ({"item_links": "head,relation,tail\n,actor,y\n"}, DataError, "No row of the item links .*missing head: 1"),
        ({"item_links": "head,relation,tail\n"}, SourceError, "it has no row"),
        ({"user_links": "user,friend\nann,ann\n"}, DataError, "user linked to the same user: 1"),
    ],
)
def test_links_that_say_nothing_are_refused(links: dict, error: type, match: str, log: Path, tmp_path: Path) -> None:
    files = {name: write(tmp_path / f"{name}.csv", text) for name, text in links.items()}
    with pytest.raises(error, match=match):
        ingest(log, **files)


def test_people_with_text_ids_among_numbers_are_left_out(tmp_path: Path) -> None:
    log = write(tmp_path / "log.csv", "user,item\n1,5\n2,6\n")
    data, report = ingest(log, user_links=write(tmp_path / "f.csv", "user,friend\n1,2\n1,eve\n2,3\n"))
    assert data.users.ids.tolist() == [1, 2, 3]
    assert any("1 of these left out" in note for note in report.warnings)


@pytest.fixture
def linked(dataset: Dataset) -> Dataset:
    triples = [(100 + i, "genre", f"g{i % 4}") for i in range(40)]
    trust = [(f"user-{u}", f"user-{(u + 4) % 60}") for u in range(60)]
    return dataclasses.replace(
        dataset, item_links=ItemLinks.from_triples(triples), user_links=UserLinks.from_pairs(trust)
    )


def test_links_are_part_of_the_fingerprint(dataset: Dataset, linked: Dataset) -> None:
    assert linked.fingerprint != dataset.fingerprint
    assert dataset.fingerprint == make_dataset().fingerprint
    other = dataclasses.replace(linked, item_links=ItemLinks.from_triples([(100, "genre", "g1")]))
    assert other.fingerprint != linked.fingerprint
    assert dataclasses.replace(linked, user_links=None).fingerprint != linked.fingerprint


def test_links_survive_saving(linked: Dataset, tmp_path: Path) -> None:
    loaded = artifacts.load(artifacts.save(linked, tmp_path / "data"), Dataset)
    assert loaded.fingerprint == linked.fingerprint
    assert named(loaded.item_links) == named(linked.item_links)  # type: ignore[arg-type]


def test_a_saved_data_set_keeps_its_links(log: Path, tmp_path: Path) -> None:
    links = {"item_links": as_csv(tmp_path), "user_links": write(tmp_path / "f.csv", "user,friend\nann,eve\n")}
    data, report = ingest(log, **links, out=tmp_path / "data")
    opened = open_dataset(tmp_path / "data")
    assert opened.data.fingerprint == data.fingerprint
    assert opened.report.columns == report.columns
    with pytest.raises(SettingError, match="saved data set"):
        open_dataset(tmp_path / "data", item_links=links["item_links"])


def test_an_artifact_from_before_there_were_links_loads(dataset: Dataset, tmp_path: Path) -> None:
    folder = artifacts.save(dataset, tmp_path / "data")
    manifest = artifacts.read_manifest(folder)
    for name in ("item_links", "user_links"):
        del manifest["value"]["fields"][name]
    kept = artifacts.json.dumps(manifest | {"sha256": artifacts._manifest_digest(manifest)})
    (folder / "manifest.json").write_text(kept)
    loaded = artifacts.load(folder, Dataset)
    assert loaded.item_links is None
    assert loaded.friends is None


def test_links_go_with_the_parts_of_a_split(linked: Dataset) -> None:
    parts = split(linked, "ratio")
    assert parts.train.item_links is linked.item_links
    assert parts.train.with_events(parts.train.events).user_links is linked.user_links


def test_a_linked_user_without_training_events_keeps_the_row(linked: Dataset) -> None:
    queries = split(linked, "cold-users", known=0.0, test=0.2, seed=1).test.queries
    assert queries.users.min() >= 0
    assert not queries.history.nnz


def test_links_stay_while_users_and_items_come_in(linked: Dataset) -> None:
    assert linked.item_links is not None
    events = Events(
        user=id_array(["somebody new"]),
        item=id_array(["g1"]),
        time=np.array([1_700_000_000]),
        event_type=np.zeros(1, np.int8),
        weight=np.ones(1, np.float32),
        event_types=("rating",),
    )
    wider = merge_events(linked, events)
    assert wider.item_links is linked.item_links
    # What was an entity is an item now, under the same id.
    assert linked.item_links.find_linked_items(linked.items).sum() == 40
    assert linked.item_links.find_linked_items(wider.items).sum() == 41
    assert wider.friends is not None
    assert wider.friends.shape == (61, 61)
