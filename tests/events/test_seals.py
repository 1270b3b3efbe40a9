"""Seals: a changed value changes the checksum of its row, and a forgotten user is found by a hash that each store has anew."""

import numpy as np
import pytest

from leanrec.events.records import ForgottenUser
from leanrec.events.seals import digest_user, find_forgotten, seal_extended, seal_row


@pytest.mark.parametrize("changed", [("a", "1", None), ("a", 1, 0), ("a", 1.0, None), ("a", 1), ("b", 1, None)])
def test_a_value_of_another_kind_has_another_checksum(changed: tuple[object, ...]) -> None:
    assert seal_row(*changed) != seal_row("a", 1, None)


def test_a_row_of_an_older_file_has_the_checksum_of_its_own_columns() -> None:
    assert seal_extended(("a", 1, None, None), 2) == seal_row("a", 1)
    assert seal_extended(("a", 1, None, 0.5), 2) == seal_row("a", 1, None, 0.5)


def test_a_forgotten_user_is_found_by_number_and_by_text_in_one_store_only() -> None:
    forgotten = [ForgottenUser(1, digest_user("log", 12), 3, 4)]
    assert find_forgotten(np.array([7, 12]), "log", forgotten).tolist() == [1]
    assert find_forgotten(np.array(["12", "7"], np.dtypes.StringDType()), "log", forgotten).tolist() == [0]
    assert find_forgotten(np.array([12]), "other", forgotten).tolist() == []
    assert find_forgotten(np.array([12]), "log", []).tolist() == []
