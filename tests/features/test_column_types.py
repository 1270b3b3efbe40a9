"""What a column is taken for, and the reason that is given."""

import numpy as np
import pytest

from contracts.feature import texts
from leanrec.data.table import Table
from leanrec.features.column_types import COLUMN_TYPES, infer_column, infer_column_types

N = 60
RNG = np.random.default_rng(0)
TITLES = texts(*(f"{['red', 'blue'][i % 2]} story of {i}" for i in range(N)))


@pytest.mark.parametrize(
    ("name", "column", "kind", "reason"),
    [
        ("title", TITLES, "text", "texts of 4.0 words"),
        ("content", texts(*(f"机器学习{i}" for i in range(N))), "text", "texts of"),
        ("name", texts("Up", "Her", "Alien", "Heat", "Ran"), "text", "5 texts"),
        ("plot", texts(*(f"One{i}, two{i}, and {i} more, {i} again" for i in range(N))), "text", "texts of"),
        ("genres", texts(*["Comedy|Drama", "Drama", "Crime|Drama"] * 20), "labels", "separated by '|'"),
        ("tags", texts(*["a, b", "b, c", ""] * 20), "labels", "separated by ','"),
        ("color", texts(*["red", "green", ""] * 20), "category", "2 values, 20 cells each on average"),
        ("year", 1980.0 + np.arange(N) % 30, "number", "30 distinct numbers"),
        ("price", texts(*(f"{i}.50" for i in range(N))), "number", "60 distinct numbers"),
        ("weight", RNG.normal(size=N), "number", "60 distinct numbers"),
        ("adult", np.arange(N) % 2 == 0, "number", "2 distinct numbers"),
        ("released", texts(*(f"2020-01-{i % 28 + 1:02}" for i in range(N))), "time", "it holds dates"),
        ("timestamp", 1.5e9 + 86_400.0 * np.arange(N), "time", "seconds since 1970"),
        ("created", 1.5e12 + 8.64e7 * np.arange(N), "time", "seconds since 1970"),
        ("when", np.array(["2020-01-01", "NaT"], "datetime64[s]"), "time", "it holds dates"),
        ("never", np.array(["NaT", "NaT"], "datetime64[s]"), "dropped", "every cell is missing"),
        ("movieId", np.arange(N) * 3.0, "dropped", "an id"),
        ("user_id", np.arange(N) * 3.0, "dropped", "an id"),
        ("number", 1.0 + np.arange(N), "dropped", "it counts the rows"),
        ("imdb", texts(*(f"tt{114709 + 7 * i}" for i in range(N))), "dropped", "looks like an id: 60 of 60"),
        ("asin", texts("B001", "B002", "B003"), "dropped", "looks like an id"),
        ("pictureURL", texts("http://a/b.jpg", "http://a/c.jpg"), "dropped", "it holds links"),
        ("cover", texts("https://a/b", "//a/c", "d.png"), "dropped", "it holds links"),
        ("empty", texts("", " "), "dropped", "every cell is missing"),
        ("nothing", np.array([np.nan, np.nan]), "dropped", "every cell is missing"),
        ("same", texts("x", "x", ""), "dropped", "every filled cell is the same"),
        ("one", np.array([1.0, 1.0]), "dropped", "every filled cell is the same"),
        ("none", texts(), "dropped", "every cell is missing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_kind_of_a_column(name: str, column: np.ndarray, kind: str, reason: str) -> None:
    found = infer_column(name, column)
    assert found.column == name
    assert found.kind == kind
    assert kind in COLUMN_TYPES
    assert reason in found.reason


def test_columns_keep_their_order() -> None:
    table = Table({"title": TITLES, "id": np.arange(N), "year": np.arange(N) % 7})
    assert [(kind.column, kind.kind) for kind in infer_column_types(table)] == [
        ("title", "text"),
        ("id", "dropped"),
        ("year", "number"),
    ]
