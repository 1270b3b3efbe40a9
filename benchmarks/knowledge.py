"""Value of side information: KGIN with and without triples, DiffNet with and without trust links, and baselines.

    python benchmarks/knowledge.py [--data lastfm|ml1m|filmtrust] [--repeats 3] [--test]

lastfm and ml1m follow KGCN and RippleNet: all positive pairs of users and items of the knowledge graph (plays; ratings of 4
and 5) and as many sampled pairs without an interaction, drawn without replacement for each user; all pairs are split at random
into 60 % training, 20 % validation and 20 % test. Models are fitted on the positive pairs of the training part only.
AUC is over all pairs of a part at once, not per user. Scores are used as they are or as log-softmax over all items, and F1
needs a threshold: both are chosen on validation, for every model alike.

filmtrust uses full ranking: ratings of 3 and more are positive, 80 % of all ratings train, 10 % are validation and 10 % test, at
random; seen items are excluded, and users without a score get popularity. Results are also given by the length of the user's
history.

Runs differ in the seed of the split and of the fit. Evaluated on validation; with --test on the test part, once, after every
choice has been made.
"""

import dataclasses
import functools
from typing import Any

import duckdb
import harness
import numpy as np
from harness import Claim, Comparison, Contestant, Probe

from leanrec.data import Dataset, ItemLinks, Vocabulary, find_data
from leanrec.models import parse_model
from leanrec.types import CSR, Events, Float32Array

SEEDS = 3
PLAIN = "epochs=12,relaxation=1"
# Chosen on validation with seed 0.
MODELS = {
    "lastfm": {
        "kgin": "kgin,weight_decay=0.5,node_dropout=0,epochs=40",
        "kgin without triples": "kgin,weight_decay=0.5,node_dropout=0,epochs=40",
        "ials": f"ials,embedding_dim=64,l2=2,{PLAIN}",
        "bpr": "bpr,epochs=120,l2=0.05",
        "popularity": "popularity",
    },
    "ml1m": {
        "kgin": "kgin,batch_size=4096,epochs=20",
        "kgin without triples": "kgin,batch_size=4096,epochs=20",
        "ials": f"ials,embedding_dim=32,{PLAIN}",
        "bpr": "bpr,epochs=60,l2=0.03",
        "popularity": "popularity",
    },
    "filmtrust": {
        "diffnet": "diffnet,epochs=60",
        "diffnet without links": "diffnet,epochs=60",
        "ials": f"ials,embedding_dim=16,{PLAIN}",
        "ease": "ease,l2=100",
        "popularity": "popularity",
    },
}
RANDOM = frozenset({"kgin", "diffnet", "ials", "bpr"})
GOALS = {"lastfm": 0.80, "ml1m": 0.92}
TITLES = {
    "lastfm": "Knowledge on Last.FM. Published, on other draws of the same protocol (AUC/F1): KGCN .796/.721",
    "ml1m": "Knowledge on MovieLens 1M. Published, on other draws of the same protocol (AUC): RippleNet .920, MKR .917",
    "filmtrust": "Trust on FilmTrust",
}
DATA = {
    "lastfm": "Last.FM as KGCN uses it: 1,872 users, 3,846 artists, 21,173 positive pairs and as many negative ones, 15,518 triples of 60 relations; 6:2:2",
    "ml1m": "MovieLens 1M as RippleNet uses it: 6,040 users, 2,347 films, 376,886 positive pairs (ratings of 4 and 5) and as many negative ones, "
    "20,782 triples of 7 relations; 6:2:2",
    "filmtrust": "FilmTrust: 1,508 raters, 2,071 films, 35,497 ratings, 1,853 links of trust; 8:1:1, full ranking",
}
GROUPS = ((0, 0), (1, 5), (6, 20), (21, 10_000))


@dataclasses.dataclass(frozen=True, eq=False)
class LabeledPairs:
    """Users, items and labels (1 or 0) of pairs."""

    user: np.ndarray
    item: np.ndarray
    label: np.ndarray

    def take(self, rows: np.ndarray) -> "LabeledPairs":
        return LabeledPairs(self.user[rows], self.item[rows], self.label[rows])


def read_columns(folder: str, file: str, *columns: str) -> list[np.ndarray]:
    path = str(find_data(folder) / f"{file}.parquet")
    with duckdb.connect() as con:
        found = con.execute(f"SELECT {', '.join(columns)} FROM read_parquet(?)", [path]).fetchnumpy()
    return [np.asarray(found[column]) for column in found]


