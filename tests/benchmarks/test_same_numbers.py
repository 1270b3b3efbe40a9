"""The page of the same numbers: leanrec's values are those of its own metrics, and the lines shown are those that ran."""

import re
from pathlib import Path

import metric_libraries
import pytest
import same_numbers
from same_numbers import LOG3, QUESTIONS, Question

PAGE = (Path(__file__).parents[2] / "docs" / "explanation" / "same-numbers.md").read_text(encoding="utf-8")
ASKED = [question for question in QUESTIONS if not question.needs_scores]
HAND = {
    "Recall: divided by what": (2 / 4,),
    "Precision: a list shorter than k": (1 / 5,),
    "MAP: divided by what": (1 / 2, 1.0),
    "MAP: a list shorter than k": (1 / 3,),
    "NDCG: the ideal list": (1.0, 1.0),
    "NDCG: the discount": (LOG3,),
    "NDCG: the gain of a grade": ((1 + 3 / 2) / (3 + LOG3),),
    "MRR: the cut-off": (0.0,),
    "Hit rate: the cut-off, and two hits": (0.0, 1.0),
    "A user without a list": ((1 + 0) / 2,),
    "A user without held-out items": (1.0, 0.0),
    "An item twice in a list": ("refused",),
    "An item held out twice": (1 / 2,),
}


def test_every_question_is_worked_by_hand() -> None:
    assert set(HAND) == {question.title for question in ASKED}


@pytest.mark.parametrize("question", ASKED, ids=lambda question: question.title)
def test_leanrec_counts_as_the_page_says(question: Question) -> None:
    values = same_numbers.leanrec_values(question)
    assert values == pytest.approx(HAND[question.title])
    section = PAGE.partition(f"### {question.title}\n")[2].partition("\n###")[0]
    assert question.example in section
    row = next(line for line in section.splitlines() if "**leanrec**" in line)
    shown = re.split(r", | \| ", row.strip("| "))[: len(values)]
    assert [each if each == "refused" else float(each) for each in shown] == [
        value if isinstance(value, str) else pytest.approx(value, abs=6e-3) for value in values
    ]
    assert question.readings.get(same_numbers.find_reading(question, values), "refused") in row


def test_the_lines_on_the_page_are_those_that_ran() -> None:
    assert metric_libraries.ROWS in PAGE
    for name, lines in metric_libraries.RECIPES.items():
        assert f"{metric_libraries.IMPORTS[name]}\n\n{lines}\n" in PAGE, name


def test_a_sample_has_what_libraries_count_differently() -> None:
    sample = same_numbers.make_sample()
    held_out = {user: items for user, items in sample["held_out"].items() if items}
    assert any(user not in sample["lists"] for user in held_out)
    assert any(user not in held_out for user in sample["lists"])
    assert any(len(row) < sample["k"] for row in sample["lists"].values())
    assert {len(row) > sample["k"] for row in held_out.values()} == {True, False}
    ours = same_numbers.score_sample(sample)
    assert len(set(ours.values())) == len(ours)


def test_a_wrong_recipe_is_found() -> None:
    ours = same_numbers.score_sample(same_numbers.make_sample())
    right = {"X": {"recipe": dict(ours)}}
    wrong = {"X": {"recipe": ours | {"map": ours["map"] + 1e-3}}}
    nothing = {"X": {"recipe": ours | {"map": float("nan")}}}
    assert same_numbers.find_wrong(right) == []
    assert [each.partition(" is ")[0] for each in same_numbers.find_wrong(wrong)] == ["X: map"]
    assert len(same_numbers.find_wrong(nothing)) == 1


def test_rows_hold_the_list_and_below_it_what_was_missed() -> None:
    case = same_numbers.make_case({"u": "a x"}, {"u": "a b:2 c"})
    users, sizes, scores, labels = metric_libraries.make_rows(case)
    assert (users, sizes, labels) == ([0] * 4, [4], [1, 0, 2, 1])
    assert scores == sorted(scores, reverse=True)
