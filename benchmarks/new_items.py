"""Cold-start items ranked by content alone, on ML-1M (titles, genres) and Yelp (names, categories).

    python benchmarks/new_items.py [--data ml-1m|yelp] [--model NAME[,SETTING=VALUE]] [--name NAME] [--repeats 3] [--test]

A tenth of the items is held out for validation and another for the test, with all their events. Ground truth is the held-out
items of each user, ranked once among the held-out items alone and once among all unseen items.
"""

import functools

import harness
import numpy as np
from harness import Claim, Comparison, Contestant, Probe
from sequences import read_sequences

from leanrec.models import parse_model

# A model without content scores all held-out items equally, and the order of the file, which is not random, would decide.
MODELS = ("content", "content,text=embedding", "graphsage", "two_tower", "two_tower,text=embedding")
RANDOM = frozenset({"graphsage", "two_tower"})
TITLES = {"ml-1m": "ML-1M, titles and genres", "yelp": "Yelp (S3-Rec's file), names and categories"}


def train_and_evaluate(probe: Probe, text: str, which: str, part: str) -> None:
    from leanrec.data import split
    from leanrec.evaluation import evaluate
    from leanrec.protocols import Context
    from leanrec.retrieval import ExactRetriever

    estimator = parse_model(text)
    parts = split(
        read_sequences(which, 500 if probe.quick else None), "cold-items", valid=0.1 if part == "valid" else 0
    )
    evaluation_set = parts.valid if part == "valid" else parts.test
    train = parts.train
    train.interactions  # noqa: B018 - built before the timer starts
    held_out = np.unique(evaluation_set.ground_truth.indices).astype(np.int32)
    if np.isin(held_out, train.interactions.indices).any():
        raise SystemExit("A held-out item must not be in training.")
    with probe.timed():
        model = estimator.fit(train, probe.run)
    # Users without a history are excluded: content cannot rank for them.
    known = np.flatnonzero(np.diff(evaluation_set.queries.history.indptr))
    evaluation_set = evaluation_set.take(known)
    among = evaluate(ExactRetriever(model, context=Context(allow=held_out)), evaluation_set, k=(10,)).means()
    whole = evaluate(model, evaluation_set, k=(10,)).means()
    probe.record_facts(items=len(held_out), users=len(known))
    probe.record_quality(ndcg_10=among["ndcg@10"], recall_10=among["recall@10"], recall_among_all_10=whole["recall@10"])
    probe.add_note(repr(estimator))


def make_claim(models: list[str], which: str, part: str) -> Claim:
    contestants = {}
    for name in models:
        work = functools.partial(train_and_evaluate, text=name, which=which, part=part)
        contestants[name] = Contestant(work, repeats=0 if name.partition(",")[0] in RANDOM else 1)
    rows = [
        Comparison(what=f"{name}, {part}", ours=name, measure=measure)
        for name in models
        for measure in ("ndcg@10", "recall@10")
    ]
    short = which.replace("-", "")
    return Claim(
        name=f"new_items_{short}" + ("_test" if part == "test" else ""),
        title="Cold-start items ranked by their content.",
        data=f"{TITLES[which]}; a tenth of the items held out with all their events, evaluated on {part} among these items alone; runs differ in the seed",
        contestants=contestants,
        comparisons=rows,
    )


def main() -> None:
    options = harness.build_parser(__doc__, models=True, device=True)
    options.add_argument("--data", choices=sorted(TITLES), default="ml-1m", help="data set (default ml-1m)")
    options.add_argument("--test", action="store_true", help="evaluate on the test items: once, at the end")
    args = options.parse_args()
    harness.run_claim(make_claim(args.model or list(MODELS), args.data, "test" if args.test else "valid"), args)


if __name__ == "__main__":
    main()
