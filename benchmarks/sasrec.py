"""SASRec compared with RecTools: seconds of training until NDCG@10 on validation is .180.

    python benchmarks/sasrec.py [--target 0.18] [--limit-seconds 14400] [--ours TEXT] [--rectools NAME=VALUE] [--quick]

ML-1M in SASRec's file, leave-one-out: trained without the last two items of each user, evaluated after each epoch on the
last but one, all users, all unseen items ranked. Evaluation is not timed. Same threads, same data, same metric; 2 blocks,
64 dimensions, length 200 for both. RecTools runs in an environment of its own, because it needs an older NumPy:
    python3 -m venv .venv-rectools && .venv-rectools/bin/pip install -r benchmarks/requirements-rectools.txt
or another one through LEANREC_RECTOOLS_PYTHON. Where RecTools does not reach the target within the limit, its time is the
limit, and the true ratio is lower. It gets at least 4.5 times the time of leanrec, so that a goal of four times can be
decided. Where leanrec does not reach the target, it has no time.
"""

import argparse
import contextlib
import functools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import Claim, Comparison, Contestant, Probe
from sequences import read_sequences

HERE = Path(__file__).resolve().parent
PYTHON = Path(os.environ.get("LEANREC_RECTOOLS_PYTHON", HERE.parent / ".venv-rectools" / "bin" / "python"))
EPOCHS = 400
# Training ends by the target, not by early stopping.
PATIENCE = f"patience={EPOCHS}"
WARM_UP = "sasrec,epochs=1"
# The function of the training engine whose time is not counted.
VALIDATE = "_validate"
# RecTools runs for at least this many times the time of leanrec, whatever the limit is: the goal is four.
AT_LEAST_TIMES = 4.5
# The defaults of RecTools 0.19 except size and length, which are those of its published ML-1M results and of leanrec.
RECTOOLS: dict[str, Any] = {
    "n_blocks": 2,
    "n_heads": 2,
    "n_factors": 64,
    "session_max_len": 200,
    "dropout_rate": 0.2,
    "loss": "softmax",
    "lr": 0.001,
    "batch_size": 128,
}
Curve = list[dict[str, float]]


class TargetReached(Exception):  # noqa: N818 - a reason to stop, no error
    """The target was reached, or the time limit."""


def read_split(quick: bool) -> Any:
    from leanrec.data import split

    return split(read_sequences("ml-1m", 300 if quick else None), "leave-one-out")


def train_leanrec(probe: Probe, args: argparse.Namespace) -> None:
    from leanrec.data import Simulation
    from leanrec.models import parse_model
    from leanrec.models.sequential.core import training

    text = args.ours
    data = read_split(probe.quick)
    curve: Curve = []
    spent = {"wall": 0.0, "cpu": 0.0}
    validate = getattr(training, VALIDATE)

    def timed(*arguments: Any) -> float:
        wall, cpu = time.perf_counter(), time.process_time()
        curve.append({"seconds": wall - start - spent["wall"], "cpu": cpu - start_cpu - spent["cpu"]})
        curve[-1]["ndcg@10"] = score = validate(*arguments)
        print(json.dumps(curve[-1]), file=sys.stderr, flush=True)
        spent["wall"] += time.perf_counter() - wall
        spent["cpu"] += time.process_time() - cpu
        if score >= args.target or curve[-1]["seconds"] >= args.limit_seconds:
            raise TargetReached
        return float(score)

    estimator = parse_model(f"{text},{PATIENCE}")
    with probe.warmup():
        parse_model(WARM_UP).fit(Simulation(users=50, items=60, events=600).dataset(), probe.run)
    setattr(training, VALIDATE, timed)
    start, start_cpu = time.perf_counter(), time.process_time()
    with probe.timed(), contextlib.suppress(TargetReached):
        estimator.fit(data.train, probe.run, data.valid)  # type: ignore[call-arg]
    record_curve(probe, args, "ours", curve, len(data.valid))
    probe.add_note(repr(estimator))


def train_rectools(probe: Probe, args: argparse.Namespace) -> None:
    data = read_split(probe.quick)
    events, truth = data.train.events, data.valid.ground_truth
    rows = data.valid.queries.users
    answers = np.full(len(data.train.users), -1, np.int64)
    answers[rows] = truth.indices[truth.indptr[:-1]]
    if len(rows) != len(answers):
        raise SystemExit("Every user must have a validation item.")
    settings = RECTOOLS | dict(args.rectools)
    job = {
        "target": args.target,
        "limit": max(args.limit_seconds, AT_LEAST_TIMES * longest_run()),
        "epochs": EPOCHS,
        "seed": probe.round_number,
    }
    job |= {"threads": probe.threads, "settings": settings}
    if not PYTHON.exists():
        raise FileNotFoundError(
            f"RecTools has no environment: {PYTHON.name} of LEANREC_RECTOOLS_PYTHON is not there (see sasrec.py)"
        )
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder, "data.npz"), Path(folder, "out.json")
        pos = np.arange(len(events.user)) - data.train.indptr[events.user]
        np.savez(file, user=events.user, item=events.item, pos=pos, truth=answers)
        command = [str(PYTHON), str(HERE / "sasrec_rectools.py"), str(file), str(out), json.dumps(job)]
        subprocess.run(command, check=True, cwd=folder, stdout=sys.stderr)
        found = json.loads(out.read_text(encoding="utf-8"))
    probe.peak = probe.added = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    record_curve(probe, args, "RecTools", found["curve"], found["users"])
    probe.add_note(f"RecTools 0.19.0, {', '.join(f'{k}={v}' for k, v in settings.items())}")


