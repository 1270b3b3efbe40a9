"""Compare contestants in processes of their own and write the results page; one script for each claim.

    python benchmarks/<claim>.py [--repeats 3] [--threads 2] [--quick] [--only NAME] [--results FOLDER]

Each contestant runs in a process of its own, with the same number of threads, pinned to as many cores, in rounds of
alternating order. A script states a Claim (contestants and comparisons) and calls ``main``.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import machine
from probe import Probe, pin_to_cores

__all__ = [
    "Claim",
    "Comparison",
    "Contestant",
    "Probe",
    "Roofline",
    "build_parser",
    "main",
    "measure_in_subprocess",
    "run_claim",
    "run_rounds",
    "save_results",
    "summarize_results",
]

RESULTS = Path(__file__).parent / "results"
THREADS = ("OMP", "OPENBLAS", "MKL", "NUMBA", "BLIS", "VECLIB_MAXIMUM", "RAYON")
Measured = dict[str, Any]
Draw = Callable[[dict[str, Any], Path], list[str]]


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One implementation of the work.

    Attributes:
        work: function that runs in a process of its own and reports to the probe.
        threads: 0 = the threads of the run.
        repeats: 0 = the repeats of the run; fewer where one run takes minutes.
        seconds: limit after which the process is stopped.
        environment: variables that a library needs for its best performance.
    """

    work: Callable[[Probe], None]
    threads: int = 0
    repeats: int = 0
    seconds: float = 1800
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Roofline:
    """The operations and bytes that the work needs at least; with the peaks of the machine they give a lower bound on its time.

    Attributes:
        operations: single-precision additions and multiplications.
        bytes: read from and written to memory.
        why: how both were counted.
    """

    operations: float
    bytes: float
    why: str = ""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One row of the results page.

    Attributes:
        what: the work, with its size.
        ours: name of the contestant of leanrec.
        peer: name of the contestant to compare with; None where the goal is an absolute value.
        measure: "wall", "cpu", "warmups", "peak", "added" (bytes), "p50", "p99", or the name of a quality.
        at_most: goal for ours ÷ peer, or for ours alone (seconds, bytes) without a peer.
        at_least: goal for ours (a quality), or for ours ÷ peer.
        quality: the quality on which ours must not be worse than the peer's by more than ``tolerance``.
        tolerance: see ``quality``.
        lower_is_better: the quality is a loss.
        roofline: the floor of our work.
        notes: remarks for the reader.
        cause: why the goal is missed, from a profile, and the next step; shown only where it is missed.
    """

    what: str
    ours: str
    peer: str | None = None
    measure: str = "wall"
    at_most: float | None = None
    at_least: float | None = None
    quality: str = ""
    tolerance: float = 0.0
    lower_is_better: bool = False
    roofline: Roofline | None = None
    notes: str = ""
    cause: str = ""


@dataclasses.dataclass(frozen=True)
class Claim:
    """What one script measures.

    Attributes:
        name: of the script and its results.
        title: for the page.
        data: what it is measured on.
        contestants: name → contestant.
        comparisons: the rows.
    """

    name: str
    title: str
    data: str
    contestants: Mapping[str, Contestant]
    comparisons: Sequence[Comparison]


def build_parser(
    description: str | None = None, *, models: bool = False, device: bool = False
) -> argparse.ArgumentParser:
    """The options of every claim; a script may add its own, which are passed to the contestants' processes too.

    ``models`` adds an option for the models to measure; such results are saved only under a name of their own.
    ``device`` adds an option for the device of leanrec.
    """
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--repeats", type=int, default=3, help="rounds (default 3)")
    options.add_argument(
        "--threads", type=int, default=machine.count_cores(), help="for every library (default: all cores)"
    )
    options.add_argument(
        "--quick", action="store_true", help="small sizes, to check that the script works; nothing is saved"
    )
    options.add_argument("--only", action="append", help="measure only these contestants; nothing is saved")
    options.add_argument("--results", type=Path, help="folder for the results (default benchmarks/results)")
    options.set_defaults(model=None, name="", device="cpu")
    if models:
        options.add_argument("--model", action="append", help="a model, with settings after commas; repeatable")
        options.add_argument("--name", default="", help="save the results of the chosen models under this name")
    if device:
        options.add_argument("--device", default="cpu", help="device of the training: cpu, cuda or cuda:N")
    options.add_argument("--contestant", help=argparse.SUPPRESS)
    options.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--round-number", type=int, default=0, help=argparse.SUPPRESS)
    return options


def main(claim: Claim, description: str | None = None) -> None:
    """Entry point of a script without options of its own."""
    run_claim(claim, build_parser(description).parse_args())


def run_claim(claim: Claim, args: argparse.Namespace, draw: Draw | None = None) -> dict[str, Any]:
    """Measure all contestants, print the rows, and write the results and the page. In a contestant's process: run it.

    ``draw`` plots the results in their folder and returns the names of the files.
    """
    if args.contestant:
        _measure_contestant(claim.contestants[args.contestant], args)
        return {}
    start = time.perf_counter()
    results = summarize_results(claim, args, run_rounds(claim, args))
    results["seconds"] = round(time.perf_counter() - start, 1)
    save_results(results, args, draw)
    return results


def save_results(results: dict[str, Any], args: argparse.Namespace, draw: Draw | None = None) -> Path | None:
    """Print the rows, and write results and page unless the run was a trial. Returns their folder.

    Where no contestant could be measured, earlier results are kept and the script fails.
    """
    _print_rows(results)
    stages = results["contestants"].values()
    if stages and all("failed" in stage for stage in stages):
        raise SystemExit(f"Nothing of {results['claim']} could be measured: {next(iter(stages))['failed']}")
    is_trial = args.quick or args.only or (args.model and not args.name)
    folder: Path | None = args.results or (None if is_trial else RESULTS)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if draw is not None and can_draw():
            results["plots"] = draw(results, folder)
        write_results(results, folder)
    return folder


def can_draw() -> bool:
    """Whether matplotlib is installed; sets it to draw into files."""
    try:
        import matplotlib as mpl
    except ModuleNotFoundError:
        print("No plots: matplotlib is not installed (it is in the extra plots).")
        return False
    mpl.use("agg")
    return True


def write_results(results: dict[str, Any], folder: Path) -> Path:
    """Write the results as JSON into the folder and render its page again."""
    import results_page

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{results['claim']}.json"
    path.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    results_page.write_page(folder)
    return path


def measure_in_subprocess(
    script: Path, name: str, contestant: Contestant, args: argparse.Namespace, round_number: int = 0
) -> Measured:
    """Run a contestant once in a process of its own. Returns the fields of its probe, or the reason under "failed"."""
    threads = contestant.threads or args.threads
    environment = os.environ | {f"{each}_NUM_THREADS": str(threads) for each in THREADS} | dict(contestant.environment)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "measured.json")
        own = [
            "--contestant",
            name,
            "--output",
            str(output),
            "--threads",
            str(threads),
            "--round-number",
            str(round_number),
        ]
        command = [sys.executable, str(script), *sys.argv[1:], *own]
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=contestant.seconds, check=False
            )
        except subprocess.TimeoutExpired:
            return {"failed": f"stopped after {contestant.seconds:g} s"}
        if done.returncode or "Traceback" in done.stderr:
            print(done.stderr[-3000:], file=sys.stderr)
        if output.exists():
            return dict(json.loads(output.read_text(encoding="utf-8")))
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        return {"failed": f"ended with {done.returncode}: {last[0][:300]}"}


def _measure_contestant(contestant: Contestant, args: argparse.Namespace) -> None:
    pin_to_cores(args.threads)
    probe = Probe(threads=args.threads, quick=args.quick, round_number=args.round_number, device=args.device)
    try:
        contestant.work(probe)
        measured = dataclasses.asdict(probe)
    except ModuleNotFoundError as error:
        measured = {"failed": f"{error.name} is not installed"}
    except Exception as error:  # noqa: BLE001 - one contestant's failure is a result, the others go on
        traceback.print_exc()
        message = str(error).strip().splitlines() or [""]
        measured = {"failed": f"{type(error).__name__}: {message[0]}"[:300]}
    args.output.write_text(json.dumps(measured), encoding="utf-8")


def run_rounds(claim: Claim, args: argparse.Namespace) -> dict[str, list[Measured]]:
    """All runs of all contestants, in alternating order; a contestant that failed is not run again."""
    contestants = {n: each for n, each in claim.contestants.items() if not args.only or n in args.only}
    runs: dict[str, list[Measured]] = {name: [] for name in contestants}
    for round_number in range(1 if args.quick else args.repeats):
        for name in list(contestants)[:: -1 if round_number % 2 else 1]:
            most = contestants[name].repeats or args.repeats
            if round_number < most and not any("failed" in each for each in runs[name]):
                runs[name].append(
                    measure_in_subprocess(Path(sys.argv[0]).resolve(), name, contestants[name], args, round_number)
                )
                print(f"  {name}: {_summary_line(runs[name][-1])}", file=sys.stderr, flush=True)
    return runs


def _summary_line(measured: Measured) -> str:
    if "failed" in measured:
        return str(measured["failed"])
    numbers = measured["quality"] | measured["times"]
    parts = [f"{statistics.median(measured['wall']):.4g} s"] if measured["wall"] else []
    return ", ".join([*parts, *(f"{name} {value:.4g}" for name, value in numbers.items())])


def summarize_results(claim: Claim, args: argparse.Namespace, runs: dict[str, list[Measured]]) -> dict[str, Any]:
    """The results of a claim's runs. Exits where contestants recorded different facts."""
    facts = {
        json.dumps(each["facts"], sort_keys=True) for these in runs.values() for each in these if each.get("facts")
    }
    if len(facts) > 1:
        raise SystemExit(f"The contestants of {claim.name} disagree: {' against '.join(sorted(facts))}")
    peaks = _measure_peaks(claim, args)
    stages = {name: summarize_runs(these) for name, these in runs.items()}
    script = f"benchmarks/{Path(sys.argv[0]).name}"
    return {
        "claim": "_".join(each for each in (claim.name, args.name) if each),
        "title": claim.title,
        "data": claim.data,
        "command": " ".join(["python", script, *_public_arguments()]),
        "date": time.strftime("%Y-%m-%d"),
        "hardware": machine.describe_hardware(),
        "threads": args.threads,
        "repeats": args.repeats,
        "seconds": 0.0,
        "versions": machine.package_versions(),
        "peaks": peaks,
        "rows": [build_row(each, claim, stages, runs, peaks, args.threads) for each in claim.comparisons],
        "contestants": stages,
        "plots": [],
    }


