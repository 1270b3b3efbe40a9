"""Sequential models on ML-1M (SASRec's file) or Amazon Beauty: leave-one-out, full ranking.

    python benchmarks/sequences.py [--data ml-1m|beauty] [--model NAME[,SETTING=VALUE]] [--name NAME] [--repeats 1] [--keep FOLDER] [--test]

Fitted without the last two items of each user. Evaluated on the last but one, where settings were chosen. With --test:
the same fit, evaluated on the last item with the one before it in the history, once, at the end. Runs differ in the seed.
Results of chosen models are saved only under a name of their own. With --keep fitted models are saved in FOLDER, and
loaded when they are evaluated again or are part of a hybrid. p50 and p99 are for scores of all items of one history, on
one thread.
"""

import argparse
import contextlib
import functools
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import harness
import numpy as np
from harness import Claim, Comparison, Contestant, Probe

from leanrec.data import Dataset, Table, Vocabulary, find_data
from leanrec.errors import SourceError
from leanrec.models import parse_model
from leanrec.run import Run
from leanrec.types import Events

MODELS = ("popularity", "item_knn", "two_tower", "gru4rec", "caser", "bert4rec", "sasrec", "hstu", "lrurec", "blend")
# The goal of 10 ms for one request holds for two layers of 64.
LATENCY_GOAL = ("sasrec", "hstu", "bert4rec")
# Fitted once, whatever the number of repeats: deterministic, or slow and without a goal.
FIT_ONCE = frozenset({"popularity", "item_knn", "two_tower", "gru4rec", "caser", "bert4rec", "lrurec", "blend"})
# Tuned on valid where it differs from the defaults: Beauty is small, and its histories are short.
SHORT = "max_length=50,dropout=0.5"
TUNED: dict[tuple[str, str], str] = {
    ("ml-1m", "blend"): "hybrid,parts=[hstu,lrurec,sasrec]",
    ("beauty", "blend"): f"hybrid,parts=[hstu({SHORT}),lrurec({SHORT}),sasrec({SHORT})]",
} | {("beauty", name): f"{name},{SHORT}" for name in ("bert4rec", "caser", "gru4rec", "hstu", "lrurec", "sasrec")}
FILES = {
    "ml-1m": ("ml-1m", "ml1m_sasrec_sequences", "sasrec_items", "title, genres"),
    "beauty": (
        "beauty-s3rec",
        "sequences",
        "item_attributes",
        "string_agg(attribute::VARCHAR, '|' ORDER BY attribute) AS attributes",
    ),
    # For new_items.py alone.
    "yelp": ("yelp-s3rec", "sequences", "item_text", "name, categories"),
}
# HR@10 and NDCG@10 of the goals, on test: SASRec, and the best of all models.
GOALS = {"ml-1m": {"sasrec": (0.315, 0.182), "best": (0.330, 0.195)}, "beauty": {"best": (0.093, 0.053)}}
PUBLISHED = {
    "ml-1m": (
        "Published on test (HR@10/NDCG@10): SASRec with one BCE negative .2392-.2500/.1259-.1341, gSASRec .3003/.1726, BERT4Rec .2843/.1537, "
        "GRU4Rec with cross-entropy .2811/.1648, SASRec with full cross-entropy .3152/.1821, with 3,000 negatives .3159/.1857"
    ),
    "beauty": (
        "Published on test (HR@10/NDCG@10): SASRec .0605/.0318 as first published, TIGER .0648/.0384, HSTU .0788/.0439, SASRec with sampled "
        "softmax .0921/.0531, eSASRec .0928/.0523"
    ),
}


