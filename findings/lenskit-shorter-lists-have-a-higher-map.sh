#!/usr/bin/env bash
# LensKit 2025.8.1 (lenskit.metrics.ranking.AveragePrecision), torch 2.13.0: the divisor is the length of the list where the list
# is shorter than the held-out items, whatever the cut-off n. So a model that lists less has a higher MAP at the same n.
#
# A good guess: AveragePrecision(n=10) of a list that holds one of ten held-out items, and nothing else, is 1/10, because nine
# are not found; adding right items raises it. It is 1.0, a perfect value, and adding nine places with four more hits lowers it
# to 0.30. Over 200 random users, cutting all lists from ten items to three raises the mean from 0.34 to 0.81, and to one, to 0.98.
#
# Exits 0 while this is so, 1 when LensKit behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check lenskit==2025.8.1 torch==2.13.0
cat > "$folder/shorter.py" <<'PYTHON'
import importlib.metadata
import sys

import numpy as np
from lenskit.data import ItemList, ItemListCollection
from lenskit.metrics import RunAnalysis
from lenskit.metrics.ranking import AveragePrecision

print("lenskit", importlib.metadata.version("lenskit"))
metric = AveragePrecision(n=10)
held_out = ItemList(list(range(10)))
one = metric.measure_list(ItemList([0], ordered=True), held_out)
five = metric.measure_list(ItemList([0, 90, 91, 1, 92, 2, 93, 3, 94, 4], ordered=True), held_out)
print(f"one right item alone: {one:.3f}; the same item first of ten places with five hits: {five:.3f}")

rng = np.random.default_rng(0)
ranked, test = {}, ItemListCollection.empty(["user"])
for user in range(200):
    wanted = rng.choice(100, 10, replace=False)
    # Right items tend to the top, as in the lists of a model.
    score = rng.random(100) + np.isin(np.arange(100), wanted) * 0.3
    ranked[user] = np.argsort(-score)[:10]
    test.add(ItemList(wanted), user=user)
means = []
for length in (10, 3, 1):
    lists = ItemListCollection.empty(["user"])
    for user, items in ranked.items():
        lists.add(ItemList(items[:length], ordered=True), user=user)
    means.append(RunAnalysis(metric).measure(lists, test).list_summary()["mean"].iloc[0])
    print(f"MAP@10 of the same lists cut to {length:2}: {means[-1]:.3f}")
sys.exit(0 if one == 1.0 and 0.25 < five < 0.4 and means[0] + 0.02 < means[1] < means[2] - 0.02 else 1)
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/shorter.py"
