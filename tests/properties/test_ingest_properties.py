"""Laws of ingest that hold for any log."""

import collections
import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanrec.data.ingest.cleaning import CleaningRules
from leanrec.data.ingest.ingest import ingest, open_dataset
from leanrec.data.ingest.meaning.id_forms import MISSING_WORDS

pytestmark = pytest.mark.slow

# Any text but blanks and words for nothing (missing), line breaks included; a lone surrogate is no text.
IDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=6).filter(
    lambda text: text.strip(" \t\xa0").lower() not in MISSING_WORDS
)
EVENTS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(1_600_000_000, 1_600_000_003)), min_size=1, max_size=40
)
FEW = settings(max_examples=25, deadline=None)


@FEW
@given(st.lists(IDS, min_size=1, max_size=12, unique=True))
def test_any_id_comes_out_as_it_went_in(ids: list[str]) -> None:
    frame = pd.DataFrame({"user": ids, "item": ids[::-1], "time": 1_600_000_000})
    with tempfile.TemporaryDirectory() as folder:
        data = ingest(frame, out=Path(folder) / "set").data
        again = open_dataset(Path(folder) / "set").data
    assert sorted(data.users.ids.tolist()) == sorted(ids)
    assert again.users.ids.tolist() == data.users.ids.tolist()
    users, items = data.users.ids[data.events.user].tolist(), data.items.ids[data.events.item].tolist()
    assert sorted(zip(users, items, strict=True)) == sorted(zip(ids, ids[::-1], strict=True))
    assert [data.users.row(each) for each in ids] == data.users.rows(ids).tolist()


@FEW
@given(st.lists(IDS.filter(lambda text: text == text.strip(" \t\xa0")), min_size=1, max_size=12, unique=True))
def test_quoted_ids_survive_a_text_file(ids: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.csv"
        with duckdb.connect() as con:
            con.register("frame", pd.DataFrame({"user": ids, "item": "x"}))
            con.execute(f"COPY frame TO '{path}' (HEADER, FORCE_QUOTE *)")
        data = ingest(path).data
    assert sorted(map(str, data.users.ids.tolist())) == sorted(ids)


@FEW
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=12, unique=True))
def test_whole_numbers_stay_whole_numbers(ids: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.csv"
        path.write_text("user,item\n" + "".join(f"{each},1\n" for each in ids), encoding="utf-8")
        assert ingest(path).data.users.ids.tolist() == sorted(ids)
    assert ingest(pd.DataFrame({"user": ids, "item": 1})).data.users.ids.tolist() == sorted(ids)


@FEW
@given(EVENTS, st.booleans())
def test_events_are_sorted_by_user_and_time_with_ties_as_read(events: list[tuple[int, int, int]], drop: bool) -> None:
    frame = pd.DataFrame(events, columns=["user", "item", "time"])
    data, report = ingest(frame, cleaning=CleaningRules(duplicates="drop" if drop else "keep"))
    kept = list(dict.fromkeys(events)) if drop else events
    expected = sorted(kept, key=lambda event: (event[0], event[2]))
    found = zip(data.users.ids[data.events.user], data.items.ids[data.events.item], data.events.time, strict=True)
    assert [tuple(map(int, each)) for each in found] == expected
    assert report.rejected.get("duplicate", 0) == len(events) - len(kept)


CELL = st.sampled_from(["", "1", "2", "x", "nan", "inf", "-1", "1600000000", "1600000001", "4", "99999999999"])


# An example has up to 25 rows and is read twice.
@settings(FEW, max_examples=15)
@given(
    st.lists(st.lists(CELL, min_size=1, max_size=5), min_size=1, max_size=25),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 5),
)
def test_every_row_is_kept_or_counted_and_quarantined(
    rows: list[list[str]], min_user: int, min_item: int, per_day: int
) -> None:
    good = [["9", "9", "4", "1600000000"]] * 3 + [["8", "9", "4", "1600000000"]] * 3
    lines = [",".join(row) for row in [*good, *rows] if any(row)]
    cleaning = CleaningRules(duplicates="keep", min_user=min_user, min_item=min_item, max_per_day=max(3, per_day))
    with tempfile.TemporaryDirectory() as folder:
        path, quarantine = Path(folder) / "log.csv", Path(folder) / "aside.csv"
        path.write_text("user,item,rating,time\n" + "\n".join(lines) + "\n", encoding="utf-8")
        data, report = ingest(path, cleaning=cleaning, quarantine=quarantine, allow_rejects=True)
        aside = pd.read_csv(quarantine, dtype=str)
        assert ingest(path, cleaning=cleaning, allow_rejects=True).report.rejected == report.rejected
    assert report.rows_read == len(lines) == report.events + sum(report.rejected.values())
    assert len(data.events) == report.events
    assert collections.Counter(aside["reason"]) == collections.Counter(report.rejected)
    for counts, least in ((np.bincount(data.events.user), min_user), (np.bincount(data.events.item), min_item)):
        assert counts.min() >= least
    assert len(data.users) == len(np.unique(data.events.user))
