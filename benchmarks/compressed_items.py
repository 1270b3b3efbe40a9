"""Ranking kept by compressed item vectors, by bytes for each item: leanrec's codes, FAISS, usearch, and narrower models fitted anew.

    python benchmarks/compressed_items.py [--part valid|test] [--base MODEL] [--users N] [--keep FOLDER [--kept]] [--name NAME] [--quick]

The model is fitted once on Gowalla, and its item vectors are coded in every way. All codes are judged alike: users are embedded
from the decoded items, and bytes are everything that this needs: codes, scales, codebooks, rotations and sums. The ridge of
the narrower models is chosen on a sample of the users of valid. --part test: once, after every choice has been made.

With --keep each contestant's lists are kept in a folder, so that a run that was stopped goes on where it was. --only FAMILY measures
some families, repeatable; runs of other families may keep in the same folder at the same time. --kept measures nothing more.
"""

import argparse
import functools
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import Claim, Comparison, Contestant
from kept_lists import KeptLists
from peer_codecs import DecodedCodes, list_peers
from probe import pin_to_cores

from leanrec.compression import AxesCodec, FactorCompression, ProductCodec, ScalarCodec, count_parts
from leanrec.data import Dataset
from leanrec.evaluation.compression.ranking_sample import METRICS, MeasuredLists, RankingSample, find_tail_items
from leanrec.models import parse_model
from leanrec.protocols import Scorer
from leanrec.run import Run

BASE = "ials,embedding_dim=256,l2=0.7,epochs=8,relaxation=1"
BUDGETS = (8, 16, 32, 64, 128, 256)
# Codes and bits of each code: about 8, 12, 16, 24, 32 and 48 bytes an item with their codebooks, where D is 256.
PRODUCTS = ((8, 6), (10, 8), (13, 8), (21, 8), (29, 8), (45, 8))
ROUNDS = 3
WIDTHS = (2, 4, 8, 16, 32, 64)
RIDGES = (0.3, 0.7, 1.5)
# Bytes an item, and the share of NDCG@20 to keep.
GOALS = ((264, 0.999), (136, 0.997), (104, 0.99), (64, 0.97), (32, 0.93), (16, 0.88))
# Family → color, of the palette of Okabe and Ito as in all plots, and marker.
STYLES = {
    "product codes, refitted": ("#0072b2", "o"),
    "scalar codes, refitted": ("#00825f", "s"),
    "product codes": ("#0072b2", "."),
    "scalar codes": ("#00825f", "."),
    "FAISS scalar": ("#c4500a", "^"),
    "FAISS PQ": ("#a8528a", "v"),
    "FAISS OPQ": ("#9c2f2f", "v"),
    "FAISS RaBitQ": ("#7a6a00", "D"),
    "usearch": ("#1d1f23", "*"),
    "narrower, float32": ("#6b6b6b", "x"),
    "narrower, 8 bits": ("#6b6b6b", "+"),
}
OURS = tuple(name for name in STYLES if "codes" in name)
CAUSE = "Codes and codebooks are fitted by alternating least squares, which ends in a local minimum. Next: codebooks of two levels."
Measured = dict[str, Any]
Make = Callable[[Scorer, Dataset, Run], Scorer]


