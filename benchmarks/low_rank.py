"""Rank 64 of three matrices by ours and every peer that is installed, and the lookup of a factorised embedding."""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import fastest, fresh, text_table
from lowrank import LowRankMatrix, cross_approximation, randomized_svd, truncated_svd
from ml import FactorizedEmbedding, factorize_embedding

RANK = 64
REPEATS = 2
#: Distance of the corners of the two unit cubes that the points lie in.
DISTANCE = 2.2
V, H = 30522, 384
LOOKUPS = (16, 128, 2048, 32768)
Triple = tuple[np.ndarray, np.ndarray, np.ndarray]


def run() -> dict[str, Any]:
    """Every matrix, and the lookups, in a fresh process with one thread of every library."""
    result = {name: fresh(f"benchmarks.low_rank:measure_{name}") for name in ("E", "K", "H", "lookup")}
    return result


def table(result: dict[str, Any]) -> str:
    """One table over all methods, one of cross approximations to a tolerance, one of lookups."""
    return "\n\n".join(part(result) for part in (_table_of_methods, _table_of_crosses, _table_of_lookups))


def _table_of_methods(result: dict[str, Any]) -> str:
    names = list(dict.fromkeys(name for key in "EKH" for name in result[key]["methods"]))
    rows = []
    for name in names:
        row = [name]
        for key in "EKH":
            found = result[key]["methods"].get(name)
            row += (
                ["", ""] if found is None else [f"{found['cpu']:.3f}", f"{found['error'] / result[key]['optimum']:.4f}"]
            )
        rows.append(tuple(row))
    notes = []
    for key in "EKH":
        methods, optimum = result[key]["methods"], result[key]["optimum"]
        peers = {n: r["cpu"] for n, r in methods.items() if not n.startswith("ours") and r["error"] <= 1.01 * optimum}
        peer = min(peers, key=peers.__getitem__)
        ours = methods["ours: truncated_svd"]["cpu"]
        notes.append(
            f"{key}: least error {optimum:.4g}; fastest peer within 1 % of it: {peer}, {peers[peer]:.3f} s, "
            f"peer / ours = {peers[peer] / ours:.2f}. {result[key]['matrix']}; limit "
            f"{result[key]['limit']:.3f} s: {result[key]['why']}"
        )
    header = ("CPU s and error / least", *(f"{key} {what}" for key in "EKH" for what in ("s", "err")))
    return text_table(f"Low rank: rank {RANK} of three matrices, one thread", header, rows, notes)


def _table_of_crosses(result: dict[str, Any]) -> str:
    crosses = [
        (
            f"{key}, rtol {c['rtol']:.0e}",
            str(c["crosses"]),
            str(c["rank"]),
            f"{c['error']:.1e}",
            f"{100 * c['read']:.1f} %",
            f"{c['cpu']:.3f}",
        )
        for key in "KH"
        for c in result[key]["crosses"]
    ]
    return text_table(
        "Cross approximation with partial pivoting, recompressed",
        ("", "crosses", "rank", "error", "read", "CPU s"),
        crosses,
    )


def _table_of_lookups(result: dict[str, Any]) -> str:
    lookups = result["lookup"]
    rows = [
        (
            str(n),
            str(r["distinct"]),
            *(f"{r[k] * 1e6:.0f}" for k in ("gather", "product", "ours")),
            f"{r['ours'] / r['product']:.2f}",
        )
        for n, r in ((n, lookups["times"][str(n)]) for n in LOOKUPS)
    ]
    return text_table(
        f"Lookup of Zipf-distributed ids, rank {RANK} of a {V} x {H} table, single precision, microseconds",
        ("ids", "distinct", "dense gather", "bare product", "ours", "ours / product"),
        rows,
        [
            "bare product: the factor rows of the distinct ids, gathered beforehand, times the projection; "
            "nothing is found, gathered or copied.",
            f"memory: {lookups['nbytes']:,} bytes = 4 (V r + r H) = {lookups['predicted']:,}; dense "
            f"{4 * V * H:,}, ratio {4 * V * H / lookups['nbytes']:.2f}",
        ],
    )


