"""Removal of users: nothing of them is left, and nothing of the others changes."""

import dataclasses

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.data.dataset import Dataset
from leanrec.data.links import UserLinks
from leanrec.data.removal import remove_users, replace_users
from leanrec.data.table import Table
from leanrec.data.vocabulary import Vocabulary

GONE = np.array([1, 4], np.int32)


def make_data(*, numbers: bool = False) -> Dataset:
    data = make_dataset(n_users=6, n_items=10, per_user=4)
    ids = np.arange(40, 46) if numbers else data.users.ids
    links = UserLinks.from_pairs([(ids[0], ids[1]), (ids[4], ids[5]), (ids[2], ids[3], 2.0), (ids[3], ids[0])])
    table = Table({"age": np.arange(20.0, 26.0)})
    return dataclasses.replace(data, users=Vocabulary(ids, "user"), user_table=table, user_links=links)


def list_events(data: Dataset) -> set[tuple[object, ...]]:
    events = data.events
    users = data.users.ids[events.user].tolist()
    return set(zip(users, events.item.tolist(), events.time.tolist(), events.weight.tolist(), strict=True))


@pytest.mark.parametrize("numbers", [False, True])
def test_removed_users_are_gone_and_the_others_stay(numbers: bool) -> None:
    data = make_data(numbers=numbers)
    removed, ids = remove_users(data, GONE), data.users.ids.tolist()
    kept = [each for row, each in enumerate(ids) if row not in GONE]
    assert removed.users.ids.tolist() == kept
    assert list_events(removed) == {each for each in list_events(data) if each[0] in kept}
    assert removed.user_table is not None
    assert removed.user_table.columns["age"].tolist() == [20, 22, 23, 25]
    removed.check_state()


@pytest.mark.parametrize("numbers", [False, True])
def test_replaced_users_keep_empty_rows_under_ids_that_nobody_has(numbers: bool) -> None:
    data = make_data(numbers=numbers)
    replaced = replace_users(data, GONE)
    ids, before = replaced.users.ids.tolist(), data.users.ids.tolist()
    assert [mine == theirs for mine, theirs in zip(ids, before, strict=True)] == [row not in GONE for row in range(6)]
    assert len(set(ids) | set(before)) == 8
    assert list_events(replaced) == {each for each in list_events(data) if each[0] in ids}
    assert replaced.user_table is not None
    np.testing.assert_array_equal(replaced.user_table.columns["age"], [20, np.nan, 22, 23, np.nan, 25])
    twice = replace_users(replaced, np.array([0], np.int32))
    assert len(set(twice.users.ids.tolist()) | set(before)) == 9
    replaced.check_state()


@pytest.mark.parametrize("remove", [remove_users, replace_users])
def test_links_from_and_to_removed_users_are_gone(remove: object) -> None:
    data = make_data()
    links = remove(data, GONE).user_links  # type: ignore[operator]
    names, people = data.users.ids.tolist(), links.people.ids.tolist()
    assert {each for row, each in enumerate(names) if row in GONE}.isdisjoint(people)
    pairs = [(people[a], people[b], w) for a, b, w in zip(links.user, links.friend, links.weight.tolist(), strict=True)]
    assert pairs == [(names[2], names[3], 2.0), (names[3], names[0], 1.0)]


@pytest.mark.parametrize("remove", [remove_users, replace_users])
def test_without_users_to_remove_the_data_stay_the_same(remove: object) -> None:
    data = make_data()
    assert remove(data, np.zeros(0, np.int32)) is data  # type: ignore[operator]
