"""The current snapshot: what changes at once does not undo each other."""

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.data.table import Table
from leanrec.errors import SettingError, UnknownIdError
from leanrec.models import get_model
from leanrec.models.baselines.popularity import Popularity
from leanrec.models.linear.ease import EASE
from leanrec.pipeline.catalog import Catalog
from leanrec.pipeline.current_snapshot import CurrentSnapshot, find_known
from leanrec.pipeline.snapshot import Snapshot

DATA = make_dataset(n_users=8, n_items=20, per_user=5)
ITEMS = DATA.items.ids.tolist()


@pytest.fixture
def current() -> CurrentSnapshot:
    catalog = Catalog(DATA.items, DATA.item_table)
    fitted = Snapshot(get_model("bpr")(embedding_dim=4, epochs=1).fit(DATA), Popularity().fit(DATA), catalog)
    return CurrentSnapshot(fitted, np.array([3], np.int32), "bpr", Catalog(DATA.users))


def list_hidden(current: CurrentSnapshot) -> list[int]:
    shown = current.snapshot.shown
    return [] if shown is None else np.flatnonzero(~shown).tolist()


def test_hiding_makes_a_new_snapshot_and_leaves_the_old_one(current: CurrentSnapshot) -> None:
    before = current.snapshot
    current.set_hidden([ITEMS[5]], None, hidden=True, replayed=False)
    assert list_hidden(current) == [3, 5]
    assert before.shown is not None
    assert before.shown[5]
    assert current.base.shown is None
    current.set_hidden([ITEMS[3], ITEMS[5]], None, hidden=False, replayed=False)
    assert current.snapshot.shown is None


def test_what_cannot_be_persisted_changes_nothing(current: CurrentSnapshot) -> None:
    def refuse() -> None:
        raise OSError

    before = current.snapshot
    with pytest.raises(OSError):  # noqa: PT011 - it is the same one
        current.set_hidden([ITEMS[5]], refuse, hidden=True, replayed=False)
    with pytest.raises(UnknownIdError):
        current.set_hidden([-1], None, hidden=True, replayed=False)
    assert current.snapshot is before
    assert not current.is_hidden(ITEMS[5])


def test_an_item_that_is_hidden_during_an_update_stays_hidden(current: CurrentSnapshot) -> None:
    other = EASE().fit(DATA)

    class Slow:
        n_items = 20

        def score(self, *arguments: object) -> np.ndarray:
            if not current.is_hidden(ITEMS[5]):
                current.set_hidden([ITEMS[5]], None, hidden=True, replayed=False)
            return other.score(*arguments)  # type: ignore[arg-type]

    current.use_updated(Slow(), None, 9)  # type: ignore[arg-type]
    assert isinstance(current.snapshot.model, Slow)
    assert list_hidden(current) == [3, 5]
    assert current.snapshot.n_learned_users == 9
    assert current.fitted_scorers[0] is current.base.model


def test_added_items_keep_updates_and_hidden_items(current: CurrentSnapshot) -> None:
    content = Table({}) if DATA.item_table is None else DATA.item_table.take(np.array([0]))
    with pytest.raises(SettingError, match="bpr cannot: refit it"):
        current.add_items([777], content, None)
    current.learns = True
    updated = EASE().fit(DATA)
    current.use_updated(updated, None, 9)
    current.set_hidden([777], None, hidden=True, replayed=True)
    assert current.add_items([777], content, None).added == 1
    assert list_hidden(current) == [3, 20]
    assert current.snapshot.n_learned_users == 9
    assert len(current.snapshot.catalog) == current.snapshot.model.n_items == 21
    assert current.fitted_scorers[0].n_items == 20


def test_unknown_ids_are_left_out() -> None:
    assert find_known(DATA.items, [ITEMS[2], -1, ITEMS[0]]).tolist() == [2, 0]
