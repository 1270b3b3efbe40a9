"""Files about lists: what is read, and what is refused with advice."""

from pathlib import Path

import pytest

from leanrec.cli.serving.list_files import read_rules, read_sources
from leanrec.errors import SettingError
from leanrec.models.baselines.popularity import Popularity
from leanrec.pipeline.lists.new_items import NewItems
from leanrec.pipeline.lists.rules import ColumnLimit, ListRules, PinnedItem
from leanrec.pipeline.lists.sources import CandidateSource


def write(folder: Path, text: str) -> Path:
    path = folder / "sources.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_sources_are_read(tmp_path: Path) -> None:
    text = """
    [[source]]
    model = "new_items,column=released"
    positions = [3]

    [[source]]
    model = "popularity,half_life=7"
    quota = 2
    where = {genres = ["Comedy", "Drama"]}
    name = "trends"
    """
    assert read_sources(write(tmp_path, text)) == (
        CandidateSource(NewItems("released"), positions=(3,)),
        CandidateSource(Popularity(half_life=7), 2, (), {"genres": ["Comedy", "Drama"]}, "trends"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source = ", "must be TOML"),
        ("", r"must have tables \[\[source\]\].*Got nothing"),
        ('model = "ease"', "and nothing else. Got model"),
        ("source = 3", "must have tables"),
        ("[[source]]\nquota = 1", "source 1: model must be given"),
        ("[[source]]\nmodel = 1", "source 1: model must be a text. Got 1"),
        ('[[source]]\nmodel = "ease"\nqouta = 1', "Got qouta. Did you mean quota"),
        ('[[source]]\nmodel = "ease"\nquota = true', "quota must be a whole number. Got True"),
        ('[[source]]\nmodel = "ease"\npositions = 3', "positions must be an array"),
        ('[[source]]\nmodel = "ease"\nwhere = "x"', "where must be a table"),
        ('[[source]]\nmodel = "ease"\nname = 1', "name must be a text"),
        ('[[source]]\nmodel = "ease"\nquota = 0', "source 1: quota must be a number of at least 1"),
        ('[[source]]\nmodel = "eaze"', "source 1: .*ease"),
        ('[[source]]\nmodel = "new_items,colunm=a"', "no setting but column=NAME"),
        ('[[source]]\nmodel = "ease"\n[[source]]\nmodel = "ease"', "Two are 'ease'"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        read_sources(write(tmp_path, text))


def test_rules_are_read(tmp_path: Path) -> None:
    text = """
    [[pin]]
    item = 17
    position = 1
    users = {country = "DE"}
    until = 2026-12-24T18:00:00Z

    [[pin]]
    item = "b"
    position = 2
    until = 2026-12-24

    [[limit]]
    column = "brand"
    n = 2
    """
    midnight = 1_798_070_400.0  # at the begin of 2026-12-24
    assert read_rules(write(tmp_path, text)) == ListRules(
        (PinnedItem(17, 1, {"country": "DE"}, midnight + 18 * 3600), PinnedItem("b", 2, None, midnight)),
        (ColumnLimit("brand", 2),),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"must have tables \[\[pin\]\] and \[\[limit\]\].*Got nothing"),
        ("[[source]]", "and nothing else. Got source"),
        ("[[pin]]\nitem = 1", "pin 1: position must be given"),
        ("[[pin]]\nitem = 1\nposition = 0", "pin 1: position must be a rank from 1"),
        (
            '[[pin]]\nitem = 1\nposition = 1\nuntil = "2026-12-24"',
            "until must be a date or time without quotation marks",
        ),
        ("[[pin]]\nitem = true\nposition = 1", "item must be an id. Got True"),
        ('[[limit]]\ncolumn = "a"\nm = 1', "limit 1: a key must be one of column, n. Got m"),
        ('[[limit]]\ncolumn = "a"\nn = 0', "limit 1: n must be a number of at least 1"),
    ],
)
def test_rules_that_cannot_be_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        read_rules(write(tmp_path, text))


def test_the_file_is_named_where_its_tables_do_not_fit_together(tmp_path: Path) -> None:
    sources = write(tmp_path, '[[source]]\nmodel = "ease"\n' * 2)
    with pytest.raises(SettingError, match=r"sources.toml: .*Two are 'ease'"):
        read_sources(sources)
    rules = write(tmp_path, "[[pin]]\nitem = 1\nposition = 1\n" * 201)
    with pytest.raises(SettingError, match=r"sources.toml: pins must be at most 200. Got 201"):
        read_rules(rules)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="must be a text file that can be read"):
        read_sources(tmp_path / "none.toml")
