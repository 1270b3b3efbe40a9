"""Blocks of logits: their rows and their memory."""

from leanrec.training.logit_blocks import block_rows, logits_bytes


def test_block_of_a_large_table_has_half_as_many_rows_as_dimensions() -> None:
    assert block_rows(1_000_000, 8) == 16
    assert block_rows(40_981, 200) == 100
    assert block_rows(1_000, 64) == 4 * 2**20 // 4_000
    assert logits_bytes(40_981, 200) == 3 * 4 * 40_981 * 100
