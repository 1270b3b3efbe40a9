"""Product codes refitted to the data of an iALS."""

import numpy as np
import pytest

from leanrec.compression import ProductCodec
from leanrec.compression.vectors.product import ProductCodes
from leanrec.compression.vectors.product_refit import refit_product
from leanrec.data import Dataset, Simulation
from leanrec.models.factorization.ials import IALS, IALSModel


@pytest.fixture(scope="module")
def fitted() -> tuple[Dataset, IALSModel, ProductCodes]:
    data = Simulation(users=300, items=400, events=6_000).dataset()
    model = IALS(embedding_dim=24).fit(data)
    return data, model, ProductCodec(n_codes=6).encode(model.items, queries=model.embed_queries(data.queries()))


def loss(data: Dataset, model: IALSModel, codes: ProductCodes) -> float:
    """The loss of iALS, for users solved from the decoded items."""
    coded = IALSModel(model.settings, codes.decode())
    settings, V = model.settings, coded.items.astype(float)
    X = settings._prepare_weights(data.interactions)
    W = coded.embed_queries(data.queries()).astype(float)
    scores = W @ V.T
    total = float((X.toarray() * (scores - 1) ** 2).sum() + settings.unobserved_weight * np.square(scores).sum())
    total += float((settings._ridge(X) * np.square(W).sum(axis=1)).sum())
    return total + float((settings._ridge(X.T.tocsr()) * np.square(V).sum(axis=1)).sum())


def test_each_round_lowers_the_loss(fitted: tuple[Dataset, IALSModel, ProductCodes]) -> None:
    data, model, codes = fitted
    losses = [loss(data, model, codes)]
    losses += [loss(data, model, refit_product(model, codes, data, rounds=n)) for n in (1, 3)]
    assert losses == sorted(losses, reverse=True)
    whole = loss(data, model, ProductCodec(n_codes=24).encode(model.items))
    assert losses[-1] - whole < 0.9 * (losses[0] - whole)


def test_bytes_stay_and_the_same_codes_come_again(fitted: tuple[Dataset, IALSModel, ProductCodes]) -> None:
    data, model, codes = fitted
    assert refit_product(model, codes, data, rounds=0) is codes
    one, other = (refit_product(model, codes, data, rounds=1) for _ in range(2))
    assert one.nbytes == codes.nbytes
    np.testing.assert_array_equal(one.decode(), other.decode())
