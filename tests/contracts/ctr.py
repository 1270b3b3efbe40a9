"""Contract of CTR models, beyond that of all estimators."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from conftest import STRINGS, make_dataset
from contracts.estimator import EstimatorContract, OddDataContract
from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.data.table import Table
from leanrec.errors import DataError, SettingError
from leanrec.models.ctr.core.examples import RowSpec
from leanrec.models.ctr.core.models import RowModel
from leanrec.models.ctr.core.rows import FieldRows
from leanrec.models.ctr.core.settings import CTRSettings
from leanrec.models.ctr.core.training import mean_auc, to_batch
from leanrec.nn.arrays import to_arrays
from leanrec.protocols import Extendable, Ranker
from leanrec.run import Run
from leanrec.types import Candidates, Queries, empty_csr


def crossed_table(n: int, seed: int = 0) -> Table:
    """A label that depends on two categories jointly and on neither alone, and an irrelevant number."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 6, n), rng.integers(0, 6, n)
    label = ((a + b) % 2 == 0) ^ (rng.random(n) < 0.02)
    return Table(
        {
            "color": np.array([f"c{each}" for each in a], STRINGS),
            "size": b.astype(np.float64),
            "noise": rng.normal(size=n),
            "label": label.astype(np.float64),
        }
    )


SPEC = RowSpec(categories=("color", "size"), numbers=("noise",))


def check_network(settings: CTRSettings) -> None:
    """A model with random weights must give the probabilities of its network, and know the names and shapes of the weights."""
    rng = np.random.default_rng(5)
    bag = sp.csr_array(sp.random(40, 6, 0.3, format="csr", dtype=np.float32, random_state=rng))
    numbers = rng.normal(size=(40, 2)).astype(np.float32)
    codes = tuple((rng.integers(0, size, 40), size) for size in (5, 3))
    for rows in (
        FieldRows.from_columns(40, codes=codes),
        FieldRows.from_columns(40, codes=codes, bags=(bag,), numbers=numbers),
    ):
        torch.manual_seed(2)
        network = settings.build_network((rows.fields,), 2).eval()
        for weight in (*network.parameters(), *network.buffers()):
            if weight.is_floating_point():
                weight.data += 0.3 * torch.rand_like(weight)
        weights = to_arrays(network)
        assert settings.weight_shapes((rows.fields,), 2) == {name: each.shape for name, each in weights.items()}
        with torch.inference_mode():
            slow = network.predict_logits(network.embed(0, to_batch(rows, torch.device("cpu")))).sigmoid().numpy()
        model = RowModel(settings, (rows.fields,), 2, weights)
        model.check_state()
        np.testing.assert_allclose(model.predict(rows), slow, atol=1e-5)


