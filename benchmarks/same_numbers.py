"""The same numbers in other libraries: how each one counts, on examples small enough to be computed by hand.

    python benchmarks/same_numbers.py [--only NAME ...] [--python NAME=PATH ...] [--check]

It prints the tables of docs/explanation/same-numbers.md. Every library runs in its own process; ``--python`` names the
interpreter of an environment for one of them, because RecTools and LensKit need older packages than leanrec:

    python benchmarks/same_numbers.py --python RecTools=.venv-rectools/bin/python --python LensKit=…

With ``--check`` it prints only where the lines of a recipe do not give leanrec's numbers, and exits with 1 then.
"""

import argparse
import json
import math
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import metric_libraries
import numpy as np
import scipy.sparse as sp

from leanrec.errors import DataError
from leanrec.evaluation import metrics

Case = dict[str, Any]
Values = tuple[float | str | None, ...]
ADAPTERS = Path(metric_libraries.__file__)
REFUSED = "refused"


def make_case(lists: dict[str, str], held_out: dict[str, str], scores: list[float] | None = None) -> Case:
    """A case from words: "a b:3" is a with grade 1 and b with grade 3. Lists have falling scores above 0."""
    graded = {user: [each.partition(":") for each in text.split()] for user, text in held_out.items()}
    shown = {user: text.split() for user, text in lists.items()}
    return {
        "lists": {
            user: list(zip(row, scores or [1 / rank for rank in range(1, len(row) + 1)], strict=True))
            for user, row in shown.items()
        },
        "held_out": {user: [(item, float(grade or 1)) for item, _, grade in row] for user, row in graded.items()},
    }


@dataclass(frozen=True)
class Question:
    """One question of counting.

    Attributes:
        title: heading on the page.
        example: the cases in words.
        metric: name as in leanrec.
        k: the cut-off.
        cases: the examples.
        readings: the values that a way of counting gives, one for each case, and what that way is.
        needs_scores: only for libraries that take scores.
        otherwise: the metric for libraries that lack the first.
    """

    title: str
    example: str
    metric: str
    k: int
    cases: tuple[Case, ...]
    readings: dict[Values, str] = field(default_factory=dict)
    needs_scores: bool = False
    otherwise: str = ""


