"""Models that follow a stream by updates, by fits from the start, or not at all: quality and CPU time.

    python benchmarks/prequential.py [--repeats 1] [--quick]

The first four fifths of a log are for one fit. The rest comes in blocks of one percent of the log, each of which is first predicted
and then learned from. hin-amazon has times; in ML-1M only the order within each user is known, so there are no new users in its stream.
"""

import dataclasses
import functools

from harness import Claim, Comparison, Contestant, Probe, main

from leanrec.data import Dataset, find_data, ingest
from leanrec.evaluation import compare, evaluate_prequentially
from leanrec.models import get_model

DATA = {"hin-amazon": "ratings.parquet", "ml-1m": "ratings.parquet"}
MODELS = {"hin-amazon": ("item_knn", "ials", "bpr"), "ml-1m": ("item_knn", "ials")}
FIRST, N_BLOCKS, METRIC = 0.8, 20, "ndcg@10"
CAUSES = {
    "item_knn": (
        "A block of one percent has events on most items, and the neighbors of these are found again, as in a fit. A server learns "
        "from the few items of some seconds."
    ),
    "ials": "A fit is eight epochs of approximate solutions, and an update is one exact solution of each item of the block.",
    "bpr": "An update trains for a twelfth of the epochs of a fit.",
}


def read_log(name: str, *, quick: bool) -> Dataset:
    columns = {"time": "pos"} if name == "ml-1m" else {}
    data = ingest(find_data(name) / DATA[name], columns=columns).data
    few = data.events.user < (300 if quick else len(data.users))
    return dataclasses.replace(data, events=data.events.take(few))


def follow(probe: Probe, data_name: str, model: str) -> None:
    data = read_log(data_name, quick=probe.quick)
    with probe.warmup():
        few = dataclasses.replace(data, events=data.events.take(data.events.user < 100))
        evaluate_prequentially(get_model(model)(), few, first=FIRST, n_blocks=2, run=probe.run)
    n_blocks = 4 if probe.quick else N_BLOCKS
    with probe.timed():
        found = evaluate_prequentially(get_model(model)(), data, first=FIRST, n_blocks=n_blocks, run=probe.run)
    means = {policy: each.means()[METRIC] for policy, each in found.items()}
    pairs = {each.b: each.swap() for each in compare(found, METRIC, against="refit").pairs}
    for policy, pair in pairs.items():
        probe.add_note(
            f"{policy} − refit in {METRIC}: {pair.difference:+.4f}, 95 % interval {pair.low:+.4f} to {pair.high:+.4f}, over "
            f"{len(found[policy].values(METRIC)):,} users."
        )
    cpu = {policy: each.cpu_seconds for policy, each in found.items()}
    probe.record_quality(
        **{f"{METRIC} {policy}": mean for policy, mean in means.items()},
        quality_share=means["online"] / means["refit"],
        frozen_share=means["frozen"] / means["refit"],
        cpu_online=cpu["online"],
        cpu_refit=cpu["refit"],
        cpu_share=cpu["online"] / cpu["refit"],
    )


def make_comparisons(data: str, model: str) -> list[Comparison]:
    ours = f"{model} on {data}"
    return [
        Comparison(f"NDCG@10 of {ours}, updated, of that of fits", ours, measure="quality_share", at_least=0.98),
        Comparison(f"NDCG@10 of {ours}, frozen, of that of fits", ours, measure="frozen_share"),
        Comparison(
            f"CPU time of the updates of {ours}, of that of fits",
            ours,
            measure="cpu_share",
            at_most=0.05,
            cause=CAUSES[model],
        ),
    ]


PAIRS = [(data, model) for data, models in MODELS.items() for model in models]
CLAIM = Claim(
    name="prequential",
    title="Updates, fits and neither on a stream.",
    data="hin-amazon and ML-1M: a fit on four fifths, then twenty blocks, predicted and learned from",
    contestants={
        f"{model} on {data}": Contestant(functools.partial(follow, data_name=data, model=model), repeats=1)
        for data, model in PAIRS
    },
    comparisons=[each for data, model in PAIRS for each in make_comparisons(data, model)],
)

if __name__ == "__main__":
    main(CLAIM, __doc__)
