"""CTR models on Frappe (which app is used in which context): AUC, log loss, seconds and memory.

    python benchmarks/frappe.py [--model NAME[,SETTING=VALUE]] [--held-out]

Trained on train, whose negatives were resampled, and evaluated on valid with three seeds. With --held-out: trained on nine
tenths of train and evaluated on the rest, where settings are chosen.
"""

import functools
from typing import Any

import duckdb
import harness
import numpy as np
from harness import Claim, Comparison, Contestant, Probe

from leanrec.data import Table, find_data
from leanrec.errors import SourceError
from leanrec.models import parse_model

SEEDS = 3
FIELDS = ("user", "item", "daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city")
# Tuned on a tenth of train: small networks, and weight decay on every embedding.
COMMON = "hidden_sizes=[200,200],dropout=0.2,embedding_dim=10,learning_rate=0.003,l2=0.1,id_dropout=0,epochs=10"
TUNED = {
    "wide_deep": f"wide_deep,{COMMON}",
    "deepfm": f"deepfm,{COMMON}",
    "dcn": f"dcn,{COMMON}",
    "dlrm": f"dlrm,{COMMON},concat_embeddings=true",
}
PUBLISHED = "Published AUC on the test part: LR .9356, FM .9671, DNN .9833, DeepFM .9842, DCNv2 .9845, FinalMLP .9861"
NOTES = "The published figures are for the test part and the original negatives of train, which are not available here."


def read_frappe(part: str) -> Table:
    """The part "train" or "valid": ten categories and the label, a row for each example."""
    file = {"train": "frappe_x1_train_resampled_negatives", "valid": "frappe_x1_valid"}[part]
    try:
        path = find_data("frappe") / f"{file}.parquet"
    except SourceError as error:
        raise SystemExit(
            f"{error}\nThis benchmark reads frappe/{file}.parquet: label, and codes of {', '.join(FIELDS)}."
        ) from None
    with duckdb.connect() as con:
        found = con.execute("SELECT * FROM read_parquet(?)", [str(path)]).fetchnumpy()
    return Table({name: np.asarray(found[name]).astype(np.float64) for name in (*FIELDS, "label")})


def train_and_evaluate(probe: Probe, text: str, part: str) -> None:
    from leanrec.models import RowSpec
    from leanrec.models.ctr.core.training import mean_auc

    estimator: Any = parse_model(text)
    table = read_frappe("train")
    coder = RowSpec(categories=FIELDS).fit(table)
    train = coder.encode_labeled(table)
    if part == "valid":
        evaluated = coder.encode_labeled(read_frappe("valid"))
    else:
        held_out = np.random.default_rng(123).random(len(train)) < 0.1
        train, evaluated = train.take(np.flatnonzero(~held_out)), train.take(np.flatnonzero(held_out))
    used = train.take(np.arange(0, len(train), 1 if not probe.quick else 50))
    with probe.warmup():
        estimator.fit_rows(used.take(np.arange(1000)), probe.run)
    with probe.timed():
        model = estimator.fit_rows(used, probe.run)
    p = model.predict(evaluated.rows).astype(np.float64)
    loss = -np.log(np.where(evaluated.labels > 0, p, 1 - p).clip(1e-7)).mean()
    probe.record_quality(auc=mean_auc(evaluated.labels, p), log_loss=float(loss))
    probe.add_note(repr(estimator))


def make_claim(models: list[str], part: str) -> Claim:
    contestants = {
        name: Contestant(functools.partial(train_and_evaluate, text=TUNED.get(name, name), part=part), repeats=SEEDS)
        for name in models
    }
    rows = [
        Comparison(what=f"{name}, {part}", ours=name, measure="auc", at_least=0.984, notes=NOTES) for name in models
    ]
    trained = "train, evaluated on valid" if part == "valid" else "nine tenths of train, evaluated on the rest"
    return Claim(
        name="frappe" if part == "valid" else "frappe_held_out",
        title=f"CTR models on Frappe. {PUBLISHED}.",
        data=f"Frappe, ten fields, {trained}; runs differ in the seed",
        contestants=contestants,
        comparisons=rows,
    )


def main() -> None:
    options = harness.build_parser(__doc__, models=True)
    options.add_argument("--held-out", action="store_true", help="evaluate on a tenth of train: to choose settings")
    options.set_defaults(repeats=SEEDS)
    args = options.parse_args()
    models = args.model or list(TUNED)
    harness.run_claim(make_claim(models, "held out" if args.held_out else "valid"), args)


if __name__ == "__main__":
    main()
