"""Blocks of logits: how many rows of states · item vectors a loss over all items computes at a time, and their memory."""

__all__ = ["block_rows", "logits_bytes"]

# Size of one block of logits: 4 MB stay in a CPU cache between the product and the softmax; a GPU needs few, large calls.
_BLOCK_BYTES = {"cpu": 4 * 2**20, "cuda": 512 * 2**20}
_MIN_ROWS = 16


def block_rows(n_items: int, embedding_dim: int, device: str = "cpu") -> int:
    """Rows of a block of logits; at least D / 2, so that reading a table larger than the cache is amortized."""
    fitting = _BLOCK_BYTES.get(device, _BLOCK_BYTES["cpu"]) // (4 * n_items)
    return max(_MIN_ROWS, embedding_dim // 2, fitting)


def logits_bytes(n_items: int, embedding_dim: int) -> int:
    """Memory of the losses over all items on a CPU beside states, tables and gradients: three blocks of logits."""
    return 3 * 4 * n_items * block_rows(n_items, embedding_dim)
