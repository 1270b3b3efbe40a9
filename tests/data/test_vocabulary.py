"""Vocabulary: matching of external ids, and refused ids."""

import numpy as np
import pytest

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