def read_interactions(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, ItemLinks]:
    """Users, items (entities of the knowledge graph), whether the pair is positive, and the triples."""
    if name == "lastfm":
        user, item_id = read_columns("lastfm-kgcn", "user_artists", "userID", "artistID")
        positive = np.ones(len(user), bool)
        ids, entity = read_columns("lastfm-kgcn", "item_entity", "artistID", "entity")
        triples = read_columns("lastfm-kgcn", "kg", "head", "relation", "tail")
    else:
        user, item_id, rating = read_columns("ml-1m", "ratings", '"userId"', '"movieId"', "rating")
        positive = rating >= 4
        ids, entity = read_columns("ml-1m-kg", "movie_item_entity", "item::BIGINT AS item", "entity")
        triples = read_columns("ml-1m-kg", "movie_kg", "head", "relation", "tail")
    row = dict(zip(ids.tolist(), entity.tolist(), strict=True))
    known = np.isin(item_id, ids)
    item = np.array([row[each] for each in item_id[known].tolist()])
    _, user = np.unique(user[known], return_inverse=True)
    return user, item, positive[known], ItemLinks.from_triples(zip(*(each.tolist() for each in triples), strict=True))


def make_protocol(name: str, seed: int) -> tuple[Dataset, LabeledPairs, LabeledPairs]:
    """Training data with its triples, and the pairs of validation and test."""
    user, item, positive, links = read_interactions(name)
    U, N = int(user.max()) + 1, int(item.max()) + 1
    rng = np.random.default_rng(seed)
    seen = CSR((np.ones(len(user)), (user, item)), shape=(U, N))
    n_negatives = np.bincount(user[positive], minlength=U)
    negatives = []
    for each in range(U):
        free = np.setdiff1d(np.arange(N), seen.indices[seen.indptr[each] : seen.indptr[each + 1]])
        negatives.append(rng.choice(free, min(int(n_negatives[each]), len(free)), replace=False))
    negative_users = np.repeat(np.arange(U), [len(each) for each in negatives])
    pairs = LabeledPairs(
        np.concatenate([user[positive], negative_users]).astype(np.int32),
        np.concatenate([item[positive], *negatives]).astype(np.int32),
        np.concatenate([np.ones(int(positive.sum())), np.zeros(len(negative_users))]),
    )
    order = rng.permutation(len(pairs.label))
    train, valid, test = np.split(order, [int(0.6 * len(order)), int(0.8 * len(order))])
    kept = pairs.take(train[pairs.label[train] > 0])
    zeros = np.zeros(len(kept.user))
    events = Events(
        kept.user, kept.item, zeros.astype(np.int64), zeros.astype(np.int8), np.ones(len(zeros), np.float32)
    )
    users, items = Vocabulary(np.arange(U), "user"), Vocabulary(np.arange(N), "item")
    data = Dataset(events, users, items, source=name, item_links=links).with_events(events)
    return data, pairs.take(valid), pairs.take(test)


def transform_scores(scores: Float32Array) -> dict[str, Float32Array]:
    """(U, N) scores as they are, and as log-softmax over the items of a user."""
    top = scores.max(axis=1, keepdims=True)
    return {"unchanged": scores, "log-softmax": scores - top - np.log(np.exp(scores - top).sum(axis=1, keepdims=True))}


def evaluate_pairs(probe: Probe, text: str, name: str, *, triples: bool, test: bool) -> None:
    from sklearn.metrics import f1_score, roc_auc_score

    data, valid, held_out = make_protocol(name, probe.round_number)
    part = held_out if test else valid
    data = data if triples else dataclasses.replace(data, item_links=None)
    model = fit_timed(probe, text, data)
    found = transform_scores(model.score(data.queries()))
    best = max(found, key=lambda how: roc_auc_score(valid.label, found[how][valid.user, valid.item]))
    scores, valid_scores = found[best][part.user, part.item], found[best][valid.user, valid.item]
    thresholds = np.quantile(valid_scores, np.linspace(0.2, 0.8, 121))
    threshold = max(thresholds, key=lambda each: f1_score(valid.label, valid_scores >= each))
    probe.record_quality(
        auc=float(roc_auc_score(part.label, scores)), f1=float(f1_score(part.label, scores >= threshold))
    )
    probe.add_note(f"{text}; scores {best}")


