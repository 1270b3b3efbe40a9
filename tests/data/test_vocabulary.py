"""Vocabulary: matching of external ids, and refused ids."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanrec.data import vocabulary
from leanrec.data.vocabulary import Vocabulary, id_array
from leanrec.errors import DataError, UnknownIdError


def test_only_the_canonical_form_of_a_number_matches() -> None:
    whole = Vocabulary(id_array([7, 10, -3]))
    assert [whole.row(each) for each in (7, "7", np.int32(10), "-3")] == [0, 0, 1, 2]
    for other in (
        "007",
        " 7",
        "+7",
        "\uff17",
        "7\n",
        7.9,
        7.0,
        b"7",
        "1_0",
        "--3",
        "-0",
        "",
        "9" * 400,
        float("inf"),
        True,
    ):
        assert other not in whole
        with pytest.raises(UnknownIdError):
            whole.row(other)
    assert whole.rows(["7", "07"], missing=-1).tolist() == [0, -1]


def test_text_is_kept_to_the_letter() -> None:
    names = Vocabulary(id_array(["a", "a\0", "é", "e\u0301"]))
    assert [names.row(each) for each in ("a", "a\0", "é", "e\u0301")] == [0, 1, 2, 3]
    assert names.rows(["a\0", "a\0\0"], missing=-1).tolist() == [1, -1]
    assert names.with_ids(["b\0", "a"]).ids.tolist() == ["a", "a\0", "é", "e\u0301", "b\0"]


@pytest.mark.parametrize("ids", [[2**63], [2**64, 1], np.array([2**63], np.uint64), [1.5, 2], np.array([0.5])])
def test_numbers_that_are_no_ids_are_refused(ids: object) -> None:
    with pytest.raises(DataError):
        id_array(ids)  # type: ignore[arg-type]


def test_mixed_ids_are_text() -> None:
    assert id_array([1, "x", 2.5]).tolist() == ["1", "x", "2.5"]
    assert id_array([np.int64(4), 5]).tolist() == [4, 5]
    assert id_array([True, False]).tolist() == ["True", "False"]


def test_an_unknown_id_is_reported_with_similar_ids() -> None:
    with pytest.raises(UnknownIdError, match="user-199"):
        Vocabulary(id_array([f"user-{n}" for n in range(200)]), "user").row("user-1999")


_TEXTS = st.lists(st.text(max_size=3), unique=True, max_size=30)
_NUMBERS = st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, max_size=30)
_ANY_IDS = st.lists(st.text(max_size=3) | st.integers(-(2**70), 2**70), max_size=20)


@given(_TEXTS | _NUMBERS, _ANY_IDS)
def test_ids_are_found_as_by_a_dictionary(ids: list[int | str], others: list[int | str]) -> None:
    known = Vocabulary(id_array(ids))
    rows = {known.normalize_id(each): row for row, each in enumerate(ids)}
    asked = [*ids, *others]
    expected = [rows.get(known.normalize_id(each), -1) for each in asked]
    assert known.rows(asked, missing=-1).tolist() == expected
    assert [known.find_row(each) for each in asked] == [None if row < 0 else row for row in expected]


def test_texts_with_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "hash", len, raising=False)  # all texts of a length get one hash
    known = Vocabulary(id_array(["ab", "cd", "e", "ef"]))
    asked = ["ef", "cd", "ab", "e", "gh", "i", "jkl"]
    assert known.rows(asked, missing=-1).tolist() == [3, 1, 0, 2, -1, -1, -1]
    assert [known.find_row(each) for each in asked] == [3, 1, 0, 2, None, None, None]
    with pytest.raises(DataError, match="2 repeated"):
        Vocabulary(id_array(["ab", "cd", "ab", "e", "e"])).row("ab")