def list_contestants(base: str, dims: int, *, is_refitted: bool) -> Iterator[tuple[str, str, Make]]:
    """Family and name of each way to make the model smaller, and the way."""
    for codes, bits in PRODUCTS:
        if codes < dims:
            yield from _list_codecs("product codes", ProductCodec(codes, bits), is_refitted=is_refitted)
    for bits in range(8, 0, -1):
        codec = ScalarCodec(bits, balanced=bits <= 4)
        yield from _list_codecs("scalar codes", codec, is_refitted=is_refitted and bits <= 3)
    # Just within 64, 32 and 16 bytes an item, where D is 256.
    for bits, n_axes in ((2, dims * 15 // 16), (1, dims * 7 // 8), (1, dims * 3 // 8)):
        yield from _list_codecs(
            "scalar codes", AxesCodec(ScalarCodec(bits, balanced=True), n_axes), is_refitted=is_refitted
        )
    for family, name, method in list_peers(dims):
        yield family, name, method.compress
    if is_refitted:
        yield from _list_narrower(base, dims)


def _list_narrower(base: str, dims: int) -> Iterator[tuple[str, str, Make]]:
    """The same model with fewer dimensions, plain and in 8 bits."""
    for width in (each for each in (*WIDTHS, 2 * WIDTHS[-1]) if each < dims):
        if width in WIDTHS:
            yield "narrower, float32", f"iALS {width}", functools.partial(fit_narrower, base, width)
        if width >= BUDGETS[0]:
            make = functools.partial(fit_narrower, base, width, codec=ScalarCodec(8, rotated=False))
            yield "narrower, 8 bits", f"iALS {width} in 8 bits", make


def _list_codecs(family: str, codec: Any, *, is_refitted: bool) -> Iterator[tuple[str, str, Make]]:
    yield family, str(codec), FactorCompression(codec).compress
    if is_refitted:
        yield f"{family}, refitted", f"{codec}, refitted", FactorCompression(codec, ROUNDS).compress


def fit_narrower(base: str, width: int, model: Scorer, data: Dataset, run: Run, codec: Any = None) -> Scorer:
    """A model of fewer dimensions, fitted anew, with the ridge that is best on valid; ``model`` is not used."""
    del model
    fitted = _fit_width(base, width, data, run)
    return fitted if codec is None else FactorCompression(codec).compress(fitted, data, run)


@functools.lru_cache(maxsize=2)
def _fit_width(base: str, width: int, data: Dataset, run: Run) -> Scorer:
    if "Gowalla" not in data.source:
        return _fit_ridge(base, width, RIDGES[1], data, run)
    return _fit_ridge(base, width, _choose_ridge(base, min(width, WIDTHS[-1]), run), data, run)


@functools.cache
def _choose_ridge(base: str, width: int, run: Run) -> float:
    """The best ridge on a sample of the users of valid, which wider models take over."""
    data, sample = read_part("valid", 3000)
    scores = [sample.measure(_fit_ridge(base, width, l2, data, run), run).means()["ndcg"] for l2 in RIDGES]
    return RIDGES[int(np.argmax(scores))]


@functools.lru_cache(maxsize=len(RIDGES))
def _fit_ridge(base: str, width: int, l2: float, data: Dataset, run: Run) -> Scorer:
    text = re.sub(r"l2=[\d.]+", f"l2={l2}", re.sub(r"embedding_dim=\d+", f"embedding_dim={width}", base))
    fitted: Scorer = parse_model(text).fit(data, run)
    return fitted


@functools.lru_cache(maxsize=2)
def read_part(part: str, users: int | None) -> tuple[Dataset, RankingSample]:
    """Gowalla without a part, and the users of that part, or a sample of them."""
    from datasets import gowalla_evaluation_set

    data = _read_history(part)
    return data, RankingSample(gowalla_evaluation_set(part, users=users), find_tail_items(data), None)


@functools.cache
def _read_history(part: str) -> Dataset:
    from datasets import HISTORY_PART, gowalla_dataset

    return gowalla_dataset(HISTORY_PART[part])


def simulate_part() -> tuple[Dataset, RankingSample]:
    """A small simulated log and held-out events of its users."""
    from leanrec.data import Simulation, split

    parts = split(Simulation(users=200, items=300, events=5_000).dataset(), "leave-one-out")
    return parts.train, RankingSample(parts.test, find_tail_items(parts.train), None)


def count_bytes(model: Scorer) -> float:
    """Bytes for each item, of all arrays that the model needs."""
    parts = count_parts(model)
    for codes in getattr(model, "tables", {}).values():
        if isinstance(codes, DecodedCodes):
            parts["vectors"] = codes.n_bytes
    return sum(parts.values()) / model.n_items


def describe(lists: MeasuredLists, whole: MeasuredLists, n_bytes: float, seconds: float) -> Measured:
    """One run in the form of the harness: what is kept of the metrics of the whole model, with half the width of the interval."""
    quality = {"bytes": n_bytes, "identical": whole.share_identical(lists)}
    for metric in METRICS:
        loss = whole.compute_loss(lists, metric)
        quality[f"{metric}@20"] = lists.means()[metric]
        quality[f"{metric}_kept"] = 1 - loss.value
        quality[f"{metric}_half_width"] = (loss.high - loss.low) / 2
    return {"wall": [seconds], "cpu": [], "times": {}, "quality": quality, "notes": []}


def measure_all(
    base: str,
    data: Dataset,
    sample: RankingSample,
    run: Run,
    only: list[str] | None = None,
    folder: Path | None = None,
    *,
    is_kept: bool = False,
) -> tuple[dict[str, list[Measured]], dict[str, str], dict[str, MeasuredLists]]:
    """One run of each contestant by name, the family of each, and its lists; ``is_kept``: of those that are in the folder."""
    kept = KeptLists(folder, base, sample.queries.fingerprint)
    model, seconds = kept.fit_base(data, run)
    found = kept.read("uncompressed")
    if found is None:
        found = sample.measure(model, run), count_bytes(model), seconds
        kept.write("uncompressed", *found)
    whole = found[0]
    runs = {"uncompressed": [describe(whole, whole, *found[1:])]}
    families, lists = {"uncompressed": "uncompressed"}, {"uncompressed": whole}
    dims = getattr(parse_model(base), "embedding_dim", 64)
    for family, name, make in list_contestants(base, dims, is_refitted=base.startswith("ials")):
        if only and family not in only:
            continue
        found = kept.read(name)
        if found is None and is_kept:
            continue
        if found is None:
            start = time.perf_counter()
            try:
                smaller = make(model, data, run)
            except ModuleNotFoundError as error:
                runs[name] = [{"failed": f"{error.name} is not installed"}]
                continue
            seconds = time.perf_counter() - start
            found = sample.measure(smaller, run), count_bytes(smaller), seconds
            kept.write(name, *found)
        lists[name], families[name] = found[0], family
        runs[name] = [describe(found[0], whole, *found[1:])]
        measured = runs[name][0]["quality"]
        print(f"  {name}: {measured['bytes']:.1f} B, NDCG {measured['ndcg_kept']:.2%}, {found[2]:.1f} s", flush=True)
    return runs, families, lists


def find_best(runs: Mapping[str, list[Measured]], names: list[str], budget: float) -> str | None:
    """The contestant of the best NDCG within so many whole bytes an item."""
    fitting = {each: runs[each][0]["quality"] for each in names if round(runs[each][0]["quality"]["bytes"]) <= budget}
    return max(fitting, key=lambda name: fitting[name]["ndcg@20"], default=None)


def make_comparisons(
    runs: Mapping[str, list[Measured]], families: Mapping[str, str], lists: Mapping[str, MeasuredLists]
) -> list[Comparison]:
    """Our best against that of the others at each budget, and the goals of what is kept."""
    ours = [name for name, family in families.items() if family in OURS]
    others = [name for name, family in families.items() if family not in (*OURS, "uncompressed")]
    rows = []
    for budget in BUDGETS:
        mine, peer = (find_best(runs, names, budget) for names in (ours, others))
        if mine is not None:
            what = f"at most {budget} bytes an item"
            notes = compare_families(runs, families, lists, mine, budget)
            rows.append(
                Comparison(what=what, ours=mine, peer=peer, measure="ndcg@20", at_least=0.998, cause=CAUSE, notes=notes)
                if peer is not None
                else Comparison(what=f"{what}, no peer fits", ours=mine, measure="ndcg@20")
            )
    for budget, kept in GOALS:
        mine = find_best(runs, ours, budget)
        if mine is not None:
            what = f"share of NDCG@20 kept at {budget} bytes an item"
            rows.append(Comparison(what=what, ours=mine, measure="ndcg_kept", at_least=kept, cause=CAUSE))
    return rows


def compare_families(
    runs: Mapping[str, list[Measured]],
    families: Mapping[str, str],
    lists: Mapping[str, MeasuredLists],
    mine: str,
    budget: int,
) -> str:
    """What the best of each other family within a budget loses of our NDCG, user by user, with 95 % intervals."""
    said = []
    for family in dict.fromkeys(families.values()):
        members = [name for name, its in families.items() if its == family]
        peer = None if family in (*OURS, "uncompressed") else find_best(runs, members, budget)
        if peer is not None and peer in lists:
            loss = lists[mine].compute_loss(lists[peer], "ndcg")
            verdict = "ahead of" if loss.low > 0 else "behind" if loss.high < 0 else "level with"
            said.append(f"{verdict} {peer}, which loses {loss.value:.2%} ({loss.low:.2%} to {loss.high:.2%})")
    return f"{mine}: {'; '.join(said)}." if said else ""


def draw_results(results: dict[str, Any], folder: Path, families: Mapping[str, str]) -> list[str]:
    """Plot the share of NDCG@20 that is kept against bytes an item: a line through the best of each family, and 95 % intervals."""
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

    stages, name = results["contestants"], f"{results['claim']}.png"
    figure, panel = plt.subplots(figsize=(8.2, 4.4), layout="constrained")
    for family, (color, marker) in STYLES.items():
        members = [stages[each] for each, its in families.items() if its == family]
        rows = [[each[key]["value"] for key in ("bytes", "ndcg_kept", "ndcg_half_width")] for each in members]
        if not rows:
            continue
        x, y, half_widths = np.array(sorted(rows)).T
        is_main = family.endswith("refitted")
        is_best = y >= np.maximum.accumulate(y)
        style: dict[str, Any] = {"color": color, "zorder": 3 if is_main else 2}
        panel.errorbar(x, y, half_widths, linestyle="", elinewidth=0.8, alpha=0.5, **style)
        panel.plot(
            x[is_best], y[is_best], linewidth=2 if is_main else 1, linestyle="-" if family in OURS else "--", **style
        )
        size = 6 if is_main else 5
        panel.plot(x, y, linestyle="", marker=marker, markersize=size, **style)
        # The legend shows line and marker as one.
        panel.plot([], [], linestyle="-" if family in OURS else "--", marker=marker, color=color, label=family)
    whole = stages["uncompressed"]
    panel.axhline(1, color="#1d1f23", linewidth=0.9, zorder=1)
    panel.annotate(
        f"uncompressed, {whole['bytes']['value']:,.0f} bytes",
        (0, 1),
        xycoords=("axes fraction", "data"),
        xytext=(6, 4),
        textcoords="offset points",
        fontsize=8.5,
    )
    panel.set(xscale="log", xlabel="bytes an item (log scale)", ylabel="NDCG@20 kept")
    panel.set_ylim(top=1.05)
    panel.xaxis.set_major_locator(LogLocator(2, numticks=12))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8.5, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), handlelength=3.5)
    figure.savefig(folder / name, dpi=144)
    plt.close(figure)
    return [name]


