"""Inputs of a network: windows and their next items, and whole histories as they are."""

import numpy as np
import torch

from leanrec.models.sequential.core.networks.base import SequentialNetwork


def test_the_target_of_a_position_is_the_next_item() -> None:
    windows, lengths = torch.tensor([[4, 5, 6], [7, 8, -1]]), torch.tensor([3, 2])
    items, ends, targets = SequentialNetwork().training_inputs(windows, lengths, np.random.default_rng(0))
    assert items.tolist() == [[4, 5], [7, 8]]
    assert ends.tolist() == [2, 1]
    assert targets.tolist() == [[5, 6], [8, -1]]


def test_a_whole_history_is_encoded_as_it_is() -> None:
    items, lengths = torch.tensor([[4, 5]]), torch.tensor([2])
    assert SequentialNetwork().inference_inputs(items, lengths) == (items, lengths)