def evaluate_trust(probe: Probe, text: str, *, links: bool, test: bool) -> None:
    from leanrec.data import ingest, split
    from leanrec.evaluation import evaluate
    from leanrec.models import Popularity

    folder = find_data("filmtrust")
    data = ingest(folder / "ratings.parquet", user_links=folder / "trust.parquet", positive_from=3).data
    parts = split(data, "random", seed=probe.round_number)
    evaluation_set = parts.test if test else parts.valid
    train = parts.train if links else dataclasses.replace(parts.train, user_links=None)
    model = fit_timed(probe, text, train)
    found = evaluate(model, evaluation_set, k=(10,), fallback=Popularity().fit(train))
    known, evaluated = np.diff(evaluation_set.queries.history.indptr), evaluation_set.n_relevant > 0
    values = {"ndcg": found.per_query["ndcg@10"], "recall": found.per_query["recall@10"]}
    reached = {f"{name}_10": float(value[evaluated].mean()) for name, value in values.items()}
    for low, high in GROUPS:
        group = evaluated & (known >= low) & (known <= high)
        reached[f"ndcg_{low}_to_{high}_known" if high < 10_000 else f"ndcg_{low}_on_known"] = float(
            values["ndcg"][group].mean()
        )
    linked = np.zeros(len(evaluation_set), bool)
    if data.friends is not None:
        rows = data.users.rows(parts.train.users.ids)
        has = np.diff(data.friends.indptr)[rows] > 0
        linked = (evaluation_set.queries.users >= 0) & has[evaluation_set.queries.users]
    reached["ndcg_with_friends"] = float(values["ndcg"][evaluated & linked].mean())
    probe.record_quality(**reached)
    probe.add_note(
        f"{text}; {int(evaluated.sum())} users evaluated, {int((evaluated & linked).sum())} of them with friends, {int((evaluated & (known == 0)).sum())} without a history"
    )


def fit_timed(probe: Probe, text: str, data: Dataset) -> Any:
    """Fit a model and time it; kernels are compiled before on a few events."""
    estimator: Any = parse_model(text)
    some = data.with_events(data.events.take(np.arange(0, len(data.events), 20)))
    quick = dataclasses.replace(estimator, epochs=1) if hasattr(estimator, "epochs") else estimator
    with probe.warmup():
        quick.fit(some, probe.run)
    with probe.timed():
        return (quick if probe.quick else estimator).fit(data, probe.run)


def make_claim(name: str, *, test: bool) -> Claim:
    contestants = {}
    for label, text in MODELS[name].items():
        whole = "without" not in label
        if name == "filmtrust":
            work = functools.partial(evaluate_trust, text=text, links=whole, test=test)
        else:
            work = functools.partial(evaluate_pairs, text=text, name=name, triples=whole, test=test)
        contestants[label] = Contestant(work, repeats=SEEDS)
    part = "test" if test else "valid"
    return Claim(
        name=f"knowledge_{name}" + ("_test" if test else ""),
        title=f"{TITLES[name]}.",
        data=f"{DATA[name]}; evaluated on {part}; runs differ in the seed of split and fit",
        contestants=contestants,
        comparisons=list(make_comparisons(name, part)),
    )


def make_comparisons(name: str, part: str) -> list[Comparison]:
    if name == "filmtrust":
        measures = ["ndcg@10", "recall@10", "ndcg_0_to_0_known", "ndcg_1_to_5_known", "ndcg_with_friends"]
        return [
            Comparison(what=f"{label}, {part}", ours=label, measure=each) for each in measures for label in MODELS[name]
        ]
    goal = Comparison(what=f"KGIN, {part}", ours="kgin", measure="auc", at_least=GOALS[name])
    others = [
        Comparison(what=f"{label}, {part}", ours=label, measure="auc") for label in MODELS[name] if label != "kgin"
    ]
    return [goal, *others, *(Comparison(what=f"{label}, {part}", ours=label, measure="f1") for label in MODELS[name])]


def main() -> None:
    options = harness.build_parser(__doc__)
    options.add_argument("--data", choices=tuple(MODELS), default="lastfm", help="which data (default lastfm)")
    options.add_argument("--test", action="store_true", help="evaluate on the test part: once, at the end")
    options.set_defaults(repeats=SEEDS)
    evaluated = options.parse_args()
    harness.run_claim(make_claim(evaluated.data, test=evaluated.test), evaluated)


if __name__ == "__main__":
    main()