def measure_E() -> dict[str, Any]:
    """The token table of a sentence encoder, or a matrix with such a spectrum."""
    a, what = embedding_table()
    gemm = _rate()
    limit = (V * H * H + 2 * V * H * RANK + 2 * V * RANK**2) / gemm
    why = "half of A^H A, A V, and the orthonormalisation, at the rate of a matrix product"
    extra = {
        "scipy.linalg.svd": lambda: _scipy_svd(a),
        "ours: truncated_svd, single": lambda: _triple(truncated_svd(single, RANK)),
    }
    single = a.astype(np.float32)
    if importlib.util.find_spec("pymor"):
        extra["pyMOR pod, method of snapshots"] = lambda: _pymor_pod(a)
    return {"matrix": what, "limit": limit, "why": why, **_compare(a, extra)}


def measure_K() -> dict[str, Any]:
    """Laplace kernel between two clouds."""
    a = 1 / _distances(5000)
    return {"matrix": "1 / |x - y|, 5000 x 5000", **_limit(a), **_compare(a, {}), "crosses": _crosses(a)}


def measure_H() -> dict[str, Any]:
    """Helmholtz kernel between two clouds, complex."""
    r = _distances(2000)
    a = np.exp(4j * r) / r
    return {"matrix": "exp(4i|x - y|) / |x - y|, 2000 x 2000", **_limit(a), **_compare(a, {}), "crosses": _crosses(a)}


def measure_lookup() -> dict[str, Any]:
    """Times of a gather, of the bare product and of our lookup."""
    rng = np.random.default_rng(0)
    dense = embedding_table()[0].astype(np.float32)
    embedding = factorize_embedding(dense, RANK)
    zipf = 1 / np.arange(1, V + 1)  # the i-th most frequent token has a share of 1 / i
    times = {str(n): _lookup(dense, embedding, rng.choice(V, n, p=zipf / zipf.sum()), n) for n in LOOKUPS}
    return {"times": times, "nbytes": embedding.nbytes, "predicted": 4 * (V * RANK + RANK * H)}


def _lookup(dense: np.ndarray, embedding: FactorizedEmbedding, ids: np.ndarray, n: int) -> dict[str, float]:
    rows = embedding.tokens[np.unique(ids)]
    works = {
        "gather": lambda: np.take(dense, ids, axis=0),
        "product": lambda: rows @ embedding.projection,
        "ours": lambda: embedding.lookup(ids),
    }
    assert np.allclose(embedding.lookup(ids), embedding.tokens[ids] @ embedding.projection, atol=1e-5)
    return {"distinct": len(rows), **fastest(works, 1000 if n < 10_000 else 60)}


def embedding_table() -> tuple[np.ndarray, str]:
    """The pretrained table in double precision if its package is installed.

    Otherwise random rows with a spectrum as flat.
    """
    try:
        from ml.material import pretrained_table

        return pretrained_table().astype(np.float64), f"token table of all-MiniLM-L6-v2, {V} x {H}"
    except ImportError:
        rng = np.random.default_rng(0)
        q = np.linalg.qr(rng.standard_normal((H, H)))[0]
        return rng.standard_normal((V, H)) * np.geomspace(
            1, 1 / 15, H
        ) @ q, f"random, sigma_1 / sigma_{H} = 15, {V} x {H}"


