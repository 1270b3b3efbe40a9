"""Refit of product codes to the data: users are solved against the items, then codes and codebooks against the users.

Each round lowers the loss of iALS itself, and not the error of the vectors: an item's errors count in the directions of its own
users. It is alternating least squares whose items can only be what codes express.
"""

import dataclasses
import itertools

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.compression.vectors.product import ProductCodes, importance_of, round_books, round_scales
from leanrec.data.dataset import Dataset
from leanrec.kernels.quantization.bit_planes import pack_rows
from leanrec.kernels.quantization.coded_rows import RowLosses, improve_books, improve_codes
from leanrec.kernels.quantization.sub_codes import decode_sub_codes
from leanrec.kernels.solvers.least_squares import principal_axes, solve_rows
from leanrec.kernels.threads import single_threaded_blas
from leanrec.models.factorization.ials import IALSModel
from leanrec.run import Run
from leanrec.types import Float32Array

__all__ = ["refit_product", "refit_round"]


def refit_product(
    model: IALSModel,
    codes: ProductCodes,
    data: Dataset,
    *,
    rounds: int = 3,
    run: Run = Run(),
) -> ProductCodes:
    """Codes of the items of a fitted iALS that lower its loss on the data of the fit.

    Cost: each round solves all users, O(Σ n · D · min(n, D)), and passes over the entries with O(E · D · D / M) for the codes of
    M groups and O(E · D) for each of 6 steps of the codebooks; memory 16 D (U + N) bytes.

    Args:
        model: a fitted model.
        codes: of its items.
        data: what it was fitted on.
        rounds: how often users, codes and codebooks take turns.
        run: threads of the work, and its time: no round begins after it.
    """
    with run.limit_threads():
        X = model.settings._prepare_weights(data.interactions)  # noqa: SLF001 - the same equations as in the fit
        Xt = sp.csr_array(X.T)
        Xt.sort_indices()
        ridges = [model.settings._ridge(rows) for rows in (X, Xt)]  # noqa: SLF001 - as above
        for _ in run.track(range(rounds), "refit"):
            if run.out_of_time():
                break
            V = codes.decode()
            with single_threaded_blas():
                axes, moments = principal_axes(V)
                V = V @ axes
                base = np.float32(model.settings.unobserved_weight) * moments
            W = codes.project_queries(solve_rows(X, V, base, ridges[0]) @ axes.T)
            with single_threaded_blas():
                gram = np.float32(model.settings.unobserved_weight) * (W.T @ W)
            codes = refit_round(codes, RowLosses(gram, ridges[1], Xt, W))
    return codes


def refit_round(codes: ProductCodes, losses: RowLosses) -> ProductCodes:
    """The codes, lengths and codebooks, improved in this order; the losses are of vectors in the order of the codebooks."""
    sub_codes, groups, books = codes.unpack(), codes.groups, codes.centroids

    def decode(scales: Float32Array) -> Float32Array:
        return decode_sub_codes(sub_codes, books, groups, scales)

    slopes = losses.multiply(decode(codes.scales), target=1)
    improve_codes(losses, sub_codes, books, groups, codes.scales, slopes)
    # The loss along the vector of a row is a parabola; slopes are now those of the new codes.
    V = decode(codes.scales)
    curvature = np.einsum("nd,nd->n", V, losses.multiply(V))
    slope = np.einsum("nd,nd->n", V, slopes)
    factor = 1 - np.divide(slope, curvature, out=np.zeros_like(slope), where=curvature > 0)
    levels = round_scales(np.where(factor > 0, factor, 1) * codes.scales, codes.unit)
    moved = dataclasses.replace(codes, packed=pack_rows(sub_codes, codes.bits), levels=levels)
    slopes = losses.multiply(decode(moved.scales), target=1)
    books = improve_books(losses, sub_codes, books, groups, moved.scales, slopes)
    books, importance = _turn_groups(books, decode(moved.scales), losses.gram, groups)
    rounded, steps = round_books(books)
    return dataclasses.replace(moved, books=rounded, steps=steps, importance=importance)


def _turn_groups(
    books: Float32Array, V: Float32Array, gram: Float32Array, groups: NDArray[np.int64]
) -> tuple[Float32Array, Float32Array]:
    """The codebooks, each group turned to the principal axes of its part of the rows V, and the importance of the new axes.

    All products of users and items stay, and of the Gram matrix, of which a compressed iALS keeps the diagonal alone,
    fewer numbers beside it differ from 0. The importance is from the second moments of users, in ``gram``.
    """
    turned, moments = np.empty_like(books), np.empty(books.shape[1])
    for first, last in itertools.pairwise(groups):
        axes = principal_axes(V[:, first:last])[0]
        turned[:, first:last] = books[:, first:last] @ axes
        moments[first:last] = np.einsum("ij,ik,kj->j", axes, gram[first:last, first:last], axes)
    return turned, importance_of(moments)
