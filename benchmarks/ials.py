"""iALS on Gowalla compared with implicit and irspack: time to the same loss, and fold-in of a new user.

    python benchmarks/ials.py [--repeats 3] [--quick] [--curve [--relaxation 1.6]]

The loss of implicit, with a confidence of a for interactions, 1 for the rest, and a ridge r on every vector, is

    Σ_interactions a (w·v − 1)² + Σ_rest (w·v)² + r (Σ|w|² + Σ|v|²)

and with w·v = t · x·y, t = a / (a − 1), it is t² (a − 1) times the loss of leanrec with unobserved_weight = 1 / (a − 1),
l2 = r / a, scaling = 0, plus a constant. irspack's loss with nu = 0 equals that of leanrec. All are compared by their
item vectors alone: the loss with the best user vectors for these items.
leanrec takes the passes that it needs to get below the loss of the peers after all of theirs: half, because its steps are over-relaxed.
--curve prints the loss after each pass against the seconds.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from harness import Claim, Comparison, Contestant, Probe, Roofline, build_parser, run_claim

from leanrec.types import CSR, Float32Array, Queries

if TYPE_CHECKING:
    from leanrec.models import IALS

ALPHA, RIDGE = 50.0, 20.0
SCALE = ALPHA / (ALPHA - 1)
PEER_PASSES, OUR_PASSES = 15, 8
SINGLE_BLAS_THREAD = {"OPENBLAS_NUM_THREADS": "1"}


def load_matrix(quick: bool) -> CSR:
    from datasets import read_gowalla

    X = read_gowalla("fit")
    return sp.csr_array(X[:2000]) if quick else X


def make_settings(width: int, passes: int = PEER_PASSES, **more: Any) -> "IALS":
    from leanrec.models import IALS

    how = IALS(embedding_dim=width, epochs=passes, weighting="binary", l2_exponent=0.0, **more)
    return dataclasses.replace(how, unobserved_weight=1 / (ALPHA - 1), l2=RIDGE / ALPHA)


def compute_loss(X: CSR, items: Float32Array) -> float:
    """The loss of leanrec for given item vectors, with the best vectors of the users, in float64."""
    from leanrec.kernels.solvers.least_squares import principal_axes, solve_rows

    how = make_settings(items.shape[1])
    axes, moments = principal_axes(items)
    V = items @ axes
    ridge = np.full(X.shape[0], how.l2, np.float32)
    W = solve_rows(X, V, np.float32(how.unobserved_weight) * moments, ridge).astype(np.float64)
    V = V.astype(np.float64)
    entries = X.tocoo()
    scores = np.einsum("ed,ed->e", W[entries.row], V[entries.col])
    everything = ((W.T @ W) * (V.T @ V)).sum()
    return float(
        ((scores - 1) ** 2).sum() + how.unobserved_weight * everything + how.l2 * ((W**2).sum() + (V**2).sum())
    )


def initial_vectors(rows: int, width: int, seed: int) -> Float32Array:
    """Initial item vectors, as in leanrec."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, width), dtype=np.float32) * np.float32(0.1 / np.sqrt(width))


def fit_leanrec(X: CSR, width: int, passes: int, probe: Probe, **more: float) -> Callable[[], Float32Array]:
    from datasets import dataset_from_matrix

    data = dataset_from_matrix(X)
    assert data.interactions.nnz == X.nnz
    how = make_settings(width, passes, **more)
    return lambda: how.fit(data, probe.run).items


def fit_implicit(X: CSR, width: int, passes: int, probe: Probe, *, steps: bool) -> Callable[[], Float32Array]:
    from implicit.cpu.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(
        factors=width, regularization=RIDGE, alpha=ALPHA, use_cg=steps, iterations=passes, num_threads=probe.threads
    )
    rows = sp.csr_matrix(X)
    model.item_factors = initial_vectors(X.shape[1], width, probe.round_number) * np.float32(np.sqrt(SCALE))
    model.user_factors = initial_vectors(X.shape[0], width, probe.round_number + 1) * np.float32(np.sqrt(SCALE))

    def fit() -> Float32Array:
        model.fit(rows, show_progress=False)
        return np.asarray(model.item_factors / np.sqrt(SCALE), dtype=np.float32)

    return fit


