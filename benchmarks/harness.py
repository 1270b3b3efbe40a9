"""One script per claim: contestants measured beside each other, and what came of it on the results page.

    python benchmarks/<claim>.py [--repeats 3] [--threads 2] [--quick] [--only NAME] [--results FOLDER]

Each contestant runs in a process of its own, with the same threads, bound to as many cores, round after round and in
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
from probe import Probe, bind

__all__ = [
    "Claim",
    "Comparison",
    "Contestant",
    "Probe",
    "Roofline",
    "keep",
    "main",
    "measure_apart",
    "parser",
    "rounds",
    "run",
    "summarise",
]

RESULTS = Path(__file__).parent / "results"
THREADS = ("OMP", "OPENBLAS", "MKL", "NUMBA", "BLIS", "VECLIB_MAXIMUM", "RAYON")
Measured = dict[str, Any]
Draw = Callable[[dict[str, Any], Path], list[str]]


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One way to do the work.

    Attributes:
        work: what runs in the process of its own; it tells the probe what is timed.
        threads: 0 = the threads of the run.
        repeats: 0 = the repeats of the run; fewer where one run takes minutes.
        seconds: after which it is stopped.
        environment: set on top, where a library asks for it to be at its best.
    """

    work: Callable[[Probe], None]
    threads: int = 0
    repeats: int = 0
    seconds: float = 1800
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Roofline:
    """What the work cannot do without, so that a floor follows from the peaks of the machine.

    Attributes:
        operations: single-precision additions and multiplications.
        bytes: read from and written to memory.
        why: how the two were counted.
    """

    operations: float
    bytes: float
    why: str = ""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One row of the results page.

    Attributes:
        what: the work, with its size.
        ours: name of our contestant.
        peer: name of the other one; None where the goal is an absolute figure.
        measure: "wall", "cpu", "warmups", "peak", "added" (bytes), "p50", "p99", or the name of a quality.
        at_most: goal for ours ÷ peer, or for ours alone (seconds, bytes) without a peer.
        at_least: goal for ours (a quality), or for ours ÷ peer.
        quality: the quality on which ours must not be worse than the peer's by more than ``tolerance``.
        tolerance: see ``quality``.
        lower_is_better: the quality is a loss.
        roofline: the floor of our work.
        notes: what one should know.
        cause: why a goal is missed, from a profile, and the next idea; shown only where it is missed.
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


def parser(description: str | None = None, *, models: bool = False, device: bool = False) -> argparse.ArgumentParser:
    """The options that every claim has; a script may add its own, which reach the contestants' processes too.

    With ``models`` the contestants can be chosen: that is a try, and not kept, unless it gets a name of its own. With ``device`` it can
    be said where leanrec trains.
    """
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--repeats", type=int, default=3, help="rounds (default 3)")
    options.add_argument("--threads", type=int, default=machine.cores(), help="for every library (default: all cores)")
    options.add_argument("--quick", action="store_true", help="small sizes, to see that it works; nothing is kept")
    options.add_argument("--only", action="append", help="measure only these contestants; nothing is kept")
    options.add_argument("--results", type=Path, help="folder for the results (default benchmarks/results)")
    options.set_defaults(model=None, name="", device="cpu")
    if models:
        options.add_argument("--model", action="append", help="a model, with settings after commas; repeatable")
        options.add_argument("--name", default="", help="keep what came of the chosen models under this name")
    if device:
        options.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N: where it is trained")
    options.add_argument("--contestant", help=argparse.SUPPRESS)
    options.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--turn", type=int, default=0, help=argparse.SUPPRESS)
    return options


def main(claim: Claim, description: str | None = None) -> None:
    """What a script without options of its own ends with."""
    run(claim, parser(description).parse_args())


def run(claim: Claim, asked: argparse.Namespace, draw: Draw | None = None) -> dict[str, Any]:
    """Measure all contestants, print the rows, write the results and the page; or, as a contestant, be measured.

    ``draw`` makes pictures of the results in the folder where they are kept, and says how they are called.
    """
    if asked.contestant:
        _contest(claim.contestants[asked.contestant], asked)
        return {}
    start = time.perf_counter()
    results = summarise(claim, asked, rounds(claim, asked))
    results["seconds"] = round(time.perf_counter() - start, 1)
    keep(results, asked, draw)
    return results


