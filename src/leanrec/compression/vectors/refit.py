"""Codes that are refitted to the data: users are solved against the coded items, and codes against these users."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from leanrec.compression.compressed_factors import build_factors, compress_factors
from leanrec.compression.vectors.codec import VectorCodec
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.kernels.quantization.code_descent import descend_codes
from leanrec.models.factorization.ials import IALSModel
from leanrec.run import Run
from leanrec.types import CSR, Float32Array

__all__ = ["refit_factors"]


def refit_factors(
    model: IALSModel,
    codec: VectorCodec,
    data: Dataset,
    *,
    n_rounds: int = 2,
    run: Run = Run(),
) -> Any:
    """The compressed iALS model whose codes minimize the loss of the fit, as far as their levels allow.

    Rounding alone minimizes the error of the vectors, which the loss does not weigh equally. Here users are solved against
    the decoded items, and the levels of each item are improved one by one for these users (`descend_codes`), in turns.
    Discrete steps do not converge: measure a few numbers of rounds, as `FactorCompression.refine` proposes them.

    Cost: a round is one half of an epoch of the fit, and O(interactions · D + N · D²).

    Args:
        model: a fitted iALS model.
        codec: a scalar codec, also one within `AxesCodec`.
        data: what the model was fitted on.
        n_rounds: number of rounds.
        run: seed and threads.

    Raises:
        SettingError: for another model or codec.
    """
    first = compress_factors(model, codec, data=data, seed=run.seed)
    if not isinstance(model, IALSModel) or not hasattr(first.items, "read_levels"):
        raise SettingError(f"Codes are refitted for ials with a scalar codec. Got {type(model).__name__} and {codec}.")
    settings = model.settings
    with run.limit_threads():
        X = settings._prepare_weights(data.interactions)  # noqa: SLF001 - the equations of the model
        by_item = sp.csr_array(X.T)
        codes = first.items
        for _ in run.track(range(n_rounds), "Refit of codes"):
            codes = _refit_once(model, codes, data, by_item, settings._ridge(by_item))  # noqa: SLF001
            if run.out_of_time():
                break
    return build_factors(model, codec, {"items": codes})


def _refit_once(model: IALSModel, codes: Any, data: Dataset, by_item: CSR, ridge: Float32Array) -> Any:
    """The codes after one round."""
    settings, bits = model.settings, int(codes.bits)
    decoded = IALSModel(settings, codes.decode())
    W = codes.project_queries(decoded.embed_queries(data.queries()))
    basis = codes.restore(np.eye(W.shape[1], dtype=np.float32))
    levels, steps = codes.read_levels()
    gram = np.float32(settings.unobserved_weight) * (W.T @ W)
    descend_codes(by_item, W, gram, basis @ basis.T, ridge, levels, steps, bits)
    return codes.with_levels(levels, steps)
