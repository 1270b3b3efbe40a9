"""Train RecTools' SASRec in its own environment until it reaches a quality, and write the curve. See sasrec.py.

    python benchmarks/sasrec_rectools.py DATA.npz OUT.json JOB

DATA.npz: user, item, pos of the training events in order; truth (U,) the validation item of each user. JOB: JSON with target,
limit, epochs, seed, threads and settings. It does not import leanrec, because it runs on an older NumPy.
"""

import json
import logging
import sys
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

CURVE: list[dict[str, float]] = []


class ValidationCallback(Callback):
    """NDCG@10 of all users after each epoch, by RecTools' own encoding of histories; its time is not counted."""

    def __init__(self, model: Any, dataset: Dataset, truth: np.ndarray, job: dict[str, Any]) -> None:
        self.model, self.dataset, self.truth, self.job = model, dataset, truth, job
        self.start = self.cpu = 0.0
        self.loader: Any = None

    def __deepcopy__(self, memo: object) -> "ValidationCallback":
        return self  # RecTools copies its trainer, and the timer must stay the same

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:  # noqa: ARG002 - Lightning's
        self.start, self.cpu = time.perf_counter(), time.process_time()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        score = self._score(pl_module)
        CURVE.append({"seconds": wall - self.start, "cpu": cpu - self.cpu, "ndcg@10": score})
        print(json.dumps(CURVE[-1]), file=sys.stderr, flush=True)
        if score >= self.job["target"] or wall - self.start >= self.job["limit"]:
            trainer.should_stop = True
        self.start += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu

    def _score(self, pl_module: Any) -> float:
        preparator = self.model.data_preparator
        if self.loader is None:
            users = self.dataset.user_id_map.external_ids
            self.query_data = preparator.transform_dataset_u2i(self.dataset, users)
            self.loader = preparator.get_dataloader_recommend(self.query_data, 256)
        states, items = (np.asarray(each) for each in pl_module._get_user_item_embeddings(self.loader, "cpu"))  # noqa: SLF001
        pl_module.train()
        return ndcg(states, items, self.query_data, preparator.n_item_extra_tokens, self.truth)


def ndcg(states: np.ndarray, items: np.ndarray, query_data: Dataset, extra: int, truth: np.ndarray) -> float:
    """Mean NDCG@10 with one relevant item each, seen items excluded."""
    seen = query_data.get_user_item_matrix(include_weights=False, include_warm_items=True).tocsr()
    names = query_data.item_id_map.external_ids
    position = {name: i for i, name in enumerate(names)}
    users = query_data.user_id_map.external_ids
    total = 0.0
    for row, user in enumerate(users):
        answer = position.get(truth[user])
        if answer is None:
            continue
        scores = items @ states[row]
        scores[:extra] = -np.inf
        scores[seen.indices[seen.indptr[row] : seen.indptr[row + 1]]] = -np.inf
        above = int((scores > scores[answer]).sum())
        total += 1 / np.log2(above + 2) if above < 10 else 0.0
    return total / len(truth)


def main(data: str, out: str, job_text: str) -> None:
    job = json.loads(job_text)
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(job["threads"])
    seed_everything(job["seed"])
    found = np.load(data)
    frame = pd.DataFrame({
        Columns.User: found["user"],
        Columns.Item: found["item"],
        Columns.Weight: 1.0,
        Columns.Datetime: pd.Timestamp("2000-01-01") + pd.to_timedelta(found["pos"], unit="s"),
    })  # fmt: skip
    dataset = Dataset.construct(frame)
    callback: ValidationCallback

    def trainer() -> Trainer:
        return Trainer(
            max_epochs=job["epochs"], accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, callbacks=[callback],
        )  # fmt: skip

    model = SASRecModel(epochs=job["epochs"], get_trainer_func=None, **job["settings"])
    callback = ValidationCallback(model, dataset, found["truth"], job)
    model._trainer = trainer()  # noqa: SLF001 - the callback needs the model, which get_trainer_func cannot pass
    model.fit(dataset)
    with open(out, "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump({"curve": CURVE, "users": len(found["truth"]), "settings": job["settings"]}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
