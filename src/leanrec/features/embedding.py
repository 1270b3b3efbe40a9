"""Static sentence embeddings: the mean of the vectors of a text's word pieces.

Tulkens & van Dongen, "Model2Vec", 2024, with a table distilled from all-MiniLM-L6-v2 (Reimers & Gurevych,
EMNLP 2019).
"""

import dataclasses
import functools
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import normalize

from leanrec.errors import MissingExtraError, SettingError
from leanrec.features.base import Column, to_csr, to_texts
from leanrec.field_checks import ArrayShape, CodeRange
from leanrec.run import Run
from leanrec.settings import setting
from leanrec.types import CSR, Float32Array, Int64Array, empty_csr

__all__ = ["FittedStaticEmbedding", "StaticEmbedding"]

_BUNDLED = Path(__file__).with_name("minilm")


@dataclasses.dataclass(frozen=True)
class StaticEmbedding:
    """Embed a text in D dimensions, so that texts without a common word can be similar. Rows have unit length.

    Needs the extra ``text``. The bundled table is for English; a text without a known word, such as one in
    Chinese, gives a zero row instead of a random one. No network at run time.

    Cost: O(characters) time; the table, 4 MB, is saved with the features so that serving cannot drift.
    """

    model: str = setting(
        "minilm", doc='"minilm" for the bundled table (128 dimensions), or a folder saved by model2vec.'
    )
    center: bool = setting(True, doc="Subtract the mean of the training texts, which all texts share.")

    def fit(self, column: Column, run: Run = Run()) -> "FittedStaticEmbedding":  # noqa: ARG002 - nothing random
        """Load the table and learn the mean. Raises MissingExtraError or SettingError."""
        _require_package(self.model)
        table = _read_bundled() if self.model == "minilm" else _read_table(self.model)
        mean = table.mean
        if self.center:
            rows = table.transform(column)
            # The mean is of all columns, so a training column without a known word has none to subtract.
            known = np.flatnonzero(np.diff(rows.indptr))
            if len(known) >= 2:
                mean = np.asarray(rows[known].mean(axis=0), dtype=np.float32)
        fitted = dataclasses.replace(table, settings=self, mean=mean)
        vars(fitted)["_model"] = table._model  # noqa: SLF001 - made anew it would take longer than the fit
        return fitted


@dataclasses.dataclass(frozen=True, eq=False)
class FittedStaticEmbedding:
    """A fitted StaticEmbedding.

    Attributes:
        settings: settings of the fit.
        vectors: (R, D) vectors of word pieces, in the number type of the table.
        tokenizer: UTF-8 bytes of the tokenizer's JSON.
        mean: (D,) float32 that is subtracted from a text of unit length.
        weights: (V,) float32 of each word piece, or None.
        mapping: (V,) row of ``vectors`` for each word piece, which several may share; None = a row for each (V = R).
    """

    settings: StaticEmbedding
    vectors: Annotated[NDArray[Any], ArrayShape("R", "D")]
    tokenizer: Annotated[NDArray[np.uint8], ArrayShape("B")]
    mean: Annotated[Float32Array, ArrayShape("D")]
    weights: Annotated[Float32Array | None, ArrayShape("V")] = None
    mapping: Annotated[Int64Array | None, ArrayShape("V"), CodeRange("R")] = None

    @property
    def names(self) -> tuple[str, ...]:
        """``dimension 1`` …: the dimensions have no individual meaning."""
        return tuple(f"dimension {position + 1}" for position in range(self.vectors.shape[1]))

    @functools.cached_property
    def _model(self) -> Any:
        _require_package(self.settings.model)
        from model2vec import StaticModel  # noqa: PLC0415 - an optional package
        from tokenizers import Tokenizer  # noqa: PLC0415

        tokenizer = Tokenizer.from_str(self.tokenizer.tobytes().decode())
        return StaticModel(self.vectors, tokenizer, weights=self.weights, token_mapping=self.mapping)

    def transform(self, column: Column) -> CSR:
        """(n, D), rows of unit length; zero where no word of the text is known."""
        texts = to_texts(column)
        if not texts:
            return empty_csr(0, len(self.mean))
        rows = normalize(self._model.encode(texts, use_multiprocessing=False).astype(np.float32))
        known = np.abs(rows).sum(axis=1) > 0
        rows[known] -= self.mean
        return to_csr(normalize(rows))


@functools.cache
def _read_bundled() -> FittedStaticEmbedding:
    """The bundled table, read once in a process."""
    return _read_table("minilm")


def _read_table(model: str) -> FittedStaticEmbedding:
    """A table without a mean, from a folder of model2vec. Raises SettingError if it is none."""
    from model2vec import StaticModel  # noqa: PLC0415 - an optional package

    folder = _BUNDLED if model == "minilm" else Path(model)
    # model2vec would look up a name that is no folder on the network.
    if not (folder / "config.json").is_file():
        raise SettingError(
            f'model must be "minilm" or a folder saved by model2vec. Got {model!r}, which has no config.json.'
        )
    static = StaticModel.from_pretrained(folder, force_download=False)
    return FittedStaticEmbedding(
        settings=StaticEmbedding(model),
        vectors=np.ascontiguousarray(static.embedding),
        tokenizer=np.frombuffer(static.tokenizer.to_str().encode(), dtype=np.uint8),
        mean=np.zeros(static.embedding.shape[1], np.float32),
        weights=None if static.weights is None else np.asarray(static.weights, dtype=np.float32),
        mapping=None if static.token_mapping is None else np.asarray(static.token_mapping, dtype=np.int64),
    )


def _require_package(model: str) -> None:
    try:
        import model2vec  # noqa: F401, PLC0415 - an optional package
    except ImportError as error:
        raise MissingExtraError(f"The static embedding {model!r}", "text") from error
