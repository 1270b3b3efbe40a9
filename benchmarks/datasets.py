"""Gowalla for benchmarks, found through $LEANREC_DATA."""

from pathlib import Path

import duckdb
import numpy as np
import scipy.sparse as sp

from leanrec.data import Dataset, EvaluationSet, Vocabulary, find_data
from leanrec.errors import SourceError
from leanrec.types import CSR, Events, Queries

USERS, ITEMS = 29_858, 40_981
# The part that is the history of the users for each evaluated part.
HISTORY_PART = {"valid": "fit", "fifth": "rest", "test": "train"}


def read_gowalla(part: str = "train") -> CSR:
    """(29,858, 40,981) float32 ones: "train", "fit" (train without valid), "valid" (part of train), "test", or
    "fifth" (a fifth of each user's items in train, drawn at random) and "rest" (train without it)."""
    if part in {"fifth", "rest"}:
        return _split_fifth(read_gowalla("train"), held=part == "fifth")
    if part == "fit":
        fit = sp.csr_array(read_gowalla("train") - read_gowalla("valid"))
        fit.eliminate_zeros()
        return fit
    file = {"train": "train", "valid": "valid_subset_of_train", "test": "test"}[part]
    with duckdb.connect() as con:
        pairs = con.execute('SELECT DISTINCT "user", item FROM read_parquet(?)', [str(_find_file(file))]).fetchnumpy()
    ones = np.ones(len(pairs["user"]), np.float32)
    matrix = sp.coo_array((ones, (pairs["user"], pairs["item"])), shape=(USERS, ITEMS)).tocsr()
    matrix.sort_indices()
    return matrix


def _split_fifth(X: CSR, *, held: bool) -> CSR:
    count = np.diff(X.indptr)
    rows = np.repeat(np.arange(X.shape[0]), count)
    order = np.lexsort((np.random.default_rng(7).random(X.nnz), rows))
    position = np.empty(X.nnz, np.int64)
    position[order] = np.arange(X.nnz) - X.indptr[rows]
    chosen = (position < np.maximum(1, np.round(count[rows] / 5))) == held
    part = sp.coo_array((X.data[chosen], (rows[chosen], X.indices[chosen])), shape=X.shape).tocsr()
    part.sort_indices()
    return part


def gowalla_dataset(part: str = "fit") -> Dataset:
    """The same part as a data set, for estimators."""
    return dataset_from_matrix(read_gowalla(part), f"Gowalla, {part}")


def gowalla_evaluation_set(part: str = "valid", *, users: int | None = None, seed: int = 0) -> EvaluationSet:
    """All users with held-out items: history "fit" for "valid", "rest" for "fifth", "train" for "test"; ``users``: a sample of them."""
    truth, history = read_gowalla(part), read_gowalla(HISTORY_PART[part])
    rows = np.flatnonzero(np.diff(truth.indptr)).astype(np.int32)
    if users is not None and users < len(rows):
        rows = np.sort(np.random.default_rng(seed).choice(rows, users, replace=False))
    return EvaluationSet(queries=Queries(users=rows, history=history[rows]), ground_truth=truth[rows])


def dataset_from_matrix(X: CSR, source: str = "") -> Dataset:
    """A data set of the entries of X, with row numbers for ids and no times."""
    entries = X.tocoo()
    user, item = (each.astype(np.int32) for each in entries.coords)
    events = Events(
        user=user,
        item=item,
        time=np.zeros(len(user), np.int64),
        event_type=np.zeros(len(user), np.int8),
        weight=entries.data.astype(np.float32),
    )
    users, items = Vocabulary(np.arange(X.shape[0]), "user"), Vocabulary(np.arange(X.shape[1]), "item")
    return Dataset(events=events, users=users, items=items, source=source)


def _find_file(name: str) -> Path:
    try:
        return find_data("gowalla") / f"{name}.parquet"
    except SourceError as error:
        raise SystemExit(
            f"{error}\nThis benchmark reads Gowalla in LightGCN's split: gowalla/train.parquet, test.parquet and "
            "valid_subset_of_train.parquet with the columns user and item (row numbers)."
        ) from None