def read_sequences(which: str, users: int | None = None) -> Dataset:
    """The sequences as a data set, ids in the order of the file, with the item table."""
    folder, sequences, items, columns = FILES[which]
    try:
        home = find_data(folder)
    except SourceError as error:
        raise SystemExit(f"{error}\nThis benchmark reads {folder}/{sequences}.parquet and {items}.parquet.") from None
    with duckdb.connect() as con:
        found = con.execute(
            'SELECT "user", item, pos FROM read_parquet(?) ORDER BY "user", pos', [str(home / f"{sequences}.parquet")]
        ).fetchnumpy()
        group = "GROUP BY item" if "agg" in columns else ""
        attributes = con.execute(
            f"SELECT item, {columns} FROM read_parquet(?) {group} ORDER BY item", [str(home / f"{items}.parquet")]
        ).fetchnumpy()
    user, item = (np.asarray(found[name], np.int32) - 1 for name in ("user", "item"))
    n_items = int(item.max()) + 1
    if users is not None:
        chosen = user < users
        user, item, found = user[chosen], item[chosen], {name: values[chosen] for name, values in found.items()}
    zeros, ones = np.zeros(len(user), np.int8), np.ones(len(user), np.float32)
    events = Events(user=user, item=item, time=np.asarray(found["pos"], np.int64), event_type=zeros, weight=ones)
    table = Table(
        {
            name: _text_column(np.asarray(attributes["item"]), np.asarray(values), n_items)
            for name, values in attributes.items()
            if name != "item"
        }
    )
    names = Vocabulary(np.arange(1, int(user.max()) + 2), "user"), Vocabulary(np.arange(1, n_items + 1), "item")
    return Dataset(events=events, users=names[0], items=names[1], item_table=table, source=which)


def _text_column(items: np.ndarray, texts: np.ndarray, n_items: int) -> np.ndarray:
    column = np.full(n_items, "", dtype=np.dtypes.StringDType())
    column[items.astype(np.int64) - 1] = texts.astype(np.dtypes.StringDType())
    return column


def train_and_evaluate(probe: Probe, text: str, which: str, part: str, kept: Path | None) -> None:
    from leanrec.data import split
    from leanrec.evaluation import evaluate

    estimator = parse_model(text)
    parts = split(read_sequences(which, 300 if probe.quick else None), "leave-one-out")
    parts.train.interactions  # noqa: B018 - built before the timer starts
    model = fit_or_load(probe, estimator, parts.train, kept, probe.run)
    # The parts of a hybrid are fitted one after the other.
    probe.wall, probe.cpu = [sum(probe.wall)], [sum(probe.cpu)]
    evaluation_set = parts.test if part == "test" else parts.valid
    means = evaluate(model, evaluation_set, k=(10,)).means()
    probe.record_quality(hr_10=means["recall@10"], ndcg_10=means["ndcg@10"])
    with Run(threads=1).limit_threads(), single_torch_thread():
        some = np.random.default_rng(0).choice(len(evaluation_set), min(len(evaluation_set), 1020), replace=False)
        probe.measure_latency(model.score, [evaluation_set.queries.block(int(row), int(row) + 1) for row in some])
    probe.add_note(repr(estimator))


def fit_or_load(probe: Probe, estimator: Any, data: Dataset, kept: Path | None, run: Run) -> Any:
    """Fit and time a model, or load a saved one with its cost. A hybrid of saved parts adds no cost."""
    from leanrec import artifacts
    from leanrec.data import Simulation
    from leanrec.models import Hybrid, HybridModel

    if isinstance(estimator, Hybrid) and kept is not None:
        n_events = np.bincount(data.interactions.indices, minlength=len(data.items)).astype(np.int32)
        return HybridModel(
            estimator, tuple(fit_or_load(probe, each, data, kept, run) for each in estimator.estimators), n_events
        )
    where = "" if run.device == "cpu" else f" {run.device}"
    key = hashlib.sha256(f"{estimator!r} {run.seed} {data.fingerprint}{where}".encode()).hexdigest()[:16]
    saved = None if kept is None else kept / f"{type(estimator).__name__.lower()}-{key}"
    if saved is not None and saved.exists():
        cost = artifacts.read_manifest(saved)["provenance"]
        probe.wall.append(cost["wall"])
        probe.cpu.append(cost["cpu"])
        probe.peak, probe.added = max(probe.peak, cost["peak"]), max(probe.added, cost["added"])
        return artifacts.load(saved)
    with probe.warmup():
        estimator.__class__().fit(Simulation(users=50, items=60, events=600).dataset(), run)
    with probe.timed():
        model = estimator.fit(data, run)
    if saved is not None:
        cost = {"wall": probe.wall[-1], "cpu": probe.cpu[-1], "peak": probe.peak, "added": probe.added}
        artifacts.save(model, saved, provenance=cost)
    return model