LOG3, LOG5 = 1 / math.log2(3), 1 / math.log2(5)
TIED = [0.5] * 4
QUESTIONS = (
    Question(
        "Recall: divided by what",
        "Held out a b c d, list a b, recall@2.",
        "recall",
        2,
        (make_case({"u": "a b"}, {"u": "a b c d"}),),
        {(0.5,): "held-out items", (1.0,): "the smaller of k and the held-out items"},
    ),
    Question(
        "Precision: a list shorter than k",
        "Held out a, list a x, precision@5.",
        "precision",
        5,
        (make_case({"u": "a x"}, {"u": "a"}),),
        {
            (0.2,): "hits / k",
            (0.5,): "hits / length of the list",
            (1.0,): "hits / the smaller of k and the held-out items, both summed over the users first",
        },
    ),
    Question(
        "MAP: divided by what",
        "First held out a b c, list a x, MAP@2; then held out a, list a x, MAP@2.",
        "map",
        2,
        (make_case({"u": "a x"}, {"u": "a b c"}), make_case({"u": "a x"}, {"u": "a"})),
        {
            (0.5, 1.0): "the smaller of k and the held-out items",
            (1 / 3, 1.0): "held-out items",
            (1.0, 1.0): "hits in the list",
            (0.5, 0.5): "k",
        },
    ),
    Question(
        "MAP: a list shorter than k",
        "Held out a b c, list a, MAP@3.",
        "map",
        3,
        (make_case({"u": "a"}, {"u": "a b c"}),),
        {(1 / 3,): "a missing place is a miss", (1.0,): "places that are not filled do not exist"},
    ),
    Question(
        "NDCG: the ideal list",
        "First held out a, list a x, NDCG@2; then held out a b c d, list a b, NDCG@2.",
        "ndcg",
        2,
        (make_case({"u": "a x"}, {"u": "a"}), make_case({"u": "a b"}, {"u": "a b c d"})),
        {
            (1.0, 1.0): "as many hits as k and the held-out items allow",
            (1 / (1 + LOG3), 1.0): "k hits, also where fewer items are held out",
            (1.0, (1 + LOG3) / (1 + LOG3 + 0.5 + LOG5)): "all held-out items, also beyond k",
        },
    ),
    Question(
        "NDCG: the discount",
        "Held out a, list x a, NDCG@2.",
        "ndcg",
        2,
        (make_case({"u": "x a"}, {"u": "a"}),),
        {
            (LOG3,): "1 / log₂(1 + position)",
            (1.0,): "1 / log₂(position): the second place counts as the first",
            (LOG3 / (1 + LOG3),): "1 / log₂(1 + position), in an ideal list of k hits",
        },
    ),
    Question(
        "NDCG: the gain of a grade",
        "Held out a with grade 3 and b with grade 1, list b x a, NDCG@3.",
        "graded_ndcg",
        3,
        (make_case({"u": "b x a"}, {"u": "a:3 b:1"}),),
        {
            ((1 + 3 * 0.5) / (3 + LOG3),): "the grade",
            ((1 + 3 * LOG3) / (3 + 1),): "the grade, with the other discount",
            ((1 + 7 * 0.5) / (7 + LOG3),): "2^grade − 1",
            ((1 + 0.5) / (1 + LOG3),): "1 for every held-out item",
        },
    ),
    Question(
        "MRR: the cut-off",
        "Held out a, list x y a, MRR@2.",
        "mrr",
        2,
        (make_case({"u": "x y a"}, {"u": "a"}),),
        {(0.0,): "places after k do not count", (1 / 3,): "no cut-off: the whole list counts"},
    ),
    Question(
        "Hit rate: the cut-off, and two hits",
        "First held out a, list x y a; then held out a b, list a b; hit rate@2.",
        "hit_rate",
        2,
        (make_case({"u": "x y a"}, {"u": "a"}), make_case({"u": "a b"}, {"u": "a b"})),
        {(0.0, 1.0): "1 if there is a hit among the first k"},
    ),
    Question(
        "A user without a list",
        "The first user has held out a b and the list a b; the second has held out c and no list. NDCG@2.",
        "ndcg",
        2,
        (make_case({"u": "a b"}, {"u": "a b", "v": "c"}),),
        {(0.5,): "counted as 0", (1.0,): "left out"},
    ),
    Question(
        "A user without held-out items",
        "The first user has held out a b and the list a b, then the list x y; the second has the list c d and nothing held "
        "out. NDCG@2.",
        "ndcg",
        2,
        (make_case({"u": "a b", "v": "c d"}, {"u": "a b"}), make_case({"u": "x y", "v": "c d"}, {"u": "a b"})),
        {(1.0, 0.0): "left out", (0.5, 0.0): "counted as 0", (1.0, 0.5): "counted as 1"},
    ),
    Question(
        "An item twice in a list",
        "Held out a c, list a a x, NDCG@3.",
        "ndcg",
        3,
        (make_case({"u": "a a x"}, {"u": "a c"}),),
        {
            (1.0,): "two hits, in an ideal list of two",
            (1 / (1 + LOG3),): "one hit",
            ((1 + LOG3) / (1 + LOG3 + 0.5),): "two hits, in an ideal list of three",
        },
    ),
    Question(
        "An item held out twice",
        "Held out a a b (a was bought twice), list a x, recall@2, or where there is none MAP@2.",
        "recall",
        2,
        (make_case({"u": "a x"}, {"u": "a a b"}),),
        {(0.5,): "one item", (2 / 3,): "two items, of which both are hits"},
        otherwise="map",
    ),
    Question(
        "Equal scores",
        "Four items of equal score, a held out, NDCG@4. a is the first row and the lowest id; then the last row and the "
        "lowest id; then the first row and the highest id; then the last row and the highest id.",
        "ndcg",
        4,
        tuple(
            make_case({"u": row}, {"u": target}, TIED)
            for target, row in (("a", "a b c d"), ("a", "b c d a"), ("d", "d a b c"), ("d", "a b c d"))
        ),
        {
            (1.0, LOG5, 1.0, LOG5): "in the order of the rows",
            (1.0, 1.0, LOG5, LOG5): "by id, lowest first",
            (LOG5, LOG5, 1.0, 1.0): "by id, highest first",
            (LOG5,) * 4: "the worst order",
            ((1 + LOG3 + 0.5 + LOG5) / 4,) * 4: "the mean over all orders",
        },
        needs_scores=True,
    ),
    Question(
        "Scores that are not above 0",
        "Held out a, list a x with the scores −1 and −2, as of log-probabilities or distances; recall@1, or where there is "
        "none MAP@1.",
        "recall",
        1,
        (make_case({"u": "a x"}, {"u": "a"}, [-1.0, -2.0]),),
        {(1.0,): "as any other score", (0.0,): "an item with such a score is never a hit"},
        needs_scores=True,
        otherwise="map",
    ),
)


