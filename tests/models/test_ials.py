"""IALS: the contract."""

import pytest

from contracts.estimator import EstimatorContract
from leanrec.errors import SettingError
from leanrec.models.collaborative.ials import IALS


class TestIALS(EstimatorContract):
    estimator = IALS(width=8)


def test_refuses_a_width_of_nothing() -> None:
    with pytest.raises(SettingError, match="width"):
        IALS(width=0)
