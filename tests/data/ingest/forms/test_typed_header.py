"""Headers with types, as RecBole writes them."""

from pathlib import Path

import leanrec
from leanrec.data.engine import open_engine
from leanrec.data.ingest.forms.typed_header import strip_types
from leanrec.data.ingest.sources import open_parts
from leanrec.run import Run


def test_atomic_files_are_read_with_their_tables_and_links(tmp_path: Path) -> None:
    rows = "".join(f"{i % 3}\t{i % 4}\t{i % 5 + 1}\t{881250949 + i}\n" for i in range(12))
    (tmp_path / "x.inter").write_text(f"user_id:token\titem_id:token\trating:float\ttimestamp:float\n{rows}")
    (tmp_path / "x.item").write_text("item_id:token\tgenre:token_seq\tyear:float\n0\tA B\t1999\n1\tA\t2001\n")
    (tmp_path / "x.user").write_text("user_id:token\tage:float\n0\t30\n1\t40\n2\t50\n")
    (tmp_path / "x.kg").write_text(
        "head_id:token\trelation_id:token\ttail_id:token\n0\tfilm.actor\tm.1\n1\tfilm.actor\tm.1\n"
    )
    data, report = leanrec.ingest(
        tmp_path / "x.inter", items=tmp_path / "x.item", users=tmp_path / "x.user", item_links=tmp_path / "x.kg"
    )
    assert report.columns[str(tmp_path / "x.inter")] == {
        "user": "user_id", "item": "item_id", "time": "timestamp", "rating": "rating"
    }  # fmt: skip
    assert data.events.rating is not None
    assert sorted(set(data.events.rating.tolist())) == [1, 2, 3, 4, 5]
    assert data.item_links is not None
    assert (len(data.item_links), data.item_links.relations.tolist()) == (2, ["film.actor"])
    assert data.item_table is not None
    assert data.item_table.columns["genre"].tolist() == ["A B", "A", "", ""]
    assert data.user_table is not None
    assert data.user_table.columns["age"].tolist() == [30, 40, 50]


def test_sequences_of_tokens_are_events_in_order(tmp_path: Path) -> None:
    (tmp_path / "s.inter").write_text("session_id:token\titem_id_list:token_seq\n1\ta b c\n2\tb d\n")
    data, _ = leanrec.ingest(tmp_path / "s.inter")
    assert (len(data.events), data.items.ids.tolist()) == (5, ["a", "b", "c", "d"])


def test_other_names_with_colons_stay(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user:id,item:id\n1,2\n")
    with open_engine(Run()) as engine:
        part = open_parts(engine, tmp_path / "log.csv")[0]
        assert strip_types(part) is part
        assert part.names == ("user:id", "item:id")