def keep(results: dict[str, Any], asked: argparse.Namespace, draw: Draw | None = None) -> Path | None:
    """Print the rows, and write results and page unless it was only a try; the folder where they are.

    Where no contestant could be measured, what an earlier run wrote stays, and the script fails.
    """
    _show(results)
    stages = results["contestants"].values()
    if stages and all("failed" in stage for stage in stages):
        raise SystemExit(f"Nothing of {results['claim']} could be measured: {next(iter(stages))['failed']}")
    a_try = asked.quick or asked.only or (asked.model and not asked.name)
    folder: Path | None = asked.results or (None if a_try else RESULTS)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if draw is not None and can_draw():
            results["plots"] = draw(results, folder)
        write(results, folder)
    return folder


def can_draw() -> bool:
    """Whether matplotlib is here; it draws into files only."""
    try:
        import matplotlib as mpl
    except ModuleNotFoundError:
        print("No pictures: matplotlib is not installed (the extra plots brings it).")
        return False
    mpl.use("agg")
    return True


def write(results: dict[str, Any], folder: Path) -> Path:
    """The results as JSON in the folder, and its page made anew."""
    import results_page

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{results['claim']}.json"
    path.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    results_page.write(folder)
    return path


def measure_apart(
    script: Path, name: str, contestant: Contestant, asked: argparse.Namespace, turn: int = 0
) -> Measured:
    """One run of one contestant in a process of its own: what its probe holds, or why it failed under "failed"."""
    threads = contestant.threads or asked.threads
    environment = os.environ | {f"{each}_NUM_THREADS": str(threads) for each in THREADS} | dict(contestant.environment)
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder, "measured.json")
        own = ["--contestant", name, "--into", str(into), "--threads", str(threads), "--turn", str(turn)]
        command = [sys.executable, str(script), *sys.argv[1:], *own]
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=contestant.seconds, check=False
            )
        except subprocess.TimeoutExpired:
            return {"failed": f"stopped after {contestant.seconds:g} s"}
        if done.returncode or "Traceback" in done.stderr:
            print(done.stderr[-3000:], file=sys.stderr)
        if into.exists():
            return dict(json.loads(into.read_text(encoding="utf-8")))
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        return {"failed": f"ended with {done.returncode}: {last[0][:300]}"}


def _contest(contestant: Contestant, asked: argparse.Namespace) -> None:
    bind(asked.threads)
    probe = Probe(threads=asked.threads, quick=asked.quick, turn=asked.turn, device=asked.device)
    try:
        contestant.work(probe)
        measured = dataclasses.asdict(probe)
    except ModuleNotFoundError as error:
        measured = {"failed": f"{error.name} is not installed"}
    except Exception as error:  # noqa: BLE001 - one contestant's failure is a result, the others go on
        traceback.print_exc()
        said = str(error).strip().splitlines() or [""]
        measured = {"failed": f"{type(error).__name__}: {said[0]}"[:300]}
    asked.into.write_text(json.dumps(measured), encoding="utf-8")


def rounds(claim: Claim, asked: argparse.Namespace) -> dict[str, list[Measured]]:
    """All runs of all contestants, in alternating order; a contestant that failed is not asked again."""
    contestants = {n: each for n, each in claim.contestants.items() if not asked.only or n in asked.only}
    runs: dict[str, list[Measured]] = {name: [] for name in contestants}
    for turn in range(1 if asked.quick else asked.repeats):
        for name in list(contestants)[:: -1 if turn % 2 else 1]:
            most = contestants[name].repeats or asked.repeats
            if turn < most and not any("failed" in each for each in runs[name]):
                runs[name].append(measure_apart(Path(sys.argv[0]).resolve(), name, contestants[name], asked, turn))
                print(f"  {name}: {_brief(runs[name][-1])}", file=sys.stderr, flush=True)
    return runs


def _brief(measured: Measured) -> str:
    if "failed" in measured:
        return str(measured["failed"])
    numbers = measured["quality"] | measured["times"]
    parts = [f"{statistics.median(measured['wall']):.4g} s"] if measured["wall"] else []
    return ", ".join([*parts, *(f"{name} {value:.4g}" for name, value in numbers.items())])


