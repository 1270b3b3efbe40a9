"""Several kinds of behaviour at once: views, carts and purchases of RetailRocket, judged on purchases and on views.

    python benchmarks/multitask.py [--model NAME[,SETTING=VALUE]] [--name NAME] [--repeats 3] [--test]

A tenth of all pairs of a user and an item is held out for validation and another for the test, each with all that happened
between the two. What is asked: which unseen item will this user buy (HR@10 and NDCG@10 over the purchases held out), and which
will be looked at. Models chosen by --model take all events. The file has no times, so the split is by chance.
"""

import functools
from typing import Any

import duckdb
import harness
import numpy as np
import scipy.sparse as sp
from harness import Claim, Comparison, Contestant, Probe

from leanrec.cli.options import parse_model
from leanrec.data.dataset import Dataset
from leanrec.data.datasets.bundled import find_data
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.data.vocabulary import Vocabulary
from leanrec.errors import SourceError
from leanrec.types import CSR, Events, Queries

KINDS = ("view", "add_to_cart", "purchase")
SHARE = 0.1
# What is fitted on, and how it is called: all kinds alike, purchases alone, or each kind a task of its own.
MODELS = {
    "popularity": ("popularity", KINDS),
    "popularity, purchases alone": ("popularity", KINDS[2:]),
    "ials": ("ials", KINDS),
    "ials, purchases alone": ("ials", KINDS[2:]),
    "deepfm, all events alike": ("deepfm", KINDS),
    "deepfm, purchases alone": ("deepfm", KINDS[2:]),
    "multitask": ("multitask", KINDS),
    "multitask, by any event": ("multitask,importance=[0,0,0]", KINDS),
    "multitask, by purchase": ("multitask,importance=[0,0,1]", KINDS),
    "multitask, shared bottom": ("multitask,sharing=bottom", KINDS),
}


def read() -> Events:
    """All events, rows of users and items."""
    try:
        home = find_data("retailrocket")
    except SourceError as error:
        raise SystemExit(
            f"{error}\nThis benchmark reads retailrocket/view, add_to_cart and purchase.parquet."
        ) from None
    parts = []
    with duckdb.connect() as con:
        for kind in KINDS:
            query = "SELECT visitorid, itemid FROM read_parquet(?)"
            parts.append(con.execute(query, [str(home / f"{kind}.parquet")]).fetchnumpy())
    user, item = (np.concatenate([part[name] for part in parts]) for name in ("visitorid", "itemid"))
    kind = np.repeat(np.arange(len(KINDS), dtype=np.int8), [len(part["itemid"]) for part in parts])
    rows = (np.unique(each, return_inverse=True)[1].astype(np.int32) for each in (user, item))
    ones = np.ones(len(kind), np.float32)
    events = Events(*rows, time=np.zeros(len(kind), np.int64), event_type=kind, weight=ones, event_types=KINDS)
    # A data set has its events by user.
    return events.take(np.argsort(events.user, kind="stable"))


def parts_of(part: str, kinds: tuple[str, ...]) -> tuple[Dataset, dict[str, EvaluationSet]]:
    """What is trained on, of these kinds, and the cases of each kind: a user's items of the part's pairs."""
    events = read()
    users, items = int(events.user.max()) + 1, int(events.item.max()) + 1
    pair = events.user.astype(np.int64) * items + events.item
    known, place = np.unique(pair, return_inverse=True)
    draw = np.random.default_rng(0).random(len(known))[place]
    low, high = (0, SHARE) if part == "test" else (SHARE, 2 * SHARE)
    held, before = (draw >= low) & (draw < high), draw >= high
    history = _matrix(events.take(before), (users, items))  # repeats add up, as in training
    wanted = np.isin(events.event_type, [KINDS.index(kind) for kind in kinds])
    names = Vocabulary(np.arange(users), "user"), Vocabulary(np.arange(items), "item")
    train = Dataset(events=events.take(before & wanted), users=names[0], items=names[1], source="RetailRocket")
    cases = {}
    for code, kind in enumerate(KINDS):
        truth = _matrix(events.take(held & (events.event_type == code)), (users, items))
        truth.data[:] = 1
        # Who asks is known by something.
        rows = np.flatnonzero((np.diff(truth.indptr) > 0) & (np.diff(history.indptr) > 0)).astype(np.int32)
        cases[kind] = EvaluationSet(queries=Queries(users=rows, history=history[rows]), ground_truth=truth[rows])
    return train, cases


def _matrix(events: Events, shape: tuple[int, int]) -> CSR:
    found = sp.coo_array((events.weight, (events.user, events.item)), shape=shape).tocsr()
    found.sum_duplicates()
    return found


def judge(probe: Probe, text: str, part: str, kinds: tuple[str, ...]) -> None:
    from leanrec.evaluation.evaluate import evaluate

    estimator: Any = parse_model(text)
    train, cases = parts_of(part, kinds)
    train.interactions  # noqa: B018 - made before the clock starts
    with probe.warmup():
        estimator.fit(train.with_events(train.events.take(slice(0, 2000))), probe.run)
    with probe.timed():
        model = estimator.fit(train, probe.run)
    for kind in ("purchase", "view"):
        asked = cases[kind] if not probe.quick else cases[kind].take(np.arange(min(50, len(cases[kind]))))
        means = evaluate(model, asked, k=(10,)).means()
        probe.reached(**{f"{kind}_ndcg_10": means["ndcg@10"], f"{kind}_recall_10": means["recall@10"]})
    probe.found(purchases=len(cases["purchase"]), views=len(cases["view"]))
    probe.note(f"{estimator!r}, on {', '.join(kinds)}")


def make_claim(models: dict[str, tuple[str, tuple[str, ...]]], part: str) -> Claim:
    contestants = {}
    for name, (text, kinds) in models.items():
        work = functools.partial(judge, text=text, part=part, kinds=kinds)
        contestants[name] = Contestant(work, repeats=1 if text == "popularity" else 0)
    rows = [
        Comparison(what=f"{name}, {part}", ours=name, measure=measure)
        for name in models
        for measure in ("purchase_ndcg@10", "view_ndcg@10")
    ]
    return Claim(
        name="multitask" + ("_test" if part == "test" else ""),
        title="Views, carts and purchases: each kind a task, beside models of all events alike.",
        data=f"RetailRocket, pairs held out by chance with all their events, judged on {part}, all items ranked but those seen; several runs are several seeds",
        contestants=contestants,
        comparisons=rows,
    )


def main() -> None:
    options = harness.parser(__doc__, models=True, device=True)
    options.add_argument("--test", action="store_true", help="judge on the test pairs: once, at the end")
    asked = options.parse_args()
    models = {text: (text, KINDS) for text in asked.model} if asked.model else MODELS
    harness.run(make_claim(models, "test" if asked.test else "valid"), asked)


if __name__ == "__main__":
    main()
