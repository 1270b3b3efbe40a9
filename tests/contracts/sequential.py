"""Contract of sequential models, beyond that of all estimators."""

import dataclasses
import functools
from typing import Any, ClassVar

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from contracts.estimator import EstimatorContract, OddDataContract
from leanrec.budget import Budget
from leanrec.data.dataset import Dataset
from leanrec.data.vocabulary import Vocabulary, id_array
from leanrec.errors import BudgetError, DataError
from leanrec.models.sequential.core.training import _encode_histories
from leanrec.nn.arrays import load_arrays
from leanrec.protocols import Extendable
from leanrec.run import Run
from leanrec.training.histories import PackedHistories, pad_histories
from leanrec.types import Events, Queries

N_RING = 12


@functools.cache
def ring(walks: int = 240, seed: int = 5) -> Dataset:
    """Walks around a ring of items in either direction; the next item follows from the order of the latest two."""
    rng = np.random.default_rng(seed)
    names = rng.permutation(N_RING)
    lengths = rng.integers(3, 2 * N_RING, walks)
    rows = [
        names[(rng.integers(N_RING) + rng.choice([-1, 1]) * np.arange(length)) % N_RING] for length in lengths.tolist()
    ]
    events = Events(
        user=np.repeat(np.arange(walks), lengths).astype(np.int32),
        item=np.concatenate(rows).astype(np.int32),
        time=np.concatenate([np.arange(length) for length in lengths]).astype(np.int64),
        event_type=np.zeros(lengths.sum(), np.int8),
        weight=np.ones(lengths.sum(), np.float32),
    )
    users, items = Vocabulary(np.arange(walks), "user"), Vocabulary(id_array(np.arange(N_RING)), "item")
    data = Dataset(events=events, users=users, items=items)
    # The ring itself, from which the next item follows.
    vars(data)["names"] = names
    return data


def laps(data: Dataset) -> tuple[Queries, np.ndarray]:
    """Queries that went around once, in both directions from every item, all with the same set of items; and their next items."""
    names = vars(data)["names"]
    steps = np.arange(N_RING)
    rows = [names[(start + way * steps) % N_RING].astype(np.int32) for start in range(N_RING) for way in (-1, 1)]
    queries = Queries(
        users=np.full(len(rows), -1, np.int32),
        history=sp.csr_array(np.ones((len(rows), N_RING), np.float32)),
        sequences=tuple(rows),
    )
    return queries, np.array([row[0] for row in rows])


def hits(model: Any, data: Dataset) -> float:
    """Share of the laps after which the next item has the highest score."""
    queries, following = laps(data)
    scores = model.score(queries)
    # Equal scores do not count as a hit.
    best = scores.argmax(1) == following
    return float((best & (np.ptp(scores, 1) > 1e-4)).mean())


def states(network: torch.nn.Module, rows: list[np.ndarray]) -> np.ndarray:
    """(B, L, D) states after every item of some histories, padded on the right."""
    histories = PackedHistories.from_rows([row.astype(np.int32) for row in rows])
    batch = pad_histories(histories, histories.bounds[:-1], histories.bounds[1:])
    with torch.inference_mode():
        return np.asarray(network(torch.from_numpy(batch.items), torch.from_numpy(batch.lengths)))


def trained_network(model: Any) -> torch.nn.Module:
    """The network that was trained, with the weights of a fitted model."""
    return load_arrays(model.settings.build_network(model.n_items), model.weights)