def _distances(n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    x, y = rng.random((n, 3)), rng.random((n, 3)) + np.array([DISTANCE, 0, 0])
    return np.sqrt(np.sum((x[:, None] - y[None]) ** 2, axis=2))


def _rate() -> float:
    """Flops a second of a matrix product in double precision."""
    x = np.ones((1500, 1500))
    return 2 * 1500**3 / fastest({"": lambda: x @ x}, 5)[""]


def _limit(a: np.ndarray) -> dict[str, Any]:
    factor = 4 if a.dtype.kind == "c" else 1
    return {
        "limit": factor * 4 * a.size * RANK / _rate(),
        "why": f"two products with {RANK} vectors at the rate of a matrix product",
    }


def _compare(a: np.ndarray, extra: dict[str, Callable[[], Triple]]) -> dict[str, Any]:
    """CPU seconds and relative error of all methods, and the least error there is, by six power iterations."""
    methods = {"ours: truncated_svd": lambda: _triple(truncated_svd(a, RANK)), **extra, **_peers(a)}
    if a.shape[0] == a.shape[1]:
        methods["ours: cross, recompressed"] = lambda: _cross_rank(a)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        size = np.linalg.norm(a)
        best = (
            truncated_svd(a, RANK, method="direct")
            if min(a.shape) < 1000
            else randomized_svd(a, RANK, n_oversamples=RANK, n_power_iter=5)
        )
        optimum = _error(a, _triple(best)) / size
        cpu = fastest(methods, REPEATS, time.process_time)
        errors = {name: _error(a, work()) / size for name, work in methods.items()}
    return {"optimum": optimum, "methods": {name: {"cpu": cpu[name], "error": errors[name]} for name in methods}}


def _peers(a: np.ndarray) -> dict[str, Callable[[], Triple]]:
    from scipy.linalg import interpolative
    from scipy.sparse.linalg import svds

    def by_svds() -> Triple:
        u, s, vh = svds(a, k=RANK, rng=np.random.default_rng(0))
        return u, s, vh

    def by_interpolation() -> Triple:
        u, s, v = interpolative.svd(a, RANK, rng=np.random.default_rng(0))
        return u, s, v.conj().T

    peers: dict[str, Callable[[], Triple]] = {
        "scipy svds (ARPACK)": by_svds,
        "scipy interpolative.svd": by_interpolation,
    }
    if importlib.util.find_spec("fbpca"):
        import fbpca

        for q in (1, 2):
            peers[f"fbpca n_iter={q}"] = lambda q=q: fbpca.pca(a, RANK, raw=True, n_iter=q)
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(1)
        tensor = torch.from_numpy(a)

        def by_torch(q: int) -> Triple:
            torch.manual_seed(0)
            u, s, v = torch.svd_lowrank(tensor, q=RANK + 10, niter=q)
            return u[:, :RANK].resolve_conj().numpy(), s[:RANK].numpy(), v[:, :RANK].resolve_conj().numpy().conj().T

        for q in (1, 2):
            peers[f"torch svd_lowrank q=74 niter={q}"] = lambda q=q: by_torch(q)
    if importlib.util.find_spec("sklearn") and a.dtype.kind != "c":
        from sklearn.utils.extmath import randomized_svd as sklearn_svd

        peers["scikit-learn randomized_svd"] = lambda: sklearn_svd(a, RANK, random_state=0)
    return peers


def _pymor_pod(a: np.ndarray) -> Triple:
    from pymor.algorithms.pod import pod
    from pymor.core.logger import set_log_levels
    from pymor.vectorarrays.numpy import NumpyVectorSpace

    set_log_levels({"pymor": "ERROR"})
    vectors = NumpyVectorSpace.from_numpy(a)
    modes, values, coefficients = pod(
        vectors, modes=RANK, method="method_of_snapshots", return_reduced_coefficients=True
    )
    return modes.to_numpy(), values, coefficients


def _scipy_svd(a: np.ndarray) -> Triple:
    import scipy.linalg

    u, s, vh = scipy.linalg.svd(a, full_matrices=False)
    return u[:, :RANK], s[:RANK], vh[:RANK]


def _cross_rank(a: np.ndarray) -> Triple:
    return _triple(cross_approximation(a, rank=RANK + 40, pivoting="partial").recompress(RANK))


def _crosses(a: np.ndarray) -> list[dict[str, Any]]:
    found = []
    for rtol in (1e-4, 1e-6, 1e-8):
        start = time.process_time()
        cross = cross_approximation(a, rtol=rtol, pivoting="partial")
        short = cross.recompress(rtol=rtol)
        cpu = time.process_time() - start
        read = cross.entries_read / a.size
        error = _error(a, _triple(short)) / np.linalg.norm(a)
        found.append(
            {"rtol": rtol, "crosses": cross.rank, "rank": short.rank, "error": error, "read": read, "cpu": cpu}
        )
    return found


def _triple(a: LowRankMatrix) -> Triple:
    return a.U, a.s, a.V.conj().T


def _error(a: np.ndarray, triple: Triple) -> float:
    u, s, vh = triple
    return float(np.linalg.norm(a - (u * s) @ vh))
