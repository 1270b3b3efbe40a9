"""Users of requests: known ones, those of a call, and those that an updated model has learned of."""

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.errors import SettingError, UnknownIdError
from leanrec.events.user_events import EvidenceWeights
from leanrec.events.user_history import UserHistory
from leanrec.models.linear.ease import EASE
from leanrec.pipeline.catalog import Catalog
from leanrec.pipeline.query_users import QueryUsers
from leanrec.pipeline.snapshot import Snapshot
from leanrec.pipeline.user_histories import UserHistories

DATA = make_dataset(n_users=8, n_items=20, per_user=5)
KNOWN = DATA.users.ids.tolist()[3]


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return Snapshot(EASE().fit(DATA), None, Catalog(DATA.items, DATA.item_table))


@pytest.fixture
def histories() -> UserHistories:
    return UserHistories(DATA, np.zeros(0, np.int32))


@pytest.fixture
def users(histories: UserHistories) -> QueryUsers:
    return QueryUsers(DATA, histories, EvidenceWeights.from_events(DATA.events))


def make_event(item: int = 0) -> UserHistory:
    one = np.array([item], np.int32)
    return UserHistory(one, np.zeros(1, np.int8), np.array([9**9]), np.ones(1, np.float32), np.full(1, np.nan, "f4"))


def test_a_known_user_has_the_stored_history(users: QueryUsers, snapshot: Snapshot, histories: UserHistories) -> None:
    found = users.find(snapshot, KNOWN, None)
    assert (found.user, found.row, found.is_stale, found.ignored) == (KNOWN, 3, False, ())
    np.testing.assert_array_equal(found.history.item, histories.get(3).item)


def test_a_given_history_replaces_the_stored_one_and_tells_unknown_items(users: QueryUsers, snapshot: Snapshot) -> None:
    items = DATA.items.ids.tolist()
    found = users.find(snapshot, KNOWN, [items[4], -7, items[2]], weights=[1.0, 2.0, 3.0])
    assert (found.row, found.is_stale, found.ignored) == (3, True, (-7,))
    assert (found.history.item.tolist(), found.history.weight.tolist()) == ([4, 2], [1.0, 3.0])
    assert users.find(snapshot, None, items[:1]).row == -1


def test_new_users_are_known_to_the_snapshots_whose_model_has_learned_of_them(
    users: QueryUsers, snapshot: Snapshot, histories: UserHistories
) -> None:
    histories.add("guest", make_event())
    later = snapshot.with_updated(n_users=9)
    assert users.find(later, "guest", None).row == 8
    # A request that began before the update has a model without a row for the user.
    assert users.find(snapshot, "guest", None).row == -1
    assert later.with_updated(n_users=3).n_learned_users == 9


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((None, None), SettingError, "A user or a history must be given"),
        ((KNOWN, None, [1.0]), SettingError, "need a history"),
        ((None, [100, 101], [1.0]), SettingError, "weights must have 2 entries, as history has. Got 1"),
        ((None, [100], None, [1.0, 2.0]), SettingError, "ratings must have 1 entries"),
        (("nobody", None), UnknownIdError, "nobody"),
    ],
)
def test_wrong_calls_raise(
    users: QueryUsers, snapshot: Snapshot, arguments: tuple[object, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        users.find(snapshot, *arguments)  # type: ignore[arg-type]


def test_hints_name_no_forgotten_user(users: QueryUsers, histories: UserHistories) -> None:
    histories.forget(KNOWN)
    with pytest.raises(UnknownIdError) as caught:
        users.find_row(str(KNOWN))
    assert str(caught.value) == f"No user with the id {str(KNOWN)!r} among 7."


def test_the_verb_is_that_of_most_events(users: QueryUsers, histories: UserHistories) -> None:
    code = histories.encode_event_type("purchase")
    assert code is not None
    bought = make_event()
    bought.event_type[:] = code
    assert users.find_main_verb(bought) == "bought"
    nothing = make_event().take(slice(0, 0))
    assert users.find_main_verb(nothing) == users.find_main_verb(histories.get(0))
