"""Several event types: views, carts and purchases of RetailRocket, evaluated on purchases and on views.

    python benchmarks/multitask.py [--model NAME[,SETTING=VALUE]] [--name NAME] [--repeats 3] [--test]

A tenth of all user-item pairs is held out for validation and another for the test, each with all its events. Ground truth is
the unseen items that a user buys (HR@10 and NDCG@10 over the purchases held out), and those that a user views. Models chosen
by --model are fitted on all events. The file has no times, so the split is random.
"""

import functools
from typing import Any

import duckdb
import harness
import numpy as np
import scipy.sparse as sp
from harness import Claim, Comparison, Contestant, Probe

from leanrec.data import Dataset, EvaluationSet, Vocabulary, find_data
from leanrec.errors import SourceError
from leanrec.models import parse_model
from leanrec.types import CSR, Events, Queries

EVENT_TYPES = ("view", "add_to_cart", "purchase")
HELD_OUT_SHARE = 0.1
# Name → model and event types it is fitted on: all types alike, purchases alone, or each type a task.
MODELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "popularity": ("popularity", EVENT_TYPES),
    "popularity, purchases alone": ("popularity", EVENT_TYPES[2:]),
    "ials": ("ials", EVENT_TYPES),
    "ials, purchases alone": ("ials", EVENT_TYPES[2:]),
    "deepfm, all events alike": ("deepfm", EVENT_TYPES),
    "deepfm, purchases alone": ("deepfm", EVENT_TYPES[2:]),
    "multitask": ("multitask", EVENT_TYPES),
    "multitask, by any event": ("multitask,task_exponents=[0,0,0]", EVENT_TYPES),
    "multitask, by purchase": ("multitask,task_exponents=[0,0,1]", EVENT_TYPES),
    "multitask, shared bottom": ("multitask,sharing=bottom", EVENT_TYPES),
}


def read_events() -> Events:
    """All events, with internal rows of users and items."""
    try:
        home = find_data("retailrocket")
    except SourceError as error:
        raise SystemExit(
            f"{error}\nThis benchmark reads retailrocket/view, add_to_cart and purchase.parquet."
        ) from None
    parts = []
    with duckdb.connect() as con:
        for event_type in EVENT_TYPES:
            query = "SELECT visitorid, itemid FROM read_parquet(?)"
            parts.append(con.execute(query, [str(home / f"{event_type}.parquet")]).fetchnumpy())
    user, item = (np.concatenate([part[name] for part in parts]) for name in ("visitorid", "itemid"))
    codes = np.repeat(np.arange(len(EVENT_TYPES), dtype=np.int8), [len(part["itemid"]) for part in parts])
    users, items = (np.unique(each, return_inverse=True)[1].astype(np.int32) for each in (user, item))
    ones = np.ones(len(codes), np.float32)
    events = Events(users, items, np.zeros(len(codes), np.int64), codes, ones, event_types=EVENT_TYPES)
    # The events of a data set are sorted by user.
    return events.take(np.argsort(events.user, kind="stable"))


def split_pairs(part: str, event_types: tuple[str, ...]) -> tuple[Dataset, dict[str, EvaluationSet]]:
    """Training data of these event types, and for each event type an evaluation set of the held-out pairs of the part."""
    events = read_events()
    users, items = int(events.user.max()) + 1, int(events.item.max()) + 1
    pair = events.user.astype(np.int64) * items + events.item
    pairs, position = np.unique(pair, return_inverse=True)
    number = np.random.default_rng(0).random(len(pairs))[position]
    low, high = (0, HELD_OUT_SHARE) if part == "test" else (HELD_OUT_SHARE, 2 * HELD_OUT_SHARE)
    held_out, before = (number >= low) & (number < high), number >= high
    history = _interaction_matrix(events.take(before), (users, items))  # repeated events add up, as in training
    chosen = np.isin(events.event_type, [EVENT_TYPES.index(each) for each in event_types])
    names = Vocabulary(np.arange(users), "user"), Vocabulary(np.arange(items), "item")
    train = Dataset(events=events.take(before & chosen), users=names[0], items=names[1], source="RetailRocket")
    evaluation_sets = {}
    for code, event_type in enumerate(EVENT_TYPES):
        truth = _interaction_matrix(events.take(held_out & (events.event_type == code)), (users, items))
        truth.data[:] = 1
        # Every evaluated user has a history.
        rows = np.flatnonzero((np.diff(truth.indptr) > 0) & (np.diff(history.indptr) > 0)).astype(np.int32)
        evaluation_sets[event_type] = EvaluationSet(
            queries=Queries(users=rows, history=history[rows]), ground_truth=truth[rows]
        )
    return train, evaluation_sets


def _interaction_matrix(events: Events, shape: tuple[int, int]) -> CSR:
    found = sp.coo_array((events.weight, (events.user, events.item)), shape=shape).tocsr()
    found.sum_duplicates()
    return found


def train_and_evaluate(probe: Probe, text: str, part: str, event_types: tuple[str, ...]) -> None:
    from leanrec.evaluation import evaluate

    estimator: Any = parse_model(text)
    train, evaluation_sets = split_pairs(part, event_types)
    train.interactions  # noqa: B018 - built before the timer starts
    with probe.warmup():
        estimator.fit(train.with_events(train.events.take(slice(0, 2000))), probe.run)
    with probe.timed():
        model = estimator.fit(train, probe.run)
    for event_type in ("purchase", "view"):
        evaluated = (
            evaluation_sets[event_type]
            if not probe.quick
            else evaluation_sets[event_type].take(np.arange(min(50, len(evaluation_sets[event_type]))))
        )
        means = evaluate(model, evaluated, k=(10,)).means()
        probe.record_quality(
            **{f"{event_type}_ndcg_10": means["ndcg@10"], f"{event_type}_recall_10": means["recall@10"]}
        )
    probe.record_facts(purchases=len(evaluation_sets["purchase"]), views=len(evaluation_sets["view"]))
    probe.add_note(f"{estimator!r}, on {', '.join(event_types)}")


def make_claim(models: dict[str, tuple[str, tuple[str, ...]]], part: str) -> Claim:
    contestants = {}
    for name, (text, event_types) in models.items():
        work = functools.partial(train_and_evaluate, text=text, part=part, event_types=event_types)
        contestants[name] = Contestant(work, repeats=1 if text == "popularity" else 0)
    rows = [
        Comparison(what=f"{name}, {part}", ours=name, measure=measure)
        for name in models
        for measure in ("purchase_ndcg@10", "view_ndcg@10")
    ]
    return Claim(
        name="multitask" + ("_test" if part == "test" else ""),
        title="Views, carts and purchases: one task per event type, compared with models of all events alike.",
        data=f"RetailRocket, random pairs held out with all their events, evaluated on {part}, all unseen items ranked; runs differ in the seed",
        contestants=contestants,
        comparisons=rows,
    )


def main() -> None:
    options = harness.build_parser(__doc__, models=True, device=True)
    options.add_argument("--test", action="store_true", help="evaluate on the test pairs: once, at the end")
    args = options.parse_args()
    named: dict[str, tuple[str, tuple[str, ...]]] = {text: (text, EVENT_TYPES) for text in args.model or ()}
    harness.run_claim(make_claim(named or MODELS, "test" if args.test else "valid"), args)


if __name__ == "__main__":
    main()
