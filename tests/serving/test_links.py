"""Links between items and between users, from files to the reasons of a recommendation."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from leanrec.cli.app import app
from leanrec.data.dataset import Dataset
from leanrec.data.ingest.ingest import ingest
from leanrec.models.deep.diffnet import DiffNet
from leanrec.models.deep.kgin import KGIN
from leanrec.pipeline.pipeline import Pipeline
from leanrec.run import Run

ACTORS = ("Ann", "Bob", "Cid", "Dee")
ONE = Run(seed=3, threads=1)


@pytest.fixture(scope="module")
def files(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("links")
    events = dataset.events
    log = [
        f"{dataset.users.ids[u]},{dataset.items.ids[i]},{t}"
        for u, i, t in zip(events.user, events.item, events.time, strict=True)
    ]
    (folder / "log.csv").write_text("\n".join(["user,item,time", *log]) + "\n")
    assert dataset.item_table is not None
    titles = [f"{own},film {row}" for row, own in enumerate(dataset.items.ids.tolist())]
    (folder / "items.csv").write_text("\n".join(["item,title", *titles]) + "\n")
    triples = [f"{own}\tfilm.actor\t{ACTORS[row % 4]}" for row, own in enumerate(dataset.items.ids.tolist())]
    (folder / "kg.tsv").write_text("\n".join(triples) + "\n")
    trust = [f"user-{u},user-{(u + 4) % 60}" for u in range(60)] + [f"newcomer,user-{u}" for u in (1, 5, 9)]
    (folder / "trust.csv").write_text("\n".join(["user,friend", *trust]) + "\n")
    return folder


@pytest.fixture(scope="module")
def data(files: Path) -> Dataset:
    return ingest(
        files / "log.csv", items=files / "items.csv", item_links=files / "kg.tsv", user_links=files / "trust.csv"
    ).data


def test_reasons_name_the_links_to_the_history(data: Dataset, tmp_path: Path) -> None:
    fitted = Pipeline.fit(KGIN(embedding_dim=16, epochs=15, batch_size=128, learning_rate=0.01), data, ONE)
    pipeline = Pipeline.load(fitted.save(tmp_path / "model"))
    best = pipeline.recommend(history=["100", "104"], n=1).items[0]
    assert any(reason.startswith("actor: Ann, as in film ") for reason in best.reasons)
    why = pipeline.explain(None, best.id, history=["100", "104"])
    assert why.paths[0] in {f"film {row} → actor: Ann → {best.title}" for row in (0, 4)}
    shown = CliRunner().invoke(
        app, ["explain", str(tmp_path / "model"), "--history", "100,104", "--item", str(best.id)]
    )
    assert shown.exit_code == 0
    assert f"→ actor: Ann → {best.title}" in shown.output
    # What is merged later keeps the links.
    assert pipeline.to_dataset().item_links is not None


def test_a_user_with_only_friends_gets_their_taste(data: Dataset) -> None:
    pipeline = Pipeline.fit(DiffNet(embedding_dim=16, epochs=15, batch_size=128, learning_rate=0.01), data, ONE)
    served = pipeline.recommend("newcomer", n=10)
    assert served.fallback is None
    assert served.items[0].reasons == ("similar to what people you trust chose",)
    # The friends like films 1, 5, 9, …
    assert np.mean([(int(item.id) - 100) % 4 == 1 for item in served.items]) > 0.5
    why = pipeline.explain("newcomer", served.items[0].id)
    assert why.fallback is None
    assert why.reasons == ("similar to what people you trust chose",)
    assert pipeline.recommend(history=[], n=3).fallback == "popularity"
    assert pipeline.explain(None, 100, history=[]).fallback == "popularity"


def test_the_command_line_reads_links(files: Path, tmp_path: Path) -> None:
    flags = ["--item-links", str(files / "kg.tsv"), "--user-links", str(files / "trust.csv")]
    done = CliRunner().invoke(app, ["ingest", str(files / "log.csv"), *flags, "--out", str(tmp_path / "data")])
    assert done.exit_code == 0
    text = " ".join(done.output.split())
    assert "Item links: 40 triples of 1 relations about 40 of 40 items." in text
    assert "User links: 63 among 60 of 60 users; people without events: 1." in text