def record_curve(probe: Probe, args: argparse.Namespace, name: str, curve: Curve, users: int) -> None:
    """Record the time to the target where it was reached, the best quality, and the curve for the plot."""
    probe.record_facts(users=users)
    best = max(each["ndcg@10"] for each in curve)
    probe.record_quality(ndcg_10=best)
    reached = curve[-1]["ndcg@10"] >= args.target
    timed = curve[-1:] if reached or name != "ours" else []
    probe.wall, probe.cpu = [each["seconds"] for each in timed], [each["cpu"] for each in timed]
    how = "" if reached else f"did not reach {args.target:g} in {curve[-1]['seconds']:.0f} s, "
    probe.add_note(f"{how}{len(curve)} epochs")
    folder = curve_folder(os.getppid())
    folder.mkdir(exist_ok=True)
    (folder / f"{name} {probe.round_number}.json").write_text(json.dumps(curve), encoding="utf-8")


def curve_folder(process: int) -> Path:
    """Folder of the curves of one run of the script."""
    return Path(tempfile.gettempdir()) / f"leanrec-sasrec-{process}"


def longest_run() -> float:
    """Seconds of leanrec's longest run so far; 0 before the first."""
    files = curve_folder(os.getppid()).glob("ours *.json")
    return max((json.loads(file.read_text(encoding="utf-8"))[-1]["seconds"] for file in files), default=0.0)


def draw_curves(results: dict[str, Any], folder: Path, target: float = 0.18) -> list[str]:
    """Plot quality against seconds, and add the curves to the results."""
    from matplotlib import pyplot as plt

    found = {
        file.stem: json.loads(file.read_text(encoding="utf-8"))
        for file in sorted(curve_folder(os.getpid()).glob("*.json"))
    }
    results["curves"] = found
    figure, panel = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    for name, curve in found.items():
        color = "C0" if name.startswith("ours") else "C1"
        panel.plot([p["seconds"] for p in curve], [p["ndcg@10"] for p in curve], color=color, label=name, lw=1)
    panel.axhline(target, color="grey", lw=0.8, ls="--")
    panel.set(xscale="log", xlabel="seconds of training", ylabel="NDCG@10 on validation")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=6)
    figure.savefig(folder / "sasrec.png", dpi=90)
    plt.close(figure)
    return ["sasrec.png"]


def make_claim(args: argparse.Namespace) -> Claim:
    seconds = (1 + AT_LEAST_TIMES) * args.limit_seconds + 3600
    return Claim(
        name="sasrec",
        title=f"SASRec to NDCG@10 {args.target:g} on validation: seconds of training without evaluation; a peer that did not reach it has the time of its end.",
        data="SASRec's file of ML-1M, leave-one-out, all users, all unseen items ranked",
        contestants={
            "ours": Contestant(functools.partial(train_leanrec, args=args), seconds=seconds),
            "RecTools": Contestant(functools.partial(train_rectools, args=args), seconds=seconds),
        },
        comparisons=[
            Comparison(what=f"SASRec to NDCG@10 {args.target:g}", ours="ours", peer="RecTools", at_most=0.25),
            Comparison(what=f"SASRec to NDCG@10 {args.target:g}", ours="ours", peer="RecTools", measure="cpu"),
        ],
    )


def parse_setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    return name, json.loads(value) if value[:1].isdigit() else value


def main() -> None:
    options = harness.build_parser(__doc__)
    options.add_argument("--target", type=float, help="NDCG@10 on validation (default .18; .03 with --quick)")
    options.add_argument("--limit-seconds", type=float, help="of training, for each (default 4 h; 60 s with --quick)")
    options.add_argument(
        "--ours", default="sasrec", help="leanrec's model, with settings after commas (default its defaults)"
    )
    options.add_argument(
        "--rectools", type=parse_setting, action="append", default=[], help="a setting of RecTools, NAME=VALUE"
    )
    options.set_defaults(repeats=1)
    args = options.parse_args()
    args.target = args.target or (0.03 if args.quick else 0.18)
    args.limit_seconds = args.limit_seconds or (60 if args.quick else 4 * 3600)
    harness.run_claim(make_claim(args), args, functools.partial(draw_curves, target=args.target))


if __name__ == "__main__":
    main()
