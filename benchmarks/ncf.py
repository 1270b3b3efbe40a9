"""NeuMF and iALS under the protocol of Neural Collaborative Filtering: ML-1M, the last event of each user among 99 sampled items.

    python benchmarks/ncf.py [--model NAME[,SETTING=VALUE]] [--test] [--repeats 3]

Evaluated on the last *training* event of each user, among 99 random items without an interaction, where settings were
chosen. With --test: fitted on all of train and evaluated on the held-out events and negatives of the paper, once, at the end.
"""

import functools
from typing import Any

import duckdb
import harness
import numpy as np
from harness import Claim, Comparison, Contestant, Probe

from leanrec.data import Dataset, Vocabulary, find_data
from leanrec.errors import SourceError
from leanrec.models import parse_model
from leanrec.types import Events, Int32Array, Int64Array

USERS, ITEMS, OTHERS = 6_040, 3_706, 99
# Tuned on the validation part where it differs from the defaults.
TUNED = {"ials": "ials,unobserved_weight=0.3,epochs=12,relaxation=1"}
MODELS = ("neumf", "ials", "popularity")
RANDOM = frozenset({"neumf", "ials"})
PUBLISHED = (
    "Published (HR@10/NDCG@10): popularity .4538/.2536, NeuMF .730/.447 (He et al. 2017, chosen on test); "
    "NeuMF .7093/.4349 and a tuned matrix factorization .7294/.4523 (Rendle et al., RecSys 2020)"
)
CAUSE = (
    "Less than a standard error of HR@10 over 6,040 users (.006). "
    "On 1,500 users training by gradients made the network worse: there is too little data. Next: more of the user's history than one factor as input of the network."
)


def read_columns(name: str, columns: str = "*") -> dict[str, np.ndarray]:
    try:
        file = find_data("ml-1m") / f"{name}.parquet"
    except SourceError as error:
        raise SystemExit(
            f"{error}\nThis benchmark reads ML-1M: ml-1m/ratings.parquet and ncf_train, ncf_test and ncf_test_negatives."
        ) from None
    with duckdb.connect() as con:
        con.execute("SET preserve_insertion_order=true")
        found = con.execute(f"SELECT {columns} FROM read_parquet(?)", [str(file)]).fetchnumpy()
    return {name: np.asarray(values) for name, values in found.items()}


def train_events() -> tuple[Int64Array, Int64Array, Int64Array]:
    """User, item and position in time of the training events, by user and time.

    The split has no order. Its item ids are those of ML-1M's file of ratings in the order of their first appearance, and
    its users are those of that file less 1, so the order is that of ``ratings``.
    """
    ratings, train = read_columns("ratings"), read_columns("ncf_train")
    user = ratings["userId"].astype(np.int64) - 1
    _, first, index = np.unique(ratings["movieId"], return_index=True, return_inverse=True)
    item = np.argsort(np.argsort(first))[index]
    pair = user * ITEMS + item
    kept = np.isin(pair, train["u"].astype(np.int64) * ITEMS + train["i"])
    if kept.sum() != len(train["u"]) or len(pair) - kept.sum() != USERS:
        raise SystemExit("The NCF split does not agree with ml-1m/ratings.parquet.")
    user, item, position = user[kept], item[kept], ratings["pos"][kept].astype(np.int64)
    order = np.lexsort((position, user))
    return user[order], item[order], position[order]


def validation_task(*, quick: bool = False) -> tuple[Dataset, Int32Array]:
    """Training data without the last event of each user, and (U, 100) candidates, the last event first."""
    user, item, position = train_events()
    last = np.flatnonzero(np.diff(user, append=-1))
    rng, seen = np.random.default_rng(2017), user * ITEMS + item
    others = rng.integers(0, ITEMS, (USERS, OTHERS))
    while (collides := np.isin(others + np.arange(USERS)[:, None] * ITEMS, seen)).any():
        others[collides] = rng.integers(0, ITEMS, int(collides.sum()))
    kept = np.delete(np.arange(len(user)), last)
    return _make_dataset(user[kept], item[kept], position[kept]), _limit_rows(
        np.column_stack([item[last], others]), quick=quick
    )