def summarise(claim: Claim, asked: argparse.Namespace, runs: dict[str, list[Measured]]) -> dict[str, Any]:
    """Everything that is kept of a claim's runs. Stops where contestants found different facts."""
    facts = {
        json.dumps(each["facts"], sort_keys=True) for these in runs.values() for each in these if each.get("facts")
    }
    if len(facts) > 1:
        raise SystemExit(f"The contestants of {claim.name} disagree: {' against '.join(sorted(facts))}")
    peaks = _peaks(claim, asked)
    stages = {name: summary(these) for name, these in runs.items()}
    script = f"benchmarks/{Path(sys.argv[0]).name}"
    return {
        "claim": "_".join(each for each in (claim.name, asked.name) if each),
        "title": claim.title,
        "data": claim.data,
        "command": " ".join(["python", script, *_own_arguments()]),
        "date": time.strftime("%Y-%m-%d"),
        "hardware": machine.hardware(),
        "threads": asked.threads,
        "repeats": asked.repeats,
        "seconds": 0.0,
        "versions": machine.versions(),
        "peaks": peaks,
        "rows": [row(each, claim, stages, runs, peaks, asked.threads) for each in claim.comparisons],
        "contestants": stages,
        "plots": [],
    }


def _own_arguments() -> list[str]:
    """The arguments as given, without folders of results and fitted models: these are nobody's business on the page."""
    given, kept, folders = iter(sys.argv[1:]), [], ("--results", "--keep")
    for each in given:
        if each in folders:
            next(given, None)
        elif each.partition("=")[0] not in folders:
            kept.append(each)
    return kept


