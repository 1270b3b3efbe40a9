"""Ranking metrics of other libraries, called with lists and held-out items in plain Python. See same_numbers.py.

    python benchmarks/metric_libraries.py NAME < JOBS.json

It computes the jobs with one library and prints JSON. It imports neither leanrec nor NumPy by itself, so it runs in the
environment of the library.

A case has ``lists``, user → [[item, score], …] best first, and ``held_out``, user → [[item, grade], …]. A library without
the metric gives None, and one that refuses the case gives the name of its error.
"""

import contextlib
import importlib.metadata
import json
import sys
import warnings
from collections.abc import Callable
from typing import Any

Case = dict[str, Any]
Adapter = Callable[[str, int, Case], float | None]


def with_rectools(metric: str, k: int, case: Case) -> float | None:
    import pandas as pd
    from rectools.metrics import MAP, MRR, NDCG, HitRate, Precision, Recall

    kinds = {"recall": Recall, "precision": Precision, "map": MAP, "ndcg": NDCG, "mrr": MRR, "hit_rate": HitRate}
    if metric not in kinds:
        return None
    shown = [(user, item, rank) for user, row in case["lists"].items() for rank, (item, _) in enumerate(row, 1)]
    wanted = [(user, item) for user, row in case["held_out"].items() for item, _ in row]
    reco = pd.DataFrame(shown, columns=["user_id", "item_id", "rank"])
    return float(kinds[metric](k).calc(reco, pd.DataFrame(wanted, columns=["user_id", "item_id"])))


def with_implicit(metric: str, k: int, case: Case) -> float | None:
    import numpy as np
    import scipy.sparse as sp
    from implicit.evaluation import ranking_metrics_at_k

    if metric not in {"precision", "map", "ndcg"}:
        return None
    users, items = list(case["lists"] | case["held_out"]), sorted(_items_of(case))
    pairs = [(users.index(user), items.index(item)) for user, row in case["held_out"].items() for item, _ in row]
    # One item more than there are: AUC, which it computes too, divides by the number of other items.
    shape = (len(users), len(items) + 1)
    rows, columns = np.array(pairs).T
    test = sp.csr_matrix((np.ones(len(pairs)), (rows, columns)), shape)
    found = ranking_metrics_at_k(_Lists(case, users, items, k), test, test, k, show_progress=False, num_threads=1)
    return float(found[metric])


class _Lists:
    """A model of implicit that recommends the lists of a case; −1 past the end."""

    def __init__(self, case: Case, users: list[str], items: list[str], k: int) -> None:
        import numpy as np

        self.rows = np.full((len(users), k), -1, np.int32)
        for at, user in enumerate(users):
            shown = [items.index(item) for item, _ in case["lists"].get(user, [])][:k]
            self.rows[at, : len(shown)] = shown

    def recommend(self, users: Any, _: Any, N: int) -> tuple[Any, Any]:
        return self.rows[users][:, :N], None


def with_torchmetrics(metric: str, k: int, case: Case) -> float | None:
    import torch
    from torchmetrics import retrieval

    kinds = {
        "recall": retrieval.RetrievalRecall,
        "precision": retrieval.RetrievalPrecision,
        "map": retrieval.RetrievalMAP,
        "ndcg": retrieval.RetrievalNormalizedDCG,
        "graded_ndcg": retrieval.RetrievalNormalizedDCG,
        "mrr": retrieval.RetrievalMRR,
        "hit_rate": retrieval.RetrievalHitRate,
    }
    users, _, scores, labels = make_rows(case)
    target = torch.tensor(labels) if metric == "graded_ndcg" else torch.tensor(labels) > 0
    return float(kinds[metric](top_k=k)(torch.tensor(scores), target.long(), indexes=torch.tensor(users)))


