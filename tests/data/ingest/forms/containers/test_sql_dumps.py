"""Dumps of databases are read as the tables that they were made from, or refused."""

import gzip
from pathlib import Path

import pytest

from leanrec.data.ingest.forms.containers.sql_dumps import is_dump
from leanrec.data.ingest.ingest import ingest
from leanrec.errors import SourceError

POSTGRES = r"""--
-- PostgreSQL database dump
--
SET client_encoding = 'UTF8';
CREATE TABLE public.films (
    film_id integer,
    title text
);
CREATE TABLE public.ratings (
    user_id integer NOT NULL,
    film_id integer,
    rating numeric(3,1) DEFAULT 0.0,
    created_at timestamp without time zone
);
COPY public.films (film_id, title) FROM stdin;
7	A\tB (1995)
8	(INSERT INTO the night);
\.

COPY public.ratings (user_id, film_id, rating, created_at) FROM stdin;
1	7	4.5	2024-01-01 10:00:00
1	8	\N	2024-01-02 10:00:00
2	8	3.0	2024-01-03 10:00:00
\.

ALTER TABLE ONLY public.ratings
    ADD CONSTRAINT ratings_pkey PRIMARY KEY (user_id);
"""
MYSQL = r"""-- MySQL dump 10.13
/*!40101 SET NAMES utf8 */;
DROP TABLE IF EXISTS `films`;
CREATE TABLE `films` (
  `film_id` int NOT NULL,
  `title` varchar(80) DEFAULT 'a, b',
  PRIMARY KEY (`film_id`),
  KEY `t` (`title`(10))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
LOCK TABLES `films` WRITE;
INSERT INTO `films` VALUES (7,'A	B (1995)'),(8,'(INSERT INTO the night);');
UNLOCK TABLES;
CREATE TABLE `ratings` (
  `user_id` int NOT NULL,
  `film_id` int, `rating` decimal(3,1),
  `created_at` datetime
);
INSERT INTO `ratings` VALUES (1,7,4.5,'2024-01-01 10:00:00'),(1,8,NULL,'2024-01-02 10:00:00');
INSERT INTO `ratings` VALUES (2,8,3.0,'2024-01-03 10:00:00');
UNLOCK TABLES;
"""
SQLITE = """PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE films (film_id INTEGER PRIMARY KEY, title TEXT);
INSERT INTO films VALUES(7,'A	B (1995)');
INSERT INTO films VALUES(8,'(INSERT INTO the night);');
CREATE TABLE ratings (user_id INT, film_id INT, rating REAL, created_at TEXT, CHECK (rating > 0));
INSERT INTO ratings VALUES(1,7,4.5,'2024-01-01 10:00:00');
INSERT INTO ratings VALUES(1,8,NULL,'2024-01-02 10:00:00');
INSERT INTO ratings VALUES(2,8,3.0,'2024-01-03 10:00:00');
COMMIT;
"""
ADMIN = """-- phpMyAdmin SQL Dump
INSERT INTO `films` (`film_id`, `title`) VALUES
(7, 'A	B (1995)'),
(8, '(INSERT INTO the night);');

INSERT INTO `ratings` (`user_id`, `film_id`, `rating`, `created_at`) VALUES
(1, 7, 4.5, '2024-01-01 10:00:00'),
(1, 8, NULL, '2024-01-02 10:00:00'),
(2, 8, 3.0, '2024-01-03 10:00:00');
"""


