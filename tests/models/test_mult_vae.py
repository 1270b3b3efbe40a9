from contracts.estimator import EstimatorContract
from leanrec.models.deep.mult_vae import MultVAE

SMALL = MultVAE(width=8, hidden=16, epochs=15, batch=32, learning_rate=0.02)


class TestMultVAE(EstimatorContract):
    estimator = SMALL


class TestDeeper(EstimatorContract):
    estimator = MultVAE(width=8, hidden=16, layers=2, decoder=8, beta=0.05, epochs=20, batch=32, learning_rate=0.02)