def with_spark(metric: str, k: int, case: Case) -> float | None:
    from pyspark.mllib.evaluation import RankingMetrics
    from pyspark.sql import SparkSession

    names = {"recall": "recallAt", "precision": "precisionAt", "map": "meanAveragePrecisionAt", "ndcg": "ndcgAt"}
    names["graded_ndcg"] = "ndcgAt"
    if metric not in names:
        return None
    spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    rows = []
    for user in case["lists"] | case["held_out"]:
        held_out = case["held_out"].get(user, [])
        row = [[item for item, _ in case["lists"].get(user, [])], [item for item, _ in held_out]]
        rows.append((*row, [float(grade) for _, grade in held_out]) if metric == "graded_ndcg" else tuple(row))
    return float(getattr(RankingMetrics(spark.sparkContext.parallelize(rows, 1)), names[metric])(k))


def with_ranx(metric: str, k: int, case: Case) -> float | None:
    from ranx import Qrels, Run, evaluate

    name = {"graded_ndcg": "ndcg"}.get(metric, metric)
    run = {user: dict(row) for user, row in case["lists"].items()}
    held_out = {user: {item: int(grade) for item, grade in row} for user, row in case["held_out"].items()}
    return float(evaluate(Qrels(held_out), Run(run), f"{name}@{k}"))


def with_pytrec_eval(metric: str, k: int, case: Case) -> float | None:
    import pytrec_eval

    names = {"recall": f"recall.{k}", "precision": f"P.{k}", "map": f"map_cut.{k}", "mrr": "recip_rank"}
    name = (names | {"hit_rate": f"success.{k}"}).get(metric, f"ndcg_cut.{k}")
    held_out = {user: {item: int(grade) for item, grade in row} for user, row in case["held_out"].items()}
    run = {user: {item: float(score) for item, score in row} for user, row in case["lists"].items()}
    found = pytrec_eval.RelevanceEvaluator(held_out, {name}).evaluate(run)
    return float(sum(row[name.replace(".", "_")] for row in found.values()) / len(found))


def with_lenskit(metric: str, k: int, case: Case) -> float | None:
    from lenskit.data import ItemList, ItemListCollection
    from lenskit.metrics import RunAnalysis, ranking

    kinds = {
        "recall": ranking.Recall(k),
        "precision": ranking.Precision(k),
        "map": ranking.AveragePrecision(k),
        "ndcg": ranking.NDCG(k),
        "graded_ndcg": ranking.NDCG(k, gain="rating"),
        "mrr": ranking.RecipRank(k),
        "hit_rate": ranking.Hit(k),
    }
    shown, wanted = (ItemListCollection.empty(["user_id"]) for _ in range(2))
    for user, row in case["lists"].items():
        shown.add(ItemList([item for item, _ in row], ordered=True), user_id=user)
    for user, row in case["held_out"].items():
        grades = [float(grade) for _, grade in row]
        wanted.add(ItemList([item for item, _ in row], rating=grades), user_id=user)
    return float(RunAnalysis(kinds[metric]).measure(shown, wanted).list_summary()["mean"].iloc[0])


def with_lightgbm(metric: str, k: int, case: Case) -> float | None:
    import lightgbm
    import numpy as np

    if metric not in {"ndcg", "graded_ndcg", "map"}:
        return None
    _, sizes, scores, labels = make_rows(case)
    labels = labels if metric == "graded_ndcg" else [int(label > 0) for label in labels]
    data = lightgbm.Dataset(np.zeros((len(labels), 1)), labels, group=sizes, init_score=scores)
    name = metric.removeprefix("graded_")
    settings = {"objective": "lambdarank", "metric": name, "eval_at": [k], "verbose": -1}
    return float(lightgbm.Booster(settings, data).eval_train()[0][2])


def with_xgboost(metric: str, k: int, case: Case) -> float | None:
    import numpy as np
    import xgboost

    names = {"ndcg": f"ndcg@{k}", "graded_ndcg": f"ndcg@{k}", "map": f"map@{k}", "precision": f"pre@{k}"}
    if metric not in names:
        return None
    _, sizes, scores, labels = make_rows(case)
    labels = labels if metric == "graded_ndcg" else [int(label > 0) for label in labels]
    data = xgboost.DMatrix(np.zeros((len(labels), 1)), labels, base_margin=scores)
    data.set_group(sizes)
    booster = xgboost.Booster({"objective": "rank:ndcg", "eval_metric": names[metric]}, [data])
    return float(booster.eval(data).rpartition(":")[2])