def final_task(*, quick: bool = False) -> tuple[Dataset, Int32Array]:
    """All of train, and the candidates of the paper (U, 100), the held-out event first."""
    given = read_columns("ncf_test_negatives")
    rows = np.column_stack([given["pos"], *(given[f"n{i}"] for i in range(OTHERS))])
    return _make_dataset(*train_events()), _limit_rows(rows[np.argsort(given["u"])], quick=quick)


def _limit_rows(rows: np.ndarray, *, quick: bool) -> Int32Array:
    return rows[: 500 if quick else None].astype(np.int32)


def _make_dataset(user: np.ndarray, item: np.ndarray, position: np.ndarray) -> Dataset:
    ones, zeros = np.ones(len(user), np.float32), np.zeros(len(user), np.int8)
    events = Events(
        user=user.astype(np.int32), item=item.astype(np.int32), time=position, event_type=zeros, weight=ones
    )
    users, items = Vocabulary(np.arange(USERS), "user"), Vocabulary(np.arange(ITEMS), "item")
    return Dataset(events=events, users=users, items=items, source="ML-1M, NCF's split")


def hit_and_ndcg(model: Any, data: Dataset, candidates: Int32Array) -> tuple[float, float]:
    """HR@10 and NDCG@10 of the first candidate of each row; ties count against it."""
    queries = data.queries(np.arange(len(candidates), dtype=np.int32))
    blocks = range(0, len(candidates), 512)
    scores = np.concatenate([model.score(queries.block(b, b + 512), candidates[b : b + 512]) for b in blocks])
    rank = (scores[:, 1:] >= scores[:, :1]).sum(axis=1)
    hit = rank < 10
    return float(hit.mean()), float((hit / np.log2(rank + 2)).mean())


def train_and_evaluate(probe: Probe, text: str, part: str) -> None:
    from leanrec.data import Simulation

    estimator = parse_model(text)
    data, candidates = (final_task if part == "test" else validation_task)(quick=probe.quick)
    data.interactions  # noqa: B018 - built before the timer starts
    with probe.warmup():
        estimator.fit(Simulation(users=300, items=400, events=6_000).dataset(), probe.run)
    with probe.timed():
        model = estimator.fit(data, probe.run)
    hit, ndcg = hit_and_ndcg(model, data, candidates)
    probe.record_quality(hr_10=hit, ndcg_10=ndcg)
    probe.add_note(repr(estimator))


def make_claim(models: list[str], part: str) -> Claim:
    contestants = {}
    for name in models:
        work = functools.partial(train_and_evaluate, text=TUNED.get(name, name), part=part)
        contestants[name] = Contestant(work, repeats=0 if name.partition(",")[0] in RANDOM else 1)
    goals = {"hr@10": 0.730, "ndcg@10": 0.447} if part == "test" else {"hr@10": None, "ndcg@10": None}
    rows = [
        Comparison(
            what=f"{name}, {part}", ours=name, measure=measure, at_least=goal if name == "neumf" else None, cause=CAUSE
        )
        for name in models
        for measure, goal in goals.items()
    ]
    return Claim(
        name="ncf" if part == "valid" else "ncf_test",
        title=f"NeuMF and iALS under the protocol of the NCF paper. {PUBLISHED}.",
        data=f"ML-1M in NCF's split, evaluated on {part}: one held-out event of each user among {OTHERS} sampled items (only to compare "
        "with that paper: sampled metrics do not order models as full ranking does); runs differ in the seed",
        contestants=contestants,
        comparisons=rows,
    )


def main() -> None:
    options = harness.build_parser(__doc__, models=True)
    options.add_argument("--test", action="store_true", help="evaluate on the paper's test events: once, at the end")
    args = options.parse_args()
    harness.run_claim(make_claim(args.model or list(MODELS), "test" if args.test else "valid"), args)


if __name__ == "__main__":
    main()