class SequentialContract(EstimatorContract, OddDataContract):
    """Subclass it with an ``estimator``, and a ``learner`` whose settings learn the ring in seconds."""

    learner: ClassVar[Any]
    # Whether a state is independent of later items.
    causal: ClassVar[bool] = True

    def test_learns_the_order(self) -> None:
        data = ring()
        model = self.learner.fit(data, Run(seed=1, threads=1))
        assert hits(model, data) >= 0.9

    def test_untrained_model_does_not_know_the_order(self) -> None:
        data = ring()
        untrained = dataclasses.replace(self.learner, epochs=1, learning_rate=1e-9)
        assert hits(untrained.fit(data, Run(seed=1, threads=1)), data) < 0.5

    def test_states_do_not_depend_on_later_items(self, model: Any) -> None:
        if self.causal:
            history = np.arange(6)
            other = history.copy()
            other[-1] = 20
            network = trained_network(model)
            one, two = states(network, [history])[0], states(network, [other])[0]
            np.testing.assert_allclose(one[:-1], two[:-1], rtol=1e-4, atol=1e-5)
            assert not np.allclose(one[-1], two[-1], atol=1e-3)

    def test_states_equal_those_of_the_trained_network(self, model: Any) -> None:
        """Empty, short and full histories in one batch; every weight differs from its initial value."""
        rng = np.random.default_rng(8)
        weights = {
            name: array + 0.2 * rng.standard_normal(array.shape, np.float32) for name, array in model.weights.items()
        }
        changed = dataclasses.replace(model, weights=weights)
        lengths = (0, 1, 2, model.settings.max_length, 0, 5, 3 * model.settings.max_length)
        rows = [rng.integers(0, model.n_items, length).astype(np.int32) for length in lengths]
        histories = PackedHistories.from_rows([row[-model.settings.max_length :] for row in rows])
        expected = _encode_histories(trained_network(changed), histories)
        np.testing.assert_allclose(changed.encode_histories(histories), expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            changed.encode_histories(histories), changed.embed_queries(_make_queries(rows, model.n_items))
        )

    def test_shapes_are_those_of_the_network(self, model: Any) -> None:
        with torch.device("meta"):
            state = model.settings.build_network(7).state_dict()
        assert model.settings.weight_shapes(7) == {name: tuple(each.shape) for name, each in state.items()}

    def test_the_order_of_a_history_matters(self, model: Any) -> None:
        there, back = (_make_query(row, model.n_items) for row in ([1, 2, 3, 4], [4, 3, 2, 1]))
        assert not np.allclose(model.score(there), model.score(back), atol=1e-3)

    def test_padding_changes_nothing(self, model: Any) -> None:
        rows = [[5], [1, 2, 3, 4, 5, 6, 7, 8], [9, 3]]
        together = _make_queries([np.array(row, np.int32) for row in rows], model.n_items)
        alone = np.concatenate([model.embed_queries(_make_query(row, model.n_items)) for row in rows])
        np.testing.assert_allclose(model.embed_queries(together), alone, rtol=1e-4, atol=1e-5)

    def test_items_before_max_length_are_ignored(self, model: Any) -> None:
        length = model.settings.max_length
        row = (np.arange(3 * length) * 7) % model.n_items
        long, short = (_make_query(each.tolist(), model.n_items) for each in (row, row[-length:]))
        np.testing.assert_allclose(model.embed_queries(long), model.embed_queries(short), rtol=1e-5, atol=1e-6)

    def test_history_of_one_item(self, model: Any) -> None:
        scores = model.score(_make_query([4], model.n_items))
        assert scores.shape == (1, model.n_items)
        assert np.ptp(scores) > 0

    def test_explanation_contains_every_history_item(self, model: Any) -> None:
        explanation = model.explain(_make_query([1, 2, 3, 2], model.n_items), np.array([7]))[0]
        assert sorted(explanation.items.tolist()) == [1, 2, 3]
        assert np.isfinite(explanation.weights).all()

    def test_new_items_are_scored_by_their_content(self, dataset: Dataset) -> None:
        estimator = dataclasses.replace(self.estimator, content="tfidf")
        model = estimator.fit(dataset, Run(seed=3, threads=1))
        assert isinstance(model, Extendable)
        assert dataset.item_table is not None
        twins = np.arange(12)
        larger = model.extend(dataset.item_table.take(twins))
        assert larger.n_items == model.n_items + 12
        queries = dataset.queries()
        scores = larger.score(dataclasses.replace(queries, history=_widened(queries.history, 12), seen=None))
        np.testing.assert_allclose(scores[:, :-12], model.score(queries), rtol=1e-4, atol=1e-5)
        # Users of a genre prefer a new item of it to those of the other genres.
        liked = np.arange(60)[:, None] % 4 == twins % 4
        assert scores[:, -12:][liked].mean() > scores[:, -12:][~liked].mean()

    def test_final_item_vectors_include_id_embeddings(self, dataset: Dataset) -> None:
        # Training drops some id embeddings in each step.
        model = dataclasses.replace(self.estimator, content="tfidf").fit(dataset, Run(seed=3, threads=1))
        assert dataset.item_table is not None
        own = model.embed_items() - model.content.embed_items(dataset.item_table)
        assert (np.linalg.norm(own, axis=1) > 1e-3).all()

    def test_content_needs_an_item_table(self, dataset: Dataset) -> None:
        bare = dataclasses.replace(dataset, item_table=None)
        with pytest.raises(DataError, match="item table"):
            dataclasses.replace(self.estimator, content="tfidf").fit(bare)

    def test_model_without_content_is_not_extendable(self, model: Any) -> None:
        assert not isinstance(model, Extendable)

    def test_embedding_dim_beyond_the_memory_limit_is_refused(self, dataset: Dataset) -> None:
        with pytest.raises(BudgetError, match="embedding_dim"):
            dataclasses.replace(self.estimator, embedding_dim=1 << 14).fit(dataset, Run(budget=Budget(memory=2**30)))


def _make_query(row: list[int], n_items: int) -> Queries:
    history = sp.csr_array(np.bincount(row, minlength=n_items)[None].astype(np.float32))
    return Queries(users=np.array([-1], np.int32), history=history, sequences=(np.array(row, np.int32),))


def _make_queries(rows: list[np.ndarray], n_items: int) -> Queries:
    history = sp.csr_array(np.stack([np.bincount(row, minlength=n_items) for row in rows]).astype(np.float32))
    return Queries(users=np.full(len(rows), -1, np.int32), history=history, sequences=tuple(rows))


def _widened(history: sp.csr_array, more: int) -> sp.csr_array:
    return sp.csr_array((history.data, history.indices, history.indptr), (history.shape[0], history.shape[1] + more))
