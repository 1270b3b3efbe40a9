"""SLIM: the contract."""

import pytest

from contracts.estimator import EstimatorContract
from leanrec.errors import SettingError
from leanrec.models.collaborative.slim import SLIM


class TestSLIM(EstimatorContract):
    estimator = SLIM()


def test_refuses_a_negative_ridge() -> None:
    with pytest.raises(SettingError, match="l2"):
        SLIM(l2=-1.0)
