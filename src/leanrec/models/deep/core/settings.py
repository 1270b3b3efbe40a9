"""Settings of models that represent a user by the items of the history and train on histories."""

import dataclasses

from leanrec.data.dataset import DatasetShape
from leanrec.settings import setting
from leanrec.training.config import TrainingSettings

__all__ = ["HistorySettings"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class HistorySettings(TrainingSettings):
    """The user vector is the sum of the vectors of L items / L^pooling_exponent. ``batch_size`` counts items of histories."""

    epochs: int = 30
    batch_size: int = 1024
    learning_rate: float = setting(3e-3, search="0.0003..0.03:log")
    weight_decay: float = 0.1
    embedding_dim: int = setting(64, at_least=1, search="16,32,64,128", doc="D, dimension of the embeddings.")
    n_layers: int = setting(2, at_least=0, doc="Number of hops over which information is propagated.")
    n_negatives: int = setting(256, at_least=1, doc="S, sampled negatives shared by the targets of a step.")
    sampler: str = setting(
        "uniform", one_of=("uniform", "popularity"), doc='Distribution of the negatives: "uniform" or "popularity".'
    )
    dropout: float = setting(
        0.2,
        between=(0, 0.99),
        search="0..0.6",
        doc="Share of the elements of a user vector that are dropped in training.",
    )
    node_dropout: float = setting(
        0.1,
        between=(0, 0.99),
        doc="Share of the nodes' own vectors that are dropped in training, so that propagated information becomes "
        "sufficient on its own.",
    )
    pooling_exponent: float = setting(
        0.7,
        between=(0, 1),
        search="0..1",
        doc="Exponent of the history length by which the sum of item vectors is divided.",
    )

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Weights with gradients, moments and copies; activations of a batch; user vectors. ``fit`` adds the links."""
        longest = min(shape.items, max(1, shape.events))
        cells = 4 * (self.batch_size + longest) * (12 * self.embedding_dim + 4 * self.n_negatives)
        tables = 4 * (self.embedding_dim + 1) * (16 * shape.items + 3 * shape.users)
        return tables + cells + 64 * shape.events + 48 * 2**20