@pytest.mark.parametrize("text", [POSTGRES, MYSQL, SQLITE, ADMIN])
def test_the_table_of_ratings_is_the_log_and_a_table_of_items_is_beside_it(text: str, tmp_path: Path) -> None:
    path = tmp_path / "shop.sql.gz"
    path.write_bytes(gzip.compress(text.encode()))
    assert is_dump(text.encode())
    data, report = ingest(path, items=path, allow_rejects=True)
    users, items = data.users.ids[data.events.user].tolist(), data.items.ids[data.events.item].tolist()
    assert (1, 7) in zip(users, items, strict=True)
    assert (2, 8) in zip(users, items, strict=True)
    assert data.events.rating is not None
    assert {4.5, 3.0} <= set(data.events.rating.tolist())
    assert data.events.time[-1] == 1_704_276_000
    assert data.item_table is not None
    assert data.item_table.columns["title"].tolist() == ["A\tB (1995)", "(INSERT INTO the night);"]
    assert "its table ratings were read" in " ".join(report.warnings)
    assert ingest(f"{path}/ratings", allow_rejects=True).data.users.ids.tolist() == [1, 2]
    with pytest.raises(SourceError, match=r"has no table 'plays'. Its tables are: films, ratings"):
        ingest(f"{path}/plays")


def test_escaped_texts_are_plain_texts(tmp_path: Path) -> None:
    path = tmp_path / "log.sql"
    path.write_text(
        r"INSERT INTO `log` (`user`, `item`) VALUES ('it\'s','a\\nb'),('it''s','(a), \"b\"'),(_utf8mb4'x','1.50')"
        ";\n"
    )
    data = ingest(path, layout="long").data
    assert data.users.ids.tolist() == ["it's", "x"]
    assert data.items.ids.tolist() == ['(a), "b"', "1.50", r"a\nb"]
    path.write_text('COPY log ("user", item) FROM stdin;\nC:\\\\x\ty\\\\N\n\\N\tz\n\\.\n')
    data, report = ingest(path)
    assert (data.users.ids.tolist(), data.items.ids.tolist()) == ([r"C:\x"], [r"y\N"])
    assert report.rejected == {"missing user": 1}


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO log (user, item) VALUES (1, 'a\nb');\n",
        "INSERT INTO log (user, item) VALUES (1, 2, 3);\n",
        "INSERT INTO log (user, item) VALUES (1, 2) ON CONFLICT DO NOTHING;\n",
    ],
)
def test_statements_that_are_not_simple_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "log.sql"
    path.write_text(text)
    with pytest.raises(SourceError, match="1 of the 1 rows of its table log cannot be told.*export the table as CSV"):
        ingest(path)


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO log VALUES (1, 2);\n",
        "COPY log FROM stdin;\n1\t2\n\\.\n",
        "INSERT INTO log (user, item) VALUES (1, 2);\nINSERT INTO log (item, user) VALUES (2, 1);\n",
    ],
)
def test_columns_must_be_named_and_the_same(text: str, tmp_path: Path) -> None:
    path = tmp_path / "log.sql"
    path.write_text(text)
    with pytest.raises(SourceError, match="name the columns of the table log differently, or not at all"):
        ingest(path)


def test_rows_belong_to_the_statement_that_they_are_under(tmp_path: Path) -> None:
    path = tmp_path / "log.sql"
    path.write_text("INSERT INTO log (user, item) VALUES (1, 2);\nINSERT INTO other (a,\nb) VALUES\n(8, 9);\n")
    assert ingest(path).data.users.ids.tolist() == [1]


@pytest.mark.parametrize(
    "begin",
    ["INSERT  IGNORE INTO `shop`.`r`", "REPLACE INTO `r`", "INSERT DELAYED INTO `r`", "INSERT OR REPLACE INTO `r`"],
)
def test_other_statements_that_insert(tmp_path: Path, begin: str) -> None:
    path = tmp_path / "dump.sql"
    path.write_text(
        f"USE shop;\nCREATE TABLE `r` (\n  `user` int,\n  `item` int\n);\n{begin} VALUES (7,12),(7,13);\n{begin} VALUES (8,12);\n"
    )
    data = ingest(path).data
    pairs = zip(data.users.ids[data.events.user].tolist(), data.items.ids[data.events.item].tolist(), strict=True)
    assert list(pairs) == [(7, 12), (7, 13), (8, 12)]