def fit_irspack(X: CSR, width: int, passes: int, probe: Probe, *, solver: str) -> Callable[[], Float32Array]:
    from irspack import IALSRecommender

    how = make_settings(width)
    model = IALSRecommender(
        sp.csr_matrix(X, dtype=np.float64), n_components=width, alpha0=how.unobserved_weight, reg=how.l2, nu=0.0,
        solver_type=solver, train_epochs=passes, n_threads=probe.threads, random_seed=probe.round_number,
    )  # fmt: skip

    def fit() -> Float32Array:
        model.learn()
        return np.asarray(model.get_item_embedding(), dtype=np.float32)

    return fit


Fit = Callable[[CSR, int, int, Probe], Callable[[], Float32Array]]
FITS: dict[str, Fit] = {
    "ours": fit_leanrec,
    "implicit, conjugate gradients": functools.partial(fit_implicit, steps=True),
    "implicit, Cholesky": functools.partial(fit_implicit, steps=False),
    "irspack, conjugate gradients": functools.partial(fit_irspack, solver="CG"),
    "irspack, iALS++": functools.partial(fit_irspack, solver="IALSPP"),
}


def fit_contestant(probe: Probe, name: str, width: int) -> None:
    X = load_matrix(probe.quick)
    with probe.warmup():
        FITS[name](sp.csr_array(X[:300]), width, 1, probe)()
    passes = OUR_PASSES if name == "ours" else PEER_PASSES
    fit = FITS[name](X, width, 2 if probe.quick else passes, probe)
    with probe.timed():
        items = fit()
    probe.record_quality(loss=compute_loss(X, items))


def sample_histories(X: CSR, count: int) -> list[CSR]:
    """The histories of users drawn at random, one row each."""
    rows = np.random.default_rng(0).choice(X.shape[0], count, replace=False)
    return [X[[row]] for row in rows]


def fold_in_leanrec(probe: Probe) -> None:
    from datasets import dataset_from_matrix

    X = load_matrix(probe.quick)
    model = make_settings(64, 1 if probe.quick else 3).fit(dataset_from_matrix(X), probe.run)
    queries = [Queries(users=np.array([-1], np.int32), history=row) for row in sample_histories(X, 2000)]
    probe.measure_latency(model.embed_queries, queries)


def fold_in_implicit(probe: Probe) -> None:
    from implicit.cpu.als import AlternatingLeastSquares

    X = load_matrix(probe.quick)
    model = AlternatingLeastSquares(
        factors=64, regularization=RIDGE, alpha=ALPHA, iterations=3, num_threads=probe.threads
    )
    model.fit(sp.csr_matrix(X), show_progress=False)
    rows = [sp.csr_matrix(row) for row in sample_histories(X, 2000)]
    probe.measure_latency(lambda row: model.recalculate_user(0, row), rows)


def fit_roofline(width: int) -> Roofline:
    """Operations and bytes of the exact solutions of all passes."""
    X = load_matrix(quick=False)
    n = np.concatenate([np.diff(X.indptr), np.bincount(X.indices, minlength=X.shape[1])]).astype(np.float64)
    low, high = np.minimum(n, width), np.maximum(n, width)
    a_pass = (low**2 * high + low**3 / 3).sum() + 3 * len(n) * width**2
    return Roofline(
        operations=OUR_PASSES * a_pass,
        bytes=OUR_PASSES * 4 * (2 * X.nnz * width + 6 * len(n) * width),
        why="per row min(n, D)² max(n, D) for the symmetric products and min(n, D)³ / 3 to solve, 3 D² for Gram matrix and axes; "
        "every entry's vector read once, both sides read and written three times",
    )


