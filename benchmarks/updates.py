"""Updates of models that go on from their embeddings, compared with a fit on the same log: CPU time and quality.

    python benchmarks/updates.py [--repeats 3] [--quick]

ML-1M, of which a fifth of the ratings is held out; 3 % of the others are new since the fit that is updated.
"""

import numpy as np
import scipy.sparse as sp
from datasets import dataset_from_matrix
from harness import Claim, Comparison, Contestant, Probe, main
from linear import compute_recall, read_ml_1m

from leanrec.data import Dataset
from leanrec.models import get_model
from leanrec.protocols import Updatable
from leanrec.types import CSR

MODELS = {"bpr": 0.1, "pure_svd": 0.1, "ials": 0.1}  # model → goal for the share of the CPU time of a fit
NEW_SHARE = 0.03
CAUSES = {
    "bpr": "",
    "pure_svd": "A fit is four iterations of a few matrix products, and an update is one with its own orthonormalization.",
    "ials": (
        "A fit is eight epochs of approximate solutions, and an update is one of exact ones, so that each item is what its users "
        "say. Of few changed items only the half of the users is left."
    ),
}


def load_data(probe: Probe) -> tuple[Dataset, Dataset, CSR, CSR]:
    """The data of the fit, the data of now, and matrices of the latter and of what is held out."""
    train, held_out = read_ml_1m()
    if probe.quick:
        train, held_out = train[:500], held_out[:500]
    entries = train.tocoo()
    is_old = np.random.default_rng(1).random(entries.nnz) >= NEW_SHARE
    user, item = (each[is_old] for each in entries.coords)
    old = sp.coo_array((entries.data[is_old], (user, item)), shape=train.shape).tocsr()
    before, now = dataset_from_matrix(old), dataset_from_matrix(train)
    assert before.interactions.nnz < now.interactions.nnz
    return before, now, train, held_out


def make_contestant(name: str, *, updates: bool) -> Contestant:
    def contestant(probe: Probe) -> None:
        before, now, train, held_out = load_data(probe)
        with probe.warmup():
            old = get_model(name)().fit(before, probe.run)
            assert isinstance(old, Updatable)
            old.update(before, None, probe.run)
        with probe.timed():
            model = old.update(now, None, probe.run) if updates else get_model(name)().fit(now, probe.run)
        recall = compute_recall(model, train, held_out)
        probe.record_quality(recall_20=recall)

    return Contestant(contestant)


CLAIM = Claim(
    name="updates",
    title="Updates from the embeddings of an earlier fit.",
    data="ML-1M, four entries in five, of which 3 % are new since the fit that is updated",
    contestants={
        f"{how} {name}": make_contestant(name, updates=how == "update") for name in MODELS for how in ("fit", "update")
    },
    comparisons=[
        Comparison(
            what=f"CPU time of an update of {name}, of that of a fit",
            ours=f"update {name}",
            peer=f"fit {name}",
            measure="cpu",
            at_most=goal,
            quality="recall@20",
            tolerance=0.002,
            cause=CAUSES[name],
        )
        for name, goal in MODELS.items()
    ],
)

if __name__ == "__main__":
    main(CLAIM, __doc__)
