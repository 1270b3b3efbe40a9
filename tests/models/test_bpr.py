"""BPR: the contract."""

import pytest

from contracts.estimator import EstimatorContract
from leanrec.errors import SettingError
from leanrec.models.collaborative.bpr import BPR


class TestBPR(EstimatorContract):
    estimator = BPR(width=8)


def test_refuses_a_width_of_nothing() -> None:
    with pytest.raises(SettingError, match="width"):
        BPR(width=0)
