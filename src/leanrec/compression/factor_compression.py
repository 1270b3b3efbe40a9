"""Compression of factors: the method that puts the tables of a model into the codes of a codec."""

import dataclasses
from typing import Any

from leanrec.compression.compressed_factors import (
    CompressedFactors,
    build_factors,
    choose_codecs,
    compress_factors,
    read_table,
    remove_rows,
)
from leanrec.compression.methods import count_parts
from leanrec.compression.vectors.half import HalfCodec
from leanrec.compression.vectors.mapped import MappedCodec
from leanrec.compression.vectors.product import ProductCodec, ProductCodes
from leanrec.compression.vectors.product_refit import refit_product
from leanrec.compression.vectors.refit import refit_factors
from leanrec.data.dataset import Dataset
from leanrec.models.factorization.ials import IALSModel
from leanrec.protocols import Scorer
from leanrec.run import Run
from leanrec.settings import check_at_least

__all__ = ["FactorCompression"]

_ROUNDS = (1, 3)


@dataclasses.dataclass(frozen=True)
class FactorCompression:
    """Codes for the tables of a model of item embeddings, such as iALS, PureSVD, BPR or LightGCN.

    Attributes:
        codec: how vectors are coded.
        rounds: how often users are solved against the coded items, and the codes against the users, so that the loss of the fit is
            low with these codes; for iALS with scalar or product codes. 0 = the codes of the fitted vectors.
    """

    codec: Any
    rounds: int = 0

    def __post_init__(self) -> None:
        check_at_least("rounds", self.rounds, 0)

    def __str__(self) -> str:
        return f"{self.codec}{f', refit {self.rounds} times' if self.rounds else ''}"

    def estimate_bytes(self, model: Scorer) -> float:
        """Bytes of the codes and of what else the model needs."""
        summarized: Any = model
        size = float(sum(count_parts(remove_rows(summarized.summarize())).values()))
        for name, codec in choose_codecs(model, self.codec).items():
            size += codec.count_bytes(*read_table(model, name).shape)
        return size

    def refine(self, model: Scorer) -> tuple["FactorCompression", ...]:
        """The same codes refitted to the data, where the model can be."""
        if self.rounds or isinstance(self.codec, (HalfCodec, MappedCodec)) or not isinstance(model, IALSModel):
            return ()
        return tuple(FactorCompression(self.codec, rounds) for rounds in _ROUNDS)

    def compress(self, model: Scorer, data: Dataset, run: Run = Run()) -> CompressedFactors:
        """The model with its tables in codes. Raises SettingError for a model without tables of embeddings."""
        if self.rounds and isinstance(model, IALSModel):
            return self._refit(model, data, run.restart(callbacks=()))
        compressed: CompressedFactors = compress_factors(model, self.codec, data=data, seed=run.seed)
        return compressed

    def _refit(self, model: IALSModel, data: Dataset, run: Run) -> CompressedFactors:
        """The model whose codes lower the loss of the fit."""
        if not isinstance(self.codec, ProductCodec):
            refitted: CompressedFactors = refit_factors(model, self.codec, data, n_rounds=self.rounds, run=run)
            return refitted
        codes: ProductCodes = compress_factors(model, self.codec, data=data, seed=run.seed).items
        return build_factors(
            model, self.codec, {"items": refit_product(model, codes, data, rounds=self.rounds, run=run)}
        )
