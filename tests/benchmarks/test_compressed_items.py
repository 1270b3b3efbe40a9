"""The claim about compression: bytes are counted whole, and the best of both sides are compared within each budget."""

from functools import partial
from pathlib import Path

import compressed_items
import numpy as np
import pytest
from peer_codecs import DecodedCodes, FaissCodec

from leanrec.compression import ScalarCodec
from leanrec.compression.factor_compression import FactorCompression
from leanrec.evaluation.compression.ranking_sample import METRICS, MeasuredLists, RankingSample
from leanrec.models import IALS
from leanrec.run import Run


def run_of(size: float, ndcg: float) -> list[dict]:
    quality = {"bytes": size, "ndcg@20": ndcg, "ndcg_kept": ndcg / 0.2, "ndcg_half_width": 0.01}
    return [{"wall": [1.0], "cpu": [], "times": {}, "quality": quality, "notes": []}]


RUNS = {
    "uncompressed": run_of(1024, 0.2),
    "ours 16": run_of(15.9, 0.15),
    "ours 8": run_of(7.9, 0.16),
    "theirs": run_of(16.6, 0.19),
}
FAMILIES = {
    "uncompressed": "uncompressed",
    "ours 16": "product codes",
    "ours 8": "scalar codes",
    "theirs": "FAISS PQ",
}


def test_the_best_within_each_budget_are_compared() -> None:
    rows = compressed_items.make_comparisons(RUNS, FAMILIES, {})
    assert [(row.ours, row.peer) for row in rows[:3]] == [("ours 8", None), ("ours 8", None), ("ours 8", "theirs")]
    assert {row.at_least for row in rows if row.measure == "ndcg_kept"} == {
        share for _, share in compressed_items.GOALS
    }


def test_the_best_of_other_families_is_compared_user_by_user() -> None:
    rng = np.random.default_rng(0)
    ours = rng.random(400)
    lists = {"ours 8": make_lists(ours), "theirs": make_lists(0.9 * ours)}
    said = compressed_items.compare_families(RUNS, FAMILIES, lists, "ours 8", 32)
    assert said == "ours 8: ahead of theirs, which loses 10.00% (10.00% to 10.00%)."
    lists["theirs"] = make_lists(ours + 0.1 * rng.standard_normal(400))
    assert "level with theirs" in compressed_items.compare_families(RUNS, FAMILIES, lists, "ours 8", 32)
    lists["theirs"] = make_lists(1.1 * ours)
    assert "behind theirs" in compressed_items.compare_families(RUNS, FAMILIES, lists, "ours 8", 32)
    assert not compressed_items.compare_families(RUNS, FAMILIES, lists, "ours 8", 16)


def make_lists(ndcg: np.ndarray) -> MeasuredLists:
    per_query = dict.fromkeys(METRICS, ndcg)
    return MeasuredLists(per_query=per_query, fingerprint="", items=np.zeros((len(ndcg), 20), np.int32))


def test_a_run_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, sample = compressed_items.simulate_part()
    made = []

    def list_few(base: str, dims: int, *, is_refitted: bool) -> list:
        def make(name: str, model: IALS, *_: object) -> object:
            made.append(name)
            return model

        return [("scalar codes", name, partial(make, name)) for name in ("4 bits", "1 bits")]

    monkeypatch.setattr(compressed_items, "list_contestants", list_few)
    base = "ials,embedding_dim=8,epochs=1"
    first = compressed_items.measure_all(base, data, sample, Run(), folder=tmp_path)
    (tmp_path / "1_bits.npz").unlink()
    kept = compressed_items.measure_all(base, data, sample, Run(), folder=tmp_path, is_kept=True)
    assert list(kept[0]) == ["uncompressed", "4 bits"]
    again = compressed_items.measure_all(base, data, sample, Run(), folder=tmp_path)
    assert made == ["4 bits", "1 bits", "1 bits"]
    for name, runs in first[0].items():
        assert again[0][name][0]["quality"] == runs[0]["quality"]
    compressed_items.measure_all(f"{base},l2=2", data, sample, Run(), folder=tmp_path)
    assert made[3:] == ["4 bits", "1 bits"], "lists of another base model are made anew"


def test_every_family_has_a_style() -> None:
    names = [name for _, name, _ in compressed_items.list_contestants(compressed_items.BASE, 256, is_refitted=True)]
    families = {
        family for family, _, _ in compressed_items.list_contestants(compressed_items.BASE, 256, is_refitted=True)
    }
    assert families == set(compressed_items.STYLES)
    assert len(names) == len(set(names))


def test_codes_of_another_library_are_counted_with_what_decodes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    data, sample = compressed_items.simulate_part()
    model = IALS(embedding_dim=8, epochs=2).fit(data)
    n_bytes = 9 * model.n_items + 1000

    def encode(self: FaissCodec, V: np.ndarray, **_: object) -> DecodedCodes:
        return DecodedCodes(V, n_bytes)

    monkeypatch.setattr(FaissCodec, "encode", encode)
    smaller = FactorCompression(FaissCodec("PQ8")).compress(model, data)
    assert compressed_items.count_bytes(smaller) == pytest.approx((n_bytes + 4 * 8) / model.n_items)
    assert compressed_items.count_bytes(model) == 4 * 8
    found = compare(sample, model, smaller)
    assert found["ndcg_kept"] == pytest.approx(1)
    assert found["identical"] > 0.95
    assert compare(sample, model, FactorCompression(ScalarCodec(1)).compress(model, data))["identical"] < 0.9


def compare(sample: RankingSample, model: object, smaller: object) -> dict[str, float]:
    lists = [sample.measure(each, Run()) for each in (model, smaller)]
    return compressed_items.describe(lists[1], lists[0], compressed_items.count_bytes(smaller), 1.0)["quality"]


def test_results_are_drawn(tmp_path: Path) -> None:
    stages = {name: {key: {"value": value} for key, value in runs[0]["quality"].items()} for name, runs in RUNS.items()}
    assert compressed_items.draw_results({"claim": "trial", "contestants": stages}, tmp_path, FAMILIES) == ["trial.png"]
    assert (tmp_path / "trial.png").stat().st_size > 10_000