def _peaks(claim: Claim, asked: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Peaks of the machine at each number of threads that a floor is needed for; none for small sizes."""
    if asked.quick:
        return {}
    floors = [each for each in claim.comparisons if each.roofline is not None]
    needed = {claim.contestants[each.ours].threads or asked.threads for each in floors}
    found = {}
    for threads in sorted(needed):
        command = [sys.executable, str(Path(machine.__file__)), "--json", "--threads", str(threads)]
        environment = os.environ | {f"{each}_NUM_THREADS": str(threads) for each in THREADS}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found[str(threads)] = dict(json.loads(done.stdout))
    return found


def value_of(measured: Measured, measure: str) -> float | None:
    """One figure of one run: the median of its timed blocks, or the memory, latency or quality of that name."""
    if measure in {"wall", "cpu"}:
        return statistics.median(measured[measure]) if measured.get(measure) else None
    if measure == "warmups":
        return measured.get(measure)
    if measure in {"peak", "added"}:
        return measured.get(measure) if measured.get("wall") else None
    found = (measured.get("times", {}) | measured.get("quality", {})).get(measure)
    return None if found is None else float(found)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and largest."""
    return {"value": statistics.median(values), "low": min(values), "high": max(values)}


def figure(runs: Sequence[Measured], measure: str) -> dict[str, float] | None:
    """Median and spread of a measure; over all timed blocks where there was only one process."""
    if measure in {"wall", "cpu"} and len(runs) == 1 and runs[0].get(measure):
        return spread(runs[0][measure])
    found = [value for each in runs if (value := value_of(each, measure)) is not None]
    return spread(found) if found else None


def summary(runs: Sequence[Measured]) -> dict[str, Any]:
    """What one contestant needed and reached, over its runs."""
    failed = next((each["failed"] for each in runs if "failed" in each), None)
    good = [each for each in runs if "failed" not in each]
    names = [*dict.fromkeys(name for each in good for name in (*each["times"], *each["quality"]))]
    measures = ("wall", "cpu", "warmups", "peak", "added", *names)
    found: dict[str, Any] = {each: value for each in measures if (value := figure(good, each)) is not None}
    notes = [*dict.fromkeys(note for each in good for note in each["notes"])]
    return found | {"runs": len(good), "notes": notes} | ({"failed": failed} if failed else {})


def row(
    each: Comparison,
    claim: Claim,
    stages: Mapping[str, dict[str, Any]],
    runs: Mapping[str, list[Measured]],
    peaks: Mapping[str, Mapping[str, float]],
    threads: int,
) -> dict[str, Any]:
    """One row of the page: both figures, their ratio, and whether the goal is met."""
    ours = stages.get(each.ours, {})
    peer = stages.get(each.peer, {}) if each.peer else {}
    mine, other = ours.get(each.measure), peer.get(each.measure)
    ratio = mine["value"] / other["value"] if mine and other and other["value"] else None
    met = verdict(each, mine["value"] if mine else None, ratio)
    if met and each.quality:
        met = as_good(each, ours.get(each.quality), peer.get(each.quality))
    own = claim.contestants[each.ours].threads or threads
    return {
        "what": each.what,
        "measure": each.measure,
        "goal": goal(each),
        "ours": {"name": each.ours, **(mine or {})},
        "peer": {"name": each.peer, **(other or {})} if each.peer else None,
        "ratio": ratio,
        "ratio_range": _ratio_range(runs.get(each.ours, ()), runs.get(each.peer or "", ()), each.measure),
        "met": met,
        "threads": own,
        "quality": _qualities(each, ours, peer),
        "notes": each.notes,
        "cause": each.cause if met is False else "",
        "roofline": roofline(each.roofline, peaks.get(str(own)), mine["value"] if mine else None),
    }


def verdict(each: Comparison, value: float | None, ratio: float | None) -> bool | None:
    """Whether the goal is met; None where there is none or something was not measured."""
    compared = value if each.peer is None else ratio
    if compared is None or (each.at_most is None and each.at_least is None):
        return None
    return (each.at_most is None or compared <= each.at_most) and (each.at_least is None or compared >= each.at_least)


def as_good(each: Comparison, ours: dict[str, float] | None, peer: dict[str, float] | None) -> bool | None:
    """Whether our quality is at least the peer's, less the tolerance; None where one was not measured."""
    if ours is None or (each.peer is not None and peer is None):
        return None
    gain = ours["value"] - (peer or ours)["value"]
    return (-gain if each.lower_is_better else gain) >= -each.tolerance


def goal(each: Comparison) -> str:
    """The goal in words."""
    if each.at_most is None and each.at_least is None:
        return ""
    bounds = ((each.at_most, "at most"), (each.at_least, "at least"))
    unit = f" × {each.peer}" if each.peer else {"peak": " B", "added": " B"}.get(each.measure, " s")
    if each.peer is None and each.measure not in {"wall", "cpu", "warmups", "peak", "added", "p50", "p99"}:
        unit = ""
    words = " and ".join(f"{word} {bound:.4g}{unit}" for bound, word in bounds if bound is not None)
    same = f", {each.quality} no worse" + (f" by more than {each.tolerance:g}" if each.tolerance else "")
    return words + (same if each.quality else "")


def roofline(floor: Roofline | None, peaks: Mapping[str, float] | None, seconds: float | None) -> dict[str, Any] | None:
    """The floor in seconds at the measured peaks, what sets it, and the share of it that we reach."""
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
    """Least and largest ratio over the rounds in which both ran."""
    pairs = [(value_of(a, measure), value_of(b, measure)) for a, b in zip(ours, peer, strict=False)]
    ratios = [a / b for a, b in pairs if a is not None and b]
    return [min(ratios), max(ratios)] if ratios else None


def _qualities(each: Comparison, ours: Mapping[str, Any], peer: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """Quality name → [ours, peer's]."""
    usual = {"wall", "cpu", "warmups", "peak", "added", "p50", "p99", "calls", "runs", "notes", "failed", each.measure}
    names = [name for name in dict.fromkeys([*ours, *peer]) if name not in usual]
    return {name: [it[name]["value"] if name in it else None for it in (ours, peer)] for name in names}


def _show(results: dict[str, Any]) -> None:
    for each in results["rows"]:
        ours, peer = each["ours"].get("value"), (each["peer"] or {}).get("value")
        mark = {True: "met", False: "MISSED", None: "–"}[each["met"]]
        figures = " against ".join(f"{value:.4g}" for value in (ours, peer) if value is not None)
        ratio = "" if each["ratio"] is None else f", ratio {each['ratio']:.3f}"
        print(f"{each['what']} [{each['measure']}]: {figures}{ratio}; goal: {each['goal'] or 'none'}: {mark}")
        floor = each["roofline"]
        if floor and floor["share"]:
            print(f"  floor {floor['floor_seconds']:.4g} s ({floor['bound']}), reached {floor['share']:.0%}")