def with_catboost(metric: str, k: int, case: Case) -> float | None:
    from catboost.utils import eval_metric

    names = {"recall": "RecallAt", "precision": "PrecisionAt", "map": "MAP", "ndcg": "NDCG", "mrr": "MRR"}
    names["graded_ndcg"] = "NDCG"
    if metric not in names:
        return None
    users, _, scores, labels = make_rows(case)
    labels = labels if metric == "graded_ndcg" else [int(label > 0) for label in labels]
    return float(eval_metric(labels, scores, f"{names[metric]}:top={k}", group_id=users)[0])


def make_rows(case: Case) -> tuple[list[int], list[int], list[float], list[int]]:
    """User, size of each user, score and label of rows: a list, and below it the held-out items that are not on it."""
    users, sizes, scores, labels = [], [], [], []
    for user, row in case["lists"].items():
        grades = dict(case["held_out"].get(user, []))
        missed = [item for item in grades if item not in dict(row)]
        lowest = min(score for _, score in row)
        below = [lowest - 0.01 * at for at in range(1, len(missed) + 1)]
        users += [list(case["lists"]).index(user)] * (len(row) + len(missed))
        sizes.append(len(row) + len(missed))
        scores += [float(score) for _, score in row] + below
        labels += [int(grades.get(item, 0)) for item, _ in row] + [int(grades[item]) for item in missed]
    return users, sizes, scores, labels


def _items_of(case: Case) -> set[str]:
    rows = [*case["lists"].values(), *case["held_out"].values()]
    return {item for row in rows for item, _ in row}


# Name: distribution on PyPI, adapter, and whether scores are passed (True) or lists in order.
LIBRARIES: dict[str, tuple[str, Adapter, bool]] = {
    "RecTools": ("rectools", with_rectools, False),
    "implicit": ("implicit", with_implicit, False),
    "torchmetrics": ("torchmetrics", with_torchmetrics, True),
    "Spark": ("pyspark", with_spark, False),
    "ranx": ("ranx", with_ranx, True),
    "pytrec_eval": ("pytrec_eval-terrier", with_pytrec_eval, True),
    "LensKit": ("lenskit", with_lenskit, False),
    "LightGBM": ("lightgbm", with_lightgbm, True),
    "XGBoost": ("xgboost-cpu", with_xgboost, True),
    "CatBoost": ("catboost", with_catboost, True),
}

# How the page makes rows of lists: what a library does not see as a row does not exist for it, so held-out items that
# are not listed are rows too, and lists are filled to k with misses, or those rows would move up into the first k.
ROWS = """\
group, label, score, size = [], [], [], []
for user in users:
    shown = lists.get(user, [])[:k]
    hits = [int(item in held_out[user]) for item in shown]
    missed = len(held_out[user]) - sum(hits)
    row = hits + [0] * (k - len(shown)) + [1] * missed
    group += [user] * len(row)
    label += row
    score += [1 / rank for rank in range(1, len(row) + 1)]
    size.append(len(row))"""