def make_comparisons(width: int, goal: float) -> list[Comparison]:
    peers = [name for name in FITS if name != "ours" and not (width > 64 and name.endswith("Cholesky"))]
    return [
        Comparison(
            what=f"iALS, {width} factors, {OUR_PASSES} passes, compared with {PEER_PASSES} of {peer}",
            ours=f"ours {width}",
            peer=f"{peer} {width}",
            at_most=goal if peer.startswith("implicit") else None,
            quality="loss",
            tolerance=1.0,
            lower_is_better=True,
            roofline=fit_roofline(width) if position == 0 else None,
            notes="From the same initial item vectors, to a loss that is no higher."
            if peer.startswith("implicit")
            else "",
        )
        for position, peer in enumerate(peers)
    ]


def make_claim() -> Claim:
    widths = {64: 0.6, 256: 0.35}
    contestants = {
        f"{name} {width}": Contestant(
            functools.partial(fit_contestant, name=name, width=width),
            environment={} if name == "ours" else SINGLE_BLAS_THREAD,
            repeats=1 if name.endswith("Cholesky") else 0,
        )
        for width in widths
        for name in FITS
        if not (width > 64 and name.endswith("Cholesky"))
    }
    contestants |= {
        "ours, a new user": Contestant(fold_in_leanrec),
        "implicit, a new user": Contestant(fold_in_implicit, environment=SINGLE_BLAS_THREAD),
    }
    comparisons = [row for width, goal in widths.items() for row in make_comparisons(width, goal)]
    new_user = "fold-in of a new user, 64 factors"
    comparisons += [
        Comparison(what=f"{new_user}, p50", ours="ours, a new user", measure="p50", at_most=2e-4),
        Comparison(what=f"{new_user}, p99", ours="ours, a new user", measure="p99", at_most=2e-3),
        Comparison(
            what=f"{new_user}, p50 compared with implicit",
            ours="ours, a new user",
            peer="implicit, a new user",
            measure="p50",
        ),
        Comparison(
            what=f"{new_user}, p99 compared with implicit",
            ours="ours, a new user",
            peer="implicit, a new user",
            measure="p99",
        ),
    ]
    return Claim(
        name="ials",
        title="iALS: time to the same loss from the same start, and fold-in of a new user.",
        data="Gowalla, train without valid",
        contestants=contestants,
        comparisons=comparisons,
    )


def print_curve(threads: int, relaxation: float, widths: tuple[int, ...] = (64, 256)) -> None:
    """Print the loss after each number of passes; every point is a separate fit, so that only the fit is timed."""
    fits = FITS | {"ours": functools.partial(fit_leanrec, relaxation=relaxation)}
    probe, X = Probe(threads=threads), load_matrix(quick=False)
    for width in widths:
        for name, fit in fits.items():
            if width > 64 and name.endswith("Cholesky"):
                continue
            fit(sp.csr_array(X[:300]), width, 1, probe)()
            for passes in (1, 2, 4, 7, 8, PEER_PASSES):
                work = fit(X, width, passes, probe)
                began, cpu = time.perf_counter(), time.process_time()
                items = work()
                wall, cpu = time.perf_counter() - began, time.process_time() - cpu
                print(
                    f"{width:4} {name:30} {passes:3} passes {wall:7.2f} s {cpu:7.2f} CPU s  loss {compute_loss(X, items):.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    options = build_parser(__doc__)
    options.add_argument("--curve", action="store_true", help="print the loss after each pass instead")
    options.add_argument("--relaxation", type=float, default=1.6, help="of leanrec, for --curve (default 1.6)")
    args = options.parse_args()
    if args.curve:
        print_curve(args.threads or 2, args.relaxation)
    else:
        run_claim(make_claim(), args)
