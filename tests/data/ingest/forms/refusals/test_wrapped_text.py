"""Logs inside something else: the command of the message takes out the log that was put in."""

import base64
import gzip
import io
import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from contracts.followed_advice import list_advice, list_pairs, run_command
from leanrec import artifacts
from leanrec.data.dataset import Dataset
from leanrec.data.ingest.ingest import ingest
from leanrec.errors import SourceError

EVENTS = [("u7", "i12", 5), ("u7", "i13", 1), ("u8", "i12", 4), ("u9", "i14", 2)]
RATED = [(user, item, float(rating)) for user, item, rating in EVENTS]
CSV = "user,item,rating\n" + "".join(f"{u},{i},{r}\n" for u, i, r in EVENTS)
RECORDS = [{"user": u, "item": i, "rating": r} for u, i, r in EVENTS]
LINES = "".join(json.dumps(each) + "\n" for each in RECORDS)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            "--- a/log.csv\n+++ b/log.csv\n@@ -0,0 +1,5 @@\n" + "".join(f"+{each}\n" for each in CSV.splitlines()),
            "a patch",
        ),
        (json.dumps(json.dumps(RECORDS)), "a text of JSON"),
        ("".join(json.dumps(each) + "\n" for each in LINES.splitlines()), "a text of JSON"),
        ("// an export\n" + json.dumps(RECORDS, indent=1), "JSON with comments"),
        (LINES.replace("}\n", "},\n"), "a list of JSON objects without its brackets"),
        (LINES.replace("}\n", "}"), "several objects in one line"),
        (CSV.replace(",", "\x1f").replace("\n", "\x1e"), "records end in the mark 0x1e"),
        (CSV.encode() + b"\0" * 300, "zero bytes at its end"),
        (base64.encodebytes(CSV.encode() * 3), "encoded in base64"),
        (gzip.compress(gzip.compress(CSV.encode(), mtime=0), mtime=0), "packed with gzip twice"),
        ("digraph {\n" + "".join(f'  "{u}" -> {i};\n' for u, i, _ in EVENTS) + "}\n", "a graph in DOT"),
    ],
)
def test_the_command_takes_the_log_out(tmp_path: Path, content: str | bytes, says: str) -> None:
    path = tmp_path / "it's a log.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SourceError, match=says) as refusal:
        ingest(path)
    names = dict(list_advice(str(refusal.value))).get("names")
    found = list_pairs(ingest(run_command(str(refusal.value), tmp_path), names=names))
    if names is None and "base64" not in says:
        assert found == RATED
    else:
        assert {each[:2] for each in found} == {each[:2] for each in RATED}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("-----BEGIN PGP MESSAGE-----\n\nhQ\n", "encrypted with PGP.*gpg -d"),
        ('{\n "cells": [],\n "metadata": {},\n "nbformat": 4\n}\n', "a Jupyter notebook"),
        ('{"openapi": "3.1.0", "paths": {"user": 1, "item": 2}}', "OpenAPI"),
        ('{"info": {"title": "x"}, "openapi": "3.0.1", "paths": {"/u": {"user": 1, "item": 2}}}', "OpenAPI"),
        ('{\n  "swagger": "2.0", "user": 1, "item": 2}', "OpenAPI"),
        ('{"$schema": "https://json-schema.org/draft/2020-12/schema", "user": 1, "item": 2}', "a JSON Schema"),
        ('{"title": "x", "$schema": "http://json-schema.org/draft-07/schema#", "user": 1, "item": 2}', "a JSON Schema"),
        ('{"log": {"version": "1.2", "entries": [{"user": 1, "item": 2}]}}', "HAR"),
        ("graph [\n  node [\n    id 1\n  ]\n]\n", "a graph in GML.*read_gml"),
        ('*Vertices 2\n1 "a"\n2 "b"\n*Arcs\n1 2\n', "a graph of Pajek.*read_pajek"),
        ("BEGIN:VCALENDAR\nEND:VCALENDAR\n", "a calendar or an address book"),
        ("\\begin{tabular}{ll}\nuser & item \\\\\n", "is LaTeX"),
        ('{| class="wikitable"\n! user !! item\n|-\n| a || x\n|}\n', "a table of MediaWiki"),
    ],
)
def test_other_documents_are_named(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "log.txt"
    path.write_text(content)
    with pytest.raises(SourceError, match=says):
        ingest(path)


def test_archives_inside_archives_are_named(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("log.csv", CSV)
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.writestr("inner.zip", inner.getvalue())
    with pytest.raises(SourceError, match=r"inner\.zip is an archive inside another one"):
        ingest(tmp_path / "outer.zip")


def test_the_folder_of_a_manifest_can_be_named(tmp_path: Path) -> None:
    saved = artifacts.save(ingest(pd.DataFrame({"user": [1, 2], "item": [2, 3]})).data, tmp_path / "saved")
    (manifest,) = [each for each in saved.glob("*.json") if '"leanrec"' in each.read_text()]
    with pytest.raises(SourceError) as refusal:
        ingest(manifest)
    folder = str(refusal.value).split("Name the folder, ")[1].split(":")[0]
    assert artifacts.load(folder, Dataset).users.ids.tolist() == [1, 2]