# Lines that give leanrec's numbers. Given: lists (user → items, best first), held_out (user → set of items), users (those
# with a held-out item), k, and for three libraries the rows of ROWS.
RECIPES = {
    "RecTools": """\
reco = pd.DataFrame(
    [(u, i, r) for u in users for r, i in enumerate(lists.get(u, []), 1)], columns=["user_id", "item_id", "rank"]
)
test = pd.DataFrame([(u, i) for u in users for i in held_out[u]], columns=["user_id", "item_id"])
metrics = {"recall": Recall(k), "precision": Precision(k), "mrr": MRR(k), "hit_rate": HitRate(k)}
metrics["ndcg"] = NDCG(k, divide_by_achievable=True)
found = {name: metric.calc(reco, test) for name, metric in metrics.items()}
n = test.groupby("user_id").size()
found["map"] = (MAP(k).calc_per_user(reco, test) * n / n.clip(upper=k)).mean()""",
    "implicit": """\
found = ranking_metrics_at_k(model, train, test, K=k)
n = np.minimum(k, np.diff(test.indptr))
found["precision"] *= n.sum() / (k * (n > 0).sum())""",
    "torchmetrics": """\
index = {"indexes": torch.tensor([users.index(u) for u in group])}
metrics = {"recall": RetrievalRecall, "precision": RetrievalPrecision, "mrr": RetrievalMRR}
metrics |= {"hit_rate": RetrievalHitRate, "ndcg": RetrievalNormalizedDCG}
found = {
    name: float(metric(top_k=k)(torch.tensor(score), torch.tensor(label), **index)) for name, metric in metrics.items()
}""",
    "Spark": """\
pairs = [(lists.get(u, []), list(held_out[u])) for u in users]
metrics = RankingMetrics(spark.sparkContext.parallelize(pairs))
found = {"recall": metrics.recallAt(k), "precision": metrics.precisionAt(k), "ndcg": metrics.ndcgAt(k)}
found["map"] = metrics.meanAveragePrecisionAt(k)""",
    "ranx": """\
run = Run({u: {i: 1 / r for r, i in enumerate(lists.get(u, []), 1)} for u in users})
names = [f"{name}@{k}" for name in ("recall", "precision", "ndcg", "mrr", "hit_rate", "map")]
each = evaluate(Qrels({u: dict.fromkeys(held_out[u], 1) for u in users}), run, names, return_mean=False)
n = np.array([len(held_out[u]) for u in sorted(users)])
each[f"map@{k}"] *= n / np.minimum(n, k)
found = {name.partition("@")[0]: values.mean() for name, values in each.items()}""",
    "pytrec_eval": """\
names = {"recall": "recall", "precision": "P", "ndcg": "ndcg_cut", "map": "map_cut", "hit_rate": "success"}
qrels = {u: dict.fromkeys(held_out[u], 1) for u in users}
run = {u: {i: 1 / r for r, i in enumerate(lists.get(u, [])[:k], 1)} for u in users}
each = RelevanceEvaluator(qrels, {"recip_rank", *(f"{name}.{k}" for name in names.values())}).evaluate(run)
found = {ours: sum(row[f"{name}_{k}"] for row in each.values()) / len(users) for ours, name in names.items()}
found["mrr"] = sum(row["recip_rank"] for row in each.values()) / len(users)
found["map"] = sum(row[f"map_cut_{k}"] * len(held_out[u]) / min(k, len(held_out[u])) for u, row in each.items()) / len(
    users
)""",
    "LensKit": """\
shown = ItemListCollection.from_dict({u: ItemList(lists.get(u, []), ordered=True) for u in users}, "user_id")
test = ItemListCollection.from_dict({u: ItemList(list(held_out[u])) for u in users}, "user_id")
each = (
    RunAnalysis(NDCG(k, weight=LogRankWeight(offset=1)), RecipRank(k), Hit(k), Recall(k))
    .measure(shown, test)
    .list_metrics()
)
n = pd.Series({u: len(held_out[u]) for u in users})
found = {"ndcg": each[f"NDCG@{k}"].mean(), "mrr": each[f"RecipRank@{k}"].mean(), "hit_rate": each[f"Hit@{k}"].mean()}
found["recall"] = (each[f"Recall@{k}"] * n.clip(upper=k) / n).mean()
found["precision"] = (each[f"Recall@{k}"] * n.clip(upper=k) / k).mean()""",
    "LightGBM": """\
data = lightgbm.Dataset(np.zeros((len(label), 1)), label, group=size, init_score=score)
booster = lightgbm.Booster({"objective": "lambdarank", "metric": ["ndcg", "map"], "eval_at": [k]}, data)
found = {name.partition("@")[0]: value for _, name, value, _ in booster.eval_train()}""",
    "XGBoost": """\
data = xgboost.DMatrix(np.zeros((len(label), 1)), label, base_margin=score)
data.set_group(size)
settings = {"objective": "rank:ndcg", "eval_metric": [f"ndcg@{k}", f"map@{k}", f"pre@{k}"]}
text = xgboost.Booster(settings, [data]).eval(data)
found = dict(zip(("ndcg", "map", "precision"), (float(each.partition(":")[2]) for each in text.split()[1:])))""",
    "CatBoost": """\
names = {"recall": "RecallAt", "precision": "PrecisionAt", "map": "MAP", "ndcg": "NDCG", "mrr": "MRR"}
found = {ours: eval_metric(label, score, f"{name}:top={k}", group_id=group)[0] for ours, name in names.items()}""",
}

