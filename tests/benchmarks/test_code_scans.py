"""The comparison of code searches: contestants find what they say, and are timed in turn."""

import code_scans
import numpy as np


def test_exact_contestants_agree_and_bytes_are_counted(tmp_path, monkeypatch, capsys) -> None:
    for peers in ("make_faiss", "make_usearch"):
        monkeypatch.setattr(code_scans, peers, lambda V: {})
    rng = np.random.default_rng(0)
    V, Q = (rng.standard_normal((n, 32), dtype=np.float32) for n in (900, 6))
    contestants = code_scans.make_contestants(V, tmp_path)
    lists = {name: each.search(Q) for name, each in contestants.items()}
    np.testing.assert_array_equal(lists["MappedIndex"], lists["ItemIndex"])
    sizes = [contestants[name].bytes for name in ("ItemIndex", "MappedIndex", "codes of 8 bits", "codes of 1 bits")]
    assert sizes == sorted(sizes, reverse=True)
    seconds = code_scans.measure_alternately(contestants, [Q], 2)
    assert set(seconds) == set(contestants)
    assert all(0 < each < 60 for each in seconds.values())
    code_scans.print_table("One query", seconds, contestants, V, Q)
    table = capsys.readouterr().out
    assert [line.split()[-2] for line in table.splitlines() if line.endswith("exact")] == ["100.0%", "100.0%"]


def test_few_bits_lose_little_of_normal_vectors() -> None:
    V = np.random.default_rng(1).standard_normal((200, 64), dtype=np.float32)
    lost = {}
    for bits in (1, 2, 4, 8):
        codes, steps = code_scans.quantize_uniformly(V, bits)
        offset = 128.0 if bits == 8 else (2**bits - 1) / 2
        lost[bits] = np.mean((V - (codes - offset) * steps.astype(np.float32)[:, None]) ** 2)
    # The least mean squared errors of uniform codes for a normal distribution.
    np.testing.assert_allclose([lost[1], lost[2], lost[4]], [0.3634, 0.1188, 0.0115], rtol=0.1)
    assert lost[8] < 1e-3