@contextlib.contextmanager
def single_torch_thread() -> Iterator[None]:
    """Hold torch to one thread inside the block, where it is loaded."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    if torch:
        torch.set_num_threads(1)
    yield
    if torch:
        torch.set_num_threads(before)


def make_claim(args: argparse.Namespace) -> Claim:
    models, which, part = args.model or list(MODELS), args.data, "test" if args.test else "valid"
    contestants = {}
    for name in models:
        text = TUNED.get((which, name), name)
        work = functools.partial(train_and_evaluate, text=text, which=which, part=part, kept=args.keep)
        repeats = 1 if name.partition(",")[0] in FIT_ONCE else 0
        contestants[name] = Contestant(work, repeats=repeats, seconds=6 * 3600)
    rows = [
        Comparison(what=f"{name}, {part}", ours=name, measure=measure)
        for name in models
        for measure in ("hr@10", "ndcg@10")
    ]
    rows += [
        Comparison(what=f"{name}, one request", ours=name, measure="p99", at_most=0.01)
        for name in models
        if name in LATENCY_GOAL
    ]
    if part == "test":
        for who, goals in GOALS[which].items():
            ours = args.best if who == "best" else who
            what = "the best" if who == "best" else f"goal of {who}"
            rows += [
                Comparison(what=f"{what}: {ours}", ours=ours, measure=measure, at_least=goal)
                for measure, goal in zip(("hr@10", "ndcg@10"), goals, strict=True)
            ]
    short, where = which.replace("-", ""), args.device.partition(":")[0].replace("cpu", "")
    return Claim(
        name="_".join(each for each in ("sequences", short, where, "test" if part == "test" else "") if each),
        title=f"Sequential models on {'ML-1M' if which == 'ml-1m' else 'Amazon Beauty'}. {PUBLISHED[which]}.",
        data=f"{FILES[which][1]} of {FILES[which][0]}, leave-one-out, evaluated on {part}, all users, all unseen items ranked; runs differ in the seed",
        contestants=contestants,
        comparisons=[each for each in rows if each.ours in contestants],
    )


def draw_results(results: dict[str, Any], folder: Any) -> list[str]:
    """Plot NDCG@10 against seconds of the fit, one point per model."""
    from matplotlib import pyplot as plt

    figure, panel = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    for name, stage in results["contestants"].items():
        if "failed" not in stage:
            x, y = stage["wall"]["value"], stage["ndcg@10"]["value"]
            panel.plot(x, y, "o", ms=4)
            panel.annotate(name, (x, y), fontsize=6, xytext=(3, 3), textcoords="offset points")
    panel.set(xscale="log", xlabel="seconds of the fit", ylabel="NDCG@10")
    panel.grid(alpha=0.3)
    name = f"{results['claim']}.png"
    figure.savefig(folder / name, dpi=90)
    plt.close(figure)
    return [name]


def main() -> None:
    options = harness.build_parser(__doc__, models=True, device=True)
    options.add_argument("--data", choices=sorted(PUBLISHED), default="ml-1m", help="data set (default ml-1m)")
    options.add_argument("--best", default="blend", help="the model that is compared with the goals of the best")
    options.add_argument("--keep", type=Path, help="folder of fitted models")
    options.add_argument("--test", action="store_true", help="evaluate on the last items: once, at the end")
    options.set_defaults(repeats=1)
    args = options.parse_args()
    harness.run_claim(make_claim(args), args, draw_results)


if __name__ == "__main__":
    main()