def main() -> None:
    options = harness.build_parser(__doc__)
    options.add_argument("--part", choices=("valid", "test"), default="valid", help="test: once, at the end")
    options.add_argument("--base", default=BASE, help="the model that is compressed, with settings after commas")
    options.add_argument("--users", type=int, help="a sample of so many users")
    options.add_argument(
        "--keep", type=Path, help="keep the lists of each contestant in this folder, and go on from there"
    )
    options.add_argument("--kept", action="store_true", help="only what is in that folder, without measuring more")
    options.add_argument("--name", default="", help="save the results under this name")
    args = options.parse_args()
    measure_and_save(args)


def measure_and_save(args: argparse.Namespace) -> dict[str, Any]:
    """Measure everything in this process, since lists are compared pair by pair."""
    pin_to_cores(args.threads)
    run = Run(threads=args.threads)
    data, sample = simulate_part() if args.quick else read_part(args.part, args.users)
    start = time.perf_counter()
    # Product codes of FAISS take a minute to train even on a few items where other work keeps the cores busy.
    quick = [family for family in STYLES if family not in {"FAISS PQ", "FAISS OPQ"}] if args.quick else None
    only = args.only or quick
    runs, families, lists = measure_all(args.base, data, sample, run, only, args.keep, is_kept=args.kept)
    part = "" if args.part == "valid" else args.part
    claim = Claim(
        name="_".join(each for each in ("compressed_items", part) if each),
        title=f"Ranking kept by compressed item vectors of {args.base.partition(',')[0]}.",
        data=f"{data.source or 'simulated'}, evaluated on {args.part}, {len(sample.queries)} users, full ranking, seen items excluded",
        contestants={name: Contestant(_measured_here) for name in runs},
        comparisons=make_comparisons(runs, families, lists),
    )
    results = harness.summarize_results(claim, args, runs)
    results["seconds"] = round(time.perf_counter() - start, 1)
    harness.save_results(results, args, functools.partial(draw_results, families=families))
    return results


def _measured_here(probe: harness.Probe) -> None:
    """Contestants are measured in one process, and not by the harness."""


if __name__ == "__main__":
    main()