class CTRContract(EstimatorContract, OddDataContract):
    """Subclass it as ``TestDeepFM``."""

    @pytest.mark.parametrize("batch_norm", [True, False])
    def test_probabilities_equal_those_of_the_network(self, *, batch_norm: bool) -> None:
        dropout = 0.2 if batch_norm else 0.0
        check_network(dataclasses.replace(self.estimator, hidden_sizes=(8, 4), batch_norm=batch_norm, dropout=dropout))

    def test_known_user_has_more_than_a_history(self, model: Any, dataset: Dataset) -> None:
        known = dataset.queries(np.zeros(1, np.int32))
        new = dataclasses.replace(known, users=np.array([-1], np.int32))
        assert not np.allclose(model.score(known), model.score(new))

    def test_unknown_user_without_history_gets_zeros(self, model: Any) -> None:
        unknown = Queries(users=np.array([-1, 10**6], np.int32), history=empty_csr(2, model.n_items))
        assert not model.score(unknown).any()

    def test_new_item_is_scored_by_its_content(self, model: Any, dataset: Dataset) -> None:
        assert isinstance(model, Extendable)
        assert dataset.item_table is not None
        larger = model.extend(dataset.item_table.take(np.array([0, 1, 2, 3])))
        history = dataset.interactions.copy()
        history.resize((len(dataset.users), larger.n_items))
        users = np.arange(len(dataset.users), dtype=np.int32)
        scores = larger.score(Queries(users=users, history=history))
        np.testing.assert_allclose(scores[:, : model.n_items], model.score(dataset.queries()), rtol=1e-4, atol=1e-4)
        # User u likes the genre u % 4, and the new items have one genre each.
        new = scores[:, model.n_items :]
        assert (new.argmax(1) == users % 4).mean() > 0.6

    def test_extending_a_model_without_content_is_refused(self, dataset: Dataset) -> None:
        bare = dataclasses.replace(dataset, item_table=None)
        model = dataclasses.replace(self.estimator, epochs=1).fit(bare)
        with pytest.raises(SettingError, match="fit it again with an item table"):
            model.extend(Table({"title": np.array(["x"], STRINGS)}))

    def test_ranks_a_short_list(self, model: Any, dataset: Dataset) -> None:
        assert isinstance(model, Ranker)
        queries = dataset.queries(np.arange(3, dtype=np.int32))
        items = np.array([[5, 1, 9, -1], [2, 0, -1, -1], [7, 8, 3, 4]], np.int32)
        scores = np.where(items >= 0, np.float32(1), -np.inf).astype(np.float32)
        ranked = model.rank(queries, Candidates(items, scores))
        full = model.score(queries)
        for row in range(3):
            listed = items[row][items[row] >= 0]
            expected = listed[np.argsort(-full[row, listed], kind="stable")]
            assert ranked.items[row].tolist() == [*expected.tolist(), *[-1] * (4 - len(listed))]
        assert (np.diff(np.where(ranked.items >= 0, ranked.scores, -1e9)) <= 0).all()

    @pytest.mark.filterwarnings("ignore:.*the validation score was")
    def test_early_stopping_on_held_out_events(self, dataset: Dataset) -> None:
        model = dataclasses.replace(self.estimator, epochs=3, patience=1).fit(dataset, Run(threads=1))
        assert np.isfinite(model.score(dataset.queries())).all()
        cases = EvaluationSet(dataset.queries(), dataset.interactions, allow_repeats=True)
        dataclasses.replace(self.estimator, epochs=2, patience=1).fit(dataset, Run(threads=1), cases)

    def test_rows_of_a_table(self) -> None:
        coder = SPEC.fit(crossed_table(1500))
        estimator = dataclasses.replace(self.estimator, epochs=30, batch_size=128, id_dropout=0.0, patience=0)
        model = estimator.fit_rows(coder.encode_labeled(crossed_table(1500)), Run(seed=1, threads=1))
        test = coder.encode_labeled(crossed_table(400, seed=9))
        p = model.predict(test.rows)
        assert p.shape == (400, 1)
        assert ((p > 0) & (p < 1)).all()
        assert mean_auc(test.labels, p) > 0.9
        with pytest.raises(DataError, match="fields"):
            model.predict(test.rows.hstack(test.rows))

    def test_early_stopping_on_held_out_rows(self) -> None:
        table = crossed_table(300)
        examples = SPEC.fit(table).encode_labeled(table)
        estimator = dataclasses.replace(self.estimator, epochs=4, patience=1)
        assert estimator.fit_rows(examples, Run(threads=1)).predict(examples.rows).shape == (300, 1)
        with pytest.raises(DataError, match="none"):
            estimator.fit_rows(examples.take(np.zeros(0, np.int64)))

    def test_missing_times_and_users_are_unknown(self) -> None:
        data = make_dataset(n_users=12, n_items=9, per_user=4)
        model = dataclasses.replace(self.estimator, epochs=2).fit(data, Run(threads=1))
        queries = data.queries()
        timed = dataclasses.replace(queries, time=data.events.time[data.indptr[1:] - 1])
        assert not np.allclose(model.score(timed), model.score(queries))
