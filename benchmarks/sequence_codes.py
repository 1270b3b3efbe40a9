"""Ranking kept by SASRec with its items and layers in codes: those of the fitted table, and those that were trained on.

    python benchmarks/sequence_codes.py [--data ml-1m|beauty|yelp] [--part valid|test] [--base MODEL] [--keep FOLDER] [--users N] [--epochs 2]
        [--name NAME] [--quick]

Leave-one-out as in sequences.py. The model is fitted once, or loaded from --keep, and compressed in every way; bytes are those of all
arrays. The share of NDCG@20 that is kept for certain is the lower end of the paired 95 % interval. --part test: once, after
every choice has been made.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
from harness import Claim, Comparison, Contestant
from probe import pin_to_cores
from sequences import FILES, SHORT, read_sequences

from leanrec import artifacts
from leanrec.compression import HalfCodec, ProductCodec, ScalarCodec, count_parts
from leanrec.compression.compressed_encoder import CompressedEncoder, EncoderCompression
from leanrec.data import Dataset, Simulation, split
from leanrec.evaluation.compression.ranking_sample import MeasuredLists, RankingSample, find_tail_items
from leanrec.models import parse_model
from leanrec.models.sequential.core.models import ITEM_TABLE, SequentialModel
from leanrec.run import Run

BASES = {"ml-1m": "sasrec", "beauty": f"sasrec,{SHORT}", "yelp": f"sasrec,{SHORT}"}
# Data → how many times smaller the item table is, and the share of NDCG@20 to keep.
GOALS = {"ml-1m": (8, 0.99), "beauty": (20, 0.985)}
WHOLE_GOAL = 8
# Groups of numbers in product codes, and bits of scalar ones.
PRODUCTS, SCALARS = (24, 16, 12, 10, 8), (8, 6, 4, 3, 2)
CAUSE = "Codes stay as they were chosen for the fitted table, and only codebooks and layers are trained."
Measured = dict[str, Any]


def list_methods(epochs: int) -> Iterator[EncoderCompression]:
    """The codes, and those that are short trained too."""
    yield EncoderCompression(HalfCodec())
    for codec in (*map(ScalarCodec, SCALARS), *map(ProductCodec, PRODUCTS)):
        yield EncoderCompression(codec)
        if isinstance(codec, ProductCodec) or (isinstance(codec, ScalarCodec) and codec.bits <= SCALARS[2]):
            yield EncoderCompression(codec, epochs=epochs)


def read_part(which: str, part: str, users: int | None) -> tuple[Dataset, RankingSample]:
    """The histories without the events of the part and later ones, and the users of the part, or the first of them."""
    parts = split(read_sequences(which, users), "leave-one-out")
    return parts.train, RankingSample(getattr(parts, part), find_tail_items(parts.train), None)


def simulate_part() -> tuple[Dataset, RankingSample]:
    """A small simulated log and held-out events of its users."""
    parts = split(Simulation(users=200, items=300, events=5_000).dataset(), "leave-one-out")
    return parts.train, RankingSample(parts.test, find_tail_items(parts.train), None)


def describe(
    small: SequentialModel | CompressedEncoder,
    lists: MeasuredLists,
    model: SequentialModel,
    whole: MeasuredLists,
    seconds: tuple[float, float],
) -> Measured:
    """One run in the form of the harness: what is kept, and how many times smaller the item table and all arrays are."""
    table = small.items.nbytes if isinstance(small, CompressedEncoder) else small.embed_items().nbytes
    total = sum(count_parts(small).values())
    loss = whole.compute_loss(lists, "ndcg")
    quality = {
        "ndcg@20": lists.means()["ndcg"],
        "ndcg_kept": 1 - loss.value,
        "ndcg_kept_for_certain": loss.kept,
        "tail_recall_kept": 1 - whole.compute_loss(lists, "tail_recall").value,
        "identical": whole.share_identical(lists),
        "table_smaller": model.weights[ITEM_TABLE].nbytes / table,
        "whole_smaller": sum(count_parts(model).values()) / total,
        "bytes_per_item": table / small.n_items,
        "bytes": total,
    }
    return {"wall": [seconds[0]], "cpu": [seconds[1]], "times": {}, "quality": quality, "notes": []}


def measure_all(
    model: SequentialModel, data: Dataset, sample: RankingSample, epochs: int, run: Run
) -> dict[str, list[Measured]]:
    """One run of each method by name."""
    whole = sample.measure(model, run)
    runs = {"uncompressed": [describe(model, whole, model, whole, (0.0, 0.0))]}
    for method in list_methods(epochs):
        wall, cpu = time.perf_counter(), time.process_time()
        small = method.compress(model, data, run)
        seconds = time.perf_counter() - wall, time.process_time() - cpu
        runs[str(method)] = [describe(small, sample.measure(small, run), model, whole, seconds)]
        found = runs[str(method)][0]["quality"]
        print(
            f"  {method}: table {found['table_smaller']:.1f} times smaller, all {found['whole_smaller']:.1f}, NDCG@20 {found['ndcg_kept']:.2%}, "
            f"for certain {found['ndcg_kept_for_certain']:.2%}, CPU {seconds[1]:.0f} s",
            flush=True,
        )
    return runs


def make_comparisons(runs: dict[str, list[Measured]], which: str) -> list[Comparison]:
    """What is kept at the goals of the data, by the best of the methods that are as small."""
    rows = []
    smaller, kept = GOALS.get(which, (0, 0.0))
    for measure, factor in (("table_smaller", smaller), ("whole_smaller", WHOLE_GOAL)):
        fitting = {name: run[0]["quality"] for name, run in runs.items() if run[0]["quality"][measure] >= factor > 0}
        best = max(fitting, key=lambda name: fitting[name]["ndcg_kept"], default=None)
        if best is not None and best != "uncompressed":
            what = f"NDCG@20 kept for certain, {measure.replace('_', ' ')} by {factor}"
            goal = kept if measure == "table_smaller" and kept else None
            rows.append(Comparison(what=what, ours=best, measure="ndcg_kept_for_certain", at_least=goal, cause=CAUSE))
    return rows


def fit_or_load(text: str, data: Dataset, kept: Path | None, run: Run) -> SequentialModel:
    """A model that was saved in the folder, or is saved there now."""
    if kept is not None and kept.exists():
        loaded: SequentialModel = artifacts.load(kept, SequentialModel)
        return loaded
    estimator: Any = parse_model(text)
    model: SequentialModel = estimator.fit(data, run)
    if kept is not None:
        artifacts.save(model, kept)
    return model


def main() -> None:
    options = harness.build_parser(__doc__)
    options.add_argument("--data", choices=sorted(BASES), default="beauty", help="data set (default beauty)")
    options.add_argument("--part", choices=("valid", "test"), default="valid", help="test: once, at the end")
    options.add_argument("--base", help="the model that is compressed, with settings after commas")
    options.add_argument("--keep", type=Path, help="folder of the fitted model")
    options.add_argument("--users", type=int, help="the first so many users alone")
    options.add_argument("--epochs", type=int, default=2, help="epochs of the codes that are trained (default 2)")
    options.add_argument("--name", default="", help="save the results under this name")
    measure_and_save(options.parse_args())


def measure_and_save(args: argparse.Namespace) -> dict[str, Any]:
    """Measure everything in this process, since lists are compared pair by pair."""
    pin_to_cores(args.threads)
    run = Run(threads=args.threads)
    data, sample = simulate_part() if args.quick else read_part(args.data, args.part, args.users)
    base = args.base or ("sasrec,embedding_dim=16,epochs=1" if args.quick else BASES[args.data])
    model = fit_or_load(base, data, args.keep, run)
    runs = measure_all(model, data, sample, args.epochs, run)
    claim = Claim(
        name="_".join(
            each for each in ("sequence_codes", args.data.replace("-", ""), args.part * (args.part == "test")) if each
        ),
        title=f"Ranking kept by {base.partition(',')[0]} with its items in codes.",
        data=f"{FILES[args.data][1]} of {FILES[args.data][0]}, leave-one-out, evaluated on {args.part}, {len(sample.queries)} users, full ranking",
        contestants={name: Contestant(_measured_here) for name in runs},
        comparisons=make_comparisons(runs, args.data),
    )
    results = harness.summarize_results(claim, args, runs)
    harness.save_results(results, args)
    return results


def _measured_here(probe: harness.Probe) -> None:
    """Contestants are measured in one process, and not by the harness."""


if __name__ == "__main__":
    main()
