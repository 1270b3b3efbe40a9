#!/usr/bin/env bash
# torchmetrics 1.9.0, torch 2.13.0 on a CPU: recall, precision, MAP and MRR of retrieval count a relevant item only where its
# score is above 0. NDCG and hit rate of the same package count it anywhere. So a model that returns log-probabilities,
# negated distances or dot products below 0 has a recall of 0 for a perfect ranking, without a warning.
#
# A good guess: a ranking metric depends on the order of the scores alone, so adding a constant to all scores changes
# nothing. Here the perfect list of ten users has NDCG 1 and hit rate 1 with any scores, and recall, precision, MAP and MRR
# of 1 with scores from 1 to 10, but of 0 with the same scores minus 11. With scores minus 5, of eight relevant items on top
# three have a score of 0 or less, and recall and precision are 5/8.
#
# Exits 0 while this is so, 1 when torchmetrics behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torchmetrics==1.9.0 torch==2.13.0 numpy==2.4.6
cat > "$folder/shift.py" <<'PYTHON'
import sys

import torch
import torchmetrics
from torchmetrics.retrieval import (
    RetrievalHitRate,
    RetrievalMAP,
    RetrievalMRR,
    RetrievalNormalizedDCG,
    RetrievalPrecision,
    RetrievalRecall,
)

print("torchmetrics", torchmetrics.__version__, "torch", torch.__version__)
# Ten users with ten items each, of which those with the highest scores are relevant.
users = torch.arange(10).repeat_interleave(10)
scores = torch.arange(10, 0, -1).repeat(10).float()
kinds = (RetrievalRecall, RetrievalPrecision, RetrievalMAP, RetrievalMRR, RetrievalNormalizedDCG, RetrievalHitRate)
found = {}
for shift in (0, 5, 11):
    for n_relevant in (1, 8):
        target = scores > 10 - n_relevant
        values = [float(kind(top_k=n_relevant)(scores - shift, target, indexes=users)) for kind in kinds]
        found[shift, n_relevant] = [round(value, 4) for value in values]
        named = "  ".join(f"{kind.__name__[9:]} {value:.3f}" for kind, value in zip(kinds, values))
        print(f"scores - {shift:2}, {n_relevant} relevant items, all on top:  {named}")
right = all(found[0, n] == [1.0] * 6 for n in (1, 8))
gone = all(found[11, n] == [0.0] * 4 + [1.0] * 2 for n in (1, 8))
part = found[5, 8] == [0.625, 0.625, 1.0, 1.0, 1.0, 1.0]
sys.exit(0 if right and gone and part else 1)
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/shift.py"
