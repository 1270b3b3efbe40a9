#!/usr/bin/env bash
# implicit 0.7.3 (implicit.nearest_neighbours.bm25_weight and tfidf_weight), numpy 2.4.6, scipy 1.17.1: of a matrix users x items
# the weight of an item that all users have is below 0, and of an item that all but one have exactly 0. Of the transposed matrix
# the same holds for a user who has all items. The idf is log(rows) - log(1 + rows with the column), without the "1 +" or the
# floor that search engines add. To ALS of the same package a weight below 0 means that the user dislikes the item.
#
# A good guess: a weight of BM25 is above 0 for each item that a user has, only small for items that all have. With ALS fitted on
# bm25_weight of the log, the item that all 300 users have is predicted 0.00 for all and stands behind three quarters of the
# 30 items. ALS on the log itself puts it in the first two places.
#
# Exits 0 while this is so, 1 when implicit behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check implicit==0.7.3 numpy==2.4.6 scipy==1.17.1
cat > "$folder/weights.py" <<'PYTHON'
import importlib.metadata
import sys

import numpy as np
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import bm25_weight, tfidf_weight

print("implicit", importlib.metadata.version("implicit"))
# 300 users; item 0 is one that all have (a start page), item 1 one that all but one have, the others a fifth of the users has.
rng = np.random.default_rng(0)
log = (rng.random((300, 30)) < 0.2).astype(np.float32)
log[:, 0] = 1
log[:, 1] = 1
log[5, 1] = 0
log = sp.csr_matrix(log)
ok = True
for weigh in (bm25_weight, tfidf_weight):
    weights = weigh(log).tocsc()
    everyone, but_one, others = weights[:, 0].data, weights[:, 1].data, weights[:, 2:].data
    print(f"{weigh.__name__:12}  all users: {everyone.min():.4f} to {everyone.max():.4f}   ", end="")
    print(f"all but one: {but_one.min():.4f} to {but_one.max():.4f}   others: {others.min():.4f} to {others.max():.4f}")
    ok = ok and everyone.max() < 0 and np.all(but_one == 0) and others.min() > 0
# Items as rows: user 7 has all items (a test account).
log_of_items = log.T.tolil()
log_of_items[:, 7] = 1
weights = bm25_weight(log_of_items.tocsr()).tocsc()
print(f"items x users, a user who has all items: {weights[:, 7].data.min():.4f} to {weights[:, 7].data.max():.4f}")
ok = ok and len(weights[:, 7].data) == 30 and weights[:, 7].data.max() < 0
places = {}
for name, matrix in {"the log": log, "bm25_weight": bm25_weight(log).tocsr()}.items():
    model = AlternatingLeastSquares(factors=8, random_state=0, num_threads=1)
    model.fit(matrix, show_progress=False)
    scores = model.user_factors @ model.item_factors.T
    places[name] = np.mean((scores > scores[:, :1]).sum(axis=1)) + 1
    print(f"ALS on {name:11}  item 0: mean score {scores[:, 0].mean():.3f}, mean place of 30: {places[name]:.1f}")
sys.exit(0 if ok and places["the log"] < 2 and places["bm25_weight"] > 15 else 1)
PYTHON
OPENBLAS_NUM_THREADS=1 "$folder/venv/bin/python" -W ignore "$folder/weights.py"
