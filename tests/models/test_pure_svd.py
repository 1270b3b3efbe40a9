"""PureSVD: the contract."""

import pytest

from contracts.estimator import EstimatorContract
from leanrec.errors import SettingError
from leanrec.models.collaborative.pure_svd import PureSVD


class TestPureSVD(EstimatorContract):
    estimator = PureSVD(width=8)


def test_refuses_a_width_of_nothing() -> None:
    with pytest.raises(SettingError, match="width"):
        PureSVD(width=0)
