"""Encoding: dictionaries of ids, and the ordered log in blocks of whole users."""

import numpy as np
import pandas as pd
import pytest

from leanrec.data.engine import SqlEngine, open_engine
from leanrec.data.ingest.cleaning import CleaningRules
from leanrec.data.ingest.encoding import EncodedLog, encode_log, fetch_ids, find_ids, make_dictionary
from leanrec.data.ingest.schema import read_schema
from leanrec.data.ingest.staging import stage_log, validate_rows
from leanrec.run import Run


def encode(engine: SqlEngine, frame: pd.DataFrame, block_rows: int) -> EncodedLog:
    schema = read_schema(engine, frame, {})
    staged = stage_log(engine, schema.parts, schema.columns, raw=False, key_types=(None, None))
    find_ids(engine, staged, {})
    profile = validate_rows(engine, staged, CleaningRules())
    for name in ("users", "items"):
        make_dictionary(engine, name, untyped=False)
    return encode_log(
        engine,
        staged,
        has_time=staged.has("time"),
        span=profile.span,
        event_weights=None,
        keep_sequence=False,
        block_rows=block_rows,
    )


def test_blocks_have_whole_users_in_time_order() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"user": rng.integers(0, 6, 60), "item": rng.integers(0, 9, 60), "time": 1_600_000_000 + rng.permutation(60)}
    )
    with open_engine(Run()) as engine:
        log = encode(engine, frame, block_rows=15)
        blocks = list(log.blocks())
        assert fetch_ids(engine, "users", numbers=True).tolist() == sorted(set(frame["user"]))
    users = [set(block.user.tolist()) for block in blocks]
    assert len(blocks) > 1
    assert sum(map(len, users)) == log.users
    assert [block.start for block in blocks] == np.cumsum([0, *map(len, blocks[:-1])]).tolist()
    expected = frame.sort_values(["user", "time"])
    assert np.concatenate([block.time for block in blocks]).tolist() == expected["time"].tolist()


@pytest.mark.parametrize("block_rows", [1, 7, 60, 1000])
def test_blocks_are_the_rows_of_the_log_also_beside_users_without_events(block_rows: int) -> None:
    rng = np.random.default_rng(1)
    user = rng.integers(0, 20, 200)
    # The times of some users, the first and the last among them, are all impossible.
    time = np.where(np.isin(user, [0, 3, 4, 19]), -5, 1_600_000_000 + rng.integers(0, 50, 200))
    with open_engine(Run()) as engine:
        log = encode(engine, pd.DataFrame({"user": user, "item": rng.integers(0, 9, 200), "time": time}), block_rows)
        expected = engine.fetch_arrays("SELECT u, i, t FROM log ORDER BY rowid")
        blocks = list(log.blocks())
    assert log.events < 200
    for name, column in (("u", "user"), ("i", "item"), ("t", "time")):
        found = np.concatenate([getattr(block, column) for block in blocks])
        assert found.tolist() == expected[name].tolist()
    assert {getattr(blocks[0], name).dtype for name in ("user", "item")} == {np.dtype(np.int32)}
    ends = [set(block.user.tolist()) for block in blocks]
    assert sum(map(len, ends)) == len(set().union(*ends))
    assert all(len(block) <= block_rows or len(users) == 1 for block, users in zip(blocks, ends, strict=True))


@pytest.mark.parametrize(("odd", "kept"), [(1_700_000_000, True), (4_102_444_800, False), (-4_000_000_000, False)])
def test_times_that_need_eight_bytes_leave_the_others_as_they_are(odd: int, kept: bool) -> None:
    frame = pd.DataFrame({"user": 1, "item": [3, 2, 1, 4], "time": [1_600_000_002, 1_600_000_001, 1_600_000_002, odd]})
    with open_engine(Run()) as engine:
        [block] = encode(engine, frame, block_rows=9).blocks()
    assert block.time.tolist() == [1_600_000_001, 1_600_000_002, 1_600_000_002] + [odd] * kept
    assert (block.time.dtype, block.item.tolist()[:3]) == (np.int64, [1, 2, 0])


def test_spellings_of_an_event_type_are_merged() -> None:
    frame = pd.DataFrame({"user": [1, 1, 2], "item": [1, 2, 3], "event": ["View", "view", "view"]})
    with open_engine(Run()) as engine:
        log = encode(engine, frame, block_rows=10)
    assert dict(log.event_types) == {"view": 1.0}
    assert log.spellings == ("View, view",)


def test_texts_with_one_hash_are_told_apart() -> None:
    """DuckDB's hashes have 64 bits: some day two ids have the same one."""
    frame = pd.DataFrame(
        {
            "user": ["ann", "bob", "cy", "ann", "bob", "dee"],
            "item": ["x1", "x2", "x1", "x22", "x3", "x2"],
            "time": 1_600_000_000 + np.arange(6),
        }
    )
    found = []
    for macro in ("", "CREATE MACRO hash(text) AS length(text)"):
        with open_engine(Run()) as engine:
            if macro:
                engine.execute(macro)
            blocks = list(encode(engine, frame, block_rows=100).blocks())
            users, items = (fetch_ids(engine, name, numbers=False) for name in ("users", "items"))
            found.append(
                [(users[u], items[i], t) for b in blocks for u, i, t in zip(b.user, b.item, b.time, strict=True)]
            )
            sizes = engine.fetch_rows("SELECT count(DISTINCT hash(id)) FROM users")[0][0]
            assert sizes == (2 if macro else 4)
    assert found[0] == found[1]
    assert sorted(found[0]) == sorted(frame.itertuples(index=False, name=None))