def with_leanrec(metric: str, k: int, case: Case) -> float | str:
    """leanrec's mean over the users with held-out items; the name of the error if it refuses the case."""
    users = list(case["held_out"])
    rows = [*case["lists"].values(), *case["held_out"].values()]
    items = sorted({item for row in rows for item, _ in row})
    truth = sp.lil_array((len(users), len(items)), dtype=np.float32)
    lists = np.full((len(users), max(k, *(len(row) for row in case["lists"].values()))), -1, np.int32)
    for at, user in enumerate(users):
        for item, grade in case["held_out"][user]:
            truth[at, items.index(item)] = grade
        shown = [items.index(item) for item, _ in case["lists"].get(user, [])]
        lists[at, : len(shown)] = shown
    named = {"mrr": metrics.reciprocal_rank, "map": metrics.average_precision}
    try:
        relevance = metrics.match_ground_truth(lists, sp.csr_array(truth))
    except DataError:
        return REFUSED
    return float(np.nanmean(named.get(metric, getattr(metrics, metric, metrics.ndcg))(relevance, k)))


def make_sample(seed: int = 0) -> dict[str, Any]:
    """Random lists with short and missing ones, users without held-out items, and more held-out items than k."""
    rng, k = np.random.default_rng(seed), 5
    items = [f"i{at:02}" for at in range(30)]

    def draw(n: int) -> list[str]:
        return [str(item) for item in rng.choice(items, n, replace=False)]

    return {
        "k": k,
        "lists": {f"u{at:02}": draw(int(rng.integers(1, k + 1))) for at in range(40) if at % 7},
        "held_out": {f"u{at:02}": draw(int(rng.integers(1, 9))) if at % 5 else [] for at in range(40)},
    }


def score_sample(sample: dict[str, Any]) -> dict[str, float]:
    """leanrec's numbers for the sample."""
    held_out = {user: [(item, 1) for item in row] for user, row in sample["held_out"].items() if row}
    case = {
        "lists": {user: [(item, 0) for item in row] for user, row in sample["lists"].items() if user in held_out},
        "held_out": held_out,
    }
    names = ("recall", "precision", "ndcg", "mrr", "map", "hit_rate")
    return {name: float(with_leanrec(name, sample["k"], case)) for name in names}


def choose_metric(question: Question, name: str) -> str:
    """The metric of a question that the library has."""
    return question.otherwise if question.otherwise and name in {"LightGBM", "XGBoost", "implicit"} else question.metric


