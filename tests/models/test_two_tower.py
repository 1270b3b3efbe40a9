from contracts.estimator import EstimatorContract
from leanrec.models.deep.two_tower import TwoTower

SMALL = TwoTower(width=8, hidden=8, epochs=12, batch=256, learning_rate=0.02)


class TestTwoTower(EstimatorContract):
    estimator = SMALL