def _public_arguments() -> list[str]:
    """The arguments as given, without the folders of results and fitted models, which do not belong on the page."""
    given, kept, folders = iter(sys.argv[1:]), [], ("--results", "--keep")
    for each in given:
        if each in folders:
            next(given, None)
        elif each.partition("=")[0] not in folders:
            kept.append(each)
    return kept


def _measure_peaks(claim: Claim, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Peaks of the machine at each number of threads that a roofline needs; none for small sizes."""
    if args.quick:
        return {}
    floors = [each for each in claim.comparisons if each.roofline is not None]
    needed = {claim.contestants[each.ours].threads or args.threads for each in floors}
    found = {}
    for threads in sorted(needed):
        command = [sys.executable, str(Path(machine.__file__)), "--json", "--threads", str(threads)]
        environment = os.environ | {f"{each}_NUM_THREADS": str(threads) for each in THREADS}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found[str(threads)] = dict(json.loads(done.stdout))
    return found


def value_of_measure(measured: Measured, measure: str) -> float | None:
    """One measure of one run: the median of its timed blocks, or the memory, latency or quality of that name."""
    if measure in {"wall", "cpu"}:
        return statistics.median(measured[measure]) if measured.get(measure) else None
    if measure == "warmups":
        return measured.get(measure)
    if measure in {"peak", "added"}:
        return measured.get(measure) if measured.get("wall") else None
    found = (measured.get("times", {}) | measured.get("quality", {})).get(measure)
    return None if found is None else float(found)


def median_and_range(values: Sequence[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    return {"value": statistics.median(values), "low": min(values), "high": max(values)}


def aggregate_runs(runs: Sequence[Measured], measure: str) -> dict[str, float] | None:
    """Median and range of a measure over the runs; over all timed blocks where there was only one run."""
    if measure in {"wall", "cpu"} and len(runs) == 1 and runs[0].get(measure):
        return median_and_range(runs[0][measure])
    found = [value for each in runs if (value := value_of_measure(each, measure)) is not None]
    return median_and_range(found) if found else None


def summarize_runs(runs: Sequence[Measured]) -> dict[str, Any]:
    """Cost and quality of one contestant over its runs."""
    failed = next((each["failed"] for each in runs if "failed" in each), None)
    good = [each for each in runs if "failed" not in each]
    names = [*dict.fromkeys(name for each in good for name in (*each["times"], *each["quality"]))]
    measures = ("wall", "cpu", "warmups", "peak", "added", *names)
    found: dict[str, Any] = {each: value for each in measures if (value := aggregate_runs(good, each)) is not None}
    notes = [*dict.fromkeys(note for each in good for note in each["notes"])]
    return found | {"runs": len(good), "notes": notes} | ({"failed": failed} if failed else {})


def build_row(
    each: Comparison,
    claim: Claim,
    stages: Mapping[str, dict[str, Any]],
    runs: Mapping[str, list[Measured]],
    peaks: Mapping[str, Mapping[str, float]],
    threads: int,
) -> dict[str, Any]:
    """One row of the page: both values, their ratio, and whether the goal is met."""
    ours = stages.get(each.ours, {})
    peer = stages.get(each.peer, {}) if each.peer else {}
    mine, other = ours.get(each.measure), peer.get(each.measure)
    ratio = mine["value"] / other["value"] if mine and other and other["value"] else None
    met = meets_goal(each, mine["value"] if mine else None, ratio)
    if met and each.quality:
        met = keeps_quality(each, ours.get(each.quality), peer.get(each.quality))
    own = claim.contestants[each.ours].threads or threads
    return {
        "what": each.what,
        "measure": each.measure,
        "goal": describe_goal(each),
        "ours": {"name": each.ours, **(mine or {})},
        "peer": {"name": each.peer, **(other or {})} if each.peer else None,
        "ratio": ratio,
        "ratio_range": _ratio_range(runs.get(each.ours, ()), runs.get(each.peer or "", ()), each.measure),
        "met": met,
        "threads": own,
        "quality": _quality_pairs(each, ours, peer),
        "notes": each.notes,
        "cause": each.cause if met is False else "",
        "roofline": compare_with_roofline(each.roofline, peaks.get(str(own)), mine["value"] if mine else None),
    }


def meets_goal(each: Comparison, value: float | None, ratio: float | None) -> bool | None:
    """Whether the goal is met; None where there is none or something was not measured."""
    compared = value if each.peer is None else ratio
    if compared is None or (each.at_most is None and each.at_least is None):
        return None
    return (each.at_most is None or compared <= each.at_most) and (each.at_least is None or compared >= each.at_least)


def keeps_quality(each: Comparison, ours: dict[str, float] | None, peer: dict[str, float] | None) -> bool | None:
    """Whether our quality is at least the peer's minus the tolerance; None where one was not measured."""
    if ours is None or (each.peer is not None and peer is None):
        return None
    gain = ours["value"] - (peer or ours)["value"]
    return (-gain if each.lower_is_better else gain) >= -each.tolerance


def describe_goal(each: Comparison) -> str:
    """The goal as text."""
    if each.at_most is None and each.at_least is None:
        return ""
    bounds = ((each.at_most, "at most"), (each.at_least, "at least"))
    unit = f" × {each.peer}" if each.peer else {"peak": " B", "added": " B"}.get(each.measure, " s")
    if each.peer is None and each.measure not in {"wall", "cpu", "warmups", "peak", "added", "p50", "p99"}:
        unit = ""
    words = " and ".join(f"{word} {bound:.4g}{unit}" for bound, word in bounds if bound is not None)
    same = f", {each.quality} no worse" + (f" by more than {each.tolerance:g}" if each.tolerance else "")
    return words + (same if each.quality else "")


def compare_with_roofline(
    floor: Roofline | None, peaks: Mapping[str, float] | None, seconds: float | None
) -> dict[str, Any] | None:
    """The lower bound in seconds at the measured peaks, what sets it, and the share of it that we reach."""
    if floor is None or peaks is None:
        return None
    needs = {"arithmetic": floor.operations / peaks["operations"], "memory": floor.bytes / peaks["bytes"]}
    bound = max(needs, key=lambda name: needs[name])
    return dataclasses.asdict(floor) | {
        "floor_seconds": needs[bound],
        "bound": bound,
        "share": needs[bound] / seconds if seconds else None,
    }


def _ratio_range(ours: Sequence[Measured], peer: Sequence[Measured], measure: str) -> list[float] | None:
    """Minimum and maximum ratio over the rounds in which both ran."""
    pairs = [(value_of_measure(a, measure), value_of_measure(b, measure)) for a, b in zip(ours, peer, strict=False)]
    ratios = [a / b for a, b in pairs if a is not None and b]
    return [min(ratios), max(ratios)] if ratios else None


def _quality_pairs(each: Comparison, ours: Mapping[str, Any], peer: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """Quality name → [ours, peer's]."""
    known = {"wall", "cpu", "warmups", "peak", "added", "p50", "p99", "calls", "runs", "notes", "failed", each.measure}
    names = [name for name in dict.fromkeys([*ours, *peer]) if name not in known]
    return {name: [it[name]["value"] if name in it else None for it in (ours, peer)] for name in names}


def _print_rows(results: dict[str, Any]) -> None:
    for each in results["rows"]:
        ours, peer = each["ours"].get("value"), (each["peer"] or {}).get("value")
        mark = {True: "met", False: "MISSED", None: "–"}[each["met"]]
        figures = " against ".join(f"{value:.4g}" for value in (ours, peer) if value is not None)
        ratio = "" if each["ratio"] is None else f", ratio {each['ratio']:.3f}"
        print(f"{each['what']} [{each['measure']}]: {figures}{ratio}; goal: {each['goal'] or 'none'}: {mark}")
        floor = each["roofline"]
        if floor and floor["share"]:
            print(f"  floor {floor['floor_seconds']:.4g} s ({floor['bound']}), reached {floor['share']:.0%}")