def run_library(name: str, python: str) -> dict[str, Any] | None:
    """What one library gives for every case, from its own process; None if it cannot run."""
    takes_scores = metric_libraries.LIBRARIES[name][2]
    cases = [
        (choose_metric(question, name), question.k, case)
        for question in QUESTIONS
        if takes_scores or not question.needs_scores
        for case in question.cases
    ]
    jobs = json.dumps({"cases": cases, "sample": make_sample()})
    done = subprocess.run([python, str(ADAPTERS), name], input=jobs, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{name} cannot run: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    answer: dict[str, Any] = json.loads(done.stdout)
    values = iter(answer["values"])
    answer["by_title"] = {
        question.title: tuple(next(values) for _ in question.cases)
        for question in QUESTIONS
        if takes_scores or not question.needs_scores
    }
    return answer


def leanrec_values(question: Question) -> Values:
    """leanrec's value of each case. It takes lists in order, so what needs scores is answered on the page."""
    return tuple(with_leanrec(question.metric, question.k, case) for case in question.cases)


def find_reading(question: Question, values: Values) -> Values:
    """The known values that these are, to three digits; otherwise the values rounded."""
    for known in question.readings:
        pairs = zip(values, known, strict=True)
        if all(isinstance(a, float) and isinstance(b, float) and abs(a - b) < 1e-3 for a, b in pairs):
            return known
    return tuple(round(each, 3) if isinstance(each, float) else each for each in values)


def group_libraries(question: Question, answers: dict[str, dict[str, Any]]) -> dict[Values, list[str]]:
    """The libraries by their values, leanrec first. Those without the metric are left out."""
    groups: dict[Values, list[str]] = {}
    if not question.needs_scores:
        groups[find_reading(question, leanrec_values(question))] = ["leanrec"]
    for name, answer in answers.items():
        values = answer["by_title"].get(question.title, (None,))
        if values[0] is not None:
            groups.setdefault(find_reading(question, values), []).append(name)
    return groups


def print_question(question: Question, answers: dict[str, dict[str, Any]]) -> None:
    """The heading, the example and a row for each way of counting."""
    print(f"\n### {question.title}\n\n{question.example}\n\n| value | counted | libraries |\n|---|---|---|")
    for values, names in group_libraries(question, answers).items():
        text = ", ".join(f"{each:.3g}" if isinstance(each, float) else str(each) for each in values)
        shown = (
            f"**leanrec**{', ' * (len(names) > 1)}{', '.join(names[1:])}" if names[0] == "leanrec" else ", ".join(names)
        )
        refused = REFUSED if any(isinstance(each, str) for each in values) else "?"
        print(f"| {text} | {question.readings.get(values, refused)} | {shown} |")


def print_differences(answers: dict[str, dict[str, Any]]) -> None:
    """For each library, the questions that it answers in another way than leanrec."""
    print("| library | counts otherwise than leanrec |\n|---|---|")
    for name, answer in answers.items():
        other = [
            question.title
            for question in QUESTIONS
            if not question.needs_scores
            for values, names in group_libraries(question, answers).items()
            if name in names and "leanrec" not in names and values[0] is not None
        ]
        print(f"| {name} {answer['version']} | {'; '.join(other) or 'nothing that is asked here'} |")


def print_recipes(names: list[str]) -> None:
    """The lines that give leanrec's numbers."""
    print(f"\n```python\n{metric_libraries.ROWS}\n```")
    for name in names:
        print(f"\n### {name}\n\n```python\n{metric_libraries.IMPORTS[name]}\n\n{metric_libraries.RECIPES[name]}\n```")


def find_wrong(answers: dict[str, dict[str, Any]]) -> list[str]:
    """What a recipe gives beside leanrec's number where they differ by more than 1e-5."""
    ours = score_sample(make_sample())
    return [
        f"{name}: {metric} is {value:.6f}, leanrec's is {ours[metric]:.6f}"
        for name, answer in answers.items()
        for metric, value in answer["recipe"].items()
        if not abs(value - ours[metric]) < 1e-5
    ]


def main() -> int:
    """Run the libraries and print the page's tables. Exit code 1 if a recipe is wrong or a library cannot run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", choices=list(metric_libraries.LIBRARIES), default=list(metric_libraries.LIBRARIES)
    )
    parser.add_argument("--python", nargs="+", default=[], metavar="NAME=PATH")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    pythons = dict(each.split("=", 1) for each in args.python)
    found = {name: run_library(name, pythons.get(name, sys.executable)) for name in args.only}
    answers = {name: answer for name, answer in found.items() if answer is not None}
    wrong = find_wrong(answers)
    if not args.check:
        print_differences(answers)
        for question in QUESTIONS:
            print_question(question, answers)
        print_recipes(list(answers))
    for each in wrong:
        print(each, file=sys.stderr)
    return int(bool(wrong) or len(answers) < len(found))


if __name__ == "__main__":
    sys.exit(main())
