"""Declared hyper-parameters: checks, inheritance, descriptions, and settings from text."""

import dataclasses

import pytest

from leanrec.errors import SettingError
from leanrec.settings import (
    check_settings,
    describe_settings,
    parse_setting,
    parse_settings,
    setting,
    setting_metadata,
    split_list,
)


@dataclasses.dataclass(frozen=True)
class Base:
    l2: float = setting(100.0, above=0, search="1..1e4:log", doc="Ridge strength.")
    n_neighbors: int = setting(20, at_least=1)
    dropout: float = setting(0.1, between=(0, 0.9))
    metric: str = setting("cosine", one_of=("cosine", "dot"))
    hidden: tuple[int, ...] = setting((64, 32), at_least=1)
    seed: int | None = setting(None, at_least=0)
    plain: str = "anything"

    def __post_init__(self) -> None:
        check_settings(self)


@dataclasses.dataclass(frozen=True)
class Derived(Base):
    l2: float = 5.0
    n_neighbors: int = setting(50, search="10,50")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"l2": 0}, "l2 must be a positive number. Got 0."),
        ({"l2": float("nan")}, "l2 must be a positive number. Got nan."),
        ({"l2": "many"}, "l2 must be a positive number. Got 'many'."),
        ({"n_neighbors": 0}, "n_neighbors must be a number of at least 1. Got 0."),
        ({"dropout": 0.95}, "dropout must be a number from 0 to 0.9. Got 0.95."),
        ({"metric": "l1"}, "metric must be one of cosine, dot. Got 'l1'."),
        ({"hidden": (64, 0)}, "hidden must be a number of at least 1. Got 0."),
        ({"seed": -1}, "seed must be a number of at least 0. Got -1."),
        ({"n_neighbors": None}, "n_neighbors must be a number of at least 1. Got None."),
    ],
)
def test_a_value_outside_its_limits_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        Base(**given)
    assert str(caught.value) == message


def test_values_inside_their_limits_pass() -> None:
    assert Base(l2=1e-9, n_neighbors=1, dropout=0.9, metric="dot", hidden=(1,), seed=0).seed == 0
    assert Base().seed is None


def test_a_subclass_inherits_what_it_does_not_declare_again() -> None:
    metadata = setting_metadata(Derived)
    assert Derived().l2 == 5.0
    assert (metadata["l2"].doc, metadata["l2"].search) == ("Ridge strength.", "1..1e4:log")
    assert (metadata["n_neighbors"].at_least, metadata["n_neighbors"].search) == (1, "10,50")
    assert setting_metadata(Base)["n_neighbors"].search == ""
    with pytest.raises(SettingError, match="l2 must be a positive number"):
        Derived(l2=-1)


def test_descriptions_hold_what_documentation_shows() -> None:
    l2, _, dropout, metric, hidden, seed, plain = describe_settings(Derived)
    assert (l2.name, l2.type, l2.default, l2.allowed, l2.doc) == ("l2", "float", 5.0, "> 0", "Ridge strength.")
    assert (dropout.allowed, metric.allowed, plain.allowed) == ("0 to 0.9", "cosine, dot", "")
    assert (hidden.type, seed.type, seed.default) == ("tuple[int, ...]", "int | None", None)


def test_settings_are_read_from_text() -> None:
    texts = {"l2": "3", "hidden": "[8,4]", "metric": "dot", "seed": "null"}
    assert parse_settings(Base, texts) == Base(l2=3, hidden=(8, 4), metric="dot")
    assert parse_setting(Base, "l2", "1e3") == 1000.0
    with pytest.raises(SettingError, match="Did you mean 'dropout'"):
        parse_settings(Base, {"dropuot": "0.5"})
    with pytest.raises(SettingError, match="n_neighbors must be int. Got 'few'"):
        parse_settings(Base, {"n_neighbors": "few"})


def test_a_list_is_split_outside_brackets() -> None:
    assert split_list("a, b(x=1, y=[2, 3]),,c") == ("a", "b(x=1, y=[2, 3])", "c")


@dataclasses.dataclass(frozen=True)
class Listed:
    """Settings with tuples."""

    columns: tuple[str, ...] = ()
    hidden: tuple[int, ...] = (64,)


@pytest.mark.parametrize(
    ("text", "columns"), [("description", ("description",)), ("[a,b]", ("a", "b")), ("300", ("300",)), ("[]", ())]
)
def test_a_single_value_stands_for_a_tuple_of_one(text: str, columns: tuple[str, ...]) -> None:
    assert parse_settings(Listed, {"columns": text}).columns == columns
    assert parse_settings(Listed, {"hidden": "32"}).hidden == (32,)