IMPORTS = {
    "RecTools": "import pandas as pd\nfrom rectools.metrics import MAP, MRR, NDCG, HitRate, Precision, Recall",
    "implicit": "import numpy as np\nfrom implicit.evaluation import ranking_metrics_at_k",
    "torchmetrics": (
        "import torch\nfrom torchmetrics.retrieval import (\n    RetrievalHitRate,\n    RetrievalMRR,\n"
        "    RetrievalNormalizedDCG,\n    RetrievalPrecision,\n    RetrievalRecall,\n)"
    ),
    "Spark": "from pyspark.mllib.evaluation import RankingMetrics",
    "ranx": "import numpy as np\nfrom ranx import Qrels, Run, evaluate",
    "pytrec_eval": "from pytrec_eval import RelevanceEvaluator",
    "LensKit": (
        "import pandas as pd\nfrom lenskit.data import ItemList, ItemListCollection\n"
        "from lenskit.metrics import NDCG, Hit, Recall, RecipRank, RunAnalysis\nfrom lenskit.metrics.ranking import LogRankWeight"
    ),
    "LightGBM": "import lightgbm\nimport numpy as np",
    "XGBoost": "import numpy as np\nimport xgboost",
    "CatBoost": "from catboost.utils import eval_metric",
}


def run_recipe(name: str, sample: dict[str, Any]) -> dict[str, float]:
    """The numbers of a recipe for the sample: lists, held_out and k."""
    held_out = {user: set(items) for user, items in sample["held_out"].items()}
    users = [user for user in held_out if held_out[user]]
    given: dict[str, Any] = {"lists": sample["lists"], "held_out": held_out, "users": users, "k": sample["k"]}
    if name == "implicit":
        given |= _as_model(given)
    if name == "Spark":
        from pyspark.sql import SparkSession

        given["spark"] = SparkSession.builder.getOrCreate()
    exec(f"{IMPORTS[name]}\n{ROWS}\n{RECIPES[name]}", given)
    known = {"recall", "precision", "ndcg", "map", "mrr", "hit_rate"}
    return {metric: float(value) for metric, value in given["found"].items() if metric in known}


def _as_model(given: dict[str, Any]) -> dict[str, Any]:
    """The model and the matrices that the recipe of implicit takes."""
    import numpy as np
    import scipy.sparse as sp

    users, lists, held_out = given["users"], given["lists"], given["held_out"]
    case = {
        "lists": {user: [(item, 0) for item in row] for user, row in lists.items()},
        "held_out": {user: [(item, 1) for item in held_out[user]] for user in users},
    }
    everybody, items = list(lists | held_out), sorted(_items_of(case))
    pairs = [(everybody.index(user), items.index(item)) for user in users for item in held_out[user]]
    shape = (len(everybody), len(items))
    rows, columns = np.array(pairs).T
    test = sp.csr_matrix((np.ones(len(pairs)), (rows, columns)), shape)
    return {"model": _Lists(case, everybody, items, given["k"]), "train": test, "test": test}


def compute(name: str, jobs: dict[str, Any]) -> dict[str, Any]:
    """Version, values of every case, and the numbers of the recipe."""
    distribution, adapter, _ = LIBRARIES[name]
    values: list[float | str | None] = []
    for metric, k, case in jobs["cases"]:
        try:
            values.append(adapter(metric, k, case))
        except Exception as error:  # noqa: BLE001 - how a library refuses a case is a result
            values.append(type(error).__name__)
    version = importlib.metadata.version(distribution)
    return {"version": version, "values": values, "recipe": run_recipe(name, jobs["sample"])}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(sys.stderr):
        answer = compute(sys.argv[1], json.load(sys.stdin))
    print(json.dumps(answer))
