"""Batch recommendations: the lists of all users, written to one file block by block."""

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import Progress

from leanrec.data.dataset import Dataset
from leanrec.data.engine import SqlEngine, open_engine
from leanrec.errors import SettingError
from leanrec.pipeline.lists.blending import OWN_LIST, PIN, PINNED, assign_places, blend_lists
from leanrec.pipeline.snapshot import SavedPipeline, Snapshot
from leanrec.protocols import Context
from leanrec.run import Run
from leanrec.types import Float32Array, IdArray, Int32Array, Queries

__all__ = ["BatchResult", "check_list_path", "write_lists"]

_BLOCK_BYTES = 32 * 2**20
_FORMS = (".parquet", ".csv")


@dataclasses.dataclass(frozen=True)
class BatchResult:
    """What was written.

    Attributes:
        path: the file.
        users: users with a list.
        rows: recommendations of all lists together.
        from_fallback: users whose whole list comes from the fallback.
        without_list: users to whom no item may be shown, such as those who have seen all of them.
    """

    path: Path
    users: int
    rows: int
    from_fallback: int
    without_list: int


def check_list_path(path: str | Path) -> Path:
    """Return the path of a file of lists. Raises SettingError unless it ends in .parquet or .csv and is no folder."""
    target = Path(path)
    if target.suffix.lower() not in _FORMS or target.is_dir():
        raise SettingError(f"The file of the lists must be a file that ends in .parquet or .csv. Got {str(target)!r}.")
    return target


def write_lists(
    snapshot: Snapshot, saved: SavedPipeline, path: Path, *, n: int, context: Context, run: Run
) -> BatchResult:
    """Write the n best items of every user: user, rank (1 = best), item, title, score and source.

    The source is "model", "fallback", "pin", or the name of a source of the pipeline.
    The file is written atomically: complete, or not at all. Cost: the model's cost of U queries; memory for one block of
    queries, and for the histories.

    Args:
        snapshot: model, fallback and catalog.
        saved: the pipeline with all recorded events and the items of the catalog.
        path: a .parquet or .csv file.
        n: length of the lists.
        context: rules about seen, allowed and denied items.
        run: memory, threads and progress.
    """
    data, now = saved.data, int(time.time())
    gone = np.zeros(0, np.int32) if saved.forgotten is None else saved.forgotten
    n_fallback = n_users = 0
    with open_engine(run) as engine:
        engine.execute("CREATE TEMP TABLE lists (u INTEGER, rank INTEGER, i INTEGER, score FLOAT, source VARCHAR)")
        names = np.array(["model", "fallback", PIN, *(each.source.name for each in snapshot.source_stages)], object)
        engine.register_table("sources", {"s": np.arange(len(names), dtype=np.int32), "name": names})
        for block_users in _track_blocks(len(data.users), n, run):
            users = np.setdiff1d(block_users, gone)
            queries = dataclasses.replace(saved.queries(users), time=np.full(len(users), now, np.int64))
            made = _make_lists(snapshot, queries, min(n, len(snapshot.catalog)), context)
            listed = made.items >= 0
            n_fallback, n_users = n_fallback + made.n_from_fallback, n_users + int(listed.any(axis=1).sum())
            block = {
                "u": np.repeat(users, listed.sum(axis=1)),
                "rank": np.broadcast_to(np.arange(listed.shape[1], dtype=np.int32), listed.shape)[listed] + 1,
                "i": made.items[listed],
                "score": made.scores[listed],
                "s": made.sources[listed],
            }
            engine.register_table("block", block)
            engine.execute("INSERT INTO lists SELECT u, rank, i, score, name FROM block JOIN sources USING (s)")
        n_rows = int(engine.fetch_rows("SELECT count(*) FROM lists")[0][0])
        _copy_lists(engine, snapshot, data, path)
    return BatchResult(path, n_users, n_rows, n_fallback, len(data.users) - len(gone) - n_users)


class _Lists(NamedTuple):
    """Lists of a block of users.

    Attributes:
        items: (B, n) item rows, −1 at the end of a list that is too short.
        scores: (B, n) scores.
        sources: (B, n) numbers of the sources: 0 = model, 1 = fallback, 2 = pin, then those of the pipeline.
        n_from_fallback: number of lists that are those of the fallback.
    """

    items: Int32Array
    scores: Float32Array
    sources: Int32Array
    n_from_fallback: int


def _make_lists(snapshot: Snapshot, queries: Queries, n: int, context: Context) -> _Lists:
    """The lists of B queries, with pinned items and those of sources. Longer lists are made until the rules leave enough."""
    n_items, rules, stages = len(snapshot.catalog), snapshot.rule_stage, snapshot.source_stages
    length = n if rules is None else rules.find_length(n)
    pins = None if rules is None else rules.choose_pins(queries.users, queries, n, context)
    owners = assign_places([each.source for each in stages], n)
    while True:
        found = snapshot.stages.run(queries, min(length, n_items), context)
        blended = None
        if stages or rules is not None:
            lists = [each.retrieve(queries, length, context) for each in stages]
            blended = blend_lists(found, lists, owners, pins, rules)
        if blended is None or not blended.is_cut or length >= n_items:
            break
        length *= 4
    n_ranked = (found.items >= 0).sum(axis=1) if found.n_from_model is None else found.n_from_model
    if found.fallback is not None:
        n_ranked = np.where(found.fallback, 0, n_ranked)
    n_whole = 0 if found.fallback is None else int(found.fallback.sum())
    if blended is None:
        sources = np.arange(found.items.shape[1]) >= n_ranked[:, None]
        return _Lists(found.items, found.scores, sources.astype(np.int32), n_whole)
    sources = np.where(blended.origins == OWN_LIST, blended.ranks >= n_ranked[:, None], blended.origins + 3)
    sources[blended.origins == PINNED] = 2
    return _Lists(blended.items, blended.scores, sources.astype(np.int32), n_whole)


def _track_blocks(n_users: int, n: int, run: Run) -> Iterator[Int32Array]:
    """The rows of all users in blocks, with a progress bar."""
    size = int(min(4096, max(64, _BLOCK_BYTES // (24 * max(1, n)))))
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not (run.shows_progress and console.is_terminal)) as bar:
        task = bar.add_task("users", total=n_users)
        for start in range(0, n_users, size):
            users = np.arange(start, min(start + size, n_users), dtype=np.int32)
            yield users
            bar.advance(task, len(users))


def _copy_lists(engine: SqlEngine, snapshot: Snapshot, data: Dataset, path: Path) -> None:
    """Write ``lists`` with external ids and titles."""
    catalog = snapshot.catalog
    titles = np.array([catalog.title(row) for row in range(len(catalog))], object)
    engine.register_table("user_ids", {"u": np.arange(len(data.users), dtype=np.int32), "id": _to_sql(data.users.ids)})
    rows = np.arange(len(catalog), dtype=np.int32)
    engine.register_table("item_ids", {"i": rows, "id": _to_sql(catalog.items.ids), "title": titles})
    select = (
        'SELECT a.id AS "user", l.rank AS rank, b.id AS item, b.title AS title, l.score AS score, l.source AS source '
        "FROM lists AS l JOIN user_ids AS a USING (u) JOIN item_ids AS b USING (i) ORDER BY l.u, l.rank"
    )
    # Ids stay as they are: programs look them up.
    engine.export_rows(select, path, f"The file {path}", ("title",))


def _to_sql(ids: IdArray) -> IdArray:
    """Ids in a type that the engine takes."""
    return ids if ids.dtype.kind == "i" else ids.astype(object)
