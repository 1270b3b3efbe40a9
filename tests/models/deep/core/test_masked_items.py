"""Hidden parts: each item is hidden once, and the rest is seen."""

import numpy as np
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leanrec.models.deep.core.masked_items import InteractionIndex, MaskedBatch, MaskedBatches, masked_item_loss


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 20))
def test_every_item_is_masked_once_and_the_rest_is_the_history(seed: int, parts: int, batch: int) -> None:
    X = sp.csr_array(sp.random_array((7, 9), density=0.4, rng=np.random.default_rng(seed), dtype=np.float32))
    hidden = []
    for each in MaskedBatches.split(X, parts, batch, np.random.default_rng(seed)):
        ends = np.append(each.offsets.numpy()[1:], len(each.history))
        for g, user in enumerate(each.users.tolist()):
            targets = each.targets[each.groups == g].tolist()
            seen = each.history[each.offsets[g] : ends[g]].tolist()
            assert len(seen) == each.lengths[g]
            assert sorted(targets + seen) == X.indices[X.indptr[user] : X.indptr[user + 1]].tolist()
            hidden += [(user, item) for item in targets]
    assert sorted(hidden) == list(zip(*(part.tolist() for part in X.tocoo().coords), strict=True))


def test_contains_finds_pairs_with_interaction() -> None:
    X = sp.csr_array(np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]], np.float32))
    found = InteractionIndex(X).contains(torch.tensor([2, 0, 1]), torch.tensor([0, 1, 2, 2]))
    np.testing.assert_array_equal(found.numpy(), X.toarray()[[2, 0, 1]][:, [0, 1, 2, 2]] > 0)


def test_loss_compares_masked_items_with_items_without_interaction() -> None:
    one = torch.tensor
    batch = MaskedBatch(one([4, 1]), one([5]), one([0, 1]), one([1, 0]), one([0, 1, 2]), one([0, 0, 1]))
    positive, negative = one([1.0, 2.0, 0.5]), one([[0.1, -torch.inf], [0.3, 0.7]])
    loss = masked_item_loss(positive, negative, batch, length_exponent=0.5)
    rows = [[1.0, 0.1], [2.0, 0.1], [0.5, 0.3, 0.7]]
    each = np.array([np.log(np.exp(row).sum()) - row[0] for row in rows])
    weight = np.array([3, 3, 1]) ** -0.5
    np.testing.assert_allclose(float(loss), (each * weight).sum() / weight.sum(), rtol=1e-5)
