"""Settings that all CTR models share."""

import dataclasses
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.errors import MissingExtraError, SettingError
from leanrec.features.pipeline import TEXT_FEATURES
from leanrec.finiteness import require_finite
from leanrec.kernels.layers.field_layers import FieldBlock, FieldSizes, apply_mlp, mlp_shapes
from leanrec.kernels.layers.named_layers import NamedLayers
from leanrec.run import Run
from leanrec.settings import setting
from leanrec.training.config import TrainingSettings
from leanrec.types import Float32Array

if TYPE_CHECKING:
    from leanrec.models.ctr.core.examples import LabeledRows
    from leanrec.models.ctr.core.models import FieldModel, RowModel
    from leanrec.nn.fields import FieldNetwork

__all__ = ["CTRSettings"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CTRSettings(TrainingSettings):
    """Settings of every click-through-rate model. ``batch_size`` counts examples, positive and negative."""

    READS: ClassVar[frozenset[str]] = frozenset({"history", "content", "users", "times", "context"})

    epochs: int = 10
    batch_size: int = 4096
    embedding_dim: int = setting(
        16, at_least=1, search="4,8,16,32", doc="D, dimension of the embeddings of the fields."
    )
    hidden_sizes: tuple[int, ...] = setting((128, 64), at_least=1, doc="Sizes of the hidden layers of the MLP.")
    dropout: float = setting(
        0.0, between=(0, 0.99), search="0..0.6", doc="Share of hidden units that are dropped in training."
    )
    batch_norm: bool = setting(True, doc="Batch normalization after each hidden layer.")
    n_negatives: int = setting(4, at_least=1, doc="Items without interaction sampled per positive event.")
    max_length: int = setting(50, at_least=1, doc="Number of latest items of a history that are pooled.")
    id_dropout: float = setting(
        0.1,
        between=(0, 0.99),
        doc="Share of codes (user, item, hour …) replaced by the unknown code in training, so that unknown users and "
        "items get a trained vector.",
    )
    l2: float = setting(
        0.0,
        at_least=0,
        doc="L2 penalty on the embedding tables, as part of the loss; tables with sparse gradients (200,000 rows and "
        "more) are left out.",
    )
    columns: tuple[str, ...] = setting((), doc="Columns of the item table to use; () = all usable ones.")
    text: str = setting(
        "tfidf",
        one_of=TEXT_FEATURES,
        doc='Feature of text columns: "tfidf", "hashing", "nmf", "lda" or "embedding".',
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.hidden_sizes:
            raise SettingError("hidden_sizes must have at least one size, such as (128, 64). Got none.")

    def build_network(self, sides: tuple[FieldSizes, ...], n_tasks: int) -> "FieldNetwork":
        """A network with fresh weights for rows of these fields, for training with torch. Every model implements it."""
        raise NotImplementedError

    def weight_shapes(self, sides: tuple[FieldSizes, ...], n_tasks: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights of that network, by name. Every model implements it."""
        raise NotImplementedError

    def predict_logits(self, layers: NamedLayers, rows: FieldBlock) -> Float32Array:
        """(R, T) logits of rows with the fields of all sides, computed without torch from the fitted weights. Every model implements it."""
        raise NotImplementedError

    def hidden_shapes(self, name: str, n_inputs: int, n_outputs: int = 0) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights of an MLP with the hidden layers of these settings."""
        return mlp_shapes(
            name,
            n_inputs,
            self.hidden_sizes,
            n_outputs,
            has_dropout=self.dropout > 0,
            batch_norm=self.batch_norm,
        )

    def apply_hidden(self, layers: NamedLayers, name: str, x: Float32Array, *, has_output: bool = True) -> Float32Array:
        """The MLP of that name for rows (R, inputs)."""
        return apply_mlp(
            layers,
            name,
            x,
            len(self.hidden_sizes),
            has_output=has_output,
            has_dropout=self.dropout > 0,
            batch_norm=self.batch_norm,
        )

    def task_names(self, data: Dataset) -> tuple[str, ...]:
        """What is predicted for a user-item pair: by default one task, a positive event."""
        del data
        return ("positive",)

    def task_weights(self, n_tasks: int) -> Float32Array:
        """(T,) weight of the loss of each task in training on events."""
        return np.ones(n_tasks, np.float32)

    def combine_logits(self, logits: Float32Array) -> Float32Array:
        """(R, T) logits to (R,) scores."""
        return logits[:, 0]

    @require_finite
    def fit(self, data: Dataset, run: Run = Run(), valid: EvaluationSet | None = None) -> "FieldModel":
        """Train on positive events against sampled items without interaction.

        With ``patience`` the validation score is NDCG@10 on 300 queries of ``valid``; if that is None, on the latest item of 5 % of the
        users, which is then left out of training. Raises MissingExtraError without torch.
        """
        model: FieldModel = self._import_training().fit_events(self, data, run, valid)
        return model

    def fit_rows(self, examples: "LabeledRows", run: Run = Run(), valid: "LabeledRows | None" = None) -> "RowModel":
        """Train on labeled rows.

        With ``patience`` the validation score is the mean AUC of the tasks on ``valid``; if that is None, on a random tenth
        of the rows, which is then left out of training. Raises DataError if there are no rows, and MissingExtraError without torch.
        """
        model: RowModel = self._import_training().fit_rows(self, examples, run, valid)
        return model

    def _import_training(self) -> ModuleType:
        try:
            from leanrec.models.ctr.core import training  # noqa: PLC0415 - torch is optional
        except ImportError as error:
            name = type(self).__module__.rpartition(".")[2]
            raise MissingExtraError.from_import_error(f"The model {name!r}", error) or error from error
        return training

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Tables of users, items and histories, 4 kB of content per item and user, and the memory of a step."""
        tables = self.estimate_bytes(shape.users + 2 * shape.items)
        return tables + 4096 * (shape.items + shape.users) + 96 * shape.events

    def estimate_bytes(self, n_values: int) -> int:
        """Tables of ``n_values`` rows with gradients, two moments and three copies; activations of a batch, both ways."""
        cells = 24 * (self.embedding_dim + 1) + 4 * sum(self.hidden_sizes)
        return 32 * n_values * (self.embedding_dim + 1) + 4 * self.batch_size * 4 * cells + 2**26
