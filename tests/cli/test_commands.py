"""The commands, as somebody types them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from leanrec import artifacts
from leanrec.data.datasets.bundled import sample_path

USER_DATA = """user_id,behavior,content_id,content
1,click,a1,space ships and stars
1,view,a2,romance in paris
2,click,a1,space ships and stars
2,like,a3,stars and wars in space
3,view,a4,cooking pasta
3,like,a2,romance in paris
4,click,a5,pasta recipes from paris
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "user_data.csv"
    file.write_text(USER_DATA)
    return file


@pytest.fixture(scope="module")
def movies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model fitted on the bundled sample by the command itself."""
    folder, out = sample_path("ml-latest-small"), tmp_path_factory.mktemp("models") / "item_knn"
    words = [
        "fit",
        "item_knn",
        folder / "ratings.parquet",
        "--items",
        folder / "movies.parquet",
        "--out",
        out,
    ]
    subprocess.run(
        [sys.executable, "-c", "from leanrec.cli import main; main()", *map(str, words)],
        check=True,
        capture_output=True,
    )
    return out


def test_a_bare_csv_goes_from_log_to_list(run: Any, log: Path, tmp_path: Path) -> None:
    code, _, _ = run("fit", "content", log, "--out", tmp_path / "m")
    assert code == 0
    code, out, _ = run("recommend", tmp_path / "m", "--user", 1, "-n", 5, "--json")
    served = json.loads(out)
    assert code == 0
    assert [item["id"] for item in served["items"]][:1] == ["a3"]
    assert {"a1", "a2"}.isdisjoint(item["id"] for item in served["items"])
    assert served["items"][0]["title"] == "stars and wars in space"


def test_ingest_reports_and_saves(run: Any, log: Path, tmp_path: Path) -> None:
    code, out, _ = run("ingest", log, "--out", tmp_path / "data", "--json")
    report = json.loads(out)
    assert code == 0
    assert (report["events"], report["users"], report["items"]) == (7, 4, 5)
    code, out, _ = run("fit", "popularity", tmp_path / "data", "--out", tmp_path / "m", "--json")
    assert code == 0
    assert json.loads(out)["cost"]["wall"] > 0


@pytest.mark.system
def test_a_fit_with_a_checkpoint_goes_on_where_it_ended(run: Any, log: Path, tmp_path: Path) -> None:
    words = ("fit", "sasrec", log, "--set", "width=8", "--set", "epochs=2", "--checkpoint", tmp_path / "state")
    assert run(*words, "--out", tmp_path / "first")[0] == 0
    assert (tmp_path / "state" / "checkpoint.safetensors").is_file()
    assert run(*words, "--out", tmp_path / "second")[0] == 0
    lists = [run("recommend", tmp_path / name, "--user", 1, "--json")[1] for name in ("first", "second")]
    assert json.loads(lists[0])["items"] == json.loads(lists[1])["items"]
    code, _, err = run(*words, "--set", "epochs=3", "--out", tmp_path / "third")
    assert code == 2
    assert "is the checkpoint of another training: its epochs is 2" in err


def test_a_fit_that_its_time_ends_says_so(run: Any, log: Path, tmp_path: Path) -> None:
    words = ("fit", "sasrec", log, "--set", "width=8", "--time-limit", "1us", "--out", tmp_path / "m")
    code, out, err = run(*words)
    assert code == 0
    assert "The time was up before the fit was done" in err
    code, out, _ = run(*words, "--json")
    assert json.loads(out)["stopped_by_time"] is True


def test_the_report_of_people_names_what_was_understood_and_set_aside(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text(
        "userId,movieId,rating,timestamp\n1,10,4,964982703\n1,11,nan,964982704\n,12,3,964982705\n2,10,5,964982706\n2,10,5,964982706\n"
    )
    quarantine = tmp_path / "aside.csv"
    code, out, _ = run("ingest", file, "--rejected", quarantine)
    assert code == 0
    assert "user=userId" in out
    assert "Set aside" in out
    assert "duplicate" in out
    assert quarantine.read_text().count("\n") >= 3


def test_recommend_shows_titles_scores_and_reasons(run: Any, movies: Path, tmp_path: Path) -> None:
    plot = tmp_path / "top5.png"
    code, out, err = run("recommend", movies, "--user", 1, "-n", 5, "--plot", plot)
    assert code == 0
    assert "because you" in out
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert str(plot) in err.replace("\n", "")


def test_recommend_to_somebody_new_and_to_nobody_known(run: Any, movies: Path) -> None:
    code, out, _ = run("recommend", movies, "--history", "1,260", "-n", 3, "--json")
    assert code == 0
    assert len(json.loads(out)["items"]) == 3
    code, out, _ = run("recommend", movies, "--history", "", "-n", 3, "--json")
    assert code == 0
    assert json.loads(out)["fallback"] == "popularity"


def test_recommend_obeys_filters(run: Any, movies: Path) -> None:
    _, out, _ = run("recommend", movies, "--user", 1, "--where", "genres=Comedy", "--deny", "2918", "-n", 20, "--json")
    ids = [item["id"] for item in json.loads(out)["items"]]
    assert 2918 not in ids
    assert len(ids) == 20


def test_similar_and_explain(run: Any, movies: Path) -> None:
    _, out, _ = run("similar", movies, "--item", 260, "-n", 2, "--json")
    assert {item["id"] for item in json.loads(out)["items"]} == {1196, 1210}
    _, out, _ = run("explain", movies, "--user", 1, "--item", 589, "--json")
    assert json.loads(out)["because"]


def test_evaluate_compares_models_with_intervals(run: Any, log: Path) -> None:
    folder = sample_path("ml-latest-small")
    words = (
        "evaluate",
        folder / "ratings.parquet",
        "-m",
        "popularity",
        "-m",
        "item_knn,n_neighbors=50",
        "--split",
        "leave-one-out",
        "--json",
    )
    code, out, _ = run(*words)
    report = json.loads(out)
    assert code == 0
    assert set(report["models"]) == {"popularity", "item_knn,n_neighbors=50"}
    interval = report["models"]["item_knn,n_neighbors=50"]["metrics"]["ndcg@10"]
    assert interval["low"] < interval["mean"] < interval["high"]
    assert report["comparison"]["metric"] == "ndcg@10"


def test_files_to_hold_out_are_the_split_given(run: Any, log: Path, tmp_path: Path) -> None:
    header, *rows = USER_DATA.splitlines()
    train, valid, test = (tmp_path / f"{name}.csv" for name in ("train", "valid", "test"))
    for file, part in ((train, rows[:5]), (valid, rows[5:6]), (test, rows[6:])):
        file.write_text("\n".join([header, *part]))
    words = ("-m", "popularity", "-m", "item_knn", "--json")
    code, out, _ = run("evaluate", train, "--test", test, *words)
    assert code == 0
    report = json.loads(out)
    assert report["split"] == "given"
    assert report["models"]["popularity"]["n_queries"] == 1
    code, _, error = run("evaluate", train, "--split", "given", *words)
    assert code == 2
    assert "--test FILE" in error
    code, _, error = run("evaluate", train, "--split", "time", "--test", test, *words)
    assert code == 2
    assert "--split given" in error
    code, out, _ = run("frontier", train, "--valid", valid, "--test", test, "--out", tmp_path / "f", *words)
    assert code == 0
    assert "split given" in json.loads(out)["about"]


def test_models_are_chosen_on_the_validation_part(run: Any, log: Path) -> None:
    words = ("evaluate", log, "--split", "random", "-m", "popularity", "-m", "hybrid,parts=[popularity,content]")
    code, out, _ = run(*words, "--part", "valid", "--metric", "recall@10", "--json")
    assert code == 0
    report = json.loads(out)
    assert report["part"] == "valid"
    assert report["comparison"]["metric"] == "recall@10"
    code, out, err = run(*words)
    assert code == 0
    assert "say little" in err
    assert "The test part" in out
    code, _, err = run(*words, "--part", "train")
    assert code == 2
    assert "valid" in err


@pytest.mark.parametrize("command", [("fit", "popularity"), ("frontier", "-m", "popularity", "--split", "random")])
def test_a_place_that_cannot_be_written_is_one_message(run: Any, log: Path, command: tuple[str, ...]) -> None:
    code, _, err = run(*command[:2], *command[2:], log, "--out", "/proc/nowhere")
    assert code == 2
    assert "/proc/nowhere" in err
    assert "Traceback" not in err


def test_frontier_draws_and_chooses(run: Any, tmp_path: Path) -> None:
    folder = sample_path("ml-latest-small")
    words = (
        "frontier",
        folder / "ratings.parquet",
        "-m",
        "popularity",
        "-m",
        "pure_svd,embedding_dim=16",
        "--split",
        "ratio",
    )
    code, out, _ = run(*words, "--max-p99", "1s", "--out", tmp_path, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["best"] == "pure_svd,embedding_dim=16"
    assert (tmp_path / "frontier.html").exists()
    assert (tmp_path / "frontier.png").exists()


def test_models_lists_every_family_and_the_settings_of_one(run: Any) -> None:
    _, out, _ = run("models", "--json")
    assert {"popularity", "content", "ease", "ials", "user_knn"} <= {model["name"] for model in json.loads(out)}
    _, out, _ = run("models", "ease")
    assert "l2" in out


def test_doctor_finds_this_machine_well(run: Any) -> None:
    code, out, _ = run("doctor", "--json")
    findings = {each["name"]: each["state"] for each in json.loads(out)}
    assert code == 0
    assert findings["pipeline"] == findings["torch"] == findings["extra [deep]"] == "ok"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("fit", "eaze", "{log}", "--out", "m"), "Did you mean 'ease'?"),
        (("fit", "ease", "{log}", "--set", "l3=1", "--out", "m"), "has no setting 'l3'"),
        (("fit", "ease", "{log}", "--set", "l2=-1", "--out", "m"), "l2 must be a positive number"),
        (("fit", "ease,l2=-2", "{log}", "--out", "m"), "l2 must be a positive number. Got -2"),
        (("fit", "ease,l2=5", "{log}", "--set", "l2=-3", "--out", "m"), "l2 must be a positive number. Got -3"),
        (("fit", "ease", "{log}", "--set", "l2", "--out", "m"), "--set must have the form NAME=VALUE"),
        (("fit", "ease", "missing.csv", "--out", "m"), "missing.csv"),
        (("fit", "ease", "{log}", "--checkpoint", "c", "--out", "m"), "--checkpoint must be left out"),
        (("fit", "sasrec", "{log}", "--device", "cuda:99", "--out", "m"), "device 'cuda:99' is not there"),
        (("fit", "sasrec", "{log}", "--device", "gpu", "--out", "m"), "device must be cpu, cuda or cuda:N"),
        (("fit", "ease", "{log}", "--memory-limit", "lots", "--out", "m"), "A size must be a number and a unit"),
        (("ingest", "{log}", "--column", "user=nobody"), "nobody"),
        (("recommend", "{log}", "--user", "1"), "is not a leanrec artifact"),
        (
            ("recommend", "nowhere", "--user", "1"),
            "nowhere does not exist, so it is not a leanrec artifact. Check the path.",
        ),
        (("ingest", "{log}", "--time-format", "%Y"), "time_format goes with a time column of text or numbers."),
        (("frontier", "{log}", "--max-p99", "fast"), "max_p99"),
        (("ingest", "view={log}", "{log}"), "TYPE=PATH"),
    ],
)
def test_wrong_input_gets_one_clear_message(
    run: Any, log: Path, tmp_path: Path, monkeypatch: Any, words: Any, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*(word.format(log=log) for word in words))
    assert code == 2
    assert out == ""
    assert err.startswith("error:")
    assert message in " ".join(err.split())
    assert "Traceback" not in err


def test_a_data_set_is_no_model_and_no_part_of_a_log(run: Any, log: Path, tmp_path: Path) -> None:
    data, model = tmp_path / "data", tmp_path / "m"
    run("ingest", log, "--out", data)
    run("fit", "popularity", data, "--out", model)
    code, _, err = run("recommend", data, "--user", "1")
    assert code == 2
    assert f"is a data set, not a fitted model. Fit a model on it first: leanrec fit MODEL {data}" in " ".join(
        err.split()
    )
    code, _, err = run("evaluate", model)
    assert code == 2
    assert "is a fitted model, not a data set. Name a data set" in " ".join(err.split())
    code, _, err = run("evaluate", data, log)
    assert code == 2
    assert "is a folder that leanrec wrote, not a log" in " ".join(err.split())


def test_the_form_of_times_is_a_flag(run: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("user,item,date\na,x,05/03/2024\nb,y,01/02/2024\n")
    code, _, err = run("ingest", log)
    assert code == 2
    assert '--time-format "%d/%m/%Y" or --time-format "%m/%d/%Y"' in " ".join(err.split())
    code, out, _ = run("ingest", log, "--time-format", "%d/%m/%Y", "--json")
    assert code == 0
    assert json.loads(out)["start"] == "2024-02-01T00:00:00Z"


@pytest.mark.parametrize("damage", ["truncate", "swap", "delete", "not json"])
def test_a_damaged_model_does_not_load(run: Any, log: Path, tmp_path: Path, damage: str) -> None:
    model = tmp_path / "m"
    run("fit", "ease", log, "--out", model)
    array = model / "value.model.weights.npy"
    data = array.read_bytes()
    if damage == "truncate":
        array.write_bytes(data[:-4])
    elif damage == "swap":
        array.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "delete":
        array.unlink()
    else:
        (model / "manifest.json").write_text("{")
    code, _, err = run("recommend", model, "--user", 1)
    assert code == 2
    assert "damaged" in " ".join(err.split())


def test_a_model_that_names_a_foreign_class_is_not_loaded(run: Any, log: Path, tmp_path: Path) -> None:
    model = tmp_path / "m"
    run("fit", "popularity", log, "--out", model)
    manifest = json.loads((model / "manifest.json").read_text())
    manifest.pop("sha256")
    manifest["value"]["$class"] = "subprocess:Popen"
    # Whoever forges a manifest can seal it too: what a class may be is checked by itself.
    (model / "manifest.json").write_text(json.dumps(manifest | {"sha256": artifacts._seal(manifest)}))
    code, _, err = run("recommend", model, "--user", 1)
    assert code == 2
    assert "It was not loaded" in " ".join(err.split())


@pytest.mark.system
def test_interrupting_a_fit_leaves_nothing(tmp_path: Path) -> None:
    folder = sample_path("ml-latest-small")
    words = ["fit", "bpr", folder / "ratings.parquet", "--set", "epochs=100000", "--out", tmp_path / "m"]
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from leanrec.cli import main; print('started', flush=True); main()",
            *map(str, words),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"NUMBA_NUM_THREADS": "1"},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "started\n"
    _wait_until_busy(child.pid)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "Interrupted" in err
    assert list(tmp_path.iterdir()) == []


def _wait_until_busy(pid: int) -> None:
    """Until the process has used four seconds of CPU: imports are over and the fit goes on."""
    ticks = os.sysconf("SC_CLK_TCK")
    for _ in range(600):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if (int(fields[11]) + int(fields[12])) / ticks > 4:
            return
        time.sleep(0.1)
    raise AssertionError("the fit never got busy")


def test_brackets_in_titles_and_messages_are_shown_to_the_letter(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text("user,item,title\n1,a,[REC] horror\n1,b,[bold]soap\n2,a,[REC] horror\n2,c,[REC] two horror\n")
    run("fit", "content", file, "--out", tmp_path / "m")
    _, out, _ = run("recommend", tmp_path / "m", "--user", 1)
    assert "[REC] two horror" in out
    assert "[REC] horror" in out
    _, _, err = run("fit", "ease", tmp_path / "[x]", "--out", tmp_path / "n")
    assert "[x]" in err
