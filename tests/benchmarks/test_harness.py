"""The harness of benchmarks: contestants in processes, ratios and goals, rooflines, and the results page."""

import argparse
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import harness
import numpy as np
import pytest
import results_page
from harness import Comparison, Roofline
from probe import Probe

pytestmark = pytest.mark.system

BENCHMARKS = Path(harness.__file__).parent

SCRIPT = """
    import time, os
    from harness import Claim, Comparison, Contestant, Roofline, main

    def quick_one(probe):
        with probe.warmup():
            time.sleep(0.02)
        for _ in range(2):
            with probe.timed():
                time.sleep(0.02)
        probe.measure_latency(lambda x: x + 1, range(50))
        probe.record_quality(recall_20=0.5)
        probe.add_note(f"threads {os.environ['OMP_NUM_THREADS']} cores {len(os.sched_getaffinity(0))}")

    def slow_one(probe):
        with probe.timed():
            block = bytearray(60_000_000)
            time.sleep(1)
        probe.record_quality(recall_20=0.6)

    def absent(probe):
        import no_such_package

    def broken(probe):
        raise ValueError("it broke")

    def endless(probe):
        time.sleep(60)

    def killed(probe):
        os._exit(9)

    CLAIM = Claim(
        name="example", title="An example.", data="none",
        contestants={
            "ours": Contestant(quick_one, threads=1), "peer": Contestant(slow_one, repeats=1),
            "absent": Contestant(absent), "broken": Contestant(broken), "endless": Contestant(endless, seconds=1.5),
            "killed": Contestant(killed),
        },
        comparisons=[
            Comparison(what="sleeping", ours="ours", peer="peer", at_most=0.9, roofline=Roofline(1e6, 1e3)),
            Comparison(what="as good", ours="ours", peer="peer", at_most=0.9, quality="recall@20", cause="it sleeps"),
            Comparison(what="memory", ours="ours", peer="peer", measure="added", at_most=0.5),
            *(Comparison(what=it, ours="ours", peer=it, at_most=1) for it in ("absent", "broken", "endless", "killed")),
        ],
    )
    if __name__ == "__main__":
        main(CLAIM)
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, str]:
    """The results and the page of the example, run as ``make bench`` runs a script."""
    folder = tmp_path_factory.mktemp("claim")
    script = folder / "example.py"
    script.write_text(textwrap.dedent(SCRIPT), encoding="utf-8")
    command = [sys.executable, script, "--quick", "--threads", "2", "--results", folder / "results"]
    environment = os.environ | {"PYTHONPATH": str(BENCHMARKS)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads((folder / "results" / "example.json").read_text())
    return results, (folder / "results" / "README.md").read_text()


def row(results: dict, what: str) -> dict:
    return next(each for each in results["rows"] if each["what"] == what)


def test_warm_up_is_not_part_of_the_time(measured: tuple) -> None:
    ours = measured[0]["contestants"]["ours"]
    assert ours["warmups"]["value"] >= 0.02
    assert ours["wall"]["low"] >= 0.02
    assert measured[0]["contestants"]["peer"]["wall"]["value"] >= 1
    assert ours["p50"]["value"] <= ours["p99"]["value"]


def test_a_contestant_has_its_own_number_of_threads_and_cores(measured: tuple) -> None:
    assert measured[0]["contestants"]["ours"]["notes"] == ["threads 1 cores 1"]


def test_added_memory_is_that_of_the_timed_block(measured: tuple) -> None:
    assert 55e6 < measured[0]["contestants"]["peer"]["added"]["value"] < 90e6
    assert row(measured[0], "memory")["met"] is True


def test_ratio_and_goal_are_reported(measured: tuple) -> None:
    found = row(measured[0], "sleeping")
    assert found["ratio"] == pytest.approx(found["ours"]["value"] / found["peer"]["value"])
    assert found["met"] is True
    assert found["quality"] == {"recall@20": [0.5, 0.6]}


def test_a_faster_contestant_of_lower_quality_misses_the_goal_with_its_cause(measured: tuple) -> None:
    assert row(measured[0], "as good")["met"] is False
    assert row(measured[0], "as good")["cause"] == "it sleeps"
    assert "**Missed**: as good" in measured[1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "no_such_package is not installed"),
        ("broken", "ValueError: it broke"),
        ("endless", "stopped after 1.5 s"),
        ("killed", "ended with 9"),
    ],
)
def test_a_failing_contestant_reports_why_and_stops_no_other(measured: tuple, name: str, message: str) -> None:
    assert measured[0]["contestants"][name]["failed"].startswith(message)
    assert row(measured[0], name)["met"] is None
    assert message in measured[1]


def test_the_command_on_the_page_has_no_paths_of_this_machine(measured: tuple) -> None:
    assert measured[0]["command"] == "python benchmarks/example.py --quick --threads 2"
    assert str(Path.home()) not in measured[1]


def test_the_page_has_a_row_for_each_comparison_with_both_qualities(measured: tuple) -> None:
    line = next(line for line in measured[1].splitlines() if "| as good (time) |" in line)
    assert "peer: " in line
    assert "recall@20 0.5000 / 0.6000" in line
    assert "at most 0.9 × peer, recall@20 no worse | **missed** |" in line
    table = [line for line in measured[1].splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table[: 2 + len(measured[0]["rows"])]}) == 1


def test_peaks_of_the_machine_are_positive() -> None:
    import machine

    found = machine.measure_peaks(n=64, length=10_000, repeats=2)
    assert found["operations"] > 0
    assert found["bytes"] > 0
    assert machine.describe_hardware()["cores"] >= 1
    assert {"python", "leanrec", "numpy"} <= set(machine.package_versions())


def test_the_slower_resource_sets_the_bound() -> None:
    peaks = {"operations": 1e9, "bytes": 1e8}
    found = harness.compare_with_roofline(Roofline(operations=2e9, bytes=1e8), peaks, seconds=4.0)
    assert found is not None
    assert (found["floor_seconds"], found["bound"], found["share"]) == (2.0, "arithmetic", 0.5)
    found = harness.compare_with_roofline(Roofline(operations=2e9, bytes=1e9), peaks, seconds=None)
    assert found is not None
    assert (found["floor_seconds"], found["bound"], found["share"]) == (10.0, "memory", None)
    assert harness.compare_with_roofline(None, peaks, 1.0) is None


@pytest.mark.parametrize(
    ("comparison", "value", "ratio", "met"),
    [
        (Comparison("a", "ours", "peer", at_most=0.5), 1.0, 0.4, True),
        (Comparison("a", "ours", "peer", at_most=0.5), 1.0, 0.6, False),
        (Comparison("a", "ours", "peer", at_most=0.5), 0.1, None, None),
        (Comparison("a", "ours", at_most=0.5), 0.4, None, True),
        (Comparison("a", "ours", measure="recall@20", at_least=0.189), 0.188, None, False),
        (Comparison("a", "ours", "peer"), 1.0, 0.1, None),
    ],
)
def test_goal_is_met(comparison: Comparison, value: float, ratio: float | None, met: bool | None) -> None:
    assert harness.meets_goal(comparison, value, ratio) is met


def test_a_loss_may_decrease_and_a_recall_may_not() -> None:
    high, low = harness.median_and_range([0.5]), harness.median_and_range([0.4])
    recall = Comparison("a", "ours", "peer", quality="recall@20", tolerance=0.05)
    loss = Comparison("a", "ours", "peer", quality="loss", lower_is_better=True, tolerance=0.05)
    assert harness.keeps_quality(recall, high, low) is True
    assert harness.keeps_quality(recall, low, high) is False
    assert harness.keeps_quality(loss, low, high) is True
    assert harness.keeps_quality(loss, high, low) is False
    assert harness.keeps_quality(recall, high, None) is None


def test_the_range_of_one_run_is_over_its_timed_blocks() -> None:
    runs = [{"wall": [1.0, 3.0, 2.0], "cpu": [1.0]}]
    assert harness.aggregate_runs(runs, "wall") == {"value": 2.0, "low": 1.0, "high": 3.0}
    runs = [{"wall": [1.0, 3.0, 2.0]}, {"wall": [5.0]}]
    assert harness.aggregate_runs(runs, "wall") == {"value": 3.5, "low": 2.0, "high": 5.0}


def test_latency_is_measured_over_single_calls() -> None:
    probe = Probe(threads=1)
    seen: list[int] = []
    probe.measure_latency(seen.append, range(100), n_warmup=10)
    assert seen == [*range(10), *range(100)]
    assert probe.times["calls"] == 100
    assert 0 < probe.times["p50"] <= probe.times["p99"]


def test_cpu_time_of_child_processes_is_included(tmp_path: Path) -> None:
    probe = Probe(threads=1)
    ready = tmp_path / "ready"
    code = (
        f"import time, pathlib\nblock = bytearray(40_000_000)\nwhile time.process_time() < .4: pass\n"
        f"pathlib.Path({str(ready)!r}).touch()\ntime.sleep(30)"
    )
    with probe.timed():
        child = subprocess.Popen([sys.executable, "-c", code])
        while not ready.exists() and child.poll() is None:
            pass
    child.kill()
    child.wait()
    assert probe.cpu[0] >= 0.35
    assert probe.added > 40e6


def test_the_page_keeps_results_of_other_scripts(tmp_path: Path, measured: tuple) -> None:
    for name in ("one", "two"):
        harness.write_results(measured[0] | {"claim": name}, tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "## one" in text
    assert "## two" in text


def test_the_page_of_an_empty_folder_states_it(tmp_path: Path) -> None:
    assert "Nothing has been measured yet" in results_page.write_page(tmp_path).read_text()


def test_a_quick_run_saves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["example.py", "--quick"])
    claim = harness.Claim("none", "Nothing.", "none", {}, [])
    assert harness.run_claim(claim, harness.build_parser().parse_args([]))["claim"] == "none"
    assert (tmp_path / "none.json").exists()
    (tmp_path / "none.json").unlink()
    for argument in (["--quick"], ["--only", "x"]):
        harness.run_claim(claim, harness.build_parser().parse_args(argument))
    assert not (tmp_path / "none.json").exists()


def test_topk_tools_of_the_claim_agree() -> None:
    import topk

    rng = np.random.default_rng(0)
    Q, V = (rng.standard_normal((n, 8), dtype=np.float32) for n in (30, 200))
    assert np.array_equal(topk.with_leanrec(Q, V, 5), topk.with_numpy(Q, V, 5))


def test_every_claim_of_the_makefile_is_a_script_with_its_command() -> None:
    makefile = (BENCHMARKS.parent / "Makefile").read_text(encoding="utf-8")
    claims = next(line for line in makefile.splitlines() if line.startswith("CLAIMS ?=")).split()[2:]
    for claim in claims:
        text = (BENCHMARKS / f"{claim}.py").read_text(encoding="utf-8")
        assert f"python benchmarks/{claim}.py" in text, claim


def test_contestants_with_different_facts_are_refused() -> None:
    claim = harness.Claim("none", "Nothing.", "none", {}, [])
    args = harness.build_parser().parse_args([])
    runs = {
        name: [{"wall": [1.0], "quality": {}, "times": {}, "notes": [], "facts": {"rows": n}}]
        for name, n in (("a", 1), ("b", 2))
    }
    with pytest.raises(SystemExit, match="The contestants of none disagree"):
        harness.summarize_results(claim, args, runs)
    assert harness.summarize_results(claim, args, {"a": runs["a"]})["contestants"]["a"]["runs"] == 1


def test_a_failed_measurement_keeps_earlier_results(tmp_path: Path) -> None:
    claim = harness.Claim("none", "Nothing.", "none", {}, [])
    args = harness.build_parser().parse_args(["--results", str(tmp_path)])
    results = harness.summarize_results(claim, args, {"a": [{"failed": "no data"}]})
    with pytest.raises(SystemExit, match="Nothing of none could be measured: no data"):
        harness.save_results(results, args)
    assert not list(tmp_path.iterdir())


def test_the_round_is_the_seed() -> None:
    assert Probe(threads=1, round_number=3).run.seed == 3


def test_a_script_may_add_options() -> None:
    options = harness.build_parser("text")
    options.add_argument("--full", action="store_true")
    args = options.parse_args(["--full", "--repeats", "5"])
    assert isinstance(args, argparse.Namespace)
    assert (args.full, args.repeats) == (True, 5)
